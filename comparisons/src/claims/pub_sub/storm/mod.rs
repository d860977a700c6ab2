//! 2d: many instances die at the same moment.

mod run;

use async_trait::async_trait;

use super::support::{ETCD, KEY, MEMORY, REDIS, any_above, broken_off, either};
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::{Finding, Shown};
use crate::lab::Lab;
use crate::picture::{Bar, Drawing, Picture};
use crate::record::Records;
use crate::report::format::{count, seconds};

/// How many died.
const DIED: &str = "died";
/// From its own deadline until the watcher was told: the middle of all, and of those that were not seen the limit.
const LAG: &str = "median_lag_s";
/// The largest of them.
const WORST: &str = "worst_lag_s";
/// From the last deadline of all until the last end was told; the limit if one was not seen.
const LAST: &str = "last_after_last_deadline_s";
/// Of whose end the watcher was not told within the limit.
const UNSEEN: &str = "unseen";
/// Of whose end the watcher was told before it can have come.
const TOO_EARLY: &str = "too_early";
/// Between the first deadline and the last.
const SPREAD: &str = "deadlines_spread_s";
/// How long registering took.
const REGISTERED: &str = "registering_s";

/// The last end may be told so many seconds after its deadline; later shows the drawback.
const LATE: f64 = 5.0;
/// So many ends may be told too early; one more shows the drawback as well.
const MOST_EARLY: f64 = 0.0;
/// It speaks against etcd if it takes more than so many times as long as our registry on Redis.
const SLOWER: f64 = 2.0;
/// And by so many seconds at least: of a few instances both are quick.
const LATER: f64 = 1.0;

const ARMS: [&str; 4] = [MEMORY, ETCD, REDIS, KEY];

static ABOUT: About = About {
    id: "2d",
    title: "Many instances that die at once",
    question: "A place loses its power, and thousands of instances die at the same moment. How long after their time to live is the last of them off every \
               view?",
    hypothesis: "If pub/sub and expiry in Redis are not fit for production, a wave of ends comes late or not at all.",
    set_up: "5,000 instances (quick: 500) of one service register with a time to live of 20 s (quick: 5 s) and a lease each, renew once more all \
             together, and are never heard of again. A watcher notes when it is told of each end, counted from when the last renewal of each was acknowledged and \
             its time to live; an end that is told before the time to live has run out since that renewal was sent is too early. No other keys are in the store.",
    rule: "Shown by an arm if the last end was told more than 5 s after its deadline, or not at all within 60 s, or if an end was told too early, by more than the \
           millisecond in which servers count.",
    falsifier: "If the last end is told within 5 s on Redis, the claim is wrong here.",
    remedy: "A script ends up to 256 overdue leases at once and the watch looks again until none is left.",
    caveat: "etcd revokes at most 500 leases in each half second, by design, so that a wave of ends does not starve its writes. Instances of one process can \
             share a lease there, and then end together.",
    left_out: "The naive hash is left out, since an instance in it has no time to live of its own, so that nobody is told when one dies; etcd with three nodes, \
               since leases end on the leader, alone as well as among three.",
    harmless: false,
};

const COLUMNS: [Column; 6] = [
    Column::new("died at once", DIED, OfRuns::Sum, Unit::Count),
    Column::new("told after its deadline, median", LAG, OfRuns::Median, Unit::Seconds),
    Column::new("worst", WORST, OfRuns::Max, Unit::Seconds),
    Column::new("last, after the last deadline", LAST, OfRuns::Max, Unit::Seconds),
    Column::new("not seen in time", UNSEEN, OfRuns::Sum, Unit::Count),
    Column::new("told too early", TOO_EARLY, OfRuns::Sum, Unit::Count),
];

/// Many instances that die at once.
#[derive(Debug)]
pub(super) struct Storm;

#[async_trait]
impl Experiment for Storm {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn steps(&self, lab: &Lab) -> Vec<Step> {
        let seconds = |arm: &str| match arm {
            ETCD => lab.by_scale(8.0, 34.0),
            _ => lab.by_scale(6.0, 26.0),
        };
        ARMS.iter().map(|arm| Step::new(*arm, seconds(arm))).collect()
    }

    async fn run(&self, lab: &Lab, step: &Step) -> Result<(), Trouble> {
        lab.keep(run::run(lab, &step.name).await?);
        Ok(())
    }

    fn judge(&self, records: &Records) -> Finding {
        if let Some(why) = broken_off(records, &[ETCD, REDIS, KEY]) {
            return Finding::undecided(why);
        }
        let shown = |arm| {
            either(any_above(records, arm, WORST, LATE), any_above(records, arm, TOO_EARLY, MOST_EARLY))
        };
        let verdict = Shown { naive: shown(KEY), ours: shown(REDIS), etcd: shown(ETCD) }.verdict();
        let worst = |arm| worst(records, arm).unwrap_or("an unknown time".to_owned());
        let Some(died) = records.max(REDIS, DIED).or(records.max(KEY, DIED)) else {
            return Finding::undecided("no run on Redis counts");
        };
        let figure = format!(
            "last of {} told after: Redis {}, keyspace events {}, etcd {}",
            count(died),
            worst(REDIS),
            worst(KEY),
            worst(ETCD)
        );
        let redis = format!(
            "When {} instances died at once, the one that was told last was told {} after its deadline by our registry on Redis, and {} after it by \
             Redis's own events, of which {} did not come in time.",
            count(died),
            worst(REDIS),
            worst(KEY),
            records.sum(KEY, UNSEEN).map_or("an unknown number".to_owned(), count),
        );
        let early = |arm| records.sum(arm, TOO_EARLY).map_or("an unknown number".to_owned(), count);
        let etcd = format!(
            "On etcd it was told {} after its deadline, and in memory {}; told too early were {} ends by events, {} by our registry on Redis and {} by etcd.",
            worst(ETCD),
            worst(MEMORY),
            early(KEY),
            early(REDIS),
            early(ETCD)
        );
        Finding { verdict, figure, sentences: [redis, etcd] }
    }

    fn columns(&self) -> &'static [Column] {
        &COLUMNS
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        let bar = |arm: &&'static str| {
            let (worst, unseen) = (records.max(arm, WORST)?, records.sum(arm, UNSEEN)?);
            let label = match unseen {
                0.0 => seconds(worst),
                unseen => format!("{}, {} not seen by then", seconds(worst), count(unseen)),
            };
            Some(Bar { name: (*arm).to_owned(), length: worst, label, bad: worst > LATE })
        };
        let bars: Vec<_> = ARMS.iter().filter_map(bar).collect();
        if bars.is_empty() {
            return Vec::new();
        }
        let title = "How long after its deadline the last of many that died at once was told".to_owned();
        vec![Picture { title, drawing: Drawing::Bars { x: "seconds after its deadline".to_owned(), bars } }]
    }

    fn against_etcd(&self, records: &Records) -> Option<String> {
        let (etcd, redis) = (records.max(ETCD, WORST)?, records.max(REDIS, WORST)?);
        let died = records.max(ETCD, DIED)?;
        let said = |arm| worst(records, arm).unwrap_or("an unknown time".to_owned());
        (etcd > SLOWER * redis && etcd > redis + LATER).then(|| {
            format!(
                "When {} instances with a lease each die at once, etcd tells the last end {} after its deadline, and our registry on Redis {}.",
                count(died),
                said(ETCD),
                said(REDIS)
            )
        })
    }
}

/// The worst lag of an arm in words; those that were not seen count as seen at the limit.
fn worst(records: &Records, arm: &str) -> Option<String> {
    let at_least = if records.sum(arm, UNSEEN)? > 0.0 { "at least " } else { "" };
    Some(format!("{at_least}{}", seconds(records.max(arm, WORST)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Verdict;
    use crate::record::Record;

    fn record(arm: &str, worst: f64) -> Record {
        let record = Record::new(arm, 0).with(DIED, 5_000.0).with(WORST, worst).with(UNSEEN, 0.0);
        record.with(TOO_EARLY, 0.0).if_bitten(true, "died")
    }

    fn records(arms: &[(&str, f64)]) -> Records {
        arms.iter().map(|(arm, worst)| record(arm, *worst)).collect()
    }

    #[test]
    fn five_seconds_late_is_in_time_and_more_is_not() {
        let verdict = |arms| Storm.judge(&records(arms)).verdict;
        assert_eq!(verdict(&[(KEY, 5.0), (REDIS, 5.0), (ETCD, 5.0)]), Verdict::Refuted);
        assert_eq!(verdict(&[(KEY, 5.1), (REDIS, 5.0), (ETCD, 5.0)]), Verdict::Depends);
        assert_eq!(verdict(&[(KEY, 5.1), (REDIS, 5.1), (ETCD, 5.0)]), Verdict::Confirmed);
        assert_eq!(verdict(&[(KEY, 5.1), (REDIS, 5.1), (ETCD, 5.1)]), Verdict::Refuted);
    }

    #[test]
    fn an_end_that_is_told_too_early_decides_as_well() {
        let judged = |early: f64| {
            let naive = record(KEY, 0.1).with(TOO_EARLY, early);
            Storm.judge(&Records::from_iter([naive, record(REDIS, 0.1), record(ETCD, 0.1)]))
        };
        assert_eq!((judged(0.0).verdict, judged(1.0).verdict), (Verdict::Refuted, Verdict::Depends));
        assert!(judged(1.0).sentences[1].contains("1 ends by events"), "{:?}", judged(1.0));
    }

    #[test]
    fn what_was_not_seen_makes_it_a_lower_bound() {
        let unseen = record(KEY, 60.0).with(UNSEEN, 3.0);
        let figure = Storm.judge(&Records::from_iter([unseen, record(REDIS, 0.1), record(ETCD, 0.1)])).figure;
        assert!(figure.contains("keyspace events at least 60"), "{figure}");
    }

    #[test]
    fn what_was_not_run_or_does_not_count_decides_nothing() {
        assert_eq!(Storm.judge(&Records::default()).verdict, Verdict::Undecided);
        assert_eq!(Storm.judge(&records(&[(KEY, 0.1), (REDIS, 0.1)])).verdict, Verdict::Undecided);
        let invalid = [KEY, REDIS, ETCD].map(|arm| record(arm, 9.0).invalid("they did not die"));
        assert_eq!(Storm.judge(&Records::from_iter(invalid)).verdict, Verdict::Undecided);
    }

    #[test]
    fn it_speaks_against_etcd_only_if_etcd_takes_more_than_twice_as_long_and_a_second_longer() {
        let speaks = |etcd, redis| Storm.against_etcd(&records(&[(ETCD, etcd), (REDIS, redis)])).is_some();
        assert!(speaks(4.1, 2.0) && !speaks(4.0, 2.0), "more than twice as long");
        assert!(speaks(1.3, 0.25) && !speaks(1.25, 0.25), "more than a second longer");
        assert_eq!(Storm.against_etcd(&records(&[(ETCD, 1.0)])), None);
        let told = Storm.against_etcd(&records(&[(ETCD, 3.7), (REDIS, 0.26)])).unwrap();
        assert!(told.contains("5,000") && told.contains("3.7 s") && told.contains("260 ms"), "{told}");
    }
}
