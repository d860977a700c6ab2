//! 1a: a watcher is cut off while others go on. What does it miss, and is it told?

use async_trait::async_trait;

use super::away::Away;
use super::stage::{Arm, Servers};
use super::tally::{COVERED, DELIVERED, GAPS, SILENT, TROUBLES, WRITTEN, WRONG};
use super::words::{bars, missed, of, shown, sum, undecided};
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::{Finding, Shown};
use crate::lab::Lab;
use crate::picture::Picture;
use crate::record::Records;
use crate::report::format::count;

/// Changes made while a watcher is away.
const CHANGES: usize = 100;
/// So many of them without a miss, at each arm, before it is said that there is none.
const ENOUGH: f64 = 300.0;
/// More than is ever changed, so that all could be told.
const HISTORY: usize = 10_000;

const ARMS: [Arm; 7] = [
    Arm::Memory,
    Arm::Etcd,
    Arm::EtcdCluster,
    Arm::Redis,
    Arm::NaiveHash,
    Arm::NaiveHashReloading,
    Arm::NaiveKey,
];
const ETCD: [&str; 2] = ["etcd 1 node", "etcd 3 nodes"];
const OURS: [&str; 1] = ["redis"];
/// The careful variant, which reloads, is shown beside them, and decides nothing: it is not what is usually written.
const NAIVE: [&str; 2] = ["redis-naive hash", "redis-naive key"];
const RELOADING: [&str; 1] = ["redis-naive hash, reloading"];

/// The experiment.
#[derive(Debug)]
pub(super) struct CutOff;

static ABOUT: About = About {
    id: "1a",
    title: "A watcher is cut off",
    question: "A client that watches a service loses its connection, 100 changes are made, and it connects again. Which of them does it miss, \
               and is it told that it missed something?",
    hypothesis: "A watch of etcd goes on from the revision where it was cut off and misses nothing. Redis has no such number, so whoever watches \
                 through it misses what happened meanwhile, and is told of no gap.",
    set_up: "A service of 10 instances. A watcher is connected through a proxy, which then ends its connections and refuses new ones, for 300 ms at least. 100 \
             changes are made past the proxy (new values, registrations, instances that leave; every value once). Then the proxy lets the \
             watcher back, and one more change is made until the watcher has it: by then all that was to come before it has come.",
    rule: "A change that is neither delivered nor covered by a list that is marked as coming after a gap was missed with no gap told. Connection errors \
           that were told to the watcher since it was cut off are counted beside it, and are no such mark. A contestant that has one such change in any run, or one \
           instance that is wrong in its list in the end, shows the drawback; one that has none in at least 300 changes does not. A run whose watcher is not \
           told again within 20 s after it was let back does not count: what is late cannot be told from what is lost.",
    falsifier: "Watchers of the naive registries on Redis miss nothing, or watchers of etcd miss changes with no gap told.",
    remedy: "registry-redis writes each change, in the same step as the change itself, into a bounded log of its service, with a revision and \
             a proof of what came before. A watch goes on from the revision where it was, as with etcd.",
    caveat: "A watcher that also loads the whole list after each connection ends with the right list. It cannot tell what happened in \
             between, such as an instance that left and one that came; where only the present list matters, that is enough. A naive client \
             is also told by its library that a connection broke; that something was missed is for it to conclude.",
    left_out: "None is left out, but the naive hash that is loaded again after each connection decides nothing: it is not what is usually written.",
    harmless: false,
};

#[async_trait]
impl Experiment for CutOff {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn steps(&self, lab: &Lab) -> Vec<Step> {
        let runs = f64::from(runs(lab));
        ARMS.iter().map(|arm| Step::new(arm.name(), START + runs * SECONDS)).collect()
    }

    async fn run(&self, lab: &Lab, step: &Step) -> Result<(), Trouble> {
        let arm = Arm::named(&step.name)?;
        let servers = Servers::start(arm, lab).await?;
        for run in 0..runs(lab) {
            let mut random = lab.random(&format!("1a {run}"));
            let stage = servers.stage(arm, HISTORY).await?;
            let mut away = Away::begin(&stage, &format!("cut-off-{run}"), &mut random, CHANGES).await?;
            away.write().await?;
            lab.keep(away.come_back().await?.record(arm.name(), run, None));
        }
        Ok(())
    }

    fn judge(&self, records: &Records) -> Finding {
        let shown = |arms: &[&str]| shown(records, arms, &[SILENT, WRONG], WRITTEN, ENOUGH);
        let verdict = Shown { naive: shown(&NAIVE), ours: shown(&OURS), etcd: shown(&ETCD) }.verdict();
        if verdict == crate::finding::Verdict::Undecided {
            let too_few = "too few runs of the naive registries, of registry-redis or of etcd count";
            return undecided(records, &[&NAIVE, &OURS, &ETCD], too_few);
        }
        let part = |arms: &[&str]| of(sum(records, arms, SILENT), sum(records, arms, WRITTEN));
        let figure = format!(
            "missed with no gap told: naive Redis {}, registry-redis {}, etcd {}",
            part(&NAIVE),
            part(&OURS),
            part(&ETCD)
        );
        let first = format!(
            "Of the changes made while they were cut off, watchers of the naive registries on Redis missed {}, and had {} \
             instances wrong in the end.",
            missed(records, &NAIVE),
            count(sum(records, &NAIVE, WRONG))
        );
        let second = format!(
            "Watchers of registry-redis missed {} and had {} wrong, those of etcd missed {} and had {} wrong; a naive watcher that also loads the list again had {} instances wrong \
             in the end, and was told of {} changes one by one.",
            missed(records, &OURS),
            count(sum(records, &OURS, WRONG)),
            missed(records, &ETCD),
            count(sum(records, &ETCD, WRONG)),
            count(sum(records, &RELOADING, WRONG)),
            of(sum(records, &RELOADING, DELIVERED), sum(records, &RELOADING, WRITTEN))
        );
        Finding { verdict, figure, sentences: [first, second] }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::new("changes", WRITTEN, OfRuns::Sum, Unit::Count),
                Column::new("delivered", DELIVERED, OfRuns::Sum, Unit::Count),
                Column::new("replaced by a list", COVERED, OfRuns::Sum, Unit::Count),
                Column::new("missed with no gap told", SILENT, OfRuns::Sum, Unit::Count),
                Column::new("gaps told", GAPS, OfRuns::Sum, Unit::Count),
                Column::new("connection errors told", TROUBLES, OfRuns::Sum, Unit::Count),
                Column::new("instances wrong at the end", WRONG, OfRuns::Sum, Unit::Count),
            ]
        }
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        let title = "What a watcher missed with no gap told while it was cut off".to_owned();
        let note = |arm: &str| match records.sum(arm, COVERED) {
            Some(covered) if covered > 0.0 => format!(", {} replaced by a list", count(covered)),
            _ => String::new(),
        };
        bars(records, title, "changes missed with no gap told, %", SILENT, WRITTEN, note)
    }
}

/// Starting servers, about, in seconds.
const START: f64 = 1.0;
/// One run, about, in seconds.
const SECONDS: f64 = 0.8;

fn runs(lab: &Lab) -> u32 {
    lab.by_scale(3, 10)
}

#[cfg(test)]
mod tests {
    use super::{CutOff, SILENT, WRITTEN, WRONG};
    use crate::experiment::Experiment;
    use crate::finding::{Finding, Verdict};
    use crate::record::{Record, Records};

    /// Three runs of each, of which the last missed so many.
    fn judged(naive: f64, ours: f64, etcd: f64) -> Finding {
        judged_of(3, naive, ours, etcd)
    }

    fn judged_of(runs: u32, naive: f64, ours: f64, etcd: f64) -> Finding {
        let mut records = Vec::new();
        let arms = [
            ("redis-naive hash", 0.0),
            ("redis-naive key", naive),
            ("redis", ours),
            ("etcd 1 node", 0.0),
            ("etcd 3 nodes", etcd),
        ];
        for (arm, missed) in arms {
            for run in 0..runs {
                let missed = if run + 1 == runs { missed } else { 0.0 };
                records.push(
                    Record::new(arm, run).with(WRITTEN, 100.0).with(SILENT, missed).with(WRONG, missed),
                );
            }
        }
        CutOff.judge(&Records::from_iter(records))
    }

    #[test]
    fn one_change_that_was_missed_with_no_gap_told_decides() {
        let verdict = |naive, ours, etcd| judged(naive, ours, etcd).verdict;
        assert_eq!(verdict(1.0, 0.0, 0.0), Verdict::Depends);
        assert_eq!(verdict(1.0, 1.0, 0.0), Verdict::Confirmed);
        assert_eq!(verdict(1.0, 0.0, 1.0), Verdict::Refuted);
        assert_eq!(verdict(0.0, 0.0, 0.0), Verdict::Refuted);
        assert!(judged(1.0, 0.0, 0.0).figure.contains("1 of 600"));
    }

    #[test]
    fn a_list_that_is_wrong_in_the_end_decides_as_well() {
        let judged = |wrong: f64| {
            let whole =
                |arm: &str| Record::new(arm, 0).with(WRITTEN, 300.0).with(SILENT, 0.0).with(WRONG, 0.0);
            let all = ["redis-naive hash", "redis-naive key", "etcd 1 node", "etcd 3 nodes"].map(whole);
            let ours = whole("redis").with(WRONG, wrong);
            CutOff.judge(&all.into_iter().chain([ours]).collect()).verdict
        };
        assert_eq!((judged(0.0), judged(1.0)), (Verdict::Refuted, Verdict::Confirmed));
    }

    #[test]
    fn too_few_runs_decide_nothing() {
        assert_eq!(judged_of(2, 1.0, 0.0, 0.0).verdict, Verdict::Undecided);
        assert_eq!(CutOff.judge(&Records::default()).verdict, Verdict::Undecided);
    }

    #[test]
    fn runs_that_do_not_count_decide_nothing() {
        let invalid =
            |arm: &str| Record::new(arm, 0).with(WRITTEN, 1000.0).with(SILENT, 0.0).invalid("not cut");
        let records =
            ["redis-naive hash", "redis-naive key", "redis", "etcd 1 node", "etcd 3 nodes"].map(invalid);
        assert_eq!(CutOff.judge(&Records::from_iter(records)).verdict, Verdict::Undecided);
    }
}
