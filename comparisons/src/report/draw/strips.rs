//! What many did and were told over time, each on a strip of its own.

use plotters::style::RGBColor;

use super::axis::Axis;
use super::nothing;
use super::sheet::{BAD, Held, INK, LINE, MARGIN, PENCIL, Sheet, WIDTH, width_of, wrapped};
use crate::picture::{Mark, Shade, Stretch, Strip};
use crate::report::format;

const SHADES: [RGBColor; 2] = [RGBColor(0xf6, 0xdd, 0xc8), RGBColor(0xdc, 0xe3, 0xf4)];
/// Where two faults are in place at once.
const BOTH: RGBColor = RGBColor(0xe8, 0xd3, 0xdc);
const STRIP: i32 = 36;

struct Look {
    text: &'static str,
    colour: RGBColor,
    /// From how far above the middle to how far below.
    reach: [i32; 2],
    width: u32,
    /// Two of them closer than this could not be told apart.
    apart: i32,
}

/// In the order in which they are drawn, the worst in front.
fn look(mark: Mark) -> Look {
    let look = |text, colour, reach, width, apart| Look { text, colour, reach, width, apart };
    match mark {
        Mark::Done => look("done", RGBColor(0x2f, 0x6f, 0x8f), [12, 0], 2, 2),
        Mark::Refused => look("refused", RGBColor(0xb4, 0x6a, 0x00), [0, 9], 3, 3),
        Mark::Unknown => look("unknown", RGBColor(0x7c, 0x3a, 0xa8), [0, 14], 3, 3),
        Mark::Told => look("changes told", RGBColor(0x6b, 0x8e, 0x7a), [8, 0], 2, 2),
        Mark::List => look("list anew", RGBColor(0x05, 0x42, 0x28), [14, 3], 4, 4),
        Mark::Gap => look("list anew, gap told", RGBColor(0xd0, 0x7a, 0x00), [15, 15], 6, 6),
        Mark::Broken => look("promise broken", BAD, [0, 0], 3, 12),
    }
}

fn look_of(stretch: Stretch) -> (&'static str, RGBColor) {
    match stretch {
        Stretch::Stale => ("known to be stale", RGBColor(0x8a, 0x8f, 0x98)),
        Stretch::Away => ("does not read", RGBColor(0x9c, 0xb8, 0xdb)),
    }
}

const MARKS: [Mark; 7] =
    [Mark::Done, Mark::Refused, Mark::Unknown, Mark::Told, Mark::List, Mark::Gap, Mark::Broken];
const STRETCHES: [Stretch; 2] = [Stretch::Stale, Stretch::Away];

pub(super) fn draw(
    sheet: &mut Sheet,
    x: &str,
    between: [f64; 2],
    shades: &[Shade],
    strips: &[Strip],
) -> String {
    if strips.is_empty() {
        return nothing(sheet);
    }
    legend(sheet, shades, strips);
    // Longer names would run into their strips.
    let short = |strip: &Strip| wrapped(&strip.name, WIDTH / 3, false).into_iter().next().unwrap_or_default();
    let names: Vec<String> = strips.iter().map(short).collect();
    let beside = names.iter().map(|name| width_of(name)).max().unwrap_or(0);
    let axis = Axis::linear(between, MARGIN + beside + 14, WIDTH - MARGIN - 14);
    let top = sheet.y;
    let bottom = top + STRIP * strips.len() as i32 + 6;
    shade(sheet, &axis, shades, [top, bottom]);
    sheet.y = bottom;
    axis.along(sheet, top, x);
    let end = sheet.y;
    for (index, (strip, name)) in strips.iter().zip(&names).enumerate() {
        let middle = top + STRIP * index as i32 + STRIP / 2;
        sheet.text(name, (MARGIN, middle), Held::Left, INK);
        sheet.line((axis.at(f64::MIN), middle), (axis.at(f64::MAX), middle), 1, PENCIL);
        for (stretch, times) in &strip.stretches {
            for [from, to] in times.iter().filter(|ends| ends.iter().all(|end| end.is_finite())) {
                let from = axis.at(*from);
                let to = axis.at(*to).max(from + 3);
                sheet.rect((from, middle + 4), (to, middle + 11), look_of(*stretch).1);
            }
        }
    }
    // Those of one kind together, so that the worst are in front.
    for mark in MARKS {
        let look = look(mark);
        let mut lines = Vec::new();
        for (index, strip) in strips.iter().enumerate() {
            let middle = top + STRIP * index as i32 + STRIP / 2;
            let times = strip.marks.iter().filter(|(other, _)| *other == mark).flat_map(|(_, times)| times);
            for x in places(&axis, times, look.apart) {
                lines.extend(shape(mark, &look, (x, middle)));
            }
        }
        sheet.strokes(lines, look.width, look.colour);
    }
    sheet.y = end;
    strips.iter().map(told).collect::<Vec<_>>().join("; ")
}

/// The strokes of a mark.
fn shape(mark: Mark, look: &Look, (x, y): (i32, i32)) -> Vec<[(i32, i32); 2]> {
    const R: i32 = 7;
    match mark {
        Mark::Broken => vec![[(x - R, y - R), (x + R, y + R)], [(x - R, y + R), (x + R, y - R)]],
        _ => vec![[(x, y - look.reach[0]), (x, y + look.reach[1])]],
    }
}

/// The times of faults, and where two are in place at once.
fn shade(sheet: &mut Sheet, axis: &Axis, shades: &[Shade], [top, bottom]: [i32; 2]) {
    let ends = |shade: &Shade| {
        let from = axis.at(shade.between[0]);
        // A fault that is over at once is still to be seen.
        [from, axis.at(shade.between[1]).max(from + 3)]
    };
    let usable = shades.iter().filter(|shade| shade.between.iter().all(|end| end.is_finite()));
    for (shade, colour) in usable.zip(SHADES.into_iter().cycle()) {
        let [from, to] = ends(shade);
        sheet.rect((from, top), (to, bottom), colour);
    }
    if let [one, other] = shades {
        let ([from, to], [begins, stops]) = (ends(one), ends(other));
        let both = [from.max(begins), to.min(stops)];
        if both[0] < both[1] {
            sheet.rect((both[0], top), (both[1], bottom), BOTH);
        }
    }
}

/// Where to draw them: no two closer than that.
fn places<'a>(axis: &Axis, times: impl Iterator<Item = &'a f64>, apart: i32) -> Vec<i32> {
    let mut places: Vec<i32> = times.filter(|time| time.is_finite()).map(|time| axis.at(*time)).collect();
    places.sort_unstable();
    places.dedup_by(|next, before| *next - *before < apart);
    places
}

/// A strip in words.
fn told(strip: &Strip) -> String {
    let marks = strip.marks.iter().filter(|(_, times)| !times.is_empty());
    let marks =
        marks.map(|(mark, times)| format!("{} {}", format::count(times.len() as f64), look(*mark).text));
    let stretches = strip.stretches.iter().filter(|(_, times)| !times.is_empty());
    let stretches = stretches.map(|(stretch, times)| format!("{} ({})", look_of(*stretch).0, times.len()));
    let all: Vec<String> = marks.chain(stretches).collect();
    format!("{}: {}", strip.name, if all.is_empty() { "nothing".to_owned() } else { all.join(", ") })
}

/// What the marks mean, of those that there are.
fn legend(sheet: &mut Sheet, shades: &[Shade], strips: &[Strip]) {
    const SAMPLE: i32 = 30;
    let is_there = |mark: &Mark| {
        strips.iter().any(|strip| strip.marks.iter().any(|(other, times)| other == mark && !times.is_empty()))
    };
    let goes_on = |stretch: &Stretch| {
        let of_it = |(other, times): &(Stretch, Vec<[f64; 2]>)| other == stretch && !times.is_empty();
        strips.iter().any(|strip| strip.stretches.iter().any(of_it))
    };
    let mut x = MARGIN;
    let room = |sheet: &mut Sheet, x: &mut i32, text: &str| {
        let wide = SAMPLE + width_of(text) + 24;
        if *x > MARGIN && *x + wide > WIDTH {
            *x = MARGIN;
            sheet.y += LINE;
        }
        let at = (*x, sheet.y + LINE / 2);
        *x += wide;
        at
    };
    for mark in MARKS.into_iter().filter(is_there) {
        let look = look(mark);
        let (at, y) = room(sheet, &mut x, look.text);
        let lines = if mark == Mark::Broken || mark == Mark::List || mark == Mark::Gap {
            shape(mark, &look, (at + 12, y))
        } else {
            [4, 10, 16].into_iter().flat_map(|off| shape(mark, &look, (at + off, y))).collect()
        };
        sheet.strokes(lines, look.width, look.colour);
        sheet.text(look.text, (at + SAMPLE, y), Held::Left, INK);
    }
    for stretch in STRETCHES.into_iter().filter(goes_on) {
        let (text, colour) = look_of(stretch);
        let (at, y) = room(sheet, &mut x, text);
        sheet.rect((at, y - 3), (at + 22, y + 4), colour);
        sheet.text(text, (at + SAMPLE, y), Held::Left, INK);
    }
    for (shade, colour) in shades.iter().zip(SHADES.into_iter().cycle()) {
        let name =
            wrapped(&shade.name, WIDTH - 2 * MARGIN - SAMPLE, false).into_iter().next().unwrap_or_default();
        let (at, y) = room(sheet, &mut x, &name);
        sheet.rect((at, y - 11), (at + 22, y + 11), colour);
        sheet.text(&name, (at + SAMPLE, y), Held::Left, INK);
    }
    sheet.y += LINE + 10;
}

#[cfg(test)]
mod tests {
    use crate::picture::{Drawing, Mark, Picture, Shade, Stretch, Strip};

    fn picture(marks: usize) -> Picture {
        let times: Vec<f64> = (0..marks).map(|at| at as f64 / 100.0).collect();
        let strip = |name: &str| Strip {
            name: name.to_owned(),
            marks: vec![(Mark::Done, times.clone()), (Mark::Broken, vec![3.0])],
            stretches: vec![(Stretch::Stale, vec![[1.0, 2.0]])],
        };
        let shade = |name: &str, between| Shade { name: name.to_owned(), between };
        let drawing = Drawing::Strips {
            x: "seconds".to_owned(),
            between: [0.0, 30.0],
            shades: vec![shade("link-cut", [1.0, 3.0]), shade("wipe", [2.0, 4.0])],
            strips: vec![strip("0 writes"), strip("0.24")],
        };
        Picture { title: "A run".to_owned(), drawing }
    }

    #[test]
    fn thousands_of_marks_make_a_small_picture_that_is_well_formed() {
        let svg = super::super::svg(&picture(3_000));
        assert!(svg.len() < 20_000, "{}", svg.len());
        let parsed = roxmltree::Document::parse(&svg).unwrap();
        let paths = parsed.descendants().filter(|node| node.has_tag_name("path"));
        // For either kind the strips and the legend.
        assert_eq!(paths.count(), 4);
    }

    #[test]
    fn who_does_not_see_it_is_told_what_there_is() {
        let svg = super::super::svg(&picture(2));
        assert!(svg.contains("0.24: 2 done, 1 promise broken, known to be stale (1)"), "{svg}");
    }
}
