//! 5a: the power is cut under a writer, at each durability that can be configured.

mod run;
mod writer;

use async_trait::async_trait;

use super::subjects::Policy;
use super::words::{count, largest, middle, seconds, sum};
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::{Finding, Shown};
use crate::lab::Lab;
use crate::picture::{Bar, Drawing, Lane, Picture};
use crate::record::Records;

/// The experiment.
///
/// `redis-naive key` is left out: what survives is decided by the server, and it is the same server under other commands. `etcd 3 nodes` is left out
/// since one node alone must already keep what it acknowledged; `memory` since it keeps nothing and claims nothing.
#[derive(Debug)]
pub(super) struct PowerCut;

const ETCD: &str = "etcd 1 node";
const NAIVE_NOTHING: &str = "redis-naive hash, no persistence";
const NAIVE_SNAPSHOTS: &str = "redis-naive hash, RDB default";
const NAIVE_EVERY_SECOND: &str = "redis-naive hash, AOF everysec";
const NAIVE_ALWAYS: &str = "redis-naive hash, AOF always";
const OURS_EVERY_SECOND: &str = "redis, AOF everysec";
const OURS_ALWAYS: &str = "redis, AOF always";

/// How many writes were acknowledged.
const ACKNOWLEDGED: &str = "acknowledged";
/// How many of them are not there any more.
const LOST: &str = "lost";
/// From the oldest that is lost until the power was cut.
const WINDOW: &str = "window_s";
/// How many instances a watcher lists that are not there, or the other way round, once it is told of changes again.
const DIFFERENCES: &str = "watcher_differs";
/// Whether the watcher was told that something may be missing.
const TOLD: &str = "told";
/// From when the server was there again until the instances of living processes were listed again.
const LISTED_AGAIN: &str = "listed_again_s";
/// From the cut until the server answers again.
const DOWN: &str = "down_s";
/// When writes were acknowledged, in seconds before the cut, thinned out: those that are there, and those that are not.
const KEPT_AT: &str = "kept_at_s";
const LOST_AT: &str = "lost_at_s";

/// What is documented for `everysec` at worst, in seconds: a sync once a second, and a write held back for as long.
const EVERY_SECOND_AT_WORST: f64 = 2.0;

const ABOUT: About = About {
    id: "5a",
    title: "Power cut",
    question: "The power of the server fails: is everything still there that it had acknowledged?",
    hypothesis: "Redis loses what it acknowledged, at any setting; etcd syncs before it answers and loses nothing.",
    set_up: "One server with its data on a disk of its own (ext4 on a loop device). A client registers 500 instances a second. At a random moment the server is stopped in its tracks, \
             what the device holds past the page cache is copied, the server is killed and started again on the copy. Every acknowledged registration is looked for; what was \
             under way at the cut does not count. Ten processes that have just registered, and a watcher, show what happens afterwards.",
    rule: "Redis's own if acknowledged writes are lost with an append-only file that is synced before each answer (AOF always), or if one synced every second (AOF everysec) loses \
           more than the 2 seconds that are documented. The naive way's if any are lost with the default snapshots or with everysec. etcd's if it loses one.",
    falsifier: "Nothing is lost with AOF always, or etcd loses an acknowledged write.",
    remedy: "registry-redis reads from the server how durable it is and claims no more; after a loss its watches are reset with the cause, and registrars register again, so that the loss is told \
             and repaired instead of prevented.",
    caveat: "A registry can be rebuilt from its living owners, so losing the last second is not like losing data. AOF always costs a sync for each write, as etcd does. A disk that lies about syncs is \
             not imitated, nor is the loss of the disk, which only copies on other machines survive.",
    harmless: false,
};

const COLUMNS: [Column; 6] = [
    Column { title: "acknowledged", figure: ACKNOWLEDGED, of_runs: OfRuns::Sum, unit: Unit::Count },
    Column { title: "of these lost", figure: LOST, of_runs: OfRuns::Sum, unit: Unit::Count },
    Column {
        title: "oldest lost, before the cut",
        figure: WINDOW,
        of_runs: OfRuns::Max,
        unit: Unit::Seconds,
    },
    Column {
        title: "wrong in a watcher's view",
        figure: DIFFERENCES,
        of_runs: OfRuns::Sum,
        unit: Unit::Count,
    },
    Column { title: "watcher told of a gap", figure: TOLD, of_runs: OfRuns::Max, unit: Unit::YesNo },
    Column {
        title: "living listed again after",
        figure: LISTED_AGAIN,
        of_runs: OfRuns::Max,
        unit: Unit::Seconds,
    },
];

/// What is written to, and how.
#[derive(Clone, Copy, Debug)]
enum Arm {
    Naive(Policy),
    Ours(Policy),
    Etcd,
}

const ARMS: [(&str, Arm); 7] = [
    (NAIVE_NOTHING, Arm::Naive(Policy::Nothing)),
    (NAIVE_SNAPSHOTS, Arm::Naive(Policy::Snapshots)),
    (NAIVE_EVERY_SECOND, Arm::Naive(Policy::EverySecond)),
    (NAIVE_ALWAYS, Arm::Naive(Policy::Always)),
    (OURS_EVERY_SECOND, Arm::Ours(Policy::EverySecond)),
    (OURS_ALWAYS, Arm::Ours(Policy::Always)),
    (ETCD, Arm::Etcd),
];

/// About how long one run takes.
const SECONDS: f64 = 7.0;

#[async_trait]
impl Experiment for PowerCut {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn steps(&self, lab: &Lab) -> Vec<Step> {
        ARMS.iter().map(|(arm, _)| Step::new(*arm, f64::from(runs(lab)) * SECONDS)).collect()
    }

    async fn run(&self, lab: &Lab, step: &Step) -> Result<(), Trouble> {
        let (name, arm) = ARMS
            .into_iter()
            .find(|(name, _)| *name == step.name)
            .ok_or_else(|| Trouble::failed(format!("there is no arm {}", step.name)))?;
        for run in 0..runs(lab) {
            lab.keep(run::cut(lab, name, arm, run).await?);
        }
        Ok(())
    }

    fn judge(&self, records: &Records) -> Finding {
        judge(records)
    }

    fn columns(&self) -> &'static [Column] {
        &COLUMNS
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        if records.all().all(|record| !record.is_valid()) {
            return Vec::new();
        }
        vec![bars(records), timeline(records)]
    }

    fn against_etcd(&self, records: &Records) -> Option<String> {
        let (etcd, ours) =
            (records.median(ETCD, LISTED_AGAIN)?, records.median(OURS_EVERY_SECOND, LISTED_AGAIN)?);
        (etcd > 2.0 * ours).then(|| {
            format!(
                "After a power cut and a restart of the server, living processes were listed again {} later on etcd, and {} later on Redis with our backend, although that had lost some.",
                seconds(etcd),
                seconds(ours)
            )
        })
    }
}

fn runs(lab: &Lab) -> u32 {
    lab.by_scale(1, 5)
}

fn judge(records: &Records) -> Finding {
    let lost = |arms: &[&str]| sum(records, arms, LOST);
    let window = largest(records, &[NAIVE_EVERY_SECOND, OURS_EVERY_SECOND], WINDOW).unwrap_or_default();
    let always = lost(&[NAIVE_ALWAYS, OURS_ALWAYS]);
    let defaults = lost(&[NAIVE_SNAPSHOTS, NAIVE_EVERY_SECOND]);
    let every_second = lost(&[NAIVE_EVERY_SECOND, OURS_EVERY_SECOND]);
    let etcd = lost(&[ETCD]);
    let shown = Shown {
        naive: defaults.map(|lost| lost > 0.0),
        ours: always.zip(every_second).map(|(always, _)| always > 0.0 || window > EVERY_SECOND_AT_WORST),
        etcd: etcd.map(|lost| lost > 0.0),
    };
    let (Some(always), Some(every_second), Some(etcd), Some(snapshots)) =
        (always, every_second, etcd, lost(&[NAIVE_SNAPSHOTS]))
    else {
        return Finding::undecided("not every setting was tried with the power cut");
    };
    let of = |arms: &[&str]| count(sum(records, arms, ACKNOWLEDGED).unwrap_or_default());
    let figure = format!(
        "lost of those acknowledged: snapshots {} of {}, everysec {} of {} (within {}), always {} of {}, etcd {} of {}",
        count(snapshots),
        of(&[NAIVE_SNAPSHOTS]),
        count(every_second),
        of(&[NAIVE_EVERY_SECOND, OURS_EVERY_SECOND]),
        seconds(window),
        count(always),
        of(&[NAIVE_ALWAYS, OURS_ALWAYS]),
        count(etcd),
        of(&[ETCD]),
    );
    let first = format!(
        "With the default snapshots a power cut lost {} of {} acknowledged registrations, with an append-only file synced every second {} of {}, and with one synced before each \
         answer {} of {}; etcd lost {} of {}.",
        count(snapshots),
        of(&[NAIVE_SNAPSHOTS]),
        count(every_second),
        of(&[NAIVE_EVERY_SECOND, OURS_EVERY_SECOND]),
        count(always),
        of(&[NAIVE_ALWAYS, OURS_ALWAYS]),
        count(etcd),
        of(&[ETCD]),
    );
    Finding { verdict: shown.verdict(), figure, sentences: [first, afterwards(records)] }
}

/// What became of the loss, where it can be lost by configuration.
fn afterwards(records: &Records) -> String {
    let wrong = |arm| count(records.sum(arm, DIFFERENCES).unwrap_or_default());
    let told = |arm| records.max(arm, TOLD).unwrap_or_default() > 0.0;
    let again = middle(records, &[OURS_EVERY_SECOND], LISTED_AGAIN).map_or("never".to_owned(), seconds);
    format!(
        "Afterwards a naive watcher was wrong about {} instances and was {}; with our backend it was wrong about {} and was {}, and the living were listed again after {again}.",
        wrong(NAIVE_EVERY_SECOND),
        if told(NAIVE_EVERY_SECOND) { "told so" } else { "told nothing" },
        wrong(OURS_EVERY_SECOND),
        if told(OURS_EVERY_SECOND) { "told of the loss" } else { "told nothing" },
    )
}

fn bars(records: &Records) -> Picture {
    let bars = records.arms().into_iter().filter_map(|arm| {
        let (lost, of) = (records.sum(arm, LOST)?, records.sum(arm, ACKNOWLEDGED)?);
        let share = if of > 0.0 { lost / of } else { 0.0 };
        let window = records.max(arm, WINDOW).filter(|_| lost > 0.0);
        let window = window.map(|window| format!(", back to {} before the cut", seconds(window)));
        let label = format!("{} of {}{}", count(lost), count(of), window.unwrap_or_default());
        Some(Bar { name: arm.to_owned(), length: share * 100.0, label, bad: lost > 0.0 })
    });
    Picture {
        title: "What was acknowledged and is lost after a power cut depends on when the server syncs"
            .to_owned(),
        drawing: Drawing::Bars { x: "acknowledged registrations lost, %".to_owned(), bars: bars.collect() },
    }
}

/// Of the first run of each arm.
fn timeline(records: &Records) -> Picture {
    let lanes = records.arms().into_iter().filter_map(|arm| {
        let record = records.of(arm).next()?;
        let times = |series| record.series.get(series).into_iter().flatten().map(|[at, _]| *at).collect();
        Some(Lane { name: arm.to_owned(), kept: times(KEPT_AT), lost: times(LOST_AT) })
    });
    Picture {
        title: "Which acknowledged registrations a power cut takes with it, in one run of each".to_owned(),
        drawing: Drawing::Timeline {
            x: "seconds since the power was cut".to_owned(),
            fault: [0.0, middle(records, &records.arms(), DOWN).unwrap_or_default()],
            lanes: lanes.collect(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Verdict;
    use crate::record::Record;

    fn verdict(of: &[(&str, f64, f64)]) -> Verdict {
        let record = |arm: &str| {
            let (_, lost, window) =
                of.iter().find(|(name, ..)| *name == arm).copied().unwrap_or((arm, 0.0, 0.0));
            Record::new(arm, 0).with(ACKNOWLEDGED, 1000.0).with(LOST, lost).with(WINDOW, window)
        };
        judge(&ARMS.iter().map(|(arm, _)| record(arm)).collect()).verdict
    }

    #[test]
    fn a_loss_that_a_setting_prevents_belongs_to_the_setting() {
        assert_eq!(verdict(&[(NAIVE_SNAPSHOTS, 1000.0, 3.0)]), Verdict::Depends);
        assert_eq!(verdict(&[(NAIVE_EVERY_SECOND, 1.0, EVERY_SECOND_AT_WORST)]), Verdict::Depends);
        assert_eq!(verdict(&[(NAIVE_NOTHING, 1000.0, 3.0)]), Verdict::Refuted);
        assert_eq!(verdict(&[]), Verdict::Refuted);
    }

    #[test]
    fn a_loss_that_no_setting_prevents_is_rediss_own() {
        assert_eq!(verdict(&[(OURS_ALWAYS, 1.0, 0.1)]), Verdict::Confirmed);
        assert_eq!(verdict(&[(NAIVE_ALWAYS, 1.0, 0.1)]), Verdict::Confirmed);
        assert_eq!(verdict(&[(OURS_EVERY_SECOND, 9.0, EVERY_SECOND_AT_WORST + 0.1)]), Verdict::Confirmed);
    }

    #[test]
    fn etcd_must_lose_nothing() {
        assert_eq!(verdict(&[(ETCD, 1.0, 0.1), (OURS_ALWAYS, 1.0, 0.1)]), Verdict::Refuted);
    }

    #[test]
    fn a_setting_that_was_not_tried_decides_nothing() {
        assert_eq!(judge(&Records::default()).verdict, Verdict::Undecided);
        for (missing, _) in ARMS.iter().filter(|(arm, _)| *arm != NAIVE_NOTHING) {
            let record = |arm: &str| {
                let record = Record::new(arm, 0).with(ACKNOWLEDGED, 1000.0).with(LOST, 0.0);
                if arm == *missing { record.invalid("the fault did not bite") } else { record }
            };
            let records = ARMS.iter().map(|(arm, _)| record(arm)).collect();
            assert_eq!(judge(&records).verdict, Verdict::Undecided, "without {missing}");
        }
    }
}
