//! What clients make a consumer group keep, in bytes: counted as members come, change and go, and held against
//! [`bounds`] before a heartbeat or a join changes anything.

use kafka_protocol::error::ResponseError;

use super::Context;
use super::member::{Member, Names, Profile, same_names};
use super::state::ConsumerGroup;
use crate::group::assignors::Assignment;
use crate::group::{bounds, held};
use crate::protocol::api_error::ApiError;

/// What a member takes by itself: all but its topics and its expression, which others may share. Its id is in
/// three records of the group, which are written together when the log is shortened; the names of its protocols are
/// in the group's counts besides.
pub fn own_bytes(id: &str, profile: &Profile) -> usize {
    let classic = profile.classic.iter().flat_map(|classic| &classic.supported_protocols);
    let protocol_names: usize = classic.map(|own| own.name.len()).sum();
    bounds::MEMBER_OVERHEAD_BYTES + 3 * id.len() + texts_bytes(profile) + protocol_names
}

/// What a list of topic names takes.
pub fn names_bytes(names: &Names) -> usize {
    names.iter().map(|name| name.len() + bounds::NAME_OVERHEAD_BYTES).sum()
}

/// What an expression takes, whoever subscribes to it.
pub fn expression_bytes(regex: &str) -> usize {
    regex.len() + bounds::EXPRESSION_OVERHEAD_BYTES
}

/// What a target takes, with what of it its member has and the owners of its partitions.
pub fn assignment_bytes(target: &Assignment) -> usize {
    bounds::ASSIGNED_PARTITION_BYTES * target.partition_count()
}

fn texts_bytes(profile: &Profile) -> usize {
    let length = |text: Option<&str>| text.map_or(0, str::len);
    let classic = profile.classic.iter().flat_map(|classic| &classic.supported_protocols);
    profile.client_id.len()
        + profile.client_host.len()
        + length(profile.instance_id.as_deref())
        + length(profile.rack_id.as_deref())
        + length(profile.assignor.as_deref())
        + classic.map(|own| own.name.len() + own.metadata.len() + FIELD_BYTES).sum::<usize>()
}

/// About what a text takes in a record or in a list besides its bytes.
const FIELD_BYTES: usize = 8;

/// About what the record of the member takes.
fn record_bytes(group: &str, id: &str, profile: &Profile) -> usize {
    let topics: usize = profile.topics.iter().map(|name| name.len() + 2).sum();
    let regex = profile.regex().map_or(0, |regex| regex.len());
    bounds::RECORD_BYTES + group.len() + id.len() + texts_bytes(profile) + topics + regex
}

impl ConsumerGroup {
    /// Whether the group may keep the member as `after`; `before` is the member whose place it takes. Looks at this
    /// member alone.
    ///
    /// # Errors
    /// INVALID_REQUEST for a member, GROUP_MAX_SIZE_REACHED for a group that would be too large,
    /// COORDINATOR_NOT_AVAILABLE where the groups of the core take all the memory that they may;
    /// UNKNOWN_SERVER_ERROR, as from Kafka, where the member's record would not fit the offsets topic.
    pub(in crate::group) fn check_size(
        &self,
        id: &str,
        before: Option<&Member>,
        after: &Profile,
        context: &Context<'_>,
    ) -> Result<(), ApiError> {
        let own = own_bytes(id, after);
        let names = names_bytes(&after.topics);
        if own + names > bounds::MEMBER_BYTES_MAX {
            let message = format!("The member would take more than {} bytes.", bounds::MEMBER_BYTES_MAX);
            return Err(ApiError::new(ResponseError::InvalidRequest, message));
        }
        let batch_max = bounds::batch_bytes_max(context.image, context.settings);
        if record_bytes(&self.id, id, after) > batch_max {
            return Err(ApiError::bare(ResponseError::UnknownServerError));
        }
        let brings = after.regex().filter(|regex| self.regexes.subscriber_count(regex) == 0);
        let leaves = before.and_then(|member| member.profile.regex());
        let leaves = leaves.filter(|regex| self.regexes.subscriber_count(regex) == 1);
        let expressions = self.regexes.expression_count() - usize::from(leaves.is_some());
        if brings.is_some() && expressions >= bounds::EXPRESSIONS_MAX {
            let most = bounds::EXPRESSIONS_MAX;
            let message =
                format!("The consumer group has reached its maximum of {most} regular expressions.");
            return Err(ApiError::new(ResponseError::GroupMaxSizeReached, message));
        }
        let is_known = self.subscriptions.contains_key(&after.topics);
        let grows =
            own + if is_known { 0 } else { names } + brings.map_or(0, |regex| expression_bytes(regex));
        let shrinks = before.map_or(0, |member| {
            let is_last = self.subscriptions.get(&member.profile.topics) == Some(&1)
                && member.profile.topics != after.topics;
            own_bytes(&member.id, &member.profile)
                + if is_last { names_bytes(&member.profile.topics) } else { 0 }
                + leaves.map_or(0, |regex| expression_bytes(regex))
        });
        if grows > shrinks && self.bytes.get() - shrinks + grows > bounds::GROUP_BYTES_MAX {
            let message = format!(
                "The members of the consumer group would take more than {} bytes.",
                bounds::GROUP_BYTES_MAX
            );
            return Err(ApiError::new(ResponseError::GroupMaxSizeReached, message));
        }
        if grows.saturating_sub(shrinks) > held::room() {
            return Err(ApiError::bare(ResponseError::CoordinatorNotAvailable));
        }
        Ok(())
    }

    /// Whether the group may keep these topics for one of its expressions, and the offsets topic their record.
    pub(super) fn has_room_for_resolved(&self, regex: &str, topics: &Names, context: &Context<'_>) -> bool {
        let before = self.regexes.resolution(regex).map(|resolved| &resolved.topics);
        if before.is_some_and(|before| same_names(before, topics)) {
            return true;
        }
        let texts: usize = topics.iter().map(|name| name.len() + 2).sum();
        let record = bounds::RECORD_BYTES + self.id.len() + regex.len() + texts;
        if record > bounds::batch_bytes_max(context.image, context.settings) {
            return false;
        }
        let grows = if self.subscriptions.contains_key(topics) { 0 } else { names_bytes(topics) };
        let alone = before.filter(|before| self.subscriptions.get(*before) == Some(&1));
        let shrinks = alone.map_or(0, names_bytes);
        grows <= shrinks
            || (self.bytes.get() - shrinks + grows <= bounds::GROUP_BYTES_MAX
                && grows - shrinks <= held::room())
    }
}

#[cfg(test)]
impl ConsumerGroup {
    /// Checks that what is counted is there.
    ///
    /// # Panics
    /// Where it is not.
    pub fn check_bytes(&self) {
        let members = self.members.values().map(|member| own_bytes(&member.id, &member.profile));
        let subscriptions = self.subscriptions.keys().map(names_bytes);
        let expressions: std::collections::BTreeSet<_> =
            self.members.values().filter_map(|member| member.profile.regex()).collect();
        let expressions = expressions.into_iter().map(|regex| expression_bytes(regex));
        let counted: usize = members.chain(subscriptions).chain(expressions).sum();
        assert_eq!(self.bytes.get(), counted, "{}", self.id);
        let assigned: usize = self.targets.values().map(|target| assignment_bytes(target)).sum();
        assert_eq!(self.assigned_bytes.get(), assigned, "{}", self.id);
        let mut lists = ahash::AHashMap::<Names, usize>::default();
        let named = self.members.values().map(|member| &member.profile.topics);
        for topics in named.chain(self.regexes.resolved().map(|(_, resolved)| &resolved.topics)) {
            *lists.entry(topics.clone()).or_default() += 1;
        }
        assert_eq!(self.subscriptions, lists, "{}", self.id);
        let mut protocols = ahash::AHashMap::<String, usize>::default();
        for name in self.members.values().flat_map(|member| member.profile.protocol_names()) {
            *protocols.entry(name.to_owned()).or_default() += 1;
        }
        assert_eq!(self.protocols, protocols, "{}", self.id);
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ConsumerGroupHeartbeatRequest;

    use super::*;
    use crate::group::consumer::tests::{beat, join, join_by_regex, join_static};
    use crate::group::testing::Fixture;
    use crate::protocol::wire::StrBytes;

    fn names(count: usize, bytes: usize) -> Vec<String> {
        (0..count).map(|at| format!("{at:0bytes$}")).collect()
    }

    fn refs(names: &[String]) -> Vec<&str> {
        names.iter().map(String::as_str).collect()
    }

    /// The same as [`Fixture::consumer_heartbeat`] without a look at the replay, which takes long for large groups.
    fn heard(it: &mut Fixture, request: &ConsumerGroupHeartbeatRequest) -> Option<ResponseError> {
        it.try_heartbeat(request).err().map(|error| error.error)
    }

    /// A member that is there says all of itself anew.
    fn says(it: &Fixture, member: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
        let epoch = it.consumers().member(member).expect("it is there").progress.epoch;
        join(member, topics).with_member_epoch(epoch)
    }

    #[test]
    fn a_member_whose_record_would_not_fit_the_offsets_topic_is_refused() {
        let mut it = Fixture::new();
        let many = names(100, 30_000);
        assert_eq!(it.refused(&join("a", &refs(&many))), ResponseError::UnknownServerError);
        assert!(it.groups.group("g").is_none(), "nothing is made for it");
        it.ok(&join("a", &refs(&many[..30])));
        let grown = join("a", &refs(&many)).with_member_epoch(1);
        assert_eq!(it.refused(&grown), ResponseError::UnknownServerError);
        it.ok(&beat("a", 1));
    }

    #[test]
    fn a_member_is_bounded_in_bytes_whatever_a_batch_may_hold() {
        let mut it = Fixture::with("message.max.bytes=100000000");
        let many = names(400, 30_000);
        assert_eq!(it.refused(&join("a", &refs(&many))), ResponseError::InvalidRequest);
        // Short names take memory besides their text.
        let many = names(bounds::MEMBER_BYTES_MAX / bounds::NAME_OVERHEAD_BYTES, 1);
        assert_eq!(it.refused(&join("a", &refs(&many))), ResponseError::InvalidRequest);
    }

    #[test]
    fn the_members_of_a_group_are_bounded_together_and_what_they_share_counts_once() {
        let mut it = Fixture::with("message.max.bytes=100000000");
        let many = names(250, 30_000);
        let own = |at: usize| {
            let mut topics = refs(&many);
            topics[0] = "own";
            topics.truncate(250 - at);
            topics
        };
        let full = Some(ResponseError::GroupMaxSizeReached);
        for at in 0..6 {
            assert_eq!(heard(&mut it, &join(&format!("m{at}"), &own(at))), None);
        }
        assert_eq!(heard(&mut it, &join("m6", &own(6))), full);
        // What another has already takes nothing, and a member that changes gives back what it had.
        assert_eq!(heard(&mut it, &join("m6", &own(5))), None);
        for topics in [&own(6)[..], &["t"]] {
            let request = says(&it, "m0", topics);
            assert_eq!(heard(&mut it, &request), None);
        }
        assert_eq!(heard(&mut it, &join("m7", &own(7))), None);
        assert_eq!(heard(&mut it, &join("m8", &own(8))), full);
        assert_eq!(heard(&mut it, &beat("m7", -1)), None);
        assert_eq!(heard(&mut it, &join("m8", &own(8))), None);
        it.groups = it.replayed();
        assert_eq!(heard(&mut it, &join("m7", &own(7))), full);
    }

    #[test]
    fn long_ids_count_for_their_group() {
        let mut it = Fixture::new();
        let long = "x".repeat(32_000);
        let full = (0..1_000usize).find(|at| {
            let request = join_static(&format!("{long}{at}"), &format!("{long}{at}"), &[])
                .with_rack_id(Some(StrBytes::from_string(long.clone())));
            heard(&mut it, &request) == Some(ResponseError::GroupMaxSizeReached)
        });
        let fit = bounds::GROUP_BYTES_MAX / (5 * 32_000 + 1_100);
        assert!(full.is_some_and(|full| full.abs_diff(fit) < 10), "{full:?} members of {fit}");
        it.check_replay();
    }

    #[test]
    fn the_expressions_of_a_group_are_bounded() {
        let mut it = Fixture::new();
        let regex = |at: usize| format!("t{at}");
        for at in 0..bounds::EXPRESSIONS_MAX {
            it.ok(&join_by_regex(&format!("m{at}"), &regex(at)));
        }
        let next = regex(bounds::EXPRESSIONS_MAX);
        assert_eq!(it.refused(&join_by_regex("m", &next)), ResponseError::GroupMaxSizeReached);
        // One that is there may be taken, and one's own changed.
        it.ok(&join_by_regex("m", &regex(0)));
        it.ok(&join_by_regex("m1", &next));
        it.work();
        it.check_replay();
        assert_eq!(it.refused(&join_by_regex("m", &regex(1))), ResponseError::GroupMaxSizeReached);
        it.ok(&beat("m2", -1));
        it.ok(&join_by_regex("m", &regex(1)));
    }
}
