//! 5b: the server is down for three seconds, and starts again on what it has kept.

mod judge;
mod remaining;
mod run;

use async_trait::async_trait;

use super::subjects::{Policy, Way, side_by_side};
use crate::claims::clustering::words::{in_runs, or_dash};
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::Finding;
use crate::lab::Lab;
use crate::picture::{Bar, Drawing, Picture};
use crate::record::Records;
use crate::report::format::count;

/// The experiment.
#[derive(Debug)]
pub(super) struct ColdRestart;

/// 1 for each run.
const RUNS: &str = "runs";
/// How many instances there were that have more time to live than the outage takes, and how many of them are not listed when the server answers again.
const OF: &str = "of";
const LOST: &str = "lost";
/// The same of those whose process is alive and whose time to live is no longer than the outage: by the clock they have expired.
const SHORT_OF: &str = "short_of";
const EXPIRED: &str = "expired_meanwhile";
/// By how much more time they have left than if time had gone on, in the middle of all.
const TTL_ERROR: &str = "ttl_error_s";
/// Whether revisions go on in the same history.
const CONTINUES: &str = "revision_continues";
/// Whether a watch that was taken up from a cursor of before got what had changed since, without starting anew.
const RESUMED: &str = "resumed";
/// Whether the watcher that was there all the time was told that something may be missing.
const TOLD: &str = "told";
/// Of how many connection errors it was told since the end, which say nothing of what it missed.
const TROUBLES: &str = "troubles_told";
/// What is wrong in its view once it is told of changes again, with no gap told.
const MISSED: &str = "missed_silently";

const ABOUT: About = About {
    id: "5b",
    title: "Cold restart",
    question: "The server is restarted: who is still listed, for how long, and do watchers know what they have missed?",
    hypothesis: "Redis comes back without a part of the registry, or with a watcher that is wrong and does not know it; etcd comes back as it was.",
    set_up: "Twenty instances: fifteen with 10 to 60 s to live, and five with 3 s that have registered at the last moment, whose processes live on. The server is ended, once by SIGTERM and once by SIGKILL, stays down for 3 s, \
             and is started again on its data. What is listed then, and for how long, is compared with what there was; five instances are registered at once, and a watcher that was there all \
             the time is compared with the list as soon as it is told of changes again.",
    rule: "Of the instances that have more time than the outage takes. Redis's own if our backend loses one with an append-only file, or a watcher of it is wrong with no gap told at any setting. It depends on the way and \
           the setting if, with snapshots or an append-only file, an instance of the naive registries or of our backend is not kept, or a naive watcher is wrong with no gap told. etcd's by the same measure. Connection errors \
           are told besides and are no gap. What has less time than the outage takes expires by the clock and is counted apart. Nothing is decided if an arm of these broke off.",
    falsifier: "On Redis with snapshots or an append-only file all are kept and every watcher is right or is told of the gap.",
    remedy: "registry-redis gives every lease the time that nobody could renew, keeps revisions and the log of changes in the data set, so that a watch goes on from its cursor, and names every restored, emptied or \
             replaced data set by a reset with its cause.",
    caveat: "etcd gives every lease its full time again, which keeps the living and lists the dead for longer. A Redis without persistence is empty after a restart by design; owners register again \
             within a heartbeat.",
    left_out: "Redis with AOF always, since a process that is stopped or killed loses nothing more with AOF everysec, save what is written while a sync runs; etcd with three nodes, since all down is the same as one down, and one \
               down is no restart of the store; the registry in memory, which keeps nothing.",
    harmless: false,
};

const COLUMNS: [Column; 11] = [
    Column::new("instances", OF, OfRuns::Sum, Unit::Count),
    Column::new("of them lost", LOST, OfRuns::Sum, Unit::Count),
    Column::new("with less time than the outage", SHORT_OF, OfRuns::Sum, Unit::Count),
    Column::new("of them gone", EXPIRED, OfRuns::Sum, Unit::Count),
    Column::new("time left, more than by the clock", TTL_ERROR, OfRuns::Median, Unit::Seconds),
    Column::new("revisions go on", CONTINUES, OfRuns::Min, Unit::YesNo),
    Column::new("watch goes on from its cursor", RESUMED, OfRuns::Min, Unit::YesNo),
    Column::new("runs", RUNS, OfRuns::Sum, Unit::Count),
    Column::new("in which the watcher was told of a gap", TOLD, OfRuns::Sum, Unit::Count),
    Column::new("connection errors told to it", TROUBLES, OfRuns::Sum, Unit::Count),
    Column::new("wrong in its view with no gap told", MISSED, OfRuns::Sum, Unit::Count),
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
        let title = "How many instances with time left are lost after the server was down for three seconds, by what it persists";
        let drawing = Drawing::Bars { x: "instances lost, %".to_owned(), bars };
        vec![Picture { title: title.to_owned(), drawing }]
    }

    fn against_etcd(&self, records: &Records) -> Option<String> {
        judge::against_etcd(records)
    }
}

fn runs(lab: &Lab) -> u32 {
    lab.by_scale(1, 3)
}

fn refs(arms: &[String]) -> Vec<&str> {
    arms.iter().map(String::as_str).collect()
}

fn bar(records: &Records, arm: &str) -> Option<Bar> {
    let (lost, of) = (records.sum(arm, LOST)?, records.sum(arm, OF)?);
    let (missed, told) = (records.sum(arm, MISSED)?, in_runs(records, &[arm], TOLD));
    let watcher = if missed > 0.0 {
        let troubles = or_dash(records.sum(arm, TROUBLES), count);
        format!(
            "a watcher wrong about {} with no gap told ({troubles} connection errors were)",
            count(missed)
        )
    } else {
        format!("a gap told in {told}, none missed")
    };
    let label = format!("{} of {}, {watcher}", count(lost), count(of));
    Some(Bar { name: arm.to_owned(), length: lost / of * 100.0, label, bad: lost > 0.0 || missed > 0.0 })
}
