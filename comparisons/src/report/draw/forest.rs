//! Ratios with their intervals.

use plotters::style::RGBColor;

use super::axis::Axis;
use super::marks::marks;
use super::nothing;
use super::sheet::{Held, INK, LINE, MARGIN, PENCIL, Sheet, WIDTH, width_of};
use crate::picture::Interval;
use crate::report::format;

const BAND: RGBColor = RGBColor(0xe6, 0xe3, 0xd2);
const ROW: i32 = 34;

pub(super) fn draw(sheet: &mut Sheet, x: &str, undecided: [f64; 2], rows: &[Interval]) -> String {
    if rows.is_empty() {
        return nothing(sheet);
    }
    let room = WIDTH - 2 * MARGIN;
    let beside = rows.iter().map(|row| width_of(&written(row))).max().unwrap_or(0);
    let right = WIDTH - MARGIN - beside - 24;
    let drawn = rows.iter().filter(|row| drawable(row));
    let values = drawn.flat_map(|row| [row.ratio, row.between[0], row.between[1]]);
    let band = [undecided[0].min(undecided[1]), undecided[0].max(undecided[1])];
    let axis =
        Axis::logarithmic(values.chain(band).chain([1.0]).filter(|value| *value > 0.0), MARGIN + 16, right);

    // Names are above the strips, and may take several lines.
    let top = sheet.y;
    let heights =
        rows.iter().map(|row| super::sheet::wrapped(&row.name, room, false).len() as i32 * LINE + ROW);
    let bottom = top + heights.sum::<i32>() + 12;
    let one = axis.at(1.0);
    let names_top = sheet.y;
    sheet.y = bottom;
    axis.along(sheet, bottom, x);
    let end = sheet.y;
    sheet.y = names_top;
    let shaded = band.iter().all(|end| end.is_finite() && *end > 0.0);
    for (row, mark) in rows.iter().zip(marks(rows.iter().map(|row| row.name.as_str()))) {
        sheet.paragraph(&row.name, MARGIN, room, false, INK);
        let middle = sheet.y + ROW / 2 - 4;
        // Not behind the names, which are to be read.
        let (above, below) = (sheet.y, sheet.y + ROW - 6);
        if shaded {
            sheet.rect((axis.at(band[0]), above), (axis.at(band[1]), below), BAND);
        }
        sheet.line((one, above), (one, below), 2, PENCIL);
        if drawable(row) {
            let (low, high) = (axis.at(row.between[0]), axis.at(row.between[1]));
            sheet.line((low, middle), (high, middle), 4, mark.colour);
            for end in [low, high] {
                sheet.line((end, middle - 9), (end, middle + 9), 4, mark.colour);
            }
            sheet.disc((axis.at(row.ratio), middle), 8, mark.colour);
        }
        sheet.text(&written(row), (WIDTH - MARGIN, middle), Held::Right, INK);
        sheet.y += ROW;
    }
    sheet.y = end;
    if shaded && band[1] > band[0] {
        let text = format!(
            "Shaded, from {} to {}: too close to 1 to decide.",
            format::ratio(band[0]),
            format::ratio(band[1])
        );
        sheet.paragraph(&text, MARGIN, room, false, PENCIL);
    }
    let told = rows.iter().map(|row| format!("{}: {}", row.name, written(row)));
    told.collect::<Vec<_>>().join("; ")
}

fn drawable(row: &Interval) -> bool {
    [row.ratio, row.between[0], row.between[1]].iter().all(|value| value.is_finite() && *value > 0.0)
}

fn written(row: &Interval) -> String {
    if drawable(row) {
        let [low, high] = row.between.map(format::ratio);
        format!("{} ({low} to {high})", format::ratio(row.ratio))
    } else {
        "no figure".to_owned()
    }
}
