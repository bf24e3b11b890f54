//! Every record, in every version, against bytes that Apache Kafka 4.1 made of it.
//!
//! `fixtures/records.tsv` has a line for each: name, version, bytes in hexadecimal (of a control record the
//! key, a blank, the value), and Kafka's own JSON of it. It was written by
//! `fixtures/Records.java`: `java -cp 'LIBS/*' Records.java | sort -u`.

use super::control::ControlRecord;
use super::metadata::{Record, Versioned};
use super::*;

const RECORDS: &str = include_str!("fixtures/records.tsv");

pub(super) fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn lines() -> impl Iterator<Item = (&'static str, i16, &'static str, serde_json::Value)> {
    RECORDS.lines().map(|line| {
        let mut fields = line.split('\t');
        let mut next = || fields.next().unwrap();
        let (name, version, hex, json) = (next(), next(), next(), next());
        (name, version.parse().unwrap(), hex, serde_json::from_str(json).unwrap())
    })
}

/// Checks the numbers and texts of the record's own fields against Kafka's JSON, by name.
pub(super) fn check_fields(debug: &str, json: &serde_json::Value) {
    for (key, value) in json.as_object().unwrap() {
        let mut name = String::new();
        for (i, c) in key.chars().enumerate() {
            if c.is_ascii_uppercase() && i > 0 && !name.ends_with("_k") {
                name.push('_');
            }
            name.push(c.to_ascii_lowercase());
        }
        let name = name.replace("k_raft", "kraft");
        let wanted = match value {
            serde_json::Value::Number(number) => number.to_string(),
            serde_json::Value::String(text) if text.starts_with("text") => text.clone(),
            serde_json::Value::Bool(value) => value.to_string(),
            _ => continue,
        };
        let at = debug.find(&format!(" {name}: ")).unwrap_or_else(|| panic!("{name} in {debug}"));
        let found = &debug[at + name.len() + 3..];
        let found = &found[..found.find(", ").unwrap_or(found.len())];
        assert!(found.contains(&wanted), "{name} is {found}, not {wanted}");
    }
}

#[test]
fn every_metadata_record_is_kafkas_to_the_byte() {
    let mut count = 0;
    for (name, version, hex, json) in lines().filter(|line| !line.2.contains(' ')) {
        let encoded = bytes(hex);
        let versioned = Versioned::decode(&encoded).unwrap_or_else(|e| panic!("{name} {version}: {e}"));
        assert_eq!((versioned.record.name(), versioned.version), (name, version));
        assert_eq!(versioned.encode().unwrap(), encoded, "{name} {version}");
        check_fields(&format!("{:?}", versioned.record), &json);
        for cut in 0..encoded.len() {
            assert!(Versioned::decode(&encoded[..cut]).is_err(), "{name} {version} cut at {cut}");
        }
        count += 1;
    }
    assert!(count > 60, "{count} records");
}

#[test]
fn every_control_record_is_kafkas_to_the_byte() {
    let mut count = 0;
    for (name, _, hex, json) in lines().filter(|line| line.2.contains(' ')) {
        let (key, value) = hex.split_once(' ').unwrap();
        let (key, value) = (bytes(key), bytes(value));
        let record = ControlRecord::decode(&key, &value).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(record.encode().unwrap(), (key.clone(), value.clone()), "{name}");
        check_fields(&format!("{record:?}"), &json);
        for cut in 0..value.len() {
            assert!(ControlRecord::decode(&key, &value[..cut]).is_err(), "{name} cut at {cut}");
        }
        count += 1;
    }
    assert_eq!(count, 6);
}

#[test]
fn what_nobody_here_knows_is_an_error_that_says_so() {
    let decode = |bytes: &[u8]| Versioned::decode(bytes).unwrap_err();
    assert_eq!(decode(&[2, 20, 0, 0]), StoredError::FrameVersion(2));
    assert_eq!(decode(&[1, 99, 0, 0]), StoredError::UnknownType(99));
    let unknown = StoredError::UnknownVersion { record: "NoOpRecord", version: 1, min: 0, max: 0 };
    assert_eq!(decode(&[1, 20, 1, 0]), unknown);
    assert_eq!(decode(&[1, 20, 0, 0, 7]), StoredError::Trailing(1));
    // An array that claims more items than there are bytes, a varint that never ends.
    assert!(Versioned::decode(&[1, 26, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
    assert!(Versioned::decode(&[1, 17, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 5, 0xff]).is_err());
}

#[test]
fn a_field_that_a_version_lacks_must_be_unset_and_an_unknown_tag_is_skipped() {
    let change = metadata::BrokerRegistrationChangeRecord {
        in_controlled_shutdown: 1,
        ..metadata::BrokerRegistrationChangeRecord::default()
    };
    let error = Record::from(change).at(0).encode().unwrap_err();
    assert!(matches!(error, StoredError::NotInVersion { field: "in_controlled_shutdown", .. }));
    // NoOpRecord with tag 9 of two bytes.
    let record = Versioned::decode(&[1, 20, 0, 1, 9, 2, 7, 7]).unwrap();
    assert_eq!(record.record.name(), "NoOpRecord");
}
