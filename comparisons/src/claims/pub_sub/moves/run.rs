//! Moves of a slot and fail-overs of a cluster, and moves of a leader.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::Client;
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::servers::etcd::EtcdCluster;
use registry_testing::servers::redis::{ClusterOptions, Failover, RedisCluster};
use tokio::time::sleep;

use super::changes::{Changes, SERVICE};
use super::{FAILOVERS, MOVES};
use crate::claims::pub_sub::support::{ETCD_3, HASH, KEY, REDIS, etcd};
use crate::contestants::{Contestant, NaiveHash, NaiveKey, Ours, Place};
use crate::experiment::Trouble;
use crate::lab::Lab;
use crate::record::Record;

/// Between two moves, so that there are changes on each owner.
const APART: Duration = Duration::from_millis(100);

fn moves(lab: &Lab) -> u32 {
    lab.by_scale(20, 100)
}

/// All ways of using Redis on one cluster: the key of the hash, the keys of instances and ours all lie in the slot of the service's name.
pub(super) async fn cluster(lab: &Lab) -> Result<(), Trouble> {
    let node = lab.redis_options().with_args(NaiveKey::ARGS);
    let cluster = RedisCluster::start(ClusterOptions::default().with_node(node)).await?;
    let seeds = cluster.seeds();
    let place = Place::Cluster(seeds.clone());
    let options = RedisOptions::cluster(seeds.iter().map(ToString::to_string));
    let arms: [(&str, Arc<dyn Contestant>); 3] = [
        (REDIS, Arc::new(Ours::new(RedisRegistry::new(options)?))),
        (HASH, Arc::new(NaiveHash::new(place.clone()))),
        (KEY, Arc::new(NaiveKey::new(place))),
    ];
    let mut changing = Vec::new();
    for (arm, contestant) in arms {
        changing.push((arm, Changes::start(contestant).await?));
    }
    let slot = cluster.slot_of(SERVICE);
    let (moves, fail_overs) = (moves(lab), lab.by_scale(2, 4));
    let mut random = lab.random("2c moves");
    let mut moved = 0;
    let mut failed_over = 0;
    for round in 0..moves {
        let owner = cluster.owner_of_slot(slot).await?;
        let mut others = cluster.primaries().await;
        others.retain(|node| *node != owner);
        let to = random.choice(others).ok_or_else(|| Trouble::failed("only one primary is left"))?;
        cluster.migrate_slot(slot, to).await?;
        moved += u32::from(cluster.owner_of_slot(slot).await? == to);
        sleep(APART).await;
        // Spread over the moves.
        if (round + 1) % (moves / fail_overs) == 0 {
            let old = cluster.owner_of_slot(slot).await?;
            let how = if failed_over % 2 == 0 { Failover::Plain } else { Failover::Force };
            let new = cluster.fail_over(old, how).await?;
            cluster.wait_ok().await?;
            failed_over += u32::from(new != old);
            sleep(APART).await;
        }
    }
    let proof = format!(
        "the slot had another owner after {moved} of {moves} moves, and a replica took over {failed_over} times"
    );
    let bitten = moved == moves && failed_over == fail_overs;
    for (arm, changes) in changing {
        let record =
            Record::new(arm, 0).with(MOVES, f64::from(moved)).with(FAILOVERS, f64::from(failed_over));
        lab.keep(changes.finish(record).await?.if_bitten(bitten, &proof));
    }
    Ok(())
}

/// Leadership that moves among three nodes.
pub(super) async fn etcd_3(lab: &Lab) -> Result<(), Trouble> {
    let cluster = EtcdCluster::start(3, lab.etcd_options()).await?;
    let changes = Changes::start(Arc::new(etcd(cluster.endpoints())?)).await?;
    let moves = moves(lab);
    let mut moved = 0;
    for _ in 0..moves {
        let old = cluster.leader().await?;
        let to = (old + 1) % cluster.members().len();
        let target = cluster.member(to).status().await?.member;
        let mut leader = Client::connect([cluster.member(old).direct_endpoint()], None).await?;
        leader.move_leader(target).await?;
        moved += u32::from(cluster.wait_new_leader(old).await? != old);
        sleep(APART).await;
    }
    let record = Record::new(ETCD_3, 0).with(MOVES, f64::from(moved));
    let proof = format!("another member led after {moved} of {moves} moves");
    lab.keep(changes.finish(record).await?.if_bitten(moved == moves, proof));
    Ok(())
}
