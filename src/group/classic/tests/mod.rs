//! Rules of classic groups, one test each, by what a request meets: [`rounds`], [`fixed`] (static members),
//! [`keeping`] (records, restarts, offsets), [`bounds`], [`listing`]; and [`random`] sequences of all of it.

mod bounds;
mod fixed;
mod keeping;
mod listing;
mod random;
mod rounds;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
    SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::super::testing::{Fixture, client};
use super::super::{Answer, Group, Ticket};
use super::{ClassicGroup, State};

const GROUP: &str = "g";
const SESSION_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 60_000;
const DELAY_MS: u64 = 3_000;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn named(protocols: &[(&str, &str)]) -> Vec<JoinGroupRequestProtocol> {
    let protocol = |(name, metadata): &(&str, &str)| {
        JoinGroupRequestProtocol::default()
            .with_name(text(name))
            .with_metadata(Bytes::copy_from_slice(metadata.as_bytes()))
    };
    protocols.iter().map(protocol).collect()
}

fn joining(member: &str) -> JoinGroupRequest {
    JoinGroupRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_session_timeout_ms(SESSION_MS)
        .with_rebalance_timeout_ms(REBALANCE_MS)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(named(&[("range", "")]))
}

fn fixed(instance: &str, member: &str) -> JoinGroupRequest {
    joining(member).with_group_instance_id(Some(text(instance)))
}

fn code(error: ResponseError) -> i16 {
    error.code()
}

/// What the tests ask of a coordinator.
impl Fixture {
    fn classic(&self) -> &ClassicGroup {
        match self.groups.group(GROUP) {
            Some(Group::Classic(group)) => group,
            other => panic!("no classic group: {other:?}"),
        }
    }

    fn state(&self) -> State {
        self.classic().state
    }

    fn join(&mut self, request: &JoinGroupRequest, version: i16) -> Ticket {
        self.join_as("c", request, version)
    }

    fn join_as(&mut self, name: &str, request: &JoinGroupRequest, version: i16) -> Ticket {
        self.ask_later(|groups, context, ticket, outcome| {
            groups.join(request, version, &client(name), context, ticket, outcome);
        })
    }

    fn joined(&mut self, ticket: Ticket) -> JoinGroupResponse {
        match self.take(ticket) {
            Some(Answer::Join(response)) => *response,
            other => panic!("{ticket:?} is answered {other:?}"),
        }
    }

    /// The answer of a join that does not wait.
    fn join_now(&mut self, request: &JoinGroupRequest, version: i16) -> JoinGroupResponse {
        let ticket = self.join(request, version);
        self.joined(ticket)
    }

    fn sync(&mut self, member: &str, generation: i32, assignments: &[(&str, &str)]) -> Ticket {
        let assignment = |(member, assigned): &(&str, &str)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(member))
                .with_assignment(Bytes::copy_from_slice(assigned.as_bytes()))
        };
        let request = SyncGroupRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_generation_id(generation)
            .with_member_id(text(member))
            .with_assignments(assignments.iter().map(assignment).collect());
        self.sync_by(&request, 3)
    }

    fn sync_by(&mut self, request: &SyncGroupRequest, version: i16) -> Ticket {
        self.ask_later(|groups, context, ticket, outcome| {
            groups.sync(request, version, context, ticket, outcome);
        })
    }

    fn synced(&mut self, ticket: Ticket) -> SyncGroupResponse {
        match self.take(ticket) {
            Some(Answer::Sync(response)) => *response,
            other => panic!("{ticket:?} is answered {other:?}"),
        }
    }

    fn heartbeat(&mut self, member: &str, generation: i32) -> i16 {
        self.heartbeat_of(member, None, generation)
    }

    fn heartbeat_of(&mut self, member: &str, instance: Option<&str>, generation: i32) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_generation_id(generation)
            .with_member_id(text(member))
            .with_group_instance_id(instance.map(text));
        let heard = self.decide(|groups, context, outcome| groups.heartbeat(&request, context, outcome));
        heard.err().map_or(0, code)
    }

    /// Has members leave by id and instance; the code of each.
    fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Vec<i16> {
        let member = |(id, instance): &(&str, Option<&str>)| {
            MemberIdentity::default().with_member_id(text(id)).with_group_instance_id(instance.map(text))
        };
        let request = LeaveGroupRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_members(members.iter().map(member).collect());
        let left = self.decide(|groups, context, outcome| groups.leave(&request, 3, context, outcome));
        left.unwrap().iter().map(|MemberResponse { error_code, .. }| *error_code).collect()
    }

    /// Joins `requests` together into a group that has nobody yet, and answers their joins; the first leads.
    fn gather(&mut self, requests: &[JoinGroupRequest]) -> Vec<JoinGroupResponse> {
        // Version 3 has no step for the member's id.
        let tickets: Vec<_> = requests.iter().map(|request| self.join(request, 3)).collect();
        self.step(2 * DELAY_MS);
        tickets.into_iter().map(|ticket| self.joined(ticket)).collect()
    }

    /// A stable group of these members; their ids.
    fn stable(&mut self, requests: &[JoinGroupRequest]) -> Vec<String> {
        let joined = self.gather(requests);
        let ids: Vec<String> = joined.iter().map(|response| response.member_id.to_string()).collect();
        let assignments: Vec<_> = ids.iter().map(|id| (id.as_str(), id.as_str())).collect();
        for (index, id) in ids.iter().enumerate().rev() {
            let ticket = self.sync(id, joined[0].generation_id, if index == 0 { &assignments } else { &[] });
            if index == 0 {
                assert_eq!(self.synced(ticket).error_code, 0);
            }
        }
        self.answers.clear();
        assert_eq!(self.state(), State::Stable);
        ids
    }
}
