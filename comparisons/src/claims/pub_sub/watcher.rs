//! A watcher that notes what it is told and when, and that can stop reading.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use registry_testing::servers::{ServerError, until};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::contestants::{Contestant, Listed, Seen, Watching, fold};

/// A watch of one service in a task of its own, which ends with this.
#[derive(Debug)]
pub(super) struct Watcher {
    told: Arc<Mutex<Told>>,
    reads: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// A change that was acknowledged to who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    /// No other change has it.
    pub(super) value: u64,
    /// When it was acknowledged.
    pub(super) at: Instant,
}

impl Acknowledged {
    /// One that was acknowledged just now.
    pub(super) fn now(value: u64) -> Self {
        Self { value, at: Instant::now() }
    }
}

/// What a watcher was told so far.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What it takes for the truth; none before the first list.
    pub(super) view: Option<Listed>,
    /// The values that were told one by one, each once however often it was told.
    pub(super) one_by_one: BTreeSet<u64>,
    /// The values that were ever told, in changes and in lists.
    pub(super) values: BTreeSet<u64>,
    /// How often it was said that something may be missing.
    pub(super) gaps: u64,
    /// When that was said last.
    last_gap: Option<Instant>,
    /// How often trouble was told.
    pub(super) troubles: u64,
    /// Which instances left the view, and when.
    pub(super) gone: Vec<(String, Instant)>,
}

impl Told {
    fn note(&mut self, seen: &Seen, at: Instant) {
        match seen {
            Seen::List { listed, gap } => {
                self.values.extend(listed.values());
                if *gap {
                    self.gaps += 1;
                    self.last_gap = Some(at);
                }
                let before = self.view.iter().flat_map(Listed::keys);
                let left = before.filter(|id| !listed.contains_key(*id));
                self.gone.extend(left.map(|id| (id.clone(), at)));
            }
            Seen::Change { id, value: None } => {
                if self.view.as_ref().is_some_and(|view| view.contains_key(id)) {
                    self.gone.push((id.clone(), at));
                }
            }
            Seen::Change { value: Some(value), .. } => {
                self.values.insert(*value);
                self.one_by_one.insert(*value);
            }
            Seen::Trouble(_) => self.troubles += 1,
            Seen::Recovered => {}
        }
        match (&mut self.view, seen) {
            (None, Seen::List { listed, .. }) => self.view = Some(listed.clone()),
            (None, _) => {}
            (Some(view), seen) => fold(view, seen),
        }
    }

    /// The value that it takes an instance to have.
    pub(super) fn value(&self, id: &str) -> Option<u64> {
        self.view.as_ref()?.get(id).copied()
    }

    /// How many of these changes were made after the last gap that was told, or at all if none was: a gap covers what was acknowledged before its list was
    /// told, and nothing later.
    pub(super) fn not_covered<'a>(&self, changes: impl IntoIterator<Item = &'a Acknowledged>) -> usize {
        let is_covered = |change: &Acknowledged| self.last_gap.is_some_and(|told| change.at <= told);
        changes.into_iter().filter(|change| !is_covered(change)).count()
    }

    /// How many instances it takes for something that they are not, or does not know, or knows and should not.
    pub(super) fn wrong(&self, truth: &Listed) -> usize {
        wrong(self.view.as_ref().unwrap_or(&Listed::new()), truth)
    }
}

/// How many instances of a view are not what they are in truth, or are missing, or should be.
pub(super) fn wrong(view: &Listed, truth: &Listed) -> usize {
    let differs = truth.iter().filter(|(id, value)| view.get(*id) != Some(value)).count();
    differs + view.keys().filter(|id| !truth.contains_key(*id)).count()
}

impl Watcher {
    /// Watches, and waits for the first list.
    pub(super) async fn start(contestant: &dyn Contestant, service: &str) -> Result<Self, ServerError> {
        let (told, (reads, reading)) = (Arc::default(), watch::channel(true));
        let task = tokio::spawn(read(contestant.watch(service), Arc::clone(&told), reading));
        let watcher = Self { told, reads, task };
        watcher.until("a first list", Duration::from_secs(20), |told| told.view.is_some()).await?;
        Ok(watcher)
    }

    /// Stops to read, after what it reads just now, or reads on.
    pub(super) fn set_reading(&self, reads: bool) {
        self.reads.send_replace(reads);
    }

    /// What it was told so far.
    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for what it is told.
    pub(super) async fn until(
        &self,
        what: &str,
        within: Duration,
        holds: impl Fn(&Told) -> bool + Sync,
    ) -> Result<(), ServerError> {
        until(what, within, async || holds(&self.told()).then_some(())).await
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(mut watching: Watching, told: Arc<Mutex<Told>>, mut reading: watch::Receiver<bool>) {
    loop {
        // A watch does nothing while nobody asks it, so whoever does not read must not ask either.
        if reading.wait_for(|reads| *reads).await.is_err() {
            return;
        }
        let seen = tokio::select! {
            seen = watching.next() => seen,
            _ = reading.changed() => continue,
        };
        let Some(seen) = seen else { return };
        told.lock().unwrap_or_else(PoisonError::into_inner).note(&seen, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Acknowledged, Listed, Seen, Told, wrong};
    use tokio::time::Instant;

    fn listed(entries: &[(&str, u64)]) -> Listed {
        entries.iter().map(|(id, value)| ((*id).to_owned(), *value)).collect()
    }

    #[test]
    fn whoever_leaves_is_noted_whether_by_a_change_or_by_a_list() {
        let mut told = Told::default();
        let gone = |id: &str| Seen::Change { id: id.to_owned(), value: None };
        let list = |entries| Seen::List { listed: listed(entries), gap: true };
        for seen in [list(&[("a", 1), ("b", 2)]), gone("a"), gone("a"), list(&[("c", 3)])] {
            told.note(&seen, Instant::now());
        }
        let ids: Vec<_> = told.gone.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!((ids, told.gaps), (vec!["a", "b"], 2));
        assert_eq!(told.view, Some(listed(&[("c", 3)])));
    }

    #[test]
    fn a_value_that_is_told_twice_counts_once() {
        let mut told = Told::default();
        let change = |value| Seen::Change { id: "a".to_owned(), value: Some(value) };
        for value in [2, 2, 3] {
            told.note(&change(value), Instant::now());
        }
        assert_eq!(told.one_by_one.into_iter().collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_gap_covers_what_was_made_before_it_was_told_and_nothing_later() {
        let (mut told, begun) = (Told::default(), Instant::now());
        let changes = [1, 2, 3].map(|value| Acknowledged { value, at: begun + Duration::from_secs(value) });
        let list = |gap| Seen::List { listed: Listed::new(), gap };
        told.note(&list(false), begun + Duration::from_secs(9));
        assert_eq!(told.not_covered(&changes), 3, "a list that says nothing covers nothing");
        told.note(&list(true), begun + Duration::from_secs(2));
        assert_eq!((told.not_covered(&changes), told.not_covered(&changes[..2])), (1, 0));
    }

    #[test]
    fn a_view_is_wrong_where_it_differs_either_way() {
        let truth = listed(&[("a", 1), ("b", 2)]);
        assert_eq!(wrong(&truth, &truth), 0);
        assert_eq!(wrong(&listed(&[("a", 1), ("b", 1), ("c", 3)]), &truth), 2);
        assert_eq!(wrong(&Listed::new(), &truth), 2);
    }
}
