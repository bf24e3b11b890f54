//! A member by the classic protocol, with the assignor `range` alone, which every consumer offers too.
//!
//! JoinGroup is answered when all members have joined, SyncGroup when the leader has assigned; both are sent
//! and then looked for, so that nobody waits in here. Before it joins again a member gives up what it owns.
//!
//! ```text
//! Outside --JoinGroup--> Joining --SyncGroup--> Syncing --> Stable --a rebalance--> Revoking --> Outside
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::Request;

use super::{Event, Seat};
use crate::client::cluster::{Client, text};
use crate::client::embedded::{read_assignment, read_subscription, write_assignment, write_subscription};
use crate::client::error::ClientError;
use crate::client::groups::Committer;
use crate::client::wire;
use crate::types::{PartitionId, TopicPartition};

const PROTOCOL_TYPE: &str = "consumer";
const ASSIGNOR: &str = "range";
const SESSION_TIMEOUT_MS: i32 = 45_000;
const REBALANCE_TIMEOUT_MS: i32 = 60_000;
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);
/// How often the leader looks whether topics have grown.
const GROWTH_INTERVAL: Duration = Duration::from_secs(30);
/// What the group may take longer than its rebalance timeout before an answer is taken for lost.
const ANSWER_GRACE: Duration = Duration::from_secs(30);

#[derive(Default)]
pub struct Classic {
    id: String,
    generation: i32,
    phase: Phase,
    /// Partition counts of the topics that the leader assigned last; empty where another leads.
    assigned_counts: BTreeMap<String, usize>,
    next_growth_look: Option<Instant>,
}

#[derive(Default)]
enum Phase {
    #[default]
    Outside,
    Joining(Awaited),
    Syncing(Awaited),
    Stable {
        next_beat: Instant,
    },
    Revoking,
}

/// A request whose answer has not come yet.
struct Awaited {
    correlation_id: i32,
    version: i16,
    give_up: Instant,
}

impl Classic {
    pub fn poll(&mut self, seat: &mut Seat, client: &mut Client) -> Result<Event, ClientError> {
        match &self.phase {
            Phase::Outside => self.join(seat, client),
            Phase::Joining(_) => self.see_joined(seat, client),
            Phase::Syncing(_) => self.see_synced(seat),
            Phase::Stable { next_beat } if Instant::now() >= *next_beat => self.beat(seat, client),
            Phase::Stable { .. } => self.look_for_growth(client),
            Phase::Revoking => Ok(Event::Nothing),
        }
    }

    fn join(&mut self, seat: &mut Seat, client: &mut Client) -> Result<Event, ClientError> {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text(ASSIGNOR))
            .with_metadata(write_subscription(&seat.settings.topics));
        let request = JoinGroupRequest::default()
            .with_group_id(GroupId(text(&seat.settings.group)))
            .with_session_timeout_ms(SESSION_TIMEOUT_MS)
            .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
            .with_member_id(text(&self.id))
            .with_protocol_type(text(PROTOCOL_TYPE))
            .with_protocols(vec![protocol]);
        self.phase = Phase::Joining(send(seat, client, |_| request.clone())?);
        Ok(Event::Nothing)
    }

    fn see_joined(&mut self, seat: &mut Seat, client: &mut Client) -> Result<Event, ClientError> {
        let Phase::Joining(awaited) = &self.phase else { return Ok(Event::Nothing) };
        let Some(outcome) = take::<JoinGroupRequest>(seat, awaited) else { return Ok(Event::Nothing) };
        self.phase = Phase::Outside;
        let response = outcome?;
        if response.error_code == ResponseError::MemberIdRequired.code() {
            self.id = response.member_id.to_string();
            return Ok(Event::Nothing);
        }
        if !self.goes_on(seat, response.error_code)? {
            return Ok(Event::Nothing);
        }
        self.id = response.member_id.to_string();
        self.generation = response.generation_id;
        let is_leader = response.leader == response.member_id && !response.skip_assignment;
        let assignments = if is_leader { self.assign(&response.members, client)? } else { Vec::new() };
        if response.leader != response.member_id {
            self.assigned_counts.clear();
        }
        let sync = SyncGroupRequest::default()
            .with_group_id(GroupId(text(&seat.settings.group)))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id))
            .with_assignments(assignments);
        let awaited = send(seat, client, |version| match version {
            0..5 => sync.clone(),
            _ => sync
                .clone()
                .with_protocol_type(Some(text(PROTOCOL_TYPE)))
                .with_protocol_name(Some(text(ASSIGNOR))),
        })?;
        self.phase = Phase::Syncing(awaited);
        Ok(Event::Nothing)
    }

    fn see_synced(&mut self, seat: &mut Seat) -> Result<Event, ClientError> {
        let Phase::Syncing(awaited) = &self.phase else { return Ok(Event::Nothing) };
        let Some(outcome) = take::<SyncGroupRequest>(seat, awaited) else { return Ok(Event::Nothing) };
        self.phase = Phase::Outside;
        let response = outcome?;
        if !self.goes_on(seat, response.error_code)? {
            return Ok(Event::Nothing);
        }
        self.phase = Phase::Stable { next_beat: Instant::now() + HEARTBEAT_INTERVAL };
        Ok(Event::Assigned(read_assignment(response.assignment)))
    }

    /// Whether a step of the rebalance was taken. If not, the member begins again, as a new one where it is
    /// not known any more; an error if that does not help either.
    fn goes_on(&mut self, seat: &mut Seat, error_code: i16) -> Result<bool, ClientError> {
        match ResponseError::try_from_code(error_code) {
            None => return Ok(true),
            Some(ResponseError::RebalanceInProgress) => {}
            Some(ResponseError::UnknownMemberId | ResponseError::IllegalGeneration) => self.id.clear(),
            Some(_) => seat.check(error_code, None)?,
        }
        Ok(false)
    }

    fn beat(&mut self, seat: &mut Seat, client: &mut Client) -> Result<Event, ClientError> {
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(text(&seat.settings.group)))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id));
        let response = seat.ask(client, |_| request.clone())?;
        match ResponseError::try_from_code(response.error_code) {
            None => {
                self.phase = Phase::Stable { next_beat: Instant::now() + HEARTBEAT_INTERVAL };
                Ok(Event::Nothing)
            }
            Some(ResponseError::RebalanceInProgress) => Ok(self.revoke()),
            Some(ResponseError::UnknownMemberId) => {
                self.id.clear();
                self.phase = Phase::Outside;
                Ok(Event::Lost)
            }
            Some(ResponseError::IllegalGeneration) => {
                self.phase = Phase::Outside;
                Ok(Event::Lost)
            }
            Some(_) => seat.check(response.error_code, None).map(|()| Event::Nothing),
        }
    }

    /// The leader lets the group assign anew when a topic has other partitions than those it assigned.
    fn look_for_growth(&mut self, client: &mut Client) -> Result<Event, ClientError> {
        let now = Instant::now();
        if self.assigned_counts.is_empty() || self.next_growth_look.is_some_and(|next| now < next) {
            return Ok(Event::Nothing);
        }
        self.next_growth_look = Some(now + GROWTH_INTERVAL);
        let names: Vec<String> = self.assigned_counts.keys().cloned().collect();
        if partition_counts(&names, client)? == self.assigned_counts {
            return Ok(Event::Nothing);
        }
        Ok(self.revoke())
    }

    fn revoke(&mut self) -> Event {
        self.phase = Phase::Revoking;
        Event::Assigned(Vec::new())
    }

    /// As leader: what each member shall own.
    fn assign(
        &mut self,
        members: &[JoinGroupResponseMember],
        client: &mut Client,
    ) -> Result<Vec<SyncGroupRequestAssignment>, ClientError> {
        let subscribed: Vec<Subscriber> = members.iter().map(read_subscriber).collect();
        let mut names: Vec<String> = subscribed.iter().flat_map(|member| member.topics.clone()).collect();
        names.sort();
        names.dedup();
        self.assigned_counts = partition_counts(&names, client)?;
        self.next_growth_look = Some(Instant::now() + GROWTH_INTERVAL);
        let assignments = assign_ranges(&subscribed, &self.assigned_counts);
        let encoded = |(id, owned): (String, Vec<TopicPartition>)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(&id))
                .with_assignment(write_assignment(&owned))
        };
        Ok(assignments.into_iter().map(encoded).collect())
    }

    pub fn acknowledge(&mut self) {
        if matches!(self.phase, Phase::Revoking) {
            self.phase = Phase::Outside;
        }
    }

    pub fn hurry(&mut self) {
        if let Phase::Stable { next_beat } = &mut self.phase {
            *next_beat = Instant::now();
        }
    }

    pub fn is_stable(&self) -> bool {
        matches!(self.phase, Phase::Stable { .. })
    }

    pub fn committer(&self) -> Committer {
        Committer { member_id: self.id.clone(), instance: None, generation: self.generation }
    }

    pub fn leave(&mut self, seat: &mut Seat, client: &mut Client) -> Result<(), ClientError> {
        if self.id.is_empty() {
            return Ok(());
        }
        if matches!(self.phase, Phase::Joining(_) | Phase::Syncing(_)) {
            // The next answer on this connection is to that request.
            seat.connection = None;
        }
        let group = text(&seat.settings.group);
        let response = seat.ask(client, |version| {
            let request = LeaveGroupRequest::default().with_group_id(GroupId(group.clone()));
            match version {
                0..3 => request.with_member_id(text(&self.id)),
                _ => request.with_members(vec![MemberIdentity::default().with_member_id(text(&self.id))]),
            }
        })?;
        match ResponseError::try_from_code(response.error_code) {
            Some(ResponseError::UnknownMemberId) => Ok(()),
            _ => seat.check(response.error_code, None),
        }
    }
}

/// Sends a request whose answer may take as long as a rebalance.
fn send<R: Request>(
    seat: &mut Seat,
    client: &mut Client,
    request: impl Fn(i16) -> R,
) -> Result<Awaited, ClientError> {
    let connection = seat.connection(client)?;
    let sent = connection.version::<R>().and_then(|version| {
        let correlation_id = connection.send(version, &request(version))?;
        let patience = Duration::from_millis(REBALANCE_TIMEOUT_MS as u64) + ANSWER_GRACE;
        Ok(Awaited { correlation_id, version, give_up: Instant::now() + patience })
    });
    if sent.is_err() {
        seat.connection = None;
    }
    sent
}

/// The answer, if it has come; an error if it comes no more.
fn take<R: Request>(seat: &mut Seat, awaited: &Awaited) -> Option<Result<R::Response, ClientError>> {
    let Some(connection) = &mut seat.connection else {
        return Some(Err(ClientError::NoLeader("the coordinator is gone".to_owned())));
    };
    if !connection.is_answered() && Instant::now() < awaited.give_up {
        return None;
    }
    let name = wire::request_name(R::KEY);
    let answer = connection
        .receive(awaited.correlation_id, name, Duration::from_secs(5))
        .and_then(|frame| wire::decode_response::<R>(frame, awaited.version));
    if answer.is_err() {
        seat.connection = None;
    }
    Some(answer)
}

fn partition_counts(names: &[String], client: &mut Client) -> Result<BTreeMap<String, usize>, ClientError> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cluster = client.metadata(Some(&names), false)?;
    Ok(cluster.topics.iter().map(|topic| (topic.name.clone(), topic.partitions.len())).collect())
}

/// A member as its leader sees it.
#[derive(Clone, Debug)]
struct Subscriber {
    id: String,
    instance: Option<String>,
    topics: Vec<String>,
}

fn read_subscriber(member: &JoinGroupResponseMember) -> Subscriber {
    Subscriber {
        id: member.member_id.to_string(),
        instance: member.group_instance_id.as_ref().map(|id| id.to_string()),
        topics: read_subscription(member.metadata.clone()),
    }
}

/// Kafka's `range`: of each topic a run of partitions to each of its subscribers, one more to the first ones
/// where they do not come out even. Static members come first, by instance, then the others by id.
fn assign_ranges(
    members: &[Subscriber],
    counts: &BTreeMap<String, usize>,
) -> BTreeMap<String, Vec<TopicPartition>> {
    let mut owned: BTreeMap<String, Vec<TopicPartition>> =
        members.iter().map(|member| (member.id.clone(), Vec::new())).collect();
    let mut sorted: Vec<&Subscriber> = members.iter().collect();
    sorted.sort_by_key(|member| (member.instance.is_none(), &member.instance, &member.id));
    for (name, count) in counts {
        let subscribers: Vec<&&Subscriber> =
            sorted.iter().filter(|member| member.topics.contains(name)).collect();
        let Some(share) = count.checked_div(subscribers.len()) else { continue };
        let with_one_more = count % subscribers.len();
        let topic: Arc<str> = name.as_str().into();
        let mut next = 0;
        for (index, member) in subscribers.iter().enumerate() {
            let end = next + share + usize::from(index < with_one_more);
            let at = |index| TopicPartition { topic: topic.clone(), partition: PartitionId(index as i32) };
            owned.entry(member.id.clone()).or_default().extend((next..end).map(at));
            next = end;
        }
    }
    owned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(members: &[(&str, &str)], counts: &[(&str, usize)]) -> Vec<String> {
        let member = |(id, topics): &(&str, &str)| Subscriber {
            id: (*id).to_owned(),
            instance: None,
            topics: topics.split(' ').map(str::to_owned).collect(),
        };
        let members: Vec<Subscriber> = members.iter().map(member).collect();
        let counts = counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let text = |(id, owned): (String, Vec<TopicPartition>)| {
            let owned: Vec<String> = owned.iter().map(ToString::to_string).collect();
            format!("{id}: {}", owned.join(" "))
        };
        assign_ranges(&members, &counts).into_iter().map(text).collect()
    }

    #[test]
    fn ranges_are_runs_and_the_first_members_get_one_more() {
        assert_eq!(ranges(&[("b", "t"), ("a", "t")], &[("t", 3)]), ["a: t-0 t-1", "b: t-2"]);
        assert_eq!(ranges(&[("a", "t"), ("b", "t u")], &[("t", 2), ("u", 2)]), ["a: t-0", "b: t-1 u-0 u-1"]);
        assert_eq!(ranges(&[("a", "t"), ("b", "t")], &[("t", 1)]), ["a: t-0", "b: "]);
        assert_eq!(ranges(&[("a", "u")], &[("t", 1)]), ["a: "]);
    }
}
