//! 2c: what watchers are told while slots move and primaries fail over.

mod changes;
mod run;

use async_trait::async_trait;

use super::support::{ETCD_3, HASH, KEY, REDIS, any_above, broken_off, either};
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::{Finding, Shown};
use crate::lab::Lab;
use crate::picture::{Bar, Drawing, Picture};
use crate::record::Records;
use crate::report::format::{count, times};

/// How often the slot of the service was moved, or the leader.
const MOVES: &str = "moves";
/// How often a replica took over in agreement with its primary.
const PLANNED: &str = "failovers_planned";
/// How often a replica took over by force, or a leader of etcd was killed.
const FORCED: &str = "failovers_forced";
/// Changes that were acknowledged meanwhile.
const CHANGES: &str = "changes";
/// Instances that were told to be gone while they lived and renewed.
const FALSE_DELETES: &str = "false_deletes";
/// Changes that were never told, after which the watcher was not told either that something may be missing.
const MISSED: &str = "missed_silently";
/// How often the watcher was told that something may be missing.
const GAPS: &str = "gaps_told";
/// How often the watcher was told of trouble with the connection.
const TROUBLES: &str = "troubles_told";
/// Writes that failed.
const ERRORS: &str = "write_errors";
/// Instances that are wrong in the watcher's view in the end.
const WRONG: &str = "wrong_in_view";
/// False deletes, changes missed silently and instances that are wrong in the end, together.
const UNTRUE: &str = "untrue";

/// So much of it may be; one more shows the drawback.
const MOST_UNTRUE: f64 = 0.0;

const ARMS: [&str; 4] = [ETCD_3, REDIS, HASH, KEY];
/// The steps: the arms on Redis share a cluster and the service's slot, so that the same happens to all three.
const CLUSTER: &str = "Redis Cluster";

static ABOUT: About = About {
    id: "2c",
    title: "Slots that move, and fail-overs",
    question: "A Redis Cluster is rebalanced and its primaries fail over, while instances renew and change. Is a watcher told the truth?",
    hypothesis: "A key that moves to another node is told as deleted there, and events are told only by the node that has the key, so watchers take living \
                 instances for dead and miss changes.",
    set_up: "10 instances renew every second and change in turn, 20 changes a second, on a cluster of 3 primaries and 3 replicas. The slot of their service is moved \
             to another primary 100 times (quick: 20), and its primary fails over 4 times (quick: 2), in agreement with a replica and by force in turn. The three ways of using Redis \
             share the cluster and the slot. etcd has no slots: its leadership is moved among 3 nodes as often instead, and its leader is killed, and started again once \
             another leads, as often as a primary fails over by force. Between two moves 3 changes of each are acknowledged. All of it is done twice (quick: once), each time on a new cluster.",
    rule: "Shown by an arm if a living instance was told to be gone, or a change was never told and no gap was told after it (that is no list that is marked as \
           coming after something may have been missed), or the view is wrong 5 s after all is over, with renewals going on. Connection errors that were told are counted \
           beside it, and are no such mark. The naive way is the hash with PUBLISH, or the key with keyspace events.",
    falsifier: "Had no move and no fail-over brought a false end, a missed change or a wrong view with the naive ways, the claim would be wrong here.",
    remedy: "Changes are entries of a log that moves with the service, told on a shard channel as a copy of it; a watch that is sent away follows the slot, and \
             goes on in the log where it was. Ends are entries like any other, so a key that moves ends nothing.",
    caveat: "PUBLISH goes to all nodes of a cluster, so it does not matter where the slot is; a fail-over by force can lose what was acknowledged last, which is claim 4; here it counts only if nobody is told. \
             Moving a leader is not moving data: etcd has no counterpart to a slot that moves.",
    left_out: "The registry in memory and etcd with one node are left out, since there is nothing that could move; the naive hash that is loaded again, since it \
               differs only after a lost connection, which 1a and 2a show.",
    harmless: false,
};

const COLUMNS: [Column; 10] = [
    Column::new("moves", MOVES, OfRuns::Sum, Unit::Count),
    Column::new("planned fail-overs", PLANNED, OfRuns::Sum, Unit::Count),
    Column::new("forced fail-overs", FORCED, OfRuns::Sum, Unit::Count),
    Column::new("changes", CHANGES, OfRuns::Sum, Unit::Count),
    Column::new("living told to be gone", FALSE_DELETES, OfRuns::Sum, Unit::Count),
    Column::new("changes missed with no gap told", MISSED, OfRuns::Sum, Unit::Count),
    Column::new("gaps told", GAPS, OfRuns::Sum, Unit::Count),
    Column::new("connection errors told", TROUBLES, OfRuns::Sum, Unit::Count),
    Column::new("writes failed", ERRORS, OfRuns::Sum, Unit::Count),
    Column::new("wrong in the end", WRONG, OfRuns::Max, Unit::Count),
];

/// Slots that move, and fail-overs.
#[derive(Debug)]
pub(super) struct Moves;

#[async_trait]
impl Experiment for Moves {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn steps(&self, lab: &Lab) -> Vec<Step> {
        let runs = f64::from(runs(lab));
        let (cluster, etcd) = (lab.by_scale(10.0, 40.0), lab.by_scale(8.0, 32.0));
        vec![Step::new(CLUSTER, runs * cluster), Step::new(ETCD_3, runs * etcd)]
    }

    async fn run(&self, lab: &Lab, step: &Step) -> Result<(), Trouble> {
        for number in 0..runs(lab) {
            match step.name.as_str() {
                CLUSTER => run::cluster(lab, number).await?,
                _ => run::etcd_3(lab, number).await?,
            }
        }
        Ok(())
    }

    fn judge(&self, records: &Records) -> Finding {
        // The steps are named after what they share.
        if let Some(why) = broken_off(records, &[CLUSTER, ETCD_3, REDIS, HASH, KEY]) {
            return Finding::undecided(why);
        }
        let shown = |arm| any_above(records, arm, UNTRUE, MOST_UNTRUE);
        let naive = either(shown(KEY), shown(HASH));
        let verdict = Shown { naive, ours: shown(REDIS), etcd: shown(ETCD_3) }.verdict();
        let sum = |arm, figure| records.sum(arm, figure).map(count);
        let (Some(deletes), Some(moves)) = (sum(KEY, FALSE_DELETES), sum(KEY, MOVES)) else {
            return Finding::undecided("no run with keyspace events counts");
        };
        let known = |figure: Option<String>| figure.unwrap_or("an unknown number of".to_owned());
        let figure = format!("{deletes} false ends in {moves} moves by keyspace events");
        let one = |arm| {
            format!(
                "{} false ends, and {} of {} changes were missed with no gap told ({} connection errors were)",
                known(sum(arm, FALSE_DELETES)),
                known(sum(arm, MISSED)),
                known(sum(arm, CHANGES)),
                known(sum(arm, TROUBLES))
            )
        };
        let naive = format!(
            "In {moves} moves of a slot, {} planned fail-overs and {} by force, watchers by keyspace events were told {}; by PUBLISH {}.",
            known(sum(KEY, PLANNED)),
            known(sum(KEY, FORCED)),
            one(KEY),
            one(HASH),
        );
        let often =
            |figure| records.sum(ETCD_3, figure).map_or("an unknown number of times".to_owned(), times);
        let ours = format!(
            "In the same moves our watch on Redis was told {}; that on etcd, whose leader was moved {} and killed {}, {}.",
            one(REDIS),
            often(MOVES),
            often(FORCED),
            one(ETCD_3)
        );
        Finding { verdict, figure, sentences: [naive, ours] }
    }

    fn columns(&self) -> &'static [Column] {
        &COLUMNS
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        let bar = |arm: &&'static str| {
            let (deletes, missed) = (records.sum(arm, FALSE_DELETES)?, records.sum(arm, MISSED)?);
            let label = format!("{} false ends, {} missed with no gap told", count(deletes), count(missed));
            Some(Bar {
                name: (*arm).to_owned(),
                length: deletes + missed,
                label,
                bad: deletes + missed > 0.0,
            })
        };
        let bars: Vec<_> = ARMS.iter().filter_map(bar).collect();
        if bars.is_empty() {
            return Vec::new();
        }
        let title =
            "What watchers were told that was not so, while slots moved and primaries failed over".to_owned();
        let x = "living instances told to be gone, and changes missed with no gap told".to_owned();
        vec![Picture { title, drawing: Drawing::Bars { x, bars } }]
    }
}

fn runs(lab: &Lab) -> u32 {
    lab.by_scale(1, 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Verdict;
    use crate::record::Record;

    fn record(arm: &str, untrue: f64) -> Record {
        let record = Record::new(arm, 0).with(MOVES, 100.0).with(FALSE_DELETES, untrue).with(MISSED, 0.0);
        record
            .with(PLANNED, 2.0)
            .with(FORCED, 2.0)
            .with(CHANGES, 900.0)
            .with(UNTRUE, untrue)
            .if_bitten(true, "moved")
    }

    fn verdict(arms: &[(&str, f64)]) -> Verdict {
        Moves.judge(&arms.iter().map(|(arm, untrue)| record(arm, *untrue)).collect()).verdict
    }

    #[test]
    fn one_untruth_decides() {
        assert_eq!(verdict(&[(KEY, 1.0), (HASH, 0.0), (REDIS, 0.0), (ETCD_3, 0.0)]), Verdict::Depends);
        assert_eq!(verdict(&[(KEY, 0.0), (HASH, 1.0), (REDIS, 0.0), (ETCD_3, 0.0)]), Verdict::Depends);
        assert_eq!(verdict(&[(KEY, 1.0), (HASH, 0.0), (REDIS, 1.0), (ETCD_3, 0.0)]), Verdict::Confirmed);
        assert_eq!(verdict(&[(KEY, 0.0), (HASH, 0.0), (REDIS, 0.0), (ETCD_3, 0.0)]), Verdict::Refuted);
        assert_eq!(verdict(&[(KEY, 1.0), (HASH, 1.0), (REDIS, 0.0), (ETCD_3, 1.0)]), Verdict::Refuted);
    }

    #[test]
    fn what_was_not_run_or_does_not_count_decides_nothing() {
        assert_eq!(verdict(&[]), Verdict::Undecided);
        assert_eq!(verdict(&[(KEY, 1.0), (HASH, 1.0), (REDIS, 0.0)]), Verdict::Undecided);
        let invalid = [KEY, HASH, REDIS, ETCD_3].map(|arm| record(arm, 1.0).invalid("nothing moved"));
        assert_eq!(Moves.judge(&Records::from_iter(invalid)).verdict, Verdict::Undecided);
    }

    #[test]
    fn the_figure_counts_false_ends_and_moves() {
        let finding = Moves.judge(&[record(KEY, 1_000.0)].into_iter().collect());
        assert_eq!(finding.figure, "1,000 false ends in 100 moves by keyspace events");
    }
}
