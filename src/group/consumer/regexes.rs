//! Subscription by regular expression: who subscribes to which, what each matched when it was last resolved,
//! and the rules of when they are resolved again.
//!
//! All expressions of a group are resolved together, in the background, so that one refresh moves partitions
//! once; in slices of time, for a hostile expression over all topics can take minutes. What they matched is taken some
//! topics a decision; the epoch rises with the last. The source is Kafka's
//! GroupMetadataManager.maybeUpdateRegularExpressions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ahash::{AHashMap, AHashSet};

use super::member::Names;
use super::state::ConsumerGroup;
use super::{Context, Outcome, Shared, records};
use crate::group::bounds::brief;
use crate::group::regex::{self, TopicRegex};
use crate::group::{Effect, Group, Groups, Work, Worked};
use crate::metadata::Image;

/// A group resolves its expressions no more often than this.
pub const REFRESH_MIN_INTERVAL_MS: i64 = 10_000;

/// Compiled expressions that a group keeps, and all groups of the broker together; those beyond are compiled for
/// each refresh. One may take a mebibyte and a quarter, see [`regex::COMPILED_BYTES_MAX`].
const COMPILED_MAX: usize = 16;
const COMPILED_OF_ALL_MAX: usize = 256;

/// Topics that one decision takes of what was matched, with one for each expression; a single one may have more.
const TAKEN_AT_ONCE: usize = 2_000;

/// What an expression matched.
#[derive(Clone, PartialEq, Debug)]
pub struct Resolved {
    pub topics: Names,
    /// The offset of the metadata that the topics were taken from.
    pub version: i64,
    /// Wall milliseconds.
    pub timestamp_ms: i64,
}

/// When expressions were resolved, and by which metadata.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refresh {
    pub version: i64,
    pub timestamp_ms: i64,
}

/// The regular expressions of a group.
#[derive(Debug, Default)]
pub struct Regexes {
    subscribers: AHashMap<Arc<str>, usize>,
    resolved: AHashMap<Arc<str>, Resolved>,
    /// Compiled ones of those that have subscribers: a cache.
    compiled: AHashMap<Arc<str>, Kept>,
    newest: Option<Refresh>,
    /// Names the resolution that runs, which ends early where the group is gone.
    refreshing: Option<Arc<()>>,
}

impl Regexes {
    pub fn subscriber_count(&self, regex: &str) -> usize {
        self.subscribers.get(regex).copied().unwrap_or(0)
    }

    /// How many different expressions have subscribers.
    pub fn expression_count(&self) -> usize {
        self.subscribers.len()
    }

    /// The subscribers of one of the expressions; `None` where nobody subscribes to any.
    pub fn subscriber_count_of_any(&self) -> Option<usize> {
        self.subscribers.values().next().copied()
    }

    pub fn resolved(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Resolved)> {
        self.resolved.iter()
    }

    pub fn resolution(&self, regex: &str) -> Option<&Resolved> {
        self.resolved.get(regex)
    }

    /// Everything was replayed. Where a crash came between the parts of a resolution, none counts as made, so that the
    /// next heartbeat asks for all of them.
    pub(super) fn loaded(&mut self) {
        let newest = |regex| {
            self.resolution(regex).is_some_and(|of| {
                Some(Refresh { version: of.version, timestamp_ms: of.timestamp_ms }) == self.newest
            })
        };
        if !self.subscribers.keys().all(|regex| newest(regex)) {
            self.newest = None;
        }
    }

    /// The resolution that was made last: all that have subscribers are made together.
    pub fn newest(&self) -> Option<Refresh> {
        self.newest
    }

    pub(super) fn subscribe(&mut self, regex: &Arc<str>) {
        *self.subscribers.entry(regex.clone()).or_default() += 1;
    }

    pub(super) fn unsubscribe(&mut self, regex: &str) {
        let Some(count) = self.subscribers.get_mut(regex) else { return };
        *count -= 1;
        if *count == 0 {
            self.subscribers.remove(regex);
            self.compiled.remove(regex);
        }
    }

    /// Puts or takes a resolution; gives the one before.
    pub(super) fn set_resolved(&mut self, regex: &str, resolved: Option<Resolved>) -> Option<Resolved> {
        let before = match resolved {
            Some(resolved) => {
                let refresh = Refresh { version: resolved.version, timestamp_ms: resolved.timestamp_ms };
                if self.newest.is_none_or(|newest| newest.timestamp_ms <= refresh.timestamp_ms) {
                    self.newest = Some(refresh);
                }
                self.resolved.insert(Arc::from(regex), resolved)
            }
            None => self.resolved.remove(regex),
        };
        if self.resolved.is_empty() {
            self.newest = None;
        }
        before
    }

    /// Keeps a compiled expression for as long as it has subscribers.
    pub fn keep_compiled(&mut self, regex: &str, compiled: Option<Kept>) {
        if self.compiled.len() < COMPILED_MAX
            && let Some(compiled) = compiled
            && let Some((regex, _)) = self.subscribers.get_key_value(regex)
        {
            self.compiled.insert(regex.clone(), compiled);
        }
    }

    /// Every expression that has subscribers.
    fn to_resolve(&self) -> Vec<Asked> {
        let asked = |regex: &Arc<str>| Asked {
            regex: regex.clone(),
            compiled: self.compiled.get(regex).map(|Kept(compiled)| compiled.clone()),
            before: self.resolution(regex).map(|resolved| resolved.topics.clone()).unwrap_or_default(),
        };
        self.subscribers.keys().map(asked).collect()
    }
}

/// A compiled expression that has a place among those of all groups.
#[derive(Debug)]
pub struct Kept(Arc<TopicRegex>);

/// How many places are taken, over all cores.
static KEPT: AtomicUsize = AtomicUsize::new(0);

impl Kept {
    /// `None` where all places are taken.
    pub fn new(compiled: Arc<TopicRegex>) -> Option<Kept> {
        let one_more = |kept| (kept < COMPILED_OF_ALL_MAX).then_some(kept + 1);
        KEPT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Kept(compiled))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        KEPT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Resolves the group's expressions again, in the background, where one is new (`required`), was never
/// resolved, topics came since, or the last time is long ago. `last` is what [`Regexes::newest`] was before the
/// heartbeat.
pub fn refresh(
    group: &mut ConsumerGroup,
    mut required: bool,
    last: Option<Refresh>,
    consumers: &mut Shared,
    context: &Context<'_>,
    outcome: &mut Outcome,
) {
    let regexes = &mut group.regexes;
    if regexes.subscribers.is_empty() || regexes.refreshing.is_some() {
        return;
    }
    let now_ms = context.now.wall_ms;
    if last.is_some_and(|last| now_ms <= last.timestamp_ms.saturating_add(REFRESH_MIN_INTERVAL_MS)) {
        return;
    }
    let interval_ms = i64::try_from(context.settings.consumer_regex_refresh_interval_ms).unwrap_or(i64::MAX);
    let created = consumers.topics.newest_created(context.image);
    required |= regexes.subscribers.len() != regexes.resolved.len();
    required |= last.map_or(0, |last| last.version) < created;
    required |= last.is_none_or(|last| now_ms > last.timestamp_ms.saturating_add(interval_ms));
    if !required {
        return;
    }
    let token = Arc::new(());
    regexes.refreshing = Some(token.clone());
    let mut resolver = Resolver::new(context.image.clone(), regexes.to_resolve());
    let refresh = Refresh { version: context.image.offset.0, timestamp_ms: now_ms };
    let mut group = group.id.to_string();
    outcome.effect(Effect::Work(Work::Sliced(Box::new(move |is_over| {
        // Without its group nobody wants to know.
        let is_wanted = Arc::strong_count(&token) > 1;
        if is_wanted && !resolver.go_on(is_over) {
            return None;
        }
        let resolution = Resolution {
            group: std::mem::take(&mut group),
            token: token.clone(),
            refresh,
            left: std::mem::take(&mut resolver.found),
            bump: false,
            is_cut: false,
        };
        Some(resolution.worked())
    }))));
}

/// An expression to resolve.
struct Asked {
    regex: Arc<str>,
    /// Where it is at hand.
    compiled: Option<Arc<TopicRegex>>,
    /// What it matched the last time.
    before: Names,
}

/// An expression and the topics it matches.
struct Found {
    regex: Arc<str>,
    /// To keep, where it was compiled for this.
    compiled: Option<Kept>,
    /// By name.
    topics: Names,
}

/// What all expressions of a group matched, on its way into the group.
struct Resolution {
    group: String,
    /// That of [`Regexes::refreshing`].
    token: Arc<()>,
    refresh: Refresh,
    left: Vec<Found>,
    /// Some matched other topics than before.
    bump: bool,
    /// Some matched more than the group may keep.
    is_cut: bool,
}

impl Resolution {
    fn worked(self) -> Worked {
        Worked(Box::new(move |groups, context, outcome| groups.take_resolved(self, context, outcome)))
    }
}

/// Resolves expressions over all topics of an image, a slice of time after the other.
struct Resolver {
    image: Image,
    /// Those that are not begun, the next one last.
    left: Vec<Asked>,
    matching: Option<Matching>,
    found: Vec<Found>,
    /// The lists of what is found, each once.
    lists: AHashSet<Names>,
}

/// An expression that is being matched.
struct Matching {
    regex: Arc<str>,
    /// Where it is kept, here or by the group; else it is compiled for each slice.
    compiled: Option<Arc<TopicRegex>>,
    /// Where it was compiled for this.
    kept: Option<Kept>,
    before: Names,
    matched: Vec<Arc<str>>,
    /// No topic before this name is left.
    next: String,
}

impl Resolver {
    fn new(image: Image, left: Vec<Asked>) -> Resolver {
        let found = Vec::with_capacity(left.len());
        Resolver { image, left, matching: None, found, lists: AHashSet::default() }
    }

    /// The list that was there before, or that of another expression, where it is the same.
    fn shared(&mut self, before: Names, matched: Vec<Arc<str>>) -> Names {
        let topics = if *before == *matched { before } else { matched.into() };
        if let Some(known) = self.lists.get(&topics) {
            return known.clone();
        }
        self.lists.insert(topics.clone());
        topics
    }

    /// Goes on until all is found, which is true, or one compiling and match after the slice is over.
    fn go_on(&mut self, is_over: &dyn Fn() -> bool) -> bool {
        loop {
            if let Some(mut matching) = self.matching.take() {
                if !matching.go_on(&self.image, is_over) {
                    self.matching = Some(matching);
                    return false;
                }
                let Matching { regex, kept, before, matched, .. } = matching;
                let compiled = kept.filter(|_| self.found.len() < COMPILED_MAX);
                let topics = self.shared(before, matched);
                self.found.push(Found { regex, compiled, topics });
                if is_over() && !self.left.is_empty() {
                    return false;
                }
            }
            let Some(Asked { regex, compiled, before }) = self.left.pop() else { return true };
            let (matched, next) = (Vec::new(), String::new());
            self.matching = Some(Matching { regex, compiled, kept: None, before, matched, next });
        }
    }
}

impl Matching {
    /// True where no topic is left.
    fn go_on(&mut self, image: &Image, is_over: &dyn Fn() -> bool) -> bool {
        let Some(compiled) = self.compiled.take().or_else(|| self.compile()) else { return true };
        let from = std::mem::take(&mut self.next);
        for topic in image.topics_from(&from) {
            if compiled.matches(&topic.name) {
                self.matched.push(topic.name.clone());
            }
            if is_over() {
                // The first text behind the name.
                self.next = format!("{}\0", topic.name);
                self.compiled = Some(compiled).filter(|compiled| Arc::strong_count(compiled) > 1);
                return false;
            }
        }
        true
    }

    /// It was checked when a member brought it; one that another broker took may still be refused here, and
    /// matches nothing.
    fn compile(&mut self) -> Option<Arc<TopicRegex>> {
        let compiled = Arc::new(regex::compile(&self.regex).ok()?);
        self.kept = Kept::new(compiled.clone());
        Some(compiled)
    }
}

impl Groups {
    /// Takes some of what expressions matched, for those that still have subscribers; the rest comes as the next
    /// computation, whose result is there at once.
    fn take_resolved(&mut self, mut resolution: Resolution, context: &Context<'_>, outcome: &mut Outcome) {
        let Groups { groups, consumers, .. } = self;
        let Some(Group::Consumer(group)) = groups.get_mut(&resolution.group) else { return };
        let is_awaited = |running: &Arc<()>| Arc::ptr_eq(running, &resolution.token);
        if !group.regexes.refreshing.as_ref().is_some_and(is_awaited) {
            return;
        }
        let mut taken = 0;
        while let Some(next) = resolution.left.pop() {
            taken += 1 + next.topics.len();
            if taken > TAKEN_AT_ONCE && taken > 1 + next.topics.len() {
                resolution.left.push(next);
                return outcome.effect(Effect::Work(Work::Whole(Box::new(|| resolution.worked()))));
            }
            if group.regexes.subscriber_count(&next.regex) > 0 {
                take_found(group, next, &mut resolution, context, outcome);
            }
        }
        group.regexes.refreshing = None;
        // Members may have left expressions since the hash was computed, which changes what the group reads even
        // where nothing new is found.
        group.hash_of = None;
        super::heartbeat::update_epoch(group, resolution.bump, consumers, context, outcome);
    }
}

/// Takes what one expression matched; what it matched before where the group may not keep more.
fn take_found(
    group: &mut ConsumerGroup,
    found: Found,
    resolution: &mut Resolution,
    context: &Context<'_>,
    outcome: &mut Outcome,
) {
    let Found { regex, compiled, mut topics } = found;
    if !group.has_room_for_resolved(&regex, &topics, context) {
        if !std::mem::replace(&mut resolution.is_cut, true) {
            tracing::warn!(
                group = brief(&group.id),
                regex = brief(&regex),
                topics = topics.len(),
                "an expression matches more topics than its group may keep; it names those that it matched before"
            );
        }
        topics = group.regexes.resolution(&regex).map(|before| before.topics.clone()).unwrap_or_default();
    }
    let Refresh { version, timestamp_ms } = resolution.refresh;
    outcome.applied_record(records::regex(&group.id, &regex, &topics, version, timestamp_ms));
    resolution.bump |= group.set_resolved(&regex, Some(Resolved { topics, version, timestamp_ms }));
    group.regexes.keep_compiled(&regex, compiled);
}
