//! 4c: WAIT is satisfied by one replica, and the other one is promoted.

mod etcd;
mod redis;

use async_trait::async_trait;
use registry_testing::servers::etcd::EtcdCluster;

use super::aftermath::{
    ACKNOWLEDGED, ERRORS_TOLD, LOST, OF_THEM_LOST, OWNERS, RUNS_TOLD, TOLD, TROUBLES, WRONG_IN_THE_END,
};
use super::words::{broken_off, in_runs, or_dash};
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::{Finding, Shown};
use crate::lab::Lab;
use crate::picture::{Bar, Drawing, Picture};
use crate::record::Records;
use crate::report::format::count;

const ETCD: &str = "etcd 3 nodes";
const OURS: &str = "redis, WAIT 1";
const NAIVE: &str = "redis-naive hash, WAIT 1";

/// Whether the member that had missed everything came to lead: 0 or 1.
const STALE_LED: &str = "stale_led";
/// Registrations of each trial.
const WRITES: u32 = 5;
/// An arm of Redis with fewer trials, or etcd with fewer elections, decides nothing.
const LEAST_TRIALS: usize = 5;
const LEAST_ELECTIONS: usize = 2;
/// How long a trial and an election take, and the start of the servers.
const TRIAL_SECONDS: f64 = 0.3;
const ELECTION_SECONDS: f64 = 4.0;
const START_SECONDS: f64 = 4.0;

/// The experiment.
#[derive(Debug)]
pub(super) struct StalePromoted;

static ABOUT: About = About {
    id: "4c",
    title: "WAIT is not consensus",
    question: "Is a registration that one replica has confirmed (WAIT 1) safe from a fail-over?",
    hypothesis: "No: WAIT says that one replica has it, and nothing keeps another replica from being promoted. In etcd only a member that has all that was acknowledged can be elected.",
    set_up: "A Redis primary with two replicas; the link to one of them is cut, 5 instances register, each confirmed by the other replica (WAIT 1), and then the one that has missed them is made the primary \
             by hand (REPLICAOF NO ONE), and the others follow it. With etcd, a follower is cut off while 5 instances register, the leader is killed, and the follower is reached again: two members are left, \
             one of which has everything, and nobody is elected without the votes of both.",
    rule: "The drawback is shown by an acknowledged registration that is not there afterwards, in any trial. Nothing is decided with fewer than 5 trials or 2 elections, or if one broke off.",
    falsifier: "Nothing lost on Redis in any trial.",
    remedy: "registry-redis says so: WAIT bounds a loss to the replicas that did not confirm, and does not keep one of these from being promoted. The loss is told: watches by a Reset, and owners by their next heartbeat.",
    caveat: "The promotion is the worst that can be done, by hand. Its counterpart on etcd, to start the member that is behind with --force-new-cluster, is an operator's act as well, and would lose the same. Sentinel prefers the replica that has replicated the most of those it reaches, so it takes a partition that hides the better one for this to \
             happen by itself. Waiting for all replicas would be safe, and would stop all writes with the first replica that is down.",
    left_out: "The registry in memory, since it has no replicas, the naive registry with a key for each instance, whose writes are replicated as those of the hash are, and all that do not wait: 4a and 4b show what they lose.",
    harmless: false,
};

#[async_trait]
impl Experiment for StalePromoted {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn steps(&self, lab: &Lab) -> Vec<Step> {
        vec![
            Step::new("promotions", START_SECONDS + TRIAL_SECONDS * f64::from(trials(lab))),
            Step::new("elections", START_SECONDS + ELECTION_SECONDS * f64::from(elections(lab))),
        ]
    }

    async fn run(&self, lab: &Lab, step: &Step) -> Result<(), Trouble> {
        if step.name == "elections" {
            let cluster = EtcdCluster::start(3, lab.etcd_options().with_peer_proxies()).await?;
            for run in 0..elections(lab) {
                lab.keep(etcd::trial(&cluster, run).await?);
            }
            return Ok(());
        }
        let mut random = lab.random("4c");
        let mut servers = redis::Servers::start(lab).await?;
        for run in 0..trials(lab) {
            servers.trial(run, random.bool()).await?.into_iter().for_each(|record| lab.keep(record));
        }
        Ok(())
    }

    fn judge(&self, records: &Records) -> Finding {
        judge(records)
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::new("acknowledged", ACKNOWLEDGED, OfRuns::Sum, Unit::Count),
                OF_THEM_LOST,
                RUNS_TOLD,
                ERRORS_TOLD,
                WRONG_IN_THE_END,
                OWNERS,
                Column::new("elections won by the one that was behind", STALE_LED, OfRuns::Sum, Unit::Count),
            ]
        }
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        let bar = |arm: &str| {
            let (lost, of) = (records.sum(arm, LOST)?, records.sum(arm, ACKNOWLEDGED)?);
            let label = format!("{} of {}", count(lost), count(of));
            Some(Bar { name: arm.to_owned(), length: lost / of.max(1.0), label, bad: lost > 0.0 })
        };
        let bars: Vec<Bar> = records.arms().into_iter().filter_map(bar).collect();
        if bars.is_empty() {
            return Vec::new();
        }
        let title = "What one replica had confirmed is lost if the other one is promoted; etcd does not elect one that is behind".to_owned();
        let x = "share of the acknowledged registrations that was lost".to_owned();
        vec![Picture { title, drawing: Drawing::Bars { x, bars } }]
    }
}

fn trials(lab: &Lab) -> u32 {
    lab.by_scale(10, 50)
}

fn elections(lab: &Lab) -> u32 {
    lab.by_scale(2, 10)
}

fn judge(records: &Records) -> Finding {
    if let Some(why) = broken_off(records, |_| false) {
        return Finding::undecided(why);
    }
    let shown = |arm: &str, least: usize| {
        let lost = records.sum(arm, LOST)?;
        (records.count(arm) >= least).then_some(lost > 0.0)
    };
    let shown = Shown {
        naive: shown(NAIVE, LEAST_TRIALS),
        ours: shown(OURS, LEAST_TRIALS),
        etcd: shown(ETCD, LEAST_ELECTIONS),
    };
    let (Some(_), Some(_)) = (shown.ours, shown.etcd) else {
        return Finding::undecided(format!(
            "fewer than {LEAST_TRIALS} promotions or {LEAST_ELECTIONS} elections count"
        ));
    };
    let sum = |arm: &str, figure: &str| or_dash(records.sum(arm, figure), count);
    let runs = |arm: &str| count(records.count(arm) as f64);
    Finding {
        verdict: shown.verdict(),
        figure: format!(
            "{} of {} lost after WAIT 1; etcd {} of {}",
            sum(OURS, LOST),
            sum(OURS, ACKNOWLEDGED),
            sum(ETCD, LOST),
            sum(ETCD, ACKNOWLEDGED)
        ),
        sentences: [
            format!(
                "Of {} registrations that a replica had confirmed, registry-redis lost {} in {} promotions of the other replica, and a plain hash {} of {}; its watchers were told of a gap in {} (and of {} connection errors).",
                sum(OURS, ACKNOWLEDGED),
                sum(OURS, LOST),
                runs(OURS),
                sum(NAIVE, LOST),
                sum(NAIVE, ACKNOWLEDGED),
                in_runs(records, &[OURS], TOLD),
                sum(OURS, TROUBLES)
            ),
            format!(
                "etcd lost {} of {} in {} elections that took the vote of the member that was behind, and of which that won {}.",
                sum(ETCD, LOST),
                sum(ETCD, ACKNOWLEDGED),
                runs(ETCD),
                sum(ETCD, STALE_LED)
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::{ETCD, LEAST_ELECTIONS, LEAST_TRIALS, LOST, NAIVE, OURS, judge};
    use crate::finding::Verdict;
    use crate::record::{Outcome, Record, Records};

    fn records(trials: usize, elections: usize, lost: [f64; 3]) -> Records {
        let arms = [(NAIVE, trials, lost[0]), (OURS, trials, lost[1]), (ETCD, elections, lost[2])];
        let runs = arms.into_iter().flat_map(|(arm, runs, lost)| {
            (0..u32::try_from(runs).unwrap()).map(move |run| Record::new(arm, run).with(LOST, lost))
        });
        runs.collect()
    }

    #[test]
    fn a_loss_after_wait_confirms_it_and_none_refutes_it() {
        let judged = |lost| judge(&records(LEAST_TRIALS, LEAST_ELECTIONS, lost)).verdict;
        assert_eq!(judged([1.0, 1.0, 0.0]), Verdict::Confirmed);
        assert_eq!(judged([0.0, 0.0, 0.0]), Verdict::Refuted);
        assert_eq!(judged([1.0, 1.0, 1.0]), Verdict::Refuted);
    }

    #[test]
    fn too_few_trials_or_elections_decide_nothing() {
        assert_eq!(judge(&Records::default()).verdict, Verdict::Undecided);
        let all = [1.0, 1.0, 0.0];
        assert_eq!(judge(&records(LEAST_TRIALS - 1, LEAST_ELECTIONS, all)).verdict, Verdict::Undecided);
        assert_eq!(judge(&records(LEAST_TRIALS, LEAST_ELECTIONS - 1, all)).verdict, Verdict::Undecided);
    }
    #[test]
    fn a_step_that_broke_off_decides_nothing() {
        let outcome = Outcome::Failed { why: "no leader".to_owned() };
        let failed = Record { outcome, ..Record::new("elections", 0) };
        let all = records(LEAST_TRIALS, LEAST_ELECTIONS, [1.0, 1.0, 0.0]);
        assert_eq!(judge(&all.all().cloned().chain([failed]).collect()).verdict, Verdict::Undecided);
    }
}
