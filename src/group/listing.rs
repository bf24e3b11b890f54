//! What is told of groups of every kind: ListGroups, DescribeGroups; and DeleteGroups.

use std::collections::BTreeSet;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest};
use kafka_protocol::protocol::StrBytes;

use super::classic::{CONSUMER, ClassicGroup, Member, State};
use super::{Group, Groups, Outcome};

/// The first version of DescribeGroups that has a code for a group that is not there, or is no classic group.
const NOT_FOUND_FROM: i16 = 6;
/// The state of a group that is not there.
const DEAD: &str = "Dead";

/// Which groups are listed: by state and by type, both in lower case. Nothing named is everything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    states: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Filter {
    pub fn of(asked: &ListGroupsRequest) -> Filter {
        Filter {
            states: asked.states_filter.iter().map(|state| state.to_lowercase().trim().to_owned()).collect(),
            kinds: asked.types_filter.iter().map(|kind| kind.to_lowercase()).collect(),
        }
    }

    fn takes(&self, group: &Group) -> bool {
        let named = |names: &BTreeSet<String>, name: &str| names.is_empty() || names.contains(name);
        named(&self.states, &group.state_name().to_lowercase()) && named(&self.kinds, group.kind_name())
    }
}

/// What is told of a group of any kind.
impl Group {
    /// The kind, as Kafka's tools name it.
    pub fn kind_name(&self) -> &'static str {
        match self {
            Group::Classic(_) => "classic",
            Group::Consumer(_) => "consumer",
        }
    }

    pub fn state_name(&self) -> &'static str {
        match self {
            Group::Classic(group) => group.state_name(),
            Group::Consumer(group) => group.state_name(),
        }
    }

    /// The type of the protocols that its members speak; empty where none is known.
    pub fn protocol_type(&self) -> &str {
        match self {
            Group::Classic(group) => group.protocol_type.as_deref().unwrap_or_default(),
            Group::Consumer(_) => CONSUMER,
        }
    }
}

impl Groups {
    pub fn list(&self, filter: &Filter) -> Vec<ListedGroup> {
        let listed = |(id, group): (&std::rc::Rc<str>, &Group)| {
            ListedGroup::default()
                .with_group_id(GroupId(text(id)))
                .with_protocol_type(text(group.protocol_type()))
                .with_group_state(StrBytes::from_static_str(group.state_name()))
                .with_group_type(StrBytes::from_static_str(group.kind_name()))
        };
        self.groups.iter().filter(|(_, group)| filter.takes(group)).map(listed).collect()
    }

    /// Describes a classic group. Before version 6 one that is not there is Dead.
    pub fn describe(&self, id: &GroupId, version: i16) -> DescribedGroup {
        let absent = |why: &str| {
            let group = DescribedGroup::default().with_group_state(StrBytes::from_static_str(DEAD));
            match version >= NOT_FOUND_FROM {
                true => group
                    .with_error_code(ResponseError::GroupIdNotFound.code())
                    .with_error_message(Some(StrBytes::from_string(format!("Group {} {why}.", id.as_str())))),
                false => group,
            }
        };
        let group = match self.groups.get(id.as_str()) {
            Some(Group::Classic(group)) => described(group),
            Some(Group::Consumer(_)) => absent("is not a classic group"),
            None => absent("not found"),
        };
        group.with_group_id(id.clone())
    }

    /// Deletes a group of any kind with its offsets.
    pub fn delete(&self, id: &GroupId, outcome: &mut Outcome) -> DeletableGroupResult {
        let error = match self.groups.get(id.as_str()) {
            None => Some(ResponseError::GroupIdNotFound),
            Some(group) if !group.is_empty() => Some(ResponseError::NonEmptyGroup),
            Some(group) => {
                let records = self.offset_tombstones(id.as_str());
                let records = records.into_iter().chain(group.tombstones(id.as_str()));
                records.for_each(|record| outcome.record(record));
                None
            }
        };
        DeletableGroupResult::default()
            .with_group_id(id.clone())
            .with_error_code(error.map_or(0, |error| error.code()))
    }
}

/// A classic group; what its members said under the protocol is told while it is stable.
fn described(group: &ClassicGroup) -> DescribedGroup {
    let protocol = group.protocol.as_deref().filter(|_| group.state == State::Stable);
    let members = group.members.iter().map(|member| described_member(member, protocol)).collect();
    DescribedGroup::default()
        .with_group_state(StrBytes::from_static_str(group.state_name()))
        .with_protocol_type(text(group.protocol_type.as_deref().unwrap_or_default()))
        .with_protocol_data(text(protocol.unwrap_or_default()))
        .with_members(members)
}

fn described_member(member: &Member, protocol: Option<&str>) -> DescribedGroupMember {
    let metadata = protocol.and_then(|protocol| member.metadata(protocol)).cloned();
    DescribedGroupMember::default()
        .with_member_id(text(&member.id))
        .with_group_instance_id(member.instance.as_deref().map(text))
        .with_client_id(text(&member.client_id))
        .with_client_host(text(&member.client_host))
        .with_member_metadata(metadata.unwrap_or_default())
        .with_member_assignment(member.assignment.clone())
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
