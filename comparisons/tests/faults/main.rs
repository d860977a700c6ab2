//! Every fault of the catalogue bites on a real stand, and is healed. Here each is tried on one backend or two; `fault_sweep` tries all.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod probe;

use std::collections::BTreeSet;

use comparisons::chaos::backend::Backend;
use comparisons::chaos::fault::Fault;
use comparisons::chaos::stand::{Programs, clean_left_over, start};

cells! {
    memory: none, link_cut, black_hole, latency, flaps, pause_1s, compaction, wipe, restore, store_full;
    etcd: link_reset, black_hole_to_server, throttle, server_kill, power_cut, compaction, wipe, malformed_flood;
    etcd_cluster: leader_pause, majority_partition, quorum_loss, slow_consumer;
    redis: link_cut, black_hole_to_client, latency, flaps, server_stop, pause_10s, compaction, restore, clock_step, slow_fsync, disk_full, store_full, client_paused;
    redis_sentinel: black_hole, leader_kill, one_way_partition, split_brain;
    redis_cluster: minority_partition, slot_migration, failover_force, failover_takeover;
    redis_naive: none, malformed_flood, expiry_storm, mass_rejoin;
}

#[test]
fn every_fault_and_every_backend_is_tried() {
    let tried =
        || CELLS.iter().flat_map(|(backend, faults)| faults.iter().map(|fault| probe::cell(backend, fault)));
    for (backend, fault) in tried() {
        assert!(fault.on(backend).is_some(), "{fault} does not apply to {backend}");
    }
    let faults: BTreeSet<Fault> = tried().map(|(_, fault)| fault).collect();
    let all: BTreeSet<Fault> = Fault::all().iter().copied().filter(|fault| !fault.row().long).collect();
    assert_eq!(faults, all);
    let backends: BTreeSet<Backend> = tried().map(|(backend, _)| backend).collect();
    assert_eq!(backends, Backend::ALL.into_iter().collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_faults_of_different_things_bite_at_once_and_are_healed() {
    let pairs = [
        (Backend::Redis, [Fault::LinkCut, Fault::ServerKill]),
        (Backend::EtcdCluster, [Fault::LeaderKill, Fault::BlackHole]),
        (Backend::RedisCluster, [Fault::Latency, Fault::FailoverForce]),
    ];
    for (backend, faults) in pairs {
        assert!(faults[0].can_precede(faults[1], backend));
        probe::strike_all(backend, &faults).await;
    }
}

#[tokio::test]
async fn a_fault_that_does_not_apply_is_refused_before_anything_is_started() {
    let refused = start(Backend::Memory, &[Fault::None, Fault::PowerCut], &Programs::default()).await;
    assert!(refused.is_err_and(|trouble| trouble.to_string().contains("power-cut does not apply to memory")));
}

#[tokio::test]
async fn a_fault_is_struck_once_and_healed_once() {
    let stand = start(Backend::Memory, &[Fault::LinkCut], &Programs::default()).await.unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let lasting = Fault::LinkCut.row().lasts;
    assert!(stand.heal(Fault::LinkCut).await.is_err(), "it was not struck");
    stand.strike(Fault::LinkCut, lasting, &mut random).await.unwrap();
    assert!(stand.strike(Fault::LinkCut, lasting, &mut random).await.is_err(), "it is there already");
    assert!(stand.heal(Fault::LinkCut).await.unwrap().bitten);
    assert!(stand.heal(Fault::LinkCut).await.is_err(), "it is healed already");
}

#[tokio::test]
async fn what_belongs_to_a_run_that_goes_on_is_not_left_over() {
    let stand = start(Backend::Redis, &[Fault::None], &Programs::default()).await.unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let cleaned = clean_left_over();
    stand.strike(Fault::None, Fault::None.row().lasts, &mut random).await.unwrap();
    assert!(stand.heal(Fault::None).await.unwrap().bitten, "the server still answers after {cleaned:?}");
    stand.end().await;
}
