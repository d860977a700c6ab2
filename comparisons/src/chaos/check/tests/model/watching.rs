//! What those are told who watch.

use super::*;

pub(super) struct Watcher {
    name: String,
    is_view: bool,
    struck: bool,
    here: Option<Position>,
    stale: bool,
    reads: bool,
    dropped: bool,
    told: u64,
    fold: BTreeMap<String, Listed>,
    shown: Option<(bool, Vec<Listed>)>,
    proven: u64,
    showed: u64,
}

impl World {
    pub(super) fn watchers(&mut self) -> Vec<Watcher> {
        let watcher = |name: &str, is_view, struck| Watcher {
            name: name.to_owned(),
            is_view,
            struck,
            here: None,
            stale: false,
            reads: true,
            dropped: true,
            told: 0,
            fold: BTreeMap::new(),
            shown: None,
            proven: 0,
            showed: 0,
        };
        vec![
            watcher("2.0", false, true),
            watcher("2.1", false, true),
            watcher("3.0", false, false),
            watcher("3.1", false, false),
            watcher("2.7", true, true),
            watcher("3.7", true, false),
        ]
    }

    fn tell(&mut self, watcher: &mut Watcher, item: Item) {
        watcher.told += 1;
        let at = self.at(8_500 + watcher.told % 1_000);
        match &item {
            Item::Reset { listed, .. } => {
                watcher.fold = listed.iter().map(|listed| (listed.id.clone(), listed.clone())).collect();
            }
            Item::Changes { changes, .. } => {
                for change in changes {
                    match change {
                        Change::Put(listed) => watcher.fold.insert(listed.id.clone(), listed.clone()),
                        Change::Delete { id, .. } => watcher.fold.remove(id),
                    };
                }
            }
            _ => {}
        }
        watcher.showed = if item == Item::StopsReading { watcher.showed } else { self.now };
        if let Some(position) = item.position().filter(|_| !matches!(item, Item::Started { .. })) {
            watcher.here = Some(position);
            watcher.proven = self.now;
        }
        watcher.stale = match item {
            Item::Stale { .. } => true,
            Item::Reset { .. } | Item::Live { .. } => false,
            _ => watcher.stale,
        };
        if !watcher.is_view {
            self.history.push(Line::Told(Told { watcher: watcher.name.clone(), at, item }));
        }
    }

    pub(super) fn watch(&mut self, watcher: &mut Watcher) {
        let habit = watcher.name.clone();
        match (habit.as_str(), self.now) {
            (_, 50) => {
                self.tell(watcher, Item::Started { from: None });
                watcher.dropped = false;
            }
            ("2.1", 13_000) => {
                self.tell(watcher, Item::Dropped);
                watcher.dropped = true;
            }
            // While it is cut off it goes away, and comes back.
            ("2.1", 6_000) if self.struck == Struck::Replaced => {
                self.tell(watcher, Item::Dropped);
                watcher.dropped = true;
            }
            ("2.1", 7_000) if self.struck == Struck::Replaced => {
                self.tell(watcher, Item::Started { from: watcher.here });
                watcher.dropped = false;
                watcher.stale = true;
            }
            ("2.1", 14_500) => {
                self.tell(watcher, Item::Started { from: watcher.here });
                watcher.dropped = false;
                // Proven current before anything else.
                watcher.stale = true;
            }
            ("3.1", 3_000) => {
                self.tell(watcher, Item::StopsReading);
                watcher.reads = false;
            }
            ("3.1", 6_500) => {
                self.tell(watcher, Item::ReadsAgain);
                watcher.reads = true;
                if self.forgets {
                    self.reset(watcher, Some("overflow"));
                }
            }
            _ => {}
        }
        if watcher.dropped || !watcher.reads {
            return;
        }
        let cut = match self.struck {
            Struck::Readers | Struck::Replaced => watcher.struck,
            Struck::Everybody | Struck::Unseen => true,
            _ => false,
        };
        if cut && self.within() {
            let since = windows(self.struck).last().map_or(0, |(_, from, _)| *from);
            if self.now >= since + 1_500 && !watcher.stale {
                self.tell(watcher, Item::Stale { error: "unavailable".to_owned() });
            }
        } else {
            self.news(watcher);
        }
        self.show(watcher);
    }

    fn reset(&mut self, watcher: &mut Watcher, gap: Option<&str>) {
        let (position, listed) = (Some(self.store.position()), self.store.listed());
        self.tell(watcher, Item::Reset { position, gap: gap.map(str::to_owned), listed });
    }

    fn news(&mut self, watcher: &mut Watcher) {
        let Some(here) = watcher.here else {
            self.reset(watcher, None);
            return;
        };
        if here.epoch != self.store.epoch {
            let wiped = self.struck == Struck::Store;
            self.reset(watcher, Some(if wiped { "wiped" } else { "diverged" }));
            return;
        }
        // It is not where it was, and does not know it yet.
        if self.struck == Struck::Replaced && (RESTORED..NOTICED).contains(&self.now) {
            return;
        }
        if watcher.stale && self.forgets && here != self.store.position() {
            self.reset(watcher, Some("compacted"));
            return;
        }
        let news: Vec<_> = self.store.log.iter().filter(|(at, _)| *at > here.revision).cloned().collect();
        for (revision, changes) in news {
            let position = Some(Position { revision, ..here });
            self.tell(watcher, Item::Changes { position, changes });
        }
        let position = self.store.position();
        if watcher.stale {
            self.tell(watcher, Item::Live { position: Some(position) });
        }
        if self.now - watcher.showed >= 1_000 {
            self.tell(watcher, Item::Progress { position });
        }
    }

    fn show(&mut self, watcher: &mut Watcher) {
        if !watcher.is_view || watcher.here.is_none() {
            return;
        }
        let now = (!watcher.stale, watcher.fold.values().cloned().collect::<Vec<_>>());
        if watcher.shown.as_ref() != Some(&now) || self.now.is_multiple_of(1_000) {
            let (live, listed) = now.clone();
            self.history.push(Line::Viewed(Viewed {
                view: watcher.name.clone(),
                at: self.at(9_600),
                live,
                proven: Some(At(watcher.proven * 1_000)),
                listed: Some(listed),
            }));
            watcher.shown = Some(now);
        }
    }
}
