//! Three etcds.

use registry_testing::servers::etcd::{EtcdCluster, EtcdOptions};
use tokio::time::Instant;

use crate::support::{SOON, wait_all_gone, wait_for};

fn value(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

async fn start() -> EtcdCluster {
    EtcdCluster::start(3, EtcdOptions::default()).await.unwrap()
}

#[tokio::test]
async fn a_write_to_one_member_is_read_from_the_others() {
    let begun = Instant::now();
    let cluster = start().await;
    println!("three nodes: {:?}", begun.elapsed());
    cluster.member(0).put("key", "value").await.unwrap();
    for member in cluster.members() {
        assert_eq!(member.get("key").await.unwrap(), value("value"));
    }
    let folders: Vec<_> = cluster.members().iter().map(|m| m.process().folder().path().to_owned()).collect();
    drop(cluster);
    for folder in folders {
        wait_all_gone(&folder).await;
    }
}

#[tokio::test]
async fn a_killed_leader_is_replaced_and_comes_back_as_a_follower() {
    let cluster = start().await;
    let old = cluster.leader().await.unwrap();
    cluster.member(old).put("key", "before").await.unwrap();
    cluster.member(old).kill().await.unwrap();
    let begun = Instant::now();
    let new = cluster.wait_new_leader(old).await.unwrap();
    println!("new leader after a kill: {:?}", begun.elapsed());
    assert_eq!(cluster.member(new).get("key").await.unwrap(), value("before"));
    cluster.member(new).put("key", "meanwhile").await.unwrap();
    cluster.member(old).restart().await.unwrap();
    assert_eq!(cluster.member(old).get("key").await.unwrap(), value("meanwhile"));
    assert_ne!(cluster.leader().await.unwrap(), old);
}

#[tokio::test]
async fn a_paused_leader_is_replaced_and_learns_of_it() {
    let cluster = start().await;
    let old = cluster.leader().await.unwrap();
    cluster.member(old).pause().await.unwrap();
    let new = cluster.wait_new_leader(old).await.unwrap();
    cluster.member(new).put("key", "meanwhile").await.unwrap();
    cluster.member(old).resume().await.unwrap();
    cluster.member(old).wait_serving(SOON).await.unwrap();
    assert_eq!(cluster.member(old).get("key").await.unwrap(), value("meanwhile"));
}

#[tokio::test]
async fn a_lost_leader_takes_nothing_with_it_and_stays_lost() {
    let cluster = start().await;
    let lost = cluster.leader().await.unwrap();
    for n in 0..50 {
        cluster.member(lost).put(format!("key{n}"), "acknowledged").await.unwrap();
    }
    cluster.lose(lost).await.unwrap();
    assert!(!cluster.member(lost).process().folder().data().exists());
    let leader = cluster.wait_new_leader(lost).await.unwrap();
    for n in 0..50 {
        assert_eq!(cluster.member(leader).get(format!("key{n}")).await.unwrap(), value("acknowledged"));
    }
    cluster.restart().await.unwrap();
    assert!(!cluster.member(lost).process().is_running());
    let error = cluster.member(lost).restart().await.unwrap_err();
    assert!(error.to_string().contains("its data are lost"), "{error}");
    assert_eq!(cluster.member(leader).get("key1").await.unwrap(), value("acknowledged"));
    cluster.wipe().await.unwrap();
    assert!(cluster.member(lost).serves().await, "a new cluster has all its members");
}

#[tokio::test]
async fn a_lost_member_returns_with_a_restored_backup() {
    let cluster = start().await;
    cluster.member(0).put("key", "old").await.unwrap();
    let snapshot = cluster.save().await.unwrap();
    cluster.lose(0).await.unwrap();
    cluster.restore(&snapshot).await.unwrap();
    assert_eq!(cluster.member(0).get("key").await.unwrap(), value("old"));
}

#[tokio::test]
async fn without_a_quorum_nothing_is_served() {
    let cluster = start().await;
    cluster.member(0).kill().await.unwrap();
    cluster.member(1).kill().await.unwrap();
    assert!(!cluster.member(2).serves().await);
    cluster.restart().await.unwrap();
    assert!(cluster.member(2).serves().await);
}

#[tokio::test]
async fn the_whole_cluster_restarts_wipes_and_goes_back() {
    let cluster = start().await;
    cluster.member(0).put("key", "old").await.unwrap();
    let snapshot = cluster.save().await.unwrap();
    let revision = cluster.member(0).put("key", "new").await.unwrap();
    cluster.restart().await.unwrap();
    assert_eq!(cluster.member(1).get("key").await.unwrap(), value("new"));
    assert_eq!(cluster.compact().await.unwrap(), revision);
    cluster.wipe().await.unwrap();
    assert_eq!(cluster.member(1).get("key").await.unwrap(), None);
    cluster.restore(&snapshot).await.unwrap();
    for member in cluster.members() {
        assert_eq!(member.get("key").await.unwrap(), value("old"));
    }
}

#[tokio::test]
async fn an_isolated_leader_is_replaced_and_its_clients_are_not_served() {
    let cluster = EtcdCluster::start(3, EtcdOptions::default().with_peer_proxies()).await.unwrap();
    let old = cluster.leader().await.unwrap();
    assert!(cluster.isolate(old));
    let new = cluster.wait_new_leader(old).await.unwrap();
    assert!(cluster.swallowed() > 0);
    cluster.member(new).put("key", "majority").await.unwrap();
    assert!(!cluster.member(old).serves().await);
    cluster.heal();
    let begun = Instant::now();
    cluster.member(old).wait_serving(SOON).await.unwrap();
    println!("served again after a partition: {:?}", begun.elapsed());
    assert_eq!(cluster.member(old).get("key").await.unwrap(), value("majority"));
}

#[tokio::test]
async fn a_leader_that_hears_nobody_steps_down() {
    let cluster = EtcdCluster::start(3, EtcdOptions::default().with_peer_proxies()).await.unwrap();
    let old = cluster.leader().await.unwrap();
    let others: Vec<_> = (0..3).filter(|member| *member != old).collect();
    assert!(others.iter().all(|other| cluster.block(*other, old)));
    let new = cluster.wait_new_leader(old).await.unwrap();
    assert!(others.contains(&new));
    wait_for("bytes are lost", || cluster.swallowed() > 0).await;
    cluster.heal();
    cluster.member(old).wait_serving(SOON).await.unwrap();
}

#[tokio::test]
async fn a_majority_goes_on_while_one_member_is_cut_off() {
    let cluster = EtcdCluster::start(3, EtcdOptions::default().with_peer_proxies()).await.unwrap();
    let leader = cluster.leader().await.unwrap();
    let follower = (leader + 1) % 3;
    let third = (leader + 2) % 3;
    assert!(cluster.partition(&[&[leader, third]]));
    cluster.member(leader).put("key", "majority").await.unwrap();
    assert_eq!(cluster.member(third).get("key").await.unwrap(), value("majority"));
    assert!(!cluster.member(follower).serves().await);
    // On a machine so busy that heartbeats are late, the other one may lead by now.
    assert_ne!(cluster.leader().await.unwrap(), follower);
    cluster.heal();
    cluster.member(follower).wait_serving(SOON).await.unwrap();
    assert_eq!(cluster.member(follower).get("key").await.unwrap(), value("majority"));
}
