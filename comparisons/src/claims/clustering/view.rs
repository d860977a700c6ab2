//! What a watcher takes for the truth, kept up to date by a task.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use registry_testing::servers::{ServerError, until};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::contestants::{Contestant, Listed, Seen, fold};

/// What one watcher was told so far.
#[derive(Debug, Default)]
pub(in crate::claims) struct Told {
    /// What it takes for the truth.
    pub(in crate::claims) listed: Listed,
    /// How many whole lists it was given.
    pub(in crate::claims) lists: usize,
    /// When it was told, with a list, that it may have missed something.
    pub(in crate::claims) gaps: Vec<Instant>,
    /// When it was told of trouble with the connection, which says nothing of what it missed.
    pub(in crate::claims) troubles: Vec<Instant>,
    /// When it was last told anything of instances.
    pub(in crate::claims) changed: Option<Instant>,
    /// When instances left, of those that have not come back.
    pub(in crate::claims) left: BTreeMap<String, Instant>,
}

impl Told {
    fn take(&mut self, seen: &Seen, now: Instant) {
        match seen {
            Seen::List { listed, gap } => {
                self.lists += 1;
                self.gaps.extend(gap.then_some(now));
                let gone = self.listed.keys().filter(|id| !listed.contains_key(*id));
                self.left.extend(gone.map(|id| (id.clone(), now)));
                self.left.retain(|id, _| !listed.contains_key(id));
            }
            Seen::Change { id, value: Some(_) } => drop(self.left.remove(id)),
            Seen::Change { id, value: None } => drop(self.left.insert(id.clone(), now)),
            Seen::Trouble(_) => return self.troubles.push(now),
            Seen::Recovered => return,
        }
        self.changed = Some(now);
        fold(&mut self.listed, seen);
    }

    /// How many instances it has wrong: not there, or there with another value, or only here.
    pub(in crate::claims) fn wrong(&self, truth: &Listed) -> usize {
        let missing = truth.iter().filter(|(id, value)| self.listed.get(*id) != Some(value)).count();
        missing + self.listed.keys().filter(|id| !truth.contains_key(*id)).count()
    }
}

/// A watcher. Dropping it ends the watch.
#[derive(Debug)]
pub(in crate::claims) struct View {
    told: Arc<Mutex<Told>>,
    task: JoinHandle<()>,
}

impl View {
    /// A watcher that has its first list.
    pub(in crate::claims) async fn of(
        contestant: &dyn Contestant,
        service: &str,
        within: Duration,
    ) -> Result<Self, ServerError> {
        let view = Self::start(contestant, service);
        let listed = || async { view.look(|told| (told.lists > 0).then_some(())) };
        until("a watcher has its first list", within, listed).await?;
        Ok(view)
    }

    fn start(contestant: &dyn Contestant, service: &str) -> Self {
        let mut watching = contestant.watch(service);
        let told = Arc::new(Mutex::new(Told::default()));
        let shared = Arc::clone(&told);
        let task = tokio::spawn(async move {
            while let Some(seen) = watching.next().await {
                let mut told = shared.lock().unwrap_or_else(PoisonError::into_inner);
                told.take(&seen, Instant::now());
            }
        });
        Self { told, task }
    }

    /// Looks at what it was told.
    pub(in crate::claims) fn look<T>(&self, look: impl FnOnce(&Told) -> T) -> T {
        look(&self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::Told;
    use crate::contestants::{Listed, Seen};

    fn list(ids: &[&str], gap: bool) -> Seen {
        Seen::List { listed: ids.iter().map(|id| ((*id).to_owned(), 1)).collect(), gap }
    }

    #[test]
    fn an_instance_has_left_by_a_change_or_by_a_list_without_it() {
        let mut told = Told::default();
        let now = Instant::now();
        told.take(&list(&["a", "b", "c"], false), now);
        told.take(&Seen::Change { id: "a".to_owned(), value: None }, now);
        told.take(&list(&["c"], true), now);
        assert_eq!(told.left.keys().collect::<Vec<_>>(), ["a", "b"]);
        told.take(&Seen::Change { id: "a".to_owned(), value: Some(2) }, now);
        assert_eq!(told.left.keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!((told.lists, told.gaps.len()), (2, 1));
    }

    #[test]
    fn trouble_with_the_connection_is_told_and_is_no_gap() {
        let mut told = Told::default();
        told.take(&list(&["a"], false), Instant::now());
        told.take(&Seen::Trouble("refused".to_owned()), Instant::now());
        told.take(&Seen::Recovered, Instant::now());
        assert_eq!((told.gaps.len(), told.troubles.len(), told.listed.len()), (0, 1, 1));
    }

    #[test]
    fn what_is_missing_or_other_or_not_there_any_more_is_wrong() {
        let mut told = Told::default();
        told.take(&list(&["same", "other", "ghost"], false), Instant::now());
        let truth = [("same", 1), ("other", 2), ("missing", 1)];
        let truth: Listed = truth.map(|(id, value)| (id.to_owned(), value)).into();
        assert_eq!(told.wrong(&truth), 3);
    }
}
