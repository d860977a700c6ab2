//! The course of a run, for a picture: when what was asked, told, struck and broken, and no more of a history than that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::check::{Standing, Violation};
use super::fault::Fault;
use super::history::{Act, At, Item, Line, Nemesis, Operation, Outcome, Verb};

/// Times of a picture are told to so many milliseconds: no screen shows more.
pub const STEP_MS: u64 = 50;

/// A moment of a picture, in steps of [`STEP_MS`] since the run began.
pub type Moment = u32;

/// The moment of a time.
#[must_use]
pub fn moment(at: At) -> Moment {
    u32::try_from(at.0 / 1_000 / STEP_MS).unwrap_or(u32::MAX)
}

/// A fault, from when it was in place until it began to be healed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Which.
    pub fault: Fault,
    /// When it was in place.
    pub from: At,
    /// When it began to be healed.
    pub to: At,
    /// What was done.
    pub what: String,
    /// What shows that it bit.
    pub proof: String,
}

/// What happened when, in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// When it ended.
    pub ends: Moment,
    /// What clients asked, by process and kind.
    pub asked: Vec<Asked>,
    /// What watchers and views were told.
    pub watched: Vec<Watched>,
    /// What is broken, in the order of time.
    pub broken: Vec<Broken>,
}

/// What is asked, as a picture tells it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Registrations, updates and goodbyes.
    Writes,
    /// Renewals.
    Heartbeats,
    /// Lookups.
    Lookups,
}

/// What the clients of one process asked, of one kind: each by the moment in which it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Which process.
    pub process: String,
    /// What.
    pub kind: Kind,
    /// It was done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<Moment>,
    /// It was refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Moment>,
    /// Nobody knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<Moment>,
}

/// What a watcher, or a view, was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// Whose: `process.number`.
    pub name: String,
    /// Whether it is a view of a `Directory`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_view: bool,
    /// When it was told changes, or, of a view, when its list changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<Moment>,
    /// When it was told all instances anew, with no reason given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<Moment>,
    /// When it was told all instances anew because something may be missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Moment>,
    /// From when to when it was told that the registry is out of reach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<[Moment; 2]>,
    /// From when to when it had dropped its watch, or did not read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub away: Vec<[Moment; 2]>,
}

/// That a promise is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// The number of the invariant.
    pub invariant: u8,
    /// When it showed.
    pub at: Moment,
    /// The watcher or view that it shows in, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watcher: Option<String>,
}

/// When what was in place, by what the nemesis wrote down.
#[must_use]
pub fn windows(history: &[Line]) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    for line in history {
        let Line::Nemesis(Nemesis { fault, at, act }) = line else { continue };
        let open = windows.iter_mut().rev().find(|window| window.fault == *fault);
        match (act, open) {
            (Act::Strikes, _) => windows.push(Window {
                fault: *fault,
                from: *at,
                to: *at,
                what: String::new(),
                proof: String::new(),
            }),
            (Act::Struck { what }, Some(open)) => {
                open.from = *at;
                open.what.clone_from(what);
            }
            (Act::Heals, Some(open)) => open.to = *at,
            (Act::Healed { proof, .. }, Some(open)) => open.proof.clone_from(proof),
            (_, None) => {}
        }
    }
    windows
}

/// The course of a run, of which `violations` were found.
#[must_use]
pub fn course(history: &[Line], violations: &[Violation]) -> Course {
    let mut asked: BTreeMap<(String, Kind), Asked> = BTreeMap::new();
    let mut watched: BTreeMap<(bool, String), Following> = BTreeMap::new();
    let mut ends = At(0);
    for line in history {
        ends = ends.max(super::lines::at(line).unwrap_or_default());
        match line {
            Line::Operation(operation) => take(&mut asked, operation),
            Line::Told(told) => {
                let following = watched.entry((false, told.watcher.clone())).or_default();
                following.told(&told.item, moment(told.at));
            }
            Line::Viewed(viewed) => {
                let following = watched.entry((true, viewed.view.clone())).or_default();
                following.is_stale(!viewed.live, moment(viewed.at));
                following.watched.told.push(moment(viewed.at));
            }
            _ => {}
        }
    }
    let ends = moment(ends);
    let asked = asked.into_values().map(|mut asked| {
        [&mut asked.done, &mut asked.refused, &mut asked.unknown].into_iter().for_each(thin);
        asked
    });
    let watched = watched.into_iter().map(|((is_view, name), following)| following.end(name, is_view, ends));
    Course { ends, asked: asked.collect(), watched: watched.collect(), broken: broken(history, violations) }
}

fn take(asked: &mut BTreeMap<(String, Kind), Asked>, operation: &Operation) {
    // The witness is no client.
    let Some((process, _)) = operation.client.split_once('.') else { return };
    let kind = match operation.verb {
        Verb::Register | Verb::Update | Verb::Deregister => Kind::Writes,
        Verb::Keepalive => Kind::Heartbeats,
        Verb::Lookup => Kind::Lookups,
    };
    let process = process.to_owned();
    let asked = asked.entry((process.clone(), kind)).or_insert_with(|| Asked {
        process,
        kind,
        done: Vec::new(),
        refused: Vec::new(),
        unknown: Vec::new(),
    });
    let moments = match operation.outcome {
        Outcome::Ok { .. } => &mut asked.done,
        Outcome::Failed { .. } => &mut asked.refused,
        Outcome::Unknown { .. } => &mut asked.unknown,
    };
    moments.push(moment(operation.invoked));
}

/// Each moment once, in order.
fn thin(moments: &mut Vec<Moment>) {
    moments.sort_unstable();
    moments.dedup();
}

/// A watcher, and since when it is stale or away.
#[derive(Debug, Default)]
struct Following {
    watched: Watched,
    stale: Option<Moment>,
    away: Option<Moment>,
}

impl Following {
    fn told(&mut self, item: &Item, at: Moment) {
        match item {
            Item::Started { .. } | Item::ReadsAgain => self.is_away(false, at),
            Item::Dropped | Item::StopsReading | Item::Ended => self.is_away(true, at),
            Item::Stale { .. } => self.is_stale(true, at),
            Item::Live { .. } => self.is_stale(false, at),
            Item::Reset { gap, .. } => {
                if gap.is_some() { &mut self.watched.gaps } else { &mut self.watched.lists }.push(at);
                self.is_stale(false, at);
            }
            Item::Changes { .. } => self.watched.told.push(at),
            Item::Progress { .. } => {}
        }
    }

    fn is_stale(&mut self, stale: bool, at: Moment) {
        turn(&mut self.stale, &mut self.watched.stale, stale, at);
    }

    fn is_away(&mut self, away: bool, at: Moment) {
        turn(&mut self.away, &mut self.watched.away, away, at);
    }

    fn end(mut self, name: String, is_view: bool, at: Moment) -> Watched {
        self.is_stale(false, at);
        self.is_away(false, at);
        let mut watched = Watched { name, is_view, ..self.watched };
        [&mut watched.told, &mut watched.lists, &mut watched.gaps].into_iter().for_each(thin);
        watched
    }
}

fn turn(since: &mut Option<Moment>, stretches: &mut Vec<[Moment; 2]>, on: bool, at: Moment) {
    match (*since, on) {
        (None, true) => *since = Some(at),
        (Some(from), false) => {
            stretches.push([from, at]);
            *since = None;
        }
        _ => {}
    }
}

fn broken(history: &[Line], violations: &[Violation]) -> Vec<Broken> {
    let mut all: Vec<Broken> = violations
        .iter()
        .filter(|violation| violation.standing == Standing::Broken)
        .map(|violation| {
            // The last line is where it shows.
            let lines = violation.lines.iter().rev().filter_map(|index| history.get(*index));
            let watcher = lines.into_iter().find_map(|line| match line {
                Line::Told(told) => Some(told.watcher.clone()),
                Line::Viewed(viewed) => Some(viewed.view.clone()),
                _ => None,
            });
            Broken { invariant: violation.invariant.number(), at: moment(violation.at), watcher }
        })
        .collect();
    all.sort_by(|one, other| {
        let key = |broken: &Broken| (broken.at, broken.invariant);
        key(one).cmp(&key(other)).then_with(|| one.watcher.cmp(&other.watcher))
    });
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::check::Invariant;
    use crate::chaos::history::Told;

    fn told(at: u64, item: Item) -> Line {
        Line::Told(Told { watcher: "0.7".to_owned(), at: At(at * 1_000), item })
    }

    fn asked(at: u64, verb: Verb, outcome: Outcome) -> Line {
        let (id, value) = (Some("a".to_owned()), None);
        Line::Operation(Operation {
            client: "1.2".to_owned(),
            verb,
            id,
            incarnation: None,
            value,
            invoked: At(at * 1_000),
            returned: At((at + 5) * 1_000),
            outcome,
        })
    }

    fn nemesis(at: u64, act: Act) -> Line {
        Line::Nemesis(Nemesis { fault: Fault::Wipe, at: At(at * 1_000), act })
    }

    fn done() -> Outcome {
        Outcome::Ok { revision: None, incarnation: None, position: None, listed: None }
    }

    #[test]
    fn what_was_asked_is_told_apart_by_process_kind_and_outcome() {
        let unknown = || Outcome::Unknown { kind: "timeout".to_owned() };
        let refused = || Outcome::Failed { kind: "lease_lost".to_owned() };
        let history = [
            asked(100, Verb::Update, done()),
            asked(101, Verb::Update, done()),
            asked(200, Verb::Register, unknown()),
            asked(250, Verb::Keepalive, refused()),
        ];
        let course = course(&history, &[]);
        let [writes, beats] = &course.asked[..] else { panic!("{:?}", course.asked) };
        assert_eq!((writes.kind, &writes.done[..], &writes.unknown[..]), (Kind::Writes, &[2][..], &[4][..]));
        assert_eq!((beats.process.as_str(), &beats.refused[..]), ("1", &[5][..]));
        assert_eq!(course.ends, 5);
    }

    #[test]
    fn a_watcher_is_stale_and_away_until_it_is_not_any_more_or_to_the_end() {
        let reset = |gap: Option<&str>| Item::Reset {
            position: None,
            gap: gap.map(str::to_owned),
            listed: Vec::new(),
        };
        let history = [
            told(0, reset(None)),
            told(1_000, Item::Stale { error: "unavailable".to_owned() }),
            told(1_100, Item::Stale { error: "unavailable".to_owned() }),
            told(2_000, reset(Some("compacted"))),
            told(3_000, Item::Dropped),
            told(4_000, Item::Started { from: None }),
            told(5_000, Item::StopsReading),
            told(
                6_000,
                Item::Progress { position: crate::chaos::history::Position { epoch: 1, revision: 1 } },
            ),
        ];
        let course = course(&history, &[]);
        let watcher = &course.watched[0];
        assert_eq!((&watcher.lists[..], &watcher.gaps[..]), (&[0][..], &[40][..]));
        assert_eq!(watcher.stale, [[20, 40]]);
        assert_eq!(watcher.away, [[60, 80], [100, 120]]);
    }

    #[test]
    fn what_is_broken_is_told_of_the_watcher_that_shows_it_and_what_is_allowed_is_not() {
        let history = [
            told(0, Item::Changes { position: None, changes: Vec::new() }),
            asked(900, Verb::Update, done()),
        ];
        let violation = |standing| Violation {
            invariant: Invariant::I7,
            standing,
            what: String::new(),
            at: At(900_000),
            id: None,
            lines: vec![0, 1],
        };
        let course = course(&history, &[violation(Standing::Broken), violation(Standing::Allowed)]);
        let expected = Broken { invariant: 7, at: 18, watcher: Some("0.7".to_owned()) };
        assert_eq!(course.broken, [expected]);
    }

    #[test]
    fn a_window_is_from_when_a_fault_is_in_place_until_it_begins_to_be_healed() {
        let history = [
            nemesis(10, Act::Strikes),
            nemesis(20, Act::Struck { what: "FLUSHALL".to_owned() }),
            nemesis(30, Act::Heals),
            nemesis(40, Act::Healed { bitten: true, proof: "gone".to_owned() }),
        ];
        let [window] = &windows(&history)[..] else { panic!("one window") };
        assert_eq!((window.from, window.to), (At(20_000), At(30_000)));
        assert_eq!((window.what.as_str(), window.proof.as_str()), ("FLUSHALL", "gone"));
    }
}
