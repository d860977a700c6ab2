//! A watcher that is away while others go on.

use std::time::Duration;

use registry_testing::servers::until;
use tokio::time::{Instant, sleep_until};

use super::changes::{Change, Writer, beginning, plan, until_sees};
use super::stage::{Carried, Link, Stage};
use super::tally::{Tally, tally};
use super::watcher::Watcher;
use crate::contestants::{Listed, Seen};
use crate::experiment::Trouble;
use crate::record::Record;

/// How long the reference in memory may take to tell a watcher that it is cut off.
const NOTICED: Duration = Duration::from_secs(10);

/// How long it is cut off at least: long enough that a client tries to connect again, and can tell of the error.
const OUTAGE: Duration = Duration::from_millis(300);

/// A watcher that is cut off, and what is changed meanwhile.
pub(super) struct Away<'a> {
    link: &'a Link,
    writer: Writer<'a>,
    watcher: Watcher,
    before: Listed,
    changes: Vec<Change>,
    /// How much the watcher had been told when it was cut off.
    told: usize,
    /// When it was cut off.
    since: Instant,
    carried: Option<Carried>,
}

/// How it was when it came back.
#[derive(Debug)]
pub(super) struct Back {
    tally: Tally,
    /// Whether it was told again in the end.
    told: bool,
    /// Whether it was really away, and by what that is known.
    away: (bool, String),
}

impl<'a> Away<'a> {
    /// Has a watcher see a service, and cuts it off.
    pub(super) async fn begin(
        stage: &'a Stage,
        service: &str,
        random: &mut fastrand::Rng,
        changes: usize,
    ) -> Result<Self, Trouble> {
        let before = beginning();
        let writer = Writer::begin(&*stage.near, service, &before).await?;
        let watcher = Watcher::of(stage.far.watch(service));
        until_sees(&watcher, &before).await?;
        let changes = plan(random, &before, changes);
        let told = watcher.count();
        stage.link.cut().await;
        let (since, carried) = (Instant::now(), stage.link.carried());
        Ok(Self { link: &stage.link, writer, watcher, before, changes, told, since, carried })
    }

    /// Makes the changes, past the link that is cut.
    pub(super) async fn write(&mut self) -> Result<(), Trouble> {
        self.writer.make_all(&self.changes).await
    }

    /// Lets the watcher come back, and waits until it is told of what is changed after that.
    pub(super) async fn come_back(mut self) -> Result<Back, Trouble> {
        sleep_until(self.since + OUTAGE).await;
        let away = self.was_away().await?;
        self.link.heal().await;
        let told = self.writer.until_told(&self.watcher).await?;
        let tally = tally(&self.before, &self.changes, &self.watcher.since(self.told));
        Ok(Back { tally, told, away })
    }

    async fn was_away(&self) -> Result<(bool, String), Trouble> {
        let told = || self.watcher.since(self.told);
        let is_data = |seen: &Seen| matches!(seen, Seen::List { .. } | Seen::Change { .. });
        let written = self.changes.len();
        let Some((before, after)) = self.carried.zip(self.link.carried()) else {
            let noticed =
                || async { told().iter().any(|seen| matches!(seen, Seen::Trouble(_))).then_some(()) };
            until("a watcher is told that it is cut off", NOTICED, noticed).await?;
            let none = !told().iter().any(is_data);
            return Ok((
                none,
                format!(
                    "its watch said that it was cut off, and nothing else, while {written} changes were made"
                ),
            ));
        };
        let bytes = (after.there - before.there) + (after.back - before.back);
        let proof = format!(
            "the proxies ended {} connection{} and carried {bytes} bytes while {written} changes were made past them",
            before.cut,
            if before.cut == 1 { "" } else { "s" }
        );
        Ok((before.cut > 0 && bytes == 0 && !told().iter().any(is_data), proof))
    }
}

impl Back {
    /// What was seen, as a record; `also` is what else must have been so, and by what it is known.
    pub(super) fn record(&self, arm: &str, run: u32, also: Option<(bool, String)>) -> Record {
        let (mut bitten, mut proof) = self.away.clone();
        if let Some((also, by)) = also {
            bitten &= also;
            proof = format!("{proof}; {by}");
        }
        let record = self.tally.kept_in(Record::new(arm, run)).if_bitten(bitten, proof);
        if bitten && !self.told { record.invalid(LATE) } else { record }
    }
}

/// Why a run does not count whose watcher never came back: what is late cannot be told from what is lost.
const LATE: &str =
    "late: after it was let back the watcher was not told in time of a change that was made then";

#[cfg(test)]
mod tests {
    use super::{Back, LATE};
    use crate::claims::versioning::tally::Tally;
    use crate::record::Outcome;

    fn outcome(told: bool, away: bool, also: bool) -> Outcome {
        let back = Back { tally: Tally::default(), told, away: (away, "cut".to_owned()) };
        back.record("a", 0, Some((also, "gone".to_owned()))).outcome
    }

    #[test]
    fn a_run_counts_if_the_watcher_was_away_and_came_back() {
        assert_eq!(outcome(true, true, true), Outcome::Valid { proof: Some("cut; gone".to_owned()) });
        assert_eq!(outcome(false, true, true), Outcome::Invalid { why: LATE.to_owned() });
        let not_bitten = Outcome::Invalid { why: "the fault did not bite: cut; gone".to_owned() };
        for (away, also) in [(false, true), (true, false)] {
            assert_eq!(
                [outcome(true, away, also), outcome(false, away, also)],
                [not_bitten.clone(), not_bitten.clone()]
            );
        }
    }
}
