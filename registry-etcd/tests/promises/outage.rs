//! One client's connection flaps or is swallowed: no deadlock; all is right again within 3 s of healing.

use std::pin::pin;
use std::time::Duration;

use futures_util::poll;
use registry_core::{ErrorKind, RegistrarState, Registry, ResetCause};
use registry_etcd::{EtcdOptions, EtcdRegistry};
use registry_testing::servers::etcd::Etcd;
use registry_testing::servers::proxy::{Faults, Proxy};
use tokio::runtime::Runtime;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{
    PATIENCE, Record, eventually, instance, lasting, registrar, registry, server, user, weighing,
};

/// How soon after healing all must be right.
const HEALED: Duration = Duration::from_secs(3);

fn behind(proxy: &Proxy) -> EtcdRegistry {
    registry([format!("http://{}", proxy.address())])
}

/// Waits until the view is what a lookup gives, and is current.
async fn converged(record: &Record, direct: &EtcdRegistry, deadline: Instant) {
    eventually("the view is what is there", deadline - Instant::now(), async || {
        let listed = direct.lookup(&user()).await.unwrap();
        let same = |told: &crate::support::Told| {
            let view = told.view.as_ref()?;
            (!told.stale && view.iter().eq(listed.iter())).then_some(())
        };
        record.told(same)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_flaps_of_the_connection_lose_nothing_and_block_nothing() {
    let etcd = Etcd::start(server()).await.unwrap();
    let proxy = Proxy::start(etcd.client_address()).unwrap();
    let (direct, flapping) = (registry([etcd.endpoint()]), behind(&proxy));
    let serving = registrar(&flapping, 1, 5);
    timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let record = Record::start(&flapping).await;
    let other = direct.register(&instance(2), &lasting()).await.unwrap();
    let mut acknowledged = vec![other.revision];
    for flap in 0..20_u64 {
        proxy.set(Faults::refusing()).await;
        proxy.cut().await;
        let weight = u32::try_from(flap).unwrap();
        acknowledged.push(direct.update(&other.lease, &weighing(2, weight)).await.unwrap());
        // 3 to 30 ms down, and as long up, in no step with anything.
        sleep(Duration::from_millis(3 + flap * 7 % 28)).await;
        proxy.heal().await;
        sleep(Duration::from_millis(3 + flap * 11 % 28)).await;
    }
    let healed = Instant::now();
    assert!(proxy.counters().cut > 0, "no flap bit");
    converged(&record, &direct, healed + HEALED).await;
    record.require_whole(&acknowledged);
    let update = timeout(HEALED, serving.update(weighing(1, 7)));
    update.await.expect("the registrar is not blocked").unwrap();
    assert!(matches!(*serving.state(), RegistrarState::Registered { .. }));
    assert_eq!(direct.lookup(&user()).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_black_hole_of_30_seconds_entry_and_view_are_right_within_3() {
    let etcd = Etcd::start(server()).await.unwrap();
    let proxy = Proxy::start(etcd.client_address()).unwrap();
    let (direct, swallowed) = (registry([etcd.endpoint()]), behind(&proxy));
    let serving = registrar(&swallowed, 1, 10);
    timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let record = Record::start(&swallowed).await;
    let before = proxy.counters();
    proxy.set(Faults::black_hole()).await;
    sleep(Duration::from_secs(15)).await;
    let other = direct.register(&instance(2), &lasting()).await.unwrap();
    sleep(Duration::from_secs(15)).await;
    assert!(proxy.counters().to_server.swallowed > before.to_server.swallowed, "the black hole did not bite");
    assert!(record.told(|told| told.stale), "an outage must show");
    record.told(|told| assert_eq!(told.view.as_ref().unwrap().len(), 1, "the last good view stays"));
    assert_eq!(direct.lookup(&user()).await.unwrap().len(), 1, "whoever does not beat is gone");
    proxy.heal().await;
    let healed = Instant::now();
    eventually("the entry is back", HEALED, async || {
        (direct.lookup(&user()).await.unwrap().len() == 2).then_some(())
    })
    .await;
    converged(&record, &direct, healed + HEALED).await;
    eprintln!("right {:?} after healing", healed.elapsed());
    record.told(|told| assert_eq!(told.resets, [ResetCause::First], "nothing was lost, so nothing is reset"));
    direct.deregister(&other.lease).await.unwrap();
}

/// A registrar on a thread of its own, a test with a runtime of its own: clients are shared between runtimes, and those end.
#[test]
fn a_client_outlives_the_runtimes_that_it_was_used_on() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let servers = runtime();
    let etcd = servers.block_on(Etcd::start(server())).unwrap();
    let client = registry([etcd.endpoint()]);
    for n in 0..3 {
        let brief = runtime();
        brief.block_on(async {
            let registration = client.register(&instance(n), &lasting()).await.unwrap();
            client.keepalive(&registration.lease).await.unwrap();
            let record = Record::start(&client).await;
            record.told(|told| assert_eq!(told.view.as_ref().unwrap().len(), n + 1));
            client.update(&registration.lease, &weighing(n, 7)).await.unwrap();
            client.keepalive(&registration.lease).await.unwrap();
        });
        brief.shutdown_timeout(PATIENCE);
    }
    let listed = servers.block_on(client.lookup(&user())).unwrap();
    assert_eq!(listed.len(), 3);
}

/// Those who ask at the same time share a request, and whoever has begun it may never be heard of again.
#[test]
fn a_heartbeat_does_not_hang_on_another_runtime_that_stands_still_or_ends() {
    let own = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (etcd, proxy) = own.block_on(async {
        let etcd = Etcd::start(server()).await.unwrap();
        let proxy = Proxy::start(etcd.client_address()).unwrap();
        (etcd, proxy)
    });
    let client = behind(&proxy);
    let [first, second] = [1, 2].map(|n| {
        let registered = own.block_on(client.register(&instance(n), &lasting())).unwrap();
        own.block_on(client.keepalive(&registered.lease)).unwrap();
        registered.lease
    });
    own.block_on(proxy.set(Faults::default().with_latency(Duration::from_millis(150))));
    for (asks, ends) in [(false, false), (true, false), (false, true), (true, true)] {
        // It runs only while something is waited for on it.
        let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        other.block_on(async {
            assert!(poll!(pin!(client.keepalive(&first))).is_pending());
            if asks {
                yield_now().await;
            }
        });
        let begun = Instant::now();
        own.block_on(async {
            let mut beating = pin!(client.keepalive(&second));
            assert!(poll!(beating.as_mut()).is_pending());
            let still = if ends {
                other.shutdown_background();
                None
            } else {
                Some(other)
            };
            beating.await.unwrap();
            still.into_iter().for_each(Runtime::shutdown_background);
        });
        assert!(begun.elapsed() < Duration::from_secs(3), "{asks}, {ends}: {:?}", begun.elapsed());
    }
    drop(etcd);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_of_several_requests_has_one_deadline() {
    let etcd = Etcd::start(server()).await.unwrap();
    let proxy = Proxy::start(etcd.client_address()).unwrap();
    let limit = Duration::from_millis(1900);
    let endpoint = format!("http://{}", proxy.address());
    let slow = EtcdRegistry::new(EtcdOptions::new([endpoint]).with_request_timeout(limit)).unwrap();
    let registered = slow.register(&instance(1), &lasting()).await.unwrap();
    // Each request takes a second: one is in time, two are not.
    proxy.set(Faults::default().with_latency(Duration::from_millis(500))).await;
    slow.update(&registered.lease, &weighing(1, 7)).await.unwrap();
    let began = Instant::now();
    let failed = slow.register(&instance(2), &lasting()).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Timeout, "{failed:?}");
    assert!(began.elapsed() >= limit, "it had its time");
    assert_eq!(slow.deregister(&registered.lease).await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test(flavor = "multi_thread")]
async fn durations_without_end_mean_for_ever_and_those_of_nothing_are_refused() {
    let etcd = Etcd::start(server()).await.unwrap();
    let options = || EtcdOptions::new([etcd.endpoint()]);
    let patient = options()
        .with_hedge_after(Duration::MAX)
        .with_request_timeout(Duration::MAX)
        .with_connect_timeout(Duration::MAX);
    let registry = EtcdRegistry::new(patient).unwrap();
    let registration = registry.register(&instance(1), &lasting()).await.unwrap();
    registry.keepalive(&registration.lease).await.unwrap();
    Record::start(&registry).await;
    for (field, bad) in [
        ("connect timeout", options().with_connect_timeout(Duration::ZERO)),
        ("request timeout", options().with_request_timeout(Duration::ZERO)),
        ("probe interval", options().with_probe_interval(Duration::ZERO)),
        ("probe interval", options().with_probe_interval(Duration::from_secs(6))),
    ] {
        assert_eq!(EtcdRegistry::new(bad).unwrap_err().field(), Some(field));
    }
}
