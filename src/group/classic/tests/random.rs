//! Random sequences of requests, time, crashes and replays, over a few groups and clients that do right, wrong
//! and nothing. What must hold is checked after each step:
//!
//! - the state is what its records make of it, and every group is sound ([`ClassicGroup::check`]);
//! - whoever waits is known to a member: no ticket is lost, none is answered twice;
//! - a generation has one leader, and members get what it assigned to them;
//! - generations rise; when everybody is silent long enough, everyone is answered and every group is empty.
//!
//! `GROUPS_SEED=N` runs one seed, `GROUPS_SEEDS=N` that many.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const GROUPS: [&str; 2] = ["g", "h"];
const CLIENTS: usize = 7;
const STEPS: usize = 400;

/// xorshift64*: the same sequence from the same seed everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// A client of one group, as it knows itself.
#[derive(Default)]
struct Member {
    group: &'static str,
    instance: Option<String>,
    id: String,
    generation: i32,
    leads: Option<Vec<(String, Option<String>)>>,
    protocols: usize,
    join: Option<Ticket>,
    sync: Option<Ticket>,
    /// What it was when it last asked to synchronise.
    synced_as: (String, i32),
}

struct World {
    fixture: Fixture,
    dice: Dice,
    members: Vec<Member>,
    /// Tickets of clients that have gone or asked again.
    left: BTreeSet<u64>,
    /// Who was told to lead and assign, by group and generation.
    leaders: BTreeMap<(String, i32), String>,
    generations: BTreeMap<String, i32>,
}

const PROTOCOLS: [&[(&str, &str)]; 4] = [
    &[("range", "a"), ("sticky", "b")],
    &[("sticky", "b"), ("range", "c")],
    &[("range", "d")],
    &[("odd", "e")],
];

impl World {
    fn new(seed: u64) -> World {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let delay_ms = dice.of(&[0, 3_000]);
        let size = dice.of(&[2, 4, 1_000]);
        let fixture =
            Fixture::with(&format!("group.initial.rebalance.delay.ms={delay_ms}\ngroup.max.size={size}\n"));
        let member = |index: usize| Member {
            group: GROUPS[index % GROUPS.len()],
            instance: index.is_multiple_of(3).then(|| format!("i{index}")),
            ..Member::default()
        };
        World {
            fixture,
            dice,
            members: (0..CLIENTS).map(member).collect(),
            left: BTreeSet::new(),
            leaders: BTreeMap::new(),
            generations: BTreeMap::new(),
        }
    }

    fn act(&mut self) {
        let at = self.dice.below(CLIENTS);
        match self.dice.below(20) {
            0..=5 => self.join(at),
            6..=10 => self.sync(at),
            11..=13 => self.heartbeat(at),
            14 => self.leave(at),
            15 => self.forget(at),
            16 => self.wrong(at),
            17 if self.dice.one_in(6) => self.restart(),
            17 => self.delete(),
            _ => {
                let ms = self.dice.of(&[0, 1, 500, 3_000, 7_000, 20_000]);
                self.fixture.step(ms);
            }
        }
        self.hear();
        self.check();
    }

    fn join(&mut self, at: usize) {
        let protocols = if self.dice.one_in(8) { self.dice.below(4) } else { self.members[at].protocols };
        let member = &mut self.members[at];
        member.protocols = protocols;
        let request = joining(&member.id)
            .with_group_id(GroupId(text(member.group)))
            .with_group_instance_id(member.instance.as_deref().map(text))
            .with_session_timeout_ms(self.dice.of(&[6_000, 10_000, 30_000]))
            .with_rebalance_timeout_ms(self.dice.of(&[5_000, 30_000, 60_000]))
            .with_protocols(named(PROTOCOLS[protocols]));
        let version = self.dice.of(&[0, 3, 4, 8, 9]);
        let ticket = self.fixture.join(&request, version);
        let before = self.members[at].join.replace(ticket);
        self.left.extend(before.map(|ticket| ticket.0));
    }

    fn sync(&mut self, at: usize) {
        let member = &self.members[at];
        let generation = member.generation;
        // A leader assigns to each member what names the generation and whom it is for.
        let assignments: Vec<_> = member
            .leads
            .iter()
            .flatten()
            .map(|(id, instance)| {
                let assigned = format!("{generation}/{}", instance.as_ref().unwrap_or(id));
                SyncGroupRequestAssignment::default()
                    .with_member_id(text(id))
                    .with_assignment(assigned.into_bytes().into())
            })
            .collect();
        let request = SyncGroupRequest::default()
            .with_group_id(GroupId(text(member.group)))
            .with_generation_id(generation)
            .with_member_id(text(&member.id))
            .with_group_instance_id(member.instance.as_deref().map(text))
            .with_assignments(assignments);
        let synced_as = (member.id.clone(), generation);
        let ticket = self.fixture.sync_by(&request, 4);
        self.members[at].synced_as = synced_as;
        let before = self.members[at].sync.replace(ticket);
        self.left.extend(before.map(|ticket| ticket.0));
    }

    fn heartbeat(&mut self, at: usize) {
        let member = &self.members[at];
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(text(member.group)))
            .with_generation_id(member.generation)
            .with_member_id(text(&member.id))
            .with_group_instance_id(member.instance.as_deref().map(text));
        let _told =
            self.fixture.decide(|groups, context, outcome| groups.heartbeat(&request, context, outcome));
    }

    fn leave(&mut self, at: usize) {
        let member = &self.members[at];
        let request =
            LeaveGroupRequest::default().with_group_id(GroupId(text(member.group))).with_members(vec![
                MemberIdentity::default()
                    .with_member_id(text(&member.id))
                    .with_group_instance_id(member.instance.as_deref().map(text)),
            ]);
        let left =
            self.fixture.decide(|groups, context, outcome| groups.leave(&request, 3, context, outcome));
        assert_eq!(left.unwrap().len(), 1);
        self.forget(at);
    }

    /// The client starts anew: it knows its instance and nothing else.
    fn forget(&mut self, at: usize) {
        let member = &mut self.members[at];
        self.left
            .extend([member.join.take(), member.sync.take()].into_iter().flatten().map(|ticket| ticket.0));
        (member.id, member.generation, member.leads) = (String::new(), 0, None);
    }

    /// Requests that no sound client sends.
    fn wrong(&mut self, at: usize) {
        let other = self.dice.below(CLIENTS);
        let stolen = self.members[other].id.clone();
        let member = &mut self.members[at];
        match self.dice.below(4) {
            0 => member.id = stolen,
            1 => member.generation += 1,
            2 => member.protocols = 3,
            _ => member.group = GROUPS[at % GROUPS.len()],
        }
    }

    fn restart(&mut self) {
        self.fixture.restart();
        // Whoever waited is told nothing; what was not written is not known any more.
        for at in 0..CLIENTS {
            let member = &mut self.members[at];
            (member.join, member.sync) = (None, None);
        }
        self.left.clear();
        self.fixture.answers.clear();
        self.leaders.clear();
        self.generations.clear();
    }

    fn delete(&mut self) {
        let id = self.dice.of(&GROUPS);
        let deleted = self.fixture.decide(|groups, _, outcome| groups.delete(&GroupId(text(id)), outcome));
        if deleted.error_code == 0 {
            self.leaders.retain(|(group, _), _| group != id);
            self.generations.remove(id);
        }
    }

    /// Clients take what was answered.
    fn hear(&mut self) {
        let answers: Vec<(Ticket, Answer)> = self.fixture.answers.drain().collect();
        for (ticket, answer) in answers {
            let at = self.members.iter().position(|own| own.join == Some(ticket) || own.sync == Some(ticket));
            match (at, answer) {
                (Some(at), Answer::Join(response)) => self.hear_join(at, &response),
                (Some(at), Answer::Sync(response)) => self.hear_sync(at, &response),
                (None, _) => assert!(self.left.remove(&ticket.0), "nobody asked by {ticket:?}"),
            }
        }
    }

    fn hear_join(&mut self, at: usize, response: &JoinGroupResponse) {
        let member = &mut self.members[at];
        member.join = None;
        if response.error_code != 0 {
            member.id = match response.error_code {
                error if error == code(ResponseError::MemberIdRequired) => response.member_id.to_string(),
                _ => String::new(),
            };
            return;
        }
        member.id = response.member_id.to_string();
        member.generation = response.generation_id;
        let leads = response.leader == response.member_id && !response.skip_assignment;
        member.leads = leads.then(|| {
            let known = response.members.iter();
            known
                .map(|m| (m.member_id.to_string(), m.group_instance_id.as_ref().map(|i| i.to_string())))
                .collect()
        });
        if leads {
            let round = (member.group.to_owned(), response.generation_id);
            let leader = self.leaders.entry(round).or_insert_with(|| member.id.clone());
            assert_eq!(*leader, member.id, "generation {} has two leaders", response.generation_id);
        }
    }

    fn hear_sync(&mut self, at: usize, response: &SyncGroupResponse) {
        let member = &mut self.members[at];
        member.sync = None;
        if response.error_code == 0 && !response.assignment.is_empty() {
            let assigned = String::from_utf8(response.assignment.to_vec()).unwrap();
            // Whoever goes by the id of a static member gets what is that one's.
            let (id, generation) = &member.synced_as;
            let own = match id.starts_with('i') {
                true => &id[..id.len() - "-00000000-0000-0000-0000-000000000000".len()],
                false => &**id,
            };
            assert_eq!(assigned, format!("{generation}/{own}"), "another's assignment");
        }
    }

    fn check(&mut self) {
        self.fixture.check_replay();
        let mut waiting = BTreeSet::new();
        for id in GROUPS {
            let Some(Group::Classic(group)) = self.fixture.groups.group(id) else { continue };
            let tickets = group.members.iter().flat_map(|member| [member.join, member.sync]);
            waiting.extend(tickets.flatten().map(|ticket| ticket.0));
            let before = self.generations.insert(id.to_owned(), group.generation).unwrap_or(0);
            assert!(group.generation >= before, "{id} fell from {before} to {}", group.generation);
        }
        let own = self.members.iter().flat_map(|member| [member.join, member.sync]).flatten();
        let asked: BTreeSet<u64> = own.map(|ticket| ticket.0).chain(self.left.iter().copied()).collect();
        assert_eq!(waiting, asked, "who waits is not who asked");
    }

    /// Everybody is silent: sessions end, rounds end, everyone is answered.
    fn fall_silent(&mut self) {
        self.fixture.step(20 * 60_000);
        self.hear();
        self.check();
        for member in &self.members {
            assert!(member.join.is_none() && member.sync.is_none(), "{:?} is not answered", member.id);
        }
        assert!(self.left.is_empty(), "{:?} are not answered", self.left);
        for id in GROUPS {
            if let Some(Group::Classic(group)) = self.fixture.groups.group(id) {
                assert!(group.state == State::Empty && group.pending.is_empty(), "{id}");
            }
        }
    }
}

#[test]
fn whatever_clients_do_groups_stay_sound() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("GROUPS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + number("GROUPS_SEEDS").unwrap_or(60),
    };
    for seed in seeds {
        // Shown where the test fails.
        println!("GROUPS_SEED={seed}");
        let mut world = World::new(seed);
        for step in 0..STEPS {
            println!("step {step}");
            world.act();
        }
        world.fall_silent();
    }
}
