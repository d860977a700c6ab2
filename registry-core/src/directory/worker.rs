//! The task behind a view: folds the watch's events and publishes what comes out.

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::view::{Freshness, Listing, ViewState};
use crate::error::{Error, ErrorKind, Operation};
use crate::event::WatchEvent;
use crate::fold::{Folded, fold};
use crate::name::ServiceName;
use crate::published::{Publisher, Reader, published};
use crate::registry::Watch;
use crate::snapshot::Snapshot;

/// Starts the task; it ends when the handle aborts it.
pub(super) fn spawn(service: ServiceName, watch: Watch) -> (Reader<ViewState>, AbortHandle) {
    let (publisher, reader) = published(ViewState::pending(service));
    let task = tokio::spawn(follow(watch, publisher));
    (reader, task.abort_handle())
}

/// Says that the view is not kept up to date any more, however the task ends: its runtime was shut down, it panicked, or the watch broke
/// its contract and ended.
struct LastWord(Publisher<ViewState>);

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

async fn follow(mut watch: Watch, publisher: Publisher<ViewState>) {
    let mut last_word = LastWord(publisher);
    let publisher = &mut last_word.0;
    let mut snapshot: Option<Snapshot> = None;
    while let Some(event) = watch.next().await {
        let folded = fold(&mut snapshot, &event);
        if folded == Folded::Refused {
            tracing::error!(?event, "a watch broke its contract; the event was not applied");
            continue;
        }
        let now = Instant::now();
        let before = publisher.load();
        let mut state = ViewState::clone(&before);
        drop(before);
        match &event {
            WatchEvent::Stale { since, error } => {
                state.freshness = Freshness::Stale { since: *since, error: error.clone() };
            }
            WatchEvent::Reset { cause, .. } => {
                state.freshness = Freshness::Live { proven: now };
                state.resets += 1;
                state.last_reset = Some(*cause);
            }
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
        if let Some(snapshot) = &snapshot {
            if folded == Folded::Changed {
                state.listing = Some(Listing::new(snapshot.clone()));
            }
            state.cursor = Some(snapshot.cursor());
        }
        if matches!(event, WatchEvent::Progress { .. }) {
            publisher.publish_silently(state);
        } else {
            publisher.publish(state);
        }
    }
}
