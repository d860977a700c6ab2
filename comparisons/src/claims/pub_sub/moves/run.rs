//! Moves of a slot and fail-overs of a cluster, and moves of a leader.

use std::sync::Arc;

use etcd_client::Client;
use futures_util::future::try_join_all;
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::servers::etcd::EtcdCluster;
use registry_testing::servers::redis::{ClusterOptions, Failover, RedisCluster};

use super::changes::{Changes, SERVICE};
use super::{FORCED, MOVES, PLANNED};
use crate::claims::pub_sub::support::{ETCD_3, HASH, KEY, REDIS, etcd};
use crate::contestants::{Contestant, NaiveHash, NaiveKey, Ours, Place};
use crate::experiment::Trouble;
use crate::lab::Lab;
use crate::record::Record;

fn moves(lab: &Lab) -> u32 {
    lab.by_scale(20, 100)
}

/// How often another takes over: a member that is told to, in agreement, and by force.
fn take_overs(lab: &Lab) -> u32 {
    lab.by_scale(2, 4)
}

/// What happened to a cluster, as it is seen there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bites {
    /// The slot has another owner, or another member leads.
    moves: u32,
    /// A replica took over in agreement with its primary.
    planned: u32,
    /// A replica took over by force, or the leader was killed and another leads.
    forced: u32,
}

impl Bites {
    /// As figures of one that counts only if all that was `wanted` happened.
    fn kept_in(self, record: Record, wanted: Self) -> Record {
        let figures = [(MOVES, self.moves), (PLANNED, self.planned), (FORCED, self.forced)];
        let record =
            figures.into_iter().fold(record, |record, (name, count)| record.with(name, f64::from(count)));
        let of = |done: u32, wanted: u32| format!("{done} of {wanted}");
        let proof = format!(
            "the owner of the slot, or the leader, was another one after {} moves, after {} fail-overs in agreement and after {} by force",
            of(self.moves, wanted.moves),
            of(self.planned, wanted.planned),
            of(self.forced, wanted.forced)
        );
        record.if_bitten(self == wanted, proof)
    }
}

/// All ways of using Redis on one cluster: the key of the hash, the keys of instances and ours all lie in the slot of the service's name.
pub(super) async fn cluster(lab: &Lab, run: u32) -> Result<(), Trouble> {
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
    let (moves, fail_overs) = (moves(lab), take_overs(lab));
    let mut random = lab.random(&format!("2c moves {run}"));
    let mut bites = Bites::default();
    for round in 0..moves {
        let owner = cluster.owner_of_slot(slot).await?;
        let mut others = cluster.primaries().await;
        others.retain(|node| *node != owner);
        let to = random.choice(others).ok_or_else(|| Trouble::failed("only one primary is left"))?;
        cluster.migrate_slot(slot, to).await?;
        bites.moves += u32::from(cluster.owner_of_slot(slot).await? == to);
        go_on(&changing).await?;
        // Spread over the moves.
        let (nth, due) = due(round, moves, fail_overs);
        if due {
            let old = cluster.owner_of_slot(slot).await?;
            let (how, happened) = match is_forced(nth) {
                true => (Failover::Force, &mut bites.forced),
                false => (Failover::Plain, &mut bites.planned),
            };
            let new = cluster.fail_over(old, how).await?;
            cluster.wait_ok().await?;
            *happened += u32::from(new != old);
            go_on(&changing).await?;
        }
    }
    let forced = forced(fail_overs);
    let wanted = Bites { moves, planned: fail_overs - forced, forced };
    for (arm, changes) in changing {
        lab.keep(bites.kept_in(changes.finish(Record::new(arm, run)).await?, wanted));
    }
    Ok(())
}

/// Waits until all of them were changed since.
async fn go_on(changing: &[(&str, Changes)]) -> Result<(), Trouble> {
    try_join_all(changing.iter().map(|(_, changes)| changes.go_on())).await.map(drop)
}

/// Which of `times` comes after this one of `rounds`, and whether it comes at all; spread evenly.
fn due(round: u32, rounds: u32, times: u32) -> (u32, bool) {
    let each = rounds / times;
    (round / each, (round + 1).is_multiple_of(each))
}

/// In agreement and by force, in turn.
fn is_forced(nth: u32) -> bool {
    nth % 2 == 1
}

fn forced(times: u32) -> u32 {
    (0..times).filter(|nth| is_forced(*nth)).count().try_into().unwrap_or(u32::MAX)
}

/// Leadership that moves among three nodes, and leaders that are killed as often as primaries are made to fail over by force.
pub(super) async fn etcd_3(lab: &Lab, run: u32) -> Result<(), Trouble> {
    let cluster = EtcdCluster::start(3, lab.etcd_options()).await?;
    let changes = Changes::start(Arc::new(etcd(cluster.endpoints())?)).await?;
    let wanted = Bites { moves: moves(lab), planned: 0, forced: forced(take_overs(lab)) };
    let mut bites = Bites::default();
    for round in 0..wanted.moves {
        let old = cluster.leader().await?;
        let to = (old + 1) % cluster.members().len();
        let target = cluster.member(to).status().await?.member;
        let mut leader = Client::connect([cluster.member(old).direct_endpoint()], None).await?;
        leader.move_leader(target).await?;
        bites.moves += u32::from(cluster.wait_new_leader(old).await? != old);
        changes.go_on().await?;
        if due(round, wanted.moves, wanted.forced).1 {
            let old = cluster.leader().await?;
            cluster.member(old).kill().await?;
            bites.forced += u32::from(cluster.wait_new_leader(old).await? != old);
            cluster.member(old).restart().await?;
            changes.go_on().await?;
        }
    }
    lab.keep(bites.kept_in(changes.finish(Record::new(ETCD_3, run)).await?, wanted));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Bites, FORCED, MOVES, PLANNED, due, forced};
    use crate::record::Record;

    #[test]
    fn a_run_counts_only_if_all_that_was_wanted_happened() {
        let wanted = Bites { moves: 20, planned: 1, forced: 1 };
        let kept = |bites: Bites| bites.kept_in(Record::new("a", 0), wanted);
        let all = kept(wanted);
        assert!(all.is_valid());
        assert_eq!([MOVES, PLANNED, FORCED].map(|name| all.figure(name).unwrap()), [20.0, 1.0, 1.0]);
        for less in
            [Bites { moves: 19, ..wanted }, Bites { planned: 0, ..wanted }, Bites { forced: 0, ..wanted }]
        {
            assert!(!kept(less).is_valid(), "{less:?}");
        }
    }

    #[test]
    fn fail_overs_are_spread_over_the_moves_and_half_of_them_are_forced() {
        let at = |rounds, times| (0..rounds).filter(|round| due(*round, rounds, times).1).collect::<Vec<_>>();
        assert_eq!(at(20, 2), [9, 19]);
        assert_eq!(at(100, 4), [24, 49, 74, 99]);
        assert_eq!(at(20, 1), [19]);
        assert_eq!((due(9, 20, 2).0, due(19, 20, 2).0), (0, 1));
        assert_eq!((forced(2), forced(4)), (1, 2));
    }
}
