//! Slots and primaries that change although all are well.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use registry_testing::servers::redis::{Failover, RedisCluster};

use super::Bite;
use super::site::{Deployment, Site};
use super::struck::Struck;
use crate::experiment::Trouble;

/// How many moves are at least.
const LEAST: usize = 1;

fn cluster(site: &Site) -> Result<&RedisCluster, Trouble> {
    match &site.deployment {
        Deployment::Cluster(cluster) => Ok(cluster),
        _ => Err(Trouble::failed("only a cluster of Redis has slots")),
    }
}

/// Moves every slot that has keys, again and again, until it is healed.
pub(super) async fn migrate(site: &Arc<Site>, random: &mut fastrand::Rng) -> Result<Struck, Trouble> {
    let site = Arc::clone(site);
    let mut random = random.fork();
    let slots = used(&site).await?;
    let first = one_round(&site, &slots[..1], &mut random).await?;
    let what = format!("slots on the move: {slots:?}");
    let stopped = Arc::new(Stop::default());
    let moving = tokio::spawn({
        let (site, stopped) = (Arc::clone(&site), Arc::clone(&stopped.0));
        async move {
            let mut moves = first;
            while !stopped.load(Ordering::SeqCst) {
                // Those that came since are moved as well.
                for slot in used(&site).await? {
                    if stopped.load(Ordering::SeqCst) {
                        break;
                    }
                    moves += one_round(&site, &[slot], &mut random).await?;
                }
            }
            Ok::<_, Trouble>(moves)
        }
    });
    Ok(Struck::new(what, async move {
        // A move that has begun is finished.
        drop(stopped);
        let moves = moving.await.map_err(|error| Trouble::Failed(error.into()))??;
        Ok(Bite::new(
            moves >= LEAST,
            format!("{moves} moves of slots, after each of which all nodes named the new owner"),
        ))
    }))
}

/// Stops when it is dropped, healed or not.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The slots that have keys; any one, if there are no keys.
async fn used(site: &Site) -> Result<Vec<u16>, Trouble> {
    let cluster = cluster(site)?;
    let slots: BTreeSet<u16> = site.redis_keys("*").await?.iter().map(|key| cluster.slot_of(key)).collect();
    Ok(if slots.is_empty() { vec![0] } else { slots.into_iter().collect() })
}

/// Moves each to another primary; gives how many moves that was.
async fn one_round(site: &Site, slots: &[u16], random: &mut fastrand::Rng) -> Result<usize, Trouble> {
    let cluster = cluster(site)?;
    for slot in slots {
        let owner = cluster.owner_of_slot(*slot).await?;
        let mut others = cluster.primaries().await;
        others.retain(|other| *other != owner);
        let to = others.get(random.usize(..others.len().max(1)));
        let to = to.ok_or_else(|| Trouble::failed("there is no other primary"))?;
        cluster.migrate_slot(*slot, *to).await?;
    }
    Ok(slots.len())
}

/// Has a replica of the one that leads take over.
pub(super) async fn fail_over(site: &Arc<Site>, how: Failover) -> Result<Struck, Trouble> {
    let site = Arc::clone(site);
    let old = site.leader().await?;
    let (new, words) = match &site.deployment {
        Deployment::Sentinel(group) => (group.fail_over().await?, "SENTINEL FAILOVER".to_owned()),
        _ => {
            let words = format!("CLUSTER FAILOVER {}", format!("{how:?}").to_uppercase());
            (cluster(&site)?.fail_over(old, how).await?, words)
        }
    };
    let what = format!("{words}: {} took over from {}", site.name(new), site.name(old));
    Ok(Struck::new(what, async move {
        let proof =
            format!("{} was the primary, and then {}, which took writes", site.name(old), site.name(new));
        Ok(Bite::new(new != old, proof))
    }))
}
