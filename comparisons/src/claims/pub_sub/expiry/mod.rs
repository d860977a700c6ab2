//! 2b: how soon the end of an instance is told, among other keys that live.

mod others;
mod run;

use async_trait::async_trait;

use super::support::{ETCD, KEY, MEMORY, REDIS, any_above, broken_off, either};
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::{Finding, Shown};
use crate::lab::{Lab, Scale};
use crate::picture::{Drawing, Line, Picture};
use crate::record::Records;
use crate::report::format::{count, seconds};

/// Keys with a long time to live that are in the same store.
const OTHERS: &str = "others";
/// From the deadline until the watcher was told: the middle of all that died, where those that were not seen count as at the limit.
const LAG: &str = "lag_s";
/// The largest of them.
const WORST: &str = "worst_lag_s";
/// How many died.
const DIED: &str = "died";
/// Of whose end the watcher was not told within the limit.
const UNSEEN: &str = "unseen";
/// Of whose end the watcher was told before it can have come.
const TOO_EARLY: &str = "too_early";
/// How long was waited at most.
const LIMIT: &str = "limit_s";

/// How many other keys there are, and the figure that is the lag among them.
const SIZES: [(u32, &str); 4] =
    [(0, "lag_0_s"), (1_000, "lag_1000_s"), (10_000, "lag_10000_s"), (100_000, "lag_100000_s")];

/// So many instances die.
const DYING: u32 = 20;
/// The lag grows with the other keys if among the most of them it is more than so many times that without any,
const GROWS: f64 = 3.0;
/// and more than so many seconds.
const LATE: f64 = 1.0;
/// So many ends may be told too early; one more shows the drawback as well.
const MOST_EARLY: f64 = 0.0;
/// How often Redis looks for what has expired in a second, by default, and at how many keys at a time.
const LOOKS: f64 = 10.0;
const LOOKED_AT: f64 = 20.0;

const ARMS: [&str; 4] = [MEMORY, ETCD, REDIS, KEY];

static ABOUT: About = About {
    id: "2b",
    title: "Instances that die among many keys",
    question: "Instances die and their time to live runs out. How long after that is a watcher told, if there are many other keys in the same store \
               that live on?",
    hypothesis: "Redis tells of an expired key when it removes it, not when it has expired. It looks for such keys at random, 20 at a time, 10 times a \
                 second, so among N others that takes about N / 200 seconds.",
    set_up: "20 instances with a time to live of 2 s renew once and are never heard of again, among 0 to 100,000 (quick: 10,000) other keys that live for an hour. \
             A watcher notes when it is told of each end, counted from the last renewal and 2 s; it waits 60 s (quick: 20 s) at most, and an instance \
             that is not seen by then counts as seen then, which makes the lag a lower bound. An end that is told before the time to live has run out since the \
             renewal was sent is too early. In etcd each of the other keys has a lease of its own, up to 10,000, above that 10 have one. \
             In memory the others are instances of another service.",
    rule: "Shown by an arm if the median lag among the most other keys is more than 3 times the lag without any, and more than 1 s, \
           or if an end was told too early, by more than the millisecond in which servers count.",
    falsifier: "Had the lag of keyspace events been the same whatever else is in the database, the claim would be wrong here.",
    remedy: "Deadlines lie in a sorted set for each service, every script compares them with the server's clock, and a watch looks when the next is due. \
             What else is in the database does not matter.",
    caveat: "Redis's documentation says that events of expiry come late. A registry that reads the key instead of waiting for an event sees at once \
             that it has expired, and a database of its own for the registry, or a higher hz, makes it less.",
    left_out: "The naive hash is left out, since an instance in it has no time to live of its own, so that nobody is told when one dies; etcd with three nodes, \
               since leases end on the leader, alone as well as among three.",
    harmless: false,
};

const COLUMNS: [Column; 7] = [
    Column::new("no other keys", SIZES[0].1, OfRuns::Median, Unit::Seconds),
    Column::new("among 1,000", SIZES[1].1, OfRuns::Median, Unit::Seconds),
    Column::new("among 10,000", SIZES[2].1, OfRuns::Median, Unit::Seconds),
    Column::new("among 100,000", SIZES[3].1, OfRuns::Median, Unit::Seconds),
    Column::new("died", DIED, OfRuns::Sum, Unit::Count),
    Column::new("not seen in time", UNSEEN, OfRuns::Sum, Unit::Count),
    Column::new("told too early", TOO_EARLY, OfRuns::Sum, Unit::Count),
];

/// Instances that die among many keys.
#[derive(Debug)]
pub(super) struct Expiry;

#[async_trait]
impl Experiment for Expiry {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn steps(&self, lab: &Lab) -> Vec<Step> {
        let seconds = |arm: &str| match arm {
            KEY => lab.by_scale(32.0, 135.0),
            ETCD => lab.by_scale(12.0, 40.0),
            _ => lab.by_scale(8.0, 16.0),
        };
        ARMS.iter().map(|arm| Step::new(*arm, seconds(arm))).collect()
    }

    async fn run(&self, lab: &Lab, step: &Step) -> Result<(), Trouble> {
        for (others, figure) in sizes(lab.scale) {
            lab.keep(run::run(lab, &step.name, *others, figure).await?);
        }
        Ok(())
    }

    fn judge(&self, records: &Records) -> Finding {
        if let Some(why) = broken_off(records, &[ETCD, REDIS, KEY]) {
            return Finding::undecided(why);
        }
        let shown = |arm| either(grows(records, arm), any_above(records, arm, TOO_EARLY, MOST_EARLY));
        let verdict = Shown { naive: shown(KEY), ours: shown(REDIS), etcd: shown(ETCD) }.verdict();
        let Some((most, lag, unseen)) = among_most(records, KEY) else {
            return Finding::undecided("no run of a naive registry among other keys counts");
        };
        let figure = format!("{}{} late among {} other keys", at_least(unseen), seconds(lag), count(most));
        let alone = records.median(KEY, SIZES[0].1).map_or("an unknown time".to_owned(), seconds);
        let naive = format!(
            "Among {} other keys, Redis's own event of an instance's expiry came {}{} after it was due (middle of {} instances, {} of them not seen at \
             all in time), against {alone} with no other keys; by the rate at which Redis looks for what has expired, it takes {} until it has looked at every key once.",
            count(most),
            at_least(unseen),
            seconds(lag),
            DYING,
            count(unseen),
            seconds(expected(most)),
        );
        let of = |arm| {
            among_most(records, arm).map_or("was not measured".to_owned(), |(most, lag, unseen)| {
                format!(
                    "told it {}{} after it was due among {} others",
                    at_least(unseen),
                    seconds(lag),
                    count(most)
                )
            })
        };
        let early = |arm| records.sum(arm, TOO_EARLY).map_or("an unknown number".to_owned(), count);
        let ours = format!(
            "Our registry on Redis {}, and etcd {}; told too early were {} ends by events, {} by our registry on Redis and {} by etcd.",
            of(REDIS),
            of(ETCD),
            early(KEY),
            early(REDIS),
            early(ETCD)
        );
        Finding { verdict, figure, sentences: [naive, ours] }
    }

    fn columns(&self) -> &'static [Column] {
        &COLUMNS
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        let line = |arm: &&'static str| {
            let point =
                |(others, figure): &(u32, &str)| Some([f64::from(*others), records.median(arm, figure)?]);
            let points: Vec<_> = SIZES.iter().filter_map(point).collect();
            (!points.is_empty()).then(|| Line { name: (*arm).to_owned(), points })
        };
        let mut lines: Vec<_> = ARMS.iter().filter_map(line).collect();
        if lines.is_empty() {
            return Vec::new();
        }
        let measured = lines.iter().flat_map(|line| &line.points).map(|[others, _]| *others);
        let mut sizes: Vec<_> = measured.filter(|others| *others > 0.0).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        if !sizes.is_empty() {
            let points = sizes.into_iter().map(|others| [others, expected(others)]).collect();
            lines.push(Line { name: "expected: Redis has looked at every key once".to_owned(), points });
        }
        let title = match records.max(KEY, UNSEEN) {
            Some(unseen) if unseen > 0.0 => {
                "With keyspace events the end of an instance is told the later, the more keys there are; the last point is a lower bound"
            }
            _ => "How late the end of an instance is told, by how many other keys there are",
        };
        let (x, y) = ("other keys in the same store".to_owned(), "median lag, s".to_owned());
        vec![Picture { title: title.to_owned(), drawing: Drawing::Lag { x, y, lines } }]
    }
}

fn sizes(scale: Scale) -> &'static [(u32, &'static str)] {
    match scale {
        Scale::Quick => &SIZES[..3],
        Scale::Full => &SIZES,
    }
}

/// How long Redis takes to look at all keys once, in s.
fn expected(others: f64) -> f64 {
    others / (LOOKED_AT * LOOKS)
}

/// The largest size that an arm was measured at: other keys, median lag in s, and how many were not seen.
fn among_most(records: &Records, arm: &str) -> Option<(f64, f64, f64)> {
    let (others, figure) = SIZES.iter().rev().find(|(_, figure)| records.median(arm, figure).is_some())?;
    let of_size = records.of(arm).filter(|record| record.figure(figure).is_some());
    let unseen = of_size.filter_map(|record| record.figure(UNSEEN)).sum();
    Some((f64::from(*others), records.median(arm, figure)?, unseen)).filter(|(others, ..)| *others > 0.0)
}

/// What is written before a lag for which those that were not seen count as seen at the limit.
fn at_least(unseen: f64) -> &'static str {
    if unseen > 0.0 { "at least " } else { "" }
}

fn grows(records: &Records, arm: &str) -> Option<bool> {
    let alone = records.median(arm, SIZES[0].1)?;
    let (_, lag, _) = among_most(records, arm)?;
    Some(lag > LATE && lag > GROWS * alone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Verdict;
    use crate::record::Record;

    fn record(arm: &str, size: usize, lag: f64) -> Record {
        let (others, figure) = SIZES[size];
        let record = Record::new(arm, 0).with(OTHERS, f64::from(others)).with(figure, lag).with(LAG, lag);
        record.with(DIED, 20.0).with(UNSEEN, 0.0).with(TOO_EARLY, 0.0).if_bitten(true, "20 died")
    }

    fn judged(lags: &[(&str, f64, f64)]) -> Finding {
        let two = |(arm, alone, among): &(&str, f64, f64)| [record(arm, 0, *alone), record(arm, 2, *among)];
        Expiry.judge(&lags.iter().flat_map(two).collect())
    }

    #[test]
    fn it_grows_only_if_it_is_both_many_times_as_late_and_late() {
        let naive =
            |alone, among| judged(&[(KEY, alone, among), (REDIS, 0.1, 0.1), (ETCD, 0.3, 0.3)]).verdict;
        assert_eq!(naive(0.1, 20.0), Verdict::Depends);
        assert_eq!(naive(0.4, 1.21), Verdict::Depends);
        assert_eq!(naive(0.1, 1.0), Verdict::Refuted, "not late");
        assert_eq!(naive(0.5, 1.5), Verdict::Refuted, "not many times as late");
    }

    #[test]
    fn an_end_that_is_told_too_early_decides_as_well() {
        let judged = |early: f64| {
            let all =
                [KEY, REDIS, ETCD].into_iter().flat_map(|arm| [record(arm, 0, 0.1), record(arm, 2, 0.1)]);
            let all =
                all.map(|record| if record.arm == KEY { record.with(TOO_EARLY, early) } else { record });
            Expiry.judge(&all.collect())
        };
        assert_eq!((judged(0.0).verdict, judged(1.0).verdict), (Verdict::Refuted, Verdict::Depends));
        assert!(judged(1.0).sentences[1].contains("2 ends by events"), "{:?}", judged(1.0));
    }

    #[test]
    fn who_else_shows_it_decides_whose_it_is() {
        let all = |ours, etcd| judged(&[(KEY, 0.1, 20.0), (REDIS, 0.1, ours), (ETCD, 0.3, etcd)]).verdict;
        assert_eq!((all(5.0, 0.3), all(0.1, 5.0)), (Verdict::Confirmed, Verdict::Refuted));
    }

    #[test]
    fn without_both_ends_of_the_scale_nothing_is_decided() {
        assert_eq!(Expiry.judge(&Records::default()).verdict, Verdict::Undecided);
        let only_alone = Records::from_iter([KEY, REDIS, ETCD].map(|arm| record(arm, 0, 0.1)));
        assert_eq!(Expiry.judge(&only_alone).verdict, Verdict::Undecided);
        let only_among = Records::from_iter([KEY, REDIS, ETCD].map(|arm| record(arm, 2, 9.0)));
        assert_eq!(Expiry.judge(&only_among).verdict, Verdict::Undecided);
        assert_eq!(judged(&[(KEY, 0.1, 20.0), (REDIS, 0.1, 0.1)]).verdict, Verdict::Undecided);
        let invalid = [KEY, REDIS, ETCD].map(|arm| record(arm, 2, 9.0).invalid("nobody died"));
        assert_eq!(Expiry.judge(&Records::from_iter(invalid)).verdict, Verdict::Undecided);
    }

    #[test]
    fn what_was_not_seen_makes_it_a_lower_bound() {
        let records = [record(KEY, 0, 0.1), record(KEY, 3, 60.0).with(UNSEEN, 15.0)];
        assert_eq!(
            Expiry.judge(&Records::from_iter(records)).figure,
            "at least 60 s late among 100,000 other keys"
        );
    }

    #[test]
    fn the_picture_has_what_is_expected_beside_what_was_measured() {
        assert!(Expiry.pictures(&Records::default()).is_empty());
        let records = Records::from_iter([record(KEY, 0, 0.1), record(KEY, 2, 21.0)]);
        let [Picture { drawing: Drawing::Lag { lines, .. }, .. }] = &Expiry.pictures(&records)[..] else {
            panic!("one picture");
        };
        assert_eq!(lines[0].points, [[0.0, 0.1], [10_000.0, 21.0]]);
        assert_eq!(lines[1].points, [[10_000.0, 50.0]]);
    }
}
