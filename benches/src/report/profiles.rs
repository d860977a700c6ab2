//! Where the time of arms goes, as tables.

use std::collections::BTreeSet;

use crate::profiles::{Profile, Profiled};

/// What is less than this share of both arms, in percent, is left out.
const LEAST: f64 = 0.5;

/// So many functions are shown.
const FUNCTIONS: usize = 25;

/// What the columns say after the first one: `ours, 18,214 samples`.
pub(super) fn head(first: &str, profile: &Profile) -> Vec<String> {
    let arms = profile.arms.iter().map(|arm| format!("{}, {} samples", arm.arm, arm.samples));
    std::iter::once(first.to_owned()).chain(arms).collect()
}

/// By whose code was running, most of ours first.
pub(super) fn owners(profile: &Profile) -> Vec<Vec<String>> {
    let names: BTreeSet<&String> = profile.arms.iter().flat_map(|arm| arm.owners.keys()).collect();
    rows(profile, names.into_iter(), |arm, name| arm.owners.get(name).copied().unwrap_or_default())
}

/// By function, most of ours first.
pub(super) fn functions(profile: &Profile) -> Vec<Vec<String>> {
    let names: BTreeSet<&String> =
        profile.arms.iter().flat_map(|arm| arm.functions.iter().map(|(name, _)| name)).collect();
    let of = |arm: &Profiled, name: &String| {
        arm.functions.iter().find(|(there, _)| there == name).map_or(0, |(_, samples)| *samples)
    };
    let mut rows = rows(profile, names.into_iter(), of);
    rows.truncate(FUNCTIONS);
    rows
}

fn rows<'a>(
    profile: &Profile,
    names: impl Iterator<Item = &'a String>,
    of: impl Fn(&Profiled, &String) -> u64,
) -> Vec<Vec<String>> {
    let shares = |name: &String| {
        let shares = profile.arms.iter().map(|arm| arm.percentage(of(arm, name)));
        shares.collect::<Vec<f64>>()
    };
    let mut rows: Vec<(&String, Vec<f64>)> = names.map(|name| (name, shares(name))).collect();
    rows.retain(|(_, shares)| shares.iter().any(|share| *share >= LEAST));
    rows.sort_by(|(_, one), (_, other)| {
        other
            .iter()
            .zip(one)
            .map(|(other, one)| other.total_cmp(one))
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let percent = |share: f64| format!("{share:.1} %");
    rows.into_iter()
        .map(|(name, shares)| std::iter::once(name.clone()).chain(shares.into_iter().map(percent)).collect())
        .collect()
}
