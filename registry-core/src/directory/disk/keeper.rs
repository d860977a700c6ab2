//! When a view is saved: what changed after a pause, what stayed the same at intervals, and the last that was seen when the view ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::view::{Freshness, Listing, ViewState};
use super::Disk;
use crate::published::Reader;
use crate::time::later;

/// How long a save that failed is let be.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// The pause before a save is at least as many times as long as the one before took: no more than a twentieth of the time is spent on saving.
const PAUSES: u32 = 20;

/// Keeps the file of a service up to date.
pub(super) struct Keeper {
    disk: Disk,
    reader: Reader<ViewState>,
    /// What was saved last, and when.
    kept: Option<(Arc<Listing>, Instant)>,
    /// How long that took.
    took: Duration,
    runtime: Handle,
}

impl Keeper {
    /// Must be called within a tokio runtime.
    pub(super) fn new(disk: Disk, reader: Reader<ViewState>) -> Self {
        Self { disk, reader, kept: None, took: Duration::ZERO, runtime: Handle::current() }
    }

    pub(super) async fn run(&mut self) {
        loop {
            let refresh = self.kept.as_ref().map(|(_, at)| later(*at, self.disk.options.refresh));
            if self.unsaved().is_none() && refresh.is_none_or(|refresh| refresh > Instant::now()) {
                let later = async {
                    match refresh {
                        Some(refresh) => sleep_until(refresh).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    open = self.reader.changed() => if !open { return },
                    () = later => {}
                }
                continue;
            }
            if worth_saving(&self.reader.load()).is_none() {
                // It is to be refreshed, and is not current.
                if !self.reader.changed().await {
                    return;
                }
                continue;
            }
            sleep(self.pause()).await;
            // What it is by now.
            let Some((listing, proven)) = worth_saving(&self.reader.load()) else { continue };
            let begun = Instant::now();
            if self.disk.try_save(Arc::clone(&listing), proven).await {
                self.took = begun.elapsed();
                let first = self.kept.replace((listing, Instant::now())).is_none();
                if first && let Err(why) = self.disk.would_be_used().await {
                    self.disk.reject(&why);
                }
            } else {
                sleep(AFTER_FAILURE).await;
            }
        }
    }

    /// How long changes are gathered: longer where saving takes long, such as with very many instances, but not so long that files seem older than they are.
    fn pause(&self) -> Duration {
        let options = &self.disk.options;
        options.delay.max(self.took.saturating_mul(PAUSES).min(options.refresh))
    }

    /// What is current and was not saved, and when it was proven so.
    fn unsaved(&self) -> Option<(Arc<Listing>, Instant)> {
        let kept =
            |listing: &Arc<Listing>| self.kept.as_ref().is_some_and(|(kept, _)| Arc::ptr_eq(kept, listing));
        worth_saving(&self.reader.load()).filter(|(listing, _)| !kept(listing))
    }
}

/// The view ends.
impl Drop for Keeper {
    fn drop(&mut self) {
        let Some((listing, proven)) = self.unsaved() else { return };
        let disk = self.disk.clone();
        self.runtime.spawn(async move {
            disk.try_save(listing, proven).await;
        });
    }
}

/// What is current, and when it was proven so.
fn worth_saving(state: &ViewState) -> Option<(Arc<Listing>, Instant)> {
    match (&state.freshness, &state.listing) {
        (Freshness::Live { proven }, Some(listing)) if state.held.is_empty() => {
            Some((Arc::clone(listing), *proven))
        }
        _ => None,
    }
}
