//! The task behind a view with options: takes the differences of the view of all instances, chooses, and publishes in its own time.

use std::sync::Arc;

use imbl::OrdMap;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::cold::at;
use super::debounce::Gathered;
use super::guard::HeldSet;
use super::options::ViewOptions;
use super::select::Selector;
use super::subset::Ring;
use super::view::{Listing, ViewState};
use super::worker::LastWord;
use crate::diff::diff;
use crate::name::{InstanceId, ServiceName};
use crate::published::{Publisher, Reader, published};
use crate::snapshot::{Entry, Snapshot};

/// Starts the task; it ends when the handle aborts it.
pub(super) fn spawn(
    service: ServiceName,
    all: Reader<ViewState>,
    options: ViewOptions,
) -> (Reader<ViewState>, AbortHandle) {
    let (publisher, reader) = published(ViewState::pending(service));
    let task = tokio::spawn(follow(all, publisher, options));
    (reader, task.abort_handle())
}

async fn follow(mut all: Reader<ViewState>, publisher: Publisher<ViewState>, options: ViewOptions) {
    let mut publisher = LastWord(publisher);
    let proofs = all.fresh();
    let mut gathered = options.debounce.map(Gathered::new);
    let mut choice = Choice::new(options);
    loop {
        let due = gathered.as_ref().and_then(Gathered::due);
        let open = tokio::select! {
            biased;
            () = at(due) => {
                if let Some(gathered) = &mut gathered {
                    gathered.clear();
                }
                // It may be newer than what was gathered: all of it is shown.
                let news = all.load();
                choice.follow(&news);
                let state = choice.state(&news);
                drop(news);
                publisher.0.publish(state);
                continue;
            }
            open = all.changed() => open,
            () = proofs.touched() => true,
        };
        let news = all.load();
        let changed = choice.follow(&news);
        let before = publisher.0.load();
        // Nobody gains by waiting for the first list, for the registry's after one from disk, or for the first instances after none.
        let urgent = before.resets == 0 || before.snapshot().is_none_or(Snapshot::is_empty) || !open;
        if changed
            && !urgent
            && let Some(gathered) = &mut gathered
        {
            gathered.add(Instant::now());
        }
        let waiting = gathered.as_ref().is_some_and(|gathered| gathered.due().is_some());
        let state = if waiting && !urgent {
            // What is listed, as it was; how fresh it is, as it is.
            let kept = ViewState::clone(&before);
            ViewState {
                listing: kept.listing,
                cursor: kept.cursor,
                held: kept.held,
                ..ViewState::clone(&news)
            }
        } else {
            if let Some(gathered) = &mut gathered {
                gathered.clear();
            }
            choice.state(&news)
        };
        let same = same_listing(&before, &state) && before.held == state.held && same_word(&before, &state);
        drop((before, news));
        if same {
            publisher.0.publish_silently(state);
        } else {
            publisher.0.publish(state);
        }
        if !open {
            return;
        }
    }
}

fn same_listing(one: &ViewState, other: &ViewState) -> bool {
    match (&one.listing, &other.listing) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// Whether both say alike how fresh they are, but for the moment.
fn same_word(one: &ViewState, other: &ViewState) -> bool {
    one.resets == other.resets
        && std::mem::discriminant(&one.freshness) == std::mem::discriminant(&other.freshness)
}

/// What is chosen of all instances. A change costs a logarithm of their number and, with a subset, the size of that and as many steps as an instance has
/// clients; so does the first zone's giving way to all, and back, what both have.
struct Choice {
    selector: Selector,
    ring: Option<Ring>,
    /// All, as they were followed last.
    seen: Option<Snapshot>,
    selected: OrdMap<InstanceId, Arc<Entry>>,
    /// The client's part of them, by id.
    part: OrdMap<InstanceId, Arc<Entry>>,
    listing: Option<Arc<Listing>>,
    /// Of all, what was held, and of what is listed.
    held: Option<(HeldSet, HeldSet)>,
}

impl Choice {
    fn new(options: ViewOptions) -> Self {
        Self {
            selector: Selector::new(options.filter, options.zone),
            ring: options.subset.map(Ring::new),
            seen: None,
            selected: OrdMap::new(),
            part: OrdMap::new(),
            listing: None,
            held: None,
        }
    }

    /// Whether something else is chosen than before, of what all are now.
    fn follow(&mut self, news: &ViewState) -> bool {
        let Some(all) = news.snapshot() else { return false };
        self.selector.hold(&news.held);
        let first = self.seen.is_none();
        for difference in diff(self.seen.as_ref(), all) {
            self.selector.apply(&difference);
        }
        self.seen = Some(all.clone());
        let selected = self.selector.chosen().clone();
        let Some(ring) = &mut self.ring else {
            let changed = first || self.selected.diff(&selected).next().is_some();
            self.selected = selected;
            return self.changed(changed);
        };
        for item in self.selected.diff(&selected) {
            match item {
                imbl::ordmap::DiffItem::Add(_, entry) => ring.insert(Arc::clone(entry)),
                imbl::ordmap::DiffItem::Remove(id, _) => ring.remove(id),
                imbl::ordmap::DiffItem::Update { new: (_, entry), .. } => ring.insert(Arc::clone(entry)),
            }
        }
        self.selected = selected;
        let part: OrdMap<_, _> = ring.chosen().map(|entry| (entry.id().clone(), Arc::clone(entry))).collect();
        let changed = first || part != self.part;
        self.part = part;
        self.changed(changed)
    }

    fn changed(&mut self, changed: bool) -> bool {
        if changed {
            (self.listing, self.held) = (None, None);
        }
        changed
    }

    /// The state of a view that has what is chosen of `all`, which was followed. Where what is listed or held has changed, costs what is held.
    fn state(&mut self, all: &ViewState) -> ViewState {
        if self.listing.is_none()
            && let Some(seen) = &self.seen
        {
            let entries = if self.ring.is_some() { &self.part } else { &self.selected };
            let snapshot = Snapshot::from_entries(seen.service().clone(), seen.cursor(), entries.clone());
            self.listing = Some(Listing::new(snapshot.with_skipped(seen.skipped())));
        }
        let held = match self.held.take() {
            Some((of_all, held)) if of_all.ptr_eq(&all.held) => held,
            _ => {
                let listed = |id: &InstanceId| {
                    self.listing.as_ref().is_some_and(|listing| listing.snapshot().get(id).is_some())
                };
                let listed = all.held.iter().filter(|(id, _)| listed(id));
                listed.map(|(id, held)| (id.clone(), *held)).collect()
            }
        };
        self.held = Some((all.held.clone(), held.clone()));
        ViewState { listing: self.listing.clone(), held, ..all.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::debounce::Debounce;
    use super::*;
    use crate::{Cursor, Epoch, Incarnation, Instance, Revision};

    fn state(revision: u64, ids: &[&str]) -> ViewState {
        let service = ServiceName::new("user.rpc").unwrap();
        let entry = |id: &&str| {
            let instance = Instance::builder(&service).id(*id).endpoint("10.0.0.1:80").build().unwrap();
            Arc::new(Entry::new(instance, Incarnation::new(1), Revision::new(1), Revision::new(1)))
        };
        let cursor = Cursor::new(Epoch::new(1), Revision::new(revision), 0);
        let snapshot = Snapshot::new(service.clone(), cursor, ids.iter().map(entry));
        ViewState {
            listing: Some(Listing::new(snapshot)),
            cursor: Some(cursor),
            resets: 1,
            ..ViewState::pending(service)
        }
    }

    /// Gathered changes fall due in the moment in which one more comes.
    #[tokio::test(start_paused = true)]
    async fn what_is_published_is_of_one_moment() {
        let quiet = Duration::from_millis(100);
        let options = ViewOptions::new().with_debounce(Debounce::new(quiet, quiet));
        let (mut all, reader) = published(state(1, &["a"]));
        let (mut seen, task) = spawn(ServiceName::new("user.rpc").unwrap(), reader, options);
        let whole = |seen: &ViewState| {
            let snapshot = seen.snapshot().unwrap();
            // As many as the revision tells.
            assert_eq!(snapshot.len() as u64, seen.cursor().unwrap().revision().get(), "{seen:?}");
            snapshot.len()
        };
        while seen.load().snapshot().is_none() {
            assert!(seen.changed().await);
        }
        // Before the view's own alarm, and so woken before it.
        let mut alarm = Box::pin(tokio::time::sleep(quiet));
        assert!(futures_util::FutureExt::now_or_never(&mut alarm).is_none());
        all.publish(state(2, &["a", "b"]));
        for _ in 0..10 {
            tokio::task::yield_now().await;
            assert_eq!(whole(&seen.load()), 1, "it is gathered");
        }
        alarm.await;
        all.publish(state(3, &["a", "b", "c"]));
        while whole(&seen.load()) == 1 {
            assert!(seen.changed().await);
        }
        tokio::time::sleep(quiet * 2).await;
        assert_eq!(whole(&seen.load()), 3);
        task.abort();
    }
}
