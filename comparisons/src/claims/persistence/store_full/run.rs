//! One time of trouble.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, try_join_all};
use registry_testing::servers::until;
use tokio::time::{Instant, interval, timeout};

use super::trouble::Store;
use super::{
    ALL_BACK, BACK, HEARTBEATS, LIVING, LOOKUPS_FAILED, LOST, LOST_FROM_LOOKUP, LOST_FROM_VIEW, NEWCOMERS,
    RELISTED, RUNS, TTL,
};
use crate::claims::persistence::owners::{Beats, Owner};
use crate::claims::persistence::subjects::Client;
use crate::experiment::Trouble;
use crate::record::Record;

const SERVICE: &str = "living.rpc";
/// How often somebody looks, and how often somebody new registers.
const LOOK: Duration = Duration::from_millis(200);
const NEWCOMER: Duration = Duration::from_secs(1);
/// After that a client gives a request up.
const PATIENCE: Duration = Duration::from_secs(1);
/// After the end of the trouble, when all must be listed again: one TTL and so long.
const AFTER: Duration = Duration::from_secs(5);

/// Lets the living beat, makes trouble for so long, ends it, and looks all the time.
pub(super) async fn trouble(
    mut store: Store,
    name: String,
    lasts: Duration,
    run: u32,
) -> Result<Record, Trouble> {
    let (owner, newcomer, looking) = (store.client()?, store.client()?, store.client()?);
    let watcher = looking.watch(SERVICE).await?;
    let living: BTreeSet<String> = (0..LIVING).map(|n| format!("i-{n}")).collect();
    let beats = Arc::<Beats>::default();
    let starting = living
        .iter()
        .map(|id| Owner::start(Arc::clone(&owner.contestant), SERVICE, id.clone(), TTL, Arc::clone(&beats)));
    let _owners = try_join_all(starting).await?;
    let is_whole = |ids: &BTreeSet<String>| living.is_subset(ids);
    until("all are in the view", TTL, || async { is_whole(&view(&watcher.view())).then_some(()) }).await?;
    let early: BTreeSet<_> = watcher.gone().intersection(&living).cloned().collect();

    store.begin().await?;
    beats.count(true);
    let end = Instant::now() + lasts;
    let (looked, (registered, tried)) = join(look(&looking, &living, end), register(&newcomer, end)).await;
    beats.count(false);
    let acknowledged = beats.acknowledged();
    let bites = store.bites().await?;
    store.end().await?;
    let ended = Instant::now();

    let mut missing = looked.missing;
    let back = until("all the living are listed again", TTL + AFTER, || async {
        let listed = ids(&looking).await?;
        (is_whole(&listed) && is_whole(&view(&watcher.view()))).then(|| ended.elapsed())
    });
    let relisted = back.await.ok();
    let at_last = ids(&looking).await.unwrap_or_default();
    missing.extend(living.difference(&at_last).cloned());
    let gone: BTreeSet<String> = watcher.gone().intersection(&living).cloned().collect();
    let lost: BTreeSet<&String> = missing.union(&gone).collect();
    let refused = tried - registered;
    let record = Record::new(name, run)
        .with(RUNS, 1.0)
        .with(LOST, lost.len() as f64)
        .with("of", f64::from(LIVING))
        .with(LOST_FROM_LOOKUP, missing.len() as f64)
        .with(LOST_FROM_VIEW, gone.len() as f64)
        .with(HEARTBEATS, acknowledged)
        .with(NEWCOMERS, registered as f64 / tried as f64)
        .with(LOOKUPS_FAILED, looked.failed as f64 / looked.looks as f64)
        .with(BACK, living.intersection(&at_last).count() as f64)
        .with(RELISTED, relisted.unwrap_or(TTL + AFTER).as_secs_f64())
        .with(ALL_BACK, f64::from(relisted.is_some()));
    if !early.is_empty() {
        return Ok(record.invalid(format!("{} left the view before there was trouble", early.len())));
    }
    let proof = match bites {
        Some(bites) => {
            format!("the server counted {bites} of it, and {refused} of {tried} newcomers were refused")
        }
        None => format!("{refused} of {tried} newcomers were refused"),
    };
    Ok(record.if_bitten(bites.unwrap_or(refused) > 0, proof))
}

fn view(listed: &Option<crate::contestants::Listed>) -> BTreeSet<String> {
    listed.iter().flat_map(|listed| listed.keys().cloned()).collect()
}

async fn ids(client: &Client) -> Option<BTreeSet<String>> {
    let listed = timeout(PATIENCE, client.contestant.list(SERVICE)).await.ok()?.ok()?;
    Some(listed.into_keys().collect())
}

#[derive(Default)]
struct Looked {
    missing: BTreeSet<String>,
    looks: u64,
    failed: u64,
}

/// Looks until `end` who is not listed. A lookup that fails says nothing of anybody.
async fn look(client: &Client, living: &BTreeSet<String>, end: Instant) -> Looked {
    let mut looked = Looked::default();
    let mut ticks = interval(LOOK);
    while Instant::now() < end {
        ticks.tick().await;
        looked.looks += 1;
        match ids(client).await {
            Some(listed) => looked.missing.extend(living.difference(&listed).cloned()),
            None => looked.failed += 1,
        }
    }
    looked
}

/// Registers somebody new, again and again until `end`; gives how many of how many were let in.
async fn register(client: &Client, end: Instant) -> (u64, u64) {
    let (mut registered, mut tried) = (0, 0);
    let mut ticks = interval(NEWCOMER);
    while Instant::now() < end {
        ticks.tick().await;
        let id = format!("newcomer-{tried}");
        tried += 1;
        let registering = client.contestant.register(SERVICE, &id, tried, TTL);
        registered += u64::from(matches!(timeout(PATIENCE, registering).await, Ok(Ok(_))));
    }
    (registered, tried)
}
