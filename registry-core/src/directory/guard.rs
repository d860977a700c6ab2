//! What is held when much vanishes at once: a pure function of events and time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use tokio::time::Instant;

use super::given_up::GivenUp;
use super::options::GuardOptions;
use crate::diff::{Difference, diff};
use crate::event::{Batch, Change, DeleteCause, ResetCause, WatchEvent};
use crate::instance::Status;
use crate::name::InstanceId;
use crate::snapshot::{Entry, Snapshot};
use crate::time::later;

/// Why an instance that is held has vanished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeldCause {
    /// A [`Reset`](WatchEvent::Reset) did not have it any more.
    Reset(ResetCause),
    /// Its lease ran out.
    Expired,
    /// The backend could not tell.
    Unknown,
}

/// Since when, until when and why an instance is listed that the registry does not list any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    since: Instant,
    until: Instant,
    cause: HeldCause,
}

impl Held {
    /// When the registry ceased to list it, as far as is known; of what was only ever read from disk, when the file was proven current, or, where that is longer ago
    /// than anything is held and the registry lists nobody at all, when it said so.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// When it will be given up, if it has not come back or been released.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Why it has vanished.
    #[must_use]
    pub fn cause(&self) -> HeldCause {
        self.cause
    }

    #[cfg(test)]
    pub(super) fn for_ever() -> Self {
        let now = Instant::now();
        Self { since: now, until: later(now, Duration::MAX), cause: HeldCause::Unknown }
    }
}

/// The instances that are held.
pub(super) type HeldSet = OrdMap<InstanceId, Held>;

/// What an event did to what is held, in instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ruling {
    /// Held from now on.
    pub(super) begun: usize,
    /// Listed by the registry again, or given up by their owners.
    pub(super) ended: usize,
    /// Listed again, after they had been given up.
    pub(super) premature: usize,
    /// Why one of those vanished that are held from now on.
    pub(super) cause: Option<HeldCause>,
}

/// What vanished not long ago, in a way that may be an error, and is not held.
struct Suspect {
    since: Instant,
    entry: Arc<Entry>,
    cause: HeldCause,
}

/// A guard over one service. Feed it every event that was folded; what is to be shown is [`shown`](Self::shown).
///
/// A change costs a logarithm of the number of instances, also while some are held; beginning a hold, and a `Reset`, cost what they touch. What is
/// remembered is what is held, and what vanished of late.
pub(super) struct Guard {
    options: GuardOptions,
    /// What the registry lists.
    live: Snapshot,
    /// Live and held together.
    shown: Snapshot,
    held: HeldSet,
    /// When each that is held is to be given up, in order.
    due: Timeline,
    suspects: BTreeMap<InstanceId, Suspect>,
    /// When each suspect vanished, in order.
    vanished: Timeline,
    /// When it was told last that something vanished that may be held.
    told: Option<Instant>,
    given_up: GivenUp,
    /// Of what is live, where it was read from disk; `None` once the registry has told it.
    file: Option<File>,
}

/// Where a list comes from that was read from disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct File {
    /// How long before it was read it had been proven current.
    pub(super) age: Duration,
    /// When it was read.
    pub(super) read: Instant,
    /// Whether the view has served it.
    pub(super) served: bool,
}

/// Who was given up is remembered for so many times as long as it was held.
const REMEMBERED: u32 = 10;

/// Instances by a moment of each.
type Timeline = BTreeSet<(Instant, InstanceId)>;

impl Guard {
    /// A guard over what the registry lists first.
    pub(super) fn new(options: GuardOptions, first: Snapshot) -> Self {
        Self {
            options,
            live: first.clone(),
            shown: first,
            held: HeldSet::new(),
            due: Timeline::new(),
            suspects: BTreeMap::new(),
            vanished: Timeline::new(),
            told: None,
            given_up: GivenUp::default(),
            file: None,
        }
    }

    /// A guard over what was read from disk.
    pub(super) fn of_file(options: GuardOptions, first: Snapshot, file: File) -> Self {
        Self { file: Some(file), ..Self::new(options, first) }
    }

    /// What is to be listed: what the registry lists, and what is held.
    pub(super) fn shown(&self) -> &Snapshot {
        &self.shown
    }

    pub(super) fn held(&self) -> &HeldSet {
        &self.held
    }

    /// When the next held instance is to be given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(until, _)| *until)
    }

    /// `event` was folded, and the registry now lists `live`.
    pub(super) fn on(&mut self, event: &WatchEvent, live: &Snapshot, now: Instant) -> Ruling {
        self.forget(now);
        let (ended, premature) = match event {
            WatchEvent::Reset { cause, .. } => (self.reset(live, *cause, now), self.given_up.come_back(live)),
            WatchEvent::Changes(batch) => self.changes(batch, live, now),
            WatchEvent::Live { .. } | WatchEvent::Progress { .. } | WatchEvent::Stale { .. } => {
                self.live = live.clone();
                self.shown.advance(live.cursor());
                return Ruling::default();
            }
        };
        let cause = self.suspects.values().next_back().map(|suspect| suspect.cause);
        let begun = self.judge(now);
        Ruling { begun, ended, premature, cause: cause.filter(|_| begun > 0) }
    }

    /// Gives up what was held for long enough. How many.
    pub(super) fn expire(&mut self, now: Instant) -> usize {
        let mut gone = 0;
        while let Some((_, id)) = pop_if(&mut self.due, |until| until <= now) {
            if let Some(entry) = self.shown.get(&id) {
                self.given_up.add(entry, now);
            }
            self.held.remove(&id);
            self.shown.remove(&id);
            gone += 1;
        }
        gone
    }

    /// Gives up everything that is held, and forgets what vanished of late. How many were held.
    pub(super) fn release(&mut self) -> usize {
        let released = self.held.len();
        self.shown = self.live.clone();
        self.held = HeldSet::new();
        self.due.clear();
        self.suspects.clear();
        self.vanished.clear();
        released
    }

    fn reset(&mut self, live: &Snapshot, cause: ResetCause, now: Instant) -> usize {
        if let Some(since) = self.lost_since(live, now) {
            for difference in diff(Some(&self.live), live) {
                if let Difference::Removed(entry) = difference {
                    self.suspect(entry, HeldCause::Reset(cause), since, now);
                }
            }
        }
        let back = |id: &&InstanceId| live.get(id).is_some();
        let returned: Vec<_> = self.held.keys().filter(back).cloned().collect();
        let found: Vec<_> = self.suspects.keys().filter(back).cloned().collect();
        let mut shown = live.clone();
        for id in &returned {
            self.unhold(id);
        }
        found.iter().for_each(|id| self.clear(id));
        for entry in self.held.keys().filter_map(|id| self.shown.get(id)) {
            shown.insert(Arc::clone(entry));
        }
        (self.live, self.shown) = (live.clone(), shown);
        returned.len()
    }

    /// Since when what a `Reset` does not list counts as gone; `None` if nobody is to be held for it.
    fn lost_since(&mut self, live: &Snapshot, now: Instant) -> Option<Instant> {
        let Some(File { age, read, served }) = self.file.take() else { return Some(now) };
        // What a file lists may have gone as early as right after it was proven: an old one proves nothing of anybody. But where those who were served
        // would all vanish, there is nobody left to call.
        let proven = now.checked_sub(age.saturating_add(now.saturating_duration_since(read)));
        let recent = proven.filter(|since| later(*since, self.options.hold_for()) > now);
        recent.or((served && live.is_empty()).then_some(now))
    }

    fn holds_unknown(&self) -> bool {
        self.options.hold_unknown.unwrap_or(true)
    }

    /// How many are not held any more, and how many come back too late for that.
    fn changes(&mut self, batch: &Batch, live: &Snapshot, now: Instant) -> (usize, usize) {
        let (mut ended, mut premature) = (0, 0);
        for change in &batch.changes {
            let id = change.id();
            let cause = match change {
                Change::Put(entry) => {
                    premature += usize::from(self.given_up.comes_back(entry));
                    self.shown.insert(Arc::clone(entry));
                    None
                }
                Change::Delete { cause, .. } => {
                    let cause = match cause {
                        DeleteCause::Deregistered => None,
                        DeleteCause::Expired => Some(HeldCause::Expired),
                        DeleteCause::Unknown => self.holds_unknown().then_some(HeldCause::Unknown),
                    };
                    if cause.is_none() || !self.held.contains_key(id) {
                        self.shown.remove(id);
                    }
                    if let (Some(cause), Some(entry)) = (cause, self.live.get(id).cloned()) {
                        self.suspect(entry, cause, now, now);
                    }
                    cause
                }
            };
            if cause.is_none() {
                // It is there, or its owner has given it up: also if it had been lost before.
                self.clear(id);
                ended += usize::from(self.unhold(id).is_some());
            }
        }
        self.shown.advance(batch.cursor);
        self.live = live.clone();
        (ended, premature)
    }

    fn suspect(&mut self, entry: Arc<Entry>, cause: HeldCause, since: Instant, now: Instant) {
        if entry.instance().status() == Status::Draining {
            return;
        }
        self.told = Some(now);
        let id = entry.id().clone();
        self.clear(&id);
        self.vanished.insert((since, id.clone()));
        self.suspects.insert(id, Suspect { since, entry, cause });
    }

    /// It is no suspect any more.
    fn clear(&mut self, id: &InstanceId) {
        if let Some(suspect) = self.suspects.remove(id) {
            self.vanished.remove(&(suspect.since, id.clone()));
        }
    }

    /// It is not held any more.
    fn unhold(&mut self, id: &InstanceId) -> Option<Held> {
        let held = self.held.remove(id)?;
        self.due.remove(&(held.until, id.clone()));
        Some(held)
    }

    /// Forgets who vanished too long ago to count: before a time in which nobody did, or so long ago that nobody would be held.
    fn forget(&mut self, now: Instant) {
        if self.told.is_some_and(|told| now.saturating_duration_since(told) > self.options.window()) {
            self.told = None;
            self.suspects.clear();
            self.vanished.clear();
        }
        self.given_up.forget(self.options.hold_for() * REMEMBERED, now);
        let longest = self.options.hold_for().max(self.options.window());
        let old = |since| now.saturating_duration_since(since) > longest;
        while let Some((_, id)) = pop_if(&mut self.vanished, old) {
            self.suspects.remove(&id);
        }
    }

    /// Holds the suspects if there are too many of them. How many.
    fn judge(&mut self, now: Instant) -> usize {
        let gone = self.suspects.len() + self.held.len();
        let all = self.live.len() + gone;
        // Of counts below 2^52 nothing is lost.
        let too_many = gone as f64 > self.options.share * all as f64;
        if self.suspects.is_empty() || !(too_many || self.live.is_empty()) {
            return 0;
        }
        self.vanished.clear();
        let mut begun = 0;
        for (id, Suspect { since, entry, cause }) in std::mem::take(&mut self.suspects) {
            let until = later(since, self.options.hold_for());
            if until > now {
                begun += usize::from(self.unhold(&id).is_none());
                self.held.insert(id.clone(), Held { since, until, cause });
                self.due.insert((until, id));
                self.shown.insert(entry);
            }
        }
        begun
    }
}

/// The first one, if its moment is wanted.
fn pop_if(timeline: &mut Timeline, wanted: impl Fn(Instant) -> bool) -> Option<(Instant, InstanceId)> {
    if timeline.first().is_some_and(|(at, _)| wanted(*at)) { timeline.pop_first() } else { None }
}

#[cfg(test)]
mod tests;
