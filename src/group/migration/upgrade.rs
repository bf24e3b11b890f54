//! A classic group of consumers becomes a consumer group when a member of the consumer protocol joins it.
//!
//! Each member comes as it is: its subscription is read from what it said under the group's protocol, its
//! partitions from what the leader assigned; both are its target too, at the classic group's generation. The
//! member that has come raises the epoch, and so the others learn by their next heartbeat that they are to join
//! again.

use std::rc::Rc;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;

use crate::group::assignors::Assignment;
use crate::group::classic::{ClassicGroup, Member as ClassicMember, State};
use crate::group::consumer::member::{MemberState, Profile, Progress, names};
use crate::group::consumer::{ConsumerGroup, Timer, records};
use crate::group::{Context, Group, Groups, Outcome, Timer as AnyTimer};
use crate::metadata::Image;
use crate::protocol::api_error::ApiError;
use crate::protocol::embedded::{self, Subscription};
use crate::protocol::stored::group::{ClassicMemberMetadata, ClassicProtocol};

/// The consumer group that a classic group with members becomes. Nothing is changed yet.
///
/// # Errors
/// GROUP_ID_NOT_FOUND with Kafka's sentences: the policy does not allow it, its members are no consumers or
/// too many, what they said cannot be read, or an assignor keeps data of its own that would be lost.
/// UNKNOWN_SERVER_ERROR, as from Kafka, where two members own a partition at once; those of
/// [`ConsumerGroup::check_size`].
pub fn upgraded(classic: &ClassicGroup, context: &Context<'_>) -> Result<ConsumerGroup, ApiError> {
    let id = classic.id();
    let refuse = |why: &str| {
        let message = format!("Cannot upgrade classic group {id} to consumer group because {why}.");
        ApiError::new(ResponseError::GroupIdNotFound, message)
    };
    if !context.settings.consumer_migration_policy.upgrade {
        return Err(refuse("online upgrade is disabled"));
    }
    if !classic.is_consumers() {
        return Err(refuse("the group does not use the consumer embedded protocol"));
    }
    if classic.members.len() > context.settings.consumer_max_size {
        return Err(refuse("the group size exceeds the consumer group maximum size"));
    }
    let malformed = || refuse("the embedded consumer protocol is malformed");
    let mut group = ConsumerGroup::new(id);
    group.apply(records::epoch(id, classic.generation, 0));
    group.apply(records::target_epoch(id, classic.generation));
    for member in classic.members.iter() {
        let subscription = subscription(classic, member).ok_or_else(malformed)?;
        let owned = embedded_assignment(member).ok_or_else(malformed)?;
        if owned.user_data.is_some_and(|data| !data.is_empty()) {
            return Err(refuse(
                "an unsupported custom assignor is in use. Please refer to the documentation or switch to a \
                 default assignor before re-attempting the upgrade",
            ));
        }
        let assigned = assignment(&owned, context.image);
        if owned_already(&group, &assigned) {
            return Err(ApiError::bare(ResponseError::UnknownServerError));
        }
        let progress = Progress {
            epoch: classic.generation,
            previous_epoch: classic.generation,
            state: MemberState::Stable,
            assigned: Arc::new(assigned),
            revoking: Arc::default(),
        };
        let profile = profile(member, &subscription);
        group.check_size(&member.id, None, &profile, context)?;
        group.apply(records::member(id, &member.id, &profile));
        group.apply(records::target(id, &member.id, &progress.assigned));
        group.apply(records::current(id, &member.id, &progress));
    }
    Ok(group)
}

/// What the member said under the group's protocol; before the first round is over under the one that would be
/// chosen.
fn subscription<'a>(classic: &ClassicGroup, member: &'a ClassicMember) -> Option<Subscription<'a>> {
    let under = |protocol: &Rc<str>| member.metadata(protocol);
    let said = classic.protocol.as_ref().and_then(under);
    let said = said.or_else(|| classic.chosen_protocol().as_ref().and_then(under))?;
    Subscription::read(said).ok()
}

/// What the leader assigned; nothing where the member has not synchronised.
fn embedded_assignment(member: &ClassicMember) -> Option<embedded::Assignment<'_>> {
    match member.assignment.is_empty() {
        true => Some(embedded::Assignment::default()),
        false => embedded::Assignment::read(&member.assignment).ok(),
    }
}

/// By topic ids, without topics and partitions that are not there (any more).
fn assignment(owned: &embedded::Assignment<'_>, image: &Image) -> Assignment {
    Assignment::new(owned.partitions.iter().filter_map(|(name, partitions)| {
        let topic = image.topic(name)?;
        let exists = |at: &i32| usize::try_from(*at).is_ok_and(|at| at < topic.partitions.len());
        Some((topic.id, partitions.iter().copied().filter(exists).collect()))
    }))
}

fn owned_already(group: &ConsumerGroup, assigned: &Assignment) -> bool {
    let mut partitions = assigned.topics().flat_map(|(topic, of)| of.iter().map(move |at| (topic, *at)));
    partitions.any(|(topic, partition)| group.owners.owner(topic, partition).is_some())
}

fn profile(member: &ClassicMember, said: &Subscription<'_>) -> Profile {
    let protocol = |own: &crate::group::classic::Protocol| ClassicProtocol {
        name: own.name.to_string(),
        metadata: own.metadata.clone(),
    };
    Profile {
        instance_id: member.instance.as_deref().map(Arc::from),
        rack_id: said.rack.filter(|rack| !rack.is_empty()).map(str::to_owned),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        topics: names(said.topics.iter().copied()),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        classic: Some(ClassicMemberMetadata {
            session_timeout_ms: member.session_timeout_ms,
            supported_protocols: member.protocols.iter().map(protocol).collect(),
        }),
        ..Profile::default()
    }
}

impl Groups {
    /// Puts a consumer group in the place of the classic group that it was made of. Who waits for a round there
    /// is told to join again. True where a round was running: what was assigned may not be all there is, so a
    /// new target is due even where nobody's subscription changes, as when a static member took its own place.
    /// (From Kafka 4.1 such a group would keep partitions that nobody reads.)
    pub(in crate::group) fn upgrade(
        &mut self,
        mut group: Box<ConsumerGroup>,
        context: &Context<'_>,
        outcome: &mut Outcome,
    ) -> bool {
        let id = group.id.clone();
        let was_stable =
            matches!(self.groups.get(&id), Some(Group::Classic(classic)) if classic.state == State::Stable);
        self.end_classic(&id, context, outcome);
        group.metadata_hash = self.consumers.topics.group_hash(group.topics.keys(), context.image);
        group.records(&id).into_iter().for_each(|record| outcome.applied_record(record));
        for member in group.members.values() {
            let Some(classic) = &member.profile.classic else { continue };
            let timer = AnyTimer::Consumer(Timer::Session(id.clone(), member.id.clone()));
            let timeout_ms = u64::try_from(classic.session_timeout_ms).unwrap_or(0);
            self.timers.set(timer, context.now.ticks_ms + timeout_ms);
        }
        tracing::info!(group = %id, members = group.members.len(), "a classic group is a consumer group now");
        self.groups.insert(id, Group::Consumer(group));
        !was_stable
    }
}
