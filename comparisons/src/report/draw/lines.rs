//! Lines through points: distributions, and something against a size.

use super::axis::Axis;
use super::marks::{Mark, legend, marks};
use super::nothing;
use super::sheet::{MARGIN, PENCIL, Sheet, WIDTH};
use crate::picture::Line;

const HEIGHT: i32 = 330;

/// The shares of events by how long they took.
pub(super) fn ecdf(sheet: &mut Sheet, x: &str, lines: &[Line]) -> String {
    let lines = usable(lines);
    if lines.is_empty() {
        return nothing(sheet);
    }
    let down = |top: i32| Axis::linear([0.0, 100.0], top + HEIGHT, top);
    let percent = lines.iter().map(|(name, points)| {
        let points: Vec<[f64; 2]> = points.iter().map(|[x, share]| [*x, share * 100.0]).collect();
        (*name, stepped(&points))
    });
    let percent: Vec<(&str, Vec<[f64; 2]>)> = percent.collect();
    plot(sheet, x, "% of events that took no longer", &percent, down, Signs::AtSomeHeights);
    let told = lines.iter().map(|(name, points)| {
        let median = points.iter().find(|[_, share]| *share >= 0.5);
        match median {
            Some([x, _]) => format!(
                "{name}: half within {}",
                super::super::format::figure(*x, crate::experiment::Unit::Ratio)
            ),
            None => (*name).to_owned(),
        }
    });
    told.collect::<Vec<_>>().join("; ")
}

/// The share rises where an event lies, not before.
fn stepped(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let mut share = 0.0;
    let corners = points.iter().flat_map(|[x, next]| {
        let before = std::mem::replace(&mut share, *next);
        [[*x, before], [*x, *next]]
    });
    corners.collect()
}

/// Something against a size, with zeroes at the lower end.
pub(super) fn lag(sheet: &mut Sheet, x: &str, y: &str, lines: &[Line]) -> String {
    let lines = usable(lines);
    if lines.is_empty() {
        return nothing(sheet);
    }
    let values: Vec<f64> = lines.iter().flat_map(|(_, points)| points.iter().map(|point| point[1])).collect();
    let down = |top: i32| Axis::logarithmic(values.iter().copied(), top + HEIGHT, top);
    plot(sheet, x, y, &lines, down, Signs::AtEveryPoint);
    let told = lines.iter().map(|(name, points)| {
        let points: Vec<String> = points.iter().map(|[x, y]| format!("{y} at {x}")).collect();
        format!("{name}: {}", points.join(", "))
    });
    told.collect::<Vec<_>>().join("; ")
}

/// The lines that have points, and of those only what is a number.
fn usable(lines: &[Line]) -> Vec<(&str, Vec<[f64; 2]>)> {
    let lines = lines.iter().map(|line| {
        let points = line.points.iter().copied().filter(|[x, y]| x.is_finite() && y.is_finite());
        (line.name.as_str(), points.collect::<Vec<_>>())
    });
    lines.filter(|(_, points)| !points.is_empty()).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Signs {
    AtEveryPoint,
    AtSomeHeights,
}

fn plot(
    sheet: &mut Sheet,
    x: &str,
    y: &str,
    lines: &[(&str, Vec<[f64; 2]>)],
    down: impl Fn(i32) -> Axis,
    signs: Signs,
) {
    sheet.paragraph(y, MARGIN, WIDTH - 2 * MARGIN, false, PENCIL);
    sheet.y += 16;
    let top = sheet.y;
    let upright = down(top);
    let left = MARGIN + upright.room_beside();
    let right = WIDTH - MARGIN - 12;
    let xs = lines.iter().flat_map(|(_, points)| points.iter().map(|point| point[0]));
    let along = Axis::logarithmic(xs, left, right);
    sheet.y = top + HEIGHT;
    upright.upright(sheet, left, right);
    along.along(sheet, top, x);
    let marks = marks(lines.iter().map(|(name, _)| *name));
    let all = lines.len();
    for (nth, ((_, points), mark)) in lines.iter().zip(&marks).enumerate() {
        let mut places: Vec<(i32, i32)> =
            points.iter().map(|point| (along.at(point[0]), upright.at(point[1]))).collect();
        thin(&mut places);
        if places.len() > 1 {
            sheet.path(places.clone(), 4, mark.colour);
        }
        for place in signed(&places, signs, nth, all) {
            mark.draw(sheet, place);
        }
    }
    let entries: Vec<(&str, Mark)> = lines.iter().map(|(name, _)| *name).zip(marks).collect();
    legend(sheet, &entries);
}

/// Leaves out what lies so close to the place before that the line would only tremble; the last one stays.
fn thin(places: &mut Vec<(i32, i32)>) {
    const APART: i32 = 4;
    let last = places.last().copied();
    places.dedup_by(|next, before| (next.0 - before.0).abs().max((next.1 - before.1).abs()) < APART);
    if let Some(last) = last.filter(|last| places.last() != Some(last)) {
        places.push(last);
    }
}

/// Where the sign of a line is put: at heights of its own, so that the signs of lines that lie upon each other are all seen.
fn signed(places: &[(i32, i32)], signs: Signs, nth: usize, all: usize) -> Vec<(i32, i32)> {
    if signs == Signs::AtEveryPoint || places.len() < 2 {
        return places.to_vec();
    }
    let (Some(first), Some(last)) = (places.first(), places.last()) else { return Vec::new() };
    let shift = (nth as f64 + 0.5) / all.max(1) as f64;
    let shares = [0.0, 1.0, 2.0].map(|third| (third + shift) / 3.0);
    let heights = shares.map(|share| f64::from(first.1) + share * f64::from(last.1 - first.1));
    heights.iter().filter_map(|height| at_height(places, *height)).collect()
}

/// Where a line that rises comes to a height.
fn at_height(places: &[(i32, i32)], height: f64) -> Option<(i32, i32)> {
    places.windows(2).find_map(|pair| {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let (from, to) = (f64::from(y0), f64::from(y1));
        if height < from.min(to) || height > from.max(to) {
            return None;
        }
        let share = if from == to { 0.0 } else { (height - from) / (to - from) };
        Some((x0 + (share * f64::from(x1 - x0)).round() as i32, height.round() as i32))
    })
}
