//! Folding events into a snapshot: the one way in which a view comes about.

use crate::event::WatchEvent;
use crate::snapshot::Snapshot;

/// What an event did to a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Folded {
    /// Instances may have changed.
    Changed,
    /// The instances are the same; only the cursor may have moved.
    Same,
    /// The event contradicts the view (older than it, of another epoch without a `Reset`, or before any `Reset`), and was not
    /// applied. It does not happen with a watch that keeps the contract.
    Refused,
}

/// Applies `event` to `view`, which is `None` before the first [`Reset`](WatchEvent::Reset). Time hardly grows with the
/// number of instances, but for a `Reset`, which replaces the view.
pub fn fold(view: &mut Option<Snapshot>, event: &WatchEvent) -> Folded {
    match (view, event) {
        (view, WatchEvent::Reset { snapshot, .. }) => {
            let older =
                |view: &Snapshot| view.epoch() == snapshot.epoch() && snapshot.revision() < view.revision();
            if view.as_ref().is_some_and(older) {
                return Folded::Refused;
            }
            *view = Some(snapshot.clone());
            Folded::Changed
        }
        (_, WatchEvent::Stale { .. }) => Folded::Same,
        (None, _) => Folded::Refused,
        (Some(view), WatchEvent::Changes(batch)) => {
            if view.apply(batch) {
                Folded::Changed
            } else {
                Folded::Refused
            }
        }
        (Some(view), WatchEvent::Progress { cursor } | WatchEvent::Live { cursor }) => {
            if view.advance(*cursor) { Folded::Same } else { Folded::Refused }
        }
    }
}
