//! Ratios with their intervals, and the range in which each is to lie.

use plotters::style::RGBColor;

use super::axis::Axis;
use super::nothing;
use super::sheet::{BAD, Held, INK, LINE, MARGIN, PENCIL, Sheet, WIDTH, width_of, wrapped};
use crate::measure::Interval;
use crate::picture::{Bounded, Standing};
use crate::report::format;

const ALLOWED: RGBColor = RGBColor(0xdc, 0xee, 0xe2);
const WITHIN: RGBColor = RGBColor(0x0e, 0x7a, 0x4b);
const ACROSS: RGBColor = RGBColor(0xb4, 0x6a, 0x00);
const ROW: i32 = 42;
/// Of values that differ by more, the small ones could not be told apart on a linear axis.
const CLOSE: f64 = 2.0;

pub(super) fn draw(sheet: &mut Sheet, x: &str, rows: &[Bounded]) -> String {
    if rows.iter().all(|row| drawable(row.ratio).is_none()) {
        return nothing(sheet);
    }
    let room = WIDTH - 2 * MARGIN;
    let beside = rows.iter().map(|row| width_of(&written(row))).max().unwrap_or(0);
    let axis = axis(rows, WIDTH - MARGIN - beside - 24);
    let (top, ends) = (sheet.y, [axis.at(f64::MIN), axis.at(f64::MAX)]);
    let heights = rows.iter().map(|row| wrapped(&row.name, room, false).len() as i32 * LINE + ROW);
    sheet.y = top + heights.sum::<i32>() + 12;
    axis.along(sheet, sheet.y, x);
    let bottom = std::mem::replace(&mut sheet.y, top);
    for row in rows {
        sheet.paragraph(&row.name, MARGIN, room, false, INK);
        let (above, below) = (sheet.y, sheet.y + ROW - 8);
        if let Some(range) = range(row) {
            let [low, high] = [
                range[0].map_or(ends[0], |low| axis.at(low)),
                range[1].map_or(ends[1], |high| axis.at(high)),
            ];
            sheet.rect((low, above), (high, below), ALLOWED);
            for (bound, at) in [(range[0], low), (range[1], high)] {
                if bound.is_some() {
                    sheet.line((at, above), (at, below), 3, WITHIN);
                }
            }
        }
        sheet.line((axis.at(1.0), above), (axis.at(1.0), below), 2, PENCIL);
        if let Some(ratio) = drawable(row.ratio) {
            interval(sheet, &axis, ratio, above + 12, [4, 8], colour(row));
        }
        if let Some(control) = drawable(row.control) {
            interval(sheet, &axis, control, above + 27, [2, 4], PENCIL);
        }
        sheet.text(&written(row), (WIDTH - MARGIN, above + 14), Held::Right, INK);
        sheet.y += ROW;
    }
    sheet.y = bottom + 6;
    let meaning = if rows.iter().any(|row| range(row).is_some()) {
        "Thick: the ratio. Thin: its control, two that are alike. Shaded: where the ratio is to be. Green: it is there with all of its interval. \
         Red: it is not with any. Brown: with a part. Grey: nothing can be said."
    } else {
        "Thick: the ratio. Thin: its control, two that are alike."
    };
    sheet.paragraph(meaning, MARGIN, room, false, PENCIL);
    rows.iter().map(|row| format!("{}: {}", row.name, written(row))).collect::<Vec<_>>().join("; ")
}

fn axis(rows: &[Bounded], right: i32) -> Axis {
    let of_row = |row: &Bounded| {
        let intervals = [row.ratio, row.control].into_iter().filter_map(drawable);
        let bounds = range(row).into_iter().flatten().flatten();
        intervals.flat_map(|one| [one.low, one.ratio, one.high]).chain(bounds).collect::<Vec<f64>>()
    };
    let values: Vec<f64> = rows.iter().flat_map(of_row).chain([1.0]).collect();
    let (low, high) =
        values.iter().fold((1.0_f64, 1.0_f64), |(low, high), value| (low.min(*value), high.max(*value)));
    let left = MARGIN + 16;
    if high / low > CLOSE {
        return Axis::logarithmic(values, left, right);
    }
    // Nothing is to stand at the very end, where it could have been cut off.
    let beyond = (high - low).max(0.02) / 12.0;
    Axis::linear([low - beyond, high + beyond], left, right)
}

/// Its bounds; none if there is neither.
fn range(row: &Bounded) -> Option<[Option<f64>; 2]> {
    let range = row.within.map(|bound| Some(bound).filter(|bound| bound.is_finite() && *bound > 0.0));
    range.iter().any(Option::is_some).then_some(range)
}

fn colour(row: &Bounded) -> RGBColor {
    match row.standing {
        _ if range(row).is_none() => INK,
        Standing::Unknown => PENCIL,
        Standing::Within => WITHIN,
        Standing::Beyond => BAD,
        Standing::Across => ACROSS,
    }
}

fn interval(
    sheet: &mut Sheet,
    axis: &Axis,
    of: Interval,
    y: i32,
    [width, radius]: [i32; 2],
    colour: RGBColor,
) {
    let (low, high) = (axis.at(of.low), axis.at(of.high));
    sheet.line((low, y), (high, y), width.unsigned_abs(), colour);
    for end in [low, high] {
        sheet.line((end, y - radius), (end, y + radius), width.unsigned_abs(), colour);
    }
    sheet.disc((axis.at(of.ratio), y), radius, colour);
}

fn drawable(interval: Option<Interval>) -> Option<Interval> {
    interval
        .filter(|one| [one.low, one.ratio, one.high].iter().all(|value| value.is_finite() && *value > 0.0))
}

fn written(row: &Bounded) -> String {
    match drawable(row.ratio) {
        Some(Interval { ratio, low, high }) => {
            let [ratio, low, high] = [ratio, low, high].map(format::ratio);
            format!("{ratio} ({low} to {high})")
        }
        None => "no figure".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{ACROSS, BAD, INK, PENCIL, WITHIN, axis};
    use crate::measure::Interval;
    use crate::picture::{Bounded, Drawing, Picture, Standing};

    fn row(name: &str, [low, ratio, high]: [f64; 3], within: [f64; 2]) -> Bounded {
        let control = Some(Interval { ratio: 1.0, low: 0.99, high: 1.01 });
        let (name, ratio) = (name.to_owned(), Some(Interval { ratio, low, high }));
        Bounded { name, ratio, control, within, standing: Standing::Within }
    }

    #[test]
    fn every_row_shows_its_ratio_and_where_it_is_to_be() {
        let rows = vec![
            row("met", [1.01, 1.02, 1.03], [0.0, 1.08]),
            row("told", [0.9, 1.0, 1.1], [0.0, f64::INFINITY]),
            Bounded { ratio: None, ..row("none", [1.0; 3], [0.97, f64::INFINITY]) },
        ];
        let svg = super::super::svg(&Picture {
            title: "A".to_owned(),
            drawing: Drawing::Bounds { x: "x".to_owned(), rows },
        });
        roxmltree::Document::parse(&svg).unwrap();
        assert!(svg.contains("met: 1.02 (1.01 to 1.03)") && svg.contains("none: no figure"), "{svg}");
        // The two that have a bound: a field, and a line at its end.
        assert_eq!(svg.matches("#DCEEE2").count(), 2, "{svg}");
    }

    #[test]
    fn a_ratio_has_the_colour_of_what_is_said_of_it_and_ink_where_it_has_no_bound() {
        let colour = |standing, within| {
            super::colour(&Bounded { standing, control: None, ..row("a", [1.2, 1.3, 1.4], within) })
        };
        let bound = [0.0, 1.08];
        assert_eq!(colour(Standing::Beyond, bound), BAD);
        assert_eq!(colour(Standing::Within, bound), WITHIN);
        assert_eq!(colour(Standing::Across, bound), ACROSS);
        assert_eq!(colour(Standing::Unknown, bound), PENCIL);
        assert_eq!(colour(Standing::Unknown, [0.0, f64::INFINITY]), INK);
    }

    #[test]
    fn what_is_close_to_1_is_told_apart() {
        let close = axis(&[row("a", [1.01, 1.02, 1.03], [0.0, 1.08])], 300);
        assert!(close.at(1.08) - close.at(1.0) > 100, "{close:?}");
        let far = axis(&[row("a", [0.1, 0.2, 3.0], [0.0, 1.08])], 300);
        assert!(far.at(0.2) - far.at(0.1) > 30, "{far:?}");
    }
}
