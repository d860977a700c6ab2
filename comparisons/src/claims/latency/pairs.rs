//! Which arms are compared, and what their ratios say: pure functions of records.

use super::arms::{EVENTS, FAILED, UNSEEN};
use crate::finding::Verdict;
use crate::measure::{Interval, bootstrap, ratios};
use crate::picture;
use crate::record::{Outcome, Records};
use crate::report::format::count;

/// Redis is slower where the whole interval of Redis / etcd is above this, and not slower where it is not above.
pub(super) const SLOWER: f64 = 1.1;
/// Redis is faster where the whole interval is below this.
pub(super) const FASTER: f64 = 0.9;

/// An arm on Redis and one on etcd that do the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) redis: &'static str,
    pub(super) etcd: &'static str,
}

/// What is compared with what in an experiment.
#[derive(Debug)]
pub(super) struct Comparison {
    /// The same thing twice: their ratio must be 1, or the measuring is at fault.
    pub(super) control: [&'static str; 2],
    /// By which the verdict is found; the first is told of first.
    pub(super) deciding: &'static [Pair],
    /// What is shown beside them.
    pub(super) beside: &'static [Pair],
}

/// What the interval of a pair says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    Slower,
    Same,
    Faster,
    /// The interval is too wide.
    Open,
}

pub(super) fn says(interval: Interval) -> Says {
    match interval {
        Interval { low, .. } if low > SLOWER => Says::Slower,
        Interval { high, .. } if high < FASTER => Says::Faster,
        Interval { high, .. } if high <= SLOWER => Says::Same,
        _ => Says::Open,
    }
}

/// The verdict of several pairs: what would be found however those turned out that are open.
pub(super) fn verdict(pairs: &[Says]) -> Verdict {
    let are = |wanted: &[Says]| pairs.iter().filter(|says| wanted.contains(says)).count();
    match (are(&[Says::Slower]), are(&[Says::Same, Says::Faster]), are(&[Says::Open])) {
        (0, 0, _) => Verdict::Undecided,
        (1.., 1.., _) => Verdict::Depends,
        (1.., 0, 0) => Verdict::Confirmed,
        (0, 1.., 0) => Verdict::Refuted,
        _ => Verdict::Undecided,
    }
}

/// What a comparison gave in one figure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Compared {
    /// Of the deciding pairs, in order.
    pub(super) deciding: Vec<Interval>,
    /// Of the same thing twice.
    pub(super) control: Interval,
}

impl Comparison {
    /// Or why it cannot be told.
    pub(super) fn compare(&self, records: &Records, figure: &str) -> Result<Compared, String> {
        if let Some(why) = broken_off(records).or_else(|| self.missing(records)) {
            return Err(why);
        }
        let [again, once] = self.control;
        let control = self.interval(records, figure, again, once)?;
        let of = |pair: &Pair| self.interval(records, figure, pair.redis, pair.etcd);
        let deciding = self.deciding.iter().map(of).collect::<Result<Vec<_>, _>>()?;
        if control.contains(1.0) {
            return Ok(Compared { deciding, control });
        }
        let (low, high) = (apart_from_1(control.low), apart_from_1(control.high));
        Err(format!("the same arm measured twice differed from itself by a factor of {low} to {high}"))
    }

    /// Why times cannot be compared: changes of an arm that decides failed or were never seen. That is another kind of finding than a time, and what
    /// is left of such an arm must not count as if it were all.
    fn missing(&self, records: &Records) -> Option<String> {
        let pairs = self.deciding.iter().flat_map(|pair| [pair.redis, pair.etcd]);
        pairs.chain(self.control).find_map(|arm| {
            let sum = |figure| records.sum(arm, figure).unwrap_or(0.0);
            let (unseen, failed) = (sum(UNSEEN), sum(FAILED));
            (unseen + failed > 0.0).then(|| {
                let why = records.of(arm).find_map(|record| record.note.as_ref());
                let why = why.map(|why| format!(" (such as one because of {why})")).unwrap_or_default();
                format!(
                    "of {} changes through `{arm}`, {} were never seen by the watcher and {} were not acknowledged{why}, and what never came has no latency",
                    count(sum(EVENTS)),
                    count(unseen),
                    count(failed)
                )
            })
        })
    }

    fn interval(
        &self,
        records: &Records,
        figure: &str,
        above: &str,
        below: &str,
    ) -> Result<Interval, String> {
        let ratios = ratios(records, figure, above, below);
        let seed = records.all().next().map_or(0, |record| record.seed);
        bootstrap(&ratios, seed).ok_or_else(|| {
            let rounds: usize = ratios.iter().map(Vec::len).sum();
            format!("only {rounds} rounds count of both `{above}` and `{below}`")
        })
    }

    /// All pairs for which there are enough rounds, and the control, as rows of a picture.
    pub(super) fn rows(&self, records: &Records, figure: &str) -> Vec<picture::Interval> {
        let pairs = self.deciding.iter().chain(self.beside).map(|pair| (pair.redis, pair.etcd));
        let all = pairs.chain([self.control.into()]);
        let row = |(above, below): (&str, &str)| {
            let Interval { ratio, low, high } = self.interval(records, figure, above, below).ok()?;
            Some(picture::Interval { name: format!("{above} / {below}"), ratio, between: [low, high] })
        };
        all.filter_map(row).collect()
    }
}

/// Why a step broke off, if one did: then it is not known to which side what is missing would have spoken.
pub(super) fn broken_off(records: &Records) -> Option<String> {
    records.all().find_map(|record| match &record.outcome {
        Outcome::NotRun { why } => Some(format!("`{}` was not run: {why}", record.arm)),
        Outcome::Failed { why } => Some(format!("`{}` broke off: {why}", record.arm)),
        Outcome::Valid { .. } | Outcome::Invalid { .. } => None,
    })
}

/// With three digits after the point, or with so many more that it is not written as 1.
fn apart_from_1(bound: f64) -> String {
    let written = |digits: usize| format!("{bound:.digits$}");
    let parted = (3..9).map(written).find(|written| written.parse() != Ok(1.0));
    parted.unwrap_or_else(|| written(3))
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Comparison, EVENTS, FAILED, FASTER, Pair, SLOWER, Says, UNSEEN, says, verdict};
    use crate::finding::Verdict;
    use crate::measure::Interval;
    use crate::record::{Outcome, Record, Records};

    /// Twelve rounds in which an arm's figure is always the same.
    pub(in super::super) fn rounds(figure: &str, arms: &[(&str, f64)]) -> Records {
        let of = |(arm, value): &(&str, f64)| {
            let (arm, value, figure) = ((*arm).to_owned(), *value, figure.to_owned());
            (0..12).map(move |run| Record::new(arm.clone(), run).with(&figure, value))
        };
        arms.iter().flat_map(of).collect()
    }

    const COMPARISON: Comparison = Comparison {
        control: ["again", "e"],
        deciding: &[Pair { redis: "r", etcd: "e" }],
        beside: &[Pair { redis: "r", etcd: "absent" }],
    };

    #[test]
    fn an_interval_must_lie_beyond_the_threshold_as_a_whole() {
        let of = |low, high| says(Interval { ratio: f64::midpoint(low, high), low, high });
        assert_eq!(of(SLOWER + 0.01, 2.0), Says::Slower);
        assert_eq!(of(SLOWER - 0.01, 2.0), Says::Open);
        assert_eq!(of(0.5, FASTER - 0.01), Says::Faster);
        assert_eq!(of(0.5, FASTER + 0.01), Says::Same);
        assert_eq!(of(0.5, SLOWER), Says::Same);
        assert_eq!(of(0.5, SLOWER + 0.01), Says::Open);
    }

    #[test]
    fn a_verdict_is_one_that_open_pairs_cannot_change() {
        use Says::{Faster, Open, Same, Slower};
        assert_eq!(verdict(&[Slower, Slower]), Verdict::Confirmed);
        assert_eq!(verdict(&[Faster, Same]), Verdict::Refuted);
        assert_eq!(verdict(&[Slower, Same, Open]), Verdict::Depends);
        assert_eq!(verdict(&[Slower, Open]), Verdict::Undecided);
        assert_eq!(verdict(&[Faster, Open]), Verdict::Undecided);
        assert_eq!(verdict(&[Open]), Verdict::Undecided);
        assert_eq!(verdict(&[]), Verdict::Undecided);
    }

    #[test]
    fn pairs_are_compared_round_by_round() {
        let records = rounds("x", &[("r", 100.0), ("e", 400.0), ("again", 400.0)]);
        let compared = COMPARISON.compare(&records, "x").unwrap();
        assert_eq!(compared.deciding, [Interval { ratio: 0.25, low: 0.25, high: 0.25 }]);
        let rows = COMPARISON.rows(&records, "x");
        assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["r / e", "again / e"]);
    }

    #[test]
    fn nothing_is_said_where_the_same_thing_differs_from_itself() {
        let records = rounds("x", &[("r", 100.0), ("e", 400.0), ("again", 440.0)]);
        let why = COMPARISON.compare(&records, "x").unwrap_err();
        assert!(why.contains("differed from itself by a factor of 1.100 to 1.100"), "{why}");
        let records = rounds("x", &[("r", 100.0), ("e", 400.0), ("again", 399.96)]);
        let why = COMPARISON.compare(&records, "x").unwrap_err();
        assert!(why.contains("by a factor of 0.9999 to 0.9999"), "that 1 is not in it is to be seen: {why}");
    }

    #[test]
    fn nothing_is_said_of_times_where_changes_are_missing() {
        let compared = |arm: &str, figure: &str, missing: f64| {
            let records = rounds("x", &[("r", 100.0), ("e", 400.0), ("again", 400.0)]);
            let records = records.all().cloned().map(|record| {
                let of_it = if record.arm == arm && record.run == 3 { missing } else { 0.0 };
                record.with(EVENTS, 100.0).with(UNSEEN, 0.0).with(FAILED, 0.0).with(figure, of_it)
            });
            COMPARISON.compare(&records.collect(), "x")
        };
        for arm in ["r", "e", "again"] {
            for figure in [UNSEEN, FAILED] {
                assert!(compared(arm, figure, 0.0).is_ok());
                let why = compared(arm, figure, 1.0).unwrap_err();
                assert!(why.starts_with(&format!("of 1,200 changes through `{arm}`")), "{why}");
            }
        }
        assert!(compared("beside", UNSEEN, 1.0).is_ok());
    }

    #[test]
    fn nothing_is_said_where_a_step_broke_off() {
        let records = rounds("x", &[("r", 100.0), ("e", 400.0), ("again", 400.0)]);
        let broken =
            Record { outcome: Outcome::Failed { why: "refused".to_owned() }, ..Record::new("rounds 2", 0) };
        let records: Records = records.all().cloned().chain([broken]).collect();
        assert!(COMPARISON.compare(&records, "x").unwrap_err().contains("`rounds 2` broke off: refused"));
    }

    #[test]
    fn nothing_is_said_where_rounds_are_missing() {
        let records = rounds("x", &[("r", 100.0), ("e", 400.0)]);
        assert!(COMPARISON.compare(&records, "x").unwrap_err().contains("only 0 rounds"));
        assert!(COMPARISON.compare(&records, "y").is_err());
    }
}
