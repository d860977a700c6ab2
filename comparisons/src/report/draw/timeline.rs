//! Writes over time, and the time of the fault.

use plotters::style::RGBColor;

use super::axis::Axis;
use super::nothing;
use super::sheet::{BAD, Held, INK, LINE, MARGIN, PENCIL, Sheet, WIDTH};
use crate::picture::Lane;
use crate::report::format;

const FAULT: RGBColor = RGBColor(0xf6, 0xdd, 0xc8);
const KEPT: RGBColor = RGBColor(0x2f, 0x6f, 0x8f);
const STRIP: i32 = 52;
/// Crosses closer than this could not be told apart.
const APART: i32 = 12;

pub(super) fn draw(sheet: &mut Sheet, x: &str, fault: [f64; 2], lanes: &[Lane]) -> String {
    if lanes.is_empty() {
        return nothing(sheet);
    }
    let room = WIDTH - 2 * MARGIN;
    legend(sheet);
    let fault = [fault[0].min(fault[1]), fault[0].max(fault[1])];
    let times = lanes.iter().flat_map(|lane| lane.kept.iter().chain(&lane.lost).copied());
    let axis = Axis::linear(times.chain(fault), MARGIN + 6, WIDTH - MARGIN - 14);
    let names: Vec<String> = lanes.iter().map(told).collect();

    let top = sheet.y;
    let heights =
        names.iter().map(|name| super::sheet::wrapped(name, room, false).len() as i32 * LINE + STRIP);
    let bottom = top + heights.sum::<i32>();
    if fault.iter().all(|end| end.is_finite()) {
        // A fault that is over at once is still to be seen.
        let from = axis.at(fault[0]);
        sheet.rect((from, top), (axis.at(fault[1]).max(from + 3), bottom), FAULT);
    }
    sheet.y = bottom;
    axis.along(sheet, bottom, x);
    let end = sheet.y;
    sheet.y = top;
    for (lane, name) in lanes.iter().zip(&names) {
        sheet.paragraph(name, MARGIN, room, false, INK);
        let middle = sheet.y + STRIP / 2 - 6;
        sheet.line((axis.at(f64::MIN), middle), (axis.at(f64::MAX), middle), 1, PENCIL);
        for x in places(&axis, &lane.kept, 1) {
            sheet.line((x, middle - 14), (x, middle), 2, KEPT);
        }
        for x in places(&axis, &lane.lost, APART) {
            sheet.cross((x, middle + 8), 6, BAD);
        }
        sheet.y += STRIP;
    }
    sheet.y = end;
    names.join("; ")
}

fn told(lane: &Lane) -> String {
    let number = |times: &[f64]| format::count(times.iter().filter(|time| time.is_finite()).count() as f64);
    format!("{}: {} kept, {} lost", lane.name, number(&lane.kept), number(&lane.lost))
}

/// Where to draw them: no two closer than that.
fn places(axis: &Axis, times: &[f64], apart: i32) -> Vec<i32> {
    let mut places: Vec<i32> =
        times.iter().filter(|time| time.is_finite()).map(|time| axis.at(*time)).collect();
    places.sort_unstable();
    places.dedup_by(|next, before| *next - *before < apart);
    places
}

fn legend(sheet: &mut Sheet) {
    let middle = sheet.y + LINE / 2;
    let mut x = MARGIN;
    for (index, text) in ["kept", "lost", "time of the fault"].into_iter().enumerate() {
        match index {
            0 => [4, 10, 16]
                .into_iter()
                .for_each(|at| sheet.line((x + at, middle - 9), (x + at, middle + 7), 2, KEPT)),
            1 => sheet.cross((x + 10, middle), 7, BAD),
            _ => sheet.rect((x, middle - 11), (x + 20, middle + 11), FAULT),
        }
        sheet.text(text, (x + 30, middle), Held::Left, INK);
        x += 30 + super::sheet::width_of(text) + 30;
    }
    sheet.y += LINE + 12;
}
