//! 3d: how long it takes until a watcher that was cut off is right again, and how much is sent for it.

mod outage;

use std::time::Duration;

use async_trait::async_trait;

use self::outage::{Kind, Subject};
use crate::claims::clustering::words::or_dash;
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::{Finding, Shown};
use crate::lab::Lab;
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
/// How long after the link healed.
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

/// Contestants in memory are left out: between them and their watchers there is no link that could be cut.
#[derive(Debug)]
pub(super) struct Reconnect;

static ABOUT: About = About {
    id: "3d",
    title: "A watcher comes back",
    question: "How long after a lost link is back is a watcher's view right again, and how much is sent for that?",
    hypothesis: "Through Redis it takes longer and costs more, since everything must be loaded anew, where etcd replays what was missed.",
    set_up: "A watcher of a service of 1,000 (and 10,000) instances is cut off by a proxy for 200 to 800 ms, in which 10 instances change. Measured is the time from the healing of the link until its view is right, \
             and the bytes that the proxy delivers to it.",
    rule: "The drawback is shown by a view that is not right 3 s after the link is back, or by a median of more than 1.5 times that of etcd and 100 ms more, at any size; for etcd the same against registry-redis.",
    falsifier: "registry-redis is right as soon as etcd.",
    remedy: "registry-redis keeps a log of changes for each service, and resumes from a cursor as etcd does from a revision: only what was missed is sent, as long as the log goes back so far, else all, with a word about it.",
    caveat: "Much of the time is the wait of the client until it tries to connect again, which is 100 ms at most here for all; the backends of this project wait up to 1 s by default. It is measured on a link without \
             latency, where a full load costs little time; the bytes are what grows with the service, and an instance of the naive hash is a bare number, where those of the backends carry an address, metadata and an owner.",
    left_out: "",
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
        &[
            Column { title: "right again", figure: RIGHT, of_runs: OfRuns::Min, unit: Unit::YesNo },
            Column {
                title: "after, median",
                figure: RIGHT_AFTER,
                of_runs: OfRuns::Median,
                unit: Unit::Seconds,
            },
            Column { title: "longest", figure: RIGHT_AFTER, of_runs: OfRuns::Max, unit: Unit::Seconds },
            Column {
                title: "bytes to the watcher, median",
                figure: BYTES,
                of_runs: OfRuns::Median,
                unit: Unit::Bytes,
            },
            Column { title: "wrong in the end", figure: WRONG, of_runs: OfRuns::Max, unit: Unit::Count },
        ]
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        let bar = |arm: &str| {
            let sent = records.median(arm, BYTES)?;
            let right = records.min(arm, RIGHT)? > 0.0;
            let after = records.median(arm, RIGHT_AFTER).map(seconds);
            let how = after
                .filter(|_| right)
                .map_or("never right".to_owned(), |after| format!("right after {after}"));
            Some(Bar {
                name: arm.to_owned(),
                length: sent,
                label: format!("{}, {how}", bytes(sent)),
                bad: !right,
            })
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
        let size = largest(records)?;
        let median = |arm: &str| records.median(&of(arm, size), RIGHT_AFTER);
        let (etcd, redis) = (median(ETCD)?, median(OURS)?);
        (redis < etcd).then(|| {
            format!(
                "After a short outage a watcher of {} instances was right again after {} with etcd and after {} with registry-redis (medians).",
                count(size as f64),
                seconds(etcd),
                seconds(redis)
            )
        })
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

fn judge(records: &Records) -> Finding {
    let Some(size) = largest(records) else {
        return Finding::undecided(format!("fewer than {LEAST_TRIALS} trials of {ETCD} and of {OURS} count"));
    };
    let shown_at = |arm: &str, than: &str, size: usize| {
        let (arm, than) = (of(arm, size), of(than, size));
        if records.min(&arm, RIGHT)? < 1.0 {
            return Some(true);
        }
        let (it, other) = (records.median(&arm, RIGHT_AFTER)?, records.median(&than, RIGHT_AFTER)?);
        Some(it > TIMES * other && it > other + MORE_S)
    };
    let shown = |arm: &str, than: &str| {
        SIZES.iter().filter_map(|size| shown_at(arm, than, *size)).reduce(|one, other| one || other)
    };
    let naive = match (shown(NAIVE, ETCD), shown(RELOADING, ETCD)) {
        (Some(naive), Some(reloading)) => Some(naive || reloading),
        _ => None,
    };
    let verdict = Shown { naive, ours: shown(OURS, ETCD), etcd: shown(ETCD, OURS) }.verdict();
    let after = |arm: &str| or_dash(records.median(&of(arm, size), RIGHT_AFTER), seconds);
    let sent = |arm: &str| or_dash(records.median(&of(arm, size), BYTES), bytes);
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
                "A watcher of {} instances that had missed {CHANGES} changes was right {} after its link was back with registry-redis, {} after with etcd (medians), and was sent {} and {}.",
                count(size as f64),
                after(OURS),
                after(ETCD),
                sent(OURS),
                sent(ETCD)
            ),
            format!(
                "The hash that people write was right after {} where watchers load it anew, for {}; where they do not, a watcher still had {} of the changed instances wrong in the end.",
                after(RELOADING),
                sent(RELOADING),
                or_dash(records.max(&of(NAIVE, size), WRONG), count)
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::{ETCD, LEAST_TRIALS, MORE_S, NAIVE, OURS, RELOADING, RIGHT, RIGHT_AFTER, TIMES, judge, of};
    use crate::finding::Verdict;
    use crate::record::{Record, Records};

    fn records(trials: usize, ours: f64, etcd: f64, naive_right: f64) -> Records {
        let arms = [(ETCD, etcd, 1.0), (OURS, ours, 1.0), (RELOADING, etcd, 1.0), (NAIVE, etcd, naive_right)];
        let trials = u32::try_from(trials).unwrap();
        let all = arms.into_iter().flat_map(|arm| (0..trials).map(move |run| (arm, run)));
        all.map(|((arm, after, right), run)| {
            Record::new(of(arm, 1_000), run).with(RIGHT_AFTER, after).with(RIGHT, right)
        })
        .collect()
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
    fn too_few_trials_decide_nothing() {
        assert_eq!(judge(&Records::default()).verdict, Verdict::Undecided);
        assert_eq!(judge(&records(LEAST_TRIALS - 1, 9.0, 1.0, 0.0)).verdict, Verdict::Undecided);
    }
}
