//! What a watcher was told between two resets.

use std::collections::HashSet;

use super::evidence::Of;
use crate::chaos::history::{At, Change, Item, Position, Told};

/// What ended a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// It goes on to the end of the history, or the watcher began anew somewhere else.
    End,
    /// A reset, or changes, of this epoch; and whether it was said that something may be missing.
    By { epoch: u64, said: bool },
}

/// What a watcher was told one by one, between two resets. Everything that changed after `start`, up to `reached`, must be in it.
#[derive(Debug)]
pub(super) struct Stretch<'a> {
    pub(super) epoch: u64,
    pub(super) start: u64,
    pub(super) reached: u64,
    /// Whether it goes on from a cursor.
    pub(super) resumed: bool,
    /// What was told.
    pub(super) told: HashSet<(u64, &'a str)>,
    /// At which revisions something was told.
    pub(super) revisions: HashSet<u64>,
    /// Each item that went further: revision, when, line.
    pub(super) steps: Vec<(u64, At, usize)>,
    /// The line that began it.
    pub(super) line: usize,
    pub(super) closed: Closed,
}

impl<'a> Stretch<'a> {
    fn new(position: Position, resumed: bool, line: usize) -> Self {
        Self {
            epoch: position.epoch,
            start: position.revision,
            reached: position.revision,
            resumed,
            told: HashSet::new(),
            revisions: HashSet::new(),
            steps: Vec::new(),
            line,
            closed: Closed::End,
        }
    }

    fn reach(&mut self, revision: u64, at: At, line: usize) {
        if revision > self.reached {
            self.reached = revision;
            self.steps.push((revision, at, line));
        }
    }

    /// The first item that says that everything up to `revision` was told.
    pub(super) fn passed(&self, revision: u64) -> Option<(u64, At, usize)> {
        self.steps.get(self.steps.partition_point(|(reached, ..)| *reached < revision)).copied()
    }
}

impl Change {
    /// Which instance.
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Put(listed) => &listed.id,
            Self::Delete { id, .. } => id,
        }
    }
}

/// The stretches of one watcher, in order. What has no position is in none.
pub(super) fn stretches<'a>(items: &[Of<'a, Told>], tells_gaps: bool) -> Vec<Stretch<'a>> {
    let mut all: Vec<Stretch<'a>> = Vec::new();
    let mut open: Option<Stretch<'a>> = None;
    for (line, told) in items {
        match &told.item {
            Item::Started { from } => {
                all.extend(open.take());
                open = from.map(|from| Stretch::new(from, true, *line));
            }
            Item::Reset { position: Some(position), gap, .. } => {
                if let Some(mut before) = open.take() {
                    let said = gap.is_some() || !tells_gaps;
                    before.closed = Closed::By { epoch: position.epoch, said };
                    // Nothing was said to be missing, so nothing may be.
                    if !said && position.epoch == before.epoch {
                        before.reach(position.revision, told.at, *line);
                    }
                    all.push(before);
                }
                open = Some(Stretch::new(*position, false, *line));
            }
            Item::Changes { position: Some(position), changes } => {
                if let Some(mut before) = open.take_if(|open| open.epoch != position.epoch) {
                    before.closed = Closed::By { epoch: position.epoch, said: false };
                    all.push(before);
                }
                let here = open.get_or_insert_with(|| {
                    let before = position.revision.saturating_sub(1);
                    Stretch::new(Position { revision: before, ..*position }, false, *line)
                });
                here.told.extend(changes.iter().map(|change| (position.revision, change.id())));
                here.revisions.insert(position.revision);
                here.reach(position.revision, told.at, *line);
            }
            Item::Progress { position } | Item::Live { position: Some(position) } => {
                if let Some(here) = open.as_mut().filter(|open| open.epoch == position.epoch) {
                    here.reach(position.revision, told.at, *line);
                }
            }
            _ => {}
        }
    }
    all.extend(open);
    // Whoever goes on from where it was is told of what was lost while it was away when it is back.
    for index in (1..all.len()).rev() {
        let [.., before, after] = &mut all[..=index] else { continue };
        let goes_on = after.resumed && (after.epoch, after.start) == (before.epoch, before.reached);
        if goes_on && before.closed == Closed::End {
            before.closed = after.closed;
        }
    }
    all
}
