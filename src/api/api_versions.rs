//! ApiVersions: which APIs and features this broker has.
//!
//! An unknown version is answered in version 0 with UNSUPPORTED_VERSION and the ApiVersions entry alone
//! (KIP-511), so that a newer client can step down.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};

use super::{Context, Reply, Row, TABLE, kept};
use crate::metadata::features;
use crate::protocol::frame::RequestHeader;
use crate::protocol::wire::StrBytes;

/// Kafka advertises Produce from version 0 on, because older librdkafka refuses a broker that does not;
/// served are 3 and later.
const PRODUCE_ADVERTISED_MIN: i16 = 0;
/// The first version whose readers accept a feature with minimum 0.
const ZERO_MINIMUM_SINCE: i16 = 4;

pub async fn handle(context: &Context, asked: ApiVersionsRequest, version: i16) -> ApiVersionsResponse {
    if version >= 3 {
        let (name, software_version) = (&asked.client_software_name, &asked.client_software_version);
        if !is_software_name(name) || !is_software_name(software_version) {
            return ApiVersionsResponse::default().with_error_code(ResponseError::InvalidRequest.code());
        }
        context.software.replace(Some((kept(name).into(), kept(software_version).into())));
    }
    let unstable = context.shard.server().unstable_api_versions_enable;
    let mut response = ApiVersionsResponse::default();
    response.api_keys = TABLE.iter().map(|row| entry(row, unstable)).collect();
    for feature in features::SUPPORTED {
        if feature.min > 0 || version >= ZERO_MINIMUM_SINCE {
            response.supported_features.push(
                SupportedFeatureKey::default()
                    .with_name(StrBytes::from_static_str(feature.name))
                    .with_min_version(feature.min)
                    .with_max_version(feature.max),
            );
        }
    }
    let image = context.shard.image();
    response.finalized_features_epoch = image.offset.0;
    response.finalized_features = image
        .finalized_features()
        .into_iter()
        .map(|(name, level)| {
            FinalizedFeatureKey::default()
                .with_name(StrBytes::from_string(name.to_owned()))
                .with_min_version_level(level)
                .with_max_version_level(level)
        })
        .collect();
    response
}

/// The answer to a version that we do not know.
pub fn refuse(header: &RequestHeader) -> Reply {
    let row = TABLE.iter().find(|row| row.key == ApiKey::ApiVersions).expect("ApiVersions is served");
    let response = ApiVersionsResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_api_keys(vec![entry(row, false)]);
    let header = RequestHeader { api_version: 0, ..header.clone() };
    super::encode(&header, &response)
}

fn entry(row: &Row, unstable: bool) -> ApiVersion {
    let (mut oldest, newest) = row.served(unstable);
    if row.key == ApiKey::Produce {
        oldest = PRODUCE_ADVERTISED_MIN;
    }
    ApiVersion::default().with_api_key(row.key as i16).with_min_version(oldest).with_max_version(newest)
}

/// Kafka's pattern: letters and digits, with dots and dashes between them.
fn is_software_name(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    ends(text.chars().next())
        && ends(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_are_kafkas() {
        for good in ["a", "librdkafka", "2.12.1-alpha", "0"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-", "a-", ".a", "a b", "ä"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }
}
