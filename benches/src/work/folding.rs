//! Changes of one instance among many, folded into a view.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use registry_core::{
    Batch, Change, Cursor, Entry, Epoch, Folded, Incarnation, Instance, Result, Revision, ServiceName,
    Snapshot, WatchEvent, diff, fold,
};
use tokio::time::Instant;

/// The entry of one of many, as of a revision.
///
/// # Errors
/// None but where the library does not know its own words.
pub fn entry(number: usize, revision: u64) -> Result<Arc<Entry>> {
    let [_, a, b, c] = u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
    let id = format!("i{number:06}");
    let instance = Instance::builder("user.rpc").id(id).endpoint(format!("10.{a}.{b}.{c}:80")).build()?;
    let revision = Revision::new(revision);
    Ok(Arc::new(Entry::new(instance, Incarnation::new(1), revision, revision)))
}

fn cursor(revision: u64) -> Cursor {
    Cursor::new(Epoch::new(1), Revision::new(revision), 0)
}

/// So many instances.
///
/// # Errors
/// As [`entry`].
pub fn snapshot(size: usize) -> Result<Snapshot> {
    let entries: Result<Vec<_>> = (0..size).map(|number| entry(number, 1)).collect();
    Ok(Snapshot::new(ServiceName::new("user.rpc")?, cursor(1), entries?))
}

/// A view, and what is published of it: the version before is kept until the next one is there, as readers keep it, so that nothing is changed in place.
#[derive(Debug)]
pub struct Folding {
    live: Option<Snapshot>,
    published: Option<Snapshot>,
    size: usize,
    revision: u64,
    random: Rng,
}

impl Folding {
    /// A view of so many instances.
    ///
    /// # Errors
    /// As [`entry`].
    pub fn new(size: usize, random: Rng) -> Result<Self> {
        let snapshot = snapshot(size)?;
        Ok(Self { live: Some(snapshot.clone()), published: Some(snapshot), size, revision: 1, random })
    }

    /// So many changes to come, each of any one instance.
    fn changes(&mut self, count: u32) -> Result<Vec<WatchEvent>> {
        let change = |_| {
            self.revision += 1;
            let put = Change::Put(entry(self.random.usize(..self.size), self.revision)?);
            Ok(WatchEvent::Changes(Batch { cursor: cursor(self.revision), changes: vec![put] }))
        };
        (0..count).map(change).collect()
    }

    fn take(&mut self, event: &WatchEvent) -> Folded {
        let folded = fold(&mut self.live, event);
        self.published.clone_from(&self.live);
        folded
    }

    /// How long it takes to fold so many changes, each with the end of the version that nobody has any more. They are made beforehand, as a backend
    /// makes them.
    ///
    /// # Errors
    /// As [`entry`].
    pub fn fold(&mut self, count: u32) -> Result<Duration> {
        let changes = self.changes(count)?;
        let start = Instant::now();
        for change in &changes {
            black_box(self.take(black_box(change)));
        }
        Ok(start.elapsed())
    }

    /// How long it takes to find, so many times, what one change made different.
    ///
    /// # Errors
    /// As [`entry`].
    pub fn differences(&mut self, count: u32) -> Result<Duration> {
        const VERSIONS: u32 = 64;
        let mut versions: Vec<Option<Snapshot>> = vec![self.live.clone()];
        for change in self.changes(VERSIONS)? {
            self.take(&change);
            versions.push(self.live.clone());
        }
        let pairs: Vec<_> =
            versions.windows(2).filter_map(|pair| pair[0].as_ref().zip(pair[1].as_ref())).collect();
        let start = Instant::now();
        for (old, new) in pairs.iter().cycle().take(count as usize) {
            black_box(diff(Some(black_box(old)), black_box(new)));
        }
        Ok(start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_folded_and_published_and_the_version_before_is_whole() {
        let mut folding = Folding::new(100, Rng::with_seed(1)).unwrap();
        for change in folding.changes(50).unwrap() {
            let before = folding.live.clone();
            assert_eq!(folding.take(&change), Folded::Changed);
            assert_eq!(folding.live, folding.published);
            assert_eq!(diff(before.as_ref(), folding.live.as_ref().unwrap()).len(), 1);
        }
        assert_eq!(folding.live.map(|live| live.len()), Some(100));
    }
}
