//! The frame around every message: length, request header, response header.
//!
//! ```text
//! request   length i32 | api_key i16 | api_version i16 | correlation_id i32 | client_id nullable i16 string
//!           | tagged fields (header version 2, from the API's first flexible version on) | body
//! response  length i32 | correlation_id i32 | tagged fields (header version 1, likewise) | body
//! ```
//!
//! An ApiVersions answer has header version 0 always, so that a client that knows nothing can read it.
//! Source: RequestHeader.json, ResponseHeader.json of Kafka 4.1, KIP-482, KIP-511.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::walk;
use super::wire::{Reader, StrBytes, WireError, share};

/// The API key whose answers have header version 0 in all versions.
const API_VERSIONS: i16 = 18;

/// What stands before a request's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
    pub client_id: Option<StrBytes>,
}

/// Why a frame's length cannot be accepted. The texts are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("Invalid receive (size = {0})")]
    Negative(i32),
    #[error("Invalid receive (size = {size} larger than {max})")]
    TooLarge { size: i32, max: i32 },
}

/// Reads a frame's length prefix: the count of bytes that follow it, 0 to `max`.
pub fn decode_length(prefix: [u8; 4], max: i32) -> Result<usize, FrameError> {
    match i32::from_be_bytes(prefix) {
        size if size < 0 => Err(FrameError::Negative(size)),
        size if size > max => Err(FrameError::TooLarge { size, max }),
        size => Ok(size as usize),
    }
}

/// Reads a request's header and advances `frame` to the body. An API key that Kafka does not have is
/// [`WireError::UnknownApi`]; a version it does not have is not an error here, its header is read as the
/// newest one's. The client id shares the frame's allocation.
pub fn decode_header(frame: &mut Bytes) -> Result<RequestHeader, WireError> {
    let mut reader = Reader::new(frame);
    let api_key = reader.i16("api_key")?;
    let api_version = reader.i16("api_version")?;
    let correlation_id = reader.i32("correlation_id")?;
    let flexible =
        walk::is_flexible(api_key, api_version).ok_or(WireError::UnknownApi { api_key, api_version })?;
    let client_id = reader.text(false, "client_id")?.map(|text| share(frame, text));
    if flexible {
        reader.tagged(|_, _| Ok(()))?;
    }
    let body = frame.len() - reader.left().len();
    frame.advance(body);
    Ok(RequestHeader { api_key, api_version, correlation_id, client_id })
}

/// Appends a request's header, without the length prefix.
pub fn encode_request_header(out: &mut BytesMut, header: &RequestHeader) {
    out.put_i16(header.api_key);
    out.put_i16(header.api_version);
    out.put_i32(header.correlation_id);
    super::wire::put_text(out, header.client_id.as_deref(), false);
    if walk::is_flexible(header.api_key, header.api_version).unwrap_or(false) {
        out.put_u8(0);
    }
}

/// Appends the header of the answer to a request of this API and version, without the length prefix.
pub fn encode_response_header(out: &mut BytesMut, api_key: i16, api_version: i16, correlation_id: i32) {
    out.put_i32(correlation_id);
    if response_is_flexible(api_key, api_version) {
        out.put_u8(0);
    }
}

/// Reads an answer's header, advances `frame` to the body and gives the correlation id.
pub fn decode_response_header(frame: &mut Bytes, api_key: i16, api_version: i16) -> Result<i32, WireError> {
    let mut reader = Reader::new(frame);
    let correlation_id = reader.i32("correlation_id")?;
    if response_is_flexible(api_key, api_version) {
        reader.tagged(|_, _| Ok(()))?;
    }
    let body = frame.len() - reader.left().len();
    frame.advance(body);
    Ok(correlation_id)
}

fn response_is_flexible(api_key: i16, api_version: i16) -> bool {
    api_key != API_VERSIONS && walk::is_flexible(api_key, api_version).unwrap_or(false)
}
