//! One power cut.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use registry_testing::servers::etcd::Etcd;
use registry_testing::servers::redis::Redis;
use registry_testing::servers::until;
use tokio::time::{Instant, sleep_until};

use super::causes::Causes;
use super::writer::{Write, Writer};
use super::{
    ACKNOWLEDGED, Arm, DIFFERENCES, DOWN, KEPT_AT, LISTED_AGAIN, LOST, LOST_AT, RESETS, TOLD, WINDOW,
};
use crate::claims::persistence::owners::Process;
use crate::claims::persistence::subjects::{Server, Way};
use crate::contestants::Listed;
use crate::experiment::Trouble;
use crate::lab::Lab;
use crate::record::Record;

/// What the writer writes to, and what the living processes are of: two, so that the end of the one is not held up by the other.
const WRITTEN: &str = "written.rpc";
const OWNED: &str = "owned.rpc";
const WRITES_PER_SECOND: u32 = 500;
/// The power is cut at a random moment within the second of these.
const UNDISTURBED: Duration = Duration::from_secs(2);
const RANDOM: Duration = Duration::from_secs(2);
/// So many processes register in the last second before the cut.
const OWNERS: u32 = 10;
const OWNERS_TTL: Duration = Duration::from_secs(5);
/// How long the living may take to be listed again.
const LISTED: Duration = Duration::from_secs(20);
/// Writes were under way at the cut if the last was acknowledged no longer before than this.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// Of a series no more is kept.
const POINTS: usize = 200;

async fn start(lab: &Lab, arm: Arm) -> Result<(Server, Way), Trouble> {
    let redis = lab.redis_options().with_disk();
    Ok(match arm {
        Arm::Naive(policy) => {
            (Server::Redis(Box::new(Redis::start(policy.on(redis)).await?)), Way::NaiveHash)
        }
        Arm::Ours(policy) => (Server::Redis(Box::new(Redis::start(policy.on(redis)).await?)), Way::Ours),
        Arm::Etcd => (Server::Etcd(Box::new(Etcd::start(lab.etcd_options().with_disk()).await?)), Way::Ours),
    })
}

/// Writes, cuts, starts again, and looks what is there.
pub(super) async fn cut(lab: &Lab, name: &str, arm: Arm, run: u32) -> Result<Record, Trouble> {
    let mut random = lab.random(&format!("5a {name} {run}"));
    let (server, way) = start(lab, arm).await?;
    let (writing, living, looking) = (server.client(way)?, server.client(way)?, server.client(way)?);
    let watcher = looking.watch(WRITTEN).await?;
    let causes = Causes::watch(&looking, WRITTEN)?;
    let writer = Writer::start(Arc::clone(&writing.contestant), WRITTEN, WRITES_PER_SECOND);

    let planned = Instant::now() + UNDISTURBED + RANDOM.mul_f64(random.f64());
    let mut owners = Vec::new();
    for n in 0..OWNERS {
        sleep_until(planned - Duration::from_secs(1) + Duration::from_secs(1) * n / OWNERS).await;
        let owner = Process::start(&living, OWNED, owner(n), OWNERS_TTL, random.u64(..));
        owners.push(owner.await?);
    }
    sleep_until(planned).await;
    let unsynced = Unsynced::write(&server)?;
    let cut = Instant::now();
    server.process().power_cut().await?;
    let (acknowledged, unknown) = writer.stop().await;
    let forgotten = unsynced.is_forgotten();
    server.restart().await?;
    let up = Instant::now();

    let there = looking.listed(WRITTEN).await?;
    let looking = &looking;
    let again = until("the living are listed again", LISTED, || async {
        let listed = looking.contestant.list(OWNED).await.ok()?;
        (0..OWNERS).all(|n| listed.contains_key(&owner(n))).then(|| up.elapsed())
    });
    let again = again.await.map_or(f64::NAN, |again| again.as_secs_f64());
    let differences = looking.differences(WRITTEN, &watcher).await?;

    let cut = acknowledged.last().map_or(cut, |last| last.at.max(cut));
    let silence = acknowledged.last().map_or(cut.elapsed(), |last| cut - last.at);
    let (lost, kept): (Vec<_>, Vec<_>) =
        acknowledged.iter().copied().partition(|write| is_lost(write, &there));
    let window = lost.iter().map(|write| cut - write.at).max().unwrap_or_default();
    let record = Record::new(name, run)
        .with(ACKNOWLEDGED, acknowledged.len() as f64)
        .with(LOST, lost.len() as f64)
        .with(WINDOW, window.as_secs_f64())
        .with("unknown", unknown as f64)
        .with(DOWN, (up - cut).as_secs_f64())
        .with(LISTED_AGAIN, again)
        .with(DIFFERENCES, differences as f64)
        .with(TOLD, f64::from(watcher.was_told_of_a_gap(cut)))
        .with(RESETS, causes.map_or(f64::NAN, |causes| causes.losses() as f64))
        .with_series(KEPT_AT, times(&kept, cut))
        .with_series(LOST_AT, times(&lost, cut));
    let proof = format!(
        "the last of {} acknowledgements came {} ms before the cut, and a file that was written then and not synced is {}",
        acknowledged.len(),
        silence.as_millis(),
        if forgotten { "lost" } else { "there" },
    );
    Ok(record.if_bitten(forgotten && silence <= UNDER_WAY, proof))
}

fn owner(n: u32) -> String {
    format!("o-{n}")
}

fn is_lost(write: &Write, there: &Listed) -> bool {
    there.get(&write.id()) != Some(&write.value)
}

/// When they were acknowledged, in seconds from the cut, so no number above 0.
fn times(writes: &[Write], cut: Instant) -> Vec<[f64; 2]> {
    let each = writes.len().div_ceil(POINTS).max(1);
    let times: BTreeSet<Duration> = writes.iter().step_by(each).map(|write| cut - write.at).collect();
    times.into_iter().rev().map(|before| [-before.as_secs_f64(), 0.0]).collect()
}

/// A file that nobody syncs, by which a power cut is told from a mere kill.
struct Unsynced {
    file: PathBuf,
}

impl Unsynced {
    const CONTENT: &str = "nobody syncs this";

    fn write(server: &Server) -> Result<Self, Trouble> {
        let file = server.process().folder().data().with_file_name("unsynced");
        fs::write(&file, Self::CONTENT)?;
        Ok(Self { file })
    }

    fn is_forgotten(&self) -> bool {
        fs::read_to_string(&self.file).map_or(true, |content| content != Self::CONTENT)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Listed, POINTS, Write, is_lost, times};

    #[test]
    fn what_is_there_with_another_value_is_lost_too() {
        let write = Write { value: 7, at: Instant::now() };
        let there = |value| Listed::from([("w-7".to_owned(), value)]);
        assert!(!is_lost(&write, &there(7)));
        assert!(is_lost(&write, &there(6)) && is_lost(&write, &Listed::new()));
    }

    #[test]
    fn a_series_is_thinned_out_and_ascends() {
        let (start, millis) = (Instant::now(), Duration::from_millis);
        let writes: Vec<_> = (0..1000).map(|value| Write { value, at: start + millis(value) }).collect();
        let times = times(&writes, start + millis(1000));
        assert!(times.len() <= POINTS && times.is_sorted_by(|one, other| one[0] < other[0]), "{times:?}");
        assert_eq!(times[0], [-1.0, 0.0]);
    }
}
