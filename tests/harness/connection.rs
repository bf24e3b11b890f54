//! A blocking socket that sends whatever it is told: whole requests, frames, or loose bytes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::schema::{Api, message};

/// No answer of either broker takes longer, long polls included.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What came back for one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Body(Value),
    /// The broker closed the connection instead of answering.
    Closed,
    Silence,
    Undecodable(String),
}

impl Answer {
    pub fn body(self) -> Value {
        match self {
            Answer::Body(tree) => tree,
            other => panic!("an answer was expected, not {other:?}"),
        }
    }
}

pub struct Connection {
    pub stream: TcpStream,
    correlation: i32,
}

impl Connection {
    pub fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Connection { stream, correlation: 0 })
    }

    /// Sends a request and waits for its answer.
    pub fn call(&mut self, api: &str, version: i16, tree: &Value) -> Answer {
        let api = message(api);
        match self.send(api, version, tree) {
            Ok(correlation) => self.answer(api, version, correlation),
            Err(_) => Answer::Closed,
        }
    }

    /// Sends a request, returns its correlation id.
    pub fn send(&mut self, api: &Api, version: i16, tree: &Value) -> io::Result<i32> {
        self.send_body(api, version, &api.request.encode(version, tree))
    }

    pub fn send_body(&mut self, api: &Api, version: i16, body: &[u8]) -> io::Result<i32> {
        self.correlation += 1;
        let mut frame = request_header(api, version, self.correlation);
        frame.extend(body);
        self.send_frame(&frame)?;
        Ok(self.correlation)
    }

    pub fn send_frame(&mut self, frame: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(frame.len() + 4);
        bytes.extend((frame.len() as i32).to_be_bytes());
        bytes.extend(frame);
        self.stream.write_all(&bytes)
    }

    /// The next frame without its length; `None` when the broker closed the connection.
    pub fn read_frame(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if is_close(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
        let mut frame = vec![0; i32::from_be_bytes(length).max(0) as usize];
        self.stream.read_exact(&mut frame)?;
        Ok(Some(frame))
    }

    /// Reads the answer to a request of this `api` and `version`.
    pub fn answer(&mut self, api: &Api, version: i16, correlation: i32) -> Answer {
        let frame = match self.read_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Answer::Closed,
            Err(error) if is_close(&error) => return Answer::Closed,
            Err(_) => return Answer::Silence,
        };
        match decode_answer(api, version, correlation, &frame) {
            Ok(tree) => Answer::Body(tree),
            Err(error) => Answer::Undecodable(error),
        }
    }
}

pub fn is_close(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe | ConnectionAborted)
}

/// Header version 2 for flexible versions, else 1: key, version, correlation id, client id, tags.
pub fn request_header(api: &Api, version: i16, correlation: i32) -> Vec<u8> {
    let client = b"judge";
    let mut header = Vec::new();
    header.extend(api.request.key.to_be_bytes());
    header.extend(version.to_be_bytes());
    header.extend(correlation.to_be_bytes());
    header.extend((client.len() as i16).to_be_bytes());
    header.extend(client);
    if api.request.is_flexible(version) {
        header.push(0);
    }
    header
}

/// Decodes an answer with its header: version 1 for flexible versions, but always 0 for ApiVersions.
pub fn decode_answer(api: &Api, version: i16, correlation: i32, frame: &[u8]) -> Result<Value, String> {
    let tagged = api.response.is_flexible(version) && api.response.name != "ApiVersions";
    let start = 4 + usize::from(tagged);
    if frame.len() < start {
        return Err(format!("a frame of {} bytes", frame.len()));
    }
    let answered = i32::from_be_bytes(frame[..4].try_into().expect("four bytes"));
    if answered != correlation {
        return Err(format!("correlation id {answered} answers {correlation}"));
    }
    if tagged && frame[4] != 0 {
        return Err("tags in the answer's header".into());
    }
    api.response.decode(version, &frame[start..])
}
