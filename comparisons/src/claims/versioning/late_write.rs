//! 1b: an old incarnation wakes and writes. Is the newer one overwritten, and is the old one told?

use async_trait::async_trait;

use super::stage::{Arm, Servers, Stage, at_theirs};
use super::trial::{Late, Trial, trial};
use super::words::{bars, of, shown, sum, undecided};
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::{Finding, Shown, Verdict};
use crate::lab::Lab;
use crate::picture::Picture;
use crate::record::{Record, Records};
use crate::report::format::count;

const TRIALS: &str = "trials";
const OVERWRITTEN: &str = "overwritten";
const PER_1000: &str = "overwritten_per_1000";
const BY_HEARTBEAT: &str = "overwritten_by_heartbeat";
const BY_UPDATE: &str = "overwritten_by_update";
const UPDATES: &str = "updates";
const BY_LEAVING: &str = "removed_by_leaving";
const COULD_BE_TOLD: &str = "heartbeats_and_updates";
const TOLD: &str = "old_told";
const NOT_BITTEN: &str = "not_bitten";

/// So many trials without an overwriting, at each arm, before it is said that there is none.
const ENOUGH: f64 = 100.0;
/// More than is ever changed.
const HISTORY: usize = 10_000;

const ARMS: [Arm; 6] = [Arm::Memory, Arm::Etcd, Arm::PlainPut, Arm::Redis, Arm::NaiveHash, Arm::NaiveKey];
/// Without the naive key: it lists by going through all keys of the server, which is no light load on one that others use.
const AT_THEIRS: [Arm; 4] = [Arm::Etcd, Arm::PlainPut, Arm::Redis, Arm::NaiveHash];
const ETCD: [&str; 1] = ["etcd 1 node"];
const OURS: [&str; 1] = ["redis"];
const NAIVE: [&str; 2] = ["redis-naive hash", "redis-naive key"];
const PLAIN_PUT: &str = "etcd 1 node, plain put";

/// The experiment.
#[derive(Debug)]
pub(super) struct LateWrite;

static ABOUT: About = About {
    id: "1b",
    title: "An old incarnation writes late",
    question: "A process stands still while a new one takes its place under the same name; then what it was about to write arrives. Does that \
               undo what the new process registered, and is the old one told that its time is over?",
    hypothesis: "etcd compares a revision in the same transaction as the write and refuses what is old. Redis has no such number, so the last to \
                 write wins, however old it is.",
    set_up: "An instance is registered by a client behind a proxy. The proxy then holds back all bytes, and the client sends a heartbeat, a new \
             value, or that it leaves, in turn. A second client registers the same name with another value, past the proxy. Only when that is \
             acknowledged does the proxy pass on what it held, and when the old client has its answer, the list is read. In memory, and on \
             servers of the reader, the old client simply writes after the new one has registered; what is called etcd 1 node then stands for whatever \
             etcd the reader has, of one node or of several.",
    rule: "A newer instance whose value is not in the list at the end was overwritten. A contestant to which that happens once shows the \
           drawback; one to which it does not in at least 100 trials does not. Only trials in which nothing passed the proxy to the server before the newer \
           registration was acknowledged, and the old write was answered after it, count.",
    falsifier: "Naive registries on Redis never overwrite the newer one, or etcd lets the old one through.",
    remedy: "registry-redis writes through a script that runs in one piece in Redis and compares the owner and the incarnation that stand there: \
             what is old is refused, and its sender is told that its lease is lost.",
    caveat: "etcd does not protect who does not ask: a plain put, without a transaction that compares, overwrites there as well. It is shown \
             beside the others and decides nothing. The naive key could be written with a script, too; then it is no longer naive. A heartbeat \
             of the naive ways writes the value again, which is what overwrites; one that is a bare EXPIRE overwrites nothing, as in a hash whose heartbeat only \
             extends its time to live. A late new value, and a late leaving, overwrite all the same.",
    left_out: "etcd with three nodes is left out, since it decides about a write as one node does, only slower; and the naive hash that is loaded again, since it \
               writes like the other one. On servers of the reader the naive key is left out as well: to list, it goes through all keys of the server.",
    harmless: true,
};

#[async_trait]
impl Experiment for LateWrite {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn steps(&self, lab: &Lab) -> Vec<Step> {
        let seconds = START + f64::from(trials(lab)) * SECONDS;
        let arms = if lab.theirs.is_some() { &AT_THEIRS[..] } else { &ARMS[..] };
        arms.iter().map(|arm| Step::new(arm.name(), seconds)).collect()
    }

    async fn run(&self, lab: &Lab, step: &Step) -> Result<(), Trouble> {
        let arm = Arm::named(&step.name)?;
        let trials = trials(lab);
        if let Some(theirs) = &lab.theirs {
            let stage = at_theirs(arm, theirs).await?;
            lab.keep(record(arm, &stage, &format!("{}-late", theirs.prefix()), trials).await?);
        } else {
            let servers = Servers::start(arm, lab).await?;
            let stage = servers.stage(arm, HISTORY).await?;
            lab.keep(record(arm, &stage, "late", trials).await?);
        }
        Ok(())
    }

    fn judge(&self, records: &Records) -> Finding {
        let shown = |arms: &[&str]| shown(records, arms, &[OVERWRITTEN], TRIALS, ENOUGH);
        let verdict = Shown { naive: shown(&NAIVE), ours: shown(&OURS), etcd: shown(&ETCD) }.verdict();
        if verdict == Verdict::Undecided {
            let too_few = "too few trials of the naive registries, of registry-redis or of etcd count";
            return undecided(records, &[&NAIVE, &OURS, &ETCD], too_few);
        }
        let per_1000 = |arms: &[&str]| {
            let trials = sum(records, arms, TRIALS);
            if trials > 0.0 {
                count(1_000.0 * sum(records, arms, OVERWRITTEN) / trials)
            } else {
                "0".to_owned()
            }
        };
        let figure = format!(
            "newer one overwritten, per 1,000: naive Redis {}, registry-redis {}, etcd {}",
            per_1000(&NAIVE),
            per_1000(&OURS),
            per_1000(&ETCD)
        );
        let part = |arms: &[&str]| of(sum(records, arms, OVERWRITTEN), sum(records, arms, TRIALS));
        let told = |arms: &[&str]| of(sum(records, arms, TOLD), sum(records, arms, COULD_BE_TOLD));
        let first = format!(
            "In the naive registries on Redis a late write of an old process undid the registration of the newer one in {} trials ({} by a heartbeat that \
             writes the value again, {} by a new value, {} by leaving), and {} old processes that went on were told.",
            part(&NAIVE),
            count(sum(records, &NAIVE, BY_HEARTBEAT)),
            count(sum(records, &NAIVE, BY_UPDATE)),
            count(sum(records, &NAIVE, BY_LEAVING)),
            told(&NAIVE)
        );
        let second = format!(
            "In registry-redis it did so in {} and in etcd in {}, where the old process was told in {} and {} cases.",
            part(&OURS),
            part(&ETCD),
            told(&OURS),
            told(&ETCD)
        );
        Finding { verdict, figure, sentences: [first, second] }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::new("trials", TRIALS, OfRuns::Sum, Unit::Count),
                Column::new("newer one overwritten", OVERWRITTEN, OfRuns::Sum, Unit::Count),
                Column::new("by a heartbeat", BY_HEARTBEAT, OfRuns::Sum, Unit::Count),
                Column::new("by a new value", BY_UPDATE, OfRuns::Sum, Unit::Count),
                Column::new("by leaving", BY_LEAVING, OfRuns::Sum, Unit::Count),
                Column::new("per 1,000", PER_1000, OfRuns::Median, Unit::Count),
                Column::new("old one told", TOLD, OfRuns::Sum, Unit::Count),
                Column::new("of", COULD_BE_TOLD, OfRuns::Sum, Unit::Count),
            ]
        }
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        let title =
            "How often the late write of an old process undid the registration of a newer one".to_owned();
        bars(records, title, "newer one overwritten, %", OVERWRITTEN, TRIALS, |_| String::new())
    }

    fn against_etcd(&self, records: &Records) -> Option<String> {
        let (overwritten, puts) = (records.sum(PLAIN_PUT, BY_UPDATE)?, records.sum(PLAIN_PUT, UPDATES)?);
        let of_updates = |arms: &[&str]| of(sum(records, arms, BY_UPDATE), sum(records, arms, UPDATES));
        (overwritten > 0.0).then(|| {
            format!(
                "etcd does not protect who does not ask: {} late puts without a transaction overwrote the newer instance, as did {} late new values in the \
                 naive registries on Redis and {} in registry-redis.",
                of(overwritten, puts),
                of_updates(&NAIVE),
                of_updates(&OURS)
            )
        })
    }
}

/// Starting servers, about, in seconds.
const START: f64 = 1.0;
/// One trial, about, in seconds.
const SECONDS: f64 = 0.012;

fn trials(lab: &Lab) -> u32 {
    lab.by_scale(200, 1_000)
}

/// All trials of an arm: which operation comes late goes round.
async fn record(arm: Arm, stage: &Stage, service: &str, trials: u32) -> Result<Record, Trouble> {
    let mut all = Vec::new();
    for (number, late) in (0..u64::from(trials)).zip(Late::ALL.into_iter().cycle()) {
        all.push((late, trial(stage, service, number, late).await?));
    }
    let proof = match stage.link.carried() {
        Some(_) => {
            "nothing passed the proxy to the server before the newer registration was acknowledged, and the late write was answered after that"
        }
        None => "the old one wrote after the newer registration was acknowledged",
    };
    let bitten = all.iter().filter(|(_, trial)| trial.bitten).count();
    Ok(figures(Record::new(arm.name(), 0), &all)
        .if_bitten(bitten > 0, format!("in {bitten} of {trials} trials {proof}")))
}

/// What the trials come to; those in which the late write did not come late are not counted.
fn figures(record: Record, trials: &[(Late, Trial)]) -> Record {
    #[expect(clippy::cast_precision_loss, reason = "counts of some thousands")]
    let count = |which: &dyn Fn(Late, &Trial) -> bool| {
        trials.iter().filter(|(late, trial)| trial.bitten && which(*late, trial)).count() as f64
    };
    let of = |wanted: Late| count(&move |late, trial| late == wanted && trial.overwritten);
    let (all, overwritten) = (count(&|_, _| true), count(&|_, trial| trial.overwritten));
    record
        .with(TRIALS, all)
        .with(OVERWRITTEN, overwritten)
        .with(PER_1000, 1_000.0 * overwritten / all)
        .with(BY_HEARTBEAT, of(Late::Heartbeat))
        .with(UPDATES, count(&|late, _| late == Late::Update))
        .with(BY_UPDATE, of(Late::Update))
        .with(BY_LEAVING, of(Late::Leave))
        .with(COULD_BE_TOLD, count(&|late, _| late != Late::Leave))
        .with(TOLD, count(&|_, trial| trial.told))
        .with(NOT_BITTEN, trials.iter().filter(|(_, trial)| !trial.bitten).count() as f64)
}

#[cfg(test)]
mod tests {
    use super::{
        ARMS, BY_LEAVING, BY_UPDATE, Late, LateWrite, NOT_BITTEN, OVERWRITTEN, PER_1000, PLAIN_PUT, TOLD,
        TRIALS, Trial, UPDATES, figures,
    };
    use crate::experiment::Experiment;
    use crate::finding::Verdict;
    use crate::record::{Record, Records};

    fn records(trials: f64, naive: f64, ours: f64, etcd: f64) -> Records {
        let arm = |arm: super::Arm| {
            let overwritten = match arm.name() {
                "redis-naive hash" => naive,
                "redis" => ours,
                "etcd 1 node" => etcd,
                PLAIN_PUT => 50.0,
                _ => 0.0,
            };
            let record = Record::new(arm.name(), 0).with(TRIALS, trials).with(OVERWRITTEN, overwritten);
            record.with(UPDATES, trials / 2.0).with(BY_UPDATE, overwritten)
        };
        ARMS.into_iter().map(arm).collect()
    }

    #[test]
    fn one_overwriting_decides_and_that_of_a_plain_put_does_not() {
        let verdict = |naive, ours, etcd| LateWrite.judge(&records(100.0, naive, ours, etcd)).verdict;
        assert_eq!(verdict(1.0, 0.0, 0.0), Verdict::Depends);
        assert_eq!(verdict(1.0, 1.0, 0.0), Verdict::Confirmed);
        assert_eq!(verdict(1.0, 0.0, 1.0), Verdict::Refuted);
        assert_eq!(verdict(0.0, 0.0, 0.0), Verdict::Refuted);
        let against = LateWrite.against_etcd(&records(100.0, 1.0, 0.0, 0.0)).unwrap();
        assert!(against.contains("50 of 50 late puts"), "{against}");
        assert!(against.contains("1 of 100 late new values") && against.contains("0 of 50 in"), "{against}");
        let records_of = |puts: f64| {
            let put = Record::new(PLAIN_PUT, 0).with(UPDATES, 50.0).with(BY_UPDATE, puts);
            LateWrite.against_etcd(&Records::from_iter([put]))
        };
        assert!(records_of(1.0).is_some() && records_of(0.0).is_none());
        assert_eq!(LateWrite.against_etcd(&Records::default()), None);
        let naive = LateWrite.judge(&records(200.0, 4.0, 0.0, 0.0)).figure;
        assert!(naive.contains("naive Redis 10,"), "4 of 400: {naive}");
    }

    #[test]
    fn too_few_trials_decide_nothing() {
        assert_eq!(LateWrite.judge(&records(99.0, 1.0, 0.0, 0.0)).verdict, Verdict::Undecided);
        assert_eq!(LateWrite.judge(&Records::default()).verdict, Verdict::Undecided);
        let invalid =
            records(100.0, 1.0, 0.0, 0.0).all().map(|record| record.clone().invalid("not held")).collect();
        assert_eq!(LateWrite.judge(&invalid).verdict, Verdict::Undecided);
    }

    #[test]
    fn what_was_not_late_is_not_counted() {
        let trial = |bitten, overwritten, told| Trial { bitten, overwritten, told };
        let trials = [
            (Late::Heartbeat, trial(true, false, true)),
            (Late::Update, trial(true, true, false)),
            (Late::Update, trial(false, true, false)),
            (Late::Leave, trial(true, true, false)),
            (Late::Leave, trial(true, false, false)),
        ];
        let record = figures(Record::new("a", 0), &trials);
        let figures = [TRIALS, OVERWRITTEN, BY_UPDATE, BY_LEAVING, PER_1000, TOLD, NOT_BITTEN];
        assert_eq!(figures.map(|name| record.figure(name).unwrap()), [4.0, 2.0, 1.0, 1.0, 500.0, 1.0, 1.0]);
    }
}
