//! The shortest excerpt of a history that shows a violation.

use serde::{Deserialize, Serialize};

use super::check::Violation;
use super::history::{Act, At, Change, Item, Line, Listed, Nemesis, Outcome};

/// Of a list, at most so many other instances are shown.
const OTHERS: usize = 2;

/// Lines of a history that show a violation, with what was struck meanwhile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Excerpt {
    /// The lines with their indices in the history, by time. Lists are shortened to the instance that the violation is about.
    pub lines: Vec<(usize, Line)>,
}

/// The lines that show `violation`, and the strikes and heals that are next to them.
#[must_use]
pub fn excerpt(history: &[Line], violation: &Violation) -> Excerpt {
    let of_it = || violation.lines.iter().filter_map(|index| Some((*index, history.get(*index)?)));
    let first = of_it().map(|(_, line)| begins(line)).min().unwrap_or(violation.at);
    let last = of_it().map(|(_, line)| ends(line)).max().unwrap_or(violation.at).max(violation.at);
    let steps = |wanted: fn(&Act) -> bool| {
        history.iter().enumerate().filter_map(move |(index, line)| match line {
            Line::Nemesis(Nemesis { at, act, .. }) if wanted(act) => Some((index, *at)),
            _ => None,
        })
    };
    let mut chosen: Vec<usize> = of_it().map(|(index, _)| index).collect();
    // What was struck and not healed before it began, and what came while it went on.
    let struck = |act: &Act| matches!(act, Act::Struck { .. });
    let healed = |act: &Act| matches!(act, Act::Healed { .. });
    let before = steps(healed).filter(|(_, at)| *at < first).map(|(_, at)| at).max().unwrap_or(At(0));
    chosen.extend(steps(struck).filter(|(_, at)| before <= *at && *at <= last).map(|(index, _)| index));
    chosen.extend(steps(healed).filter(|(_, at)| first <= *at && *at <= last).map(|(index, _)| index));
    chosen.sort_unstable();
    chosen.dedup();
    let mut lines: Vec<(usize, Line)> = chosen
        .into_iter()
        .filter_map(|index| Some((index, shortened(history.get(index)?, violation.id.as_deref()))))
        .collect();
    lines.sort_by_key(|(index, line)| (begins(line), *index));
    Excerpt { lines }
}

/// When what a line tells began. What the store tells has no time.
fn begins(line: &Line) -> At {
    match line {
        Line::Operation(op) => op.invoked,
        other => ends(other),
    }
}

fn ends(line: &Line) -> At {
    match line {
        Line::Operation(op) => op.returned,
        Line::Told(told) => told.at,
        Line::Viewed(viewed) => viewed.at,
        Line::Owner(owner) => owner.at,
        Line::Nemesis(step) => step.at,
        Line::Final(read) => read.invoked,
        Line::Note(note) => note.at,
        Line::Run(_) | Line::Truth(_) => At(0),
    }
}

/// The line without most of what is not about `id`.
fn shortened(line: &Line, id: Option<&str>) -> Line {
    let mut line = line.clone();
    match &mut line {
        Line::Operation(op) => {
            if let Outcome::Ok { listed: Some(listed), .. } = &mut op.outcome {
                shorten(listed, id);
            }
        }
        Line::Told(told) => match &mut told.item {
            Item::Reset { listed, .. } => shorten(listed, id),
            Item::Changes { changes, .. } => few(changes, |change| is(change, id)),
            _ => {}
        },
        Line::Viewed(viewed) => viewed.listed.iter_mut().for_each(|listed| shorten(listed, id)),
        Line::Final(read) => shorten(&mut read.listed, id),
        _ => {}
    }
    line
}

fn shorten(listed: &mut Vec<Listed>, id: Option<&str>) {
    few(listed, |listed| Some(listed.id.as_str()) == id);
}

fn is(change: &Change, about: Option<&str>) -> bool {
    match change {
        Change::Put(listed) => Some(listed.id.as_str()) == about,
        Change::Delete { id, .. } => Some(id.as_str()) == about,
    }
}

/// Keeps what is wanted, and few others.
fn few<T>(all: &mut Vec<T>, wanted: impl Fn(&T) -> bool) {
    let mut others = 0;
    all.retain(|one| {
        let keep = wanted(one);
        others += usize::from(!keep);
        keep || others <= OTHERS
    });
}
