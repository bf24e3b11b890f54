//! Checks a request against its schema before anything decodes it, without allocating.

use super::wire::WireError;

/// Whether requests of this API and version have flexible (compact, tagged) headers and bodies; `None` for an API
/// key that Kafka's brokers do not have. A version past the newest counts as the newest.
pub fn is_flexible(_api_key: i16, _api_version: i16) -> Option<bool> {
    todo!()
}

/// The versions of this API's request that the table knows, those that Kafka 4.1 calls unstable included.
pub fn versions(_api_key: i16) -> Option<std::ops::RangeInclusive<i16>> {
    todo!()
}

/// Walks a request's body: every count against the bytes left and against `decoded_bytes_max` (what the
/// decoded message may take in memory), strings UTF-8 and within Kafka's bound, varints that end, null only
/// where the schema has it, tagged fields that fill their length. Bytes after the message are accepted, as
/// Kafka accepts them.
pub fn check_request(
    _api_key: i16,
    _api_version: i16,
    _body: &[u8],
    _decoded_bytes_max: usize,
) -> Result<(), WireError> {
    todo!()
}
