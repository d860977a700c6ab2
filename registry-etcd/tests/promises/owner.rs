//! The owner of an entry: changes and heartbeats at the same time, answers that are late or lost, hands that know only half.

use std::time::Duration;

use etcd_client::{Client, PutOptions};
use registry_core::{ErrorKind, Instance, RegistrarState, Registry, ResetCause, Status};
use registry_etcd::Layout;
use registry_testing::servers::etcd::Etcd;
use registry_testing::servers::proxy::Faults;
use tokio::time::{sleep, timeout};

use crate::support::{
    PATIENCE, Record, eventually, instance, lasting, raw_keys, registrar, registry, registry_in, server,
    user, weighing,
};

const GUARD: &str = "/registry/user.rpc/10.0.0.2:8080";
/// One way through the proxy.
const LATENCY: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_beside_an_update_loses_nothing() {
    let etcd = Etcd::start(server()).await.unwrap();
    for layout in [Layout::Json, Layout::GoZero] {
        let registry = registry_in(layout, [etcd.endpoint()]);
        let lease = registry.register(&instance(1), &lasting()).await.unwrap().lease;
        for weight in 1..200 {
            let changed = weighing(1, weight);
            let (beat, updated) = tokio::join!(registry.keepalive(&lease), registry.update(&lease, &changed));
            updated.unwrap();
            beat.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_taken_late_hides_no_later_update() {
    let etcd = Etcd::start(server().with_client_proxies()).await.unwrap();
    let registry = registry([etcd.endpoint()]);
    let lease = registry.register(&instance(1), &lasting()).await.unwrap().lease;
    etcd.client_proxy().unwrap().set(Faults::default().with_latency(LATENCY)).await;
    let (first, second) = (weighing(1, 5), weighing(1, 6));
    let mut early = std::pin::pin!(registry.update(&lease, &first));
    tokio::select! {
        answer = &mut early => panic!("{answer:?} before it can have come"),
        () = sleep(LATENCY / 2) => {}
    }
    // It is answered meanwhile, and nobody looks.
    sleep(4 * LATENCY).await;
    let later = registry.update(&lease, &second).await.unwrap();
    assert!(early.await.unwrap() < later);
    registry.keepalive(&lease).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_was_dropped_and_done_costs_no_lease() {
    let etcd = Etcd::start(server().with_client_proxies()).await.unwrap();
    let registry = registry_in(Layout::GoZero, [etcd.endpoint()]);
    let lease = registry.register(&instance(1), &lasting()).await.unwrap().lease;
    etcd.client_proxy().unwrap().set(Faults::default().with_latency(LATENCY)).await;
    // It takes the address off.
    let draining = instance(1).with_status(Status::Draining);
    timeout(LATENCY * 3 / 2, registry.update(&lease, &draining)).await.expect_err("its answer takes longer");
    etcd.client_proxy().unwrap().heal().await;
    let done = async || raw_keys(&etcd, "user.rpc/").await.is_empty().then_some(());
    eventually("it was done", PATIENCE, done).await;
    registry.keepalive(&lease).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_lease_is_lost_is_said_as_often_as_it_is_used_and_to_every_client() {
    let etcd = Etcd::start(server()).await.unwrap();
    let lost = async |layout: Layout, lease: &registry_core::Lease, first: &registry_etcd::EtcdRegistry| {
        for client in [&registry_in(layout, [etcd.endpoint()]), first] {
            for _ in 0..3 {
                assert_eq!(client.keepalive(lease).await.unwrap_err().kind(), ErrorKind::LeaseLost);
            }
            assert_eq!(client.update(lease, &instance(1)).await.unwrap_err().kind(), ErrorKind::LeaseLost);
        }
    };
    // Overwritten with rubbish under its own lease.
    let json = registry([etcd.endpoint()]);
    let lease = json.register(&instance(1), &lasting()).await.unwrap().lease;
    let mut client = Client::connect([etcd.endpoint()], None).await.unwrap();
    let under_it = PutOptions::new().with_lease(i64::try_from(lease.key()).unwrap());
    client.put(GUARD, "rubbish", Some(under_it)).await.unwrap();
    lost(Layout::Json, &lease, &json).await;
    // Its address was deleted.
    let go_zero = registry_in(Layout::GoZero, [etcd.endpoint()]);
    let lease = go_zero.register(&instance(1), &lasting()).await.unwrap().lease;
    for kv in raw_keys(&etcd, "user.rpc/").await {
        etcd.delete(&kv.key).await.unwrap();
    }
    lost(Layout::GoZero, &lease, &go_zero).await;
}

/// What an operator does who edits a value with `etcdctl put`.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_was_put_without_its_lease_gets_one_again() {
    let etcd = Etcd::start(server()).await.unwrap();
    let registry = registry([etcd.endpoint()]);
    let serving = registrar(&registry, 1, 3);
    timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let value = etcd.get(GUARD).await.unwrap().unwrap();
    etcd.put(GUARD, &value).await.unwrap();
    let leased = async || raw_keys(&etcd, GUARD).await.iter().all(|kv| kv.lease != 0).then_some(());
    eventually("the owner puts it under a lease", Duration::from_secs(2), leased).await;
    let registered = async || matches!(*serving.state(), RegistrarState::Registered { .. }).then_some(());
    eventually("registered", PATIENCE, registered).await;
    serving.shutdown().await.unwrap();
    assert!(raw_keys(&etcd, GUARD).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_entry_that_somebody_puts_is_not_listed_by_anyone() {
    let etcd = Etcd::start(server()).await.unwrap();
    let registry = registry_in(Layout::GoZero, [etcd.endpoint()]);
    registry.register(&instance(1), &lasting()).await.unwrap();
    let record = Record::start(&registry).await;
    let guard = "user.rpc.~meta/10.0.0.2:8080";
    let value = etcd.get(guard).await.unwrap().unwrap();
    etcd.put(guard, &value).await.unwrap();
    assert!(registry.lookup(&user()).await.unwrap().is_empty());
    let empty = async || record.told(|told| told.view.as_ref()?.is_empty().then_some(()));
    eventually("the view agrees", PATIENCE, empty).await;
    record.told(|told| assert_eq!(told.resets, [ResetCause::First, ResetCause::Unknown]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_go_zeros_and_the_same_id_of_ours_are_two_instances() {
    let etcd = Etcd::start(server()).await.unwrap();
    let registry = registry_in(Layout::GoZero, [etcd.endpoint()]);
    let of_id = |id: &str| Instance::builder(user()).id(id).endpoint("10.0.0.1:8080").build().unwrap();
    registry.register(&of_id("42"), &lasting()).await.unwrap();
    let record = Record::start(&registry).await;
    etcd.put("user.rpc/42", "10.0.0.9:9090").await.unwrap();
    let count = async |wanted: usize| {
        let there = async || record.told(|told| (told.view.as_ref()?.len() == wanted).then_some(()));
        eventually("that many in the view", PATIENCE, there).await;
        assert_eq!(registry.lookup(&user()).await.unwrap().len(), wanted);
    };
    count(2).await;
    etcd.delete("user.rpc/42").await.unwrap();
    count(1).await;
    let error = registry.register(&of_id("go-zero:42"), &lasting()).await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("instance id")), "{error}");
}
