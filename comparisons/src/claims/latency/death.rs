//! 3c: how long it takes until a process that died is gone from every view.

mod deaths;
mod processes;

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;

use self::deaths::deaths;
use self::processes::Servers;
use crate::claims::clustering::words::or_dash;
use crate::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use crate::finding::{Finding, Shown};
use crate::instance::Kind;
use crate::lab::Lab;
use crate::picture::{Drawing, Line, Picture};
use crate::record::{Outcome, Record, Records};
use crate::report::format::{count, seconds};

const ETCD_1: &str = "etcd 1 node";
const ETCD_3: &str = "etcd 3 nodes";
const OURS: &str = "redis";
const HASH: &str = "redis-naive hash";
const KEY: &str = "redis-naive key";
const ARMS: [(&str, Kind, usize); 5] = [
    (ETCD_1, Kind::Etcd, 1),
    (ETCD_3, Kind::Etcd, 3),
    (OURS, Kind::Redis, 1),
    (HASH, Kind::NaiveHash, 1),
    (KEY, Kind::NaiveKey, 1),
];

/// How many died.
const DEATHS: &str = "deaths";
/// From SIGKILL until the last of the watchers lists it no longer: the one in the middle, and the longest, of those that are gone within the limit.
const MEDIAN: &str = "median_s";
const MAX: &str = "max_s";
/// The longest beyond the time to live.
const OVER: &str = "over_ttl_s";
/// How many some watcher still lists at the limit.
const NEVER: &str = "never";
/// The least time to live that is granted.
const LEAST_TTL: &str = "least_ttl_s";
/// Each of them, in seconds, ascending; each with a 1.
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

/// Contestants in memory are left out: when their process dies, all who could see it are gone as well.
#[derive(Debug)]
pub(super) struct Death;

static ABOUT: About = About {
    id: "3c",
    title: "A process dies",
    question: "How long after a server process is killed is it gone from every watcher's view?",
    hypothesis: "Through Redis it takes longer: keys expire when Redis comes to them, and a hash expires as a whole or not at all.",
    set_up: "Ten processes that are instances of one service are killed (SIGKILL), each at a random time between two heartbeats, while another one of the service lives on. The time to live is 2 s for all, a \
             heartbeat comes three times in that. Three watchers. The store holds 10,000 other keys with a time to live (in etcd 100 to a lease). What is still listed 10 s after the last death counts as never gone.",
    rule: "The drawback is shown by a death that is never seen, or by a median of more than 1.5 times that of etcd with 3 nodes and 0.5 s more; for etcd the same against registry-redis.",
    falsifier: "registry-redis is as quick as etcd, or quicker.",
    remedy: "registry-redis keeps deadlines in a sorted set, apart from Redis's own expiry, and looks when the next deadline has come: what else is in the database does not matter, and instances expire one by one.",
    caveat: "Much can be mended in the naive ways, too: a field can have a time to live of its own from Redis 7.4 on, and who sweeps the keys itself does not depend on expired events. The etcd is timed as etcd is by \
             default (heartbeat 100 ms, election 1 s), since the least time to live that it grants depends on it. Graceful ends are not in this: whoever deregisters is gone at once.",
    left_out: "",
    harmless: false,
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
        let arms = ARMS.map(|(arm, kind, size)| async move {
            let outcome = all_runs(lab, arm, kind, size).await;
            if let Err(trouble) = &outcome {
                let outcome = Outcome::Failed { why: trouble.to_string() };
                lab.keep(Record { outcome, ..Record::new(arm, 0) });
            }
            outcome
        });
        join_all(arms).await.into_iter().collect()
    }

    fn judge(&self, records: &Records) -> Finding {
        judge(records)
    }

    fn columns(&self) -> &'static [Column] {
        &[
            Column { title: "died", figure: DEATHS, of_runs: OfRuns::Sum, unit: Unit::Count },
            Column {
                title: "gone after, median",
                figure: MEDIAN,
                of_runs: OfRuns::Median,
                unit: Unit::Seconds,
            },
            Column { title: "longest", figure: MAX, of_runs: OfRuns::Max, unit: Unit::Seconds },
            Column {
                title: "beyond the TTL, at most",
                figure: OVER,
                of_runs: OfRuns::Max,
                unit: Unit::Seconds,
            },
            Column { title: "never gone", figure: NEVER, of_runs: OfRuns::Sum, unit: Unit::Count },
            Column {
                title: "least TTL that is granted",
                figure: LEAST_TTL,
                of_runs: OfRuns::Max,
                unit: Unit::Seconds,
            },
        ]
    }

    fn pictures(&self, records: &Records) -> Vec<Picture> {
        let line = |arm: &str| {
            let died = records.sum(arm, DEATHS)?;
            let series = records.of(arm).filter_map(|record| record.series.get(AFTER)).flatten();
            let mut after: Vec<f64> = series.map(|[after, _]| *after).collect();
            after.sort_by(f64::total_cmp);
            let points =
                after.into_iter().enumerate().map(|(index, after)| [after, (index + 1) as f64 / died]);
            Some(Line { name: arm.to_owned(), points: points.collect() })
        };
        let lines: Vec<Line> = records.arms().into_iter().filter_map(line).collect();
        if lines.iter().all(|line| line.points.is_empty()) {
            return Vec::new();
        }
        let title = "Which share of the killed processes was gone from every view after how long; a line that does not reach the top stands for some that stayed".to_owned();
        vec![Picture {
            title,
            drawing: Drawing::Ecdf { x: "from SIGKILL until gone from every view, s".to_owned(), lines },
        }]
    }

    fn against_etcd(&self, records: &Records) -> Option<String> {
        let (etcd, redis) = (records.max(ETCD_3, LEAST_TTL)?, records.max(OURS, LEAST_TTL)?);
        let (slow, quick) = (records.median(ETCD_3, MEDIAN)?, records.median(OURS, MEDIAN)?);
        (redis < etcd || quick < slow).then(|| {
            format!(
                "A killed process was gone from every view {} after it died with etcd and {} after with registry-redis (medians); the shortest time to live that etcd grants is {}, where registry-redis grants {}.",
                seconds(slow),
                seconds(quick),
                seconds(etcd),
                seconds(redis)
            )
        })
    }
}

fn runs(lab: &Lab) -> u32 {
    lab.by_scale(1, 5)
}

async fn all_runs(lab: &Lab, arm: &str, kind: Kind, size: usize) -> Result<(), Trouble> {
    let servers = Servers::start(lab, kind, size).await?;
    for run in 0..runs(lab) {
        let random = lab.random(&format!("3c {arm} {run}"));
        lab.keep(deaths(arm, kind, &servers, run, random).await?);
    }
    Ok(())
}

fn judge(records: &Records) -> Finding {
    let never = |arm: &str| records.sum(arm, NEVER);
    let median = |arm: &str| records.median(arm, MEDIAN);
    // Of what is never gone, the median may be missing.
    let shown = |arm: &str, than: &str| {
        if never(arm)? > 0.0 {
            return Some(true);
        }
        let (it, other) = (median(arm)?, median(than)?);
        Some(it > TIMES * other && it > other + MORE_S)
    };
    let naive = match (shown(HASH, ETCD_3), shown(KEY, ETCD_3)) {
        (Some(hash), Some(key)) => Some(hash || key),
        _ => None,
    };
    let shown = Shown { naive, ours: shown(OURS, ETCD_3), etcd: shown(ETCD_3, OURS) };
    let (Some(_), Some(_), Some(_)) = (shown.naive, shown.ours, shown.etcd) else {
        return Finding::undecided("not every registry was seen to lose a process");
    };
    let times = |arm: &str| or_dash(median(arm), seconds);
    let gone =
        |arm: &str| format!("{} of {}", or_dash(never(arm), count), or_dash(records.sum(arm, DEATHS), count));
    Finding {
        verdict: shown.verdict(),
        figure: format!(
            "gone after {} on Redis, {} on etcd; {} never from the hash",
            times(OURS),
            times(ETCD_3),
            gone(HASH)
        ),
        sentences: [
            format!(
                "A killed process was gone from every view after {} (median) with registry-redis and after {} with etcd on three nodes.",
                times(OURS),
                times(ETCD_3)
            ),
            format!(
                "With the hash that people write {} were still listed at the end, since one living instance keeps the whole hash; with keys and expired events {}, since Redis tells of an expired key when it comes to it.",
                gone(HASH),
                gone(KEY)
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::{ETCD_3, HASH, KEY, MEDIAN, MORE_S, NEVER, OURS, TIMES, judge};
    use crate::finding::Verdict;
    use crate::record::{Record, Records};

    fn records(hash_never: f64, ours: f64, etcd: f64) -> Records {
        let arms = [(ETCD_3, etcd, 0.0), (OURS, ours, 0.0), (HASH, etcd, hash_never), (KEY, etcd, 0.0)];
        arms.into_iter()
            .map(|(arm, median, never)| Record::new(arm, 0).with(MEDIAN, median).with(NEVER, never))
            .collect()
    }

    #[test]
    fn later_by_a_factor_and_by_some_time_confirms_it() {
        assert_eq!(judge(&records(0.0, 2.0 * TIMES + 0.01, 2.0)).verdict, Verdict::Confirmed);
        assert_eq!(judge(&records(0.0, 2.0 * TIMES - 0.01, 2.0)).verdict, Verdict::Refuted);
        assert_eq!(
            judge(&records(0.0, 0.2 + MORE_S - 0.01, 0.2)).verdict,
            Verdict::Refuted,
            "by a factor only"
        );
        assert_eq!(judge(&records(0.0, 2.0, 2.0 * TIMES + 0.01)).verdict, Verdict::Refuted, "etcd is later");
    }

    #[test]
    fn a_death_that_only_the_naive_one_never_sees_depends() {
        assert_eq!(judge(&records(1.0, 2.0, 2.0)).verdict, Verdict::Depends);
        assert_eq!(judge(&records(0.0, 2.0, 2.0)).verdict, Verdict::Refuted);
    }

    #[test]
    fn without_all_arms_nothing_is_decided() {
        assert_eq!(judge(&Records::default()).verdict, Verdict::Undecided);
        let some = records(1.0, 2.0, 2.0);
        let some: Records = some.all().filter(|record| record.arm != KEY).cloned().collect();
        assert_eq!(judge(&some).verdict, Verdict::Undecided);
    }
}
