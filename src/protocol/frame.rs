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

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::{RequestHeader as CodecHeader, ResponseHeader};
    use kafka_protocol::protocol::{Decodable, Encodable, encode_request_header_into_buffer};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn headers_are_read_as_the_codec_writes_them(correlation_id: i32, client in proptest::option::of("[a-zä]{0,30}")) {
            for api_key in walk::api_keys() {
                for api_version in walk::versions(api_key).unwrap() {
                    let client_id = client.clone().map(StrBytes::from_string);
                    let header = RequestHeader { api_key, api_version, correlation_id, client_id };
                    let mut ours = BytesMut::new();
                    encode_request_header(&mut ours, &header);
                    let codecs = CodecHeader::default()
                        .with_request_api_key(api_key)
                        .with_request_api_version(api_version)
                        .with_correlation_id(correlation_id)
                        .with_client_id(header.client_id.clone());
                    let mut theirs = BytesMut::new();
                    // The codec has no header for the two APIs that it does not know.
                    if encode_request_header_into_buffer(&mut theirs, &codecs).is_ok() {
                        prop_assert_eq!(&ours, &theirs);
                    }
                    ours.put_slice(b"body");
                    let mut frame = ours.freeze();
                    prop_assert_eq!(decode_header(&mut frame), Ok(header));
                    prop_assert_eq!(&frame[..], b"body");
                }
            }
        }

        #[test]
        fn response_headers_are_the_codecs(correlation_id: i32) {
            for (api_key, api_version, header_version) in [(18, 4, 0), (0, 8, 0), (0, 9, 1), (3, 9, 1), (17, 1, 0)] {
                let mut ours = BytesMut::new();
                encode_response_header(&mut ours, api_key, api_version, correlation_id);
                let mut theirs = BytesMut::new();
                let header = ResponseHeader::default().with_correlation_id(correlation_id);
                header.encode(&mut theirs, header_version).unwrap();
                prop_assert_eq!(&ours, &theirs);
                let mut bytes = ours.freeze();
                prop_assert_eq!(&ResponseHeader::decode(&mut bytes.clone(), header_version).unwrap(), &header);
                prop_assert_eq!(decode_response_header(&mut bytes, api_key, api_version), Ok(correlation_id));
                prop_assert!(bytes.is_empty());
            }
        }

        #[test]
        fn no_bytes_make_the_header_panic(bytes: Vec<u8>, key in 0i16..100, version in -1i16..20) {
            let _ = decode_header(&mut Bytes::from(bytes.clone()));
            let mut frame = BytesMut::new();
            frame.put_i16(key);
            frame.put_i16(version);
            frame.put_slice(&bytes);
            let _ = decode_header(&mut frame.freeze());
        }
    }

    #[test]
    fn a_version_from_the_future_still_has_a_header() {
        let mut frame = Bytes::from_static(b"\0\x12\0\x63\0\0\0\x07\0\x01c\0body");
        let header = decode_header(&mut frame).unwrap();
        assert_eq!((header.api_key, header.api_version, header.correlation_id), (18, 99, 7));
        assert_eq!(&frame[..], b"body");
    }

    #[test]
    fn lengths_and_strangers_are_refused() {
        assert_eq!(decode_length([0, 0, 1, 0], 1000), Ok(256));
        assert_eq!(decode_length([0, 0, 1, 0], 256), Ok(256));
        let error = decode_length([0, 0, 1, 0], 255).unwrap_err();
        assert_eq!(error.to_string(), "Invalid receive (size = 256 larger than 255)");
        let error = decode_length([0xff; 4], 255).unwrap_err();
        assert_eq!(error.to_string(), "Invalid receive (size = -1)");
        // An HTTP request and a TLS hello, read as a frame that happened to fit.
        for stranger in
            [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"]
        {
            assert!(decode_header(&mut Bytes::copy_from_slice(stranger)).is_err());
        }
    }
}
