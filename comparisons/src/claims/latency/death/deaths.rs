//! Processes die, and watchers notice, or do not.

use std::time::Duration;

use registry_core::{RegisterOptions, Ttl};
use registry_testing::servers::until;
use tokio::time::{Instant, sleep_until};

use super::processes::{Process, Servers};
use super::{AFTER, Arm, DEATHS, LEAST_TTL, LIMIT, MAX, MEDIAN, NEVER, OVER, TTL};
use crate::claims::clustering::view::View;
use crate::contestants::instance;
use crate::experiment::Trouble;
use crate::instance::{Kind, client};
use crate::measure::median_with_never;
use crate::record::Record;

/// How many die in one run, and how many watch.
const DYING: usize = 10;
const WATCHERS: usize = 3;
/// How long it may take until all are listed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts instances, kills all but one, each at a time of its own, and says how long it takes until none of the watchers lists them.
pub(super) async fn deaths(
    arm: Arm,
    servers: &Servers,
    service: String,
    run: u32,
    mut random: fastrand::Rng,
) -> Result<Record, Trouble> {
    let at = servers.at();
    let mut start = |id: String| Process::start(arm.kind, &at, &service, id, TTL, random.u64(..));
    // Who goes on, as the other instances of a service do when some die.
    let _healthy = start("healthy".to_owned())?;
    let mut dying = (0..DYING).map(|index| start(format!("dying-{index}"))).collect::<Result<Vec<_>, _>>()?;
    let mut views = Vec::new();
    for _ in 0..WATCHERS {
        views.push(View::of(&*client(arm.kind, &at).await?, &service, PATIENCE).await?);
    }
    let listed = |view: &View| view.look(|told| told.listed.len()) == DYING + 1;
    let all = || async { views.iter().all(listed).then_some(()) };
    until("all instances are listed by all watchers", PATIENCE, all).await?;

    // When in the time between two heartbeats it dies is left to chance.
    let begun = Instant::now();
    let mut when: Vec<Duration> = (0..DYING).map(|_| TTL.mul_f64(random.f64())).collect();
    when.sort();
    let mut killed = Vec::new();
    let mut by_signal = true;
    for (process, when) in dying.iter_mut().zip(when) {
        sleep_until(begun + when).await;
        let (at, signalled) = process.kill().await?;
        by_signal &= signalled;
        killed.push((process.id.clone(), at));
    }
    let gone = |id: &str| -> Option<Instant> {
        let left = views.iter().map(|view| view.look(|told| told.left.get(id).copied()));
        left.collect::<Option<Vec<_>>>()?.into_iter().max()
    };
    let all = || async { killed.iter().all(|(id, _)| gone(id).is_some()).then_some(()) };
    // Whoever is still listed after that is counted.
    let _ = until("nobody lists the dead", LIMIT, all).await;

    let after = killed.iter().filter_map(|(id, at)| Some(gone(id)?.saturating_duration_since(*at)));
    let after: Vec<f64> = after.map(|after| after.as_secs_f64()).collect();
    let record = figures(Record::new(arm.name, run), after, killed.len());
    let record = match arm.kind {
        Kind::Ours => {
            record.with(LEAST_TTL, least_ttl(&at, &format!("{service}-least")).await?.as_secs_f64())
        }
        Kind::NaiveHash | Kind::NaiveKey => record,
    };
    Ok(record.if_bitten(by_signal, format!("{DYING} processes were ended by SIGKILL")))
}

/// Of so many deaths, of which these were seen by all after so many seconds. All others count as if it had been at the limit.
fn figures(record: Record, mut after: Vec<f64>, deaths: usize) -> Record {
    after.sort_by(f64::total_cmp);
    let never = deaths.saturating_sub(after.len());
    let limit = LIMIT.as_secs_f64();
    let median = median_with_never(&after, never).map(|median| median.min(limit));
    let last = after.last().copied();
    let max = if never > 0 { Some(last.map_or(limit, |last| last.max(limit))) } else { last };
    record
        .with(DEATHS, deaths as f64)
        .with(NEVER, never as f64)
        .with(MEDIAN, median.unwrap_or(f64::NAN))
        .with(MAX, max.unwrap_or(f64::NAN))
        .with(OVER, max.map_or(f64::NAN, |max| (max - TTL.as_secs_f64()).max(0.0)))
        .with_series(AFTER, after.iter().map(|after| [*after, 1.0]))
}

/// What is granted to who asks for the least.
async fn least_ttl(at: &str, service: &str) -> Result<Duration, Trouble> {
    let registry = service_registry::connect(at).await?;
    let options = RegisterOptions::new().with_ttl(Ttl::MIN);
    let registered = registry.register(&instance(service, "least", 1)?, &options).await?;
    registry.deregister(&registered.lease).await?;
    Ok(registered.ttl.get())
}

#[cfg(test)]
mod tests {
    use super::super::{AFTER, DEATHS, LIMIT, MAX, MEDIAN, NEVER, OVER, TTL};
    use super::figures;
    use crate::record::Record;

    fn of(after: &[f64], deaths: usize) -> Record {
        figures(Record::new("a", 0), after.to_vec(), deaths)
    }

    #[test]
    fn what_is_never_gone_is_in_every_figure() {
        let limit = LIMIT.as_secs_f64();
        let some = of(&[3.0, 1.0, 2.0], 5);
        let figure = |name| some.figure(name).unwrap();
        assert_eq!((figure(DEATHS), figure(NEVER), figure(MEDIAN)), (5.0, 2.0, 3.0));
        assert_eq!((figure(MAX), figure(OVER)), (limit, limit - TTL.as_secs_f64()));
        assert_eq!(some.series[AFTER].len(), 3);
        assert_eq!(of(&[3.0, 1.0], 4).figure(MEDIAN), Some(limit), "half of them");
        assert_eq!(of(&[], 4).figure(MAX), Some(limit));
        assert_eq!(of(&[], 0).figure(MEDIAN), None);
    }

    #[test]
    fn where_all_are_gone_it_is_told_when() {
        let all = of(&[3.0, 1.0, 2.5], 3);
        assert_eq!(
            (all.figure(MEDIAN), all.figure(MAX), all.figure(OVER)),
            (Some(2.5), Some(3.0), Some(1.0))
        );
    }
}
