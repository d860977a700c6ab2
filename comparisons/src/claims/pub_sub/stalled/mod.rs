//! 2a: a subscriber that stops reading.

mod changes;
mod run;

use async_trait::async_trait;

use super::support::{ETCD, HASH, KEY, MEMORY, REDIS, RELOADING, any_above, broken_off, either};
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::{Finding, Shown};
use crate::lab::Lab;
use crate::picture::{Bar, Drawing, Picture};
use crate::record::Records;
use crate::report::format::{self, count};

/// Changes that were acknowledged while the subscriber did not read.
const PUBLISHED: &str = "published";
/// Of these, those that it was told one by one, then or later. Each counts once, however often it was told.
const RECEIVED: &str = "received";
/// The rest.
const LOST: &str = "lost";
/// Of the rest, those after which nobody told the subscriber that something may be missing.
const SILENT: &str = "lost_silently";
/// How often the subscriber was told that something may be missing.
const GAPS: &str = "gaps_told";
/// How often the subscriber was told of trouble with the connection, since it stopped to read.
const TROUBLES: &str = "troubles_told";
/// Changes that were refused to who made them.
const ERRORS: &str = "publish_errors";
/// Connections that the server closed since they took too little.
const KILLED: &str = "killed";
/// Instances of which the subscriber has a wrong value in the end.
const WRONG: &str = "wrong_in_view";
/// How long it took, from reading on, until it was told of a change that was made then.
const AGAIN: &str = "told_again_s";
/// How long the changes took.
const WRITING: &str = "writing_s";

/// So many changes may be lost with no gap told; one more shows the drawback.
const MOST_LOST: f64 = 0.0;
/// So many instances may be wrong in the view in the end; one more shows the drawback as well.
const MOST_WRONG: f64 = 0.0;

const ARMS: [&str; 6] = [MEMORY, ETCD, REDIS, HASH, RELOADING, KEY];
/// Those that decide.
const DECIDING: [&str; 4] = [ETCD, REDIS, HASH, KEY];

static ABOUT: About = About {
    id: "2a",
    title: "A subscriber that stops reading",
    question: "A subscriber does not read for a while, because its process hangs or its network is out, while changes go on. Does it learn what it \
               has missed, or at least that it has missed something?",
    hypothesis: "Redis drops a subscriber whose output buffer is full, with all that was held for it. The publisher is told that all went well, and the \
                 subscriber connects again as if nothing had happened.",
    set_up: "A proxy holds back what the server sends to the subscriber, while some 50 to 60 MB of changes are made at full speed, at Redis's default \
             limit of 32 MB for subscribers. The naive registries make 60,000 changes of 1 kB: their instances have ids of 1,000 bytes, since they hold \
             no more than a number. Ours, on etcd and on Redis, make 3,200 changes of instances with 15 kB of metadata, and in memory as many without: there \
             is no connection to fill, so the consumer does not ask for what comes next. Then it reads on, and one more change is made until it is told of it.",
    rule: "Every change has a value of its own, and counts as received if the subscriber was told that value one by one, once or more often. Shown by an arm if \
           a change was not received and no gap was told after it, that is no list that is marked as coming after something may have been missed; or if an instance \
           is wrong in the subscriber's view in the end. Connection errors that were told are counted beside it, and are no such mark. The naive way is the hash with \
           PUBLISH, or the key with keyspace events; the hash that is loaded again after each subscription is reported and does not decide. A run in which \
           the change that is made at the end is not told within a minute does not count: what is late cannot be told from what is lost.",
    falsifier: "Had the naive subscriber received every change, or been told of the gap, the claim would be wrong here.",
    remedy: "Every change has a revision, names the one before it, and is in a log; a watch that finds a gap reads it from there, and if the log does not \
             reach back so far, tells a Reset with all instances.",
    caveat: "Nobody can keep everything for a reader that does not read. What counts is whether it is told. Loading the hash again after each subscription \
             is enough for that, and costs one line. Keyspace events carry no value, and the key is read when one comes: of changes in quick succession only the \
             last is seen by then, which counts as a loss of the others, as it would where each matters.",
    left_out: "etcd with three nodes is left out, since a watch is served by one member, which does the same alone.",
    harmless: false,
};

const COLUMNS: [Column; 9] = [
    Column::new("changes made", PUBLISHED, OfRuns::Sum, Unit::Count),
    Column::new("received", RECEIVED, OfRuns::Sum, Unit::Count),
    Column::new("not told one by one", LOST, OfRuns::Sum, Unit::Count),
    Column::new("lost with no gap told", SILENT, OfRuns::Sum, Unit::Count),
    Column::new("gaps told to the subscriber", GAPS, OfRuns::Sum, Unit::Count),
    Column::new("connection errors told to the subscriber", TROUBLES, OfRuns::Sum, Unit::Count),
    Column::new("errors told to the publisher", ERRORS, OfRuns::Sum, Unit::Count),
    Column::new("connections closed by the server", KILLED, OfRuns::Sum, Unit::Count),
    Column::new("instances wrong in the end", WRONG, OfRuns::Max, Unit::Count),
];

/// A subscriber that stops reading.
#[derive(Debug)]
pub(super) struct Stalled;

#[async_trait]
impl Experiment for Stalled {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn steps(&self, lab: &Lab) -> Vec<Step> {
        let runs = f64::from(runs(lab));
        let seconds = |arm: &str| if arm == MEMORY { 1.0 } else { 6.0 };
        ARMS.iter().map(|arm| Step::new(*arm, seconds(arm) * runs)).collect()
    }

    async fn run(&self, lab: &Lab, step: &Step) -> Result<(), Trouble> {
        for number in 0..runs(lab) {
            lab.keep(run::run(lab, &step.name, number).await?);
        }
        Ok(())
    }

    fn judge(&self, records: &Records) -> Finding {
        if let Some(why) = broken_off(records, &DECIDING) {
            return Finding::undecided(why);
        }
        let shown = |arm| {
            either(any_above(records, arm, SILENT, MOST_LOST), any_above(records, arm, WRONG, MOST_WRONG))
        };
        let naive = either(shown(HASH), shown(KEY));
        let verdict = Shown { naive, ours: shown(REDIS), etcd: shown(ETCD) }.verdict();
        let (Some(lost), Some(published)) = (records.sum(HASH, SILENT), records.sum(HASH, PUBLISHED)) else {
            return Finding::undecided("no run of a naive subscriber counts");
        };
        let sum = |arm, figure| records.sum(arm, figure).map_or("an unknown number of".to_owned(), count);
        let figure = format!(
            "{} of {} lost with no gap told, {} errors told to the publisher",
            count(lost),
            count(published),
            sum(HASH, ERRORS)
        );
        let naive = format!(
            "Of {} changes that were published in {} while a plain Redis subscriber did not read, it never received {}, was told of {} gaps and {} \
             connection errors, and up to {} instances were wrong in its view afterwards, while the publisher saw {} errors.",
            count(published),
            format::runs(records.count(HASH)),
            sum(HASH, LOST),
            sum(HASH, GAPS),
            sum(HASH, TROUBLES),
            records.max(HASH, WRONG).map_or("an unknown number of".to_owned(), count),
            sum(HASH, ERRORS),
        );
        let one = |arm| {
            format!(
                "was not told {} of {} changes one by one, {} of them with no gap told ({} connection errors were), and had up to {} instances wrong in the end",
                sum(arm, LOST),
                sum(arm, PUBLISHED),
                sum(arm, SILENT),
                sum(arm, TROUBLES),
                records.max(arm, WRONG).map_or("an unknown number of".to_owned(), count),
            )
        };
        let ours = format!("In the same place our watch on Redis {}; on etcd it {}.", one(REDIS), one(ETCD));
        Finding { verdict, figure, sentences: [naive, ours] }
    }

    fn columns(&self) -> &'static [Column] {
        &COLUMNS
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        let bar = |arm: &&'static str| {
            let (silent, lost) = (records.sum(arm, SILENT)?, records.sum(arm, LOST)?);
            let published = records.sum(arm, PUBLISHED).filter(|published| *published > 0.0)?;
            let how = match (lost > 0.0, silent > 0.0) {
                (false, _) => "nothing lost".to_owned(),
                (true, true) => format!("{} of {}, no gap told", count(silent), count(published)),
                (true, false) => format!("0: told that {} were left out", count(lost)),
            };
            Some(Bar { name: (*arm).to_owned(), length: silent / published, label: how, bad: silent > 0.0 })
        };
        let bars: Vec<_> = ARMS.iter().filter_map(bar).collect();
        let picture = Picture {
            title: "What a subscriber that did not read for a while has lost with no gap told".to_owned(),
            drawing: Drawing::Bars {
                x: "share of the changes that was lost with no gap told".to_owned(),
                bars,
            },
        };
        if records.all().any(|record| record.is_valid()) { vec![picture] } else { Vec::new() }
    }
}

fn runs(lab: &Lab) -> u32 {
    lab.by_scale(1, 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Verdict;
    use crate::record::Record;

    fn record(arm: &str, silent: f64) -> Record {
        let record = Record::new(arm, 0).with(PUBLISHED, 60_000.0).with(LOST, 100.0);
        record
            .with(SILENT, silent)
            .with(GAPS, 0.0)
            .with(TROUBLES, 2.0)
            .with(ERRORS, 0.0)
            .with(WRONG, 0.0)
            .if_bitten(true, "killed")
    }

    fn verdict(arms: &[(&str, f64)]) -> Verdict {
        Stalled.judge(&arms.iter().map(|(arm, silent)| record(arm, *silent)).collect()).verdict
    }

    #[test]
    fn one_change_that_is_lost_silently_decides() {
        assert_eq!(verdict(&[(HASH, 1.0), (KEY, 0.0), (REDIS, 0.0), (ETCD, 0.0)]), Verdict::Depends);
        assert_eq!(verdict(&[(HASH, 0.0), (KEY, 1.0), (REDIS, 0.0), (ETCD, 0.0)]), Verdict::Depends);
        assert_eq!(verdict(&[(HASH, 1.0), (KEY, 0.0), (REDIS, 1.0), (ETCD, 0.0)]), Verdict::Confirmed);
        assert_eq!(verdict(&[(HASH, 1.0), (KEY, 0.0), (REDIS, 0.0), (ETCD, 1.0)]), Verdict::Refuted);
        assert_eq!(verdict(&[(HASH, 0.0), (KEY, 0.0), (REDIS, 0.0), (ETCD, 0.0)]), Verdict::Refuted);
    }

    #[test]
    fn a_view_that_is_wrong_in_the_end_decides_as_well() {
        let judged = |wrong: f64| {
            let naive = record(HASH, 0.0).with(WRONG, wrong);
            let all = [naive, record(KEY, 0.0), record(REDIS, 0.0), record(ETCD, 0.0)];
            Stalled.judge(&Records::from_iter(all)).verdict
        };
        assert_eq!((judged(0.0), judged(1.0)), (Verdict::Refuted, Verdict::Depends));
    }

    #[test]
    fn what_was_not_run_or_does_not_count_decides_nothing() {
        assert_eq!(verdict(&[]), Verdict::Undecided);
        assert_eq!(verdict(&[(HASH, 1.0), (KEY, 1.0), (ETCD, 0.0)]), Verdict::Undecided);
        let invalid = record(HASH, 1.0).invalid("the server kept all");
        let records = [invalid, record(KEY, 0.0), record(REDIS, 0.0), record(ETCD, 0.0)];
        assert_eq!(Stalled.judge(&Records::from_iter(records)).verdict, Verdict::Undecided);
    }

    #[test]
    fn the_figure_says_how_much_was_lost_and_who_was_told() {
        let finding = Stalled.judge(&[record(HASH, 56_153.0)].into_iter().collect());
        assert!(finding.sentences[0].contains("0 gaps and 2 connection errors"), "{finding:?}");
        assert_eq!(finding.figure, "56,153 of 60,000 lost with no gap told, 0 errors told to the publisher");
        assert!(Stalled.pictures(&Records::default()).is_empty());
    }
}
