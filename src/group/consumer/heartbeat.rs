//! ConsumerGroupHeartbeat: a member joins, stays, says what it owns, and leaves; and who is fenced when a
//! deadline passes.
//!
//! A heartbeat has three parts: the member is made or changed, which may raise the group's epoch; the target is
//! brought to that epoch; the member takes one step towards its target. One that changes nothing looks at its
//! own member alone and stores nothing.

use std::rc::Rc;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment as Told, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::member::{JOIN_EPOCH, LEAVE_EPOCH, Member, MemberState, Profile, Progress, STATIC_LEAVE_EPOCH};
use super::regexes::Kept;
use super::state::{ConsumerGroup, Timeouts};
use super::{Context, Outcome, Shared, Timer, assignors, reconcile, records, regexes, store, target};
use crate::clock::Now;
use crate::group::assignors::Assignment;
use crate::group::bounds::brief;
use crate::group::by_name::ByName;
use crate::group::migration::upgraded;
use crate::group::regex::{Compiled, RegexRefused, TopicRegex};
use crate::group::settings::Settings;
use crate::group::timers::Timers;
use crate::group::{Client, Group, Groups, Timer as AnyTimer};
use crate::metadata::ResourceType;
use crate::protocol::api_error::ApiError;
use crate::protocol::wire::StrBytes;

/// From this version on the client names its member.
const CLIENT_NAMES_MEMBER_FROM: i16 = 1;

/// What of a heartbeat is refused before any group is looked at.
///
/// # Errors
/// INVALID_REQUEST, UNSUPPORTED_ASSIGNOR, with Kafka's sentences.
pub fn check_heartbeat(
    request: &ConsumerGroupHeartbeatRequest,
    version: i16,
    settings: &Settings,
) -> Result<(), ApiError> {
    let refuse = |message: &str| Err(ApiError::new(ResponseError::InvalidRequest, message));
    // As Java trims: every character up to the blank.
    let blank = |text: &str| text.chars().all(|c| c <= ' ');
    let epoch = request.member_epoch;
    if (version >= CLIENT_NAMES_MEMBER_FROM || epoch > JOIN_EPOCH || epoch == LEAVE_EPOCH)
        && blank(&request.member_id)
    {
        return refuse("MemberId can't be empty.");
    }
    if blank(&request.group_id) {
        return refuse("GroupId can't be empty.");
    }
    if request.instance_id.as_deref().is_some_and(blank) {
        return refuse("InstanceId can't be empty.");
    }
    if request.rack_id.as_deref().is_some_and(blank) {
        return refuse("RackId can't be empty.");
    }
    if epoch == JOIN_EPOCH {
        if request.rebalance_timeout_ms == -1 {
            return refuse("RebalanceTimeoutMs must be provided in first request.");
        }
        if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
            return refuse("TopicPartitions must be empty when (re-)joining.");
        }
        if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
            return refuse(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
            );
        }
    } else if epoch == STATIC_LEAVE_EPOCH {
        if request.instance_id.is_none() {
            return refuse("InstanceId can't be null.");
        }
    } else if epoch < STATIC_LEAVE_EPOCH {
        return refuse("MemberEpoch is invalid.");
    }
    check_assignor(request, settings)
}

fn check_assignor(request: &ConsumerGroupHeartbeatRequest, settings: &Settings) -> Result<(), ApiError> {
    let Some(name) = request.server_assignor.as_deref() else { return Ok(()) };
    if assignors(settings).any(|assignor| assignor.name() == name) {
        return Ok(());
    }
    let names: Vec<&str> = assignors(settings).map(|assignor| assignor.name()).collect();
    let names = names.join(", ");
    let message = format!("ServerAssignor {name} is not supported. Supported assignors: {names}.");
    Err(ApiError::new(ResponseError::UnsupportedAssignor, message))
}

/// Why a heartbeat is not decided; nothing is changed then.
#[derive(Debug)]
pub enum Undecided {
    Refused(ApiError),
    /// It brings an expression that nobody in the group has: it is to come again with that compiled.
    NotCompiled,
}

impl From<ApiError> for Undecided {
    fn from(error: ApiError) -> Undecided {
        Undecided::Refused(error)
    }
}

/// What is known of a heartbeat once it cannot be refused any more.
#[derive(Default)]
struct Admitted {
    /// An empty classic group of that name makes room.
    replaces_classic: bool,
    /// What a classic group of that name becomes.
    upgraded: Option<Box<ConsumerGroup>>,
    /// The static member whose place is taken.
    replaces: Option<Arc<str>>,
    /// The member brings an expression that nobody has; here it is, compiled.
    brings: Option<TopicRegex>,
    /// The member takes an expression that is resolved already.
    takes_resolved: bool,
    /// The member leaves an expression that nobody else has.
    drops_regex: bool,
    /// What the member says of itself now, where that is something new.
    profile: Option<Profile>,
}

impl Groups {
    /// Decides a heartbeat that [`check_heartbeat`] let pass and that names its member. `compiled` is what became
    /// of its expression, where that is known.
    ///
    /// # Errors
    /// [`Undecided::NotCompiled`] where that has to be known and is not. GROUP_ID_NOT_FOUND, UNKNOWN_MEMBER_ID,
    /// FENCED_MEMBER_EPOCH, UNRELEASED_INSTANCE_ID, FENCED_INSTANCE_ID, GROUP_MAX_SIZE_REACHED,
    /// INVALID_REGULAR_EXPRESSION, COORDINATOR_NOT_AVAILABLE, and those of [`ConsumerGroup::check_size`].
    pub fn consumer_heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        compiled: Option<Compiled>,
        client: &Client,
        context: &Context<'_>,
        outcome: &mut Outcome,
    ) -> Result<ConsumerGroupHeartbeatResponse, Undecided> {
        if request.member_epoch < JOIN_EPOCH {
            return Ok(self.consumer_leave(request, context, outcome)?);
        }
        let mut admitted = self.admit(request, client, context)?;
        self.admit_regex(request, compiled, &mut admitted)?;
        if admitted.replaces_classic {
            self.end_classic(&request.group_id, context, outcome);
        }
        let upgraded = admitted.upgraded.take();
        let was_in_round = upgraded.is_some_and(|upgraded| self.upgrade(upgraded, context, outcome));
        let Groups { groups, timers, consumers, .. } = self;
        let group = group_mut(groups, &request.group_id);
        let (old, last_refresh) =
            (take_place(group, request, &mut admitted, outcome), group.regexes.newest());
        update_member(group, request, &old, &mut admitted, outcome);
        let bump = was_in_round || old.must_bump(group, request, &admitted);
        let brings = admitted.brings.take().is_some_and(|compiled| {
            let regex = request.subscribed_topic_regex.as_deref().unwrap_or_default();
            group.regexes.keep_compiled(regex, Kept::new(Arc::new(compiled)));
            true
        });
        regexes::refresh(group, brings, last_refresh, consumers, context, outcome);
        update_epoch(group, bump, consumers, context, outcome);
        target::update(group, &mut consumers.next_token, context, outcome);
        let reported = request.topic_partitions.as_deref();
        reconcile_member(group, &request.member_id, reported, timers, context.now, outcome);
        let timeouts = group.timeouts(context);
        let member = &group.members[&*request.member_id];
        begin_session(timers, &group.id, &member.id, timeouts, context.now);
        Ok(answer(request, &old.progress, member, timeouts))
    }

    /// All that a heartbeat can be refused for, but for its expression; changes nothing.
    fn admit(
        &self,
        request: &ConsumerGroupHeartbeatRequest,
        client: &Client,
        context: &Context<'_>,
    ) -> Result<Admitted, ApiError> {
        let joins = request.member_epoch == JOIN_EPOCH;
        let id = request.group_id.as_str();
        let mut admitted = Admitted::default();
        let mut upgrades = false;
        let mut made: Option<Box<ConsumerGroup>> = None;
        let group = match self.groups.get(id) {
            Some(Group::Consumer(group)) => group,
            Some(Group::Classic(classic)) if joins && !classic.is_empty() => {
                upgrades = true;
                made.insert(Box::new(upgraded(classic, context)?))
            }
            None if joins && !self.groups.has_room_for(id) => {
                return Err(ApiError::bare(ResponseError::CoordinatorNotAvailable));
            }
            empty if joins => {
                admitted.replaces_classic = empty.is_some();
                made.insert(Box::new(ConsumerGroup::new(id)))
            }
            Some(_) => {
                let message = format!("Group {id} is not a consumer group.");
                return Err(ApiError::new(ResponseError::GroupIdNotFound, message));
            }
            None => {
                let message = format!("Consumer group {id} not found.");
                return Err(ApiError::new(ResponseError::GroupIdNotFound, message));
            }
        };
        let size_max = context.settings.consumer_max_size;
        if group.members.len() >= size_max && !group.members.contains_key(&*request.member_id) {
            let message =
                format!("The consumer group has reached its maximum capacity of {size_max} members.");
            return Err(ApiError::new(ResponseError::GroupMaxSizeReached, message));
        }
        let member = match request.instance_id.as_deref() {
            None => dynamic_member(group, request)?,
            Some(instance) => static_member(group, request, instance)?,
        };
        if let Some(member) = member {
            if joins && request.instance_id.is_some() {
                admitted.replaces = Some(member.id.clone());
            }
            check_state(member, request)?;
        }
        // Who comes back under its id with an instance that is new is the member that it was.
        let member = member.or_else(|| group.members.get(&*request.member_id));
        admitted.profile = match member {
            Some(member) => member.profile.after(request, client),
            None => Profile::default().after(request, client),
        };
        if let Some(profile) = &admitted.profile {
            group.check_size(&request.member_id, member, profile, context)?;
        }
        admitted.upgraded = made.filter(|_| upgrades);
        Ok(admitted)
    }

    /// Looks at the expression of a heartbeat that is admitted otherwise; changes nothing.
    fn admit_regex(
        &self,
        request: &ConsumerGroupHeartbeatRequest,
        compiled: Option<Compiled>,
        admitted: &mut Admitted,
    ) -> Result<(), Undecided> {
        let Some(told) = request.subscribed_topic_regex.as_deref() else { return Ok(()) };
        let group = match self.groups.get(request.group_id.as_str()) {
            Some(Group::Consumer(group)) => Some(&**group),
            // Nobody subscribes by an expression in a classic group, nor in one that is not there.
            _ => None,
        };
        let member_id = admitted.replaces.as_deref().unwrap_or(&request.member_id);
        let old = group.and_then(|group| group.members.get(member_id)?.profile.regex());
        if old.map_or("", |old| old) == told {
            return Ok(());
        }
        let subscriber_count = |regex| group.map_or(0, |group| group.regexes.subscriber_count(regex));
        admitted.drops_regex = old.is_some_and(|old| subscriber_count(old) == 1);
        if told.is_empty() {
            return Ok(());
        }
        if subscriber_count(told) > 0 {
            admitted.takes_resolved = group.is_some_and(|group| group.regexes.resolution(told).is_some());
            return Ok(());
        }
        let compiled = compiled.ok_or(Undecided::NotCompiled)?;
        let invalid =
            |refused: RegexRefused| ApiError::new(ResponseError::InvalidRegularExpression, refused.message());
        admitted.brings = Some(compiled.map_err(invalid)?);
        Ok(())
    }

    fn consumer_leave(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        context: &Context<'_>,
        outcome: &mut Outcome,
    ) -> Result<ConsumerGroupHeartbeatResponse, ApiError> {
        let group = self.consumer_group(&request.group_id)?;
        let member = match request.instance_id.as_deref() {
            None => group.known_member(&request.member_id)?,
            Some(instance) => {
                let member = known_static_member(group, instance)?;
                check_instance(member, &request.member_id, instance)?;
                member
            }
        };
        let id = member.id.clone();
        tracing::debug!(group = %group.id, member = %id, epoch = request.member_epoch, "a member leaves");
        if request.member_epoch == STATIC_LEAVE_EPOCH {
            let left =
                Progress { epoch: STATIC_LEAVE_EPOCH, revoking: Arc::default(), ..member.progress.clone() };
            store(
                group_mut(&mut self.groups, &request.group_id),
                records::current(&request.group_id, &id, &left),
                outcome,
            );
        } else {
            self.fence_consumers(&request.group_id, std::slice::from_ref(&id), context, outcome);
        }
        Ok(ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(StrBytes::from_string(id.to_string())))
            .with_member_epoch(request.member_epoch))
    }

    /// Removes members, and has their partitions assigned to the others when their next heartbeat comes. A
    /// group of which none but classic members stay becomes a classic group, where that may be.
    pub(in crate::group) fn fence_consumers(
        &mut self,
        group_id: &str,
        member_ids: &[Arc<str>],
        context: &Context<'_>,
        outcome: &mut Outcome,
    ) {
        let Some(Group::Consumer(group)) = self.groups.get_mut(group_id) else { return };
        let gone: Vec<Member> = member_ids.iter().filter_map(|id| group.members.get(id).cloned()).collect();
        if gone.is_empty() || self.downgrade_without(group_id, &gone, context, outcome) {
            return;
        }
        let Some(Group::Consumer(group)) = self.groups.get_mut(group_id) else { return };
        gone.iter().for_each(|member| remove_member(group, &member.id, outcome));
        let mut regexes: Vec<&Arc<str>> = gone.iter().filter_map(|member| member.profile.regex()).collect();
        regexes.sort_unstable();
        regexes.dedup();
        for regex in regexes {
            if group.regexes.subscriber_count(regex) == 0 {
                store(group, records::regex_tombstone(group_id, regex), outcome);
            }
        }
        update_epoch(group, true, &mut self.consumers, context, outcome);
        let group_id = group.id.clone();
        gone.iter().for_each(|member| self.cancel_consumer_timers(&group_id, &member.id));
    }

    pub(in crate::group) fn consumer_timer(
        &mut self,
        timer: Timer,
        context: &Context<'_>,
        outcome: &mut Outcome,
    ) {
        match timer {
            Timer::Session(group, member) => {
                tracing::info!(
                    group = brief(&group),
                    member = brief(&member),
                    "a member is fenced: its session has expired"
                );
                self.fence_consumers(&group, &[member], context, outcome);
            }
            Timer::Rebalance(group, member) => {
                let progress = self.consumer_group(&group).ok().and_then(|group| group.member(&member));
                let revokes = |member: &Member| {
                    member.progress.state == MemberState::Unrevoked
                        && member.progress.epoch != STATIC_LEAVE_EPOCH
                };
                if progress.is_some_and(revokes) {
                    tracing::info!(
                        group = brief(&group),
                        member = brief(&member),
                        "a member is fenced: it has not revoked its partitions in time"
                    );
                    self.fence_consumers(&group, &[member], context, outcome);
                }
            }
            Timer::Join(group, member) | Timer::Sync(group, member) => {
                let member = self.consumer_group(&group).ok().and_then(|group| group.member(&member));
                if let Some(member) = member.filter(|member| member.is_classic()).map(|it| it.id.clone()) {
                    tracing::info!(
                        group = brief(&group),
                        member = brief(&member),
                        "a classic member is fenced: it has not joined or synchronised in time"
                    );
                    self.fence_consumers(&group, &[member], context, outcome);
                }
            }
            Timer::Loaded(group) => self.begin_consumer_deadlines(&group, context),
        }
    }

    /// After a replay every member's session begins anew; how long it is the next tick can tell.
    pub(in crate::group) fn consumers_loaded(&mut self, now: Now) {
        for group in self.groups.values() {
            if let Group::Consumer(group) = group {
                self.timers.set(AnyTimer::Consumer(Timer::Loaded(group.id.clone())), now.ticks_ms);
            }
        }
    }

    fn begin_consumer_deadlines(&mut self, group: &str, context: &Context<'_>) {
        let Groups { groups, timers, .. } = self;
        let Some(Group::Consumer(group)) = groups.get_mut(group) else { return };
        let timeouts = group.timeouts(context);
        group.regexes.loaded();
        for member in group.members.values() {
            // Who has sent a heartbeat since the replay has a session, and a time to revoke by where it was told
            // to since.
            let session = AnyTimer::Consumer(Timer::Session(group.id.clone(), member.id.clone()));
            if !timers.is_set(&session) {
                begin_session(timers, &group.id, &member.id, timeouts, context.now);
            }
            let revocation = AnyTimer::Consumer(Timer::Rebalance(group.id.clone(), member.id.clone()));
            if !timers.is_set(&revocation) {
                watch_revocation(timers, &group.id, member, context.now);
            }
        }
    }
}

/// The group, made where it is not there; who calls has admitted the heartbeat.
fn group_mut<'a>(groups: &'a mut ByName, id: &str) -> &'a mut ConsumerGroup {
    if !groups.contains_key(id) {
        let group = ConsumerGroup::new(id);
        groups.insert(group.id.clone(), Group::Consumer(Box::new(group)));
    }
    match groups.get_mut(id) {
        Some(Group::Consumer(group)) => group,
        _ => unreachable!("a heartbeat is not admitted to a group of another kind"),
    }
}

fn dynamic_member<'a>(
    group: &'a ConsumerGroup,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<Option<&'a Member>, ApiError> {
    let member = match group.members.get(&*request.member_id) {
        None if request.member_epoch == JOIN_EPOCH => return Ok(None),
        None => group.known_member(&request.member_id)?,
        Some(member) => member,
    };
    check_epoch(member, request)?;
    Ok(Some(member))
}

fn static_member<'a>(
    group: &'a ConsumerGroup,
    request: &ConsumerGroupHeartbeatRequest,
    instance: &str,
) -> Result<Option<&'a Member>, ApiError> {
    if request.member_epoch == JOIN_EPOCH {
        let Some(member) = group.static_member(instance) else { return Ok(None) };
        if member.progress.epoch != STATIC_LEAVE_EPOCH && !member.is_classic() {
            let message = format!(
                "Static member {} with instance id {instance} cannot join the group because the instance id is \
                 owned by {} member.",
                &*request.member_id, member.id
            );
            return Err(ApiError::new(ResponseError::UnreleasedInstanceId, message));
        }
        return Ok(Some(member));
    }
    let member = known_static_member(group, instance)?;
    check_instance(member, &request.member_id, instance)?;
    check_epoch(member, request)?;
    Ok(Some(member))
}

pub(in crate::group) fn known_static_member<'a>(
    group: &'a ConsumerGroup,
    instance: &str,
) -> Result<&'a Member, ApiError> {
    group.static_member(instance).ok_or_else(|| {
        ApiError::new(ResponseError::UnknownMemberId, format!("Instance id {instance} is unknown."))
    })
}

pub(in crate::group) fn check_instance(
    member: &Member,
    member_id: &str,
    instance: &str,
) -> Result<(), ApiError> {
    if *member.id == *member_id {
        return Ok(());
    }
    let message =
        format!("Static member {member_id} with instance id {instance} was fenced by member {}.", member.id);
    Err(ApiError::new(ResponseError::FencedInstanceId, message))
}

/// The member's epoch, or the one before where the answer that raised it may have been lost.
fn check_epoch(member: &Member, request: &ConsumerGroupHeartbeatRequest) -> Result<(), ApiError> {
    let (told, known) = (request.member_epoch, member.progress.epoch);
    let retries = || {
        told == member.progress.previous_epoch
            && reconcile::owns_subset(request.topic_partitions.as_deref(), &member.progress.assigned)
    };
    if told == known || (told < known && retries()) {
        return Ok(());
    }
    let relation = if told > known { "greater" } else { "smaller" };
    Err(ApiError::new(
        ResponseError::FencedMemberEpoch,
        format!(
            "The consumer group member has a {relation} member epoch ({told}) than the one known by the group \
             coordinator ({known}). The member must abandon all its partitions and rejoin."
        ),
    ))
}

/// Who is in a state that a later version wrote starts from nothing.
fn check_state(member: &Member, request: &ConsumerGroupHeartbeatRequest) -> Result<(), ApiError> {
    let empty_handed = request.topic_partitions.as_ref().is_some_and(Vec::is_empty);
    if !matches!(member.progress.state, MemberState::Unknown(_)) || empty_handed {
        return Ok(());
    }
    Err(ApiError::new(
        ResponseError::FencedMemberEpoch,
        "The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin.",
    ))
}

/// The member before its request.
pub(in crate::group) struct Before {
    pub profile: Arc<Profile>,
    pub progress: Progress,
}

impl Before {
    /// Nothing where it is no member yet.
    pub fn of(group: &ConsumerGroup, id: &str) -> Before {
        match group.members.get(id) {
            Some(member) => Before { profile: member.profile.clone(), progress: member.progress.clone() },
            None => Before { profile: Arc::default(), progress: Progress::default() },
        }
    }
}

/// Puts a returning static member in the place of the one that left; gives the member as it is then.
fn take_place(
    group: &mut ConsumerGroup,
    request: &ConsumerGroupHeartbeatRequest,
    admitted: &mut Admitted,
    outcome: &mut Outcome,
) -> Before {
    match admitted.replaces.take() {
        Some(old_id) => replace_member(group, &old_id, &request.member_id, outcome),
        None => Before::of(group, &request.member_id),
    }
}

/// Gives a static member's place to another id; gives the member as it is then.
pub(in crate::group) fn replace_member(
    group: &mut ConsumerGroup,
    old_id: &str,
    id: &str,
    outcome: &mut Outcome,
) -> Before {
    let group_id = group.id.clone();
    let old = &group.members[old_id];
    let before = Before {
        profile: old.profile.clone(),
        progress: Progress { epoch: JOIN_EPOCH, previous_epoch: JOIN_EPOCH, ..old.progress.clone() },
    };
    let target = group.targets.get(old_id).cloned().unwrap_or_default();
    remove_member(group, old_id, outcome);
    store(group, records::member(&group_id, id, &before.profile), outcome);
    store(group, records::target(&group_id, id, &target), outcome);
    store(group, records::current(&group_id, id, &before.progress), outcome);
    before
}

fn remove_member(group: &mut ConsumerGroup, id: &str, outcome: &mut Outcome) {
    let group_id = group.id.clone();
    store(group, records::current_tombstone(&group_id, id), outcome);
    store(group, records::target_tombstone(&group_id, id), outcome);
    store(group, records::member_tombstone(&group_id, id), outcome);
}

fn update_member(
    group: &mut ConsumerGroup,
    request: &ConsumerGroupHeartbeatRequest,
    old: &Before,
    admitted: &mut Admitted,
    outcome: &mut Outcome,
) {
    let group_id = group.id.clone();
    if let Some(profile) = admitted.profile.take() {
        store(group, records::member(&group_id, &request.member_id, &profile), outcome);
    }
    if let Some(regex) = old.profile.regex().filter(|_| admitted.drops_regex) {
        store(group, records::regex_tombstone(&group_id, regex), outcome);
        // A new expression changes what the group reads once it is resolved, in one with what the old one leaves.
        if group.members[&*request.member_id].profile.regex().is_none() {
            group.hash_of = None;
        }
    }
}

impl Before {
    /// Whether what the member now says of itself asks for a new target.
    fn must_bump(
        &self,
        group: &ConsumerGroup,
        request: &ConsumerGroupHeartbeatRequest,
        admitted: &Admitted,
    ) -> bool {
        // A new group moves away from epoch 0 at once.
        group.epoch == 0
            || admitted.takes_resolved
            || group.members[&*request.member_id].profile.topics != self.profile.topics
    }
}

/// Raises the group's epoch where `bump` says so, or its topics are not what the target was computed from.
pub(in crate::group) fn update_epoch(
    group: &mut ConsumerGroup,
    bump: bool,
    consumers: &mut Shared,
    context: &Context<'_>,
    outcome: &mut Outcome,
) {
    let topics = &mut consumers.topics;
    if !bump && group.hash_of == Some(topics.version()) {
        return;
    }
    let hash = topics.group_hash(group.topics.keys(), context.image);
    let id = group.id.clone();
    if bump || hash != group.metadata_hash {
        store(group, records::epoch(&id, group.epoch.saturating_add(1), hash), outcome);
    }
    group.hash_of = Some(topics.version());
    if group.has_partition_metadata {
        store(group, records::partition_metadata_tombstone(&id), outcome);
    }
}

/// Takes a member one step towards its target, where one is to be taken.
pub(in crate::group) fn reconcile_member(
    group: &mut ConsumerGroup,
    member_id: &str,
    reported: reconcile::Reported<'_>,
    timers: &mut Timers<AnyTimer>,
    now: Now,
    outcome: &mut Outcome,
) {
    let member = &group.members[member_id];
    if member.progress.is_reconciled_to(group.target_epoch) {
        return;
    }
    let none = Assignment::default();
    let assignment = group.targets.get(&member.id).map_or(&none, |target| target);
    let target = reconcile::Target { epoch: group.target_epoch, assignment };
    let next = reconcile::step(&member.progress, &target, &group.owners, reported);
    let Some(next) = next.filter(|next| *next != member.progress) else { return };
    let (group_id, id) = (group.id.clone(), member.id.clone());
    store(group, records::current(&group_id, &id, &next), outcome);
    watch_revocation(timers, &group_id, &group.members[&id], now);
}

/// Sets or ends the time that a member has to revoke partitions.
fn watch_revocation(timers: &mut Timers<AnyTimer>, group: &Rc<str>, member: &Member, now: Now) {
    let timer = AnyTimer::Consumer(Timer::Rebalance(group.clone(), member.id.clone()));
    if member.progress.state == MemberState::Unrevoked && !member.is_classic() {
        let timeout_ms = u64::try_from(member.profile.rebalance_timeout_ms).unwrap_or(0);
        timers.set(timer, now.ticks_ms + timeout_ms);
    } else {
        timers.cancel(&timer);
    }
}

fn begin_session(
    timers: &mut Timers<AnyTimer>,
    group: &Rc<str>,
    member: &Arc<str>,
    timeouts: Timeouts,
    now: Now,
) {
    let timer = AnyTimer::Consumer(Timer::Session(group.clone(), member.clone()));
    timers.set(timer, now.ticks_ms + u64::try_from(timeouts.session_ms).unwrap_or(0));
}

fn answer(
    request: &ConsumerGroupHeartbeatRequest,
    old: &Progress,
    member: &Member,
    timeouts: Timeouts,
) -> ConsumerGroupHeartbeatResponse {
    let answer = ConsumerGroupHeartbeatResponse::default()
        .with_member_id(Some(request.member_id.clone()))
        .with_member_epoch(member.progress.epoch)
        .with_heartbeat_interval_ms(timeouts.heartbeat_interval_ms);
    // Who tells all of itself has lost sight of its assignment: it joins, or comes back from an error.
    let tells_all = request.rebalance_timeout_ms != -1
        && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
        && request.topic_partitions.is_some();
    if request.member_epoch != JOIN_EPOCH && !tells_all && old.assigned == member.progress.assigned {
        return answer;
    }
    let topics = member.progress.assigned.topics().map(|(topic, partitions)| {
        TopicPartitions::default().with_topic_id(topic.0).with_partitions(partitions.to_vec())
    });
    answer.with_assignment(Some(Told::default().with_topic_partitions(topics.collect())))
}

impl ConsumerGroup {
    /// The group's own time-outs, or the broker's.
    fn timeouts(&mut self, context: &Context<'_>) -> Timeouts {
        let settings = context.settings;
        let own = context.image.settings(ResourceType::Group, &self.id);
        let of = |config: &crate::config::GroupConfig| Timeouts {
            session_ms: config.consumer_session_timeout_ms,
            heartbeat_interval_ms: config.consumer_heartbeat_interval_ms,
        };
        let Some(own) = own else { return of(&settings.group_defaults) };
        let defaults = of(&settings.group_defaults);
        match &self.timeouts {
            Some(known) if Arc::ptr_eq(&known.own, own) && known.defaults == defaults => known.timeouts,
            _ => {
                let timeouts = of(&settings.group(context.image, &self.id));
                self.timeouts = Some(super::state::OwnTimeouts { own: own.clone(), defaults, timeouts });
                timeouts
            }
        }
    }
}
