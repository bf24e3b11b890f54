//! The seam to the kafka-protocol crate, for every message but Produce and Fetch.
//!
//! A request comes here only after [`super::walk::check_request`] has accepted it: the crate reserves what
//! a count claims, and the walk is what keeps a claim from being a lie. The crate's errors become ours.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable};

use super::walk;
use super::wire::WireError;

/// Decodes a request or response body that has been walked, or comes from a broker that we asked.
/// Bytes after the message are accepted, as Kafka accepts them.
pub fn decode<T: Decodable>(mut body: Bytes, version: i16) -> Result<T, WireError> {
    T::decode(&mut body, version).map_err(codec_error)
}

/// Walks a request's body against its schema and bounds and then decodes it. `decoded_bytes_max` bounds
/// what the decoded message may take in memory.
pub fn decode_request<T: Decodable>(
    api_key: i16,
    body: Bytes,
    version: i16,
    decoded_bytes_max: usize,
) -> Result<T, WireError> {
    walk::check_request(api_key, version, &body, decoded_bytes_max)?;
    decode(body, version)
}

/// Encodes a message's body. An error is a field that this version cannot carry.
pub fn encode<T: Encodable>(message: &T, version: i16) -> Result<BytesMut, WireError> {
    let mut out = BytesMut::with_capacity(message.compute_size(version).map_err(codec_error)?);
    encode_into(&mut out, message, version)?;
    Ok(out)
}

/// Appends a message's body to `out`.
pub fn encode_into<T: Encodable>(out: &mut BytesMut, message: &T, version: i16) -> Result<(), WireError> {
    message.encode(out, version).map_err(codec_error)
}

fn codec_error(error: impl std::fmt::Display) -> WireError {
    WireError::Codec(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
    use kafka_protocol::messages::{MetadataRequest, TopicName};
    use kafka_protocol::protocol::StrBytes;

    fn request() -> MetadataRequest {
        let name = TopicName(StrBytes::from_static_str("orders"));
        MetadataRequest::default()
            .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(name))]))
            .with_allow_auto_topic_creation(true)
    }

    #[test]
    fn messages_come_back() {
        for version in [4, 9] {
            let body = encode(&request(), version).unwrap().freeze();
            assert_eq!(decode_request::<MetadataRequest>(3, body.clone(), version, 10_000), Ok(request()));
            let with_tail = [&body[..], b"tail"].concat();
            assert_eq!(
                decode_request::<MetadataRequest>(3, with_tail.into(), version, 10_000),
                Ok(request())
            );
        }
    }

    #[test]
    fn bounds_cuts_and_wrong_versions_are_errors() {
        let body = encode(&request(), 9).unwrap().freeze();
        let small = decode_request::<MetadataRequest>(3, body.clone(), 9, 100);
        assert_eq!(small, Err(WireError::TooLarge(100)));
        let cut = body.slice(..body.len() - 1);
        assert!(decode_request::<MetadataRequest>(3, cut.clone(), 9, 10_000).is_err());
        assert!(matches!(decode::<MetadataRequest>(cut, 9), Err(WireError::Codec(_))));
        assert!(matches!(encode(&request(), 99), Err(WireError::Codec(_))));
    }
}
