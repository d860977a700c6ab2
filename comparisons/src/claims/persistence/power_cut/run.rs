//! One power cut.

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
    ACKNOWLEDGED, ALL_AGAIN, Arm, DIFFERENCES, DOWN, KEPT_AT, LISTED_AGAIN, LOST, LOST_AT, RESETS, RUNS,
    TOLD, TROUBLES, WINDOW,
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
    let again = again.await.ok();
    let differences = looking.differences(WRITTEN, &watcher).await?;

    let cut = acknowledged.last().map_or(cut, |last| last.at.max(cut));
    let silence = acknowledged.last().map_or(cut.elapsed(), |last| cut - last.at);
    let (lost, kept): (Vec<_>, Vec<_>) =
        acknowledged.iter().copied().partition(|write| is_lost(write, &there));
    let window = lost.iter().map(|write| cut - write.at).max().unwrap_or_default();
    let record = Record::new(name, run)
        .with(RUNS, 1.0)
        .with(ACKNOWLEDGED, acknowledged.len() as f64)
        .with(LOST, lost.len() as f64)
        .with(WINDOW, window.as_secs_f64())
        .with("unknown", unknown as f64)
        .with(DOWN, (up - cut).as_secs_f64())
        .with(LISTED_AGAIN, again.unwrap_or(LISTED).as_secs_f64())
        .with(ALL_AGAIN, f64::from(again.is_some()))
        .with(DIFFERENCES, differences as f64)
        .with(TOLD, f64::from(watcher.was_told_of_a_gap(cut)))
        .with(TROUBLES, watcher.troubles(cut) as f64)
        .with(RESETS, causes.map_or(f64::NAN, |causes| causes.losses() as f64));
    // Only one run is drawn, and thousands of points are much to keep.
    let record = match run {
        0 => record.with_series(KEPT_AT, times(&kept, cut)).with_series(LOST_AT, times(&lost, cut)),
        _ => record,
    };
    let proof = format!(
        "the last of {} acknowledgements came {} ms before the cut, and a file that was written then and not synced is {}",
        acknowledged.len(),
        silence.as_millis(),
        if forgotten { "lost" } else { "there" },
    );
    Ok(record.if_bitten(has_bitten(forgotten, silence), proof))
}

/// A power cut, and not a mere kill, while writes were under way.
fn has_bitten(forgotten: bool, silence: Duration) -> bool {
    forgotten && silence <= UNDER_WAY
}

fn owner(n: u32) -> String {
    format!("o-{n}")
}

fn is_lost(write: &Write, there: &Listed) -> bool {
    there.get(&write.id()) != Some(&write.value)
}

/// When they were acknowledged, in seconds from the cut, so no number above 0.
fn times(writes: &[Write], cut: Instant) -> Vec<[f64; 2]> {
    let mut before: Vec<u128> = writes.iter().map(|write| (cut - write.at).as_millis()).collect();
    before.sort_unstable_by(|one, other| other.cmp(one));
    before.into_iter().map(|millis| [-(millis as f64) / 1e3, 0.0]).collect()
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

    use super::{Listed, UNDER_WAY, Write, has_bitten, is_lost, times};

    #[test]
    fn what_is_there_with_another_value_is_lost_too() {
        let write = Write { value: 7, at: Instant::now() };
        let there = |value| Listed::from([("w-7".to_owned(), value)]);
        assert!(!is_lost(&write, &there(7)));
        assert!(is_lost(&write, &there(6)) && is_lost(&write, &Listed::new()));
    }

    #[test]
    fn only_a_cut_under_writes_that_are_under_way_counts() {
        assert!(has_bitten(true, UNDER_WAY));
        assert!(!has_bitten(true, UNDER_WAY + Duration::from_millis(1)));
        assert!(!has_bitten(false, Duration::ZERO));
    }

    #[test]
    fn every_write_has_its_point_and_points_ascend() {
        let (start, millis) = (Instant::now(), Duration::from_millis);
        let writes: Vec<_> = [0, 700, 300].map(|at| Write { value: at, at: start + millis(at) }).to_vec();
        assert_eq!(times(&writes, start + millis(1000)), [[-1.0, 0.0], [-0.7, 0.0], [-0.3, 0.0]]);
    }
}
