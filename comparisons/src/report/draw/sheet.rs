//! A sheet that grows downwards: shapes are put on it, and it becomes SVG once its height is known.

use std::fmt::Write as _;

use plotters::element::{Circle, PathElement, Polygon, Rectangle, Text};
use plotters::prelude::{IntoDrawingArea, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, IntoFont, RGBColor, ShapeStyle, TextStyle};

/// The width of every sheet. Half of it is still to be read, on a narrow screen.
pub(super) const WIDTH: i32 = 640;
/// What stays empty at its edges.
pub(super) const MARGIN: i32 = 20;
/// The usual size of letters.
pub(super) const LETTERS: i32 = 24;
/// From one line of text to the next.
pub(super) const LINE: i32 = 30;

pub(super) const PAPER: RGBColor = RGBColor(0xfc, 0xfc, 0xfa);
pub(super) const INK: RGBColor = RGBColor(0x1c, 0x1f, 0x23);
pub(super) const PENCIL: RGBColor = RGBColor(0x55, 0x5c, 0x66);
pub(super) const GRID: RGBColor = RGBColor(0xdd, 0xdf, 0xe2);
pub(super) const BAD: RGBColor = RGBColor(0xc0, 0x1c, 0x28);

/// Where a text is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Left,
    Middle,
    Right,
}

#[derive(Debug)]
enum Shape {
    Path { points: Vec<(i32, i32)>, width: u32, colour: RGBColor },
    Rect { from: (i32, i32), to: (i32, i32), colour: RGBColor },
    Polygon { points: Vec<(i32, i32)>, colour: RGBColor },
    Disc { at: (i32, i32), radius: i32, colour: RGBColor },
    Text { text: String, at: (i32, i32), held: Held, bold: bool, colour: RGBColor },
}

/// Many lines of one kind, which are one element: a picture may have thousands.
#[derive(Debug)]
struct Strokes {
    lines: Vec<[(i32, i32); 2]>,
    width: u32,
    colour: RGBColor,
}

/// What is drawn, from back to front.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    shapes: Vec<Shape>,
    strokes: Vec<Strokes>,
    /// How far down it is used.
    pub(super) y: i32,
}

impl Sheet {
    pub(super) fn path(&mut self, points: Vec<(i32, i32)>, width: u32, colour: RGBColor) {
        self.shapes.push(Shape::Path { points, width, colour });
    }

    pub(super) fn line(&mut self, from: (i32, i32), to: (i32, i32), width: u32, colour: RGBColor) {
        self.path(vec![from, to], width, colour);
    }

    pub(super) fn rect(&mut self, from: (i32, i32), to: (i32, i32), colour: RGBColor) {
        self.shapes.push(Shape::Rect { from, to, colour });
    }

    pub(super) fn polygon(&mut self, points: Vec<(i32, i32)>, colour: RGBColor) {
        self.shapes.push(Shape::Polygon { points, colour });
    }

    pub(super) fn disc(&mut self, at: (i32, i32), radius: i32, colour: RGBColor) {
        self.shapes.push(Shape::Disc { at, radius, colour });
    }

    /// Two strokes crossed, for what is bad.
    pub(super) fn cross(&mut self, (x, y): (i32, i32), radius: i32, colour: RGBColor) {
        self.line((x - radius, y - radius), (x + radius, y + radius), 4, colour);
        self.line((x - radius, y + radius), (x + radius, y - radius), 4, colour);
    }

    /// Many lines of one kind, in front of everything else.
    pub(super) fn strokes(&mut self, lines: Vec<[(i32, i32); 2]>, width: u32, colour: RGBColor) {
        if !lines.is_empty() {
            self.strokes.push(Strokes { lines, width, colour });
        }
    }

    /// One line of text; `at` is the middle of its height.
    pub(super) fn text(&mut self, text: &str, at: (i32, i32), held: Held, colour: RGBColor) {
        self.shapes.push(Shape::Text { text: text.to_owned(), at, held, bold: false, colour });
    }

    /// Lines of text from here on, broken to a width; the sheet is used down to their end.
    pub(super) fn paragraph(&mut self, text: &str, x: i32, width: i32, bold: bool, colour: RGBColor) {
        for line in wrapped(text, width, bold) {
            let at = (x, self.y + LINE / 2);
            self.shapes.push(Shape::Text { text: line, at, held: Held::Left, bold, colour });
            self.y += LINE;
        }
    }

    /// As SVG with a ground of its own. `title` is what it shows in a sentence, `description` what it says to those who do not see it.
    pub(super) fn svg(self, title: &str, description: &str) -> String {
        let height = self.y + MARGIN;
        let mut svg = String::new();
        // Nothing can fail in a string; what could not be drawn would be missing, and the rest still there.
        let _ = draw(&self.shapes, height, &mut svg);
        let strokes: String = self.strokes.iter().map(path).collect();
        let mut svg = svg.replacen("</svg>", &format!("{strokes}</svg>"), 1);
        let (title, description) = (escaped(title), escaped(description));
        let opened = format!(
            "<svg role=\"img\" aria-label=\"{title}\" font-variant-numeric=\"tabular-nums\" width=\"{WIDTH}\""
        );
        svg = svg.replacen(&format!("<svg width=\"{WIDTH}\""), &opened, 1);
        svg.replacen(">\n", &format!(">\n<title>{title}</title>\n<desc>{description}</desc>\n"), 1)
    }
}

fn path(strokes: &Strokes) -> String {
    let RGBColor(red, green, blue) = strokes.colour;
    let mut path = String::new();
    for [from, to] in &strokes.lines {
        let _ = write!(path, "M{} {}l{} {}", from.0, from.1, to.0 - from.0, to.1 - from.1);
    }
    let width = strokes.width;
    format!(
        "<path d=\"{path}\" stroke=\"#{red:02X}{green:02X}{blue:02X}\" stroke-width=\"{width}\" fill=\"none\"/>\n"
    )
}

fn draw(shapes: &[Shape], height: i32, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, (WIDTH as u32, height.max(1) as u32)).into_drawing_area();
    area.draw(&Rectangle::new([(0, 0), (WIDTH, height)], PAPER.filled())).map_err(text_of)?;
    for shape in shapes {
        match shape {
            Shape::Path { points, width, colour } => {
                let style = ShapeStyle { color: colour.to_rgba(), filled: false, stroke_width: *width };
                area.draw(&PathElement::new(points.clone(), style)).map_err(text_of)?;
            }
            Shape::Rect { from, to, colour } => {
                area.draw(&Rectangle::new([*from, *to], colour.filled())).map_err(text_of)?;
            }
            Shape::Polygon { points, colour } => {
                area.draw(&Polygon::new(points.clone(), colour.filled())).map_err(text_of)?;
            }
            Shape::Disc { at, radius, colour } => {
                area.draw(&Circle::new(*at, *radius, colour.filled())).map_err(text_of)?;
            }
            Shape::Text { text, at, held, bold, colour } => {
                let held = match held {
                    Held::Left => HPos::Left,
                    Held::Middle => HPos::Center,
                    Held::Right => HPos::Right,
                };
                let weight = if *bold { FontStyle::Bold } else { FontStyle::Normal };
                // The back end divides sizes by 1.24.
                let font = ("sans-serif", f64::from(LETTERS) * 1.24).into_font().style(weight);
                let style = TextStyle::from(font).color(colour).pos(Pos::new(held, VPos::Center));
                area.draw(&Text::new(readable(text), *at, style)).map_err(text_of)?;
            }
        }
    }
    area.present().map_err(text_of)?;
    Ok(())
}

fn text_of(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// About how wide a line of text is, in letters that are rather wide.
pub(super) fn width_of(text: &str) -> i32 {
    let tenths: i32 = text
        .chars()
        .map(|letter| match letter {
            'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' => 33,
            'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '-' | '/' => 41,
            'm' | 'w' | 'M' | 'W' | '%' => 96,
            'A'..='Z' => 72,
            _ => 63,
        })
        .sum();
    tenths * LETTERS / 100
}

/// Lines no wider than that, broken at spaces but not before a unit, and within a word only where it is too wide by itself.
pub(super) fn wrapped(text: &str, width: i32, bold: bool) -> Vec<String> {
    let width = if bold { width * 10 / 11 } else { width };
    let mut lines = vec![String::new()];
    for word in words(text) {
        for piece in pieces(&word, width) {
            match lines.last_mut() {
                Some(line) if line.is_empty() => line.push_str(&piece),
                Some(line) if width_of(line) + width_of(" ") + width_of(&piece) <= width => {
                    line.push(' ');
                    line.push_str(&piece);
                }
                _ => lines.push(piece),
            }
        }
    }
    lines
}

/// The words of a text, a number and its unit being one.
fn words(text: &str) -> Vec<String> {
    const UNITS: [&str; 7] = ["s", "ms", "µs", "B", "KiB", "MiB", "%"];
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let unit = word.trim_end_matches([',', ';', '.', ':', ')']);
        match words.last_mut() {
            Some(number) if UNITS.contains(&unit) && number.ends_with(|last: char| last.is_ascii_digit()) => {
                number.push(' ');
                number.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

fn pieces(word: &str, width: i32) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for letter in word.chars() {
        if let Some(piece) = pieces.last_mut() {
            if piece.is_empty() || width_of(piece) + width_of(&letter.to_string()) <= width {
                piece.push(letter);
            } else {
                pieces.push(letter.to_string());
            }
        }
    }
    pieces
}

/// Without what cannot stand in XML.
fn readable(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            letter if letter.is_control() => ' ',
            '\u{fffe}' | '\u{ffff}' => ' ',
            letter => letter,
        })
        .collect()
}

fn escaped(text: &str) -> String {
    let text = readable(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{Sheet, width_of, wrapped};

    #[test]
    fn no_line_is_wider_than_it_may_be() {
        let text =
            "redis-naive key, keyspace events and a word_that_is_by_itself_much_wider_than_the_line is";
        let lines = wrapped(text, 200, false);
        assert!(lines.len() > 4);
        assert!(lines.iter().all(|line| width_of(line) <= 200), "{lines:?}");
        assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
        assert_eq!(wrapped("", 200, true), [""]);
    }

    #[test]
    fn a_unit_stays_with_its_number() {
        assert_eq!(wrapped("back to 3.9 s, before", 120, false), ["back to", "3.9 s,", "before"]);
    }

    #[test]
    fn texts_are_escaped() {
        let mut sheet = Sheet::default();
        sheet.paragraph("a < b & \u{0} \"c\"", 0, 600, false, super::INK);
        let svg = sheet.svg("<script>", "]]> & more");
        let parsed = roxmltree::Document::parse(&svg).unwrap();
        let title = parsed.descendants().find(|node| node.has_tag_name("title")).unwrap();
        assert_eq!(title.text(), Some("<script>"));
    }
}
