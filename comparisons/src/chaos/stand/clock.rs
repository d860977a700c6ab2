//! A wall clock that jumps.

use std::sync::Arc;

use registry_testing::servers::redis::Redis;
use tokio::time::Instant;

use super::Bite;
use super::site::{Server, Site};
use super::struck::Struck;
use crate::experiment::Trouble;

/// By how many milliseconds it jumps.
const STEPS: [i64; 4] = [3_600_000, -3_600_000, 5_000, -5_000];
/// A step is one that differs from what was meant by no more than this.
const EXACT: i64 = 1_000;

/// Steps the clock of the primary; in the end, back.
pub(super) async fn step(site: &Arc<Site>, random: &mut fastrand::Rng) -> Result<Struck, Trouble> {
    let step = STEPS[random.usize(..STEPS.len())];
    let (site, primary) = (Arc::clone(site), site.leader().await?);
    let redis = redis_of(&site, primary)?;
    let (before, begun) = (time(redis).await?, Instant::now());
    redis.step_clock(step)?;
    let passed = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
    let seen = time(redis).await? - before - passed;
    let what = format!("the clock of {} jumped by {step} ms", site.name(primary));
    Ok(Struck::new(what, async move {
        redis_of(&site, primary)?.step_clock(-step)?;
        Ok(Bite::new((seen - step).abs() <= EXACT, format!("TIME jumped by {seen} ms")))
    }))
}

fn redis_of(site: &Site, index: usize) -> Result<&Redis, Trouble> {
    match site.server(index) {
        Server::Redis(redis) => Ok(redis),
        Server::Etcd(_) => Err(Trouble::failed("only a Redis has a clock of its own")),
    }
}

/// What the server takes for the time, in milliseconds.
async fn time(redis: &Redis) -> Result<i64, Trouble> {
    let said = redis.command(&["TIME"]).await?;
    let number = |at: usize| said.list().get(at).and_then(|part| part.text().parse::<i64>().ok());
    let time = number(0).zip(number(1)).map(|(seconds, micros)| seconds * 1_000 + micros / 1_000);
    time.ok_or_else(|| Trouble::failed("TIME is no time"))
}
