//! The task behind a view: folds the watch's events and publishes what comes out.

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::view::{Freshness, Listing, ViewState};
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

async fn follow(mut watch: Watch, mut publisher: Publisher<ViewState>) {
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
