//! What is asked once all servers are well again: what was lost, and who knows.

use std::time::Duration;

use registry_core::ErrorKind;
use registry_testing::servers::until;
use tokio::time::{Instant, timeout};

use super::view::View;
use super::writer::{Written, lost};
use crate::contestants::Listed;
use crate::experiment::{Column, OfRuns, Trouble, Unit};
use crate::record::Record;

/// How many registrations were acknowledged.
pub(super) const ACKNOWLEDGED: &str = "acknowledged";
/// How many of them are not there.
pub(super) const LOST: &str = "lost";
/// The same, as a share.
pub(super) const LOST_SHARE: &str = "lost_share";
/// Whether the watcher was told since the fault that something may be missing: 0 or 1.
pub(super) const TOLD: &str = "watcher_told";
/// Of how many connection errors the watcher was told since the fault, which say nothing of what it missed.
pub(super) const TROUBLES: &str = "troubles_told";
/// How many instances the watcher has wrong in the end.
pub(super) const WRONG: &str = "watcher_wrong";
/// Of the owners of what was lost that were asked for a heartbeat, the share that learnt of it.
pub(super) const OWNERS_TOLD: &str = "owners_told";

/// Columns of these figures, the same in every experiment on clusters.
pub(super) const OF_THEM_LOST: Column = Column::new("of them lost", LOST, OfRuns::Sum, Unit::Count);
pub(super) const RUNS_TOLD: Column =
    Column::new("runs in which the watcher was told of a gap", TOLD, OfRuns::Sum, Unit::Count);
pub(super) const ERRORS_TOLD: Column =
    Column::new("connection errors told to the watcher", TROUBLES, OfRuns::Sum, Unit::Count);
pub(super) const WRONG_IN_THE_END: Column =
    Column::new("the watcher has wrong in the end", WRONG, OfRuns::Max, Unit::Count);
pub(super) const OWNERS: Column =
    Column::new("owners of the lost told by a heartbeat", OWNERS_TOLD, OfRuns::Min, Unit::Share);

/// How soon a watcher must have been told of what was written after the fault; else it counts as one that is not told.
const SOON: Duration = Duration::from_secs(3);
/// How many owners are asked for a heartbeat.
const ASKED: usize = 10;
/// How long a heartbeat may take: more than any client's patience.
const BEAT: Duration = Duration::from_secs(6);

/// Adds what was lost since the `fault`, and what the watcher and the owners know of it, to a record.
pub(super) async fn add(
    record: Record,
    written: &[Written],
    truth: &Listed,
    marker: &str,
    view: &View,
    fault: Instant,
) -> Record {
    let acknowledged = written.iter().filter(|written| written.acknowledged.is_some()).count();
    let lost: Vec<&Written> = lost(written, truth).collect();
    let marked = || async { view.look(|told| told.listed.contains_key(marker).then_some(())) };
    // Not told in time is an answer, too.
    let _ = until("the watcher has what was written last", SOON, marked).await;
    let since = |times: &[Instant]| times.iter().filter(|at| **at >= fault).count();
    let (gaps, troubles, wrong) =
        view.look(|told| (since(&told.gaps), since(&told.troubles), told.wrong(truth)));
    let mut record = record
        .with(ACKNOWLEDGED, acknowledged as f64)
        .with(LOST, lost.len() as f64)
        .with(LOST_SHARE, lost.len() as f64 / acknowledged as f64)
        .with(TOLD, f64::from(u8::from(gaps > 0)))
        .with(TROUBLES, troubles as f64)
        .with(WRONG, wrong as f64);
    // Last, since the heartbeat of some writes.
    let members = lost.iter().filter_map(|written| written.member.as_deref()).take(ASKED);
    let (mut asked, mut learnt) = (0_u32, 0_u32);
    for member in members {
        asked += 1;
        learnt += u32::from(
            matches!(timeout(BEAT, member.renew()).await, Ok(Err(trouble)) if is_lease_lost(&trouble)),
        );
    }
    if asked > 0 {
        record = record.with(OWNERS_TOLD, f64::from(learnt) / f64::from(asked));
    }
    record
}

/// Whether a heartbeat was answered by the loss of the lease, and not by trouble with the connection.
fn is_lease_lost(trouble: &Trouble) -> bool {
    let Trouble::Failed(error) = trouble else { return false };
    error.downcast_ref::<registry_core::Error>().is_some_and(|error| error.kind() == ErrorKind::LeaseLost)
}
