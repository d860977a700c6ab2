//! Picks by weight and by key: shares against weights, what moves when candidates come and go, and the bound on loads.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest};
use registry_core::pick::{
    Draw, LoadBound, Ring, RoundRobin, Weighted, hash, rendezvous, rendezvous_bounded, weighted,
};

const PICKS: usize = 3_000;

/// Some weights, at least one of which is not 0.
fn weights() -> impl Strategy<Value = Vec<u32>> {
    let weight = proptest::prop_oneof![1 => 0_u32..=0, 4 => 1_u32..=300, 1 => 1_u32..=10_000];
    vec(weight, 1..20).prop_filter("one has a weight", |weights| weights.iter().any(|weight| *weight > 0))
}

fn total(weights: &[u32]) -> f64 {
    weights.iter().map(|weight| f64::from(*weight)).sum()
}

fn counts(len: usize, picks: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut counts = vec![0; len];
    picks.for_each(|at| counts[at] += 1);
    counts
}

/// Whether the counts are what a fair dice gives: within six standard deviations of the share, but for a few, and nothing for weight 0.
fn are_shares(counts: &[usize], weights: &[u32]) -> bool {
    let (picks, total) = (counts.iter().sum::<usize>() as f64, total(weights));
    counts.iter().zip(weights).all(|(count, weight)| {
        let share = f64::from(*weight) / total;
        let deviation = (picks * share * (1.0 - share)).sqrt();
        let few = if *weight == 0 { 0.0 } else { 6.0 };
        (*count as f64 - picks * share).abs() <= 6.0 * deviation + few
    })
}

/// Candidates with the identities `first..`.
fn candidates(first: u64, weights: &[u32]) -> Vec<(u64, u32)> {
    (first..).zip(weights).map(|(identity, weight)| (hash(&identity.to_le_bytes()), *weight)).collect()
}

fn keys() -> impl Iterator<Item = u64> {
    (0..PICKS as u64).map(|key| hash(&key.to_be_bytes()))
}

/// Pieces of work by their keys, each of which adds to the load of whoever gets it.
fn loaded(candidates: &[(u64, u32)], pick: impl Fn(u64, &[u64]) -> usize) -> (Vec<u64>, Vec<u64>) {
    let mut loads = vec![0; candidates.len()];
    let mut owners = Vec::new();
    for key in keys() {
        let at = pick(key, &loads);
        loads[at] += 1;
        owners.push(candidates[at].0);
    }
    (loads, owners)
}

fn by_rendezvous(candidates: &[(u64, u32)], bound: LoadBound) -> (Vec<u64>, Vec<u64>) {
    loaded(candidates, |key, loads| {
        let all: Vec<_> = candidates.iter().zip(loads).collect();
        rendezvous_bounded(&all, key, |one| *one.0, bound, |one| *one.1).unwrap()
    })
}

fn by_ring(candidates: &[(u64, u32)], bound: LoadBound) -> (Vec<u64>, Vec<u64>) {
    let ring = Ring::new(candidates.iter().copied());
    loaded(candidates, |key, loads| {
        ring.pick_bounded(key, bound, loads.iter().sum(), |at| loads[at]).unwrap()
    })
}

/// How many keys of each owner of `before` have another one in `after`.
fn moved(before: &[u64], after: &[u64]) -> BTreeMap<u64, usize> {
    let mut moved = BTreeMap::new();
    for (before, _) in before.iter().zip(after).filter(|(before, after)| before != after) {
        *moved.entry(*before).or_default() += 1;
    }
    moved
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn at_random_each_gets_its_share_by_weight_and_weight_zero_nothing(weights in weights(), seed in any::<u64>()) {
        let (table, draw) = (Weighted::new(weights.iter().copied()), Draw::with_seed(seed));
        let by_table = counts(weights.len(), (0..PICKS).map(|_| table.pick(&draw).unwrap()));
        prop_assert!(are_shares(&by_table, &weights), "{weights:?}: {by_table:?}");
        let by_walk = counts(weights.len(), (0..PICKS).map(|_| weighted(&weights, |weight| *weight, &draw).unwrap()));
        prop_assert!(are_shares(&by_walk, &weights), "{weights:?}: {by_walk:?}");
    }

    #[test]
    fn table_and_walk_pick_the_same(weights in weights(), seed in any::<u64>()) {
        let table = Weighted::new(weights.iter().copied());
        let (one, other) = (Draw::with_seed(seed), Draw::with_seed(seed));
        for _ in 0..100 {
            prop_assert_eq!(table.pick(&one), weighted(&weights, |weight| *weight, &other));
        }
    }

    #[test]
    fn of_a_pair_both_have_a_weight_and_they_are_two(weights in weights(), seed in any::<u64>()) {
        let (table, draw) = (Weighted::new(weights.iter().copied()), Draw::with_seed(seed));
        let alone = weights.iter().filter(|weight| **weight > 0).count() == 1;
        for _ in 0..200 {
            let (first, second) = table.pair(&draw).unwrap();
            prop_assert!(weights[first] > 0);
            prop_assert_eq!(second.is_none(), alone);
            prop_assert!(second.is_none_or(|second| second != first && weights[second] > 0));
        }
    }

    #[test]
    fn in_turn_each_gets_its_share_of_every_stretch_but_for_a_few(
        weights in weights(), start in 0_usize..1 << 40, stretch in 1_usize..2_000,
    ) {
        let (table, turns) = (Weighted::new(weights.iter().copied()), RoundRobin::starting_at(start));
        let counts = counts(weights.len(), (0..stretch).map(|_| table.in_turn(&turns).unwrap()));
        let few = 2.0 + (stretch as f64).log2() / 2.0;
        for (count, weight) in counts.iter().zip(&weights) {
            let share = f64::from(*weight) / total(&weights) * stretch as f64;
            prop_assert!((*count as f64 - share).abs() <= few, "{weights:?}: {counts:?} of {stretch}");
            prop_assert!(*weight > 0 || *count == 0);
        }
    }

    #[test]
    fn by_rendezvous_keys_are_shared_by_weight(weights in weights(), first in any::<u32>()) {
        let candidates = candidates(first.into(), &weights);
        let picks = keys().map(|key| rendezvous(&candidates, key, |one| *one).unwrap());
        let counts = counts(weights.len(), picks);
        prop_assert!(are_shares(&counts, &weights), "{weights:?}: {counts:?}");
    }

    #[test]
    fn on_a_ring_keys_are_shared_by_weight_more_or_less(first in any::<u32>(), weights in vec(50_u32..=100, 2..10)) {
        let ring = Ring::new(candidates(first.into(), &weights));
        let counts = counts(weights.len(), keys().map(|key| ring.pick(key).unwrap()));
        for (count, weight) in counts.iter().zip(&weights) {
            let share = f64::from(*weight) / total(&weights) * PICKS as f64;
            prop_assert!((0.4..1.8).contains(&(*count as f64 / share)), "{weights:?}: {counts:?}");
        }
    }

    #[test]
    fn when_one_leaves_or_comes_only_its_own_keys_move(
        first in any::<u32>(), weights in vec(1_u32..=127, 2..12), leaves in any::<proptest::sample::Index>(),
    ) {
        // What is weighed as the greatest, rounded up to a power of two, stays.
        let all = [&[(1, 100)][..], &candidates(first.into(), &weights)].concat();
        let leaves = leaves.index(weights.len()) + 1;
        let rest = [&all[..leaves], &all[leaves + 1..]].concat();
        let (ring, ring_of_rest) = (Ring::new(all.iter().copied()), Ring::new(rest.iter().copied()));
        for key in keys() {
            let (before, after) = (all[ring.pick(key).unwrap()].0, rest[ring_of_rest.pick(key).unwrap()].0);
            prop_assert!(before == after || before == all[leaves].0);
            let owner = |of: &[(u64, u32)]| of[rendezvous(of, key, |one| *one).unwrap()].0;
            prop_assert!(owner(&all) == owner(&rest) || owner(&all) == all[leaves].0);
        }
    }

    #[test]
    fn when_a_weight_changes_that_one_only_gains_or_only_loses_keys_and_no_other_moves(
        first in any::<u32>(), weights in vec(1_u32..=127, 2..12), changed in any::<proptest::sample::Index>(), weight in 1_u32..=127,
    ) {
        let before = [&[(1, 100)][..], &candidates(first.into(), &weights)].concat();
        let (mut after, changed) = (before.clone(), changed.index(weights.len()) + 1);
        after[changed].1 = weight;
        let (ring, next) = (Ring::new(before.iter().copied()), Ring::new(after.iter().copied()));
        for key in keys() {
            for (was, is) in [
                (ring.pick(key), next.pick(key)),
                (rendezvous(&before, key, |one| *one), rendezvous(&after, key, |one| *one)),
            ] {
                let (loses, gains) = (weight <= before[changed].1, weight >= before[changed].1);
                prop_assert!(was == is || (was == Some(changed) && loses) || (is == Some(changed) && gains));
            }
        }
    }

    #[test]
    fn the_order_of_candidates_does_not_matter_on_a_ring(weights in weights(), first in any::<u32>()) {
        let all = candidates(first.into(), &weights);
        let reversed: Vec<_> = all.iter().rev().copied().collect();
        let (ring, other) = (Ring::new(all.iter().copied()), Ring::new(reversed.iter().copied()));
        for key in keys().take(200) {
            prop_assert_eq!(all[ring.pick(key).unwrap()], reversed[other.pick(key).unwrap()]);
        }
    }

    #[test]
    fn no_load_exceeds_its_bound_and_weight_zero_gets_nothing(weights in weights(), first in any::<u32>(), factor in 1.01..3.0) {
        let (candidates, bound) = (candidates(first.into(), &weights), LoadBound::new(factor));
        let total_weight = total(&weights) as u64;
        for (loads, _) in [by_rendezvous(&candidates, bound), by_ring(&candidates, bound)] {
            prop_assert_eq!(loads.iter().sum::<u64>(), PICKS as u64);
            for (load, weight) in loads.iter().zip(&weights) {
                let most = bound.capacity(u64::from(*weight), total_weight, PICKS as u64 - 1);
                prop_assert!(*load <= most, "{weights:?}: {loads:?}, {load} of {most}");
            }
        }
    }

    #[test]
    fn with_room_for_all_every_key_is_where_it_belongs(weights in weights(), first in any::<u32>()) {
        let (candidates, bound) = (candidates(first.into(), &weights), LoadBound::new(f64::INFINITY));
        let ring = Ring::new(candidates.iter().copied());
        let belong: (Vec<u64>, Vec<u64>) = keys()
            .map(|key| (rendezvous(&candidates, key, |one| *one).unwrap(), ring.pick(key).unwrap()))
            .map(|(by_rendezvous, by_ring)| (candidates[by_rendezvous].0, candidates[by_ring].0))
            .unzip();
        prop_assert_eq!(by_rendezvous(&candidates, bound).1, belong.0);
        prop_assert_eq!(by_ring(&candidates, bound).1, belong.1);
    }
}

#[test]
fn within_bounds_the_keys_of_one_that_leaves_move_and_few_others() {
    let all = candidates(7, &[100; 20]);
    let (gone, rest) = (all[4].0, [&all[..4], &all[5..]].concat());
    for by in [by_rendezvous, by_ring] {
        // A twentieth must move. Without consistency it would be nineteen twentieths.
        for (factor, most) in [(1.25, PICKS / 10), (2.0, PICKS / 40)] {
            let bound = LoadBound::new(factor);
            let moved = moved(&by(&all, bound).1, &by(&rest, bound).1);
            let others: usize = moved.iter().filter(|(owner, _)| **owner != gone).map(|(_, keys)| keys).sum();
            assert!(others <= most, "{factor}: {others} of {PICKS} moved from where they could have stayed");
            assert!(moved.get(&gone).is_some_and(|keys| *keys > PICKS / 40), "{moved:?}");
        }
    }
}

#[test]
fn when_the_greatest_weight_crosses_a_power_of_two_most_keys_stay_on_a_ring() {
    let before = candidates(7, &[100; 20]);
    let mut after = before.clone();
    after[4].1 = 200;
    let (ring, next) = (Ring::new(before), Ring::new(after));
    let moved = keys().filter(|key| ring.pick(*key) != next.pick(*key)).count();
    assert!(moved < PICKS / 2, "{moved} of {PICKS} moved");
}

#[test]
fn what_a_hot_key_asks_too_much_of_one_is_carried_by_all() {
    let all = candidates(7, &[100; 10]);
    let key = hash(b"hot");
    let ring = Ring::new(all.iter().copied());
    let mut loads = [[0_u64; 10]; 2];
    for _ in 0..1_000 {
        let pairs: Vec<_> = all.iter().zip(&loads[0]).collect();
        let at = rendezvous_bounded(&pairs, key, |one| *one.0, LoadBound::new(1.5), |one| *one.1).unwrap();
        loads[0][at] += 1;
        let total = loads[1].iter().sum();
        let at = ring.pick_bounded(key, LoadBound::new(1.5), total, |at| loads[1][at]).unwrap();
        loads[1][at] += 1;
    }
    for loads in loads {
        assert!(loads.iter().all(|load| *load <= 150) && loads.contains(&150), "{loads:?}");
    }
}

#[test]
fn when_all_seem_full_a_key_goes_to_where_it_belongs() {
    let all = candidates(7, &[100; 3]);
    let (ring, key, bound) = (Ring::new(all.iter().copied()), hash(b"a"), LoadBound::default());
    assert_eq!(ring.pick_bounded(key, bound, 0, |_| u64::MAX), ring.pick(key));
    // Each time it is asked, as if others were at work, the load is greater.
    let growing = std::cell::Cell::new(0);
    let load = |_: &(u64, u32)| growing.replace(growing.get() + 100);
    let bounded = rendezvous_bounded(&all, key, |one| *one, bound, load);
    assert_eq!(bounded, rendezvous(&all, key, |one| *one));
    assert!(rendezvous_bounded(&all, key, |one| *one, bound, |_| u64::MAX).is_some());
    assert_eq!(Ring::new([]).pick_bounded(key, bound, 0, |_| 0), None);
    assert_eq!(Ring::new([(1, 0)]).pick_bounded(key, bound, 0, |_| 0), None);
}

#[test]
fn picks_allocate_nothing() {
    let all = candidates(7, &[100; 1_000]);
    let table = Weighted::new(all.iter().map(|one| one.1));
    let ring = Ring::new(all.iter().copied());
    let (draw, turns, bound) = (Draw::with_seed(1), RoundRobin::default(), LoadBound::default());
    let mut picked = 0;
    let allocated = allocation_counter::measure(|| {
        for key in keys().take(100) {
            let picks = [
                weighted(&all, |one| one.1, &draw),
                table.pick(&draw),
                table.pair(&draw).map(|pair| pair.0),
                table.in_turn(&turns),
                rendezvous(&all, key, |one| *one),
                rendezvous_bounded(&all, key, |one| *one, bound, |one| one.0 % 2),
                ring.pick(key),
                ring.pick_bounded(key, bound, 500, |at| at as u64 % 2),
            ];
            picked += picks.iter().flatten().count();
        }
    });
    assert_eq!((allocated.count_total, picked), (0, 800));
}
