//! From numbers to places on a sheet.

use super::sheet::{GRID, Held, INK, LINE, PENCIL, Sheet, width_of};
use crate::report::format;

/// An axis: what range of numbers lies between which places.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    /// Whether its lower end stands for zero, which a logarithm cannot reach.
    zero: bool,
    from: i32,
    to: i32,
}

/// The range of a logarithmic axis that nothing is to be seen on.
const ANY: [f64; 2] = [1.0, 10.0];
/// Less and more than this is drawn at the end.
const POSSIBLE: [f64; 2] = [1e-30, 1e30];

impl Axis {
    /// A linear one that covers the values.
    pub(super) fn linear(values: impl IntoIterator<Item = f64>, from: i32, to: i32) -> Self {
        let usable = values.into_iter().filter(|value| value.is_finite());
        let usable = usable.map(|value| value.clamp(-POSSIBLE[1], POSSIBLE[1]));
        let [low, high] = range(usable).unwrap_or([0.0, 1.0]);
        let high = if high > low { high } else { low + low.abs().max(1.0) };
        Self { low, high, logarithmic: false, zero: false, from, to }
    }

    /// A logarithmic one that covers the values above zero, to the next 1, 2 or 5. If there are values that are not, its lower end is for them.
    pub(super) fn logarithmic(values: impl IntoIterator<Item = f64>, from: i32, to: i32) -> Self {
        let values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        let zero = values.iter().any(|value| *value <= 0.0);
        let above = values.iter().filter(|value| **value > 0.0);
        let [low, high] = range(above.map(|value| value.clamp(POSSIBLE[0], POSSIBLE[1]))).unwrap_or(ANY);
        let (mut low, mut high) = (round_down(low), round_up(high));
        if high / low < 1.5 {
            (low, high) = (low / 2.0, high * 2.0);
        }
        Self { low: if zero { low / 4.0 } else { low }, high, logarithmic: true, zero, from, to }
    }

    /// Where a number lies; the nearest end, where it lies outside.
    pub(super) fn at(&self, value: f64) -> i32 {
        let scale = |value: f64| if self.logarithmic { value.max(f64::MIN_POSITIVE).ln() } else { value };
        let share = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low));
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        self.from + (share * f64::from(self.to - self.from)).round() as i32
    }

    /// The marks with what is written at them: as many as have room, `room` being what a text takes along the axis.
    fn ticks(&self, room: impl Fn(&str) -> i32) -> Vec<(i32, String)> {
        let candidates = if self.logarithmic { self.logarithmic_ticks() } else { self.linear_ticks() };
        let placed = candidates.into_iter().map(|values| self.placed(&values));
        let fitting = placed.filter(|ticks| {
            ticks.windows(2).all(|pair| {
                let needed = (room(&pair[0].1) + room(&pair[1].1)) / 2 + 20;
                (pair[1].0 - pair[0].0).abs() >= needed
            })
        });
        fitting.max_by_key(Vec::len).unwrap_or_default()
    }

    fn placed(&self, values: &[f64]) -> Vec<(i32, String)> {
        let mut ticks = Vec::new();
        if self.zero {
            ticks.push((self.from, "0".to_owned()));
        }
        ticks.extend(values.iter().map(|value| (self.at(*value), tick(*value))));
        ticks
    }

    fn linear_ticks(&self) -> Vec<Vec<f64>> {
        let span = self.high - self.low;
        let steps = steps_of(span / 20.0, span);
        steps.into_iter().map(|step| multiples(step, self.low, self.high)).collect()
    }

    fn logarithmic_ticks(&self) -> Vec<Vec<f64>> {
        let low = if self.zero { self.low * 4.0 } else { self.low };
        let (first, last) = (low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let within = |values: Vec<f64>| -> Vec<f64> {
            let within = |value: &f64| *value >= low * 0.999_999 && *value <= self.high * 1.000_001;
            values.into_iter().filter(within).collect()
        };
        let mut sets = Vec::new();
        if self.high / low <= 10.0 {
            let span = self.high - low;
            sets.extend(steps_of(span / 20.0, span).into_iter().map(|step| multiples(step, low, self.high)));
        }
        let decades = |every: usize, digits: &[f64]| -> Vec<f64> {
            let decades = (first..=last).step_by(every);
            decades.flat_map(|decade| digits.iter().map(move |digit| digit * 10_f64.powi(decade))).collect()
        };
        sets.push(within(decades(1, &[1.0, 2.0, 5.0])));
        sets.extend([1, 2, 3, 4, 6, 10, 20].map(|every| within(decades(every, &[1.0]))));
        sets
    }

    /// Draws it as the horizontal axis, with lines up to `top`, its marks and what it is; the sheet is used down to its end.
    pub(super) fn along(&self, sheet: &mut Sheet, top: i32, title: &str) {
        let bottom = sheet.y;
        let ticks = self.ticks(width_of);
        for (x, _) in &ticks {
            sheet.line((*x, top), (*x, bottom), 1, GRID);
        }
        sheet.line((self.from, bottom), (self.to, bottom), 2, PENCIL);
        for (x, text) in ticks {
            sheet.line((x, bottom), (x, bottom + 7), 2, PENCIL);
            // A text at the end of the axis would stand out over the edge of the sheet.
            let half = width_of(&text) / 2;
            let x = x.clamp(half + 4, (super::sheet::WIDTH - half - 4).max(half + 4));
            sheet.text(&text, (x, bottom + 24), Held::Middle, PENCIL);
        }
        sheet.y = bottom + 40;
        let margin = super::sheet::MARGIN;
        sheet.paragraph(title, margin, super::sheet::WIDTH - 2 * margin, false, INK);
    }

    /// Draws it as the vertical axis at `x`, with lines to `right`. It runs from below to above.
    pub(super) fn upright(&self, sheet: &mut Sheet, x: i32, right: i32) {
        for (y, text) in self.ticks(|_| LINE - 12) {
            sheet.line((x, y), (right, y), 1, GRID);
            sheet.text(&text, (x - 12, y), Held::Right, PENCIL);
        }
        sheet.line((x, self.from), (x, self.to), 2, PENCIL);
    }

    /// How much room the marks of a vertical axis take beside it.
    pub(super) fn room_beside(&self) -> i32 {
        let widths = self.ticks(|_| LINE - 12).into_iter().map(|(_, text)| width_of(&text));
        widths.max().unwrap_or(0) + 16
    }
}

fn range(values: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    values.fold(None, |range, value| match range {
        None => Some([value, value]),
        Some([low, high]) => Some([low.min(value), high.max(value)]),
    })
}

fn round_down(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let digit = [5.0, 2.0].into_iter().find(|digit| digit * decade <= value * 1.000_001);
    digit.unwrap_or(1.0) * decade
}

fn round_up(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * decade >= value * 0.999_999);
    digit.unwrap_or(10.0) * decade
}

/// 1, 2 and 5 times powers of ten, from one length to the other.
fn steps_of(least: f64, most: f64) -> Vec<f64> {
    let mut steps = Vec::new();
    let mut step = round_up(least);
    while step <= most && steps.len() < 20 {
        steps.push(step);
        step = round_up(step * 1.5);
    }
    steps
}

fn multiples(step: f64, low: f64, high: f64) -> Vec<f64> {
    let first = (low / step - 1e-9).ceil();
    let count = ((high - first * step) / step + 1e-9).floor().clamp(-1.0, 100.0) as i32;
    (0..=count).map(|index| (first + f64::from(index)) * step).collect()
}

/// What is written at a mark: short.
fn tick(value: f64) -> String {
    let short = |value: f64| {
        let text = format!("{value:.9}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match value.abs() {
        size if size >= 1e15 || (size > 0.0 && size < 1e-6) => format!("{value:.0e}"),
        size if size >= 1e9 => format!("{}G", short(value / 1e9)),
        size if size >= 1e6 => format!("{}M", short(value / 1e6)),
        size if size >= 1e3 => format::count(value),
        _ => match short(value) {
            text if text == "-0" => "0".to_owned(),
            text => text,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Axis, tick};

    fn texts(axis: &Axis) -> Vec<String> {
        axis.ticks(super::width_of).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn marks_are_round_numbers_that_do_not_touch() {
        assert_eq!(texts(&Axis::logarithmic([61.0, 21_000.0], 40, 600)), ["100", "1,000", "10,000"]);
        assert_eq!(
            texts(&Axis::linear([0.0, 9.0], 40, 600)),
            ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
        );
        let ratios = texts(&Axis::logarithmic([0.62, 1.3], 40, 430));
        assert!(ratios.contains(&"1".to_owned()) && ratios.len() >= 4, "{ratios:?}");
        for values in
            [[1e-30, 1e30], [1e-300, 1e300], [1.0, 1.0], [0.0, 0.0], [f64::NAN, -1.0], [999.0, 1_001.0]]
        {
            for axis in [Axis::linear(values, 40, 600), Axis::logarithmic(values, 40, 600)] {
                let ticks = axis.ticks(super::width_of);
                assert!(ticks.len() >= 2, "{axis:?}");
                assert!(ticks.iter().all(|(at, _)| (40..=600).contains(at)), "{axis:?}");
            }
        }
    }

    #[test]
    fn zero_has_its_place_at_the_lower_end_of_a_logarithmic_axis() {
        let axis = Axis::logarithmic([0.0, 3.1, 150.0], 0, 500);
        assert_eq!((axis.at(0.0), axis.at(-1.0), axis.at(f64::NAN)), (0, 0, 0));
        assert!(axis.at(3.1) > 60);
        assert_eq!(texts(&axis).first().map(String::as_str), Some("0"));
        assert!(!texts(&Axis::logarithmic([3.1, 150.0], 0, 500)).contains(&"0".to_owned()));
    }

    #[test]
    fn what_lies_outside_is_drawn_at_the_end() {
        let axis = Axis::linear([0.0, 10.0], 100, 200);
        assert_eq!([-5.0, 0.0, 5.0, 10.0, 1e300].map(|value| axis.at(value)), [100, 100, 150, 200, 200]);
    }

    #[test]
    fn marks_are_short() {
        let values = [0.0, 0.1, 0.3, 5.0, 1_000.0, 2_000_000.0, 5e9, 1e20, 1e-9, 2.5];
        let written = ["0", "0.1", "0.3", "5", "1,000", "2M", "5G", "1e20", "1e-9", "2.5"];
        assert_eq!(values.map(tick), written);
        assert_eq!(tick(0.1 + 0.2), "0.3");
    }
}
