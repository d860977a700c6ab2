//! What is shown of both experiments: the same columns, sentences and pictures.

use super::arms::{ACK_P50, ACK_TO_RECEIVED_P50, CPU, ECDF, EVENTS, FAILED, P50, P99, SLIP_P99, UNSEEN};
use super::pairs::{Compared, Comparison, FASTER, SLOWER, Says, says};
use crate::experiment::{Column, OfRuns, Unit};
use crate::measure::{Interval, pooled};
use crate::picture::{Drawing, Line, Picture};
use crate::record::Records;

const fn column(title: &'static str, figure: &'static str, of_runs: OfRuns, unit: Unit) -> Column {
    Column { title, figure, of_runs, unit }
}

pub(super) const COLUMNS: &[Column] = &[
    column("to the watcher, p50", P50, OfRuns::Median, Unit::Micros),
    column("to the watcher, p99", P99, OfRuns::Median, Unit::Micros),
    column("acknowledged, p50", ACK_P50, OfRuns::Median, Unit::Micros),
    column("from acknowledged to watcher, p50", ACK_TO_RECEIVED_P50, OfRuns::Median, Unit::Micros),
    column("changes", EVENTS, OfRuns::Sum, Unit::Count),
    column("never seen", UNSEEN, OfRuns::Sum, Unit::Count),
    column("not acknowledged", FAILED, OfRuns::Sum, Unit::Count),
    column("sends late by, p99", SLIP_P99, OfRuns::Median, Unit::Micros),
    column("processors busy", CPU, OfRuns::Median, Unit::Share),
];

/// `0.42 ms`, of microseconds; `?` of nothing.
pub(super) fn millis(micros: Option<f64>) -> String {
    micros.map_or("?".to_owned(), |micros| format!("{:.2} ms", micros / 1e3))
}

/// `0.33 (0.30 to 0.36)`.
pub(super) fn ratio(interval: Interval) -> String {
    let Interval { ratio, low, high } = interval;
    format!("{ratio:.2} ({low:.2} to {high:.2})")
}

/// `Of 5 comparisons, Redis takes longer in none, less long in 4, …`.
pub(super) fn counted(compared: &Compared) -> String {
    let are = |wanted: Says| {
        let count = compared.deciding.iter().filter(|interval| says(**interval) == wanted).count();
        if count == 0 { "none".to_owned() } else { count.to_string() }
    };
    let (faster, slower) = (are(Says::Faster), are(Says::Slower));
    let (same, open) = (are(Says::Same), are(Says::Open));
    format!(
        "Of {} comparisons, Redis takes longer in {slower}, less long in {faster}, about as long in {same}, and {open} stayed open",
        compared.deciding.len()
    )
}

/// The ratios in one figure.
pub(super) fn forest(
    comparison: &Comparison,
    records: &Records,
    figure: &str,
    what: &str,
) -> Option<Picture> {
    let rows = comparison.rows(records, figure);
    let drawing = Drawing::Forest { x: format!("Redis / etcd, {what}"), undecided: [FASTER, SLOWER], rows };
    let title = format!(
        "Ratio of the {what}: left of the band Redis is faster, right of it etcd; the last row compares an arm with itself"
    );
    let some = matches!(&drawing, Drawing::Forest { rows, .. } if !rows.is_empty());
    some.then_some(Picture { title, drawing })
}

/// How long changes took, of these arms.
pub(super) fn distributions(records: &Records, arms: &[&str]) -> Option<Picture> {
    let line = |arm: &&str| {
        let points = pooled(records.of(arm).filter_map(|record| record.series.get(ECDF)).map(Vec::as_slice));
        (!points.is_empty()).then(|| Line { name: (*arm).to_owned(), points })
    };
    let lines: Vec<Line> = arms.iter().filter_map(line).collect();
    let title =
        "How many of the changes have reached the watcher after how long: further left is faster".to_owned();
    let x = "from intended send to receive, µs".to_owned();
    (!lines.is_empty()).then_some(Picture { title, drawing: Drawing::Ecdf { x, lines } })
}
