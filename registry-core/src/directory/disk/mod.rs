//! Views on disk, for processes that start while the registry cannot be reached.

mod format;
mod options;
mod shelf;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

pub(super) use self::format::Saved;
use self::format::{Wanted, decode, encode};
pub use self::options::DiskOptions;
use self::shelf::blocking;
pub use self::shelf::{Folder, Shelf};
use super::stats::Stats;
use super::view::{Freshness, Listing, ViewState};
use crate::name::ServiceName;
use crate::pick;
use crate::published::Reader;
use crate::time::later;

/// From as many entries on, they are written and read where it may block.
const MANY: usize = 256;
/// How long a save that failed is let be.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How long the last save may take, which nobody waits for.
const LAST_SAVE: Duration = Duration::from_secs(10);

/// The file of one service.
#[derive(Clone)]
pub(super) struct Disk {
    options: DiskOptions,
    service: ServiceName,
    name: String,
    stats: Arc<Stats>,
}

impl Disk {
    pub(super) fn new(options: DiskOptions, service: ServiceName, stats: Arc<Stats>) -> Self {
        let name = file_name(&options.store, &service);
        Self { options, service, name, stats }
    }

    pub(super) fn grace(&self) -> Duration {
        self.options.grace
    }

    /// What was saved, if it can be trusted.
    pub(super) async fn load(self) -> Option<Saved> {
        let file = match self.options.shelf.load(&self.name).await {
            Ok(file) => file?,
            Err(error) => {
                self.reject(&format_args!("cannot be read: {error}"));
                return None;
            }
        };
        let now = (self.options.clock)();
        let (disk, large) = (self.clone(), file.len() > 1024 * MANY);
        let read = move || {
            let Self { options, service, .. } = &disk;
            let wanted = Wanted { store: &options.store, service, now, max_age: options.max_age };
            decode(&file, &wanted)
        };
        let saved = if large { blocking(move || Ok(read())).await } else { Ok(read()) };
        match saved {
            Ok(Ok(saved)) => Some(saved),
            Ok(Err(why)) => {
                self.reject(&why);
                None
            }
            Err(error) => {
                self.reject(&error);
                None
            }
        }
    }

    fn reject(&self, why: &dyn fmt::Display) {
        self.stats.disk_rejected();
        tracing::warn!(service = %self.service, file = %self.name, %why, "a saved view is not used");
    }

    /// Saves what `reader` reads, as it changes. Never ends, but with the view.
    pub(super) async fn keep(self, reader: Reader<ViewState>) {
        Keeper { disk: self, reader, kept: None, runtime: Handle::current() }.run().await;
    }

    /// Whether it was saved.
    async fn try_save(&self, listing: Arc<Listing>, proven: Instant) -> bool {
        match self.save(listing, proven).await {
            Ok(()) => {
                self.stats.disk_saved();
                true
            }
            Err(error) => {
                self.stats.disk_failed();
                tracing::warn!(service = %self.service, file = %self.name, %error, "a view cannot be saved");
                false
            }
        }
    }

    async fn save(&self, listing: Arc<Listing>, proven: Instant) -> std::io::Result<()> {
        let ago = Instant::now().saturating_duration_since(proven).as_millis();
        let proven = (self.options.clock)().saturating_sub(u64::try_from(ago).unwrap_or(u64::MAX));
        let bytes = if listing.snapshot().len() > MANY {
            let store = self.options.store.clone();
            blocking(move || Ok(encode(listing.snapshot(), &store, proven))).await?
        } else {
            encode(listing.snapshot(), &self.options.store, proven)
        };
        self.options.shelf.save(&self.name, bytes).await
    }
}

/// Keeps the file of a service up to date.
struct Keeper {
    disk: Disk,
    reader: Reader<ViewState>,
    /// What was saved last, and when.
    kept: Option<(Arc<Listing>, Instant)>,
    runtime: Handle,
}

impl Keeper {
    async fn run(&mut self) {
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
            sleep(self.disk.options.delay).await;
            // What it is by now.
            let Some((listing, proven)) = worth_saving(&self.reader.load()) else { continue };
            if self.disk.try_save(Arc::clone(&listing), proven).await {
                self.kept = Some((listing, Instant::now()));
            } else {
                sleep(AFTER_FAILURE).await;
            }
        }
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
            if timeout(LAST_SAVE, disk.try_save(listing, proven)).await.is_err() {
                tracing::warn!(service = %disk.service, file = %disk.name, "a view was not saved in time when it ended");
            }
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

/// Stores and services never share a file, also where names differ only in case and the file system does not tell.
fn file_name(store: &str, service: &ServiceName) -> String {
    let hash = pick::hash(format!("{store}\0{service}").as_bytes());
    let readable: String = service.as_str().chars().take(100).collect();
    format!("{readable}-{hash:016x}.view")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_store_and_service_has_a_file_of_its_own_with_a_name_for_any_file_system() {
        let service = |name: &str| ServiceName::new(name).unwrap();
        let long = "a".repeat(ServiceName::MAX_LEN);
        let names = [
            file_name("", &service("user")),
            file_name("", &service("User")),
            file_name("prod", &service("user")),
            file_name("prod", &service("user.rpc")),
            file_name("prod", &service(&long)),
        ];
        let folded: std::collections::BTreeSet<_> = names.iter().map(|name| name.to_lowercase()).collect();
        assert_eq!(folded.len(), names.len(), "{names:?}");
        assert!(names.iter().all(|name| name.len() < 200 && !name.contains('/')), "{names:?}");
    }
}
