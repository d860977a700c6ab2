//! What to tell and what to do next, as a pure function of what happened.

use tokio::time::Instant;

use crate::cursor::Cursor;
use crate::error::{Error, ErrorKind, Operation};
use crate::event::{Batch, ResetCause, WatchEvent};
use crate::registry::FeedItem;
use crate::snapshot::Snapshot;

/// What happened.
#[derive(Debug)]
pub(super) enum Input {
    /// The feed yielded an item.
    Item(FeedItem),
    /// Opening failed, or the feed ended.
    Failed(Error),
    /// Opening takes longer than the patience; it goes on.
    Slow(Error),
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Open a feed now.
    Open(Option<Cursor>),
    /// Open a feed after the back-off of this attempt.
    OpenAfter(Option<Cursor>, Delay),
    /// Go on with what is under way.
    Continue,
}

/// How long to wait: retry number `attempt`; `slow` when only a change of credentials or set-up will mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delay {
    pub(super) attempt: u32,
    pub(super) slow: bool,
}

/// What to tell the consumer, in order, and what to do next.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) tell: [Option<WatchEvent>; 2],
    pub(super) next: Next,
}

impl Step {
    fn quiet(next: Next) -> Self {
        Self { tell: [None, None], next }
    }

    fn tell(event: WatchEvent) -> Self {
        Self { tell: [Some(event), None], next: Next::Continue }
    }
}

/// What the consumer was told about how current its view is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Nothing yet.
    Nothing,
    /// Current.
    Live,
    /// Not current.
    Stale,
}

#[derive(Debug)]
pub(super) struct Machine {
    /// Up to where the consumer was told.
    position: Option<Cursor>,
    /// Whether the position came from a snapshot or a change, not only from the caller: a caller's cursor may be of an
    /// epoch that is gone.
    confirmed: bool,
    /// Why the position cannot be resumed.
    lost: Option<ResetCause>,
    told: Told,
    /// When the view was last proven current; before that, when the watch began.
    proven: Instant,
    /// Failures since the feed last caught up. A snapshot alone does not end the count: a service whose snapshots go out of
    /// date while they are loaded must not be loaded in a hot loop.
    failures: u32,
    /// Positions lost since the feed last caught up. The first one is made good at once, whatever failed before.
    losses: u32,
}

impl Machine {
    pub(super) fn new(from: Option<Cursor>, now: Instant) -> Self {
        Self {
            position: from,
            confirmed: false,
            lost: None,
            told: Told::Nothing,
            proven: now,
            failures: 0,
            losses: 0,
        }
    }

    pub(super) fn on(&mut self, input: Input, now: Instant) -> Step {
        match input {
            Input::Item(FeedItem::Snapshot(snapshot)) => self.snapshot(snapshot, now),
            Input::Item(FeedItem::Changes(batch)) => self.changes(batch),
            Input::Item(FeedItem::Progress(cursor)) => self.progress(cursor, now),
            Input::Failed(error) => self.failed(error),
            Input::Slow(error) => Step { tell: [self.stale(error), None], next: Next::Continue },
        }
    }

    /// The cursor to open with.
    pub(super) fn resume_from(&self) -> Option<Cursor> {
        if self.lost.is_some() { None } else { self.position }
    }

    fn snapshot(&mut self, snapshot: Snapshot, now: Instant) -> Step {
        let cause = match self.position {
            None => ResetCause::First,
            Some(at) if at.epoch() != snapshot.epoch() => match self.lost {
                Some(cause @ (ResetCause::Wiped | ResetCause::Diverged)) => cause,
                _ => ResetCause::Unknown,
            },
            // W2: a lagging member may answer with an older list; it is not news.
            Some(at) if self.confirmed && snapshot.revision() < at.revision() => {
                if matches!(self.lost, Some(ResetCause::Wiped | ResetCause::Diverged)) {
                    tracing::error!(%at, "the backend says that the history is another one, and keeps its epoch: a defect of the backend");
                }
                self.lost.get_or_insert(ResetCause::Unknown);
                return self.failed(contradiction("a snapshot older than what was already told"));
            }
            Some(_) => self.lost.unwrap_or(ResetCause::Unknown),
        };
        let cursor = snapshot.cursor();
        self.position = Some(cursor);
        self.confirmed = true;
        self.lost = None;
        let reset = WatchEvent::Reset { snapshot, cause };
        Step { tell: [Some(reset), self.live_after_snapshot(cursor, now)], next: Next::Continue }
    }

    fn changes(&mut self, batch: Batch) -> Step {
        if !self.follows(batch.cursor, false) {
            return self.failed(contradiction("changes that do not follow what was already told"));
        }
        self.position = Some(batch.cursor);
        self.confirmed = true;
        Step::tell(WatchEvent::Changes(batch))
    }

    fn progress(&mut self, cursor: Cursor, now: Instant) -> Step {
        if !self.follows(cursor, true) {
            return self.failed(contradiction("progress that does not follow what was already told"));
        }
        self.position = Some(cursor);
        self.confirmed = true;
        let told = self.told;
        self.prove(now);
        (self.failures, self.losses) = (0, 0);
        Step::tell(if told == Told::Live {
            WatchEvent::Progress { cursor }
        } else {
            WatchEvent::Live { cursor }
        })
    }

    /// Whether `cursor` can come after the position; `same`: whether it may be equal.
    fn follows(&self, cursor: Cursor, same: bool) -> bool {
        self.lost.is_none()
            && self.position.is_some_and(|at| {
                let forward = cursor.revision() > at.revision() || same && cursor.revision() == at.revision();
                at.epoch() == cursor.epoch() && forward
            })
    }

    fn failed(&mut self, error: Error) -> Step {
        if error.kind() == ErrorKind::CursorLost && self.resume_from().is_some() {
            // The registry is there and says so: not an outage. A position that keeps getting lost is one.
            self.lost = Some(error.reset_cause().unwrap_or(ResetCause::Unknown));
            let next = match self.losses.checked_sub(1) {
                None => Next::Open(None),
                Some(attempt) => Next::OpenAfter(None, Delay { attempt, slow: false }),
            };
            self.losses = self.losses.saturating_add(1);
            return Step::quiet(next);
        }
        let slow = matches!(
            error.kind(),
            ErrorKind::Unauthenticated
                | ErrorKind::PermissionDenied
                | ErrorKind::InvalidInput
                | ErrorKind::Unsupported
                | ErrorKind::Closed
        );
        let attempt = self.failures;
        self.failures = self.failures.saturating_add(1);
        let from = self.resume_from();
        let next = Next::OpenAfter(from, Delay { attempt, slow });
        Step { tell: [self.stale(error), None], next }
    }

    fn stale(&mut self, error: Error) -> Option<WatchEvent> {
        if self.told == Told::Stale {
            return None;
        }
        self.told = Told::Stale;
        Some(WatchEvent::Stale { since: self.proven, error })
    }

    fn live_after_snapshot(&mut self, cursor: Cursor, now: Instant) -> Option<WatchEvent> {
        let told = self.told;
        self.prove(now);
        (told == Told::Stale).then_some(WatchEvent::Live { cursor })
    }

    fn prove(&mut self, now: Instant) {
        self.told = Told::Live;
        self.proven = now;
    }
}

fn contradiction(what: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, Operation::Watch, what)
}
