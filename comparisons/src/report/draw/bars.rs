//! Bars with what they say beside them.

use plotters::style::RGBColor;

use super::nothing;
use super::sheet::{BAD, Held, INK, LINE, MARGIN, PAPER, PENCIL, Sheet, WIDTH, width_of, wrapped};
use crate::picture::Bar;

const GOOD: RGBColor = RGBColor(0x2f, 0x6f, 0x8f);
const THICK: i32 = 26;
/// What a label may take beside the longest bar.
const BESIDE: i32 = 330;

pub(super) fn draw(sheet: &mut Sheet, x: &str, bars: &[Bar]) -> String {
    if bars.is_empty() {
        return nothing(sheet);
    }
    let room = WIDTH - 2 * MARGIN;
    sheet.paragraph(x, MARGIN, room, false, PENCIL);
    sheet.y += 10;
    let beside = bars.iter().map(|bar| width_of(&bar.label)).max().unwrap_or(0).min(BESIDE);
    let longest = bars.iter().map(length).fold(0.0, f64::max);
    let full = f64::from(room - beside - 40);
    for bar in bars {
        sheet.paragraph(&bar.name, MARGIN, room, false, INK);
        let share = if longest > 0.0 { length(bar) / longest } else { 0.0 };
        // What is there is seen, however small it is beside the others.
        let least = if length(bar) > 0.0 { 3.0 } else { 0.0 };
        let end = MARGIN + (share * full).max(least).round() as i32;
        let (top, middle) = (sheet.y + 2, sheet.y + 2 + THICK / 2);
        if bar.bad {
            sheet.rect((MARGIN, top), (end, top + THICK), BAD);
            hatch(sheet, MARGIN, end, top);
            sheet.cross((end + 18, middle), 8, BAD);
        } else {
            sheet.rect((MARGIN, top), (end, top + THICK), GOOD);
        }
        sheet.line((MARGIN, top - 3), (MARGIN, top + THICK + 3), 2, PENCIL);
        let label_at = end + if bar.bad { 36 } else { 10 };
        let lines = wrapped(&bar.label, WIDTH - MARGIN - label_at, false);
        let height = LINE * lines.len() as i32;
        for (index, line) in lines.iter().enumerate() {
            sheet.text(line, (label_at, middle + LINE * index as i32), Held::Left, INK);
        }
        sheet.y = top + THICK.max(height - LINE / 2 + THICK / 2) + 14;
    }
    let told =
        bars.iter().map(|bar| format!("{}: {}{}", bar.name, bar.label, if bar.bad { " (bad)" } else { "" }));
    told.collect::<Vec<_>>().join("; ")
}

fn length(bar: &Bar) -> f64 {
    if bar.length.is_finite() { bar.length.max(0.0) } else { 0.0 }
}

/// Strokes across a bad bar, for those who cannot tell its colour.
fn hatch(sheet: &mut Sheet, from: i32, to: i32, top: i32) {
    for x in (from + THICK..to).step_by(14) {
        sheet.line((x, top), (x - THICK / 2, top + THICK), 2, PAPER);
    }
}
