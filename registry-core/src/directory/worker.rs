//! The task behind a view: folds the watch's events, lets the guard judge them, and publishes what comes out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::cold::{Cold, at};
use super::disk::{Disk, Saved};
use super::guard::{File, Guard, Ruling};
use super::options::GuardOptions;
use super::stats::Stats;
use super::tell::{Holds, Tell};
use super::view::{Freshness, FromDisk, Listing, Release, ViewState};
use crate::error::{Error, ErrorKind, Operation};
use crate::event::WatchEvent;
use crate::fold::{Folded, fold};
use crate::lease::Ttl;
use crate::name::ServiceName;
use crate::published::{Publisher, Reader, published};
use crate::registry::Watch;
use crate::snapshot::Snapshot;

/// How often the log is told of holds, at most.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What a task works with.
pub(super) struct Work {
    pub(super) service: ServiceName,
    pub(super) watch: Watch,
    pub(super) guard: Option<GuardOptions>,
    pub(super) disk: Option<Disk>,
    pub(super) releases: mpsc::UnboundedReceiver<Release>,
    pub(super) stats: Arc<Stats>,
}

/// Starts the task; it ends when the handle aborts it.
pub(super) fn spawn(work: Work) -> (Reader<ViewState>, AbortHandle) {
    let (publisher, reader) = published(ViewState::pending(work.service.clone()));
    let kept = work.disk.clone().map(|disk| disk.keep(reader.fresh()));
    let follow = Follower::new(work, publisher);
    let task = tokio::spawn(async move {
        match kept {
            None => follow.run().await,
            Some(kept) => {
                let kept = async {
                    kept.await;
                    std::future::pending::<()>().await;
                };
                // What is kept ends first, while it can still see what is listed: the other's last word is that nothing is known any more.
                tokio::select! {
                    biased;
                    () = kept => {}
                    () = follow.run() => {}
                }
            }
        }
    });
    (reader, task.abort_handle())
}

/// Says that the view is not kept up to date any more, however the task ends: its runtime was shut down, it panicked, or the watch broke
/// its contract and ended.
pub(super) struct LastWord(pub(super) Publisher<ViewState>);

impl Drop for LastWord {
    fn drop(&mut self) {
        let mut state = ViewState::clone(&self.0.load());
        let since = match state.freshness {
            Freshness::Live { proven } => proven,
            Freshness::Stale { since, .. } => since,
            Freshness::Pending { since } => since,
        };
        let message = "the task that kept the view up to date has ended";
        let error = Error::new(ErrorKind::Closed, Operation::Watch, message);
        state.freshness = Freshness::Stale { since, error };
        self.0.publish(state);
    }
}

/// What wakes the task.
enum Wake {
    Event(Option<WatchEvent>),
    Release(Release),
    /// Held instances are to be given up.
    Due,
    /// The start without a registry has come a step further.
    Cold,
    /// The log is to be told of holds.
    Tell,
}

struct Follower {
    work: Work,
    publisher: LastWord,
    /// What the registry lists.
    live: Option<Snapshot>,
    /// From the first list on, if there is to be one.
    guard: Option<Guard>,
    cold: Cold,
    tell: Tell<Holds>,
    /// Whether the watch broke its contract, and has told nothing since that makes it good.
    is_broken: bool,
}

impl Follower {
    fn new(work: Work, publisher: Publisher<ViewState>) -> Self {
        let cold = Cold::new(work.disk.clone(), Instant::now());
        let (publisher, tell) = (LastWord(publisher), Tell::new(TELL_EVERY));
        Self { work, publisher, live: None, guard: None, cold, tell, is_broken: false }
    }

    async fn run(mut self) {
        loop {
            let deadline = self.guard.as_ref().and_then(Guard::deadline);
            let untold = self.tell.due(Instant::now());
            // What was saved may be all that tells a wiped registry from an empty one.
            let takes_news = self.work.guard.is_none() || !self.cold.is_reading();
            let wake = tokio::select! {
                biased;
                Some(release) = self.work.releases.recv() => Wake::Release(release),
                () = at(deadline) => Wake::Due,
                event = self.work.watch.next(), if takes_news => Wake::Event(event),
                () = self.cold.step() => Wake::Cold,
                () = at(untold) => Wake::Tell,
            };
            match wake {
                Wake::Event(Some(event)) => self.take(&event),
                Wake::Event(None) => return,
                Wake::Release(answer) => self.release(answer),
                Wake::Due => self.expire(),
                Wake::Cold => {}
                Wake::Tell => self.tell(Holds::default()),
            }
            if let Some(saved) = self.cold.take() {
                self.serve(saved);
            }
        }
    }

    fn state(&self) -> ViewState {
        ViewState::clone(&self.publisher.0.load())
    }

    fn take(&mut self, event: &WatchEvent) {
        let folded = fold(&mut self.live, event);
        let now = Instant::now();
        if folded == Folded::Refused {
            self.refuse(event, now);
            return;
        }
        let mut state = self.state();
        match event {
            // What was read from disk is older than the watch.
            WatchEvent::Stale { since, error } => {
                let since = match (&state.freshness, state.from_disk) {
                    (Freshness::Stale { since: read, .. }, Some(_)) => *read,
                    _ => *since,
                };
                state.freshness = Freshness::Stale { since, error: error.clone() };
            }
            WatchEvent::Reset { cause, .. } => {
                self.is_broken = false;
                state.freshness = Freshness::Live { proven: now };
                state.resets += 1;
                self.work.stats.reset(*cause);
                state.last_reset = Some(*cause);
                state.from_disk = None;
            }
            // Only another list makes good what was refused.
            _ if self.is_broken => {}
            WatchEvent::Live { .. } | WatchEvent::Progress { .. } => {
                state.freshness = Freshness::Live { proven: now };
            }
            // While stale, changes are news of the past until `Live` says that they were all.
            WatchEvent::Changes(_) => {
                if let Freshness::Live { proven } = &mut state.freshness {
                    *proven = now;
                }
            }
        }
        if let (Some(options), None, WatchEvent::Reset { .. }) = (&self.work.guard, &self.guard, event)
            && let Some(Saved { snapshot, age, read }) = self.cold.saved()
        {
            let file = File { age, read, served: false };
            self.guard = Some(Guard::of_file(options.clone(), snapshot, file));
        }
        match &self.live {
            Some(_) => self.cold = Cold::Over,
            None => self.cold.lose_patience(),
        }
        if let Some(live) = &self.live {
            state.cursor = Some(live.cursor());
        }
        self.guard(event, now);
        if folded == Folded::Changed {
            self.list(&mut state);
        }
        if matches!(event, WatchEvent::Progress { .. }) {
            self.publisher.0.publish_silently(state);
        } else {
            self.publisher.0.publish(state);
        }
    }

    /// What contradicts what is known is not applied; from then on the view may lack something.
    fn refuse(&mut self, event: &WatchEvent, now: Instant) {
        let cursor = match event {
            WatchEvent::Reset { snapshot, .. } => Some(snapshot.cursor()),
            WatchEvent::Changes(batch) => Some(batch.cursor),
            WatchEvent::Live { cursor } | WatchEvent::Progress { cursor } => Some(*cursor),
            WatchEvent::Stale { .. } => None,
        };
        let (service, known) = (&self.work.service, self.live.as_ref().map(Snapshot::cursor));
        tracing::error!(%service, ?cursor, ?known, "a watch broke its contract; the event was not applied");
        if self.live.is_none() {
            return;
        }
        self.is_broken = true;
        let mut state = self.state();
        let since = if let Freshness::Live { proven } = state.freshness { proven } else { now };
        if !matches!(state.freshness, Freshness::Stale { .. }) {
            let message = "the watch told what contradicts what it had told before";
            state.freshness =
                Freshness::Stale { since, error: Error::new(ErrorKind::Corrupt, Operation::Watch, message) };
            self.publisher.0.publish(state);
        }
    }

    /// Lets the guard judge an event that was folded.
    fn guard(&mut self, event: &WatchEvent, now: Instant) {
        let (Some(options), Some(live)) = (&self.work.guard, &self.live) else { return };
        let Some(guard) = &mut self.guard else {
            self.guard = Some(Guard::new(options.clone(), live.clone()));
            return;
        };
        let Ruling { begun, ended, premature, cause } = guard.on(event, live, now);
        self.work.stats.holds_begun(begun);
        self.work.stats.holds_ended(ended);
        self.work.stats.holds_premature(premature);
        if begun == 0 && ended > 0 && guard.held().is_empty() {
            let service = &self.work.service;
            tracing::info!(%service, "no instance is held any more: all have come back, or were given up");
        }
        self.tell(Holds { begun, premature, cause, ..Holds::default() });
    }

    /// Tells the log of holds, when it is time to.
    fn tell(&mut self, more: Holds) {
        self.tell.add(|untold| untold.add(more));
        let now = Instant::now();
        let Some(Holds { begun, expired, premature, cause }) = self.tell.take(now) else { return };
        let (service, live) = (&self.work.service, self.live.as_ref().map_or(0, Snapshot::len));
        let guard = self.guard.as_ref();
        let held = guard.map_or(0, |guard| guard.held().len());
        let next = guard.and_then(Guard::deadline).map(|until| until.saturating_duration_since(now));
        if begun > 0 {
            tracing::warn!(%service, ?cause, begun, held, live, first_is_given_up_after = ?next, "too many instances vanished at once: they are held");
        }
        if expired > 0 {
            tracing::warn!(%service, expired, held, live, "held instances have not come back in time, and are gone");
        }
        if premature > 0 {
            let ttl = self.work.guard.as_ref().map_or_else(Ttl::default, |guard| guard.ttl);
            tracing::warn!(%service, premature, live, guard_ttl = %ttl, "instances came back that had been given up: they register with a greater TTL than the guard's, or could not reach the registry for three of these");
        }
    }

    /// What is listed now: what the registry lists, and what is held.
    fn list(&self, state: &mut ViewState) {
        let Some(live) = &self.live else { return };
        let shown = match &self.guard {
            Some(guard) => {
                state.held = guard.held().clone();
                guard.shown().clone()
            }
            None => live.clone(),
        };
        state.listing = Some(Listing::new(shown));
    }

    fn release(&mut self, answer: Release) {
        let released = self.guard.as_mut().map_or(0, Guard::release);
        if released > 0 {
            self.work.stats.holds_released(released);
            tracing::info!(service = %self.work.service, released, "held instances were released");
            let mut state = self.state();
            self.list(&mut state);
            self.publisher.0.publish(state);
        }
        // Who asked may be gone.
        let _ = answer.send(released);
    }

    fn expire(&mut self) {
        let expired = self.guard.as_mut().map_or(0, |guard| guard.expire(Instant::now()));
        if expired > 0 {
            self.work.stats.holds_expired(expired);
            self.tell(Holds { expired, ..Holds::default() });
            let mut state = self.state();
            self.list(&mut state);
            self.publisher.0.publish(state);
        }
    }

    /// Serves what was saved, until the registry answers.
    fn serve(&mut self, saved: Saved) {
        let (now, read) = (Instant::now(), saved.read);
        let age = saved.age.saturating_add(now.saturating_duration_since(read));
        let (service, instances) = (&self.work.service, saved.snapshot.len());
        let mut state = self.state();
        let error = if let Freshness::Stale { error, .. } = &state.freshness {
            tracing::warn!(%service, ?age, instances, %error, "the registry is away: what was saved is served");
            error.clone()
        } else {
            // It may only be slow, such as to take a password.
            tracing::info!(%service, ?age, instances, "the registry has not answered yet: what was saved is served");
            Error::new(ErrorKind::Unavailable, Operation::Watch, "the registry has not answered yet")
        };
        // Before the machine was started there is no moment to name.
        let since = now.checked_sub(age).unwrap_or(now);
        state.freshness = Freshness::Stale { since, error };
        state.from_disk = Some(FromDisk { age: saved.age, read });
        state.cursor = Some(saved.snapshot.cursor());
        if let Some(options) = &self.work.guard {
            let file = File { age: saved.age, read, served: true };
            self.guard = Some(Guard::of_file(options.clone(), saved.snapshot.clone(), file));
        }
        state.listing = Some(Listing::new(saved.snapshot));
        self.publisher.0.publish(state);
    }
}
