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
                let state = choice.state(&all.load());
                publisher.0.publish(state);
                continue;
            }
            open = all.changed() => open,
            () = proofs.touched() => true,
        };
        let news = all.load();
        let changed = news.snapshot().is_some_and(|snapshot| choice.follow(snapshot));
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

/// What is chosen of all instances. A change costs a logarithm of their number and, with a subset, the size of that; so does the first zone's
/// giving way to all, and back, what both have.
struct Choice {
    selector: Selector,
    ring: Option<Ring>,
    /// All, as they were followed last.
    seen: Option<Snapshot>,
    selected: OrdMap<InstanceId, Arc<Entry>>,
    /// The client's part of them, by id.
    part: OrdMap<InstanceId, Arc<Entry>>,
    listing: Option<Arc<Listing>>,
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
        }
    }

    /// Whether something else is chosen than before, of what all are now.
    fn follow(&mut self, all: &Snapshot) -> bool {
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
            self.listing = None;
        }
        changed
    }

    /// The state of a view that has what is chosen of `all`. Costs what is held.
    fn state(&mut self, all: &ViewState) -> ViewState {
        if self.listing.is_none()
            && let Some(seen) = &self.seen
        {
            let entries = if self.ring.is_some() { &self.part } else { &self.selected };
            let snapshot = Snapshot::from_entries(seen.service().clone(), seen.cursor(), entries.clone());
            self.listing = Some(Listing::new(snapshot.with_skipped(seen.skipped())));
        }
        let listed = |id: &InstanceId| {
            self.listing.as_ref().is_some_and(|listing| listing.snapshot().get(id).is_some())
        };
        let held: HeldSet =
            all.held.iter().filter(|(id, _)| listed(id)).map(|(id, held)| (id.clone(), *held)).collect();
        ViewState { listing: self.listing.clone(), held, ..all.clone() }
    }
}
