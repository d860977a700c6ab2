//! 3c: how long it takes until a process that died is gone from every view.

mod deaths;
mod processes;

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;

use self::deaths::deaths;
use self::processes::Servers;
use super::pairs::broken_off;
use crate::claims::clustering::words::or_dash;
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::{Finding, Shown};
use crate::instance::Kind;
use crate::lab::Lab;
use crate::measure::{median_with_never, steps};
use crate::picture::{Drawing, Line, Picture};
use crate::record::{Outcome, Record, Records};
use crate::report::format::{self, count, seconds};

const ETCD_1: &str = "etcd 1 node";
const ETCD_3: &str = "etcd 3 nodes";
const OURS: &str = "redis";
const HASH: &str = "redis-naive hash";
const KEY: &str = "redis-naive key";
/// An etcd of the reader, of which it is not known how many nodes it has.
const ETCD_THEIRS: &str = "etcd";

/// How processes are registered, and where.
#[derive(Clone, Copy, Debug)]
struct Arm {
    name: &'static str,
    kind: Kind,
    /// On an etcd of so many nodes; none for Redis.
    etcd: Option<usize>,
}

const fn arm(name: &'static str, kind: Kind, etcd: Option<usize>) -> Arm {
    Arm { name, kind, etcd }
}

const ARMS: [Arm; 5] = [
    arm(ETCD_1, Kind::Ours, Some(1)),
    arm(ETCD_3, Kind::Ours, Some(3)),
    arm(OURS, Kind::Ours, None),
    arm(HASH, Kind::NaiveHash, None),
    arm(KEY, Kind::NaiveKey, None),
];
const AT_THEIRS: [Arm; 3] =
    [arm(ETCD_THEIRS, Kind::Ours, Some(0)), arm(OURS, Kind::Ours, None), arm(HASH, Kind::NaiveHash, None)];

/// How many died.
const DEATHS: &str = "deaths";
/// From SIGKILL until the last of the watchers lists it no longer: the one in the middle, and the longest. Those that are never gone count as if it had
/// been at the limit, so that what is at the limit is a lower bound.
const MEDIAN: &str = "median_s";
const MAX: &str = "max_s";
/// The longest beyond the time to live; likewise.
const OVER: &str = "over_ttl_s";
/// How many some watcher still lists at the limit.
const NEVER: &str = "never";
/// The least time to live that is granted.
const LEAST_TTL: &str = "least_ttl_s";
/// Each of those that were gone, in seconds, ascending; each with a 1.
const AFTER: &str = "after_s";

/// The time to live of all.
const TTL: Duration = Duration::from_secs(2);
/// How long after the last death it is looked.
const LIMIT: Duration = Duration::from_secs(10);
/// The drawback is shown if it takes so many times as long as with etcd, and so much more.
const TIMES: f64 = 1.5;
const MORE_S: f64 = 0.5;
/// How long a run takes, and the start of the servers.
const RUN_SECONDS: f64 = 16.0;
const START_SECONDS: f64 = 6.0;

#[derive(Debug)]
pub(super) struct Death;

static ABOUT: About = About {
    id: "3c",
    title: "A process dies",
    question: "How long after a server process is killed is it gone from every watcher's view?",
    hypothesis: "Through Redis it takes longer: keys expire when Redis comes to them, and a hash expires as a whole or not at all.",
    set_up: "Ten processes that are instances of one service are killed (SIGKILL), each at a random time between two heartbeats, while another one of the service lives on. The time to live is 2 s for all, a \
             heartbeat comes three times in that. Three watchers. The store holds 10,000 other keys with a time to live (in etcd 100 to a lease); on servers of the reader only what they hold. What is still listed 10 s after the last death counts as never gone.",
    rule: "The drawback is shown by a death that is never seen, or by a median of more than 1.5 times that of etcd with 3 nodes and 0.5 s more; for etcd the same against registry-redis. \
           The medians are those of all deaths of all runs: one that is never seen took longer than all others, and where half or more are, there is no median. On servers of the reader it is their etcd instead, and the naive way is the hash. Undecided if an arm broke off, or if a registry lost no process.",
    falsifier: "registry-redis is as quick as etcd, or quicker.",
    remedy: "registry-redis keeps deadlines in a sorted set, apart from Redis's own expiry, and looks when the next deadline has come: what else is in the database does not matter, and instances expire one by one.",
    caveat: "Much can be mended in the naive ways, too: a field can have a time to live of its own from Redis 7.4 on, and who sweeps the keys itself does not depend on expired events. The etcd is timed as etcd is by \
             default (heartbeat 100 ms, election 1 s), since the least time to live that it grants depends on it. Graceful ends are not in this: whoever deregisters is gone at once.",
    left_out: "`memory`: when its process dies, all who could see it are gone as well. On servers of the reader also the naive key: to list, it goes through all keys of the server, \
               and its events have to be switched on there.",
    harmless: true,
};

#[async_trait]
impl Experiment for Death {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn steps(&self, lab: &Lab) -> Vec<Step> {
        vec![Step::new("all", START_SECONDS + RUN_SECONDS * f64::from(runs(lab)))]
    }

    async fn run(&self, lab: &Lab, _step: &Step) -> Result<(), Trouble> {
        // At the same time, since it is mostly waited, and all have the same load beside them.
        let arms = if lab.theirs.is_some() { &AT_THEIRS[..] } else { &ARMS[..] };
        let arms = arms.iter().map(|arm| async move {
            let outcome = all_runs(lab, *arm).await;
            if let Err(trouble) = &outcome {
                let outcome = Outcome::Failed { why: trouble.to_string() };
                lab.keep(Record { outcome, ..Record::new(arm.name, 0) });
            }
            outcome
        });
        join_all(arms).await.into_iter().collect()
    }

    fn judge(&self, records: &Records) -> Finding {
        judge(records)
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::new("died", DEATHS, OfRuns::Sum, Unit::Count),
                Column::new(
                    "gone after, median of its runs' medians (10 s: at least)",
                    MEDIAN,
                    OfRuns::Median,
                    Unit::Seconds,
                ),
                Column::new("longest (with some never gone: at least)", MAX, OfRuns::Max, Unit::Seconds),
                Column::new("longest beyond the TTL (likewise)", OVER, OfRuns::Max, Unit::Seconds),
                Column::new("never gone", NEVER, OfRuns::Sum, Unit::Count),
                Column::new("least TTL that is granted", LEAST_TTL, OfRuns::Max, Unit::Seconds),
            ]
        }
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        let line = |arm: &str| {
            let (after, never) = deaths_of(records, arm);
            let points = steps(&after, after.len() + never, LIMIT.as_secs_f64());
            (after.len() + never > 0).then(|| Line { name: arm.to_owned(), points })
        };
        let lines: Vec<Line> = records.arms().into_iter().filter_map(line).collect();
        if lines.is_empty() {
            return Vec::new();
        }
        let title = "Which share of the killed processes was gone from every view after how long; a line that does not reach the top stands for some that stayed".to_owned();
        vec![Picture {
            title,
            drawing: Drawing::Ecdf { x: "from SIGKILL until gone from every view, s".to_owned(), lines },
        }]
    }

    fn against_etcd(&self, records: &Records) -> Option<String> {
        against_etcd(records)
    }
}

fn runs(lab: &Lab) -> u32 {
    lab.by_scale(1, 5)
}

async fn all_runs(lab: &Lab, arm: Arm) -> Result<(), Trouble> {
    let servers = Servers::of(lab, arm).await?;
    let prefix = lab.theirs.as_ref().map(|theirs| format!("{}-", theirs.prefix())).unwrap_or_default();
    for run in 0..runs(lab) {
        let random = lab.random(&format!("3c {} {run}", arm.name));
        lab.keep(deaths(arm, &servers, format!("{prefix}death-{run}"), run, random).await?);
    }
    Ok(())
}

/// With which etcd Redis is compared.
fn etcd_of(records: &Records) -> (&'static str, &'static str) {
    if records.count(ETCD_THEIRS) > 0 { (ETCD_THEIRS, "etcd") } else { (ETCD_3, "etcd on three nodes") }
}

/// How long it took of an arm's deaths, in all runs, and how many were never gone.
fn deaths_of(records: &Records, arm: &str) -> (Vec<f64>, usize) {
    let series = records.of(arm).filter_map(|record| record.series.get(AFTER)).flatten();
    (series.map(|[after, _]| *after).collect(), records.sum(arm, NEVER).unwrap_or(0.0) as usize)
}

/// The median of all deaths of an arm; infinite if half or more were never gone.
fn middle(records: &Records, arm: &str) -> Option<f64> {
    let (after, never) = deaths_of(records, arm);
    median_with_never(&after, never)
}

/// By the margin of this experiment.
fn is_more(it: f64, than: f64) -> bool {
    it > TIMES * than && it > than + MORE_S
}

/// Whether an arm shows the drawback, against another.
fn shows(records: &Records, arm: &str, than: &str) -> Option<bool> {
    let (it, other) = (middle(records, arm)?, middle(records, than)?);
    Some(records.sum(arm, NEVER)? > 0.0 || is_more(it, other))
}

fn judge(records: &Records) -> Finding {
    if let Some(why) = broken_off(records) {
        return Finding::undecided(why);
    }
    let shown = |arm: &str, than: &str| shows(records, arm, than);
    let (etcd, on_etcd) = etcd_of(records);
    let naive = match (shown(HASH, etcd), shown(KEY, etcd)) {
        (Some(hash), Some(key)) => Some(hash || key),
        (hash, None) if etcd == ETCD_THEIRS => hash,
        _ => None,
    };
    let shown = Shown { naive, ours: shown(OURS, etcd), etcd: shown(etcd, OURS) };
    let (Some(_), Some(_), Some(_)) = (shown.naive, shown.ours, shown.etcd) else {
        return Finding::undecided("not every registry was seen to lose a process");
    };
    let times = |arm: &str| or_dash(middle(records, arm), seconds);
    let gone = |arm: &str| never_of(records, arm);
    let medians_of = records.count(OURS).min(records.count(etcd));
    let by_key = if records.count(KEY) == 0 {
        String::new()
    } else {
        format!(
            "; with keys and expired events, of which Redis tells when it comes to an expired key, {}, after {} (median)",
            gone(KEY),
            times(KEY)
        )
    };
    Finding {
        verdict: shown.verdict(),
        figure: format!(
            "gone after {} on Redis, {} on etcd; {} never from the hash",
            times(OURS),
            times(etcd),
            gone(HASH)
        ),
        sentences: [
            format!(
                "A killed process was gone from every view after {} with registry-redis and after {} with {on_etcd} (medians of all deaths in {}; {} and {} never).",
                times(OURS),
                times(etcd),
                format::runs(medians_of),
                gone(OURS),
                gone(etcd)
            ),
            format!(
                "With the hash that people write {} were still listed at the end, since nobody publishes an expiry{by_key}.",
                gone(HASH)
            ),
        ],
    }
}

/// `3 of 50`, of an arm's deaths those that were never seen.
fn never_of(records: &Records, arm: &str) -> String {
    let (after, never) = deaths_of(records, arm);
    format!("{} of {}", count(never as f64), count((after.len() + never) as f64))
}

/// Only what is worse by the margin of this experiment.
fn against_etcd(records: &Records) -> Option<String> {
    let (etcd, on_etcd) = etcd_of(records);
    let later = shows(records, etcd, OURS)? && !shows(records, OURS, etcd)?;
    let later = later.then(|| {
        let times = |arm: &str| or_dash(middle(records, arm), seconds);
        format!(
            "A killed process was gone from every view after {} with {on_etcd} ({} never), where with registry-redis it was after {} ({} never; medians).",
            times(etcd),
            never_of(records, etcd),
            times(OURS),
            never_of(records, OURS)
        )
    });
    let least = records.max(etcd, LEAST_TTL).zip(records.max(OURS, LEAST_TTL));
    let least = least.filter(|(theirs, ours)| is_more(*theirs, *ours)).map(|(theirs, ours)| {
        format!(
            "The shortest time to live that etcd grants is {}, where registry-redis grants {}.",
            seconds(theirs),
            seconds(ours)
        )
    });
    let told: Vec<String> = later.into_iter().chain(least).collect();
    (!told.is_empty()).then(|| told.join(" "))
}

#[cfg(test)]
mod tests {
    use super::{
        AFTER, Death, ETCD_3, ETCD_THEIRS, HASH, KEY, LEAST_TTL, MORE_S, NEVER, OURS, TIMES, against_etcd,
        judge,
    };
    use crate::experiment::Experiment;
    use crate::finding::Verdict;
    use crate::picture::Drawing;
    use crate::record::{Outcome, Record, Records};

    /// Four deaths each, of which so many are never seen, and all others after so long.
    fn record(arm: &str, after: f64, never: usize) -> Record {
        Record::new(arm, 0).with(NEVER, never as f64).with_series(AFTER, vec![[after, 1.0]; 4 - never])
    }

    fn records(hash_never: usize, ours: f64, etcd: f64) -> Records {
        let arms = [(ETCD_3, etcd, 0), (OURS, ours, 0), (HASH, etcd, hash_never), (KEY, etcd, 0)];
        arms.into_iter().map(|(arm, after, never)| record(arm, after, never)).collect()
    }

    fn instead(records: &Records, record: &Record) -> Records {
        let others = records.all().filter(|other| other.arm != record.arm);
        others.chain([record]).cloned().collect()
    }

    #[test]
    fn later_by_a_factor_and_by_some_time_confirms_it() {
        assert_eq!(judge(&records(0, 2.0 * TIMES + 0.01, 2.0)).verdict, Verdict::Confirmed);
        assert_eq!(judge(&records(0, 2.0 * TIMES - 0.01, 2.0)).verdict, Verdict::Refuted);
        assert_eq!(
            judge(&records(0, 0.2 + MORE_S - 0.01, 0.2)).verdict,
            Verdict::Refuted,
            "by a factor only"
        );
        assert_eq!(judge(&records(0, 2.0, 2.0 * TIMES + 0.01)).verdict, Verdict::Refuted, "etcd is later");
    }

    #[test]
    fn a_death_that_only_the_naive_one_never_sees_depends() {
        assert_eq!(judge(&records(1, 2.0, 2.0)).verdict, Verdict::Depends);
        assert_eq!(judge(&records(4, 2.0, 2.0)).verdict, Verdict::Depends, "no death is seen at all");
        assert_eq!(judge(&records(0, 2.0, 2.0)).verdict, Verdict::Refuted);
    }

    #[test]
    fn on_servers_of_the_reader_it_is_their_etcd_and_the_naive_way_is_the_hash() {
        let records = |hash_never, ours| -> Records {
            let theirs = |record: &Record| Record { arm: ETCD_THEIRS.to_owned(), ..record.clone() };
            let all = records(hash_never, ours, 2.0);
            let kept = all.all().filter(|record| record.arm != KEY);
            kept.map(|record| if record.arm == ETCD_3 { theirs(record) } else { record.clone() }).collect()
        };
        let finding = judge(&records(1, 2.0));
        assert_eq!(finding.verdict, Verdict::Depends);
        assert!(finding.sentences[0].contains("with etcd (medians"), "{finding:?}");
        assert!(finding.sentences[1].ends_with("nobody publishes an expiry."), "{finding:?}");
        assert_eq!(judge(&records(0, 2.0)).verdict, Verdict::Refuted);
        assert_eq!(judge(&records(0, 2.0 * TIMES + 0.01)).verdict, Verdict::Confirmed);
    }

    #[test]
    fn where_half_or_more_are_never_gone_there_is_no_median() {
        let redis = |never| judge(&instead(&records(0, 2.0, 2.0), &record(OURS, 2.0, never)));
        let (one, two) = (redis(1), redis(2));
        assert_eq!((one.verdict, two.verdict), (Verdict::Confirmed, Verdict::Confirmed));
        assert!(one.sentences[0].contains("after 2 s with registry-redis"), "{one:?}");
        assert!(two.sentences[0].contains("after – with registry-redis"), "{two:?}");
        assert!(two.sentences[0].contains("2 of 4 and 0 of 4 never"), "{two:?}");
    }

    #[test]
    fn without_all_arms_nothing_is_decided() {
        assert_eq!(judge(&Records::default()).verdict, Verdict::Undecided);
        let some = records(1, 2.0, 2.0);
        let some: Records = some.all().filter(|record| record.arm != KEY).cloned().collect();
        assert_eq!(judge(&some).verdict, Verdict::Undecided);
    }

    #[test]
    fn an_arm_that_broke_off_leaves_it_undecided() {
        let broken =
            Record { outcome: Outcome::Failed { why: "refused".to_owned() }, ..Record::new(OURS, 1) };
        let records: Records = records(1, 2.0, 2.0).all().cloned().chain([broken]).collect();
        assert_eq!(judge(&records).verdict, Verdict::Undecided);
    }

    #[test]
    fn only_what_is_later_by_the_margin_speaks_against_etcd() {
        assert_eq!(against_etcd(&Records::default()), None);
        assert_eq!(against_etcd(&records(0, 2.0, 2.0 * TIMES - 0.01)), None);
        let told = against_etcd(&records(0, 2.0, 2.0 * TIMES + 0.01)).unwrap();
        assert!(told.contains("3.01 s with etcd") && told.contains("after 2 s"), "{told}");
        let (never, all) = (record(ETCD_3, 2.0, 1), records(0, 2.0, 2.0));
        assert!(against_etcd(&instead(&all, &never)).unwrap().contains("1 of 4 never"));
        let both = instead(&instead(&all, &never), &record(OURS, 2.0, 1));
        assert_eq!(against_etcd(&both), None, "both have it");
    }

    #[test]
    fn the_least_time_to_live_is_told_where_it_was_measured_and_is_longer_by_the_margin() {
        let with = |etcd: f64, redis: f64| {
            let all = records(0, 2.0, 2.0);
            let all = all.all().cloned().map(|record| match record.arm.as_str() {
                ETCD_3 => record.with(LEAST_TTL, etcd),
                OURS => record.with(LEAST_TTL, redis),
                _ => record,
            });
            against_etcd(&all.collect())
        };
        assert_eq!(with(TIMES, 1.0), None);
        let told = with(2.0, 1.0).unwrap();
        assert_eq!(
            told,
            "The shortest time to live that etcd grants is 2 s, where registry-redis grants 1 s."
        );
        assert_eq!(with(2.0, f64::NAN), None);
    }

    #[test]
    fn lines_are_shares_of_all_deaths() {
        let pictures = Death.pictures(&records(3, 2.0, 2.0));
        let Drawing::Ecdf { lines, .. } = &pictures[0].drawing else { panic!("{pictures:?}") };
        let last = |arm: &str| *lines.iter().find(|line| line.name == arm).unwrap().points.last().unwrap();
        assert_eq!((last(HASH), last(OURS)), ([10.0, 0.25], [10.0, 1.0]));
        assert!(Death.pictures(&Records::default()).is_empty());
    }
}
