//! Every fault of the catalogue on every backend that it applies to: `make chaos-faults`.
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

cells! {
    memory: none, link_cut, black_hole, latency, flaps, pause_1s, pause_10s, compaction, wipe, restore, store_full,
        slow_consumer, expiry_storm, mass_rejoin;
    etcd: none, link_cut, link_reset, black_hole, black_hole_to_server, black_hole_to_client, latency, throttle, flaps,
        server_kill, server_stop, pause_1s, pause_10s, power_cut, compaction, wipe, restore, slow_fsync, store_full,
        malformed_flood, slow_consumer, client_paused, expiry_storm, mass_rejoin;
    etcd_cluster: none, link_cut, link_reset, black_hole, black_hole_to_server, black_hole_to_client, latency, throttle,
        flaps, server_kill, server_stop, pause_1s, pause_10s, power_cut, leader_kill, leader_pause, minority_partition,
        majority_partition, one_way_partition, quorum_loss, compaction, wipe, restore, slow_fsync, store_full,
        malformed_flood, slow_consumer, client_paused, expiry_storm, mass_rejoin;
    redis: none, link_cut, link_reset, black_hole, black_hole_to_server, black_hole_to_client, latency, throttle, flaps,
        server_kill, server_stop, pause_1s, pause_10s, power_cut, compaction, wipe, restore, clock_step, slow_fsync,
        disk_full, store_full, malformed_flood, slow_consumer, client_paused, expiry_storm, mass_rejoin;
    redis_sentinel: none, link_cut, link_reset, black_hole, black_hole_to_server, black_hole_to_client, latency, throttle,
        flaps, server_kill, server_stop, pause_1s, pause_10s, power_cut, leader_kill, leader_pause, minority_partition,
        majority_partition, one_way_partition, quorum_loss, wipe, restore, clock_step, slow_fsync, store_full,
        failover_force, split_brain, malformed_flood, slow_consumer, client_paused, expiry_storm, mass_rejoin;
    redis_cluster: none, link_cut, link_reset, black_hole, black_hole_to_server, black_hole_to_client, latency, throttle,
        flaps, server_kill, server_stop, pause_1s, pause_10s, power_cut, leader_kill, leader_pause, minority_partition,
        majority_partition, one_way_partition, quorum_loss, wipe, restore, slow_fsync, store_full, slot_migration,
        failover_force, failover_takeover, malformed_flood, slow_consumer, client_paused, expiry_storm, mass_rejoin;
    redis_naive: none, link_cut, link_reset, black_hole, black_hole_to_server, black_hole_to_client, latency, throttle,
        flaps, server_kill, server_stop, pause_1s, pause_10s, power_cut, wipe, restore, clock_step, slow_fsync, disk_full,
        store_full, malformed_flood, slow_consumer, client_paused, expiry_storm, mass_rejoin;
}

#[test]
fn every_cell_of_the_catalogue_is_tried() {
    let tried: BTreeSet<(Backend, Fault)> = CELLS
        .iter()
        .flat_map(|(backend, faults)| faults.iter().map(|fault| probe::cell(backend, fault)))
        .collect();
    let of =
        |backend| Fault::of(backend).filter(|fault| !fault.row().long).map(move |fault| (backend, fault));
    assert_eq!(tried, Backend::ALL.into_iter().flat_map(of).collect());
}
