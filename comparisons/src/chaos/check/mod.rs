//! The invariants I1 to I17, as pure functions of a history. Each gives what it found; nothing is good.
//!
//! What a registry without revisions tells is checked for what its values show.

mod branches;
mod convergence;
mod deadlines;
mod evidence;
mod fencing;
mod found;
mod leases;
mod linear;
mod lists;
mod memory;
mod owners;
mod pauses;
mod reader;
mod standing;
mod stretch;
mod told;
mod truth;
mod views;
mod watchers;
mod windows;

#[cfg(test)]
mod tests;

use evidence::Evidence;
use found::Found;
use truth::Truth;

use super::history::Line;
pub use found::{Invariant, Standing, Violation};
pub use owners::RETURN_MS;

/// What the checkers found in a history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    /// What is broken, by invariant and time. Of each invariant the first [`Checked::MOST`] of each standing.
    pub violations: Vec<Violation>,
    /// Which checkers ran out of time: what they would have found is not known.
    pub unfinished: Vec<&'static str>,
}

impl Checked {
    /// So many violations of one invariant are told; more of the same say nothing new.
    pub const MOST: usize = 50;
}

/// A checker ran out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OutOfTime;

/// Says whether there is time left.
struct Patience<'a>(&'a dyn Fn() -> bool);

impl Patience<'_> {
    fn hold(&self) -> Result<(), OutOfTime> {
        if (self.0)() { Ok(()) } else { Err(OutOfTime) }
    }
}

/// Finds what breaks one or more invariants.
type Checker = fn(&Evidence<'_>, &Truth<'_>, &Patience<'_>, &mut Found) -> Result<(), OutOfTime>;

/// Who looks for what, the worst first, where each history of the store is an epoch of its own.
const CHECKERS: [(&str, Checker); 10] = [
    ("watchers", watchers::check),
    ("told", told::check),
    ("lists", lists::check),
    ("convergence", convergence::check),
    ("leases", leases::check),
    ("fencing", fencing::check),
    ("owners", owners::check),
    ("views", views::check),
    ("memory", memory::check),
    ("sources", truth::check),
];

/// And by the names that clients were told, by which they compare.
const AS_NAMED: [(&str, Checker); 3] =
    [("order", watchers::order), ("branches", branches::check), ("linear", linear::check)];

/// Everything that `history` shows to be broken. `time_left` is asked now and then; once it says no, what is not finished is told as such.
///
/// A history that does not begin with what is played shows nothing.
#[must_use]
pub fn check(history: &[Line], time_left: &dyn Fn() -> bool) -> Checked {
    let Some(named) = Evidence::read(history) else { return Checked::default() };
    let apart = branches::apart(history, &named);
    let told_apart = apart.as_ref().and_then(|apart| Evidence::read(&apart.lines));
    let evidence = told_apart.as_ref().unwrap_or(&named);
    let patience = Patience(time_left);
    let truth = Truth::gather(evidence, &patience);
    let named_truth = told_apart.as_ref().map(|_| Truth::gather(&named, &patience));
    let named_truth = named_truth.as_ref().unwrap_or(&truth);
    let mut found = Found::default();
    let mut finished = |evidence: &Evidence<'_>, truth: &Result<Truth<'_>, OutOfTime>, checker: Checker| {
        truth.as_ref().is_ok_and(|truth| checker(evidence, truth, &patience, &mut found).is_ok())
    };
    let mut unfinished: Vec<&'static str> = Vec::new();
    let late = CHECKERS.iter().filter(|(_, checker)| !finished(evidence, &truth, *checker));
    unfinished.extend(late.map(|(name, _)| *name));
    let late = AS_NAMED.iter().filter(|(_, checker)| !finished(&named, named_truth, *checker));
    unfinished.extend(late.map(|(name, _)| *name));
    let mut violations = standing::weigh(evidence, found);
    if let Some(apart) = &apart {
        violations.iter_mut().for_each(|one| one.what = apart.in_words_of_the_history(&one.what));
    }
    Checked { violations, unfinished }
}
