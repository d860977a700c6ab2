//! Where the time of arms goes, as tables.

use std::collections::BTreeSet;

use comparisons::report::format::NOTHING;

use super::{Judged, Measured};
use crate::bars::{Bound, Verdict};
use crate::profiles::{Profile, Profiled, Profiles};

/// What is less than this share of both arms, in percent, is left out.
const LEAST: f64 = 0.5;

/// So many functions are shown, those that took most in any arm.
const FUNCTIONS: usize = 25;

/// What the profile of a topic shows of each of its bars with a bound that is not met, and what it does not; a sentence each.
pub(super) fn explained(topic: &Measured, profile: &Profile) -> Vec<String> {
    not_met(topic).filter_map(|judged| of_bar(topic, judged, Some(profile)).ok()).collect()
}

/// The bars that are not met and of which no profile of the same commit shows where the time goes, a sentence each.
pub(super) fn unexplained(topics: &[Measured], profiles: &Profiles) -> Vec<String> {
    let of_topic = |topic: &Measured| {
        let profile = profiles.0.get(&topic.name);
        not_met(topic).filter_map(|judged| of_bar(topic, judged, profile).err()).collect::<Vec<_>>()
    };
    topics.iter().flat_map(of_topic).collect()
}

fn not_met(topic: &Measured) -> impl Iterator<Item = &Judged> {
    let is_open = |judged: &&Judged| {
        let verdict = judged.judgement.verdict;
        judged.bar.bound != Bound::Told && ![Verdict::Met, Verdict::NotMeasured].contains(&verdict)
    };
    topic.bars.iter().filter(is_open)
}

/// What a profile shows of a bar; the error says what it lacks.
fn of_bar(topic: &Measured, judged: &Judged, profile: Option<&Profile>) -> Result<String, String> {
    let Judged { bar, judgement } = judged;
    let is = format!("{} ({}) is {}", bar.name(), topic.name, judgement.verdict.word());
    let Some(profile) = profile.filter(|one| topic.commits.contains(&one.environment.commit)) else {
        return Err(format!("{is}, and no profile of its commit shows where the time goes."));
    };
    let arms = bar.arms().collect::<Vec<_>>().join(" and ");
    if !bar.is_of_time() {
        return Ok(format!(
            "{is}: its figure, {}, is no time, so no profile of processor time explains it.",
            bar.figure
        ));
    }
    if !profile.has(bar.arms()) {
        return Err(format!("{is}, and the profile of its topic lacks {arms}."));
    }
    let shown = format!("what {arms} do with their processor time is below");
    Ok(match judgement.verdict {
        Verdict::Undecided => format!("{is}: {shown}, but not why two arms that are alike differed."),
        _ => format!("{is}: {shown}, but not what they wait for."),
    })
}

/// What the columns say after the first one: `ours, 18,214 samples`.
pub(super) fn head(first: &str, profile: &Profile) -> Vec<String> {
    let arms = profile.arms.iter().map(|arm| format!("{}, {} samples", arm.arm, arm.samples));
    std::iter::once(first.to_owned()).chain(arms).collect()
}

/// By whose code was running, most of ours first.
pub(super) fn owners(profile: &Profile) -> Vec<Vec<String>> {
    let names: BTreeSet<&String> = profile.arms.iter().flat_map(|arm| arm.owners.keys()).collect();
    rows(profile, names.into_iter(), usize::MAX, |arm, name| {
        Some(arm.owners.get(name).copied().unwrap_or_default())
    })
}

/// By function, most of ours first.
pub(super) fn functions(profile: &Profile) -> Vec<Vec<String>> {
    let names: BTreeSet<&String> =
        profile.arms.iter().flat_map(|arm| arm.functions.iter().map(|(name, _)| name)).collect();
    // Not all are kept of each arm.
    let of = |arm: &Profiled, name: &String| {
        arm.functions.iter().find(|(there, _)| there == name).map(|(_, samples)| *samples)
    };
    rows(profile, names.into_iter(), FUNCTIONS, of)
}

/// The `most` with the greatest share in any arm, in the order of their shares in the first one.
fn rows<'a>(
    profile: &Profile,
    names: impl Iterator<Item = &'a String>,
    most: usize,
    of: impl Fn(&Profiled, &String) -> Option<u64>,
) -> Vec<Vec<String>> {
    let share = |arm: &Profiled, name: &String| of(arm, name).map(|samples| arm.percentage(samples));
    let shares = |name: &String| profile.arms.iter().map(|arm| share(arm, name)).collect::<Vec<_>>();
    let mut rows: Vec<(&String, Vec<Option<f64>>)> = names.map(|name| (name, shares(name))).collect();
    let greatest = |shares: &[Option<f64>]| shares.iter().flatten().copied().fold(0.0, f64::max);
    rows.retain(|(_, shares)| greatest(shares) >= LEAST);
    rows.sort_by(|(_, one), (_, other)| greatest(other).total_cmp(&greatest(one)));
    rows.truncate(most);
    let first = |shares: &[Option<f64>]| shares.first().copied().flatten().unwrap_or_default();
    rows.sort_by(|(_, one), (_, other)| first(other).total_cmp(&first(one)));
    let percent = |share: Option<f64>| share.map_or(NOTHING.to_owned(), |share| format!("{share:.1} %"));
    rows.into_iter()
        .map(|(name, shares)| std::iter::once(name.clone()).chain(shares.into_iter().map(percent)).collect())
        .collect()
}
