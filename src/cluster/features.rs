//! UpdateFeatures: which finalized levels may move where. All updates of a request count, or none.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::update_features_response::UpdatableFeatureResult;
use kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use kafka_protocol::protocol::StrBytes;

use super::controller::{Context, Decision};
use crate::metadata::ResourceType;
use crate::metadata::features::{self, ELR_VERSION, KRAFT_VERSION, METADATA_VERSION, METADATA_VERSION_MIN};
use crate::protocol::api_error::ApiError;
use crate::protocol::stored::metadata::{ConfigRecord, FeatureLevelRecord, NoOpRecord, Record, Versioned};

/// What Kafka says of a feature whose update was right: the name of its code.
const NO_ERROR: &str = "NONE";
const MIN_ISR: &str = "min.insync.replicas";
/// The newest level that any build of Kafka 4.1 knows, unstable ones too.
const METADATA_VERSION_LATEST: i16 = 29;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum UpgradeType {
    Unknown,
    Upgrade,
    SafeDowngrade,
    UnsafeDowngrade,
}

impl UpgradeType {
    fn from_wire(number: i8) -> UpgradeType {
        match number {
            1 => UpgradeType::Upgrade,
            2 => UpgradeType::SafeDowngrade,
            3 => UpgradeType::UnsafeDowngrade,
            _ => UpgradeType::Unknown,
        }
    }
}

/// Decides UpdateFeatures of the given API version; up to version 1 the answer names every feature.
pub fn update_features(
    context: &Context<'_>,
    request: &UpdateFeaturesRequest,
    version: i16,
) -> Decision<UpdateFeaturesResponse> {
    match records(context, request) {
        Err(e) => {
            let message = format!(
                "The update failed for all features since the following feature had an error: {}",
                e.message.as_deref().unwrap_or_default()
            );
            let response = UpdateFeaturesResponse::default()
                .with_error_code(e.code())
                .with_error_message(ApiError::new(e.error, message).text());
            Decision::nothing(response)
        }
        Ok(records) => {
            let mut response = UpdateFeaturesResponse::default().with_error_message(None);
            if version <= 1 {
                let result =
                    |update: &kafka_protocol::messages::update_features_request::FeatureUpdateKey| {
                        UpdatableFeatureResult::default()
                            .with_feature(update.feature.clone())
                            .with_error_message(Some(StrBytes::from_static_str(NO_ERROR)))
                    };
                response = response.with_results(request.feature_updates.iter().map(result).collect());
            }
            if request.validate_only {
                Decision::nothing(response)
            } else {
                Decision::atomic(records, response)
            }
        }
    }
}

fn records(context: &Context<'_>, request: &UpdateFeaturesRequest) -> Result<Vec<Versioned>, ApiError> {
    // The last update of a feature counts.
    let updates: BTreeMap<&str, (i16, UpgradeType)> = request
        .feature_updates
        .iter()
        .map(|update| {
            let how = UpgradeType::from_wire(update.upgrade_type);
            (update.feature.as_str(), (update.max_version_level, how))
        })
        .collect();
    let proposed =
        |name: &str| updates.get(name).map_or_else(|| context.image.features.get(name), |(level, _)| *level);
    let mut records = Vec::new();
    if updates.get(ELR_VERSION).is_some_and(|(level, _)| *level > 0) {
        records.extend(minimum_in_sync(context));
    }
    for (name, (level, how)) in &updates {
        records.extend(update(context, name, *level, *how, &proposed)?);
    }
    Ok(records)
}

fn update(
    context: &Context<'_>,
    name: &str,
    level: i16,
    how: UpgradeType,
    proposed: &dyn Fn(&str) -> i16,
) -> Result<Option<Versioned>, ApiError> {
    let invalid = |message: &str| {
        Err(ApiError::new(
            ResponseError::InvalidUpdateVersion,
            format!("Invalid update version {level} for feature {name}. {message}"),
        ))
    };
    if how == UpgradeType::Unknown {
        return invalid("The controller does not support the given upgrade type.");
    }
    let current =
        if name == KRAFT_VERSION { context.kraft_version } else { context.image.features.get(name) };
    if level < 0 {
        return invalid("A feature version cannot be less than 0.");
    }
    if let Some(reason) = reason_not_supported(context, name, level) {
        return invalid(&reason);
    }
    if level < current && how == UpgradeType::Upgrade {
        return invalid(
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or \
             unsafe downgrade.",
        );
    }
    if level > current && how != UpgradeType::Upgrade {
        return invalid("Can't downgrade to a newer version.");
    }
    match name {
        METADATA_VERSION => check_metadata_version(current, level, how)?,
        KRAFT_VERSION if how == UpgradeType::Upgrade => {
            if level != current {
                return invalid("The voters of this quorum stand in its configuration.");
            }
            return Ok(Some(Record::from(NoOpRecord {}).at(0)));
        }
        KRAFT_VERSION if level != current => return invalid("Can't downgrade the version of this feature."),
        KRAFT_VERSION => return Ok(None),
        _ if !features::KNOWN.contains(&name) => return invalid(&format!("Feature {name} not found.")),
        ELR_VERSION if level > 0 && proposed(METADATA_VERSION) < features::ELR_METADATA_VERSION_MIN => {
            return invalid(&format!(
                "{name} could not be set to {level} because it depends on {METADATA_VERSION} level {}",
                features::ELR_METADATA_VERSION_MIN
            ));
        }
        _ => {}
    }
    let record = FeatureLevelRecord { name: name.to_owned(), feature_level: level };
    Ok(Some(Record::from(record).at(0)))
}

/// Why a level cannot be: this controller, then every broker, must support it.
fn reason_not_supported(context: &Context<'_>, name: &str, level: i16) -> Option<String> {
    let reason = |what: String, (min, max): (i16, i16)| {
        if (min..=max).contains(&level) {
            None
        } else if max == 0 {
            Some(format!("{what} does not support this feature."))
        } else if min == max {
            Some(format!("{what} only supports versions {min}"))
        } else {
            Some(format!("{what} only supports versions {min}-{max}"))
        }
    };
    let local = features::supported(name).map_or((0, 0), |feature| (feature.min, feature.max));
    reason(format!("Local controller {}", context.node_id), local).or_else(|| {
        context.image.brokers().find_map(|broker| {
            let range = broker.features.iter().find(|feature| feature.name == name);
            let range = range.map_or((0, 0), |f| (f.min_supported_version, f.max_supported_version));
            reason(format!("Broker {}", broker.id), range)
        })
    })
}

fn check_metadata_version(current: i16, level: i16, how: UpgradeType) -> Result<(), ApiError> {
    let invalid = |message: &str| {
        Err(ApiError::new(
            ResponseError::InvalidUpdateVersion,
            format!("Invalid metadata.version {level}. {message}"),
        ))
    };
    if features::metadata_version_name(level).is_none() {
        return invalid(&format!(
            "Valid versions are from {METADATA_VERSION_MIN} to {METADATA_VERSION_LATEST}."
        ));
    }
    if level < current && features::metadata_changed_between(level, current) {
        return match how {
            UpgradeType::UnsafeDowngrade => {
                invalid("Unsafe metadata downgrade is not supported in this version.")
            }
            _ => invalid(
                "Refusing to perform the requested downgrade because it might delete metadata information.",
            ),
        };
    }
    Ok(())
}

/// With eligible leader replicas the minimum in sync is the cluster's, not a broker's.
fn minimum_in_sync(context: &Context<'_>) -> Vec<Versioned> {
    let record = |name: &str, value: Option<String>| {
        Record::from(ConfigRecord {
            resource_type: ResourceType::Broker as i8,
            resource_name: name.to_owned(),
            name: MIN_ISR.to_owned(),
            value,
        })
        .at(0)
    };
    let mut records = Vec::new();
    if context.image.setting(ResourceType::Broker, "", MIN_ISR).is_none() {
        let value = context.layers.server.topic_defaults.min_insync_replicas.to_string();
        records.push(record("", Some(value)));
    }
    for (kind, name, settings) in context.image.configured() {
        if kind == ResourceType::Broker && !name.is_empty() && settings.contains_key(MIN_ISR) {
            records.push(record(name, None));
        }
    }
    records
}
