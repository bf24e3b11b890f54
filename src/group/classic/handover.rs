//! How a classic group ends when its members live on in a group of another kind, and how one begins with the
//! members of another kind.

use std::rc::Rc;

use kafka_protocol::error::ResponseError;

use super::super::{Context, Group, Groups, Outcome};
use super::group::{CONSUMER, ClassicGroup, State};
use super::member::Member;
use crate::protocol::stored::group::{GroupMetadataKey, Record};

impl ClassicGroup {
    /// A stable group of consumers of that generation, who have to be told their assignment yet. `None` where
    /// they have no protocol in common.
    pub(in crate::group) fn of_consumers(
        id: &Rc<str>,
        generation: i32,
        now_ms: i64,
        members: impl Iterator<Item = Member>,
    ) -> Option<ClassicGroup> {
        let mut group = ClassicGroup::new(id.clone(), now_ms);
        group.state = State::Stable;
        group.generation = generation;
        group.set_type(CONSUMER);
        members.for_each(|member| group.add(member));
        group.protocol = Some(group.chosen_protocol()?);
        group.subscribed = group.subscriptions();
        Some(group)
    }
}

impl Groups {
    /// Takes a classic group away with its record. Who waits for a round is told to join again.
    pub(in crate::group) fn end_classic(&mut self, id: &str, context: &Context<'_>, outcome: &mut Outcome) {
        let Some(mut round) = self.round(id, context, outcome) else { return };
        let members: Vec<Rc<str>> = round.group.members.iter().map(|member| member.id.clone()).collect();
        for member in members {
            let join = round.group.take_join(&member);
            let sync = round.group.members.get_mut(&member).and_then(|member| member.sync.take());
            round.dismiss(join, sync, ResponseError::RebalanceInProgress, &member);
        }
        let key = GroupMetadataKey { group: id.to_owned() };
        outcome.applied_record(Record::GroupMetadata(key.clone(), None));
        self.apply_classic(key, None);
    }

    /// Puts a stable classic group in its place and writes it down; its members' sessions begin. With
    /// `rejoin` they are to join anew.
    pub(in crate::group) fn begin_classic(
        &mut self,
        mut group: Box<ClassicGroup>,
        rejoin: bool,
        context: &Context<'_>,
        outcome: &mut Outcome,
    ) {
        let id = group.id.clone();
        let members: Vec<Rc<str>> = group.members.iter().map(|member| member.id.clone()).collect();
        outcome.applied_record(group.write());
        self.groups.insert(id.clone(), Group::Classic(group));
        let Some(mut round) = self.round(&id, context, outcome) else { return };
        members.iter().for_each(|member| round.hear_of(member));
        if rejoin {
            round.prepare();
        }
    }
}
