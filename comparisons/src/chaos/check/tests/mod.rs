//! The checkers say nothing of good histories, and find each defect that is planted in them.

mod branches;
mod findings;
mod model;
mod mutations;
mod rules;
mod variants;

use super::{Checked, Invariant, Standing, check};
use crate::chaos::history::Line;

const SEEDS: u64 = 200;

/// With so many each defect is planted: fewer where it takes long, in a build that is not optimised.
const PLANTED: u64 = if cfg!(debug_assertions) { 24 } else { 40 };

fn checked(history: &[Line]) -> Checked {
    let checked = check(history, &|| true);
    assert!(checked.unfinished.is_empty(), "{:?}", checked.unfinished);
    checked
}

/// Which invariants are broken.
fn broken(history: &[Line]) -> Vec<Invariant> {
    let mut broken: Vec<_> = checked(history)
        .violations
        .into_iter()
        .filter(|violation| violation.standing == Standing::Broken)
        .map(|violation| violation.invariant)
        .collect();
    broken.dedup();
    broken
}

fn silent(history: &[Line], seed: u64, form: &str) {
    let found = checked(history).violations;
    let wrong = |standing: Standing| match standing {
        Standing::Broken => true,
        Standing::Allowed => model::keeps(seed),
        Standing::Observed => false,
    };
    let wrong: Vec<_> = found.iter().filter(|violation| wrong(violation.standing)).take(3).collect();
    let lines: Vec<_> =
        wrong.iter().flat_map(|violation| &violation.lines).map(|line| &history[*line]).collect();
    assert!(wrong.is_empty(), "seed {seed}, {form}: {wrong:#?} {lines:#?}");
}

#[test]
fn nothing_is_said_of_a_good_history() {
    for seed in 0..SEEDS {
        silent(&model::play(seed), seed, "ours");
    }
}

#[test]
fn nothing_is_said_of_a_good_history_without_revisions() {
    for seed in 0..SEEDS {
        silent(&variants::naive(model::play(seed)), seed, "naive");
    }
}

#[test]
fn a_history_is_the_same_for_the_same_seed() {
    assert_eq!(model::play(7), model::play(7));
    assert_ne!(model::play(7), model::play(12));
}

#[test]
fn each_planted_defect_is_found_by_the_invariant_it_breaks() {
    let mut missed = Vec::new();
    for mutation in mutations::ALL {
        let (mut planted, mut found, mut others) = (0, 0, Vec::new());
        for seed in 0..PLANTED {
            let mut history = model::play(seed);
            if mutation.naive {
                history = variants::naive(history);
            }
            let mut random = fastrand::Rng::with_seed(seed);
            if (mutation.plant)(&mut history, &mut random).is_none() {
                continue;
            }
            planted += 1;
            let broken = broken(&history);
            if broken.contains(&mutation.breaks) {
                found += 1;
            } else {
                others.push((seed, broken));
            }
        }
        others.truncate(5);
        if planted < 3 || found < planted {
            missed
                .push(format!("{}: {} in {found} of {planted}: {others:?}", mutation.name, mutation.breaks));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn every_invariant_has_a_defect_that_breaks_it() {
    for invariant in Invariant::ALL {
        assert!(mutations::ALL.iter().any(|mutation| mutation.breaks == invariant), "{invariant}");
    }
}
