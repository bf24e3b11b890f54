//! Which members subscribe to each topic, when they do not all subscribe to the same ones.
//!
//! Large groups have few distinct subscriptions, so topics with the same subscribers share one list of them:
//! the cost is the distinct subscriptions and the distinct lists, not members times topics.

use std::sync::Arc;

use ahash::AHashMap;

use super::Spec;
use super::assignment::id_order;
use crate::types::TopicId;

pub(super) struct Subscribers {
    /// Every subscribed topic, ascending by id.
    pub topics: Vec<TopicId>,
    /// For each position in the order, which of `subscriptions` it has.
    subscription_of: Vec<usize>,
    /// Distinct subscriptions as topics' places in `topics`, ascending.
    subscriptions: Vec<Vec<usize>>,
    /// For each topic, which of `lists` holds its subscribers.
    list_of: Vec<usize>,
    /// Distinct lists of subscribers: positions in the order, ascending, never empty.
    lists: Vec<Vec<u32>>,
}

impl Subscribers {
    pub fn new(spec: &Spec, order: &[usize]) -> Subscribers {
        let (subscription_of, distinct) = distinct_subscriptions(spec, order);
        let mut topics: Vec<TopicId> = distinct.iter().flat_map(|topics| topics.iter().copied()).collect();
        topics.sort_unstable_by_key(|topic| id_order(*topic));
        topics.dedup();

        let places: AHashMap<TopicId, usize> =
            topics.iter().enumerate().map(|(place, topic)| (*topic, place)).collect();
        let mut subscriptions = Vec::with_capacity(distinct.len());
        let mut subscriptions_to: Vec<Vec<usize>> = vec![Vec::new(); topics.len()];
        for (subscription, ids) in distinct.iter().enumerate() {
            let mut here: Vec<usize> = ids.iter().map(|id| places[id]).collect();
            here.sort_unstable();
            here.dedup();
            for topic in &here {
                subscriptions_to[*topic].push(subscription);
            }
            subscriptions.push(here);
        }

        let mut members_with: Vec<Vec<u32>> = vec![Vec::new(); subscriptions.len()];
        for (position, subscription) in subscription_of.iter().enumerate() {
            members_with[*subscription].push(position as u32);
        }
        let mut known: AHashMap<Vec<usize>, usize> = AHashMap::new();
        let mut lists = Vec::new();
        let mut list_of = Vec::with_capacity(topics.len());
        for subscriptions in subscriptions_to {
            let list = *known.entry(subscriptions).or_insert_with_key(|subscriptions| {
                let mut list: Vec<u32> =
                    subscriptions.iter().flat_map(|of| members_with[*of].iter().copied()).collect();
                list.sort_unstable();
                lists.push(list);
                lists.len() - 1
            });
            list_of.push(list);
        }
        Subscribers { topics, subscription_of, subscriptions, list_of, lists }
    }

    pub fn lists(&self) -> &[Vec<u32>] {
        &self.lists
    }

    /// Which of the lists holds the subscribers of `topic`.
    pub fn list_of(&self, topic: usize) -> usize {
        self.list_of[topic]
    }

    /// The members that subscribe to `topic`, ascending.
    pub fn of(&self, topic: usize) -> &[u32] {
        &self.lists[self.list_of[topic]]
    }

    pub fn subscribes(&self, member: u32, topic: usize) -> bool {
        self.subscriptions[self.subscription_of[member as usize]].binary_search(&topic).is_ok()
    }
}

/// For each position its subscription's number, and the subscriptions.
fn distinct_subscriptions<'a>(spec: &'a Spec, order: &[usize]) -> (Vec<usize>, Vec<&'a [TopicId]>) {
    let mut by_address: AHashMap<*const TopicId, usize> = AHashMap::new();
    let mut by_topics: AHashMap<&[TopicId], usize> = AHashMap::new();
    let mut distinct: Vec<&[TopicId]> = Vec::new();
    let subscription_of = order
        .iter()
        .map(|index| {
            let topics = &spec.members[*index].subscribed;
            *by_address.entry(Arc::as_ptr(topics).cast()).or_insert_with(|| {
                *by_topics.entry(topics).or_insert_with(|| {
                    distinct.push(topics);
                    distinct.len() - 1
                })
            })
        })
        .collect();
    (subscription_of, distinct)
}
