//! A watch, read through a checker: every item is held against the promises that bind any sequence of items.

use std::collections::HashSet;
use std::time::Duration;

use registry_core::{
    Batch, Change, Cursor, Folded, InstanceId, Registry, ResetCause, Revision, ServiceName, Snapshot, Watch,
    WatchEvent, fold,
};
use tokio::time::{Instant, timeout_at};

use super::support::{PATIENCE, entries, ids, lookup};

#[derive(Debug)]
pub(super) struct Watcher {
    service: ServiceName,
    watch: Watch,
    resumed: bool,
    view: Option<Snapshot>,
    last: Option<Cursor>,
    stale: bool,
    /// The causes of all `Reset`s so far.
    pub(super) resets: Vec<ResetCause>,
    /// All changes since the last `Reset`.
    pub(super) batches: Vec<Batch>,
    /// How many items came in all.
    pub(super) items: usize,
}

impl Watcher {
    /// A watch of `service` from now, which has delivered its first snapshot.
    pub(super) async fn ready(client: &dyn Registry, service: &ServiceName) -> Self {
        let mut watcher = Self::new(client, service);
        watcher.until("the first snapshot", |_| true).await;
        watcher
    }

    /// A watch of `service` from now, not polled yet.
    pub(super) fn new(client: &dyn Registry, service: &ServiceName) -> Self {
        Self::over(client.watch(service, None), service, None)
    }

    /// A watch that goes on from `snapshot`.
    pub(super) fn after(client: &dyn Registry, snapshot: &Snapshot) -> Self {
        let cursor = snapshot.cursor();
        let watch = client.watch(snapshot.service(), Some(cursor));
        Self { view: Some(snapshot.clone()), ..Self::over(watch, snapshot.service(), Some(cursor)) }
    }

    /// A watch that goes on from `cursor`.
    pub(super) fn from(client: &dyn Registry, service: &ServiceName, cursor: Cursor) -> Self {
        Self::over(client.watch(service, Some(cursor)), service, Some(cursor))
    }

    fn over(watch: Watch, service: &ServiceName, from: Option<Cursor>) -> Self {
        Self {
            service: service.clone(),
            watch,
            resumed: from.is_some(),
            view: None,
            last: from,
            stale: false,
            resets: Vec::new(),
            batches: Vec::new(),
            items: 0,
        }
    }

    /// What the items make, folded.
    pub(super) fn view(&self) -> &Snapshot {
        self.view.as_ref().expect("nothing was delivered yet")
    }

    /// Up to where it has delivered.
    pub(super) fn cursor(&self) -> Cursor {
        self.last.expect("nothing was delivered yet")
    }

    pub(super) fn is_stale(&self) -> bool {
        self.stale
    }

    /// The next item.
    pub(super) async fn next(&mut self) -> WatchEvent {
        self.next_by(Instant::now() + PATIENCE, "the next item").await
    }

    /// The next item, when it comes before `deadline`.
    pub(super) async fn try_next(&mut self, deadline: Instant) -> Option<WatchEvent> {
        match timeout_at(deadline, self.watch.next()).await {
            Ok(Some(event)) => {
                self.check(&event);
                Some(event)
            }
            Ok(None) => panic!("W9: the watch ended"),
            Err(_) => None,
        }
    }

    async fn next_by(&mut self, deadline: Instant, what: &str) -> WatchEvent {
        match self.try_next(deadline).await {
            Some(event) => event,
            None => panic!(
                "the watch did not deliver {what}; its view is {:?}, stale: {}",
                self.view.as_ref().map(ids),
                self.stale
            ),
        }
    }

    /// Reads until the view satisfies `wanted`.
    pub(super) async fn until(&mut self, what: &str, wanted: impl Fn(&Snapshot) -> bool) {
        self.until_by(Instant::now() + PATIENCE, what, wanted).await;
    }

    /// Reads until the view satisfies `wanted`, by `deadline` at the latest.
    pub(super) async fn until_by(
        &mut self,
        deadline: Instant,
        what: &str,
        wanted: impl Fn(&Snapshot) -> bool,
    ) {
        while !self.view.as_ref().is_some_and(&wanted) {
            self.next_by(deadline, what).await;
        }
    }

    /// Reads until an item satisfies `wanted`.
    pub(super) async fn until_item(
        &mut self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&WatchEvent) -> bool,
    ) -> WatchEvent {
        let deadline = Instant::now() + within;
        loop {
            let event = self.next_by(deadline, what).await;
            if wanted(&event) {
                return event;
            }
        }
    }

    /// Reads until `revision` is included.
    pub(super) async fn until_revision(&mut self, revision: Revision) {
        let deadline = Instant::now() + PATIENCE;
        while self.last.is_none_or(|last| last.revision() < revision) {
            self.next_by(deadline, "a revision that was acknowledged").await;
        }
    }

    /// Reads until `Live`.
    pub(super) async fn until_live(&mut self) {
        let live = |event: &WatchEvent| matches!(event, WatchEvent::Live { .. });
        self.until_item("Live after Stale", PATIENCE, live).await;
    }

    /// Reads until `Stale`.
    pub(super) async fn until_stale(&mut self) {
        let stale = |event: &WatchEvent| matches!(event, WatchEvent::Stale { .. });
        self.until_item("Stale", PATIENCE, stale).await;
    }

    /// Reads until the next `Reset`, and gives its cause.
    pub(super) async fn until_reset(&mut self, what: &str) -> ResetCause {
        let reset = |event: &WatchEvent| matches!(event, WatchEvent::Reset { .. });
        match self.until_item(what, PATIENCE, reset).await {
            WatchEvent::Reset { cause, .. } => cause,
            other => panic!("waited for a Reset and got {other:?}"),
        }
    }

    /// Reads until the next changes; a `Reset` is none.
    pub(super) async fn next_changes(&mut self) -> Batch {
        loop {
            match self.next().await {
                WatchEvent::Changes(batch) => return batch,
                WatchEvent::Reset { cause, .. } => panic!("Reset ({cause}) where changes were due"),
                _ => {}
            }
        }
    }

    /// Reads all there is until it has been quiet for `quiet`; for showing that nothing comes.
    pub(super) async fn rest(&mut self, quiet: Duration) {
        let deadline = Instant::now() + quiet;
        while self.try_next(deadline).await.is_some() {}
    }

    /// Reads until the view is what `client` lists.
    pub(super) async fn settle(&mut self, client: &dyn Registry) {
        self.settle_by(client, Instant::now() + PATIENCE).await;
    }

    /// Reads until the view is what `client` lists, by `deadline` at the latest.
    pub(super) async fn settle_by(&mut self, client: &dyn Registry, deadline: Instant) {
        let listed = lookup(client, &self.service).await;
        let same = |view: &Snapshot| entries(view) == entries(&listed);
        self.until_by(deadline, &format!("what lookup lists: {:?}", ids(&listed)), same).await;
    }

    /// The changes since the last `Reset`, in the order in which they came.
    pub(super) fn changes(&self) -> Vec<(Revision, InstanceId)> {
        let of = |batch: &Batch| {
            let revision = batch.cursor.revision();
            batch.changes.iter().map(move |change| (revision, change.id().clone())).collect::<Vec<_>>()
        };
        self.batches.iter().flat_map(of).collect()
    }

    fn check(&mut self, event: &WatchEvent) {
        self.items += 1;
        let folded = fold(&mut self.view, event);
        if let Some(cursor) = event.cursor() {
            self.check_order(event, cursor);
            self.last = Some(cursor);
        }
        match event {
            WatchEvent::Reset { cause, snapshot } => {
                assert_eq!(snapshot.service(), &self.service, "a snapshot of another service");
                assert_ne!(folded, Folded::Refused, "W2: a snapshot older than the view: {event:?}");
                self.resets.push(*cause);
                self.batches.clear();
            }
            WatchEvent::Changes(batch) => {
                self.check_batch(batch);
                self.batches.push(batch.clone());
            }
            WatchEvent::Live { .. } => self.stale = false,
            WatchEvent::Stale { since, .. } => {
                assert!(*since <= Instant::now(), "W9: stale since a moment to come");
                self.stale = true;
            }
            _ => {}
        }
    }

    fn check_order(&self, event: &WatchEvent, cursor: Cursor) {
        let reset = matches!(event, WatchEvent::Reset { .. });
        let Some(last) = self.last else {
            assert!(reset, "W1: the first data item is not a Reset but {event:?}");
            return;
        };
        if cursor.epoch() != last.epoch() {
            assert!(reset, "W2: another epoch without a Reset: {event:?}");
            return;
        }
        // A cursor given by the caller may be of a history that is gone.
        let unconfirmed = self.resumed && self.resets.is_empty() && self.batches.is_empty();
        let (now, before) = (cursor.revision(), last.revision());
        match event {
            WatchEvent::Changes(_) => {
                assert!(now != before, "W3/W5: revision {now} comes a second time: {event:?}");
                assert!(now > before, "W2/W3: revision {now} comes after {before}: {event:?}");
            }
            WatchEvent::Reset { .. } if unconfirmed => {}
            _ => assert!(now >= before, "W2: revision {now} comes after {before}: {event:?}"),
        }
    }

    fn check_batch(&self, batch: &Batch) {
        assert!(!batch.changes.is_empty(), "a batch without changes");
        let mut seen = HashSet::new();
        for change in &batch.changes {
            assert!(seen.insert(change.id().clone()), "W5: {} twice in one batch", change.id());
            if let Change::Put(entry) = change {
                assert_eq!(entry.instance().service(), &self.service, "an instance of another service");
                assert_eq!(entry.modified(), batch.cursor.revision(), "an entry with the wrong revision");
                assert!(entry.created() <= entry.modified(), "created after modified: {entry:?}");
            }
        }
    }
}
