//! Requests and responses as frames, and the versions two sides share. No socket is touched here.
//!
//! A frame is its length (i32, big endian), a header and a body. The header's shape depends on API and
//! version, and `protocol::frame` knows it.

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::{HeaderVersion, Message, Request, StrBytes, VersionRange};

use super::error::ClientError;
use crate::protocol::frame::{self, RequestHeader};
use crate::protocol::message;
use crate::protocol::wire::WireError;

/// The error of ApiVersions that comes in version 0 whatever was asked.
const UNSUPPORTED_VERSION: i16 = 35;
/// Length, header and a client id of common length.
const HEADER_BYTES_ABOUT: usize = 64;

/// The name of a request, for errors.
pub fn request_name(api_key: i16) -> &'static str {
    match ApiKey::try_from(api_key) {
        Ok(ApiKey::Produce) => "Produce",
        Ok(ApiKey::Fetch) => "Fetch",
        Ok(ApiKey::ListOffsets) => "ListOffsets",
        Ok(ApiKey::Metadata) => "Metadata",
        Ok(ApiKey::ApiVersions) => "ApiVersions",
        Ok(ApiKey::CreateTopics) => "CreateTopics",
        Ok(ApiKey::DeleteTopics) => "DeleteTopics",
        Ok(ApiKey::CreatePartitions) => "CreatePartitions",
        Ok(ApiKey::DeleteRecords) => "DeleteRecords",
        Ok(ApiKey::InitProducerId) => "InitProducerId",
        Ok(ApiKey::DescribeConfigs) => "DescribeConfigs",
        Ok(ApiKey::AlterConfigs) => "AlterConfigs",
        Ok(ApiKey::IncrementalAlterConfigs) => "IncrementalAlterConfigs",
        Ok(ApiKey::FindCoordinator) => "FindCoordinator",
        Ok(ApiKey::ListGroups) => "ListGroups",
        Ok(ApiKey::DescribeGroups) => "DescribeGroups",
        Ok(ApiKey::ConsumerGroupDescribe) => "ConsumerGroupDescribe",
        Ok(ApiKey::DeleteGroups) => "DeleteGroups",
        Ok(ApiKey::OffsetFetch) => "OffsetFetch",
        Ok(ApiKey::OffsetCommit) => "OffsetCommit",
        Ok(ApiKey::OffsetDelete) => "OffsetDelete",
        Ok(ApiKey::JoinGroup) => "JoinGroup",
        Ok(ApiKey::SyncGroup) => "SyncGroup",
        Ok(ApiKey::Heartbeat) => "Heartbeat",
        Ok(ApiKey::LeaveGroup) => "LeaveGroup",
        Ok(ApiKey::ConsumerGroupHeartbeat) => "ConsumerGroupHeartbeat",
        _ => "a request",
    }
}

/// The ranges that one broker offers, and the features that its cluster has settled on.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    ranges: HashMap<i16, VersionRange>,
    features: HashMap<String, i16>,
}

impl Versions {
    pub fn of(response: &ApiVersionsResponse) -> Versions {
        let range = |api: &kafka_protocol::messages::api_versions_response::ApiVersion| {
            (api.api_key, VersionRange { min: api.min_version, max: api.max_version })
        };
        let feature = |feature: &kafka_protocol::messages::api_versions_response::FinalizedFeatureKey| {
            (feature.name.to_string(), feature.max_version_level)
        };
        Versions {
            ranges: response.api_keys.iter().map(range).collect(),
            features: response.finalized_features.iter().map(feature).collect(),
        }
    }

    /// The level of a feature of the cluster, 0 where it has none.
    pub fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// The newest version of `R` up to `max` that both sides know.
    pub fn choose_below<R: Request>(&self, max: i16, address: &str) -> Result<i16, ClientError> {
        let ours = VersionRange { max: R::VERSIONS.max.min(max), ..R::VERSIONS };
        let theirs = self.ranges.get(&R::KEY);
        let both = theirs.map(|theirs| ours.intersect(theirs)).filter(|both| !both.is_empty());
        both.map(|both| both.max).ok_or_else(|| ClientError::Unsupported {
            address: address.to_owned(),
            request: request_name(R::KEY),
            ours: ours.to_string(),
            theirs: theirs.map_or("none".to_owned(), ToString::to_string),
        })
    }

    pub fn offers<R: Request>(&self) -> bool {
        self.choose_below::<R>(i16::MAX, "").is_ok()
    }
}

/// One request as it goes to the socket: length, header, body.
pub fn encode_request<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: &str,
) -> Result<Bytes, ClientError> {
    let what = request_name(R::KEY);
    let codec = |source| ClientError::Codec { what, source };
    let size = request.compute_size(version).map_err(|error| codec(WireError::Codec(error.to_string())))?;
    let mut out = BytesMut::with_capacity(HEADER_BYTES_ABOUT + size);
    out.put_i32(0);
    let header = RequestHeader {
        api_key: R::KEY,
        api_version: version,
        correlation_id,
        client_id: Some(StrBytes::from_string(client_id.to_owned())),
    };
    frame::encode_request_header(&mut out, &header);
    message::encode_into(&mut out, request, version).map_err(codec)?;
    let length = (out.len() - 4) as i32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    Ok(out.freeze())
}

/// The body of a response frame (without its length) to a request of `R` in `version`.
pub fn decode_response<R: Request>(mut frame: Bytes, version: i16) -> Result<R::Response, ClientError> {
    let codec = |source| ClientError::Codec { what: request_name(R::KEY), source };
    frame::decode_response_header(&mut frame, R::KEY, version).map_err(codec)?;
    let version = match R::KEY {
        key if key == ApiVersionsRequest::KEY && is_unsupported(&frame) => 0,
        _ => version,
    };
    message::decode(frame, version).map_err(codec)
}

fn is_unsupported(body: &[u8]) -> bool {
    body.first_chunk().is_some_and(|code| i16::from_be_bytes(*code) == UNSUPPORTED_VERSION)
}

/// What to do with an answer to ApiVersions: its versions, or the version to ask again with.
pub enum Negotiated {
    Versions(Versions),
    AskAgain(i16),
}

/// Judges an ApiVersions response. A broker that does not know the version asked says so in version 0, with
/// its own range where it is new enough (2.4), else with nothing, and then version 0 is what it knows.
pub fn negotiate(response: &ApiVersionsResponse) -> Negotiated {
    if response.error_code != UNSUPPORTED_VERSION {
        return Negotiated::Versions(Versions::of(response));
    }
    let theirs = response.api_keys.iter().find(|api| api.api_key == ApiVersionsRequest::KEY);
    let max = theirs.map_or(0, |api| api.max_version);
    Negotiated::AskAgain(max.clamp(0, ApiVersionsRequest::VERSIONS.max))
}

/// The request that opens a connection.
pub fn api_versions_request() -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("thalweg"))
        .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")))
}

// Response headers of ApiVersions are version 0 in every version; the decoder above relies on it.
const _: fn(i16) -> i16 = <ApiVersionsResponse as HeaderVersion>::header_version;

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::MetadataRequest;
    use kafka_protocol::messages::api_versions_response::ApiVersion;

    fn offered(api_key: i16, min: i16, max: i16) -> ApiVersionsResponse {
        let api = ApiVersion::default().with_api_key(api_key).with_min_version(min).with_max_version(max);
        ApiVersionsResponse::default().with_api_keys(vec![api])
    }

    #[test]
    fn the_newest_shared_version_is_chosen() {
        let versions = Versions::of(&offered(3, 0, 5));
        assert_eq!(versions.choose_below::<MetadataRequest>(i16::MAX, "a").unwrap(), 5);
        assert_eq!(versions.choose_below::<MetadataRequest>(4, "a").unwrap(), 4);
        let newer = Versions::of(&offered(3, 4, 99));
        assert_eq!(newer.choose_below::<MetadataRequest>(i16::MAX, "a").unwrap(), 13);
    }

    #[test]
    fn no_shared_version_is_an_error_that_names_both_ranges() {
        let versions = Versions::of(&offered(3, 90, 99));
        let error = versions.choose_below::<MetadataRequest>(i16::MAX, "a:1").unwrap_err();
        assert!(error.to_string().contains("it has 90..99"), "{error}");
        assert!(!versions.offers::<ApiVersionsRequest>());
    }

    #[test]
    fn an_old_broker_is_asked_again_with_what_it_knows() {
        let refusal = offered(18, 0, 2).with_error_code(UNSUPPORTED_VERSION);
        assert!(matches!(negotiate(&refusal), Negotiated::AskAgain(2)));
        let older = ApiVersionsResponse::default().with_error_code(UNSUPPORTED_VERSION);
        assert!(matches!(negotiate(&older), Negotiated::AskAgain(0)));
    }

    #[test]
    fn a_refusal_of_the_version_is_read_as_version_0() {
        let refusal = offered(18, 0, 2).with_error_code(UNSUPPORTED_VERSION);
        let mut frame = BytesMut::new();
        frame.put_i32(7);
        message::encode_into(&mut frame, &refusal, 0).unwrap();
        let read = decode_response::<ApiVersionsRequest>(frame.freeze(), 4).unwrap();
        assert_eq!(read.api_keys[0].max_version, 2);
    }
}
