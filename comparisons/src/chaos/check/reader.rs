//! What each watcher and view listed, and from when to when.

use std::collections::BTreeMap;

use super::evidence::{Evidence, Of};
use crate::chaos::history::{At, Change, Item, Listed, Told, Viewed};

/// How long a watcher that reads again, or is connected again, may take for what waits for it, in ms.
pub(super) const CATCH_UP_MS: u64 = 1_000;

/// Why an instance was not listed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended<'a> {
    /// It is still listed.
    Not,
    /// By another incarnation.
    Replaced,
    /// A deletion was told, with this cause.
    Deleted(Option<&'a str>),
    /// A new list does not have it.
    Missing,
}

/// That a reader listed an incarnation of an instance.
#[derive(Clone, Debug)]
pub(super) struct Listing<'a> {
    pub(super) id: &'a str,
    pub(super) incarnation: Option<u64>,
    /// What it carried last.
    pub(super) value: u64,
    pub(super) from: At,
    pub(super) to: At,
    pub(super) began: usize,
    pub(super) ended: Ended<'a>,
    pub(super) end: Option<usize>,
    /// Whether the reader said that it was current when it ended.
    pub(super) live: bool,
}

/// What a watcher or a view listed.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) name: &'a str,
    pub(super) is_view: bool,
    pub(super) listings: Vec<Listing<'a>>,
    /// From when to when it read, and said that it was current.
    live: Vec<(At, At)>,
}

impl<'a> Reader<'a> {
    /// All watchers and views.
    pub(super) fn all(evidence: &Evidence<'a>) -> Vec<Self> {
        let end = evidence.end;
        let watchers = evidence.watchers.iter().map(|(name, items)| Self::watcher(name, items, end));
        let views = evidence.views.iter().map(|(name, lines)| Self::view(name, lines, end));
        watchers.chain(views).collect()
    }

    fn watcher(name: &'a str, items: &[Of<'a, Told>], end: At) -> Self {
        let mut shelf = Shelf::default();
        for (line, told) in items {
            let at = told.at;
            match &told.item {
                Item::Reset { listed, .. } => {
                    shelf.live_from(at);
                    shelf.replace(listed, at, *line);
                }
                Item::Changes { position, changes } => {
                    if position.is_none() {
                        shelf.live_from(at);
                    }
                    for change in changes {
                        match change {
                            Change::Put(listed) => shelf.put(listed, at, *line),
                            Change::Delete { id, cause } => {
                                shelf.remove(id, Ended::Deleted(cause.as_deref()), at, *line);
                            }
                        }
                    }
                }
                Item::Live { .. } => shelf.live_from(at),
                Item::ReadsAgain => shelf.live_from(at.plus_ms(CATCH_UP_MS)),
                Item::Stale { .. } | Item::StopsReading | Item::Dropped | Item::Ended => shelf.live_to(at),
                Item::Started { .. } | Item::Progress { .. } => {}
            }
        }
        shelf.reader(name, false, end)
    }

    fn view(name: &'a str, lines: &[Of<'a, Viewed>], end: At) -> Self {
        let mut shelf = Shelf::default();
        for (line, viewed) in lines {
            // One that is stale and lives again says what it learned with that.
            if viewed.live {
                shelf.live_from(viewed.at);
            } else {
                shelf.live_to(viewed.at);
            }
            shelf.replace(viewed.listed.as_deref().unwrap_or_default(), viewed.at, *line);
        }
        shelf.reader(name, true, end)
    }

    /// The first moment after `from`, before `to`, when it read and said that it was current.
    pub(super) fn live_between(&self, from: At, to: At) -> Option<At> {
        let next = self.live.get(self.live.partition_point(|(_, end)| *end <= from))?;
        let moment = next.0.max(from);
        (moment < to).then_some(moment)
    }
}

/// What a reader lists at a moment, and what it listed before.
#[derive(Debug, Default)]
struct Shelf<'a> {
    listings: Vec<Listing<'a>>,
    /// By instance, the index of what is listed.
    open: BTreeMap<&'a str, usize>,
    live: Vec<(At, At)>,
    since: Option<At>,
}

impl<'a> Shelf<'a> {
    fn live_from(&mut self, at: At) {
        self.since.get_or_insert(at);
    }

    fn live_to(&mut self, at: At) {
        if let Some(from) = self.since.take().filter(|from| *from < at) {
            self.live.push((from, at));
        }
    }

    fn put(&mut self, listed: &'a Listed, at: At, line: usize) {
        let (id, incarnation) = (listed.id.as_str(), listed.incarnation);
        let here = self.open.get(id).and_then(|index| self.listings.get_mut(*index));
        if let Some(here) = here.filter(|here| here.incarnation == incarnation) {
            here.value = listed.value;
            return;
        }
        self.remove(id, Ended::Replaced, at, line);
        self.open.insert(id, self.listings.len());
        self.listings.push(Listing {
            id,
            incarnation,
            value: listed.value,
            from: at,
            to: At(u64::MAX),
            began: line,
            ended: Ended::Not,
            end: None,
            live: true,
        });
    }

    fn remove(&mut self, id: &str, how: Ended<'a>, at: At, line: usize) {
        let live = self.since.is_some();
        if let Some(listing) = self.open.remove(id).and_then(|index| self.listings.get_mut(index)) {
            (listing.to, listing.ended, listing.end, listing.live) = (at, how, Some(line), live);
        }
    }

    fn replace(&mut self, all: &'a [Listed], at: At, line: usize) {
        let mut ids: Vec<&str> = all.iter().map(|listed| listed.id.as_str()).collect();
        ids.sort_unstable();
        let gone: Vec<&str> = self.open.keys().copied().filter(|id| ids.binary_search(id).is_err()).collect();
        for id in gone {
            self.remove(id, Ended::Missing, at, line);
        }
        for listed in all {
            self.put(listed, at, line);
        }
    }

    fn reader(mut self, name: &'a str, is_view: bool, end: At) -> Reader<'a> {
        self.live_to(end);
        Reader { name, is_view, listings: self.listings, live: self.live }
    }
}
