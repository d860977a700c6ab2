//! Watches with one defect.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::unfold;
use registry_core::{
    Batch, Change, Cursor, DeleteCause, Epoch, Registry, ResetCause, Revision, ServiceName, Snapshot, Watch,
    WatchEvent, fold,
};
use registry_memory::MemoryRegistry;
use tokio::time::{Instant, sleep};

use crate::defect::Defect;
use crate::registry::{Broken, Shared};

/// How many items each watch has delivered.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    delivered: Mutex<BTreeMap<usize, usize>>,
    next: AtomicUsize,
}

struct State {
    watch: Watch,
    client: MemoryRegistry,
    service: ServiceName,
    shared: Arc<Shared>,
    number: usize,
    resumed: bool,
    view: Option<Snapshot>,
    first: Option<WatchEvent>,
    pending: VecDeque<WatchEvent>,
    held: Option<WatchEvent>,
    changes: usize,
    items: usize,
    stale: bool,
    last: Option<WatchEvent>,
    asked: Instant,
    ended: bool,
}

pub(crate) fn broken(
    broken: &Broken,
    client: &MemoryRegistry,
    service: &ServiceName,
    from: Option<Cursor>,
) -> Watch {
    let shared = Arc::clone(&broken.shared);
    let mut start = from;
    match shared.defect {
        Defect::ForeignCursorStartsAnew => {
            let now = futures_util::FutureExt::now_or_never(shared.store.lookup(service)).unwrap().unwrap();
            start = from.filter(|from| from.epoch() == now.epoch() && from.revision() <= now.revision());
        }
        Defect::ForeignCursorTaken => {
            let now = futures_util::FutureExt::now_or_never(shared.store.lookup(service)).unwrap().unwrap();
            start =
                from.map(|from| Cursor::new(now.epoch(), from.revision().min(now.revision()), from.proof()));
        }
        Defect::ResumesOneLater => {
            start = from.map(|from| Cursor::new(from.epoch(), Revision::new(from.revision().get() + 1), 0));
        }
        _ => {}
    }
    let state = State {
        watch: client.watch(service, start),
        client: client.clone(),
        service: service.clone(),
        number: shared.watches.next.fetch_add(1, Ordering::Relaxed),
        shared,
        resumed: from.is_some(),
        view: None,
        first: None,
        pending: VecDeque::new(),
        held: None,
        changes: 0,
        items: 0,
        stale: false,
        last: None,
        asked: Instant::now(),
        ended: false,
    };
    Watch::new(unfold(state, |mut state| async move {
        let event = state.next().await?;
        Some((event, state))
    }))
}

impl State {
    async fn next(&mut self) -> Option<WatchEvent> {
        let asked = std::mem::replace(&mut self.asked, Instant::now());
        loop {
            if let Some(event) = self.pending.pop_front() {
                self.items += 1;
                self.asked = Instant::now();
                return Some(event);
            }
            if self.ended {
                return None;
            }
            self.wait().await;
            let event = self.watch.next().await?;
            fold(&mut self.view, &event);
            self.note(&event);
            let entries = self.view.as_ref().map_or(0, Snapshot::len);
            if self.shared.defect == Defect::SixtyFourEntries && entries > 64 {
                std::future::pending::<()>().await;
            }
            self.mutate(event, asked).await;
        }
    }

    fn note(&mut self, event: &WatchEvent) {
        match event {
            WatchEvent::Stale { .. } => {
                self.stale = true;
                self.shared.stales.fetch_add(1, Ordering::Relaxed);
            }
            WatchEvent::Live { .. } => self.stale = false,
            WatchEvent::Changes(_) => self.changes += 1,
            _ => {}
        }
    }

    /// Defects that hold a watch up.
    async fn wait(&mut self) {
        let stuck = match self.shared.defect {
            Defect::SixtyFourWatches => self.number >= 64,
            Defect::DroppingOneBreaksAll => self.shared.broken.load(Ordering::Relaxed),
            Defect::FlapsDeadlock => self.shared.stales.load(Ordering::Relaxed) >= 8,
            _ => false,
        };
        if stuck {
            std::future::pending::<()>().await;
        }
        if self.shared.defect == Defect::SlowestHoldsUpAll {
            loop {
                let slowest = {
                    let mut delivered = self.shared.watches.delivered.lock().unwrap();
                    delivered.insert(self.number, self.changes);
                    delivered.values().min().copied().unwrap_or_default()
                };
                if self.changes <= slowest + 20 {
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
        }
    }

    async fn mutate(&mut self, event: WatchEvent, asked: Instant) {
        let mut tell = |events: Vec<WatchEvent>| self.pending.extend(events);
        match (self.shared.defect, event) {
            (Defect::DropsEverySecond, WatchEvent::Changes(_)) if self.changes.is_multiple_of(2) => {}
            (Defect::Doubles, event @ WatchEvent::Changes(_)) => tell(vec![event.clone(), event]),
            (Defect::Swaps, event @ WatchEvent::Changes(_)) => match self.held.take() {
                Some(held) => tell(vec![event, held]),
                None => self.held = Some(event),
            },
            (Defect::Splits, WatchEvent::Changes(batch)) => {
                let alone =
                    |change| WatchEvent::Changes(Batch { cursor: batch.cursor, changes: vec![change] });
                tell(batch.changes.into_iter().map(alone).collect());
            }
            (Defect::FirstOfBatchOnly, WatchEvent::Changes(mut batch)) => {
                batch.changes.truncate(1);
                tell(vec![WatchEvent::Changes(batch)]);
            }
            (Defect::WrongRevisionOfChanges, WatchEvent::Changes(mut batch)) => {
                let cursor = batch.cursor;
                batch.cursor = Cursor::new(cursor.epoch(), Revision::new(cursor.revision().get() + 1), 0);
                tell(vec![WatchEvent::Changes(batch)]);
            }
            (Defect::EmptyResetUntold, WatchEvent::Reset { snapshot, cause: ResetCause::First })
                if snapshot.is_empty() => {}
            (Defect::FirstResetEmpty, WatchEvent::Reset { snapshot, cause: ResetCause::First }) => {
                let snapshot = Snapshot::new(self.service.clone(), snapshot.cursor(), []);
                tell(vec![WatchEvent::Reset { snapshot, cause: ResetCause::First }]);
            }
            (Defect::CausesUnknown, WatchEvent::Reset { snapshot, .. }) => {
                tell(vec![WatchEvent::Reset { snapshot, cause: ResetCause::Unknown }]);
            }
            (Defect::NoProgress, WatchEvent::Progress { .. }) => {}
            (Defect::ProgressAhead, WatchEvent::Progress { cursor }) => {
                let cursor =
                    Cursor::new(cursor.epoch(), Revision::new(cursor.revision().get() + 5), cursor.proof());
                tell(vec![WatchEvent::Progress { cursor }]);
            }
            (Defect::StaleSwallowed, WatchEvent::Stale { .. }) => {}
            (Defect::LiveSwallowed, WatchEvent::Live { .. }) => {}
            (Defect::OutageEmpties, event @ WatchEvent::Stale { .. }) => {
                let reset = self.view.as_ref().map(|view| WatchEvent::Reset {
                    snapshot: Snapshot::new(self.service.clone(), view.cursor(), []),
                    cause: ResetCause::Unknown,
                });
                self.pending.push_back(event);
                self.pending.extend(reset);
            }
            (Defect::EndsInTrouble, WatchEvent::Stale { .. }) => self.ended = true,
            (Defect::EndsOnReset, WatchEvent::Reset { cause, .. }) if cause != ResetCause::First => {
                self.ended = true
            }
            (Defect::EndsAfterFive, event) => {
                self.ended = self.items >= 5;
                self.pending.push_back(event);
            }
            (Defect::GapsUntold, WatchEvent::Reset { snapshot, cause }) if cause != ResetCause::First => {
                // As if the history began where the view stands.
                let cursor = snapshot.cursor();
                if self
                    .last
                    .as_ref()
                    .and_then(WatchEvent::cursor)
                    .is_some_and(|last| last.epoch() == cursor.epoch())
                    || self.resumed
                {
                    tell(vec![WatchEvent::Progress { cursor }]);
                }
            }
            (Defect::HistoryReplayed, event @ WatchEvent::Live { .. }) => {
                let replayed = self.last.clone();
                self.pending.extend(replayed);
                self.pending.push_back(event);
            }
            (Defect::OlderListInstalled, event @ WatchEvent::Live { .. }) => {
                let first = self.first.clone();
                self.pending.push_back(event);
                self.pending.extend(first);
            }
            (Defect::EveryCutResets, event @ WatchEvent::Stale { .. }) => {
                // Once per outage: the new watch is stale at first, too.
                if self.held.is_none() {
                    self.held = Some(event.clone());
                    self.watch = self.client.watch(&self.service, None);
                    self.pending.push_back(event);
                }
            }
            (Defect::EveryCutResets, WatchEvent::Reset { snapshot, .. }) => {
                self.held = None;
                let cause = if self.items == 0 { ResetCause::First } else { ResetCause::Unknown };
                self.pending.push_back(WatchEvent::Reset { snapshot, cause });
            }
            (Defect::LosesPutsOfOutages, WatchEvent::Changes(batch)) if self.stale => {
                let deletes: Vec<_> =
                    batch.changes.into_iter().filter(|change| !matches!(change, Change::Put(_))).collect();
                if !deletes.is_empty() {
                    tell(vec![WatchEvent::Changes(Batch { cursor: batch.cursor, changes: deletes })]);
                }
            }
            (Defect::DropsAfterTenMs, WatchEvent::Changes(_))
                if asked.elapsed() > Duration::from_millis(10) => {}
            (Defect::ResetsForNothing, WatchEvent::Changes(_)) if self.changes % 3 == 2 => {
                let snapshot = self.view.clone();
                self.pending.extend(
                    snapshot.map(|snapshot| WatchEvent::Reset { snapshot, cause: ResetCause::Unknown }),
                );
            }
            (Defect::SlowToReturn, event) => {
                if self.stale && !matches!(event, WatchEvent::Stale { .. }) {
                    sleep(Duration::from_secs(5)).await;
                    self.stale = false;
                }
                self.pending.push_back(event);
            }
            (Defect::ExpiryOnlyWhenLookedUp, event @ WatchEvent::Changes(_)) if expires(&event) => {
                let lookups = self.shared.lookups.load(Ordering::Relaxed);
                while self.shared.lookups.load(Ordering::Relaxed) == lookups {
                    sleep(Duration::from_millis(50)).await;
                }
                self.pending.push_back(event);
            }
            (Defect::ExpiryUntold, event @ WatchEvent::Changes(_)) if expires(&event) => {}
            (Defect::ExpirySaysDeregistered, WatchEvent::Changes(mut batch)) => {
                for change in &mut batch.changes {
                    if let Change::Delete { cause, .. } = change {
                        *cause = DeleteCause::Deregistered;
                    }
                }
                tell(vec![WatchEvent::Changes(batch)]);
            }
            (Defect::WipeKeepsTheEpoch, event) => {
                let same = |cursor: Cursor| Cursor::new(Epoch::new(1), cursor.revision(), cursor.proof());
                self.pending.push_back(match event {
                    WatchEvent::Reset { snapshot, cause } => WatchEvent::Reset {
                        snapshot: Snapshot::new(
                            self.service.clone(),
                            same(snapshot.cursor()),
                            snapshot.iter().cloned(),
                        ),
                        cause,
                    },
                    WatchEvent::Changes(batch) => {
                        WatchEvent::Changes(Batch { cursor: same(batch.cursor), changes: batch.changes })
                    }
                    WatchEvent::Progress { cursor } => WatchEvent::Progress { cursor: same(cursor) },
                    WatchEvent::Live { cursor } => WatchEvent::Live { cursor: same(cursor) },
                    other => other,
                });
            }
            (_, event) => {
                if let WatchEvent::Reset { .. } = event {
                    self.first.get_or_insert(event.clone());
                }
                if let WatchEvent::Changes(_) | WatchEvent::Reset { .. } = event {
                    self.last = Some(event.clone());
                }
                self.pending.push_back(event);
            }
        }
    }
}

fn expires(event: &WatchEvent) -> bool {
    let expired = |change: &Change| matches!(change, Change::Delete { cause: DeleteCause::Expired, .. });
    matches!(event, WatchEvent::Changes(batch) if batch.changes.iter().any(expired))
}

impl Drop for State {
    fn drop(&mut self) {
        self.shared.broken.store(true, Ordering::Relaxed);
        self.shared.watches.delivered.lock().unwrap().remove(&self.number);
    }
}
