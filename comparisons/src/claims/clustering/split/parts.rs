//! One partition, with a client on each side.

use std::sync::Arc;

use registry_testing::servers::proxy::{Faults, Proxy};
use registry_testing::servers::until;
use tokio::time::{Duration, Instant, sleep_until};

use super::{BOTH, KEPT, LOST_AT, LOST_MEANWHILE, MEANWHILE, PARTITION, REFUSED_AFTER};
use crate::claims::clustering::aftermath;
use crate::claims::clustering::group::{Client, Group, PATIENCE, etcd_client, sentinel_client, truth};
use crate::claims::clustering::view::View;
use crate::claims::clustering::writer::{Writer, Written, lost};
use crate::contestants::Contestant;
use crate::experiment::Trouble;
use crate::record::Record;

/// How long the partition lasts, from its beginning, or until the other side has taken some writes, if that is later. It is what is done to the
/// servers: long enough that another leads, and some seconds more.
const LASTS: Duration = Duration::from_secs(6);
/// So many registrations are acknowledged before, and so many on the other side at least.
const SOME: usize = 30;
const MARKER: &str = "marker";

/// A client beside the leader that is cut off with it, and one on the other side.
struct Sides {
    arm: String,
    client: Client,
    service: String,
    beside: Writer,
    view: View,
    others: Option<Writer>,
}

/// What clients cut off from the sentinels reach them through.
struct Sentinels(Vec<Proxy>);

impl Sentinels {
    fn of(group: &Group) -> Result<Self, Trouble> {
        let Group::Sentinel(group) = group else { return Ok(Self(Vec::new())) };
        let proxies = group.sentinel_addresses().into_iter().map(Proxy::start);
        Ok(Self(proxies.collect::<Result<_, _>>()?))
    }

    async fn set(&self, faults: Faults) {
        for proxy in &self.0 {
            proxy.set(faults).await;
        }
    }
}

/// Cuts the leader of a group off, together with a client of each kind. Gives one record for each of `clients`.
pub(super) async fn split(
    group: &Group,
    clients: &[(&str, Client)],
    run: u32,
) -> Result<Vec<Record>, Trouble> {
    group.settle().await?;
    let old = group.leader("").await?;
    let sentinels = Sentinels::of(group)?;
    let mut all = Vec::new();
    for (index, (arm, client)) in clients.iter().enumerate() {
        let service = format!("split-{run}-{index}");
        let contestant = beside(group, *client, old, &sentinels)?;
        let view = View::of(&*contestant, &service, PATIENCE).await?;
        let beside = Writer::start(&contestant, &service, "beside", client.every());
        let arm = (*arm).to_owned();
        all.push(Sides { arm, client: *client, service, beside, view, others: None });
    }
    let begun = Instant::now();
    let enough = |sides: &Sides| sides.beside.acknowledged_since(begun) >= SOME;
    let before = || async { all.iter().all(enough).then_some(()) };
    until("registrations before the partition", PATIENCE, before).await?;

    let swallowed = group.swallowed();
    let from = Instant::now();
    sentinels.set(Faults::black_hole()).await;
    group.isolate(old);
    let new = group.next_leader("", old).await?;
    for sides in &mut all {
        let contestant = apart(group, sides.client, old)?;
        sides.others = Some(Writer::start(&contestant, &sides.service, "other", sides.client.every()));
    }
    let writes =
        |sides: &Sides| sides.others.as_ref().is_some_and(|others| others.acknowledged_since(from) >= SOME);
    let there = || async { all.iter().all(writes).then_some(()) };
    until("registrations on the other side", PATIENCE, there).await?;
    sleep_until(from + LASTS).await;
    for writer in all.iter().flat_map(|sides| [Some(&sides.beside), sides.others.as_ref()]).flatten() {
        writer.halt();
    }
    let swallowed = group.swallowed() - swallowed;
    let healed = Instant::now();
    group.heal();
    sentinels.set(Faults::default()).await;

    let proof = format!(
        "server {old} was cut off, {swallowed} bytes between servers were lost, and server {new} led"
    );
    let bitten = new != old && swallowed > 0;
    let mut finished = Vec::new();
    for sides in all {
        let beside = sides.beside.outcome().await;
        let others = match sides.others {
            Some(others) => others.outcome().await,
            None => Vec::new(),
        };
        finished.push((sides.arm, sides.client, sides.service, sides.view, beside, others));
    }
    group.settle().await?;
    let mut records = Vec::new();
    for (arm, client, service, view, beside, others) in finished {
        let truth = truth(&*group.client(client)?, &service, MARKER).await?;
        let is_lost = |one: &Written| lost(std::slice::from_ref(one), &truth).next().is_some();
        let times = |lost: bool| {
            let chosen = beside.iter().filter(move |one| is_lost(one) == lost);
            let times = chosen.filter_map(|one| one.acknowledged).filter(|at| *at <= healed);
            times.map(|at| [signed(at, from), 1.0]).collect::<Vec<_>>()
        };
        let meanwhile = |one: &&Written| one.acknowledged.is_some_and(|at| at >= from && at <= healed);
        let last = beside.iter().filter_map(|one| one.acknowledged).filter(|at| *at <= healed).max();
        let first = others.iter().filter_map(|one| one.acknowledged).min();
        let both = last.zip(first).map(|(last, first)| last.saturating_duration_since(first));
        let record = Record::new(arm, run)
            .with(BOTH, both.map_or(f64::NAN, |both| both.as_secs_f64()))
            .with(MEANWHILE, beside.iter().filter(meanwhile).count() as f64)
            .with(LOST_MEANWHILE, beside.iter().filter(meanwhile).filter(|one| is_lost(one)).count() as f64)
            .with(REFUSED_AFTER, last.map_or(0.0, |last| signed(last, from).max(0.0)))
            .with(PARTITION, signed(healed, from))
            .with_series(KEPT, times(false))
            .with_series(LOST_AT, times(true))
            .if_bitten(bitten, proof.clone());
        let written: Vec<Written> = beside.into_iter().chain(others).collect();
        records.push(aftermath::add(record, &written, &truth, MARKER, &view, from).await);
    }
    group.clear().await?;
    Ok(records)
}

/// Seconds from `from` to `at`, below 0 where that was before.
fn signed(at: Instant, from: Instant) -> f64 {
    at.saturating_duration_since(from).as_secs_f64() - from.saturating_duration_since(at).as_secs_f64()
}

/// A client that reaches the leader that is cut off, and nobody else.
fn beside(
    group: &Group,
    client: Client,
    leader: usize,
    sentinels: &Sentinels,
) -> Result<Arc<dyn Contestant>, Trouble> {
    match group {
        Group::Etcd(cluster) => etcd_client(vec![cluster.member(leader).endpoint()]),
        Group::Sentinel(group) => {
            let addresses = sentinels.0.iter().map(Proxy::address).collect();
            sentinel_client(client, addresses, group.service_name())
        }
        Group::Cluster(_) => group.client(client),
    }
}

/// A client that reaches all others.
fn apart(group: &Group, client: Client, leader: usize) -> Result<Arc<dyn Contestant>, Trouble> {
    match group {
        Group::Etcd(cluster) => {
            let others = cluster.endpoints().into_iter().enumerate().filter(|(member, _)| *member != leader);
            etcd_client(others.map(|(_, endpoint)| endpoint).collect())
        }
        // The sentinels name the new one.
        _ => group.client(client),
    }
}
