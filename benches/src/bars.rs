//! The bars: which ratio is to stay within which bound, and whether it does. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use comparisons::measure::{Interval, between_steps, ratios_less};
use comparisons::record::Records;
use serde::Serialize;

/// On which side of the bound a ratio, or a figure, is to lie, with all of its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// Not above it.
    AtMost(f64),
    /// Not below it.
    AtLeast(f64),
    /// It is only told.
    Told,
}

impl Bound {
    /// From where to where the ratio is to lie; an end that is 0 or infinite is none.
    #[must_use]
    pub fn within(self) -> [f64; 2] {
        match self {
            Self::AtMost(most) => [0.0, most],
            Self::AtLeast(least) => [least, f64::INFINITY],
            Self::Told => [0.0, f64::INFINITY],
        }
    }

    /// What is said of a ratio whose control is 1.
    fn judge(self, Interval { low, high, .. }: Interval) -> Verdict {
        match self {
            Self::AtMost(most) if high <= most => Verdict::Met,
            Self::AtMost(most) if low > most => Verdict::Missed,
            Self::AtLeast(least) if low >= least => Verdict::Met,
            Self::AtLeast(least) if high < least => Verdict::Missed,
            Self::AtMost(_) | Self::AtLeast(_) => Verdict::NotShown,
            Self::Told => Verdict::Told,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "at most {most}"),
            Self::AtLeast(least) => write!(f, "at least {least}"),
            Self::Told => f.write_str("only told"),
        }
    }
}

/// A ratio of two arms of a topic, or a figure of one of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    /// What is promised, as a row of a table: `register through the trait / raw client`.
    pub what: &'static str,
    /// The figure that is judged.
    pub figure: &'static str,
    /// The arm that is judged.
    pub ours: &'static str,
    /// The arm it is compared with; none where the figure is judged as it is.
    pub theirs: Option<&'static str>,
    /// The arm that is like `theirs` in everything: the control. Without one nothing can be promised of a ratio.
    pub again: Option<&'static str>,
    /// The arm whose figure is taken off both in each round: what is in all of them, and is neither's.
    pub less: Option<&'static str>,
    /// What is promised.
    pub bound: Bound,
}

impl Bar {
    /// One of the arms `ours`, `raw` and, as its control, `raw again`.
    #[must_use]
    pub const fn new(what: &'static str, figure: &'static str, bound: Bound) -> Self {
        Self { what, figure, ours: "ours", theirs: Some("raw"), again: Some("raw again"), less: None, bound }
    }

    /// The ratio of two arms that is only told: there need be no control.
    #[must_use]
    pub const fn told(
        what: &'static str,
        figure: &'static str,
        ours: &'static str,
        theirs: &'static str,
    ) -> Self {
        Self { what, figure, ours, theirs: Some(theirs), again: None, less: None, bound: Bound::Told }
    }

    /// A figure of the arm `ours`, judged as it is.
    #[must_use]
    pub const fn alone(what: &'static str, figure: &'static str, ours: &'static str, bound: Bound) -> Self {
        Self { what, figure, ours, theirs: None, again: None, less: None, bound }
    }

    /// What is promised, with what is taken off.
    #[must_use]
    pub fn name(&self) -> Cow<'static, str> {
        match self.less {
            Some(less) => format!("{}, {less} taken off both", self.what).into(),
            None => self.what.into(),
        }
    }

    /// It as it is kept beside its records, so that one that is worded or set anew later does not pass for the one that was measured.
    #[must_use]
    pub fn rule(&self) -> String {
        let Self { what, figure, ours, theirs, again, less, bound } = self;
        let theirs = theirs.map(|theirs| format!(" / {theirs}")).unwrap_or_default();
        let again = again.map(|again| format!(", control {again}")).unwrap_or_default();
        let less = less.map(|less| format!(", less {less}")).unwrap_or_default();
        format!("{what}: {bound} ({figure} of {ours}{theirs}{again}{less})")
    }

    /// The arms that it is about, the control apart.
    pub fn arms(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.ours).chain(self.theirs)
    }

    /// Whether its figure is a time, or what is done in one, so that a profile of processor time can show why it is what it is. Of memory none can.
    #[must_use]
    pub fn is_of_time(&self) -> bool {
        ["_ns", "_us", "_ms", "_s"].iter().any(|unit| self.figure.ends_with(unit))
    }

    /// What the records of its topic say of it.
    #[must_use]
    pub fn judge(&self, records: &Records) -> Judgement {
        let judged = |above| match self.theirs {
            Some(theirs) => ratios_less(records, self.figure, above, theirs, self.less),
            None => values(records, self.figure, above),
        };
        let rounds_of = |steps: &[Vec<f64>]| steps.iter().map(Vec::len).sum::<usize>();
        let mut ours = judged(self.ours);
        // A round of which nothing is left cannot be left out: it would be missing where it counts for one side.
        if let (Some(theirs), Some(_)) = (self.theirs, self.less)
            && rounds_of(&ours) < rounds_of(&ratios_less(records, self.figure, self.ours, theirs, None))
        {
            ours.clear();
        }
        let rounds = rounds_of(&ours);
        let ratio = between_steps(&ours);
        let control = self.again.and_then(|again| between_steps(&judged(again)));
        let verdict = match (self.bound, ratio) {
            (_, None) => Verdict::NotMeasured,
            (Bound::Told, _) => Verdict::Told,
            (bound, Some(ratio)) => match (self.theirs, control) {
                (None, _) => bound.judge(ratio),
                (Some(_), Some(control)) if control.contains(1.0) => bound.judge(ratio),
                // A control that is not 1 says that something else than what is compared made a difference. What is said is what would be said if that had made
                // the ratio larger, or smaller, by as much as the control may be off.
                (Some(_), Some(control)) => {
                    let off = control.high.max(1.0 / control.low);
                    let [larger, smaller] = [off, 1.0 / off].map(|by| bound.judge(ratio.times(by)));
                    if larger == smaller && larger != Verdict::NotShown { larger } else { Verdict::Undecided }
                }
                (Some(_), None) => Verdict::NotMeasured,
            },
        };
        Judgement { ratio, control, rounds, verdict }
    }
}

/// Bars in words, as they are kept beside their records.
#[must_use]
pub fn rule(bars: &[Bar]) -> String {
    bars.iter().map(Bar::rule).collect::<Vec<_>>().join("; ")
}

/// The arms of which a profile shows where the time goes, each once: those of every bar of time that has a bound, and where none has one, those of the first.
#[must_use]
pub fn to_profile(bars: &[Bar]) -> Vec<&'static str> {
    let of_time = || bars.iter().filter(|bar| bar.is_of_time());
    let mut chosen: Vec<&Bar> = of_time().filter(|bar| bar.bound != Bound::Told).collect();
    if chosen.is_empty() {
        chosen.extend(of_time().next());
    }
    let mut arms = Vec::new();
    for arm in chosen.into_iter().flat_map(Bar::arms) {
        if !arms.contains(&arm) {
            arms.push(arm);
        }
    }
    arms
}

/// A figure of each round of an arm, those of one step together.
fn values(records: &Records, figure: &str, arm: &str) -> Vec<Vec<f64>> {
    let mut by_step: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for record in records.of(arm) {
        if let Some(value) = record.figure(figure) {
            by_step.entry(&record.step).or_default().push(value);
        }
    }
    by_step.into_values().collect()
}

/// What records say of a bar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// The ratio, or the figure where that is judged as it is.
    pub ratio: Option<Interval>,
    /// The control.
    pub control: Option<Interval>,
    /// In how many rounds it was measured: of a ratio, both of its arms.
    pub rounds: usize,
    /// What that comes to.
    pub verdict: Verdict,
}

/// Whether a bar is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The whole interval is within the bound.
    Met,
    /// The whole interval is beyond the bound.
    Missed,
    /// The interval holds the bound.
    NotShown,
    /// The interval of the control does not hold 1, and the ratio may be on either side of the bound by as much as that is off.
    Undecided,
    /// There are too few rounds, or all are of one step.
    NotMeasured,
    /// There is no bound.
    Told,
}

impl Verdict {
    /// All, in the order in which they are counted.
    pub const ALL: [Self; 6] =
        [Self::Met, Self::NotShown, Self::Missed, Self::Undecided, Self::NotMeasured, Self::Told];

    /// The word for tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotShown => "not shown",
            Self::Missed => "missed",
            Self::Undecided => "undecided",
            Self::NotMeasured => "not measured",
            Self::Told => "told",
        }
    }

    /// What the word means.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Met => "the whole 95 % interval is within the bound.",
            Self::NotShown => "the interval holds the bound.",
            Self::Missed => "the whole interval is beyond the bound.",
            Self::Undecided => {
                "the interval of the control does not hold 1, and by as much as that may be off the ratio is not clearly on either side of the bound."
            }
            Self::NotMeasured => {
                "there are too few rounds, or none, or no control, or all was started only once."
            }
            Self::Told => "there is no bound.",
        }
    }
}

#[cfg(test)]
mod tests {
    use comparisons::record::{Record, Records};

    use super::{Bar, Bound, Verdict, to_profile};
    use crate::topics;

    /// Three rounds in turn make a step.
    fn of_a_step(record: Record) -> Record {
        Record { step: (record.run / 3).to_string(), ..record }
    }

    fn verdict(bound: Bound, ours: f64, again: f64) -> Verdict {
        let rounds = 0..12;
        // Some noise, the same for all arms of a round.
        let records = rounds.flat_map(|round| {
            let raw = 100.0 + f64::from(round % 3);
            let arm = |name: &str, times: f64, by: f64| {
                of_a_step(Record::new(name, round).with("each_us", raw * times + by))
            };
            let jitter = f64::from(round % 4) - 1.5;
            [arm("ours", ours, jitter), arm("raw", 1.0, 0.0), arm("raw again", again, jitter)]
        });
        Bar::new("a test", "each_us", bound).judge(&Records::from_iter(records)).verdict
    }

    #[test]
    fn a_bar_is_met_by_the_whole_interval_and_missed_by_the_whole_interval() {
        assert_eq!(verdict(Bound::AtMost(1.08), 1.02, 1.0), Verdict::Met);
        assert_eq!(verdict(Bound::AtMost(1.08), 1.08, 1.0), Verdict::NotShown);
        assert_eq!(verdict(Bound::AtMost(1.08), 1.2, 1.0), Verdict::Missed);
        assert_eq!(verdict(Bound::AtLeast(0.97), 1.0, 1.0), Verdict::Met);
        assert_eq!(verdict(Bound::AtLeast(0.97), 0.9, 1.0), Verdict::Missed);
        assert_eq!(verdict(Bound::Told, 9.0, 1.0), Verdict::Told);
    }

    #[test]
    fn a_control_that_is_not_1_leaves_only_what_it_cannot_explain() {
        assert_eq!(verdict(Bound::AtMost(1.08), 1.0, 1.1), Verdict::Undecided);
        assert_eq!(verdict(Bound::AtMost(1.08), 1.08, 1.1), Verdict::Undecided, "not shown as it is");
        assert_eq!(verdict(Bound::AtMost(1.08), 1.15, 1.1), Verdict::Undecided);
        assert_eq!(verdict(Bound::AtMost(1.08), 1.15, 0.9), Verdict::Undecided);
        for again in [1.1, 0.9] {
            assert_eq!(verdict(Bound::AtMost(1.08), 1.3, again), Verdict::Missed);
            assert_eq!(verdict(Bound::AtMost(1.5), 1.2, again), Verdict::Met);
            assert_eq!(verdict(Bound::AtLeast(0.97), 1.2, again), Verdict::Met);
            assert_eq!(verdict(Bound::AtLeast(0.97), 0.8, again), Verdict::Missed);
            assert_eq!(verdict(Bound::AtLeast(0.97), 1.0, again), Verdict::Undecided);
        }
    }

    #[test]
    fn what_is_in_all_arms_is_taken_off_both_round_by_round() {
        let round = |run: u32| {
            let arm = |name: &str, value: f64| Record::new(name, run).with("cpu_s", value);
            let harness = f64::from(run) / 10.0 + 1.0;
            let ours = arm("ours", 3.0 + harness);
            let [raw, again] = ["raw", "raw again"].map(|name| arm(name, 2.0 + harness));
            [ours, raw, again, arm("harness", harness)].map(of_a_step)
        };
        let records: Records = (0..12).flat_map(round).collect();
        let gross = Bar::new("a test", "cpu_s", Bound::AtMost(1.5));
        let net = Bar { less: Some("harness"), ..gross };
        let ratio = |bar: Bar| bar.judge(&records).ratio.unwrap().ratio;
        assert!((ratio(net) - 1.5).abs() < 1e-9 && ratio(gross) < 1.4);
        assert_eq!((&*net.name(), &*gross.name()), ("a test, harness taken off both", "a test"));
        assert!(net.rule().ends_with("less harness)") && !gross.rule().contains("less"));
        let nothing_left = Record::new("ours", 13).with("cpu_s", 1.0);
        let others = ["raw", "raw again", "harness"].map(|name| Record::new(name, 13).with("cpu_s", 1.0));
        let more: Records =
            (0..12).flat_map(round).chain(others.into_iter().chain([nothing_left]).map(of_a_step)).collect();
        assert_eq!(net.judge(&more).verdict, Verdict::NotMeasured);
        assert_eq!(gross.judge(&more).verdict, Verdict::Met);
    }

    #[test]
    fn a_figure_is_judged_as_it_is_and_needs_no_control() {
        let peak = |run: u32| {
            of_a_step(Record::new("memory", run).with("peak", 2.5 + f64::from(run / 3 % 3) / 10.0))
        };
        let records: Records = (0..12).map(peak).collect();
        let verdict = |most| Bar::alone("a test", "peak", "memory", Bound::AtMost(most)).judge(&records);
        assert_eq!(verdict(3.0).verdict, Verdict::Met);
        assert_eq!(verdict(2.4).verdict, Verdict::Missed);
        assert_eq!(verdict(2.6).verdict, Verdict::NotShown);
        assert_eq!(Bar::told("a test", "peak", "memory", "memory").judge(&records).verdict, Verdict::Told);
    }

    #[test]
    fn a_round_in_which_one_of_the_two_has_no_figure_is_not_counted() {
        let round = |run: u32| {
            let ours = Record::new("ours", run).with("each_us", 1.0);
            let raw = Record::new("raw", run);
            [ours, if run < 9 { raw.with("each_us", 1.0) } else { raw }].map(of_a_step)
        };
        let records: Records = (0..12).flat_map(round).collect();
        assert_eq!(Bar::new("a test", "each_us", Bound::Told).judge(&records).rounds, 9);
        assert_eq!(Bar::alone("a test", "each_us", "ours", Bound::Told).judge(&records).rounds, 12);
    }

    #[test]
    fn the_arms_of_every_bar_of_time_with_a_bound_are_profiled_once_each() {
        const MOST: Bound = Bound::AtMost(1.1);
        let first = Bar::new("a", "each_us", MOST);
        let other = Bar { ours: "by weight", ..Bar::new("b", "calls_per_s", MOST) };
        let told = Bar::told("c", "each_us", "harness", "raw");
        let memory = Bar::alone("d", "peak_ratio", "memory", MOST);
        assert_eq!(to_profile(&[told, first, memory, other, first]), ["ours", "raw", "by weight"]);
        assert_eq!(to_profile(&[memory, told, first]), ["ours", "raw"]);
        assert_eq!(to_profile(&[memory, told, told]), ["harness", "raw"]);
        assert!(to_profile(&[memory]).is_empty());
    }

    #[test]
    fn a_bar_with_a_bound_is_about_time_unless_it_says_memory_and_every_topic_has_something_to_profile() {
        for topic in topics::all() {
            for bar in topic.bars().iter().filter(|bar| bar.bound != Bound::Told) {
                assert_eq!(bar.is_of_time(), !bar.what.contains("memory"), "{}", bar.what);
            }
            assert!(!to_profile(topic.bars()).is_empty(), "{}", topic.name());
        }
    }

    #[test]
    fn without_a_measured_control_nothing_is_said() {
        let rounds = (0..12).flat_map(|run| {
            ["ours", "raw"].map(|name| of_a_step(Record::new(name, run).with("each_us", 1.0)))
        });
        let judgement = Bar::new("a test", "each_us", Bound::AtMost(1.1)).judge(&rounds.collect());
        assert_eq!((judgement.verdict, judgement.control), (Verdict::NotMeasured, None));
    }

    #[test]
    fn nothing_is_said_of_what_was_not_measured() {
        let bar = Bar::new("a test", "each_us", Bound::AtMost(1.0));
        assert_eq!(bar.judge(&Records::from_iter([])).verdict, Verdict::NotMeasured);
        assert_eq!(
            Bar { bound: Bound::Told, ..bar }.judge(&Records::from_iter([])).verdict,
            Verdict::NotMeasured
        );
    }
}
