//! How long the slowest took: percentiles that arms give as figures.

use comparisons::record::Records;
use serde::Serialize;

/// The figures, and what they are called in a table.
pub(super) const PERCENTILES: [(&str, &str); 5] = [
    ("p50_us", "median"),
    ("p90_us", "90 %"),
    ("p99_us", "99 %"),
    ("p999_us", "99.9 %"),
    ("max_us", "longest"),
];

/// Of one arm.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Tail {
    pub(super) arm: String,
    pub(super) blocks: usize,
    /// The medians over its blocks, in the order of [`PERCENTILES`]; the last is the longest of all.
    pub(super) micros: [Option<f64>; 5],
}

/// Of all arms that give more than the median.
pub(super) fn tails(records: &Records) -> Vec<Tail> {
    let of_arm = |arm: &str| Tail {
        arm: arm.to_owned(),
        blocks: records.count(arm),
        micros: PERCENTILES.map(|(figure, _)| match figure {
            "max_us" => records.max(arm, figure),
            figure => records.median(arm, figure),
        }),
    };
    let tails = records.arms().into_iter().map(of_arm);
    tails.filter(|tail| tail.micros.iter().skip(1).any(Option::is_some)).collect()
}
