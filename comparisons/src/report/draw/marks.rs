//! Colours and signs by which those who are compared are told apart, the same in every picture.

use plotters::style::RGBColor;

use super::sheet::{INK, LINE, MARGIN, Sheet, WIDTH, width_of, wrapped};

/// How one of several is drawn. The sign alone tells them apart, too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) colour: RGBColor,
    sign: usize,
}

const ETCD: [RGBColor; 3] =
    [RGBColor(0x0b, 0x4f, 0x9c), RGBColor(0x3f, 0x8f, 0xd6), RGBColor(0x06, 0x2a, 0x55)];
const NAIVE: [RGBColor; 4] = [
    RGBColor(0xc2, 0x41, 0x0c),
    RGBColor(0xe3, 0x8a, 0x1d),
    RGBColor(0x8a, 0x2a, 0x06),
    RGBColor(0xb0, 0x6a, 0x52),
];
const OURS: [RGBColor; 3] =
    [RGBColor(0x0e, 0x7a, 0x4b), RGBColor(0x4f, 0xb3, 0x84), RGBColor(0x05, 0x42, 0x28)];
const OTHERS: [RGBColor; 8] = [
    RGBColor(0x6b, 0x72, 0x80),
    RGBColor(0x7c, 0x3a, 0xa8),
    RGBColor(0x9c, 0xa3, 0xaf),
    RGBColor(0x0b, 0x6e, 0x99),
    RGBColor(0xb4, 0x3b, 0x6b),
    RGBColor(0x4d, 0x7c, 0x0f),
    RGBColor(0xa1, 0x62, 0x07),
    RGBColor(0x1c, 0x1f, 0x23),
];

/// The colours of a family of contestants, by how their names begin.
fn family(name: &str) -> &'static [RGBColor] {
    if name.starts_with("etcd") {
        &ETCD
    } else if name.starts_with("redis-naive") {
        &NAIVE
    } else if name.starts_with("redis") || name.starts_with("ours") {
        &OURS
    } else {
        &OTHERS
    }
}

/// A mark for each of them.
pub(super) fn marks<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<Mark> {
    let mut before: Vec<&[RGBColor]> = Vec::new();
    let mut marks = Vec::new();
    for (sign, name) in names.into_iter().enumerate() {
        let family = family(name);
        let nth = before.iter().filter(|other| **other == family).count();
        before.push(family);
        marks.push(Mark { colour: family[nth % family.len()], sign });
    }
    marks
}

impl Mark {
    /// Draws its sign.
    pub(super) fn draw(self, sheet: &mut Sheet, (x, y): (i32, i32)) {
        const R: i32 = 8;
        let colour = self.colour;
        match self.sign % 8 {
            0 => sheet.disc((x, y), R, colour),
            1 => sheet.rect((x - R + 1, y - R + 1), (x + R - 1, y + R - 1), colour),
            2 => sheet.polygon(vec![(x, y - R - 1), (x + R + 1, y + R), (x - R - 1, y + R)], colour),
            3 => sheet.polygon(vec![(x, y - R - 2), (x + R + 2, y), (x, y + R + 2), (x - R - 2, y)], colour),
            4 => {
                sheet.disc((x, y), R, colour);
                sheet.disc((x, y), R - 4, super::sheet::PAPER);
            }
            5 => sheet.cross((x, y), R - 1, colour),
            6 => sheet.polygon(vec![(x, y + R + 1), (x + R + 1, y - R), (x - R - 1, y - R)], colour),
            _ => {
                sheet.line((x - R - 1, y), (x + R + 1, y), 4, colour);
                sheet.line((x, y - R - 1), (x, y + R + 1), 4, colour);
            }
        }
    }
}

const SAMPLE: i32 = 48;

/// Says below a drawing which mark is whose: in two columns if the names are short.
pub(super) fn legend(sheet: &mut Sheet, entries: &[(&str, Mark)]) {
    sheet.y += 10;
    let half = (WIDTH - 2 * MARGIN) / 2;
    let in_two = entries.iter().all(|(name, _)| width_of(name) <= half - SAMPLE - 24);
    let per_column = if in_two { entries.len().div_ceil(2) } else { entries.len() };
    let top = sheet.y;
    let mut lowest = top;
    for (index, (name, mark)) in entries.iter().enumerate() {
        let column = index.checked_div(per_column).unwrap_or(0) as i32;
        if index.checked_rem(per_column) == Some(0) {
            sheet.y = top;
        }
        let x = MARGIN + column * half;
        let at = sheet.y + LINE / 2;
        sheet.line((x, at), (x + SAMPLE, at), 4, mark.colour);
        mark.draw(sheet, (x + SAMPLE / 2, at));
        let width = if in_two { half } else { WIDTH - 2 * MARGIN } - SAMPLE - 12;
        for line in wrapped(name, width, false) {
            let at = (x + SAMPLE + 12, sheet.y + LINE / 2);
            sheet.text(&line, at, super::sheet::Held::Left, INK);
            sheet.y += LINE;
        }
        lowest = lowest.max(sheet.y);
    }
    sheet.y = lowest;
}
