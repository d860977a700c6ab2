//! Instances that renew and change all the time, and what their watcher makes of it.

use std::sync::Arc;
use std::time::Duration;

use registry_testing::servers::until;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{CHANGES, ERRORS, FALSE_DELETES, GAPS, MISSED, TROUBLES, UNTRUE, WRONG};
use crate::claims::pub_sub::watcher::{Acknowledged, Watcher};
use crate::contestants::{Contestant, Member};
use crate::experiment::Trouble;
use crate::record::Record;

/// Watched all the time.
pub(super) const SERVICE: &str = "moving.rpc";
const MEMBERS: u64 = 10;
/// Longer than any fail-over, so that whoever renews is alive.
const TTL: Duration = Duration::from_secs(30);
/// Between two changes.
const CHANGE: Duration = Duration::from_millis(50);
/// So many changes are between two rounds of renewals.
const CHANGES_A_RENEWAL: u64 = 20;
/// For the view to be right after all is over, with renewals going on.
const SETTLE: Duration = Duration::from_secs(5);
/// So many changes are acknowledged between two moves.
const BETWEEN: u64 = 3;
/// For a registry that was just started to take an instance, or one that moved to take changes.
const READY: Duration = Duration::from_secs(20);

/// A contestant under changes that go on until it is asked what came of them.
pub(super) struct Changes {
    contestant: Arc<dyn Contestant>,
    watcher: Watcher,
    goes_on: watch::Sender<Phase>,
    writer: JoinHandle<Written>,
    /// How many changes were acknowledged so far.
    acknowledged: watch::Receiver<u64>,
    /// How often trouble was told before anything moved.
    troubles: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Instances renew and change.
    Change,
    /// They only renew.
    Renew,
    /// Nothing is done.
    Over,
}

#[derive(Debug, Default)]
struct Written {
    /// Values that were acknowledged, each of its own.
    acknowledged: Vec<Acknowledged>,
    errors: u64,
}

impl Changes {
    /// Registers the instances, watches them, and begins to change them.
    pub(super) async fn start(contestant: Arc<dyn Contestant>) -> Result<Self, Trouble> {
        let mut members = Vec::new();
        for at in 0..MEMBERS {
            let id = format!("i-{at}");
            let register = async || contestant.register(SERVICE, &id, at, TTL).await.ok();
            members.push(until("an instance is registered", READY, register).await?);
        }
        let watcher = Watcher::start(&*contestant, SERVICE).await?;
        let (goes_on, going) = watch::channel(Phase::Change);
        let (count, acknowledged) = watch::channel(0);
        let writer = tokio::spawn(write(members, going, count));
        let troubles = watcher.told().troubles;
        Ok(Self { contestant, watcher, goes_on, writer, acknowledged, troubles })
    }

    /// Waits until a few more changes were acknowledged: what moved is written to where it is now.
    pub(super) async fn go_on(&self) -> Result<(), Trouble> {
        let mut acknowledged = self.acknowledged.clone();
        let enough = *acknowledged.borrow_and_update() + BETWEEN;
        match timeout(READY, acknowledged.wait_for(|count| *count >= enough)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Trouble::failed("the changes ended")),
            Err(_) => Err(Trouble::failed(format!("no {BETWEEN} changes were taken within {READY:?}"))),
        }
    }

    /// Ends the changes, and says what the watcher was told of them, once its view is right or a while has passed.
    pub(super) async fn finish(self, record: Record) -> Result<Record, Trouble> {
        self.goes_on.send_replace(Phase::Renew);
        let (contestant, watcher) = (&self.contestant, &self.watcher);
        let right = async || {
            let truth = contestant.list(SERVICE).await.ok()?;
            let told = watcher.told();
            (truth.len() as u64 == MEMBERS && told.wrong(&truth) == 0).then_some(())
        };
        // What is not right by then is counted.
        let _ = until("the view is what is there", SETTLE, right).await;
        let truth = contestant.list(SERVICE).await?;
        self.goes_on.send_replace(Phase::Over);
        let written = self.writer.await.map_err(|error| Trouble::failed(error.to_string()))?;
        let told = watcher.told();
        let never = written.acknowledged.iter().filter(|change| !told.values.contains(&change.value));
        let missed = told.not_covered(never);
        let (gone, wrong) = (told.gone.len(), told.wrong(&truth));
        Ok(record
            .with(CHANGES, written.acknowledged.len() as f64)
            .with(ERRORS, written.errors as f64)
            .with(FALSE_DELETES, gone as f64)
            .with(MISSED, missed as f64)
            .with(GAPS, told.gaps as f64)
            .with(TROUBLES, (told.troubles - self.troubles) as f64)
            .with(WRONG, wrong as f64)
            .with(UNTRUE, (gone + missed + wrong) as f64))
    }
}

async fn write(
    members: Vec<Box<dyn Member>>,
    going: watch::Receiver<Phase>,
    count: watch::Sender<u64>,
) -> Written {
    let mut written = Written::default();
    let mut ticks = interval(CHANGE);
    // Changes in a burst would be one to who reads the key when it is told of an event.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for value in 1_000_u64.. {
        ticks.tick().await;
        let phase = *going.borrow();
        if phase == Phase::Over {
            break;
        }
        if phase == Phase::Change {
            let at = usize::try_from(value % MEMBERS).unwrap_or_default();
            match members[at].set(value).await {
                Ok(()) => {
                    written.acknowledged.push(Acknowledged::now(value));
                    count.send_replace(written.acknowledged.len() as u64);
                }
                Err(_) => written.errors += 1,
            }
        }
        if value % CHANGES_A_RENEWAL == 0 {
            for member in &members {
                written.errors += u64::from(member.renew().await.is_err());
            }
        }
    }
    written
}
