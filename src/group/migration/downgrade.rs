//! A consumer group becomes a classic group when its last member of the consumer protocol goes, or a static one
//! comes back as a classic member, and all others are classic.
//!
//! The members come with their targets, at the group's epoch. Unless only a static member of a group at rest has
//! changed its protocol, they are to join anew: somebody has to lead them now.

use std::rc::Rc;

use ahash::AHashMap;
use bytes::Bytes;

use super::told;
use crate::group::classic::{ClassicGroup, Member as ClassicMember, Protocol};
use crate::group::consumer::ConsumerGroup;
use crate::group::consumer::member::Member;
use crate::group::settings::Settings;
use crate::group::{Context, Group, Groups, Outcome, bounds};
use crate::metadata::Image;

/// Whether the policy and the size of classic groups let a group of `members` become one.
pub(super) fn is_allowed(group: &ConsumerGroup, members: usize, settings: &Settings) -> bool {
    let (allowed, most) = (settings.consumer_migration_policy.downgrade, settings.group_max_size);
    if !allowed || members > most {
        tracing::info!(group = %group.id, members, most, allowed, "the group does not become a classic one");
    }
    allowed && members <= most
}

impl Groups {
    /// Makes a classic group of those who stay when `gone` leave; false, and nothing changed, where that is not
    /// what is to be done.
    pub(in crate::group) fn downgrade_without(
        &mut self,
        id: &str,
        gone: &[Member],
        context: &Context<'_>,
        outcome: &mut Outcome,
    ) -> bool {
        let Some(Group::Consumer(group)) = self.groups.get(id) else { return false };
        let staying = group.members.len() - gone.len();
        let classic_gone = gone.iter().filter(|member| member.is_classic()).count();
        if staying == 0
            || group.classic_member_count() - classic_gone != staying
            || !is_allowed(group, staying, context.settings)
        {
            return false;
        }
        let generation = group.epoch;
        self.downgrade(id, gone, generation, true, context, outcome)
    }

    /// Puts a classic group of all but `gone` in the place of a consumer group. They join anew with `rejoin`.
    /// False, and nothing changed, where they have no protocol in common, or would not fit one record.
    pub(super) fn downgrade(
        &mut self,
        id: &str,
        gone: &[Member],
        generation: i32,
        rejoin: bool,
        context: &Context<'_>,
        outcome: &mut Outcome,
    ) -> bool {
        let Some(Group::Consumer(group)) = self.groups.get(id) else { return false };
        let Some(classic) = downgraded(group, gone, generation, context) else {
            tracing::error!(group = id, "the classic members of a consumer group have no protocol in common");
            return false;
        };
        if classic.record_bytes() > bounds::batch_bytes_max(context.image, context.settings) {
            tracing::warn!(group = id, "the record of a classic group of its members would be too large");
            return false;
        }
        group.tombstones(id).into_iter().for_each(|record| outcome.applied_record(record));
        tracing::info!(
            group = id,
            members = classic.members.len(),
            "a consumer group is a classic group now"
        );
        self.remove_consumer(&classic.id().clone());
        self.begin_classic(Box::new(classic), rejoin, context, outcome);
        true
    }
}

/// The classic group that a consumer group becomes; its members in the order in which they came.
fn downgraded(
    group: &ConsumerGroup,
    gone: &[Member],
    generation: i32,
    context: &Context<'_>,
) -> Option<ClassicGroup> {
    let stays = |member: &&Member| gone.iter().all(|gone| gone.id != member.id);
    let mut members: Vec<&Member> = group.members.values().filter(stays).collect();
    members.sort_unstable_by_key(|member| member.seat.0);
    let members = members.into_iter().filter_map(classic_member);
    let mut classic = ClassicGroup::of_consumers(&group.id, generation, context.now.wall_ms, members)?;
    let protocol = classic.protocol.clone()?;
    let targets: Vec<(Rc<str>, Bytes)> = classic
        .members
        .iter()
        .map(|member| (member.id.clone(), target(group, member, &protocol, context.image)))
        .collect();
    classic.assign(targets.iter().map(|(id, target)| (&**id, target.clone())).collect::<AHashMap<_, _>>());
    Some(classic)
}

fn classic_member(member: &Member) -> Option<ClassicMember> {
    let profile = &member.profile;
    let classic = profile.classic.as_ref()?;
    let protocols = classic.supported_protocols.iter();
    Some(ClassicMember {
        id: Rc::from(&*member.id),
        instance: profile.instance_id.as_deref().map(Rc::from),
        client_id: profile.client_id.clone(),
        client_host: profile.client_host.clone(),
        rebalance_timeout_ms: profile.rebalance_timeout_ms,
        session_timeout_ms: classic.session_timeout_ms,
        protocols: protocols
            .map(|own| Protocol { name: Rc::from(&*own.name), metadata: own.metadata.clone() })
            .collect(),
        assignment: Bytes::new(),
        join: None,
        sync: None,
        is_new: false,
    })
}

fn target(group: &ConsumerGroup, member: &ClassicMember, protocol: &str, image: &Image) -> Bytes {
    let target = group.targets.get(&*member.id).cloned().unwrap_or_default();
    told(&target, member.metadata(protocol).map_or(&[], |said| said), image)
}
