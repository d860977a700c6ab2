//! I13 and I15: while the registry is away, a view keeps its last good set; and nobody says that it is current without proof.

use std::collections::{HashMap, HashSet};

use super::deadlines::{Key, SLACK_MS};
use super::evidence::Evidence;
use super::found::{Found, Invariant};
use super::pauses::Pauses;
use super::reader::{CATCH_UP_MS, Ended, Listing, Reader};
use super::truth::Truth;
use super::{Checked, OutOfTime, Patience};
use crate::chaos::history::{At, Change, Item};

/// For how long a view may say that it is live without new proof, in ms: the silence that a feed is allowed, then the patience with opening the next
/// one, and a little.
const PROOF_MS: u64 = 14_000;

/// For how long a watch may say nothing at all, in ms.
const SILENCE_MS: u64 = 15_000;

pub(super) fn check(
    evidence: &Evidence<'_>,
    _: &Truth<'_>,
    patience: &Patience<'_>,
    found: &mut Found,
) -> Result<(), OutOfTime> {
    let readers = Reader::all(evidence);
    kept(evidence, &readers, found);
    patience.hold()?;
    let pauses = Pauses::of(evidence);
    for (view, lines) in &evidence.views {
        let mut listed = false;
        for (line, viewed) in lines {
            if listed && viewed.listed.is_none() {
                found.broken(Invariant::I13, viewed.at, None, &[*line], || {
                    format!("view {view} lost its list")
                });
            }
            listed |= viewed.listed.is_some();
            let Some(proven) = viewed.proven.filter(|_| viewed.live) else { continue };
            let age = viewed.at.ms_since(proven).saturating_sub(pauses.within(view, proven, viewed.at));
            if age > PROOF_MS {
                found.broken(Invariant::I15, viewed.at, None, &[*line], || {
                    format!("view {view} says that it is live, and was last proven current {age} ms ago")
                });
            }
        }
    }
    patience.hold()?;
    silence(evidence, &pauses, found);
    Ok(())
}

/// I13: what a stale view does not list any more, somebody saw go.
fn kept(evidence: &Evidence<'_>, readers: &[Reader<'_>], found: &mut Found) {
    let ended = Ends::of(evidence);
    let mut gone: HashMap<Key<'_>, At> = HashMap::new();
    for listing in readers.iter().flat_map(|reader| &reader.listings) {
        if listing.live && listing.ended != Ended::Not {
            let first = gone.entry((listing.id, listing.incarnation)).or_insert(listing.to);
            *first = (*first).min(listing.to);
        }
    }
    let mut lost = 0;
    for reader in readers.iter().filter(|reader| reader.is_view) {
        for listing in &reader.listings {
            let Listing { id, incarnation, to: at, end: Some(end), live: false, .. } = *listing else {
                continue;
            };
            if listing.ended == Ended::Replaced {
                continue;
            }
            // Soon live again, it was told the news of the past, and not cut off; unless what it lost had never gone.
            let soon_live = reader.live_between(at, at.plus_ms(CATCH_UP_MS)).is_some();
            let back = |other: &Listing<'_>| {
                (other.id, other.incarnation) == (id, incarnation)
                    && at <= other.from
                    && other.from <= at.plus_ms(CATCH_UP_MS)
            };
            if soon_live && (ended.may_have((id, incarnation)) || !reader.listings.iter().any(back)) {
                continue;
            }
            let by = at.plus_ms(SLACK_MS);
            let seen = gone.get(&(id, incarnation)).is_some_and(|gone| *gone <= by);
            if seen || lost >= Checked::MOST || asked(evidence, listing, by) {
                continue;
            }
            lost += 1;
            found.broken(Invariant::I13, at, id, &[listing.began, end], || {
                format!(
                    "view {} lost {id} ({incarnation:?}) while it was stale, and nobody saw it go",
                    reader.name
                )
            });
        }
    }
}

/// Which incarnations have ended, by the store's own log.
struct Ends<'a> {
    ended: HashSet<Key<'a>>,
    /// Whether it is a log of all there was: one history, from its beginning.
    knows: bool,
}

impl<'a> Ends<'a> {
    fn of(evidence: &Evidence<'a>) -> Self {
        let mut present: HashMap<&str, Option<u64>> = HashMap::new();
        let mut ended = HashSet::new();
        for (_, truth) in &evidence.truths {
            match &truth.change {
                Change::Put(put) => {
                    let before = present.insert(&put.id, put.incarnation);
                    let other = before.filter(|before| *before != put.incarnation);
                    ended.extend(other.map(|incarnation| (put.id.as_str(), incarnation)));
                }
                Change::Delete { id, .. } => {
                    let incarnation = present.remove(id.as_str());
                    ended.extend(incarnation.map(|incarnation| (id.as_str(), incarnation)));
                }
            }
        }
        let knows = !evidence.truths.is_empty() && !evidence.has_breaks();
        Self { ended, knows }
    }

    fn may_have(&self, key: Key<'a>) -> bool {
        !self.knows || self.ended.contains(&key)
    }
}

/// Whether a lookup by then did not list it.
fn asked(evidence: &Evidence<'_>, listing: &Listing<'_>, by: At) -> bool {
    evidence
        .lookups()
        .skip_while(|(_, op, _)| op.invoked < listing.from)
        .take_while(|(_, op, _)| op.invoked <= by)
        .any(|(_, op, listed)| {
            let is = |id: &str, incarnation| id == listing.id && incarnation == listing.incarnation;
            op.returned <= by && !listed.iter().any(|listed| is(&listed.id, listed.incarnation))
        })
}

/// I15: a watch that reads says something now and then, or says that it is stale.
fn silence(evidence: &Evidence<'_>, pauses: &Pauses<'_>, found: &mut Found) {
    for (watcher, items) in &evidence.watchers {
        let (mut last, mut reads, mut stale) = (None, false, false);
        let mut quiet = |last: Option<(At, usize)>, at: At, now: Option<usize>| {
            let Some((from, line)) = last else { return };
            let silent = at.ms_since(from).saturating_sub(pauses.within(watcher, from, at));
            if silent > SILENCE_MS {
                let lines: Vec<usize> = [line].into_iter().chain(now).collect();
                found.broken(Invariant::I15, at, None, &lines, || {
                    format!("watcher {watcher} was told nothing for {silent} ms, and not that it is stale")
                });
            }
        };
        for (line, told) in items {
            // Only who is told bookmarks can tell silence from peace.
            if evidence.run.tells_gaps {
                quiet(last.filter(|_| reads && !stale), told.at, Some(*line));
            }
            last = Some((told.at, *line));
            reads = told.item.reads().unwrap_or(reads);
            stale = match told.item {
                Item::Stale { .. } => true,
                Item::StopsReading | Item::ReadsAgain => stale,
                _ => false,
            };
        }
        if evidence.run.tells_gaps {
            quiet(last.filter(|_| reads && !stale), evidence.end, None);
        }
        for (line, told) in items.iter().filter(|(_, told)| told.item == Item::Ended) {
            found.broken(Invariant::I15, told.at, None, &[*line], || {
                format!("the stream of watcher {watcher} ended, and says nothing more")
            });
        }
    }
}
