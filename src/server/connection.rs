//! One client connection on one core: frames in, answers out, in order.
//!
//! Two loops share the connection and run as one task. The read loop takes memory from the core's bound,
//! reads a frame, and runs its request until it has taken effect, before it reads the next. The write loop
//! sends the answers in the order of their requests. Only waits overlap, `REQUESTS_IN_FLIGHT_MAX` at most
//! unless configured. No borrow of a cell is held across an await.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};

use super::sending::{self, Outlet};
use crate::api::{self, Answer, Context, Dispatch, Part, Reply, Request};
use crate::clock;
use crate::metrics;
use crate::protocol::{frame, walk};
use crate::runtime::memory::{Reservation, Reserve};
use crate::runtime::socket::Socket;
use crate::runtime::tasks::{self, Queue};
use crate::shard::Shard;
use crate::storage::open_files;

/// What a connection may hold of a frame before the frame's whole length is reserved. Frames up to this size
/// have a bound of their own, so that large ones that wait do not hold them up.
const UNRESERVED_BYTES_MAX: usize = 64 * 1024;
/// A frame under way must move this many bytes, or end, in every `thalweg.receive.timeout.ms`.
const PROGRESS_BYTES: u64 = 4 * 1024;
/// A connection whose encoded answers wait with this many bytes is not read until some were sent.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Answers that are ready together leave together, up to this many bytes.
const GATHERED_BYTES: usize = 16 * 1024;

/// Why a connection ended. `Closed` is the client's own doing and is not logged.
#[derive(Debug)]
pub enum Ended {
    Closed,
    Stopping,
    Refused(String),
    Failed(io::Error),
}

/// The connections of a core on which bytes have moved since they were last looked at, by number.
#[derive(Clone, Default)]
pub struct Moved(Rc<RefCell<Vec<u64>>>);

impl Moved {
    /// All of them; those that are still in the middle of something are to be put back.
    pub fn take(&self) -> Vec<u64> {
        self.0.take()
    }
}

/// A connection as the rest of its core sees it.
pub struct Connection {
    socket: Socket,
    number: u64,
    moved: Moved,
    /// Its number is in `moved`.
    is_noted: Cell<bool>,
    context: Rc<Context>,
    outbox: Outbox,
    /// When bytes last moved, either way, for `connections.max.idle.ms`.
    last_active_ms: Cell<u64>,
    /// An answer is leaving, and when bytes of answers last moved.
    is_sending: Cell<bool>,
    last_sent_ms: Cell<u64>,
    /// Bytes read since the frame under way began; its deadline, where one is set.
    frame_bytes: Cell<u64>,
    frame_deadline: Cell<Option<(u64, u64)>>,
    waits_for_memory: Cell<bool>,
    stopping: Cell<bool>,
}

/// An answer that is due, with the memory of its request while that is still in use.
struct Due {
    answer: Answer,
    memory: Option<Reservation>,
}

/// What an answer takes in memory; one that is still to be made takes nothing yet.
fn answer_bytes(answer: &Answer) -> usize {
    let Answer::Now(Reply::Send(parts)) = answer else { return 0 };
    parts.iter().map(Part::bytes_held).sum()
}

/// The answers under way, in order, and the wakers of the two loops.
#[derive(Default)]
struct Outbox {
    due: RefCell<VecDeque<Due>>,
    /// What the write loop sends counts as in flight too.
    sending: Cell<bool>,
    /// Bytes of all encoded answers in flight, and of the one that is being sent.
    answer_bytes: Cell<usize>,
    sending_bytes: Cell<usize>,
    closed: Cell<bool>,
    aborted: Cell<bool>,
    reader: Cell<Option<Waker>>,
    writer: Cell<Option<Waker>>,
}

impl Outbox {
    fn wake(slot: &Cell<Option<Waker>>) {
        if let Some(waker) = slot.take() {
            waker.wake();
        }
    }

    fn push(&self, due: Due) {
        self.answer_bytes.set(self.answer_bytes.get() + answer_bytes(&due.answer));
        self.due.borrow_mut().push_back(due);
        Outbox::wake(&self.writer);
    }

    /// The client is gone. What its requests have set on their way keeps their memory until it is done, so that
    /// clients that come and go have no more on its way than those that stay.
    fn let_finish(&self) {
        for Due { answer, memory } in self.due.take() {
            if let (Answer::Later(wait), Some(memory)) = (answer, memory) {
                let finish = async move {
                    wait.await;
                    drop(memory);
                };
                tasks::spawn(Queue::Requests, finish).detach();
            }
        }
    }

    fn close(&self) {
        self.closed.set(true);
        Outbox::wake(&self.writer);
    }

    /// Nobody is going to read what is in flight: there is room at once.
    fn abort(&self) {
        self.aborted.set(true);
        Outbox::wake(&self.reader);
    }

    fn in_flight(&self) -> usize {
        self.due.borrow().len() + usize::from(self.sending.get())
    }

    /// Requests in line still use their memory.
    fn holds_memory(&self) -> bool {
        self.due.borrow().iter().any(|due| due.memory.is_some())
    }

    /// The next reply, once it is ready; `None` when the read loop has ended and everything was sent.
    async fn next(&self) -> Option<Reply> {
        self.sending.set(false);
        self.answer_bytes.set(self.answer_bytes.get() - self.sending_bytes.take());
        Outbox::wake(&self.reader);
        poll_fn(|cx| match self.poll_front(cx, usize::MAX) {
            Some(Poll::Ready(reply)) => {
                self.sending.set(true);
                Poll::Ready(Some(reply))
            }
            Some(Poll::Pending) => Poll::Pending,
            None if self.closed.get() => Poll::Ready(None),
            None => {
                self.writer.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }

    /// The next reply, if it is ready now and takes at most `bytes_max`; it leaves together with the one before it.
    async fn next_ready(&self, bytes_max: usize) -> Option<Reply> {
        poll_fn(|cx| {
            // A long poll looks at its session when it is first polled: not before its turn.
            let is_long = |due: &Due| matches!(due.answer, Answer::LongPoll(_));
            if self.due.borrow().front().is_some_and(is_long) {
                return Poll::Ready(None);
            }
            match self.poll_front(cx, bytes_max) {
                Some(Poll::Ready(reply)) => Poll::Ready(Some(reply)),
                Some(Poll::Pending) | None => Poll::Ready(None),
            }
        })
        .await
    }

    /// The reply whose turn it is; `None` when there is none. What is not ready, or larger than `bytes_max`, keeps its
    /// place and the memory of its request.
    fn poll_front(&self, cx: &mut TaskContext<'_>, bytes_max: usize) -> Option<Poll<Reply>> {
        let Due { mut answer, memory } = self.due.borrow_mut().pop_front()?;
        let counted = answer_bytes(&answer);
        let answer = match answer {
            Answer::Now(reply) => Ok(reply),
            Answer::Later(ref mut wait) | Answer::LongPoll(ref mut wait) | Answer::Parked(ref mut wait) => {
                match wait.as_mut().poll(cx) {
                    Poll::Ready(reply) => Ok(reply),
                    Poll::Pending => Err(answer),
                }
            }
        };
        Some(match answer {
            Ok(reply) if reply.bytes_sent() <= bytes_max => {
                // A client that does not read its answer does not keep the memory of its request.
                drop(memory);
                self.sending_bytes.set(self.sending_bytes.get() + counted);
                Poll::Ready(reply)
            }
            Ok(reply) => {
                let answer = Answer::Now(reply);
                self.answer_bytes.set(self.answer_bytes.get() + answer_bytes(&answer) - counted);
                self.due.borrow_mut().push_front(Due { answer, memory: None });
                Poll::Pending
            }
            Err(answer) => {
                self.due.borrow_mut().push_front(Due { answer, memory });
                Poll::Pending
            }
        })
    }

    /// Waits until fewer than `most` answers are in flight, and not too much of them is encoded; not after
    /// [`Outbox::abort`].
    async fn room(&self, most: usize) {
        poll_fn(|cx| {
            let has_room = self.in_flight() < most && self.answer_bytes.get() < ANSWER_BYTES_MAX;
            if has_room || self.aborted.get() {
                return Poll::Ready(());
            }
            self.reader.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

impl Connection {
    /// `number` is one that no other connection of the core has had; it is noted in `moved`.
    pub fn new(
        socket: Socket,
        peer: SocketAddr,
        listener: Arc<str>,
        shard: Rc<Shard>,
        (number, moved): (u64, &Moved),
    ) -> Rc<Self> {
        let context =
            Context { shard, listener, peer, client_id: RefCell::default(), software: RefCell::default() };
        Rc::new(Connection {
            socket,
            number,
            moved: moved.clone(),
            is_noted: Cell::new(false),
            context: Rc::new(context),
            outbox: Outbox::default(),
            last_active_ms: Cell::new(clock::monotonic_ms()),
            is_sending: Cell::new(false),
            last_sent_ms: Cell::new(0),
            frame_bytes: Cell::new(0),
            frame_deadline: Cell::new(None),
            waits_for_memory: Cell::new(false),
            stopping: Cell::new(false),
        })
    }

    /// Serves the connection to its end.
    pub async fn serve(&self) -> Ended {
        let ended = self.read_and_write().await;
        self.outbox.let_finish();
        ended
    }

    async fn read_and_write(&self) -> Ended {
        let mut read = pin!(self.read_loop());
        let mut write = pin!(self.write_loop());
        let mut read_ended = None;
        poll_fn(|cx| {
            if read_ended.is_none()
                && let Poll::Ready(ended) = read.as_mut().poll(cx)
            {
                // Answers that are due are sent when the broker stops, and dropped when the client is gone.
                if !matches!(ended, Ended::Stopping) {
                    return Poll::Ready(ended);
                }
                read_ended = Some(ended);
                self.outbox.close();
            }
            match write.as_mut().poll(cx) {
                Poll::Ready(Some(ended)) => Poll::Ready(ended),
                Poll::Ready(None) => Poll::Ready(Ended::Stopping),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    pub fn peer(&self) -> SocketAddr {
        self.context.peer
    }

    /// The listener by which it came.
    pub fn listener(&self) -> &Arc<str> {
        &self.context.listener
    }

    /// Reads no further request; what is in flight is answered.
    pub fn stop(&self) {
        self.stopping.set(true);
        if self.frame_bytes.get() == 0 {
            let _already_closed = self.socket.shutdown(Shutdown::Read);
        }
    }

    /// Ends the connection without the answers that are due, however long they are waited for.
    pub fn abort(&self) {
        let _already_closed = self.socket.shutdown(Shutdown::Both);
        self.outbox.abort();
    }

    /// Lets the next look at this core's connections include this one.
    fn note_move(&self) {
        if !self.is_noted.replace(true) {
            self.moved.0.borrow_mut().push(self.number);
        }
    }

    /// After a look: it stays noted while a frame or an answer is under way, for those have deadlines.
    pub fn looked_at(&self) {
        self.is_noted.set(false);
        if self.frame_bytes.get() > 0 || self.is_sending.get() {
            self.note_move();
        }
    }

    /// Ends the connection when it was idle too long, a frame is too slow, or the client does not read while
    /// its next requests hold memory. Called now and then.
    /// Returns the reason where it did.
    pub fn expire(&self, now_ms: u64, idle_ms: u64, receive_timeout_ms: u64) -> Option<&'static str> {
        if self.waits_for_memory.get() {
            return None;
        }
        if let Some((deadline_ms, bytes_then)) = self.frame_deadline.get() {
            if now_ms >= deadline_ms {
                if self.frame_bytes.get() < bytes_then + PROGRESS_BYTES {
                    self.abort();
                    return Some("a frame made no progress for thalweg.receive.timeout.ms");
                }
                self.frame_deadline.set(Some((now_ms + receive_timeout_ms, self.frame_bytes.get())));
            }
        } else if self.frame_bytes.get() > 0 {
            self.frame_deadline.set(Some((now_ms + receive_timeout_ms, self.frame_bytes.get())));
        }
        let unread_ms = now_ms.saturating_sub(self.last_sent_ms.get());
        if self.is_sending.get() && unread_ms > receive_timeout_ms {
            let reason = if self.outbox.holds_memory() {
                Some("unread answers hold up the memory of later requests for thalweg.receive.timeout.ms")
            } else if open_files::is_full() {
                Some("unread answers hold open files that others wait for, for thalweg.receive.timeout.ms")
            } else {
                None
            };
            if reason.is_some() {
                self.abort();
                return reason;
            }
        }
        let last_active_ms = self.last_active_ms.get().max(self.last_sent_ms.get());
        if now_ms.saturating_sub(last_active_ms) > idle_ms {
            self.abort();
            return Some("idle for connections.max.idle.ms");
        }
        None
    }

    async fn read_loop(&self) -> Ended {
        let shard = self.context.shard.clone();
        let in_flight_max = shard.server().max_inflight_requests_per_connection as usize;
        let mut buffer = BytesMut::new();
        loop {
            if self.stopping.get() {
                return Ended::Stopping;
            }
            let (frame, memory) = match self.read_frame(&mut buffer).await {
                Ok(read) => read,
                Err(_) if self.stopping.get() => return Ended::Stopping,
                Err(ended) => return ended,
            };
            self.frame_bytes.set(0);
            self.frame_deadline.set(None);
            let answer = match self.start(frame).await {
                Ok(answer) => answer,
                Err(reason) => return Ended::Refused(reason),
            };
            metrics::REQUESTS.add(1);
            let memory = matches!(answer, Answer::Later(_)).then_some(memory);
            let most = if matches!(answer, Answer::Parked(_)) { 1 } else { in_flight_max };
            self.outbox.push(Due { answer, memory });
            if buffer.is_empty() {
                // A connection that waits or is quiet holds no buffer.
                buffer = BytesMut::new();
            }
            self.outbox.room(most).await;
            if self.outbox.aborted.get() {
                return Ended::Closed;
            }
        }
    }

    /// Reads one frame's bytes behind its length. `buffer` keeps what was read past it.
    async fn read_frame(&self, buffer: &mut BytesMut) -> Result<(Bytes, Reservation), Ended> {
        let shard = &self.context.shard;
        self.frame_bytes.set(buffer.len() as u64);
        if buffer.is_empty() {
            self.socket.readable().await.map_err(Ended::Failed)?;
        }
        while buffer.len() < 4 {
            self.receive(buffer).await?;
        }
        self.frame_bytes.set(self.frame_bytes.get().max(1));
        let prefix = buffer[..4].try_into().expect("four bytes");
        let most = i32::try_from(shard.server().socket_request_max_bytes).unwrap_or(i32::MAX);
        let length = frame::decode_length(prefix, most)
            .map_err(|error| Ended::Refused(format!("{error}{}", guess_protocol(prefix))))?;
        buffer.advance(4);
        // Who only announces a frame is not let into the line for memory: its beginning must have come.
        while buffer.len() < length.min(UNRESERVED_BYTES_MAX) {
            self.receive(buffer).await?;
        }
        if length <= UNRESERVED_BYTES_MAX {
            let memory = self.in_line(shard.small_memory.reserve(length as u64)).await;
            return Ok((buffer.split_to(length).freeze(), memory));
        }
        let memory = self.in_line(shard.memory.reserve(length as u64)).await;
        // A large frame gets an allocation of its own, read to its last byte and no further.
        let mut whole = BytesMut::with_capacity(length);
        let begun = buffer.len().min(length);
        whole.extend_from_slice(&buffer[..begun]);
        buffer.advance(begun);
        while whole.len() < length {
            self.receive_into(&mut whole, length).await?;
        }
        Ok((whole.freeze(), memory))
    }

    /// Waits in line for memory; who waits here is not held to be slow.
    async fn in_line(&self, reserve: Reserve) -> Reservation {
        self.waits_for_memory.set(true);
        let memory = reserve.await;
        self.waits_for_memory.set(false);
        self.frame_deadline.set(None);
        memory
    }

    /// Appends what has come; a connection that waits here holds no memory for it.
    async fn receive(&self, buffer: &mut BytesMut) -> Result<(), Ended> {
        let room = UNRESERVED_BYTES_MAX.saturating_sub(buffer.len());
        let result = self.socket.receive(buffer, room).await;
        self.received(result)
    }

    /// Receives straight into `buffer`, up to `length` bytes in all.
    async fn receive_into(&self, buffer: &mut BytesMut, length: usize) -> Result<(), Ended> {
        let missing = length - buffer.len();
        let (result, filled) = self.socket.recv(std::mem::take(buffer), missing).await;
        *buffer = filled;
        self.received(result)
    }

    fn received(&self, result: io::Result<usize>) -> Result<(), Ended> {
        match result {
            Ok(0) => Err(Ended::Closed),
            Ok(count) => {
                self.last_active_ms.set(clock::monotonic_ms());
                self.frame_bytes.set(self.frame_bytes.get() + count as u64);
                self.note_move();
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(Ended::Closed),
            Err(error) => Err(Ended::Failed(error)),
        }
    }

    /// Runs a request until it has taken effect.
    async fn start(&self, mut body: Bytes) -> Result<Answer, String> {
        let shard = &self.context.shard;
        let header = frame::decode_header(&mut body).map_err(|error| error.to_string())?;
        let (key, version) = (header.api_key, header.api_version);
        let row = match api::find(key, version, shard.server().unstable_api_versions_enable) {
            Dispatch::Run(row) => row,
            Dispatch::UnknownApiVersions => return Ok(Answer::Now(api::refuse_api_versions(&header))),
            Dispatch::Refuse => return Err(format!("API key {key} in version {version} is not served")),
        };
        if row.is_walked() {
            let decoded_bytes_max = usize::try_from(shard.request_bytes_max).unwrap_or(usize::MAX);
            walk::check_request(key, version, &body, decoded_bytes_max)
                .map_err(|error| format!("{:?} version {version}: {error}", row.key))?;
        }
        self.context.know_client(header.client_id.as_ref());
        Ok(api::run(row, self.context.clone(), Request { header, body }).await)
    }

    /// Sends answers in order; `None` when all were sent after [`Outbox::close`].
    async fn write_loop(&self) -> Option<Ended> {
        while let Some(reply) = self.outbox.next().await {
            let (parts, refused) = self.gather(reply).await;
            if !parts.is_empty() {
                let outlet = Outlet { socket: &self.socket, moved_ms: &self.last_sent_ms };
                self.last_sent_ms.set(clock::monotonic_ms());
                self.is_sending.set(true);
                self.note_move();
                let sent = sending::send(outlet, parts).await;
                self.is_sending.set(false);
                if let Err(error) = sent {
                    return Some(Ended::Failed(error));
                }
            }
            if let Some(reason) = refused {
                return Some(Ended::Refused(reason));
            }
        }
        None
    }

    /// The parts of a reply and of those behind it that are ready too, and why the connection ends behind them.
    async fn gather(&self, first: Reply) -> (Vec<Part>, Option<String>) {
        let (mut gathered, mut bytes, mut next) = (Vec::new(), 0, Some(first));
        while let Some(reply) = next {
            bytes += reply.bytes_sent();
            match reply {
                Reply::Send(mut parts) => gathered.append(&mut parts),
                Reply::Silence => {}
                Reply::Close(reason) => return (gathered, Some(reason)),
            }
            next = match GATHERED_BYTES.saturating_sub(bytes) {
                0 => None,
                room => self.outbox.next_ready(room).await,
            };
        }
        (gathered, None)
    }
}

/// What a frame's first bytes look like when they are no length.
fn guess_protocol(prefix: [u8; 4]) -> &'static str {
    match &prefix {
        b"GET " | b"POST" | b"HEAD" | b"PUT " | b"OPTI" | b"DELE" => {
            "; this looks like HTTP, and the port speaks Kafka's protocol"
        }
        [0x16, 0x03, ..] => {
            "; this looks like TLS, and the listener is PLAINTEXT: set security.protocol=PLAINTEXT"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ready(future: impl Future) -> bool {
        let mut context = std::task::Context::from_waker(Waker::noop());
        pin!(future).poll(&mut context).is_ready()
    }

    fn ready<T>(future: impl Future<Output = T>) -> T {
        let mut context = std::task::Context::from_waker(Waker::noop());
        let Poll::Ready(value) = pin!(future).poll(&mut context) else { panic!("it waits") };
        value
    }

    #[test]
    fn answers_that_are_ready_follow_at_once_and_the_others_keep_their_place() {
        let outbox = Outbox::default();
        let reply = |text: &'static str| Reply::Send(vec![Part::Bytes(Bytes::from_static(text.as_bytes()))]);
        let text = |reply: Option<Reply>| match reply {
            Some(Reply::Send(parts)) => parts.iter().map(Part::bytes_sent).sum(),
            Some(_) => panic!("not an answer"),
            None => 0,
        };
        let (open, gate) = flume::bounded::<()>(1);
        let late = async move {
            gate.recv_async().await.unwrap();
            Reply::Silence
        };
        outbox.push(Due { answer: Answer::Now(reply("1")), memory: None });
        outbox.push(Due { answer: Answer::Later(Box::pin(async move { reply("22") })), memory: None });
        outbox.push(Due { answer: Answer::Later(Box::pin(late)), memory: None });
        outbox.push(Due { answer: Answer::Now(reply("4444")), memory: None });
        assert!(ready(outbox.next()).is_some());
        assert_eq!(text(ready(outbox.next_ready(GATHERED_BYTES))), 2);
        assert_eq!(text(ready(outbox.next_ready(GATHERED_BYTES))), 0, "the third is not ready");
        assert_eq!(text(ready(outbox.next_ready(GATHERED_BYTES))), 0, "and the fourth waits behind it");
        open.send(()).unwrap();
        assert!(matches!(ready(outbox.next_ready(GATHERED_BYTES)), Some(Reply::Silence)));
        assert_eq!(text(ready(outbox.next_ready(GATHERED_BYTES))), 4);
        assert!(!is_ready(outbox.next()), "everything was taken");
        assert_eq!(outbox.answer_bytes.get(), 0);
    }

    #[test]
    fn a_large_answer_leaves_by_itself_and_is_counted_once() {
        let outbox = Outbox::default();
        let reply = |bytes: usize| Reply::Send(vec![Part::Bytes(vec![0; bytes].into())]);
        let large = GATHERED_BYTES + 1;
        outbox.push(Due { answer: Answer::Now(reply(1)), memory: None });
        outbox.push(Due { answer: Answer::Later(Box::pin(async move { reply(large) })), memory: None });
        assert!(ready(outbox.next()).is_some());
        assert!(ready(outbox.next_ready(GATHERED_BYTES)).is_none());
        assert_eq!(outbox.answer_bytes.get(), 1 + large, "it is made");
        assert_eq!(ready(outbox.next()).unwrap().bytes_sent(), large);
        assert_eq!(outbox.answer_bytes.get(), large);
        assert!(!is_ready(outbox.next()));
        assert_eq!(outbox.answer_bytes.get(), 0);
    }

    #[test]
    fn encoded_answers_that_are_not_sent_stop_the_reading() {
        let outbox = Outbox::default();
        let large = || Answer::Now(Reply::Send(vec![Part::Bytes(vec![0; ANSWER_BYTES_MAX].into())]));
        assert!(is_ready(outbox.room(2)));
        outbox.push(Due { answer: large(), memory: None });
        assert!(!is_ready(outbox.room(2)), "its bytes are at the bound");
        assert!(is_ready(outbox.next()));
        assert!(!is_ready(outbox.room(2)), "it is being sent");
        assert!(!is_ready(outbox.next()), "it was sent, and nothing follows");
        assert!(is_ready(outbox.room(2)));
        outbox.push(Due { answer: Answer::Now(Reply::Silence), memory: None });
        outbox.push(Due { answer: Answer::Now(Reply::Silence), memory: None });
        assert!(!is_ready(outbox.room(2)), "two are in flight");
    }
}
