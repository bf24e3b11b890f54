//! What the members of a group of consumers say they subscribe to.
//!
//! ```text
//! version     i16     0 or more; each version begins with the fields of version 0
//! topics      i32 count, then for each a length i16 and UTF-8 bytes
//! ```
//!
//! The schema is Kafka's ConsumerProtocolSubscription. A count is not believed before the bytes were seen.

/// The topics of a subscription; `None` for bytes that are not one.
pub fn topics(metadata: &[u8]) -> Option<Vec<&str>> {
    let (version, rest) = metadata.split_first_chunk::<2>()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let count = usize::try_from(i32::from_be_bytes(*count)).ok()?;
    let mut topics = Vec::new();
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        let (topic, after) = after.split_at_checked(length)?;
        topics.push(std::str::from_utf8(topic).ok()?);
        rest = after;
    }
    user_data_follows(rest).then_some(topics)
}

/// Whether nullable bytes with an i32 length follow, the last field of version 0.
fn user_data_follows(rest: &[u8]) -> bool {
    rest.split_first_chunk::<4>().is_some_and(|(length, rest)| {
        let length = i32::from_be_bytes(*length);
        usize::try_from(length).map_or(length == -1, |length| length <= rest.len())
    })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::ConsumerProtocolSubscription;
    use kafka_protocol::protocol::{Encodable, StrBytes};

    use super::*;

    #[test]
    fn reads_the_topics_of_every_version() {
        for version in 0..=3i16 {
            let subscription = ConsumerProtocolSubscription::default()
                .with_topics(vec![StrBytes::from_static_str("a"), StrBytes::from_static_str("b-é")]);
            let mut bytes = BytesMut::from(&version.to_be_bytes()[..]);
            subscription.encode(&mut bytes, version).unwrap();
            assert_eq!(topics(&bytes), Some(vec!["a", "b-é"]));
            // A version that is not known yet begins with the same fields.
            bytes[..2].copy_from_slice(&100i16.to_be_bytes());
            assert_eq!(topics(&bytes), Some(vec!["a", "b-é"]));
        }
    }

    #[test]
    fn bytes_that_are_no_subscription_are_told_apart() {
        let whole = [&[0, 0, 0, 0, 0, 1, 0, 1][..], b"a", &[0xff; 4]].concat();
        assert_eq!(topics(&whole), Some(vec!["a"]));
        for end in 0..whole.len() {
            assert_eq!(topics(&whole[..end]), None, "{end} bytes");
        }
        assert_eq!(topics(&[0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(topics(&[0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 1, b'a']), None);
        assert_eq!(topics(&[0, 0, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(topics(&[0, 0, 0, 0, 0, 1, 0, 1, 0xc3, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
