//! A member of a group that reads topics, by the protocol of KIP-848 where the cluster has it and by the
//! classic one elsewhere. It is polled: nothing here waits for the group, so that its owner can go on
//! printing and can leave at any time.
//!
//! The owner calls [`Member::poll`] several times a second. An [`Event::Assigned`] is the whole of what the
//! member shall own from now on: the owner stops reading everything else, commits what it has read of that,
//! and calls [`Member::acknowledge`]; only then do others get what was given up. After [`Event::Lost`]
//! everything belongs to others already, and nothing may be committed for it.

mod classic;
mod consumer;

use kafka_protocol::messages::ConsumerGroupHeartbeatRequest;
use kafka_protocol::protocol::Request;

use super::cluster::Client;
use super::connection::Connection;
use super::error::ClientError;
use super::groups::Committer;
use crate::types::{Offset, TopicPartition};

/// The feature whose level 1 is the consumer protocol.
const GROUP_FEATURE: &str = "group.version";

/// How members of a group agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Members elect one that assigns (JoinGroup, SyncGroup).
    Classic,
    /// The coordinator assigns (ConsumerGroupHeartbeat, KIP-848).
    Consumer,
}

#[derive(Clone, Debug)]
pub struct MemberSettings {
    pub group: String,
    pub topics: Vec<String>,
    /// `None`: the consumer protocol where the cluster has it.
    pub protocol: Option<Protocol>,
}

/// What the group wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Nothing,
    /// What the member shall own, in order; to be acknowledged.
    Assigned(Vec<TopicPartition>),
    /// The group has gone on without this member, which joins again by itself.
    Lost,
}

pub struct Member {
    seat: Seat,
    side: Side,
}

enum Side {
    Classic(classic::Classic),
    Consumer(consumer::Consumer),
}

/// What both protocols have: the group and a connection of its own to the group's coordinator.
struct Seat {
    settings: MemberSettings,
    connection: Option<Connection>,
}

impl Seat {
    fn connection(&mut self, client: &mut Client) -> Result<&mut Connection, ClientError> {
        if self.connection.is_none() {
            let id = client.coordinator(&self.settings.group)?;
            client.know(id)?;
            self.connection = Some(client.dial(id)?);
        }
        Ok(self.connection.as_mut().expect("it was set above"))
    }

    /// Asks the coordinator and waits for its answer. After a failure the coordinator is looked for anew.
    fn ask<R: Request>(
        &mut self,
        client: &mut Client,
        request: impl Fn(i16) -> R,
    ) -> Result<R::Response, ClientError> {
        let connection = self.connection(client)?;
        let outcome = connection.version::<R>().and_then(|v| connection.call_at(v, &request(v)));
        if outcome.is_err() {
            self.connection = None;
        }
        outcome
    }

    fn check(&mut self, code: i16, message: Option<&str>) -> Result<(), ClientError> {
        let outcome = ClientError::check(|| format!("group {}", self.settings.group), code, message);
        if let Err(error) = &outcome
            && error.code().is_some_and(super::coordinator::is_elsewhere)
        {
            self.connection = None;
        }
        outcome
    }
}

impl Member {
    /// Prepares a member; [`Member::poll`] joins.
    pub fn new(client: &mut Client, settings: MemberSettings) -> Result<Member, ClientError> {
        let wanted = settings.protocol;
        let mut seat = Seat { settings, connection: None };
        let versions = seat.connection(client)?.versions();
        let has_consumer =
            versions.offers::<ConsumerGroupHeartbeatRequest>() && versions.feature(GROUP_FEATURE) >= 1;
        let default = if has_consumer { Protocol::Consumer } else { Protocol::Classic };
        let side = match wanted.unwrap_or(default) {
            Protocol::Classic => Side::Classic(classic::Classic::default()),
            Protocol::Consumer => Side::Consumer(consumer::Consumer::new()),
        };
        Ok(Member { seat, side })
    }

    /// Does what is due: joins, tells that it lives, learns of a new assignment. An error that is retriable
    /// is worth another poll.
    pub fn poll(&mut self, client: &mut Client) -> Result<Event, ClientError> {
        match &mut self.side {
            Side::Classic(classic) => classic.poll(&mut self.seat, client),
            Side::Consumer(consumer) => consumer.poll(&mut self.seat, client),
        }
    }

    /// The member owns what it was last told to, and nothing else any more.
    pub fn acknowledge(&mut self, owned: Vec<TopicPartition>) {
        match &mut self.side {
            Side::Classic(classic) => classic.acknowledge(),
            Side::Consumer(consumer) => consumer.acknowledge(owned),
        }
    }

    /// Whether it is in the group and has been told what it owns.
    pub fn is_settled(&self) -> bool {
        match &self.side {
            Side::Classic(classic) => classic.is_stable(),
            Side::Consumer(consumer) => consumer.is_member(),
        }
    }

    /// Commits offsets as this member. Gives whether they are committed; they are not while the group
    /// changes, and the same may be committed after the next polls, if it is still owned then.
    pub fn commit(
        &mut self,
        client: &mut Client,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<bool, ClientError> {
        use kafka_protocol::error::ResponseError as Code;
        let committer = match &self.side {
            Side::Classic(classic) => classic.committer(),
            Side::Consumer(consumer) => consumer.committer(),
        };
        for (_, outcome) in client.commit_offsets(&self.seat.settings.group, &committer, offsets)? {
            let Err(error) = outcome else { continue };
            match error.code() {
                Some(
                    Code::StaleMemberEpoch
                    | Code::RebalanceInProgress
                    | Code::IllegalGeneration
                    | Code::UnknownMemberId
                    | Code::FencedMemberEpoch,
                ) => {
                    self.hurry();
                    return Ok(false);
                }
                // A topic that was deleted has nothing left to commit.
                Some(Code::UnknownTopicOrPartition) => {}
                _ => return Err(error),
            }
        }
        Ok(true)
    }

    /// Lets the next poll ask the coordinator at once.
    fn hurry(&mut self) {
        match &mut self.side {
            Side::Classic(classic) => classic.hurry(),
            Side::Consumer(consumer) => consumer.hurry(),
        }
    }

    /// Leaves, so that others get at once what it owned.
    pub fn leave(mut self, client: &mut Client) -> Result<(), ClientError> {
        match &mut self.side {
            Side::Classic(classic) => classic.leave(&mut self.seat, client),
            Side::Consumer(consumer) => consumer.leave(&mut self.seat, client),
        }
    }

    /// Who the member is, for its commits and for messages.
    pub fn id(&self) -> Committer {
        match &self.side {
            Side::Classic(classic) => classic.committer(),
            Side::Consumer(consumer) => consumer.committer(),
        }
    }
}
