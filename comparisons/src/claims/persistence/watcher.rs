//! A watch that is folded into a view as its events come, and what was seen on the way.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::contestants::{Listed, Seen, Watching, fold};

/// A watch in the background. Ends when dropped.
#[derive(Debug)]
pub(super) struct Watcher {
    told: Arc<Mutex<Told>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Told {
    /// None before the first list.
    view: Option<Listed>,
    /// When it was said that something may have been missed.
    gaps: Vec<Instant>,
    /// When it was told of trouble with the connection, which says nothing of what it missed.
    troubles: Vec<Instant>,
    /// What has left the view, by whatever event; it may be back.
    gone: BTreeSet<String>,
}

impl Told {
    fn take(&mut self, seen: &Seen) {
        match seen {
            Seen::List { listed, gap } => {
                if *gap {
                    self.gaps.push(Instant::now());
                }
                let before = self.view.take().unwrap_or_default();
                self.gone.extend(before.into_keys().filter(|id| !listed.contains_key(id)));
            }
            Seen::Change { id, value: None } => drop(self.gone.insert(id.clone())),
            Seen::Trouble(_) => self.troubles.push(Instant::now()),
            Seen::Change { .. } | Seen::Recovered => {}
        }
        if matches!(seen, Seen::List { .. }) || self.view.is_some() {
            fold(self.view.get_or_insert_default(), seen);
        }
    }
}

impl Watcher {
    pub(super) fn start(mut watching: Watching) -> Self {
        let told = Arc::<Mutex<Told>>::default();
        let shared = Arc::clone(&told);
        let task = tokio::spawn(async move {
            while let Some(seen) = watching.next().await {
                lock(&shared).take(&seen);
            }
        });
        Self { told, task }
    }

    /// What it takes for the truth now; none before its first list.
    pub(super) fn view(&self) -> Option<Listed> {
        lock(&self.told).view.clone()
    }

    /// Whether it was told, after `since`, that something may have been missed.
    pub(super) fn was_told_of_a_gap(&self, since: Instant) -> bool {
        lock(&self.told).gaps.iter().any(|at| *at >= since)
    }

    /// Of how many connection errors it was told after `since`.
    pub(super) fn troubles(&self, since: Instant) -> usize {
        lock(&self.told).troubles.iter().filter(|at| **at >= since).count()
    }

    /// What has ever left its view.
    pub(super) fn gone(&self) -> BTreeSet<String> {
        lock(&self.told).gone.clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::Told;
    use crate::contestants::{Listed, Seen};

    fn list(ids: &[&str], gap: bool) -> Seen {
        Seen::List { listed: ids.iter().map(|id| ((*id).to_owned(), 1)).collect(), gap }
    }

    #[test]
    fn what_leaves_a_view_is_remembered_however_it_left() {
        let mut told = Told::default();
        let deletion = |id: &str| Seen::Change { id: id.to_owned(), value: None };
        for seen in
            [list(&["a", "b", "c"], false), deletion("a"), list(&["c"], true), list(&["b", "c"], false)]
        {
            told.take(&seen);
        }
        assert_eq!(Vec::from_iter(&told.gone), ["a", "b"]);
        assert_eq!(told.gaps.len(), 1);
        assert_eq!(told.view.unwrap(), Listed::from([("b".to_owned(), 1), ("c".to_owned(), 1)]));
    }

    #[test]
    fn before_the_first_list_there_is_no_view() {
        let mut told = Told::default();
        told.take(&Seen::Trouble("down".to_owned()));
        assert_eq!(told.view, None);
        assert_eq!((told.gaps.len(), told.troubles.len()), (0, 1));
    }
}
