//! Many connections on one thread: whole answers in, frames out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Request};
use rustix::event::epoll;

use crate::brokers::frame;

/// When each of the members acts next, the first one first.
#[derive(Default)]
pub struct Due(BinaryHeap<Reverse<(Instant, usize)>>);

impl Due {
    pub fn push(&mut self, at: Instant, number: usize) {
        self.0.push(Reverse((at, number)));
    }

    /// Takes out the first one whose time has come.
    pub fn pop(&mut self, now: Instant) -> Option<(Instant, usize)> {
        let first = self.0.peek_mut().filter(|first| first.0.0 <= now)?;
        Some(PeekMut::pop(first).0)
    }
}

/// Connections by number, and the poll over all of them.
pub struct Load {
    address: String,
    poll: OwnedFd,
    peers: Vec<Peer>,
}

struct Peer {
    stream: TcpStream,
    input: BytesMut,
    /// Bytes of frames that the socket has not taken.
    output: BytesMut,
}

impl Load {
    pub fn connect(address: &str, count: usize) -> Load {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
        let mut load = Load { address: address.to_owned(), poll, peers: Vec::new() };
        (0..count).for_each(|_| {
            load.add();
        });
        load
    }

    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// One more connection; its number.
    pub fn add(&mut self) -> usize {
        let stream = TcpStream::connect(&self.address).expect("the broker listens");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_nonblocking(true).expect("a socket option");
        let number = self.peers.len();
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&self.poll, &stream, data, epoll::EventFlags::IN).expect("a socket to poll");
        self.peers.push(Peer { stream, input: BytesMut::new(), output: BytesMut::new() });
        number
    }

    pub fn send(&mut self, number: usize, frame: &[u8]) {
        let peer = &mut self.peers[number];
        peer.output.extend_from_slice(frame);
        peer.flush();
    }

    /// Waits for answers, at most `most`; each is given whole, without its length.
    pub fn poll(&mut self, most: Duration, answers: &mut Vec<(usize, Bytes)>) {
        let mut events = Vec::with_capacity(256);
        let wait = rustix::event::Timespec::try_from(most).expect("a short time");
        epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), Some(&wait)).expect("a poll");
        for event in events {
            let number = event.data.u64() as usize;
            let peer = &mut self.peers[number];
            peer.flush();
            peer.receive();
            while let Some(answer) = peer.answer() {
                answers.push((number, answer));
            }
        }
    }

    /// Sends one request and waits for its answer; nothing else may be under way on that connection.
    pub fn call<R: Request>(&mut self, number: usize, version: i16, request: &R) -> R::Response {
        self.send(number, &frame(version, request));
        let mut answers = Vec::new();
        let began = Instant::now();
        while answers.is_empty() {
            assert!(began.elapsed() < Duration::from_secs(120), "no answer");
            self.poll(Duration::from_millis(100), &mut answers);
        }
        decode::<R>(version, answers.remove(0).1)
    }

    /// Repeats a frame on each connection, the next when its answer has come; how many answers came.
    pub fn repeat(&mut self, frames: &[Bytes], time: Duration) -> u64 {
        let until = Instant::now() + time;
        let (mut answered, mut under_way) = (0, frames.len());
        for (number, frame) in frames.iter().enumerate() {
            self.send(number, frame);
        }
        let mut answers = Vec::new();
        while under_way > 0 {
            self.poll(Duration::from_millis(100), &mut answers);
            let go_on = Instant::now() < until;
            for (number, _) in answers.drain(..) {
                answered += 1;
                match go_on {
                    true => self.send(number, &frames[number]),
                    false => under_way -= 1,
                }
            }
        }
        answered
    }
}

impl Peer {
    fn flush(&mut self) {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(count) => self.output.advance(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("a connection broke: {error}"),
            }
        }
    }

    fn receive(&mut self) {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the broker closed a connection"),
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("a connection broke: {error}"),
            }
        }
    }

    fn answer(&mut self) -> Option<Bytes> {
        let length = u32::from_be_bytes(self.input.get(..4)?.try_into().ok()?) as usize;
        if self.input.len() < 4 + length {
            return None;
        }
        self.input.advance(4);
        Some(self.input.split_to(length).freeze())
    }
}

/// An answer behind its header.
pub fn decode<R: Request>(version: i16, mut answer: Bytes) -> R::Response {
    use kafka_protocol::protocol::HeaderVersion;
    // Correlation id, and in flexible versions no tagged field.
    answer.advance(if R::Response::header_version(version) >= 1 { 5 } else { 4 });
    R::Response::decode(&mut answer, version).expect("an answer decodes")
}
