//! UpdateFeatures: levels that move, and levels that may not.

use serde_json::{Value, json};

use crate::cases::{Case, every};
use crate::pair::Pair;

pub const API: &str = "UpdateFeatures";

pub const UPGRADE: i8 = 1;
pub const SAFE: i8 = 2;
const UNSAFE: i8 = 3;

pub fn update(pair: &mut Pair, v: i16, features: &[(&str, i16, i8)], dry: bool) {
    let one = |(name, level, kind): &(&str, i16, i8)| json!({"feature": name, "maxVersionLevel": level, "allowDowngrade": *kind != UPGRADE, "upgradeType": kind});
    let list: Vec<Value> = features.iter().map(one).collect();
    pair.both(API, v, json!({"timeoutMs": 10000, "featureUpdates": list, "validateOnly": dry}));
}

pub const CASES: &[Case] = &[
    every("features and levels that are not there", |pair, v| {
        update(pair, v, &[], false);
        for (name, level) in [
            ("no.such.feature", 1),
            ("", 1),
            ("metadata.version", 0),
            ("metadata.version", 100),
            ("metadata.version", -1),
        ] {
            for kind in [UPGRADE, SAFE, UNSAFE, 0, 9] {
                update(pair, v, &[(name, level, kind)], true);
            }
            update(pair, v, &[(name, level, UPGRADE)], false);
        }
    }),
    every("what would move, validated only", |pair, v| {
        for (name, level) in [
            ("metadata.version", 27),
            ("metadata.version", 7),
            ("metadata.version", 26),
            ("kraft.version", 1),
            ("kraft.version", 0),
            ("eligible.leader.replicas.version", 0),
            ("eligible.leader.replicas.version", 1),
            ("group.version", 0),
            ("group.version", 1),
            ("group.version", 2),
        ] {
            for kind in [UPGRADE, SAFE, UNSAFE] {
                update(pair, v, &[(name, level, kind)], true);
            }
        }
        update(pair, v, &[("metadata.version", 27, UPGRADE), ("no.such.feature", 1, UPGRADE)], true);
        update(pair, v, &[("kraft.version", 1, UPGRADE), ("kraft.version", 0, SAFE)], true);
    }),
    every("a level moves for good", |pair, v| {
        for level in [0, 1] {
            let kind = if level == 0 { SAFE } else { UPGRADE };
            update(pair, v, &[("eligible.leader.replicas.version", level, kind)], false);
            pair.settles(
                "ApiVersions",
                4,
                json!({"clientSoftwareName": "judge", "clientSoftwareVersion": "1"}),
            );
            pair.settles(
                "ApiVersions",
                3,
                json!({"clientSoftwareName": "judge", "clientSoftwareVersion": "1"}),
            );
        }
    }),
];
