//! Users of a cluster, which is asked for its slots before anything else.

use std::time::Duration;

use registry_core::{ErrorKind, Registry};
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::servers::ports::Port;
use registry_testing::servers::redis::Redis;
use tokio::time::sleep;

use super::rights::user_without;
use super::serves;
use crate::support::{PATIENCE, Record, admin, eventually, info, registrar, server, user};

/// A cluster of one node.
async fn cluster() -> (Redis, RedisOptions) {
    let port = Port::free().unwrap();
    let args = ["--cluster-enabled", "yes", "--cluster-port", &port.number().to_string()].map(str::to_owned);
    drop(port);
    let redis = Redis::start(server().with_args(args)).await.unwrap();
    admin(&redis, "CLUSTER ADDSLOTSRANGE 0 16383").await;
    let ready =
        async || admin(&redis, "CLUSTER INFO").await.text().contains("cluster_state:ok").then_some(());
    eventually("the cluster works", PATIENCE, ready).await;
    let options = RedisOptions::cluster([redis.address().to_string()]);
    (redis, options)
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster_it_needs_the_right_to_ask_who_has_which_slots() {
    let (redis, options) = cluster().await;
    user_without(&redis, "one", &[]).await;
    let registry = RedisRegistry::new(options.with_prefix("one").with_user("one", "secret")).unwrap();
    let error = registry.lookup(&user()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    admin(&redis, "ACL SETUSER one +cluster|slots").await;
    eventually("it serves", PATIENCE, async || registry.lookup(&user()).await.ok()).await;
    serves(&registry).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_demands_a_password_is_asked_for_its_slots_with_it() {
    let (redis, options) = cluster().await;
    admin(&redis, "CONFIG SET requirepass secret").await;
    serves(&RedisRegistry::new(options.with_user("default", "secret")).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_unauthenticated_and_no_storm_in_a_cluster_either() {
    let (redis, options) = cluster().await;
    admin(&redis, "ACL SETUSER one on >secret").await;
    let registry = RedisRegistry::new(options.with_user("one", "wrong")).unwrap();
    let error = registry.lookup(&user()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    let before = info(&redis, "total_connections_received").await;
    let serving: Vec<_> = (0..10).map(|n| registrar(&registry, n, 2)).collect();
    let records: Vec<_> = (0..10).map(|_| Record::begin(&registry)).collect();
    sleep(Duration::from_secs(5)).await;
    // The question is one as well.
    let tried = info(&redis, "total_connections_received").await - before - 1;
    assert!((1..=15).contains(&tried), "{tried} connections in 5 s");
    assert!(records.iter().all(|record| record.told(|told| told.stale && told.view.is_none())));
    drop(serving);
}
