//! What a guard must hold, told the same as the guard of a view: the rule as plainly as it can be said, for comparison with the one that is quick. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use registry_core::{
    Change, DeleteCause, Entry, Folded, HeldCause, InstanceId, Snapshot, Status, WatchEvent, fold,
};
use tokio::time::{Duration, Instant};

use super::guarded::TTL;
use super::history::File;

/// How large a part may vanish: the default.
const SHARE: f64 = 0.5;
/// Alarms go off up to a millisecond late.
pub(super) const LATE: Duration = Duration::from_millis(2);

/// How long the registry has before what was saved is served: the default.
const GRACE: Duration = Duration::from_millis(60);

/// Since when it is gone, and why.
pub(super) type Gone = (Instant, HeldCause);

#[derive(Default)]
pub(super) struct Model {
    /// What was saved when it started, and when it was read.
    file: Option<(File, Instant)>,
    /// Whether the registry has said that it is away, before anything else.
    was_away: bool,
    live: Option<Snapshot>,
    suspects: BTreeMap<InstanceId, Gone>,
    held: BTreeMap<InstanceId, Gone>,
    /// When something vanished last.
    last: Option<Instant>,
    /// Until when, at least, something else may be held, because of what came in the moment in which a hold ended, or in which a file was served.
    unsure: Option<Instant>,
}

impl Model {
    /// Its file was read: the first time, when it starts.
    pub(super) fn read(&mut self, file: Option<&File>, now: Instant) {
        if self.live.is_none() && self.file.is_none() {
            self.file = file.cloned().map(|file| (file, now));
        }
    }

    /// What was saved, and how old that is `now`, once it must be served; `None` where there is nothing, or the registry has answered.
    pub(super) fn must_serve(&self, now: Instant) -> Option<(&File, Duration)> {
        let (file, read) = self.file.as_ref().filter(|_| self.live.is_none())?;
        let is_due = self.was_away || now > *read + GRACE + LATE;
        is_due.then(|| (file, file.age + (now - *read)))
    }

    /// What must be held `now`.
    pub(super) fn held(&mut self, now: Instant) -> &BTreeMap<InstanceId, Gone> {
        self.pass(now);
        &self.held
    }

    /// Whether it is known that nothing else may be held, given whether anything else is.
    pub(super) fn is_sure(&mut self, now: Instant, alike: bool) -> bool {
        if alike && self.unsure.is_some_and(|until| now > until) {
            self.unsure = None;
        }
        self.unsure.is_none()
    }

    pub(super) fn release(&mut self) {
        self.suspects.clear();
        self.held.clear();
    }

    pub(super) fn on(&mut self, event: &WatchEvent, now: Instant) {
        self.pass(now);
        let before = self.live.clone();
        if fold(&mut self.live, event) == Folded::Refused {
            return;
        }
        match (before, event) {
            (None, WatchEvent::Stale { .. }) => self.was_away = true,
            (None, WatchEvent::Reset { cause, snapshot }) => {
                let Some((file, read)) = self.file.take() else { return };
                let Some(since) = self.lost_since(file.age, read, snapshot, now) else { return };
                for entry in file.entries.iter().filter(|entry| snapshot.get(entry.id()).is_none()) {
                    self.lost(entry, HeldCause::Reset(*cause), since, now);
                }
                self.judge(now);
            }
            (Some(before), WatchEvent::Reset { cause, snapshot }) => {
                for entry in before.iter().filter(|entry| snapshot.get(entry.id()).is_none()) {
                    self.lost(entry, HeldCause::Reset(*cause), now, now);
                }
                self.held.retain(|id, _| snapshot.get(id).is_none());
                self.suspects.retain(|id, _| snapshot.get(id).is_none());
                self.judge(now);
            }
            (Some(before), WatchEvent::Changes(batch)) => {
                for change in &batch.changes {
                    self.change(change, &before, now);
                }
                self.judge(now);
            }
            _ => {}
        }
    }

    fn change(&mut self, change: &Change, before: &Snapshot, now: Instant) {
        let cause = match change {
            Change::Delete { cause: DeleteCause::Expired, .. } => HeldCause::Expired,
            Change::Delete { cause: DeleteCause::Unknown, .. } => HeldCause::Unknown,
            _ => {
                self.suspects.remove(change.id());
                self.held.remove(change.id());
                return;
            }
        };
        if let Some(entry) = before.get(change.id()) {
            self.lost(entry, cause, now, now);
        }
    }

    /// Since when those count as gone that were saved, and are not in the first list: since they were saved, or, where that is too long ago, they were served,
    /// and nobody is in that list, since now.
    fn lost_since(
        &mut self,
        age: Duration,
        read: Instant,
        first: &Snapshot,
        now: Instant,
    ) -> Option<Instant> {
        let proven = read.checked_sub(age).filter(|proven| *proven + 3 * TTL > now);
        if proven.is_some() || !first.is_empty() {
            return proven;
        }
        let waited = now - read;
        if !self.was_away && waited >= GRACE && waited <= GRACE + LATE {
            self.unsure = self.unsure.max(Some(now + 3 * TTL + LATE));
        }
        (self.was_away || waited >= GRACE).then_some(now)
    }

    fn lost(&mut self, entry: &Arc<Entry>, cause: HeldCause, since: Instant, now: Instant) {
        if entry.instance().status() != Status::Draining {
            self.suspects.insert(entry.id().clone(), (since, cause));
            self.last = Some(now);
        }
    }

    fn judge(&mut self, now: Instant) {
        let live = self.live.as_ref().map_or(0, Snapshot::len);
        let gone = self.suspects.len() + self.held.len();
        if live == 0 || gone as f64 > SHARE * (live + gone) as f64 {
            self.held.append(&mut self.suspects);
        }
        self.held.retain(|_, (since, _)| *since + 3 * TTL > now);
    }

    /// What is over is over.
    fn pass(&mut self, now: Instant) {
        // Whether one whose time is just over was given up before what comes now is not known.
        let just_over = |(since, _): &Gone| *since + 3 * TTL <= now && now <= *since + 3 * TTL + LATE;
        if self.held.values().any(just_over) {
            self.unsure = self.unsure.max(Some(now + LATE));
        }
        self.held.retain(|_, (since, _)| *since + 3 * TTL > now);
        if self.last.is_some_and(|last| now - last > TTL) {
            self.last = None;
            self.suspects.clear();
        }
        self.suspects.retain(|_, (since, _)| now - *since <= 3 * TTL);
    }
}
