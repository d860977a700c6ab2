//! Changes that are planned beforehand, so that it is known what there was to be told.

use std::collections::BTreeMap;
use std::time::Duration;

use super::watcher::Watcher;
use crate::contestants::{Contestant, Listed, Member};
use crate::experiment::Trouble;

/// How many instances there are before anything changes.
const INSTANCES: u64 = 10;
/// No instance dies in these experiments: each takes seconds.
const TTL: Duration = Duration::from_secs(600);
/// The instance whose change comes last, and is no part of what is counted.
pub(super) const LAST: &str = "last";
/// How long a watcher may take to be told what is last.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one that is away is given before it is told again.
const AGAIN: Duration = Duration::from_millis(50);

/// An instance gets a value, or goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Change {
    pub(super) id: String,
    pub(super) value: Option<u64>,
}

/// What is there at first.
pub(super) fn beginning() -> Listed {
    (0..INSTANCES).map(|n| (format!("i{n}"), n + 1)).collect()
}

/// `count` changes of what is listed: eight in ten are new values, one is a registration, one a leaving. No value comes twice, and nobody comes back.
pub(super) fn plan(random: &mut fastrand::Rng, beginning: &Listed, count: usize) -> Vec<Change> {
    let mut listed: Vec<String> = beginning.keys().cloned().collect();
    let first = 1 + beginning.values().copied().max().unwrap_or_default();
    let mut changes = Vec::with_capacity(count);
    for value in (first..).take(count) {
        let at = random.usize(..listed.len());
        let change = match random.u8(..10) {
            0 => {
                listed.push(format!("n{value}"));
                Change { id: format!("n{value}"), value: Some(value) }
            }
            1 if listed.len() > 1 => Change { id: listed.swap_remove(at), value: None },
            _ => Change { id: listed[at].clone(), value: Some(value) },
        };
        changes.push(change);
    }
    changes
}

/// What is there after the changes.
pub(super) fn truth(beginning: &Listed, changes: &[Change]) -> Listed {
    let mut listed = beginning.clone();
    for change in changes {
        match change.value {
            Some(value) => listed.insert(change.id.clone(), value),
            None => listed.remove(&change.id),
        };
    }
    listed
}

/// Who makes the changes: all processes of a service in one hand.
pub(super) struct Writer<'a> {
    contestant: &'a dyn Contestant,
    service: String,
    members: BTreeMap<String, Box<dyn Member>>,
}

impl<'a> Writer<'a> {
    /// One that has registered `beginning`, and what is to change last.
    pub(super) async fn begin(
        contestant: &'a dyn Contestant,
        service: &str,
        beginning: &Listed,
    ) -> Result<Self, Trouble> {
        let mut writer = Self { contestant, service: service.to_owned(), members: BTreeMap::new() };
        for (id, value) in beginning.iter().map(|(id, value)| (id.as_str(), *value)).chain([(LAST, 0)]) {
            writer.make(&Change { id: id.to_owned(), value: Some(value) }).await?;
        }
        Ok(writer)
    }

    /// Makes a change.
    pub(super) async fn make(&mut self, change: &Change) -> Result<(), Trouble> {
        match change.value {
            None => match self.members.remove(&change.id) {
                Some(member) => member.leave().await,
                None => Err(Trouble::failed(format!("{} is not there to leave", change.id))),
            },
            Some(value) => match self.members.get(&change.id) {
                Some(member) => member.set(value).await,
                None => {
                    let member = self.contestant.register(&self.service, &change.id, value, TTL).await?;
                    self.members.insert(change.id.clone(), member);
                    Ok(())
                }
            },
        }
    }

    /// Makes all of them.
    pub(super) async fn make_all(&mut self, changes: &[Change]) -> Result<(), Trouble> {
        for change in changes {
            self.make(change).await?;
        }
        Ok(())
    }

    /// Makes the last change, again and again, since who is not back yet is not told of it. Whether the watcher was told in the end: then
    /// nothing of before is on its way any more.
    pub(super) async fn until_told(&mut self, watcher: &Watcher) -> Result<bool, Trouble> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        for value in 1.. {
            self.make(&Change { id: LAST.to_owned(), value: Some(value) }).await?;
            let told =
                watcher.until("the last change", AGAIN, |view| view.get(LAST).is_some_and(|last| *last > 0));
            if told.await.is_ok() {
                return Ok(true);
            }
            if tokio::time::Instant::now() > deadline {
                break;
            }
        }
        Ok(false)
    }
}

/// What a watcher sees at first.
pub(super) fn with_last(listed: &Listed) -> Listed {
    let mut listed = listed.clone();
    listed.insert(LAST.to_owned(), 0);
    listed
}

/// Waits for it.
pub(super) async fn until_sees(watcher: &Watcher, listed: &Listed) -> Result<(), Trouble> {
    let wanted = with_last(listed);
    Ok(watcher.until("a watcher sees what is there at first", PATIENCE, |view| *view == wanted).await?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{beginning, plan, truth};

    #[test]
    fn no_change_comes_twice_and_all_kinds_come() {
        let (first, mut random) = (beginning(), fastrand::Rng::with_seed(1));
        let changes = plan(&mut random, &first, 100);
        assert_eq!(changes.iter().collect::<BTreeSet<_>>().len(), 100);
        let after = truth(&first, &changes);
        assert!(after.keys().any(|id| id.starts_with('n')), "some came");
        assert!(first.keys().any(|id| !after.contains_key(id)), "some left");
        assert!(
            changes
                .iter()
                .all(|change| change.value.is_none_or(|value| !first.values().any(|v| *v == value)))
        );
        assert_eq!(
            changes,
            plan(&mut fastrand::Rng::with_seed(1), &first, 100),
            "the same for the same seed"
        );
    }
}
