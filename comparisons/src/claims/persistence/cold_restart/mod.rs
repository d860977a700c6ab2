//! 5b: the server is down for three seconds, and starts again on what it has kept.

mod judge;
mod remaining;
mod run;

use async_trait::async_trait;

use super::figures::middle;
use super::subjects::{Policy, Way, side_by_side};
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::Finding;
use crate::lab::Lab;
use crate::picture::{Bar, Drawing, Picture};
use crate::record::Records;
use crate::report::format::{count, seconds};

/// The experiment.
///
/// `AOF always` is left out: a process that is stopped or killed loses nothing that AOF everysec keeps, save what is written while a sync runs.
/// `etcd 3 nodes` is left out: all of them down is the same as one down, and one down is no restart of the store. `memory` keeps nothing.
#[derive(Debug)]
pub(super) struct ColdRestart;

/// How many instances there were.
const OF: &str = "of";
/// How many of them are listed as soon as the server answers again.
const KEPT: &str = "kept";
/// How many of those whose process is alive and whose time to live is no longer than the outage, and how many are kept.
const SHORT_OF: &str = "short_of";
const SHORT_KEPT: &str = "short_kept";
/// By how much more time they have left than if time had gone on, in the middle of all.
const TTL_ERROR: &str = "ttl_error_s";
/// Whether revisions go on in the same history.
const CONTINUES: &str = "revision_continues";
/// Whether a watch that was taken up from a cursor of before got what had changed since, without starting anew.
const RESUMED: &str = "resumed";
/// Whether the watcher that was there all the time was told that something may be missing.
const TOLD: &str = "told";
/// What is wrong in its view once it is told of changes again, and was not told.
const MISSED: &str = "missed_silently";

const ABOUT: About = About {
    id: "5b",
    title: "Cold restart",
    question: "The server is restarted: who is still listed, for how long, and do watchers know what they have missed?",
    hypothesis: "Redis comes back without a part of the registry, or with a watcher that is wrong and does not know it; etcd comes back as it was.",
    set_up: "Twenty instances: fifteen with 10 to 60 s to live, and five with 3 s that have registered at the last moment, whose processes live on. The server is ended, once by SIGTERM and once by SIGKILL, stays down for 3 s, \
             and is started again on its data. What is listed then, and for how long, is compared with what there was; five instances are registered at once, and a watcher that was there all \
             the time is compared with the list as soon as it is told of changes again.",
    rule: "The naive way's if, with snapshots or an append-only file, an instance is not kept or a watcher is wrong without being told. Redis's own if our backend loses an instance with an \
           append-only file, or a watcher of it is wrong without being told at any setting. etcd's by the same measure.",
    falsifier: "On Redis with an append-only file all are kept and every watcher is right or is told.",
    remedy: "registry-redis gives every lease the time that nobody could renew, keeps revisions and the log of changes in the data set, so that a watch goes on from its cursor, and names every restored, emptied or \
             replaced data set by a reset with its cause.",
    caveat: "etcd gives every lease its full time again, which keeps the living and lists the dead for longer. A Redis without persistence is empty after a restart by design; owners register again \
             within a heartbeat.",
    left_out: "",
    harmless: false,
};

const COLUMNS: [Column; 9] = [
    Column { title: "instances", figure: OF, of_runs: OfRuns::Sum, unit: Unit::Count },
    Column { title: "kept", figure: KEPT, of_runs: OfRuns::Sum, unit: Unit::Count },
    Column { title: "of the short-lived", figure: SHORT_OF, of_runs: OfRuns::Sum, unit: Unit::Count },
    Column { title: "kept of these", figure: SHORT_KEPT, of_runs: OfRuns::Sum, unit: Unit::Count },
    Column {
        title: "time left, more than by the clock",
        figure: TTL_ERROR,
        of_runs: OfRuns::Median,
        unit: Unit::Seconds,
    },
    Column { title: "revisions go on", figure: CONTINUES, of_runs: OfRuns::Min, unit: Unit::YesNo },
    Column {
        title: "watch goes on from its cursor",
        figure: RESUMED,
        of_runs: OfRuns::Min,
        unit: Unit::YesNo,
    },
    Column { title: "watcher told of a gap", figure: TOLD, of_runs: OfRuns::Max, unit: Unit::YesNo },
    Column { title: "wrong in its view, untold", figure: MISSED, of_runs: OfRuns::Sum, unit: Unit::Count },
];

/// How the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stopped,
    Killed,
}

impl End {
    const ALL: [Self; 2] = [Self::Stopped, Self::Killed];

    fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Killed => "killed",
        }
    }
}

const POLICIES: [Policy; 3] = [Policy::Nothing, Policy::Snapshots, Policy::EverySecond];

/// The name of an arm on Redis, by policy; on etcd without one.
fn arm(way: Way, policy: Option<Policy>, end: End) -> String {
    match policy {
        Some(policy) => format!("{}, {}, {}", way.name(), policy.name(), end.name()),
        None => format!("etcd 1 node, {}", end.name()),
    }
}

fn arms(ways: &[Way], policies: &[Policy]) -> Vec<String> {
    let of_way = |way: &Way| {
        let of_policy = |policy: &Policy| End::ALL.map(|end| arm(*way, Some(*policy), end));
        policies.iter().flat_map(of_policy).collect::<Vec<_>>()
    };
    ways.iter().flat_map(of_way).collect()
}

fn etcd_arms() -> Vec<String> {
    End::ALL.map(|end| arm(Way::Ours, None, end)).to_vec()
}

/// More than this is worth a word, in seconds: etcd tells whole ones.
const NOTICED: f64 = 1.0;

/// About how long one run takes.
const SECONDS: f64 = 7.5;

#[async_trait]
impl Experiment for ColdRestart {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn steps(&self, lab: &Lab) -> Vec<Step> {
        let seconds = f64::from(runs(lab)) * SECONDS;
        End::ALL.map(|end| Step::new(end.name(), seconds)).to_vec()
    }

    async fn run(&self, lab: &Lab, step: &Step) -> Result<(), Trouble> {
        let end = End::ALL.into_iter().find(|end| end.name() == step.name);
        let end = end.ok_or_else(|| Trouble::failed(format!("there is no step {}", step.name)))?;
        for run in 0..runs(lab) {
            let mut running = Vec::new();
            for way in Way::ALL {
                for policy in POLICIES {
                    let arm = arm(way, Some(policy), end);
                    let subject = run::Subject { way, policy: Some(policy), end };
                    let restart = run::restart(lab, arm.clone(), subject, run);
                    running.push((arm, Box::pin(restart) as _));
                }
            }
            let arm = arm(Way::Ours, None, end);
            let subject = run::Subject { way: Way::Ours, policy: None, end };
            running.push((arm.clone(), Box::pin(run::restart(lab, arm, subject, run)) as _));
            side_by_side(lab, run, running).await;
        }
        Ok(())
    }

    fn judge(&self, records: &Records) -> Finding {
        judge::judge(records)
    }

    fn columns(&self) -> &'static [Column] {
        &COLUMNS
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        let bars: Vec<Bar> = records.arms().into_iter().filter_map(|arm| bar(records, arm)).collect();
        if bars.is_empty() {
            return Vec::new();
        }
        let title =
            "How many instances are listed after the server was down for three seconds, by what it persists";
        let drawing = Drawing::Bars { x: "instances kept, %".to_owned(), bars };
        vec![Picture { title: title.to_owned(), drawing }]
    }

    fn against_etcd(&self, records: &Records) -> Option<String> {
        let etcd = etcd_arms();
        let error = middle(records, &refs(&etcd), TTL_ERROR)?;
        let redis = arms(&[Way::Ours], &[Policy::EverySecond]);
        let redis = middle(records, &refs(&redis), TTL_ERROR)?;
        (error > redis.max(NOTICED)).then(|| {
            format!(
                "After a restart leases on etcd had {} more left than by the clock, since it gives each its full time again, and the dead are listed for so much longer; with our backend on Redis it was {}.",
                seconds(error),
                seconds(redis)
            )
        })
    }
}

fn runs(lab: &Lab) -> u32 {
    lab.by_scale(1, 3)
}

fn refs(arms: &[String]) -> Vec<&str> {
    arms.iter().map(String::as_str).collect()
}

fn bar(records: &Records, arm: &str) -> Option<Bar> {
    let (kept, of) = (records.sum(arm, KEPT)?, records.sum(arm, OF)?);
    let missed = records.sum(arm, MISSED).unwrap_or_default();
    let told = records.max(arm, TOLD).unwrap_or_default() > 0.0;
    let watcher = match (missed > 0.0, told) {
        (true, _) => format!("a watcher wrong about {} and not told", count(missed)),
        (false, true) => "watchers told".to_owned(),
        (false, false) => "watchers right".to_owned(),
    };
    let label = format!("{} of {}, {watcher}", count(kept), count(of));
    Some(Bar { name: arm.to_owned(), length: kept / of * 100.0, label, bad: kept < of || missed > 0.0 })
}
