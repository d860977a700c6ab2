//! Draws pictures as SVG: each on a ground of its own, so that it can be read on any page, with letters that are still to be read at half its
//! size. The same picture gives the same bytes.

mod axis;
mod bars;
mod bounds;
mod forest;
mod lines;
mod marks;
mod sheet;
mod strips;
mod timeline;

use crate::picture::{Drawing, Picture};
use sheet::{INK, LINE, MARGIN, PENCIL, Sheet, WIDTH};

/// A picture as an SVG document.
#[must_use]
pub fn svg(picture: &Picture) -> String {
    let mut sheet = Sheet::default();
    sheet.y = MARGIN - 4;
    sheet.paragraph(&picture.title, MARGIN, WIDTH - 2 * MARGIN, true, INK);
    sheet.y += 12;
    let description = match &picture.drawing {
        Drawing::Ecdf { x, lines } => lines::ecdf(&mut sheet, x, lines),
        Drawing::Lag { x, y, lines } => lines::lag(&mut sheet, x, y, lines),
        Drawing::Forest { x, undecided, rows } => forest::draw(&mut sheet, x, *undecided, rows),
        Drawing::Bounds { x, rows } => bounds::draw(&mut sheet, x, rows),
        Drawing::Timeline { x, fault, lanes } => timeline::draw(&mut sheet, x, *fault, lanes),
        Drawing::Strips { x, between, shades, strips } => {
            strips::draw(&mut sheet, x, *between, shades, strips)
        }
        Drawing::Bars { x, bars } => bars::draw(&mut sheet, x, bars),
    };
    sheet.svg(&picture.title, &description)
}

/// Says that there is nothing to draw.
fn nothing(sheet: &mut Sheet) -> String {
    let text = "Nothing was measured.";
    sheet.paragraph(text, MARGIN, WIDTH - 2 * MARGIN, false, PENCIL);
    sheet.y += LINE;
    text.to_owned()
}
