//! Members of the classic protocol in a consumer group. They are assigned to by the coordinator as all others:
//! a round of joining is theirs alone, and nobody waits for anybody.
//!
//! ```text
//! Heartbeat   REBALANCE_IN_PROGRESS where the group's epoch is above the member's, the member has to revoke,
//!             or what it is due has become free; it has its rebalance timeout to join by then
//! JoinGroup   one step towards the member's target; what it still owns is in its subscription. The generation
//!             is its epoch. It has its rebalance timeout to synchronise by then
//! SyncGroup   what it owns now, in the version that it speaks
//! ```

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};

use super::{downgrade, told};
use crate::group::bounds::brief;
use crate::group::classic::{CONSUMER, refused, text};
use crate::group::consumer::heartbeat::{
    Before, check_instance, known_static_member, reconcile_member, replace_member, update_epoch,
};
use crate::group::consumer::member::{Member, MemberState, Profile, names};
use crate::group::consumer::{ConsumerGroup, Timer, records, store, target};
use crate::group::timers::Timers;
use crate::group::{Client, Context, Group, Groups, Outcome, Timer as AnyTimer};
use crate::metadata::Image;
use crate::protocol::embedded::Subscription;
use crate::protocol::stored::group::{ClassicMemberMetadata, ClassicProtocol};

/// From this version of JoinGroup on a member without an id is given one and asked to join again.
const ID_REQUIRED_FROM: i16 = 4;

/// What is known of a join once it cannot be refused any more.
struct Admitted<'a> {
    subscription: Subscription<'a>,
    /// The static member whose place is taken.
    replaces: Option<Arc<str>>,
    /// With this member all are classic, and the group becomes a classic one.
    downgrades: bool,
}

impl Groups {
    /// Lets a classic member join a consumer group that has members.
    ///
    /// # Errors
    /// GROUP_MAX_SIZE_REACHED, INCONSISTENT_GROUP_PROTOCOL, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID; those of
    /// [`ConsumerGroup::check_size`]; UNKNOWN_SERVER_ERROR, as from Kafka, for a subscription that cannot be read.
    /// Then nothing is changed.
    pub(in crate::group) fn join_as_classic(
        &mut self,
        request: &JoinGroupRequest,
        version: i16,
        client: &Client,
        context: &Context<'_>,
        outcome: &mut Outcome,
    ) -> Result<JoinGroupResponse, ResponseError> {
        let group = self.consumer_group(&request.group_id).map_err(|error| error.error)?;
        let is_new = request.member_id.is_empty();
        let id = if is_new { (context.new_id)().to_string() } else { request.member_id.to_string() };
        check_room(group, &id, context)?;
        if !supports(group, request) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        if is_new && request.group_instance_id.is_none() && version >= ID_REQUIRED_FROM {
            return Ok(refused(ResponseError::MemberIdRequired, &id));
        }
        let admitted = admit(group, request, &id, context)?;
        let before = group.members.get(admitted.replaces.as_deref().unwrap_or(&id));
        let profile = match before {
            Some(member) => profile(&member.profile, &admitted, request, version, client),
            None => profile(&Profile::default(), &admitted, request, version, client),
        };
        group.check_size(&id, before, &profile, context).map_err(|error| error.error)?;
        Ok(self.take_join(&admitted, profile, request, &id, context, outcome))
    }

    fn take_join(
        &mut self,
        admitted: &Admitted<'_>,
        profile: Profile,
        request: &JoinGroupRequest,
        id: &str,
        context: &Context<'_>,
        outcome: &mut Outcome,
    ) -> JoinGroupResponse {
        let Groups { groups, timers, consumers, .. } = self;
        let Some(Group::Consumer(group)) = groups.get_mut(request.group_id.as_str()) else {
            unreachable!("a join is admitted to a consumer group");
        };
        let (group_id, generation) = (group.id.clone(), group.epoch);
        let before = match &admitted.replaces {
            Some(old) => replace_member(group, old, id, outcome),
            None => Before::of(group, id),
        };
        let (bump, rebalance_timeout_ms) =
            (profile.topics != before.profile.topics, profile.rebalance_timeout_ms);
        if profile != *before.profile {
            store(group, records::member(&group_id, id, &profile), outcome);
        }
        update_epoch(group, bump, consumers, context, outcome);
        if !admitted.downgrades {
            target::update(group, &mut consumers.next_token, context, outcome);
        }
        if !(admitted.downgrades && bump) {
            let owned = owned(&admitted.subscription, context.image);
            reconcile_member(group, id, Some(&owned), timers, context.now, outcome);
        }
        let response = joined(&group.members[id]);
        // Who is on its way would not hear of the rest in a classic group at rest.
        let rejoin = bump || !group.is_at_rest();
        if admitted.downgrades && self.downgrade(&group_id, &[], generation, rejoin, context, outcome) {
            return response;
        }
        let Some(Group::Consumer(group)) = self.groups.get(&group_id) else { return response };
        let deadlines = Deadlines::of(&group.id, &group.members[id], context);
        deadlines.end(Timer::Join, &mut self.timers);
        deadlines.set(Timer::Session, request.session_timeout_ms, &mut self.timers);
        deadlines.set(Timer::Sync, rebalance_timeout_ms, &mut self.timers);
        response
    }

    /// Tells a classic member of a consumer group what it owns.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION, INCONSISTENT_GROUP_PROTOCOL;
    /// REBALANCE_IN_PROGRESS where the member has to join again.
    pub(in crate::group) fn sync_as_classic(
        &mut self,
        request: &SyncGroupRequest,
        context: &Context<'_>,
    ) -> Result<SyncGroupResponse, ResponseError> {
        let Groups { groups, timers, .. } = self;
        let Some(Group::Consumer(group)) = groups.get(request.group_id.as_str()) else {
            return Err(ResponseError::UnknownMemberId);
        };
        let instance = request.group_instance_id.as_deref();
        let (member, classic) = classic_member(group, &request.member_id, instance, request.generation_id)?;
        let first = classic.supported_protocols.first();
        let differs = |asked: Option<&str>, own: Option<&str>| asked.is_some_and(|asked| own != Some(asked));
        if differs(request.protocol_type.as_deref(), Some(CONSUMER))
            || differs(request.protocol_name.as_deref(), first.map(|first| &*first.name))
        {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        let deadlines = Deadlines::of(&group.id, member, context);
        // Who has to revoke has joined already, and does so by what it is told here.
        if group.epoch > member.progress.epoch && member.progress.state != MemberState::Unrevoked {
            deadlines.begin(Timer::Join, member.profile.rebalance_timeout_ms, timers);
            return Err(ResponseError::RebalanceInProgress);
        }
        deadlines.end(Timer::Sync, timers);
        deadlines.set(Timer::Session, classic.session_timeout_ms, timers);
        let said = first.map(|first| first.metadata.clone()).unwrap_or_default();
        Ok(SyncGroupResponse::default()
            .with_protocol_type(request.protocol_type.clone())
            .with_protocol_name(request.protocol_name.clone())
            .with_assignment(told(&member.progress.assigned, &said, context.image)))
    }

    /// Counts a classic member's session in a consumer group anew.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION; REBALANCE_IN_PROGRESS where the member has to
    /// join again, whose session is counted all the same.
    pub(in crate::group) fn heartbeat_as_classic(
        &mut self,
        request: &HeartbeatRequest,
        context: &Context<'_>,
    ) -> Result<(), ResponseError> {
        let Groups { groups, timers, .. } = self;
        let Some(Group::Consumer(group)) = groups.get(request.group_id.as_str()) else {
            return Err(ResponseError::UnknownMemberId);
        };
        let instance = request.group_instance_id.as_deref();
        let (member, classic) = classic_member(group, &request.member_id, instance, request.generation_id)?;
        let deadlines = Deadlines::of(&group.id, member, context);
        deadlines.set(Timer::Session, classic.session_timeout_ms, timers);
        let must_join = match member.progress.state {
            MemberState::Unrevoked => true,
            MemberState::Unreleased if !waits_for_others(group, member) => true,
            _ => member.progress.epoch < group.epoch,
        };
        if must_join {
            deadlines.begin(Timer::Join, member.profile.rebalance_timeout_ms, timers);
            return Err(ResponseError::RebalanceInProgress);
        }
        Ok(())
    }

    /// Takes members of a consumer group away; each has its own answer. Static ones may be named by their
    /// instance alone, as admins do, whatever protocol they speak.
    pub(in crate::group) fn leave_as_classic(
        &mut self,
        group_id: &str,
        members: &[MemberIdentity],
        context: &Context<'_>,
        outcome: &mut Outcome,
    ) -> Vec<MemberResponse> {
        let Some(Group::Consumer(group)) = self.groups.get(group_id) else { return Vec::new() };
        let (mut gone, mut answers) = (Vec::new(), Vec::with_capacity(members.len()));
        for asked in members {
            let left = leaving(group, asked);
            answers.push(
                MemberResponse::default()
                    .with_member_id(asked.member_id.clone())
                    .with_group_instance_id(asked.group_instance_id.clone())
                    .with_error_code(left.as_ref().err().map_or(0, ResponseError::code)),
            );
            if let Ok(member) = left {
                tracing::info!(
                    group = brief(group_id),
                    member = brief(&member),
                    reason = brief(asked.reason.as_deref().unwrap_or("not provided")),
                    "a member leaves"
                );
                gone.push(member);
            }
        }
        gone.sort_unstable();
        gone.dedup();
        self.fence_consumers(group_id, &gone, context, outcome);
        answers
    }
}

/// Whether `group.consumer.max.size` lets the group take the member.
fn check_room(group: &ConsumerGroup, id: &str, context: &Context<'_>) -> Result<(), ResponseError> {
    let is_member = group.members.contains_key(id);
    match is_member || group.members.len() < context.settings.consumer_max_size {
        true => Ok(()),
        false => Err(ResponseError::GroupMaxSizeReached),
    }
}

/// Whether every classic member can follow one of the protocols that the request names.
fn supports(group: &ConsumerGroup, request: &JoinGroupRequest) -> bool {
    let mut protocols = request.protocols.iter();
    request.protocol_type.as_str() == CONSUMER && protocols.any(|own| group.is_protocol_of_all(&own.name))
}

fn admit<'a>(
    group: &ConsumerGroup,
    request: &'a JoinGroupRequest,
    id: &str,
    context: &Context<'_>,
) -> Result<Admitted<'a>, ResponseError> {
    let mut replaces = None;
    let mut downgrades = false;
    if let Some(instance) = request.group_instance_id.as_deref() {
        let known = group.static_member(instance);
        if request.member_id.is_empty() {
            replaces = known.map(|member| member.id.clone());
        } else {
            known_static(group, id, instance)?;
        }
        downgrades = known.is_some_and(|known| {
            !known.is_classic()
                && group.classic_member_count() == group.members.len() - 1
                && downgrade::is_allowed(group, group.members.len(), context.settings)
        });
    }
    // All protocols carry the same subscription.
    let said: &[u8] = request.protocols.first().map_or(&[], |first| &first.metadata);
    let subscription = Subscription::read(said).map_err(|_| ResponseError::UnknownServerError)?;
    Ok(Admitted { subscription, replaces, downgrades })
}

/// # Errors
/// UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID.
fn known_static<'a>(group: &'a ConsumerGroup, id: &str, instance: &str) -> Result<&'a Member, ResponseError> {
    let member = known_static_member(group, instance).map_err(|error| error.error)?;
    check_instance(member, id, instance).map_err(|error| error.error)?;
    Ok(member)
}

/// The member of a request that has to come from a classic member of that epoch.
///
/// # Errors
/// UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION.
fn classic_member<'a>(
    group: &'a ConsumerGroup,
    id: &str,
    instance: Option<&str>,
    generation: i32,
) -> Result<(&'a Member, &'a ClassicMemberMetadata), ResponseError> {
    let member = match instance {
        Some(instance) => known_static(group, id, instance)?,
        None => group.members.get(id).ok_or(ResponseError::UnknownMemberId)?,
    };
    let classic = member.profile.classic.as_ref().ok_or(ResponseError::UnknownMemberId)?;
    if member.progress.epoch != generation {
        return Err(ResponseError::IllegalGeneration);
    }
    Ok((member, classic))
}

/// The member that a LeaveGroup names.
///
/// # Errors
/// UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID.
fn leaving(group: &ConsumerGroup, asked: &MemberIdentity) -> Result<Arc<str>, ResponseError> {
    let id = asked.member_id.as_str();
    let member = match asked.group_instance_id.as_deref() {
        None => group.members.get(id).ok_or(ResponseError::UnknownMemberId)?,
        Some(instance) if id.is_empty() => {
            group.static_member(instance).ok_or(ResponseError::UnknownMemberId)?
        }
        Some(instance) => known_static(group, id, instance)?,
    };
    Ok(member.id.clone())
}

/// Whether others still own some of what the member is due.
fn waits_for_others(group: &ConsumerGroup, member: &Member) -> bool {
    let Some(target) = group.targets.get(&member.id) else { return false };
    let mut due = target.topics().flat_map(|(topic, of)| of.iter().map(move |at| (topic, *at)));
    due.any(|(topic, partition)| {
        !member.progress.assigned.contains(topic, partition) && group.owners.owner(topic, partition).is_some()
    })
}

/// What the member is after its join. What it said as a member of the consumer protocol and cannot say here
/// stays.
fn profile(
    before: &Profile,
    admitted: &Admitted<'_>,
    request: &JoinGroupRequest,
    version: i16,
    client: &Client,
) -> Profile {
    let said = &admitted.subscription;
    let protocols = request.protocols.iter().map(|own| ClassicProtocol {
        name: own.name.to_string(),
        metadata: Bytes::copy_from_slice(&own.metadata),
    });
    // Version 0 has no rebalance timeout; the session timeout stands for it.
    let rebalance_timeout_ms = match (version, request.rebalance_timeout_ms) {
        (0, _) => request.session_timeout_ms,
        (_, -1) => before.rebalance_timeout_ms,
        (_, timeout_ms) => timeout_ms,
    };
    let rack = said.rack.filter(|rack| !rack.is_empty()).map(str::to_owned);
    Profile {
        instance_id: request.group_instance_id.as_deref().map(Arc::from).or(before.instance_id.clone()),
        rack_id: rack.or_else(|| before.rack_id.clone()),
        client_id: client.id.clone(),
        client_host: client.host.clone(),
        topics: names(said.topics.iter().copied()),
        regex: before.regex.clone(),
        rebalance_timeout_ms,
        assignor: before.assignor.clone(),
        classic: Some(ClassicMemberMetadata {
            session_timeout_ms: request.session_timeout_ms,
            supported_protocols: protocols.collect(),
        }),
    }
}

/// What the member says that it owns, of topics that exist.
fn owned(subscription: &Subscription<'_>, image: &Image) -> Vec<TopicPartitions> {
    let by_id = |(name, partitions): &(&str, Vec<i32>)| {
        let topic = image.topic(name)?;
        Some(TopicPartitions::default().with_topic_id(topic.id.0).with_partitions(partitions.clone()))
    };
    subscription.owned.iter().filter_map(by_id).collect()
}

/// The answer to a member that has joined. Nobody leads: the coordinator assigns.
fn joined(member: &Member) -> JoinGroupResponse {
    let classic = member.profile.classic.as_ref();
    let protocol = classic.and_then(|classic| classic.supported_protocols.first());
    JoinGroupResponse::default()
        .with_member_id(text(&member.id))
        .with_generation_id(member.progress.epoch)
        .with_protocol_type(Some(text(CONSUMER)))
        .with_protocol_name(protocol.map(|protocol| text(&protocol.name)))
}

/// The deadlines of one member.
struct Deadlines {
    group: Rc<str>,
    member: Arc<str>,
    now_ms: u64,
}

type Kind = fn(Rc<str>, Arc<str>) -> Timer;

impl Deadlines {
    fn of(group: &Rc<str>, member: &Member, context: &Context<'_>) -> Deadlines {
        Deadlines { group: group.clone(), member: member.id.clone(), now_ms: context.now.ticks_ms }
    }

    fn timer(&self, kind: Kind) -> AnyTimer {
        AnyTimer::Consumer(kind(self.group.clone(), self.member.clone()))
    }

    fn set(&self, kind: Kind, timeout_ms: i32, timers: &mut Timers<AnyTimer>) {
        timers.set(self.timer(kind), self.now_ms + u64::try_from(timeout_ms).unwrap_or(0));
    }

    /// Sets it where it does not run yet.
    fn begin(&self, kind: Kind, timeout_ms: i32, timers: &mut Timers<AnyTimer>) {
        if !timers.is_set(&self.timer(kind)) {
            self.set(kind, timeout_ms, timers);
        }
    }

    fn end(&self, kind: Kind, timers: &mut Timers<AnyTimer>) {
        timers.cancel(&self.timer(kind));
    }
}
