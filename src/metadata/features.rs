//! Features: what levels this build supports, which it starts with, and what a level means for records.
//!
//! A level is here only when what it stands for works. A feature that is absent from [`SUPPORTED`] is at
//! level 0 and is raised together with the code that makes it true.

use std::collections::BTreeMap;
use std::sync::Arc;

pub const METADATA_VERSION: &str = "metadata.version";
pub const KRAFT_VERSION: &str = "kraft.version";
pub const ELR_VERSION: &str = "eligible.leader.replicas.version";
pub const GROUP_VERSION: &str = "group.version";
pub const TRANSACTION_VERSION: &str = "transaction.version";
pub const SHARE_VERSION: &str = "share.version";
pub const STREAMS_VERSION: &str = "streams.version";

/// The oldest metadata version that can be read: 3.3-IV3.
pub const METADATA_VERSION_MIN: i16 = 7;
/// The newest metadata version: 4.1-IV1.
pub const METADATA_VERSION_MAX: i16 = 27;

/// Eligible leader replicas need records of this metadata version, 4.0-IV1.
pub const ELR_METADATA_VERSION_MIN: i16 = 23;

/// A feature that this build has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supported {
    pub name: &'static str,
    pub min: i16,
    pub max: i16,
    /// The level of a new cluster.
    pub initial: i16,
}

/// Every feature with a level above 0, in the order in which Kafka registers them.
pub const SUPPORTED: &[Supported] = &[
    Supported { name: KRAFT_VERSION, min: 0, max: 1, initial: 1 },
    Supported {
        name: METADATA_VERSION,
        min: METADATA_VERSION_MIN,
        max: METADATA_VERSION_MAX,
        initial: METADATA_VERSION_MAX,
    },
    Supported { name: ELR_VERSION, min: 0, max: 1, initial: 1 },
    Supported { name: GROUP_VERSION, min: 0, max: 1, initial: 1 },
];

/// The supported feature of that name.
pub fn supported(name: &str) -> Option<&'static Supported> {
    SUPPORTED.iter().find(|feature| feature.name == name)
}

/// Feature names that Kafka 4.1 knows, whether or not this build supports a level of them.
pub const KNOWN: &[&str] = &[
    METADATA_VERSION,
    KRAFT_VERSION,
    TRANSACTION_VERSION,
    GROUP_VERSION,
    ELR_VERSION,
    SHARE_VERSION,
    STREAMS_VERSION,
];

/// Kafka's name of each metadata version from level 7 on, and whether its records differ from those before.
const METADATA_VERSIONS: &[(&str, bool)] = &[
    ("3.3-IV3", true),
    ("3.4-IV0", true),
    ("3.5-IV0", false),
    ("3.5-IV1", false),
    ("3.5-IV2", true),
    ("3.6-IV0", false),
    ("3.6-IV1", true),
    ("3.6-IV2", true),
    ("3.7-IV0", true),
    ("3.7-IV1", false),
    ("3.7-IV2", true),
    ("3.7-IV3", false),
    ("3.7-IV4", false),
    ("3.8-IV0", false),
    ("3.9-IV0", false),
    ("4.0-IV0", false),
    ("4.0-IV1", true),
    ("4.0-IV2", false),
    ("4.0-IV3", false),
    ("4.1-IV0", false),
    ("4.1-IV1", false),
    ("4.2-IV0", false),
    ("4.2-IV1", false),
];

/// Kafka's name of a metadata version, `None` where there is none of that level.
pub fn metadata_version_name(level: i16) -> Option<&'static str> {
    let at = usize::try_from(level - METADATA_VERSION_MIN).ok()?;
    METADATA_VERSIONS.get(at).map(|(name, _)| *name)
}

/// Whether records may be lost or gained between two metadata versions.
pub fn metadata_changed_between(a: i16, b: i16) -> bool {
    (a.min(b) + 1..=a.max(b)).any(|level| {
        let at = usize::try_from(level - METADATA_VERSION_MIN).unwrap_or(0);
        METADATA_VERSIONS.get(at).is_some_and(|(_, changed)| *changed)
    })
}

/// The finalized feature levels of a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Levels(Arc<BTreeMap<String, i16>>);

impl Levels {
    /// The finalized level; 0 where the feature is not finalized.
    pub fn get(&self, name: &str) -> i16 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Every finalized feature, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i16)> {
        self.0.iter().map(|(name, level)| (name.as_str(), *level))
    }

    pub(super) fn set(&mut self, name: &str, level: i16) {
        let levels = Arc::make_mut(&mut self.0);
        if level == 0 {
            levels.remove(name);
        } else {
            levels.insert(name.to_owned(), level);
        }
    }

    /// The metadata version, 0 while the log is empty.
    pub fn metadata_version(&self) -> i16 {
        self.get(METADATA_VERSION)
    }

    /// Consumer groups (KIP-848) are served.
    pub fn consumer_groups(&self) -> bool {
        self.get(GROUP_VERSION) > 0
    }

    pub fn elr_enabled(&self) -> bool {
        self.metadata_version() >= ELR_METADATA_VERSION_MIN && self.get(ELR_VERSION) > 0
    }

    /// Metadata transactions (KIP-868) exist.
    pub fn transactions(&self) -> bool {
        self.metadata_version() >= 13
    }

    /// Replicas name their directories (KIP-858).
    pub fn directory_ids(&self) -> bool {
        self.metadata_version() >= 17
    }

    /// Controllers register (KIP-919).
    pub fn controller_registration(&self) -> bool {
        self.metadata_version() >= 15
    }

    pub fn register_broker_record_version(&self) -> i16 {
        match self.metadata_version() {
            17.. => 3,
            8.. => 2,
            _ => 1,
        }
    }

    /// Of PartitionRecord and PartitionChangeRecord.
    pub fn partition_record_version(&self) -> i16 {
        match self.metadata_version() {
            23.. => 2,
            17.. => 1,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_choose_the_record_versions_that_kafka_writes() {
        let mut levels = Levels::default();
        for (level, broker, partition) in
            [(7, 1, 0), (8, 2, 0), (16, 2, 0), (17, 3, 1), (22, 3, 1), (23, 3, 2), (27, 3, 2)]
        {
            levels.set(METADATA_VERSION, level);
            assert_eq!(levels.register_broker_record_version(), broker, "at {level}");
            assert_eq!(levels.partition_record_version(), partition, "at {level}");
        }
        assert_eq!(metadata_version_name(27), Some("4.1-IV1"));
        assert_eq!(metadata_version_name(30), None);
        assert!(!metadata_changed_between(27, 23) && metadata_changed_between(27, 22));
    }
}
