//! 3d: how long it takes until a watcher that was cut off is right again, and how much is sent for it.

mod outage;

use std::time::Duration;

use async_trait::async_trait;

use self::outage::{Kind, Subject};
use super::pairs::broken_off;
use crate::claims::clustering::words::or_dash;
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::{Finding, Shown};
use crate::lab::Lab;
use crate::measure::median_with_never;
use crate::picture::{Bar, Drawing, Picture};
use crate::record::Records;
use crate::report::format::{bytes, count, seconds};

const ETCD: &str = "etcd 1 node";
const OURS: &str = "redis";
const RELOADING: &str = "redis-naive hash, reloading";
const NAIVE: &str = "redis-naive hash";
const ARMS: [(&str, Kind); 4] =
    [(ETCD, Kind::Etcd), (OURS, Kind::Redis), (RELOADING, Kind::Reloading), (NAIVE, Kind::Naive)];
/// How many instances there are.
const SIZES: [usize; 2] = [1_000, 10_000];

/// Whether the view became right within the limit: 0 or 1.
const RIGHT: &str = "right";
/// How long after the link healed; the limit if it was not right by then.
const RIGHT_AFTER: &str = "right_after_s";
/// How many instances the view had wrong in the end.
const WRONG: &str = "wrong";
/// What was sent to the watcher for it.
const BYTES: &str = "to_client_bytes";

/// How many instances change while the watcher is cut off.
const CHANGES: u32 = 10;
/// How long the link is down. Each trial draws it anew, for all the same, so that it does not always end at the same point of the waits between a client's attempts.
const OUTAGE_MS: std::ops::Range<u64> = 200..800;
/// A view that is not right so long after the link healed never becomes so: by then every client has connected again.
const LIMIT: Duration = Duration::from_secs(3);
/// The drawback is shown if it takes so many times as long as with etcd, and so much more.
const TIMES: f64 = 1.5;
const MORE_S: f64 = 0.1;
/// An arm with fewer trials decides nothing.
const LEAST_TRIALS: usize = 3;
/// How often the one is tried that waits for the limit each time.
const TRIALS_NAIVE: u32 = 1;

#[derive(Debug)]
pub(super) struct Reconnect;

static ABOUT: About = About {
    id: "3d",
    title: "A watcher comes back",
    question: "How long after a lost link is back is a watcher's view right again, and how much is sent for that?",
    hypothesis: "Through Redis it takes longer and costs more, since everything must be loaded anew, where etcd replays what was missed.",
    set_up: "A watcher of a service of 1,000 (and 10,000) instances is cut off by a proxy for 200 to 800 ms, in which 10 instances change. Measured is the time from the healing of the link until its view is right, \
             and the bytes that the proxy delivers to it.",
    rule: "The drawback is shown by a view that is not right 3 s after the link is back, or by a median of more than 1.5 times that of etcd and 100 ms more, at any size; for etcd the same against registry-redis. \
           A view that is not right in time took longer than all that were; where half or more are not, there is no median. The bytes are reported and told, and decide nothing. Undecided if fewer than 3 trials \
           of registry-redis or of etcd count, or if a step broke off.",
    falsifier: "registry-redis is right as soon as etcd.",
    remedy: "registry-redis keeps a log of changes for each service, and resumes from a cursor as etcd does from a revision: only what was missed is sent, as long as the log goes back so far, else all, with a word about it.",
    caveat: "Much of the time is the wait of the client until it tries to connect again, which is 100 ms at most here for all; the backends of this project wait up to 1 s by default. It is measured on a link without \
             latency, where a full load costs little time; the bytes are what grows with the service, and an instance of the naive hash is a bare number, where those of the backends carry an address, metadata and an owner.",
    left_out: "`memory`: between it and its watchers there is no link that could be cut. `etcd 3 nodes`: a watcher is connected to one node, and is sent by that what it missed, however many there are. \
               `redis-naive key`: its watchers, too, are told by messages that nobody keeps, and have to load anew or stay wrong, as those of the hash.",
    harmless: false,
};

#[async_trait]
impl Experiment for Reconnect {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn steps(&self, lab: &Lab) -> Vec<Step> {
        let seconds = |size: usize| 3.0 + size as f64 * 2.5e-3 + f64::from(trials(lab)) * 2.0 + 4.0;
        sizes(lab).iter().map(|size| Step::new(format!("{size} instances"), seconds(*size))).collect()
    }

    async fn run(&self, lab: &Lab, step: &Step) -> Result<(), Trouble> {
        let size = step.name.split(' ').next().and_then(|size| size.parse().ok());
        let size: usize = size.ok_or_else(|| Trouble::failed("a step without a size"))?;
        let mut random = lab.random(&format!("3d {size}"));
        let mut subjects = Vec::new();
        for (arm, kind) in ARMS {
            subjects.push((of(arm, size), kind, Subject::start(lab, kind, size).await?));
        }
        // One after the other, so that none is measured while another works.
        for run in 0..trials(lab) {
            let outage = OUTAGE_MS.start + random.u64(0..OUTAGE_MS.end - OUTAGE_MS.start);
            for (arm, kind, subject) in &mut subjects {
                if *kind != Kind::Naive || run < TRIALS_NAIVE {
                    lab.keep(subject.trial(arm, run, Duration::from_millis(outage), &mut random).await?);
                }
            }
        }
        Ok(())
    }

    fn judge(&self, records: &Records) -> Finding {
        judge(records)
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::new("right again", RIGHT, OfRuns::Min, Unit::YesNo),
                Column::new("after, median (3 s: at least)", RIGHT_AFTER, OfRuns::Median, Unit::Seconds),
                Column::new("longest (likewise)", RIGHT_AFTER, OfRuns::Max, Unit::Seconds),
                Column::new("bytes to the watcher, median", BYTES, OfRuns::Median, Unit::Bytes),
                Column::new("wrong in the end", WRONG, OfRuns::Max, Unit::Count),
            ]
        }
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        let bar = |arm: &str| {
            let sent = records.median(arm, BYTES)?;
            let (right, trials) = right_of(records, arm);
            let after = or_dash(middle(records, arm), seconds);
            let how = match right {
                0 => "never right".to_owned(),
                right if right == trials => format!("right after {after}"),
                right => format!("right after {after}, in {right} of {trials} trials"),
            };
            let label = format!("{}, {how}", bytes(sent));
            Some(Bar { name: arm.to_owned(), length: sent, label, bad: right < trials })
        };
        let bars: Vec<Bar> = records.arms().into_iter().filter_map(bar).collect();
        if bars.is_empty() {
            return Vec::new();
        }
        let title =
            "What is sent to a watcher that comes back after a short outage, and when it is right again"
                .to_owned();
        vec![Picture {
            title,
            drawing: Drawing::Bars { x: "bytes to the watcher (median)".to_owned(), bars },
        }]
    }

    fn against_etcd(&self, records: &Records) -> Option<String> {
        against_etcd(records)
    }
}

fn trials(lab: &Lab) -> u32 {
    lab.by_scale(5, 10)
}

fn sizes(lab: &Lab) -> &'static [usize] {
    lab.by_scale(&SIZES[..1], &SIZES[..])
}

/// The name of an arm at a size.
fn of(arm: &str, size: usize) -> String {
    format!("{arm}, {} instances", count(size as f64))
}

/// The largest size that was tried.
fn largest(records: &Records) -> Option<usize> {
    let tried =
        |size: &&usize| [ETCD, OURS].iter().all(|arm| records.count(&of(arm, **size)) >= LEAST_TRIALS);
    SIZES.iter().rev().find(tried).copied()
}

/// In how many of an arm's trials the view became right, and how many there were.
fn right_of(records: &Records, arm: &str) -> (usize, usize) {
    let right = records.values(arm, RIGHT);
    (right.iter().filter(|right| **right > 0.0).count(), right.len())
}

/// The median of all trials of an arm; infinite if the view was not right in half or more.
fn middle(records: &Records, arm: &str) -> Option<f64> {
    let right = records.of(arm).filter(|record| record.figure(RIGHT) > Some(0.0));
    let after: Vec<f64> = right.filter_map(|record| record.figure(RIGHT_AFTER)).collect();
    median_with_never(&after, right_of(records, arm).1.saturating_sub(after.len()))
}

/// Whether an arm shows the drawback at a size, against another.
fn shows(records: &Records, arm: &str, than: &str, size: usize) -> Option<bool> {
    let (arm, than) = (of(arm, size), of(than, size));
    let (it, other) = (middle(records, &arm)?, middle(records, &than)?);
    let (right, trials) = right_of(records, &arm);
    Some(right < trials || it > TIMES * other && it > other + MORE_S)
}

fn judge(records: &Records) -> Finding {
    if let Some(why) = broken_off(records) {
        return Finding::undecided(why);
    }
    let Some(size) = largest(records) else {
        return Finding::undecided(format!("fewer than {LEAST_TRIALS} trials of {ETCD} and of {OURS} count"));
    };
    let shown = |arm: &str, than: &str| {
        SIZES.iter().filter_map(|size| shows(records, arm, than, *size)).reduce(|one, other| one || other)
    };
    let naive = match (shown(NAIVE, ETCD), shown(RELOADING, ETCD)) {
        (Some(naive), Some(reloading)) => Some(naive || reloading),
        _ => None,
    };
    let verdict = Shown { naive, ours: shown(OURS, ETCD), etcd: shown(ETCD, OURS) }.verdict();
    let after = |arm: &str| or_dash(middle(records, &of(arm, size)), seconds);
    let sent = |arm: &str| or_dash(records.median(&of(arm, size), BYTES), bytes);
    let right = |arm: &str| {
        let (right, trials) = right_of(records, &of(arm, size));
        format!("{right} of {trials}")
    };
    Finding {
        verdict,
        figure: format!(
            "right after {} and {} on Redis, {} and {} on etcd",
            after(OURS),
            sent(OURS),
            after(ETCD),
            sent(ETCD)
        ),
        sentences: [
            format!(
                "A watcher of {} instances that had missed {CHANGES} changes was right {} after its link was back with registry-redis, {} after with etcd, and was sent {} and {} (medians; right in {} and {} trials).",
                count(size as f64),
                after(OURS),
                after(ETCD),
                sent(OURS),
                sent(ETCD),
                right(OURS),
                right(ETCD)
            ),
            format!(
                "The hash that people write was right after {} where watchers load it anew, for {} (medians; in {} trials); where they do not, it was right in {}, and a watcher had up to {} of the changed instances wrong in the end.",
                after(RELOADING),
                sent(RELOADING),
                right(RELOADING),
                right(NAIVE),
                or_dash(records.max(&of(NAIVE, size), WRONG), count)
            ),
        ],
    }
}

/// Only where etcd is worse by the margin of this experiment, at the largest such size.
fn against_etcd(records: &Records) -> Option<String> {
    let worse = |size: &&usize| {
        shows(records, ETCD, OURS, **size) == Some(true) && shows(records, OURS, ETCD, **size) == Some(false)
    };
    let size = *SIZES.iter().rev().find(worse)?;
    let told = |arm: &str| {
        let of = of(arm, size);
        let (right, trials) = right_of(records, &of);
        let (after, sent) = (middle(records, &of), records.median(&of, BYTES));
        format!(
            "after {} for {} (in {right} of {trials} trials)",
            or_dash(after, seconds),
            or_dash(sent, bytes)
        )
    };
    Some(format!(
        "After a short outage a watcher of {} instances was right again {} with etcd, and {} with registry-redis (medians).",
        count(size as f64),
        told(ETCD),
        told(OURS)
    ))
}

#[cfg(test)]
mod tests {
    use super::{
        BYTES, ETCD, LEAST_TRIALS, LIMIT, MORE_S, NAIVE, OURS, RELOADING, RIGHT, RIGHT_AFTER, TIMES,
        against_etcd, judge, of,
    };
    use crate::finding::Verdict;
    use crate::record::{Outcome, Record, Records};

    fn record(arm: &str, run: usize, after: f64, right: f64) -> Record {
        let record = Record::new(of(arm, 1_000), u32::try_from(run).unwrap());
        record.with(RIGHT_AFTER, after).with(RIGHT, right).with(BYTES, 2_048.0)
    }

    fn records(trials: usize, ours: f64, etcd: f64, naive_right: f64) -> Records {
        let arms = [(ETCD, etcd, 1.0), (OURS, ours, 1.0), (RELOADING, etcd, 1.0), (NAIVE, etcd, naive_right)];
        let all = arms.into_iter().flat_map(|arm| (0..trials).map(move |run| (arm, run)));
        all.map(|((arm, after, right), run)| record(arm, run, after, right)).collect()
    }

    /// In which the view of an arm was not right in so many of four trials.
    fn with_never(arm: &str, never: usize) -> Records {
        let all = records(4, 1.0, 1.0, 1.0);
        let limit = LIMIT.as_secs_f64();
        let never = (0..never).map(|run| record(arm, run, limit, 0.0));
        let is_right = |record: &&Record| record.arm != of(arm, 1_000) || record.run as usize >= never.len();
        all.all().filter(is_right).cloned().chain(never.clone()).collect()
    }

    #[test]
    fn later_by_a_factor_and_by_some_time_confirms_it() {
        let judged = |ours, etcd| judge(&records(LEAST_TRIALS, ours, etcd, 1.0)).verdict;
        assert_eq!(judged(TIMES + 0.01, 1.0), Verdict::Confirmed);
        assert_eq!(judged(TIMES - 0.01, 1.0), Verdict::Refuted);
        assert_eq!(judged(0.01 + MORE_S - 0.001, 0.01), Verdict::Refuted, "by a factor only");
        assert_eq!(judged(1.0, TIMES + 0.01), Verdict::Refuted, "etcd is later");
    }

    #[test]
    fn a_view_that_only_the_naive_one_leaves_wrong_depends() {
        assert_eq!(judge(&records(LEAST_TRIALS, 1.0, 1.0, 0.0)).verdict, Verdict::Depends);
    }

    #[test]
    fn a_median_is_not_that_of_the_trials_that_were_right() {
        let one = judge(&with_never(OURS, 1));
        assert_eq!(one.verdict, Verdict::Confirmed);
        assert!(
            one.sentences[0].contains("right 1 s after its link was back with registry-redis"),
            "{one:?}"
        );
        assert!(one.sentences[0].contains("right in 3 of 4 and 4 of 4 trials"), "{one:?}");
        let two = judge(&with_never(OURS, 2));
        assert!(two.sentences[0].contains("right – after its link was back with registry-redis"), "{two:?}");
        assert_eq!(judge(&with_never(ETCD, 4)).verdict, Verdict::Refuted, "etcd has it");
    }

    #[test]
    fn too_few_trials_decide_nothing() {
        assert_eq!(judge(&Records::default()).verdict, Verdict::Undecided);
        assert_eq!(judge(&records(LEAST_TRIALS - 1, 9.0, 1.0, 0.0)).verdict, Verdict::Undecided);
    }

    #[test]
    fn a_step_that_broke_off_leaves_it_undecided() {
        let broken = Outcome::Failed { why: "refused".to_owned() };
        let broken = Record { outcome: broken, ..Record::new("10000 instances", 0) };
        let all = records(LEAST_TRIALS, 1.0, 1.0, 0.0);
        assert_eq!(judge(&all.all().cloned().chain([broken]).collect()).verdict, Verdict::Undecided);
    }

    #[test]
    fn only_what_is_later_by_the_margin_speaks_against_etcd() {
        assert_eq!(against_etcd(&Records::default()), None);
        assert_eq!(against_etcd(&records(LEAST_TRIALS, 1.0, TIMES - 0.01, 1.0)), None);
        assert_eq!(against_etcd(&records(LEAST_TRIALS, 0.01, 0.01 + MORE_S - 0.001, 1.0)), None);
        let told = against_etcd(&records(LEAST_TRIALS, 1.0, TIMES + 0.01, 1.0)).unwrap();
        assert!(told.contains("after 1.51 s for 2 KiB (in 3 of 3 trials) with etcd"), "{told}");
        assert!(told.contains("after 1 s for 2 KiB (in 3 of 3 trials) with registry-redis"), "{told}");
        assert!(against_etcd(&with_never(ETCD, 1)).unwrap().contains("in 3 of 4 trials) with etcd"));
    }
}
