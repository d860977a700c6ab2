//! Planted defects. Each breaks one promise in a way that a real implementation could; the simulation must notice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, unfold};
use registry_core::{
    Batch, Cursor, DirectoryOptions, Error, ErrorKind, Feed, FeedItem, GuardOptions, InstanceId, Lease,
    Operation, OwnerToken, RegisterOptions, ResetCause, Result, ServiceName, Snapshot, Ttl, Watch,
    WatchEvent, WatchSource,
};
use registry_memory::MemoryRegistry;

/// A planted defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mutant {
    /// A feed forgets every seventh change.
    EventDropped,
    /// A watch delivers every seventh change twice.
    EventDoubled,
    /// A watch delivers the changes of one revision one by one.
    BatchSplit,
    /// A feed never resumes, although the history is there.
    NeverResumes,
    /// A resumed feed starts one change too late.
    ResumeOneTooFar,
    /// A feed says that it is current before it has delivered what was missed.
    ProgressTooEarly,
    /// A feed that cannot resume jumps to the present without a word.
    CompactionSkipped,
    /// A watch installs an older list over a newer one.
    OlderListInstalled,
    /// A watch empties the set when the registry is lost.
    OutageEmpties,
    /// A watch does not say that the registry is lost.
    StaleNotTold,
    /// An old lease renews, changes and removes what the newer one registered.
    FencingForgotten,
    /// Leases end a second before they should.
    EarlyExpiry,
    /// Leases end two seconds after they should.
    LateExpiry,
    /// A heartbeat on a lost lease is answered as if all were well.
    LeaseLossHidden,
    /// A heartbeat on a lost lease registers the entry again.
    HeartbeatRecreates,
    /// A retry after a lost answer is a registration of its own.
    TokenIgnored,
    /// Lookups give the list of some time ago.
    LookupCached,
    /// A guard holds nothing.
    GuardForgotten,
    /// A guard holds for twice as long as it may.
    HeldTooLong,
    /// A guard holds who has deregistered.
    HoldsWhoLeft,
    /// A guard holds who was draining.
    HoldsWhoDrained,
    /// A guard holds whatever vanishes, however little.
    ShareIgnored,
    /// A file that was damaged is served.
    DamageTrusted,
    /// A view starts as if there were no file.
    FileForgotten,
    /// A file counts as if it had been proven current when it is read.
    FileAgeForgotten,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::EventDropped,
        Self::EventDoubled,
        Self::BatchSplit,
        Self::NeverResumes,
        Self::ResumeOneTooFar,
        Self::ProgressTooEarly,
        Self::CompactionSkipped,
        Self::OlderListInstalled,
        Self::OutageEmpties,
        Self::StaleNotTold,
        Self::FencingForgotten,
        Self::EarlyExpiry,
        Self::LateExpiry,
        Self::LeaseLossHidden,
        Self::HeartbeatRecreates,
        Self::TokenIgnored,
        Self::LookupCached,
        Self::GuardForgotten,
        Self::HeldTooLong,
        Self::HoldsWhoLeft,
        Self::HoldsWhoDrained,
        Self::ShareIgnored,
        Self::DamageTrusted,
        Self::FileForgotten,
        Self::FileAgeForgotten,
    ];

    /// How late the store is.
    pub(super) fn expiry_lag(mutant: Option<Self>) -> Duration {
        if mutant == Some(Self::LateExpiry) { Duration::from_secs(2) } else { Duration::ZERO }
    }

    /// How a directory that should have a guard really guards; `guard` makes one whose TTL is as many times the greatest there is.
    pub(super) fn guard(
        mutant: Option<Self>,
        options: DirectoryOptions,
        guard: impl FnOnce(u32) -> GuardOptions,
    ) -> DirectoryOptions {
        match mutant {
            Some(Self::GuardForgotten) => options,
            Some(Self::HeldTooLong) => options.with_guard(guard(2)),
            Some(Self::ShareIgnored) => options.with_guard(guard(1).with_share(0.0)),
            _ => options.with_guard(guard(1)),
        }
    }

    /// What is really asked of the store for a registration with `options`.
    pub(super) fn register_options(
        mutant: Option<Self>,
        options: &RegisterOptions,
        memory: &Memory,
    ) -> RegisterOptions {
        let mut options = options.clone();
        match mutant {
            Some(Self::EarlyExpiry) => {
                options.ttl = Ttl::new(options.ttl.get() - Duration::from_secs(1)).unwrap_or(Ttl::MIN);
            }
            Some(Self::TokenIgnored) => {
                let attempt = memory.attempts.fetch_add(1, Ordering::Relaxed);
                options.token =
                    OwnerToken::from_u128(options.token.as_u128().wrapping_add(u128::from(attempt) << 64));
            }
            _ => {}
        }
        options
    }
}

/// What a defective client remembers.
#[derive(Debug, Default)]
pub(super) struct Memory {
    attempts: AtomicU64,
    newest: Mutex<BTreeMap<(ServiceName, InstanceId), Lease>>,
    lists: Mutex<BTreeMap<ServiceName, (Snapshot, u32)>>,
}

impl Memory {
    pub(super) fn registered(&self, lease: &Lease) {
        let key = (lease.service().clone(), lease.id().clone());
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).insert(key, lease.clone());
    }

    /// The lease that is really used where `lease` should be.
    pub(super) fn lease(&self, mutant: Option<Mutant>, lease: &Lease) -> Lease {
        let key = (lease.service().clone(), lease.id().clone());
        match mutant {
            Some(Mutant::FencingForgotten) => {
                let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
                newest.get(&key).cloned().unwrap_or_else(|| lease.clone())
            }
            _ => lease.clone(),
        }
    }

    /// The list that is really given: every fourth is fresh.
    pub(super) fn list(&self, mutant: Option<Mutant>, fresh: Snapshot) -> Snapshot {
        if mutant != Some(Mutant::LookupCached) {
            return fresh;
        }
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let (cached, uses) = lists.entry(fresh.service().clone()).or_insert_with(|| (fresh.clone(), 0));
        *uses += 1;
        if *uses % 4 == 0 {
            *cached = fresh;
        }
        cached.clone()
    }
}

/// The store's feeds, defective.
#[derive(Clone, Debug)]
pub(super) struct MutantSource {
    pub(super) store: MemoryRegistry,
    pub(super) mutant: Option<Mutant>,
}

#[async_trait]
impl WatchSource for MutantSource {
    async fn open(&self, service: &ServiceName, from: Option<Cursor>) -> Result<Feed> {
        if self.mutant == Some(Mutant::NeverResumes) && from.is_some() {
            return Err(Error::cursor_lost(ResetCause::Unknown, "not even tried"));
        }
        let feed = match self.store.open(service, from).await {
            Err(error)
                if self.mutant == Some(Mutant::CompactionSkipped)
                    && error.reset_cause() == Some(ResetCause::Compacted) =>
            {
                // As who resumes at the revision of an answer's header: the snapshot is thrown away.
                self.store.open(service, None).await?.skip(1).boxed()
            }
            feed => feed?,
        };
        Ok(match (self.mutant, from) {
            (Some(Mutant::ResumeOneTooFar), Some(_)) => skip_first_change(feed),
            (Some(Mutant::ProgressTooEarly), Some(_)) => {
                let mut first = self.store.open(service, None).await?;
                let cursor = match first.next().await {
                    Some(Ok(FeedItem::Snapshot(snapshot))) => snapshot.cursor(),
                    _ => return Err(Error::new(ErrorKind::Unavailable, Operation::Watch, "no snapshot")),
                };
                stream::iter([Ok(FeedItem::Progress(cursor))]).chain(first).boxed()
            }
            (Some(Mutant::EventDropped), _) => {
                let mut count = 0;
                feed.filter(move |item| {
                    count += usize::from(matches!(item, Ok(FeedItem::Changes(_))));
                    let dropped = matches!(item, Ok(FeedItem::Changes(_))) && count % 7 == 0;
                    std::future::ready(!dropped)
                })
                .boxed()
            }
            _ => feed,
        })
    }
}

fn skip_first_change(feed: Feed) -> Feed {
    let mut skipped = false;
    feed.filter(move |item| {
        let skip = !skipped && matches!(item, Ok(FeedItem::Changes(_)));
        skipped |= skip;
        std::future::ready(!skip)
    })
    .boxed()
}

/// A watch, defective.
pub(super) fn mutate_watch(mutant: Option<Mutant>, watch: Watch) -> Watch {
    match mutant {
        Some(Mutant::EventDoubled) => {
            let mut count = 0;
            Watch::new(watch.flat_map(move |event| {
                count += usize::from(matches!(event, WatchEvent::Changes(_)));
                let again =
                    (matches!(event, WatchEvent::Changes(_)) && count % 7 == 0).then(|| event.clone());
                stream::iter([Some(event), again].into_iter().flatten())
            }))
        }
        Some(Mutant::BatchSplit) => Watch::new(watch.flat_map(|event| {
            stream::iter(match event {
                WatchEvent::Changes(Batch { cursor, changes }) => changes
                    .into_iter()
                    .map(|change| WatchEvent::Changes(Batch { cursor, changes: vec![change] }))
                    .collect(),
                event => vec![event],
            })
        })),
        Some(Mutant::OlderListInstalled) => {
            let first: Arc<Mutex<Option<WatchEvent>>> = Arc::default();
            let mut count = 0;
            Watch::new(watch.flat_map(move |event| {
                let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                count += usize::from(matches!(event, WatchEvent::Changes(_)));
                if matches!(event, WatchEvent::Reset { .. }) {
                    *first = Some(event.clone());
                }
                let again = (matches!(event, WatchEvent::Changes(_)) && count % 7 == 0)
                    .then(|| first.clone())
                    .flatten();
                stream::iter([Some(event), again].into_iter().flatten())
            }))
        }
        Some(Mutant::OutageEmpties) => {
            let state = (watch, None::<Snapshot>, None);
            Watch::new(unfold(state, |(mut watch, mut view, queued)| async move {
                if let Some(event) = queued {
                    return Some((event, (watch, view, None)));
                }
                let event = watch.next().await?;
                registry_core::fold(&mut view, &event);
                let emptied = match (&event, &view) {
                    (WatchEvent::Stale { .. }, Some(view)) => Some(WatchEvent::Reset {
                        snapshot: Snapshot::new(view.service().clone(), view.cursor(), []),
                        cause: ResetCause::Unknown,
                    }),
                    _ => None,
                };
                Some((event, (watch, view, emptied)))
            }))
        }
        Some(Mutant::StaleNotTold) => {
            Watch::new(watch.filter(|event| std::future::ready(!matches!(event, WatchEvent::Stale { .. }))))
        }
        _ => watch,
    }
}
