//! How long the slowest took: percentiles that arms give as figures.

use std::collections::BTreeMap;

use comparisons::measure::median;
use comparisons::picture::{Drawing, Line, Picture};
use comparisons::record::Records;
use serde::Serialize;

use crate::bars::Bar;
use crate::contest::DISTURBED;
use crate::work::pooled::TAIL;

/// The figures, and what they are called in a table.
pub(super) const PERCENTILES: [(&str, &str); 5] = [
    ("p50_us", "median"),
    ("p90_us", "90 %"),
    ("p99_us", "99 %"),
    ("p999_us", "99.9 %"),
    ("max_us", "longest"),
];

/// What is counted over all blocks, and what it is called in a table.
pub(super) const COUNTS: [(&str, &str); 2] = [(DISTURBED, "disturbed blocks"), ("failed", "not answered")];

/// Of one arm.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Tail {
    pub(super) arm: String,
    pub(super) blocks: usize,
    /// The medians over its blocks, in the order of [`PERCENTILES`]; the last is the longest of all.
    pub(super) micros: [Option<f64>; 5],
    /// The sums over its blocks, in the order of [`COUNTS`].
    pub(super) counts: [Option<f64>; 2],
}

/// Those of [`COUNTS`] that any of these arms tells, by their places.
pub(super) fn counts(tails: &[Tail]) -> Vec<usize> {
    let is_told =
        |index: &usize| tails.iter().any(|tail| tail.counts.get(*index).is_some_and(Option::is_some));
    (0..COUNTS.len()).filter(is_told).collect()
}

/// The arms of which there are records, in the order in which bars name them and then by name: who played first was drawn by lot.
fn arms<'a>(bars: &[Bar], records: &'a Records) -> Vec<&'a str> {
    let named: Vec<&str> = bars.iter().flat_map(|bar| bar.arms().chain(bar.again)).collect();
    let mut arms = records.arms();
    arms.sort_by_key(|arm| (named.iter().position(|name| name == arm).unwrap_or(named.len()), *arm));
    arms
}

/// The percentiles of all blocks together, as lines over how rare it is to take longer: of each arm the median over starts at each share. None where no arm tells
/// its tail.
pub(super) fn curves(topic: &str, bars: &[Bar], records: &Records) -> Option<Picture> {
    let line = |arm: &str| {
        let series = records.of(arm).filter_map(|record| record.series.get(TAIL)).flatten();
        let mut by_rarity: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        // Nothing took longer than the longest, which is in the table.
        for [micros, share] in series.filter(|[_, share]| *share < 1.0) {
            by_rarity.entry((100.0 / (1.0 - share)).round() as u64).or_default().push(*micros);
        }
        let point = |(rarity, micros): (u64, Vec<f64>)| {
            Some([rarity as f64 / 100.0, (median(&micros)? * 10.0).round() / 10.0])
        };
        Line { name: arm.to_owned(), points: by_rarity.into_iter().filter_map(point).collect() }
    };
    let lines: Vec<Line> =
        arms(bars, records).into_iter().map(line).filter(|line| !line.points.is_empty()).collect();
    let (x, y) = ("one in so many took longer".to_owned(), "µs".to_owned());
    let title = format!("{topic}: how long the slowest took");
    (!lines.is_empty()).then_some(Picture { title, drawing: Drawing::Lag { x, y, lines } })
}

/// Of all arms that give more than the median.
pub(super) fn tails(bars: &[Bar], records: &Records) -> Vec<Tail> {
    let of_arm = |arm: &str| Tail {
        arm: arm.to_owned(),
        blocks: records.count(arm),
        micros: PERCENTILES.map(|(figure, _)| match figure {
            "max_us" => records.max(arm, figure),
            figure => records.median(arm, figure),
        }),
        counts: COUNTS.map(|(figure, _)| records.sum(arm, figure)),
    };
    let tails = arms(bars, records).into_iter().map(of_arm);
    tails.filter(|tail| tail.micros.iter().skip(1).any(Option::is_some)).collect()
}
