//! How numbers are written. Used wherever one is shown, so that the same number looks the same in tables, sentences and pictures.

use crate::experiment::Unit;

/// What is written where there is no number.
pub const NOTHING: &str = "–";

/// A number in its unit.
///
/// ```
/// use comparisons::experiment::Unit;
/// use comparisons::report::format::figure;
///
/// assert_eq!(figure(56_153.0, Unit::Count), "56,153");
/// assert_eq!(figure(0.0123, Unit::Seconds), "12.3 ms");
/// ```
#[must_use]
pub fn figure(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Count => count(value),
        Unit::Seconds => seconds(value),
        Unit::Micros => micros(value),
        Unit::Bytes => bytes(value),
        Unit::Share => share(value),
        Unit::Ratio => ratio(value),
        Unit::YesNo => yes_no(value).to_owned(),
    }
}

/// A whole number, in groups of three digits: `56,153`.
#[must_use]
pub fn count(value: f64) -> String {
    if !value.is_finite() {
        return NOTHING.to_owned();
    }
    grouped(&format!("{value:.0}"))
}

/// So many runs: `1 run`, `1,200 runs`.
#[must_use]
pub fn runs(number: usize) -> String {
    format!("{} {}", count(number as f64), if number == 1 { "run" } else { "runs" })
}

/// How often: `once`, `20 times`.
#[must_use]
pub fn times(number: f64) -> String {
    if number == 1.0 { "once".to_owned() } else { format!("{} times", count(number)) }
}

/// Seconds, to three digits: `1.23 s`, below one second `12.3 ms`.
#[must_use]
pub fn seconds(value: f64) -> String {
    scaled(value, &[(1e-3, "ms"), (1.0, "s")])
}

/// Microseconds, to three digits: `123 µs`, from 1,000 `1.23 ms`, from 1,000,000 `1.23 s`.
#[must_use]
pub fn micros(value: f64) -> String {
    scaled(value, &[(1.0, "µs"), (1e3, "ms"), (1e6, "s")])
}

/// Bytes, to three digits: `123 B`, from 1,024 `1.21 KiB`, from 1,048,576 `1.21 MiB`.
#[must_use]
pub fn bytes(value: f64) -> String {
    scaled(value, &[(1.0, "B"), (1024.0, "KiB"), (1024.0 * 1024.0, "MiB")])
}

/// A share of 1 in percent. All or nothing is only said of what is exactly that: `0 %`, `< 0.01 %`, `12.3 %`, `> 99.9 %`, `100 %`.
#[must_use]
pub fn share(value: f64) -> String {
    let percent = value * 100.0;
    if percent > 0.0 && percent < 0.01 {
        "< 0.01 %".to_owned()
    } else if percent > 99.9 && percent < 100.0 {
        "> 99.9 %".to_owned()
    } else {
        scaled(percent, &[(1.0, "%")])
    }
}

/// Two digits after the point: `0.72`.
#[must_use]
pub fn ratio(value: f64) -> String {
    if !value.is_finite() {
        return NOTHING.to_owned();
    }
    grouped(&format!("{value:.2}"))
}

fn yes_no(value: f64) -> &'static str {
    if value.is_nan() {
        NOTHING
    } else if value == 0.0 {
        "no"
    } else {
        "yes"
    }
}

/// In the largest unit that it reaches once it is rounded, so that nothing becomes `1,000 ms`.
fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    if !value.is_finite() {
        return NOTHING.to_owned();
    }
    let in_unit = |size: f64| three_digits(value / size);
    let reached =
        units.iter().rev().find(|(size, _)| value == 0.0 && *size == 1.0 || in_unit(*size).abs() >= 1.0);
    match reached.or(units.first()) {
        Some((size, name)) => format!("{} {name}", plain(in_unit(*size))),
        None => NOTHING.to_owned(),
    }
}

/// Rounded to three digits; whole from 100 on.
fn three_digits(value: f64) -> f64 {
    let digits = 2.0 - value.abs().log10().floor();
    if !digits.is_finite() || digits <= 0.0 {
        return value.round();
    }
    // More than this is no figure to read.
    let scale = 10_f64.powf(digits.min(6.0));
    (value * scale).round() / scale
}

/// Without digits that say nothing, and with its thousands apart.
fn plain(value: f64) -> String {
    let text = if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value}") };
    grouped(&text)
}

/// With a comma between groups of three digits before the point, and no sign before a zero.
fn grouped(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let is_zero = digits.bytes().all(|byte| byte == b'0' || byte == b'.');
    let mut written = String::from(if is_zero { "" } else { sign });
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            written.push(',');
        }
        written.push(digit);
    }
    written + rest
}

#[cfg(test)]
mod tests {
    use super::{NOTHING, bytes, count, figure, micros, ratio, seconds, share};
    use crate::experiment::Unit;

    #[test]
    fn counts_are_in_groups_of_three_digits() {
        let written: Vec<String> = [0.0, -0.2, 999.0, 1_000.0, 56_153.4, -1_234_567.0].map(count).to_vec();
        assert_eq!(written, ["0", "0", "999", "1,000", "56,153", "-1,234,567"]);
    }

    #[test]
    fn times_change_their_unit_where_they_reach_it_once_rounded() {
        assert_eq!([0.0, 0.000_05, 0.999, 0.999_4].map(seconds), ["0 s", "0.05 ms", "999 ms", "999 ms"]);
        assert_eq!([0.999_6, 1.0, 21.68, 3_601.2].map(seconds), ["1 s", "1 s", "21.7 s", "3,601 s"]);
        assert_eq!([0.0, 0.4, 999.4, 999.6].map(micros), ["0 µs", "0.4 µs", "999 µs", "1 ms"]);
        assert_eq!([1_234.0, 999_400.0, 999_600.0].map(micros), ["1.23 ms", "999 ms", "1 s"]);
        assert_eq!([-354.2, -1_500.0].map(micros), ["-354 µs", "-1.5 ms"]);
    }

    #[test]
    fn bytes_change_their_unit_where_they_reach_it() {
        assert_eq!([0.0, 1_023.0, 1_024.0].map(bytes), ["0 B", "1,023 B", "1 KiB"]);
        assert_eq!([1_047_000.0, 1_048_576.0, 5e9].map(bytes), ["1,022 KiB", "1 MiB", "4,768 MiB"]);
    }

    #[test]
    fn a_share_is_all_or_nothing_only_if_it_is() {
        assert_eq!([0.0, 0.000_09, 0.000_1, 0.123_4].map(share), ["0 %", "< 0.01 %", "0.01 %", "12.3 %"]);
        assert_eq!([0.999, 0.999_01, 1.0, 2.5].map(share), ["99.9 %", "> 99.9 %", "100 %", "250 %"]);
    }

    #[test]
    fn ratios_have_two_digits_after_the_point() {
        assert_eq!([0.0, 0.724, 1.1, 12_345.678].map(ratio), ["0.00", "0.72", "1.10", "12,345.68"]);
    }

    #[test]
    fn what_is_no_number_is_written_as_none_in_every_unit() {
        let units =
            [Unit::Count, Unit::Seconds, Unit::Micros, Unit::Bytes, Unit::Share, Unit::Ratio, Unit::YesNo];
        for unit in units {
            assert_eq!(figure(f64::NAN, unit), NOTHING, "{unit:?}");
            for value in [f64::INFINITY, f64::MAX, f64::MIN, f64::MIN_POSITIVE, -1e-9] {
                assert!(!figure(value, unit).is_empty(), "{unit:?}");
            }
        }
        assert_eq!([0.0, 1.0].map(|value| figure(value, Unit::YesNo)), ["no", "yes"]);
    }
}
