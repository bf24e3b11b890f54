//! Which broker coordinates a group, and questions that each group's coordinator is asked.
//!
//! A coordinator moves, loads, or is not chosen yet; all of these pass, so a group that is answered so is
//! asked about again, at its coordinator of that moment, until the client's patience ends. Brokers from
//! Kafka 3.0 on are asked for many groups at once.

use std::collections::BTreeMap;
use std::time::Instant;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::FindCoordinatorRequest;

use super::admin::Outcomes;
use super::cluster::{BACKOFF, Client, text};
use super::error::ClientError;
use crate::types::NodeId;

/// The first version of FindCoordinator that takes several keys.
const BATCHED_VERSION: i16 = 4;
/// The key of a coordinator is a group's id.
const GROUP_KEY: i8 = 0;
/// Groups in one request, so that one answer comes in time.
const GROUPS_A_REQUEST: usize = 500;

impl Client {
    /// The broker that coordinates each group now. The first question of a new cluster makes its offsets topic.
    pub fn coordinators(&mut self, groups: &[String]) -> Outcomes<NodeId> {
        self.persistently(groups, |client, groups| client.coordinators_once(groups))
    }

    /// The broker that coordinates one group now.
    pub fn coordinator(&mut self, group: &str) -> Result<NodeId, ClientError> {
        let mut found = self.coordinators(&[group.to_owned()]);
        found.pop().map_or_else(|| Err(nothing_said(group)), |(_, outcome)| outcome)
    }

    fn coordinators_once(&mut self, groups: &[String]) -> Outcomes<NodeId> {
        let mut outcomes = Outcomes::new();
        for part in groups.chunks(GROUPS_A_REQUEST) {
            let is_batched = match self.version_of_any::<FindCoordinatorRequest>() {
                Ok(version) => version >= BATCHED_VERSION,
                Err(error) => {
                    outcomes.extend(failed(part, &error));
                    continue;
                }
            };
            if is_batched {
                outcomes.extend(self.find_batch(part));
            } else {
                outcomes.extend(part.iter().map(|group| (group.clone(), self.find_one(group))));
            }
        }
        outcomes
    }

    fn find_batch(&mut self, groups: &[String]) -> Outcomes<NodeId> {
        let request = |_| {
            FindCoordinatorRequest::default()
                .with_key_type(GROUP_KEY)
                .with_coordinator_keys(groups.iter().map(|group| text(group)).collect())
        };
        let response = match self.ask_any(request) {
            Ok(response) => response,
            Err(error) => return failed(groups, &error),
        };
        let outcome = |found: kafka_protocol::messages::find_coordinator_response::Coordinator| {
            let group = found.key.to_string();
            let checked = ClientError::check(
                || format!("the coordinator of group {group}"),
                found.error_code,
                found.error_message.as_deref(),
            );
            (group.clone(), checked.map(|()| NodeId(found.node_id.0)))
        };
        response.coordinators.into_iter().map(outcome).collect()
    }

    fn find_one(&mut self, group: &str) -> Result<NodeId, ClientError> {
        let request = |_| FindCoordinatorRequest::default().with_key_type(GROUP_KEY).with_key(text(group));
        let response = self.ask_any(request)?;
        let what = || format!("the coordinator of group {group}");
        ClientError::check(what, response.error_code, response.error_message.as_deref())?;
        Ok(NodeId(response.node_id.0))
    }

    /// Asks each group's coordinator about its groups, again for those whose answer will soon be another.
    /// `ask` gets one coordinator and groups of its own.
    pub(super) fn ask_coordinators<T>(
        &mut self,
        groups: &[String],
        mut ask: impl FnMut(&mut Client, NodeId, &[String]) -> Result<Outcomes<T>, ClientError>,
    ) -> Outcomes<T> {
        self.persistently(groups, |client, groups| {
            let mut outcomes = Outcomes::new();
            let mut by_coordinator: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
            for (group, found) in client.coordinators(groups) {
                match found {
                    Ok(id) => by_coordinator.entry(id).or_default().push(group),
                    Err(error) => outcomes.push((group, Err(error))),
                }
            }
            for (id, groups) in by_coordinator {
                for part in groups.chunks(GROUPS_A_REQUEST) {
                    let answered = match client.know(id) {
                        Ok(()) => ask(client, id, part),
                        Err(error) => Err(error),
                    };
                    outcomes.extend(answered.unwrap_or_else(|error| failed(part, &error)));
                }
            }
            outcomes
        })
    }

    /// A coordinator may be younger than what is known of the cluster.
    pub(super) fn know(&mut self, id: NodeId) -> Result<(), ClientError> {
        if !self.brokers().contains_key(&id) {
            self.metadata(Some(&[]), false)?;
        }
        Ok(())
    }

    /// Asks about groups, and again about those whose trouble passes. Outcomes come in the order of `groups`,
    /// one for each.
    fn persistently<T>(
        &mut self,
        groups: &[String],
        mut ask: impl FnMut(&mut Client, &[String]) -> Outcomes<T>,
    ) -> Outcomes<T> {
        let give_up = Instant::now() + self.patience();
        let mut settled: BTreeMap<String, Result<T, ClientError>> = BTreeMap::new();
        let mut open: Vec<String> = groups.to_vec();
        while !open.is_empty() {
            let is_last = Instant::now() >= give_up;
            let mut again = Vec::new();
            for (group, outcome) in ask(self, &open) {
                match outcome {
                    Err(error) if error.is_passing() && !is_last => again.push(group),
                    outcome => drop(settled.insert(group, outcome)),
                }
            }
            open = again;
            if !open.is_empty() {
                std::thread::sleep(BACKOFF);
            }
        }
        let of = |group: &String| {
            let outcome = settled.remove(group).unwrap_or_else(|| Err(nothing_said(group)));
            (group.clone(), outcome)
        };
        groups.iter().map(of).collect()
    }
}

/// Whether a coordinator says that it is none, or not yet.
pub(super) fn is_elsewhere(code: ResponseError) -> bool {
    matches!(
        code,
        ResponseError::NotCoordinator
            | ResponseError::CoordinatorNotAvailable
            | ResponseError::CoordinatorLoadInProgress
    )
}

/// The same failure for each group, as far as it can be told twice.
fn failed<T>(groups: &[String], error: &ClientError) -> Outcomes<T> {
    groups.iter().map(|group| (group.clone(), Err(error.again()))).collect()
}

fn nothing_said(group: &str) -> ClientError {
    ClientError::NoAnswer(format!("the broker said nothing about group {group}"))
}
