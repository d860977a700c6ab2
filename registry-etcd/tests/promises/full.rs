//! The quota is exceeded: the living stay, new ones are refused as `StoreFull`, and get in when there is room again.

use std::time::Duration;

use registry_core::{ErrorKind, RegistrarState, Registry, ResetCause};
use registry_etcd::Layout;
use registry_testing::servers::etcd::Etcd;
use tokio::time::{sleep, timeout};

use crate::support::{
    PATIENCE, Record, eventually, instance, lasting, registrar, registry_in, server, user, weighing,
};

const TTL: u64 = 3;

async fn full(layout: Layout) {
    let etcd = Etcd::start(server().with_quota(1 << 20)).await.unwrap();
    let registry = registry_in(layout, [etcd.endpoint()]);
    let living = registrar(&registry, 1, TTL);
    timeout(PATIENCE, living.registered()).await.unwrap().unwrap();
    let leaving = registry.register(&instance(2), &lasting()).await.unwrap();
    let record = Record::start(&registry).await;
    etcd.fill().await.unwrap();

    let error = registry.register(&instance(3), &lasting()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreFull, "{error}");
    let error = registry.update(&leaving.lease, &weighing(2, 7)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreFull, "{error}");
    registry.keepalive(&leaving.lease).await.unwrap();
    let newcomer = registrar(&registry, 4, TTL);
    // Twice as long as a lease lives without heartbeats.
    sleep(Duration::from_secs(2 * TTL)).await;
    assert!(
        matches!(&*living.state(), RegistrarState::Registered { error: None, .. }),
        "{:?}",
        living.state()
    );
    assert!(
        matches!(&*newcomer.state(), RegistrarState::Starting { error: Some(error) }
        if error.kind() == ErrorKind::StoreFull),
        "{:?}",
        newcomer.state()
    );
    let ids = async || -> Vec<String> {
        registry.lookup(&user()).await.unwrap().iter().map(|entry| entry.id().to_string()).collect()
    };
    assert_eq!(ids().await, ["10.0.0.2:8080", "10.0.0.3:8080"]);
    assert_eq!(registry.services("").await.unwrap(), [user()]);
    let other = Record::start(&registry_in(layout, [etcd.endpoint()])).await;
    registry.deregister(&leaving.lease).await.unwrap();
    for record in [&record, &other] {
        let one = async || record.told(|told| (told.view.as_ref()?.len() == 1).then_some(()));
        eventually("whoever leaves is gone", PATIENCE, one).await;
        record.told(|told| assert_eq!((&told.resets[..], told.stale), (&[ResetCause::First][..], false)));
    }

    etcd.make_room().await.unwrap();
    timeout(PATIENCE, newcomer.registered()).await.expect("there is room again").unwrap();
    assert_eq!(ids().await, ["10.0.0.2:8080", "10.0.0.5:8080"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_etcd_keeps_the_living_and_refuses_the_new() {
    full(Layout::Json).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_etcd_keeps_the_living_and_refuses_the_new_in_go_zeros_layout() {
    full(Layout::GoZero).await;
}
