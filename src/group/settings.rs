//! What of the configuration groups act on, typed once for each change of the configuration.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::config::{GroupConfig, Layers, ServerConfig};
use crate::metadata::{Image, ResourceType};

/// The broker's keys for groups. Times are milliseconds.
#[derive(Clone, Debug)]
pub struct Settings {
    pub offset_metadata_max_bytes: usize,
    /// Of batches, where the offsets topic does not say it.
    pub message_max_bytes: usize,
    pub offsets_retention_ms: i64,
    pub offsets_retention_check_interval_ms: u64,
    pub offsets_commit_timeout_ms: u64,
    pub group_min_session_timeout_ms: i32,
    pub group_max_session_timeout_ms: i32,
    pub group_initial_rebalance_delay_ms: u64,
    pub group_max_size: usize,
    /// `group.coordinator.rebalance.protocols` names the consumer protocol.
    pub consumer_groups: bool,
    pub consumer_max_size: usize,
    /// The first is the one that members get who name none.
    pub consumer_assignors: Vec<String>,
    pub consumer_migration_policy: MigrationPolicy,
    pub consumer_regex_refresh_interval_ms: u64,
    /// Of groups that have no keys of their own.
    pub group_defaults: GroupConfig,
    server: ServerConfig,
}

/// Which changes between classic and consumer groups are made while members are in the group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MigrationPolicy {
    pub upgrade: bool,
    pub downgrade: bool,
}

impl Settings {
    pub fn of(layers: &Layers) -> Settings {
        let server = &layers.server;
        let number = |name: &str| server.integer(name).unwrap_or(0);
        let millis = |name: &str| u64::try_from(number(name)).unwrap_or(0);
        let names = |list: &str| {
            let names = server.text(list).unwrap_or("").split(',').map(str::trim);
            names.filter(|name| !name.is_empty())
        };
        let policy = server.text("group.consumer.migration.policy").unwrap_or("").to_ascii_lowercase();
        let group_defaults = GroupConfig::resolve(server, &BTreeMap::new())
            .expect("the defaults of group keys were checked with the broker's configuration");
        Settings {
            offset_metadata_max_bytes: usize::try_from(number("offset.metadata.max.bytes")).unwrap_or(0),
            message_max_bytes: usize::try_from(number("message.max.bytes")).unwrap_or(0),
            offsets_retention_ms: server.offsets_retention_minutes.saturating_mul(60_000),
            offsets_retention_check_interval_ms: millis("offsets.retention.check.interval.ms"),
            offsets_commit_timeout_ms: millis("offsets.commit.timeout.ms"),
            group_min_session_timeout_ms: server.group_min_session_timeout_ms,
            group_max_session_timeout_ms: server.group_max_session_timeout_ms,
            group_initial_rebalance_delay_ms: millis("group.initial.rebalance.delay.ms"),
            group_max_size: server.group_max_size as usize,
            consumer_groups: names("group.coordinator.rebalance.protocols").any(|name| name == "consumer"),
            consumer_max_size: usize::try_from(number("group.consumer.max.size")).unwrap_or(0),
            consumer_assignors: names("group.consumer.assignors").map(str::to_owned).collect(),
            consumer_migration_policy: MigrationPolicy {
                upgrade: matches!(policy.as_str(), "upgrade" | "bidirectional"),
                downgrade: matches!(policy.as_str(), "downgrade" | "bidirectional"),
            },
            consumer_regex_refresh_interval_ms: millis("group.consumer.regex.refresh.interval.ms"),
            group_defaults,
            server: (**server).clone(),
        }
    }

    /// A group's configuration: its own keys over the broker's.
    pub fn group(&self, image: &Image, group: &str) -> Cow<'_, GroupConfig> {
        let defaults = Cow::Borrowed(&self.group_defaults);
        let Some(own) = image.settings(ResourceType::Group, group) else { return defaults };
        GroupConfig::resolve(&self.server, own).map(Cow::Owned).unwrap_or_else(|error| {
            tracing::error!(group, %error, "a stored group configuration does not parse; the broker's defaults act");
            defaults
        })
    }
}
