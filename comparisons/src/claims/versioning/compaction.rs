//! 1c: the history that a watcher needs is gone. Is the loss reported?

use async_trait::async_trait;

use super::away::Away;
use super::gone::{in_log, is_compacted, trim};
use super::raw::{etcd_watch, redis_read};
use super::stage::{Arm, Servers};
use super::tally::{COVERED, DELIVERED, GAPS, SILENT, TROUBLES, WRITTEN, WRONG};
use super::words::{bars, missed, of, shown, sum, undecided};
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::{Finding, Shown, Verdict};
use crate::lab::Lab;
use crate::picture::Picture;
use crate::record::{Record, Records};
use crate::report::format::{self, count};

/// Changes made while a watcher is away: several times as many as Redis drops from a stream at once, which is 100.
const CHANGES: usize = 300;
/// What our log in Redis is told to hold.
const HISTORY: usize = 10;
/// Enough for all changes, where the log is trimmed by hand.
const LONG_HISTORY: usize = 10_000;
/// So many changes without a loss of which no gap was told, at each arm, before it is said that there is none.
const ENOUGH: f64 = 600.0;

const ARMS: [Forgets; 7] = [
    Forgets::Compacted(Arm::Memory),
    Forgets::Compacted(Arm::Etcd),
    Forgets::Compacted(Arm::EtcdCluster),
    Forgets::RawWatch,
    Forgets::Overflown,
    Forgets::ByHand,
    Forgets::RawRead,
];
const ETCD: [&str; 3] = ["etcd 1 node", "etcd 3 nodes", "etcd 1 node, raw watch"];
const OURS: [&str; 2] = ["redis", "redis, trimmed by hand"];
const NAIVE: [&str; 1] = ["redis-naive XREAD"];

/// How history is forgotten, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forgets {
    /// By the store's own compaction.
    Compacted(Arm),
    /// The same, watched by the bare API.
    RawWatch,
    /// There is more than our log in Redis is told to hold.
    Overflown,
    /// Someone trims our log.
    ByHand,
    /// Someone trims a stream that is read by the bare command.
    RawRead,
}

impl Forgets {
    fn name(self) -> &'static str {
        match self {
            Self::Compacted(arm) => arm.name(),
            Self::Overflown => OURS[0],
            Self::ByHand => OURS[1],
            Self::RawWatch => ETCD[2],
            Self::RawRead => NAIVE[0],
        }
    }

    /// On which servers.
    fn arm(self) -> Arm {
        match self {
            Self::Compacted(arm) => arm,
            Self::RawWatch => Arm::Etcd,
            Self::Overflown | Self::ByHand | Self::RawRead => Arm::Redis,
        }
    }
}

/// The experiment.
#[derive(Debug)]
pub(super) struct Compaction;

static ABOUT: About = About {
    id: "1c",
    title: "The history a watcher needs is gone",
    question: "A watcher comes back after so long that the store no longer holds what it missed. Is it told so?",
    hypothesis: "etcd refuses to go on from a revision that is compacted, so that the watcher knows that it must load everything. A stream of \
                 Redis that was trimmed is read on from what is left, and no gap is told.",
    set_up: "As in 1a, with 300 changes, after which the history is made to be gone before the watcher is let back: etcd is compacted; the log \
             of registry-redis is told to hold 10 changes, or trimmed by hand (XTRIM). Beside them the bare commands: a watch of etcd from the \
             compacted revision, and XREAD of a trimmed stream from the last id that was read.",
    rule: "A change that is neither delivered nor covered by a list that is marked as coming after a gap was lost with no gap told. To the bare commands an \
           error of the store counts as such a mark; connection errors that were told to the watchers do not, and are counted beside it. A contestant with one \
           such loss, or one instance that is wrong in its list in the end, shows the drawback; one with none in at least 600 changes does not. That the history \
           was gone is proven by asking the store for it. A run whose watcher is not told again within 20 s after it was let back does not count.",
    falsifier: "etcd goes on from a compacted revision and tells no gap, or XREAD reports that what followed an id is gone.",
    remedy: "registry-redis numbers the entries of its log without holes, and each carries a proof of the one before. A watch that does not find \
             the entry that follows its own loads everything and says so; so it does after a trim by hand.",
    caveat: "Redis can tell what a stream has lost, for instance from the first id and the count of entries ever added (XINFO STREAM), so a \
             careful reader can notice. XREAD alone does not say it. Nothing is trimmed unless a \
             writer or an operator asks for it.",
    left_out: "The naive registries that publish, or use keyspace events, are left out, since they have no history that could be gone, which is what 1a shows.",
    harmless: false,
};

#[async_trait]
impl Experiment for Compaction {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn steps(&self, lab: &Lab) -> Vec<Step> {
        let seconds = START + f64::from(runs(lab)) * SECONDS;
        ARMS.iter().map(|forgets| Step::new(forgets.name(), seconds)).collect()
    }

    async fn run(&self, lab: &Lab, step: &Step) -> Result<(), Trouble> {
        let forgets = ARMS.into_iter().find(|forgets| forgets.name() == step.name);
        let forgets = forgets.ok_or_else(|| Trouble::failed(format!("there is no arm {:?}", step.name)))?;
        let servers = Servers::start(forgets.arm(), lab).await?;
        for run in 0..runs(lab) {
            let (mut random, service) = (lab.random(&format!("1c {run}")), format!("compacted-{run}"));
            let record = Record::new(forgets.name(), run);
            let record = match (forgets, &servers) {
                (Forgets::RawWatch, Servers::Etcd(etcd)) => {
                    etcd_watch(etcd, &service, &mut random, CHANGES, record).await?
                }
                (Forgets::RawRead, Servers::Redis(redis)) => {
                    redis_read(redis, &service, &mut random, CHANGES, record).await?
                }
                _ => away(forgets, &servers, &service, &mut random, run).await?,
            };
            lab.keep(record);
        }
        Ok(())
    }

    fn judge(&self, records: &Records) -> Finding {
        let shown = |arms: &[&str]| shown(records, arms, &[SILENT, WRONG], WRITTEN, ENOUGH);
        let verdict = Shown { naive: shown(&NAIVE), ours: shown(&OURS), etcd: shown(&ETCD) }.verdict();
        if verdict == Verdict::Undecided {
            let too_few = "too few runs of XREAD, of registry-redis or of etcd count";
            return undecided(records, &[&NAIVE, &OURS, &ETCD], too_few);
        }
        let lost = |arms: &[&str]| of(sum(records, arms, SILENT), sum(records, arms, WRITTEN));
        let figure = format!(
            "lost with no gap told: XREAD {}, registry-redis {}, etcd {}",
            lost(&NAIVE),
            lost(&OURS),
            lost(&ETCD)
        );
        let first = format!(
            "A stream of Redis that was trimmed meanwhile is read on as if nothing had been there: {} changes were lost with no gap told, and {} instances \
             were wrong in the end.",
            lost(&NAIVE),
            count(sum(records, &NAIVE, WRONG))
        );
        let runs = |arms: &[&str]| arms.iter().map(|arm| records.values(arm, GAPS).len()).sum::<usize>();
        let reported = |arms: &[&str]| {
            let reported = arms.iter().flat_map(|arm| records.values(arm, GAPS)).filter(|gaps| *gaps > 0.0);
            format!("{} of {}", reported.count(), format::runs(runs(arms)))
        };
        let second = format!(
            "registry-redis told the gap in {}, lost {} and had {} wrong in the end; etcd told it in {}, lost {} and had {} wrong.",
            reported(&OURS),
            missed(records, &OURS),
            count(sum(records, &OURS, WRONG)),
            reported(&ETCD),
            missed(records, &ETCD),
            count(sum(records, &ETCD, WRONG))
        );
        Finding { verdict, figure, sentences: [first, second] }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::new("changes", WRITTEN, OfRuns::Sum, Unit::Count),
                Column::new("delivered", DELIVERED, OfRuns::Sum, Unit::Count),
                Column::new("replaced by a list", COVERED, OfRuns::Sum, Unit::Count),
                Column::new("lost with no gap told", SILENT, OfRuns::Sum, Unit::Count),
                Column::new("gap told in every run", GAPS, OfRuns::Min, Unit::YesNo),
                Column::new("connection errors told", TROUBLES, OfRuns::Sum, Unit::Count),
                Column::new("instances wrong at the end", WRONG, OfRuns::Sum, Unit::Count),
            ]
        }
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        let title = "What was lost with no gap told when the history was gone".to_owned();
        let note = |arm: &str| match records.sum(arm, COVERED) {
            Some(covered) if covered > 0.0 => {
                format!(", {} told of as a gap and replaced by a list", count(covered))
            }
            _ => String::new(),
        };
        bars(records, title, "changes lost with no gap told, %", SILENT, WRITTEN, note)
    }
}

/// Starting servers, about, in seconds.
const START: f64 = 1.0;
/// One run, about, in seconds.
const SECONDS: f64 = 1.1;

fn runs(lab: &Lab) -> u32 {
    lab.by_scale(2, 8)
}

/// A watcher behind a link is away while history is made to be gone.
async fn away(
    forgets: Forgets,
    servers: &Servers,
    service: &str,
    random: &mut fastrand::Rng,
    run: u32,
) -> Result<Record, Trouble> {
    let history = if forgets == Forgets::Overflown { HISTORY } else { LONG_HISTORY };
    let stage = servers.stage(forgets.arm(), history).await?;
    let mut away = Away::begin(&stage, service, random, CHANGES).await?;
    let proof = match servers {
        Servers::Memory(registry) => {
            away.write().await?;
            registry.controls().compact();
            (true, "the store was made to forget all history".to_owned())
        }
        Servers::Etcd(etcd) => {
            let last = etcd.status().await?.revision;
            away.write().await?;
            etcd.compact().await?;
            is_compacted(etcd, last + 1).await
        }
        Servers::EtcdCluster(etcds) => {
            let member = etcds.member(0);
            let last = member.status().await?.revision;
            away.write().await?;
            etcds.compact().await?;
            is_compacted(member, last + 1).await
        }
        Servers::Redis(redis) => {
            let (_, last) = in_log(redis, service).await?;
            away.write().await?;
            if forgets == Forgets::ByHand {
                trim(redis, service).await?;
            }
            let (first, _) = in_log(redis, service).await?;
            let gone = first.saturating_sub(last + 1);
            (gone > 0, format!("of {CHANGES} entries behind where it was, {gone} are trimmed"))
        }
    };
    Ok(away.come_back().await?.record(forgets.name(), run, Some(proof)))
}

#[cfg(test)]
mod tests {
    use super::{ARMS, Compaction, ETCD, GAPS, NAIVE, OURS, SILENT, WRITTEN, WRONG};
    use crate::experiment::Experiment;
    use crate::finding::{Finding, Verdict};
    use crate::record::{Record, Records};

    fn judged(written: f64, naive: f64, ours: f64, etcd: f64) -> Finding {
        let record = |arm: &str| {
            let lost = match arm {
                arm if arm == NAIVE[0] => naive,
                arm if arm == OURS[1] => ours,
                arm if arm == ETCD[2] => etcd,
                _ => 0.0,
            };
            let gap = if lost > 0.0 { 0.0 } else { 1.0 };
            Record::new(arm, 0).with(WRITTEN, written).with(SILENT, lost).with(GAPS, gap).with(WRONG, 0.0)
        };
        Compaction.judge(&ARMS.into_iter().map(|forgets| record(forgets.name())).collect())
    }

    #[test]
    fn one_loss_with_no_gap_told_decides() {
        let verdict = |naive, ours, etcd| judged(600.0, naive, ours, etcd).verdict;
        assert_eq!(verdict(1.0, 0.0, 0.0), Verdict::Depends);
        assert_eq!(verdict(1.0, 1.0, 0.0), Verdict::Confirmed);
        assert_eq!(verdict(1.0, 0.0, 1.0), Verdict::Refuted);
        assert_eq!(verdict(0.0, 0.0, 0.0), Verdict::Refuted);
        let finding = judged(600.0, 580.0, 0.0, 0.0);
        assert!(finding.figure.contains("XREAD 580 of 600"), "{finding:?}");
        assert!(finding.sentences[1].contains("told the gap in 2 of 2 runs"), "{finding:?}");
    }

    #[test]
    fn a_list_that_is_wrong_in_the_end_decides_as_well() {
        let judged = |wrong: f64| {
            let record = |arm: &str| {
                let wrong = if arm == OURS[1] { wrong } else { 0.0 };
                Record::new(arm, 0).with(WRITTEN, 600.0).with(SILENT, 0.0).with(WRONG, wrong)
            };
            Compaction.judge(&ARMS.into_iter().map(|forgets| record(forgets.name())).collect()).verdict
        };
        assert_eq!((judged(0.0), judged(1.0)), (Verdict::Refuted, Verdict::Confirmed));
    }

    #[test]
    fn too_little_decides_nothing() {
        assert_eq!(judged(599.0, 1.0, 0.0, 0.0).verdict, Verdict::Undecided);
        assert_eq!(Compaction.judge(&Records::default()).verdict, Verdict::Undecided);
    }
}
