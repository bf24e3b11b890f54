//! One connection to one broker: its socket, the versions it offers, calls and pipelined requests.
//!
//! Requests are answered in the order they were sent, which every Kafka broker promises; an answer with
//! another correlation id means that what listens there is no broker, and the connection is of no more use.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::ApiVersionsRequest;
use kafka_protocol::protocol::{Message, Request};

use super::error::ClientError;
use super::wire::{self, Negotiated, Versions};

/// A response larger than this is taken for a stranger's bytes (`HTTP` reads as 1.2 GB, a TLS alert as 352 MB).
const RESPONSE_BYTES_MAX: i32 = 256 << 20;
/// Space for a response is made in steps, as its bytes come.
const RECEIVE_STEP_BYTES: usize = 1 << 20;

/// How a connection behaves.
#[derive(Clone, Debug)]
pub struct ConnectionOptions {
    pub client_id: String,
    pub connect_timeout: Duration,
    /// How long one answer may take.
    pub request_timeout: Duration,
}

/// A connection whose versions are negotiated.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    address: String,
    client_id: String,
    request_timeout: Duration,
    versions: Versions,
    next_correlation_id: i32,
}

impl Connection {
    /// Connects to `address` (`host:port`) and asks for its versions.
    pub fn open(address: &str, options: &ConnectionOptions) -> Result<Connection, ClientError> {
        let stream = dial(address, options.connect_timeout)?;
        let failed = |source| ClientError::Connect { address: address.to_owned(), source };
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(options.request_timeout)).map_err(failed)?;
        stream.set_write_timeout(Some(options.request_timeout)).map_err(failed)?;
        let mut connection = Connection {
            stream,
            address: address.to_owned(),
            client_id: options.client_id.clone(),
            request_timeout: options.request_timeout,
            versions: Versions::default(),
            next_correlation_id: 0,
        };
        connection.versions = connection.negotiate()?;
        Ok(connection)
    }

    fn negotiate(&mut self) -> Result<Versions, ClientError> {
        let mut version = ApiVersionsRequest::VERSIONS.max;
        loop {
            let response = match self.call_at(version, &wire::api_versions_request()) {
                Err(ClientError::Lost { address, source }) => {
                    let why = format!("it closed the connection ({source})");
                    return Err(ClientError::NotKafka { address, why });
                }
                other => other?,
            };
            match wire::negotiate(&response) {
                Negotiated::Versions(versions) => return Ok(versions),
                Negotiated::AskAgain(lower) if lower < version => version = lower,
                Negotiated::AskAgain(_) => {
                    let why = "it refuses every version of ApiVersions".to_owned();
                    return Err(ClientError::NotKafka { address: self.address.clone(), why });
                }
            }
        }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// The newest version of `R` that both sides know.
    pub fn version<R: Request>(&self) -> Result<i16, ClientError> {
        self.versions.choose_below::<R>(i16::MAX, &self.address)
    }

    /// The newest version of `R` up to `max` that both sides know.
    pub fn version_below<R: Request>(&self, max: i16) -> Result<i16, ClientError> {
        self.versions.choose_below::<R>(max, &self.address)
    }

    /// Sends a request and waits for its answer.
    pub fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        self.call_at(self.version::<R>()?, request)
    }

    pub fn call_at<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response, ClientError> {
        let correlation_id = self.send(version, request)?;
        let frame = self.receive(correlation_id, wire::request_name(R::KEY), self.request_timeout)?;
        self.decode::<R>(frame, version)
    }

    /// Sends a request without waiting; gives its correlation id.
    pub fn send<R: Request>(&mut self, version: i16, request: &R) -> Result<i32, ClientError> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1);
        let frame = wire::encode_request(request, version, correlation_id, &self.client_id)?;
        self.stream.write_all(&frame).map_err(|source| self.lost(source))?;
        Ok(correlation_id)
    }

    /// Whether an answer has begun to come, or the connection has ended; does not wait.
    pub fn is_answered(&self) -> bool {
        let peeked = self.stream.set_nonblocking(true).and_then(|()| self.stream.peek(&mut [0]));
        let blocking_again = self.stream.set_nonblocking(false);
        !matches!((&peeked, blocking_again), (Err(error), Ok(())) if is_timeout(error))
    }

    /// Waits up to `timeout` for the next answer, which must be to `correlation_id`.
    pub fn receive(
        &mut self,
        correlation_id: i32,
        request: &'static str,
        timeout: Duration,
    ) -> Result<Bytes, ClientError> {
        let deadline = Instant::now() + timeout;
        let frame = read_frame(&mut self.stream, deadline).map_err(|error| match error {
            FrameError::Io(source) if is_timeout(&source) => ClientError::TimedOut {
                address: self.address.clone(),
                request,
                after_ms: timeout.as_millis(),
            },
            FrameError::Io(source) => self.lost(source),
            FrameError::Stranger(why) => ClientError::NotKafka { address: self.address.clone(), why },
        })?;
        let got = frame.first_chunk().map(|id| i32::from_be_bytes(*id));
        if got != Some(correlation_id) {
            let why = format!("it answered request {got:?} where {correlation_id} was asked");
            return Err(ClientError::NotKafka { address: self.address.clone(), why });
        }
        Ok(frame)
    }

    fn decode<R: Request>(&self, frame: Bytes, version: i16) -> Result<R::Response, ClientError> {
        wire::decode_response::<R>(frame, version)
    }

    /// A second handle of the same connection that only receives, for a thread of its own.
    pub fn receiver(&self) -> Result<Receiver, ClientError> {
        let stream = self.stream.try_clone().map_err(|source| self.lost(source))?;
        stream.set_read_timeout(None).map_err(|source| self.lost(source))?;
        Ok(Receiver { stream, address: self.address.clone() })
    }

    /// Ends both directions; a [`Receiver`] of this connection ends too.
    pub fn close(&self) {
        // It may be closed already, and then there is nothing left to do.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn lost(&self, source: io::Error) -> ClientError {
        ClientError::Lost { address: self.address.clone(), source }
    }
}

/// The receiving half of a connection with several requests in flight.
pub struct Receiver {
    stream: TcpStream,
    address: String,
}

impl Receiver {
    /// Waits for the next answer, however long it takes.
    pub fn receive(&mut self) -> Result<(i32, Bytes), ClientError> {
        let address = self.address.clone();
        let frame = read_frame_untimed(&mut self.stream).map_err(|error| match error {
            FrameError::Io(source) => ClientError::Lost { address: address.clone(), source },
            FrameError::Stranger(why) => ClientError::NotKafka { address: address.clone(), why },
        })?;
        match frame.first_chunk() {
            Some(id) => Ok((i32::from_be_bytes(*id), frame)),
            None => Err(ClientError::NotKafka { address, why: "an answer is too short".to_owned() }),
        }
    }
}

enum FrameError {
    Io(io::Error),
    Stranger(String),
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> FrameError {
        FrameError::Io(error)
    }
}

fn read_frame(stream: &mut TcpStream, deadline: Instant) -> Result<Bytes, FrameError> {
    let timed = |stream: &TcpStream| -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))
    };
    timed(stream)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    read_body(stream, length, timed)
}

fn read_frame_untimed(stream: &mut TcpStream) -> Result<Bytes, FrameError> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    read_body(stream, length, |_| Ok(()))
}

fn read_body(
    stream: &mut TcpStream,
    length: [u8; 4],
    before_read: impl Fn(&TcpStream) -> io::Result<()>,
) -> Result<Bytes, FrameError> {
    let claimed = i32::from_be_bytes(length);
    if !(4..=RESPONSE_BYTES_MAX).contains(&claimed) {
        return Err(FrameError::Stranger(stranger(length)));
    }
    let claimed = claimed as usize;
    let mut body = Vec::new();
    while body.len() < claimed {
        before_read(stream)?;
        let start = body.len();
        let end = claimed.min(start + RECEIVE_STEP_BYTES.max(start));
        body.resize(end, 0);
        stream.read_exact(&mut body[start..])?;
    }
    Ok(body.into())
}

/// What the first four bytes of a stranger look like.
fn stranger(length: [u8; 4]) -> String {
    match &length {
        b"HTTP" => "it speaks HTTP".to_owned(),
        [0x15 | 0x16, 3, ..] => "it speaks TLS".to_owned(),
        b"SSH-" => "it speaks SSH".to_owned(),
        _ => format!("its answer claims {} bytes", i32::from_be_bytes(length)),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Tries each address of a name in turn.
fn dial(address: &str, timeout: Duration) -> Result<TcpStream, ClientError> {
    let unknown = |source| ClientError::Address { address: address.to_owned(), source };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut found = false;
    for candidate in address.to_socket_addrs().map_err(unknown)? {
        found = true;
        match TcpStream::connect_timeout(&candidate, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    match found {
        true => Err(ClientError::Connect { address: address.to_owned(), source: last }),
        false => Err(unknown(last)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// An answer that comes has all the time that a busy machine may take.
    fn options() -> ConnectionOptions {
        ConnectionOptions {
            client_id: "test".to_owned(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
        }
    }

    /// Opens a connection to a listener that answers any request with `answer` and then holds still.
    fn open_against(answer: &'static [u8], options: &ConnectionOptions) -> ClientError {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut first = [0; 8];
            stream.read_exact(&mut first).unwrap();
            stream.write_all(answer).unwrap();
            // Ends when the client goes.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let error = Connection::open(&address, options).unwrap_err();
        server.join().unwrap();
        error
    }

    #[test]
    fn a_web_server_is_recognised() {
        let error = open_against(b"HTTP/1.1 400 Bad Request\r\n\r\n", &options());
        assert!(error.to_string().ends_with("it speaks HTTP"), "{error}");
    }

    #[test]
    fn a_tls_port_is_recognised() {
        let error = open_against(&[0x15, 3, 3, 0, 2, 2, 70], &options());
        assert!(error.to_string().ends_with("it speaks TLS"), "{error}");
    }

    #[test]
    fn silence_ends_at_the_timeout() {
        let options = ConnectionOptions { request_timeout: Duration::from_millis(300), ..options() };
        let error = open_against(b"\0\0", &options);
        assert!(matches!(error, ClientError::TimedOut { request: "ApiVersions", .. }), "{error}");
    }

    #[test]
    fn a_closed_port_is_a_connect_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = Connection::open(&address, &options()).unwrap_err();
        assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    }
}
