//! Users, passwords, rights, TLS and client certificates: right ones work and can be replaced while all goes on; wrong ones are clear errors and no
//! storm.

mod cluster;
mod rights;
mod tls;

use std::time::Duration;

use registry_core::{ErrorKind, RegistrarState, Registry, ResetCause, Retry};
use registry_redis::{Material, RedisOptions, RedisRegistry};
use registry_testing::servers::redis::{Redis, Reply};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::support::{
    PATIENCE, Record, admin, eventually, info, instance, lasting, registrar, server, user, weighing,
};

/// The password of `requirepass`.
const DEFAULT: &str = "default-password";

/// A Redis that demands users, with one of its own for services, who may use `registry:` and nothing else; the tests are the user `default`.
async fn guarded() -> Redis {
    let redis = Redis::start(server()).await.unwrap();
    admin(&redis, &format!("ACL SETUSER registry {} >first", rights::LEAST)).await;
    redis
}

fn as_user(redis: &Redis, name: &str, password: impl Into<Material>) -> RedisRegistry {
    let options = RedisOptions::standalone(redis.address().to_string()).with_user(name, password);
    RedisRegistry::new(options).unwrap()
}

/// Registers, watches, updates, lists and leaves.
async fn serves(registry: &RedisRegistry) {
    let serving = registrar(registry, 1, 5);
    timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let record = Record::start(registry).await;
    let revision = serving.update(weighing(1, 7)).await.unwrap();
    record.until_revision(revision, PATIENCE).await;
    assert_eq!(registry.services("").await.unwrap(), [user()]);
    serving.shutdown().await.unwrap();
    assert!(registry.lookup(&user()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_of_requirepass_is_that_of_the_user_default() {
    let redis = Redis::start(server().with_args(["--requirepass", DEFAULT])).await.unwrap();
    serves(&as_user(&redis, "default", DEFAULT)).await;

    let nobody = RedisRegistry::new(RedisOptions::standalone(redis.address().to_string())).unwrap();
    for stranger in [nobody, as_user(&redis, "default", "wrong"), as_user(&redis, "nobody", DEFAULT)] {
        let error = stranger.lookup(&user()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_unauthenticated_and_no_storm() {
    let redis = guarded().await;
    let registry = as_user(&redis, "registry", "wrong");
    let error = registry.register(&instance(1), &lasting()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unauthenticated, Retry::AfterBackoff), "{error}");
    assert!(error.message().contains("authentication failed"), "{error}");
    assert!(!error.to_string().contains("wrong"), "an error repeats the password: {error}");
    // A whole process of them, for a while.
    let before = info(&redis, "total_connections_received").await;
    let serving: Vec<_> = (0..10).map(|n| registrar(&registry, n, 2)).collect();
    let records: Vec<_> = (0..10).map(|_| Record::begin(&registry)).collect();
    sleep(Duration::from_secs(5)).await;
    // The question is one as well.
    let tried = info(&redis, "total_connections_received").await - before - 1;
    assert!((1..=12).contains(&tried), "{tried} connections in 5 s");
    for record in &records {
        assert!(record.told(|told| told.stale && told.view.is_none()));
    }
    drop(serving);
}

/// The old one is refused from then on, but connections that have it stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_replaced_without_a_restart() {
    let redis = guarded().await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "first\n").unwrap();
    let registry = as_user(&redis, "registry", Material::file(&file));
    let serving = registrar(&registry, 1, 10);
    timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let record = Record::start(&registry).await;

    admin(&redis, "ACL SETUSER registry resetpass >second").await;
    registry.lookup(&user()).await.unwrap();
    // Between the change there and the change here, what needs a new connection fails, and says why.
    admin(&redis, "CLIENT KILL TYPE normal").await;
    let refused = async || {
        let error = registry.lookup(&user()).await.err()?;
        (error.kind() == ErrorKind::Unauthenticated).then_some(())
    };
    eventually("the old password is refused", PATIENCE, refused).await;
    std::fs::write(&file, "second\n").unwrap();
    let accepted = async || registry.lookup(&user()).await.ok();
    eventually("the new password is used", Duration::from_secs(6), accepted).await;
    let mut acknowledged = Vec::new();
    for (weight, killed) in [(7, "normal"), (8, "pubsub"), (9, "normal"), (10, "pubsub")] {
        let count = admin(&redis, &format!("CLIENT KILL TYPE {killed}")).await;
        assert_ne!(count, Reply::Number(0), "{killed}");
        acknowledged.push(timeout(PATIENCE, serving.update(weighing(1, weight))).await.unwrap().unwrap());
        record.until_revision(acknowledged[acknowledged.len() - 1], PATIENCE).await;
    }
    record.require_whole(&acknowledged);
    assert!(matches!(*serving.state(), RegistrarState::Registered { .. }));
    record.told(|told| assert_eq!((&told.resets[..], told.deletions), (&[ResetCause::First][..], 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_can_be_configured_before_they_are_demanded() {
    let redis = guarded().await;
    let registry = as_user(&redis, "default", DEFAULT);
    let registration = registry.register(&instance(1), &lasting()).await;
    // Redis refuses a wrong password only where one is set, and takes any for a user without one.
    let registration = registration.unwrap();
    admin(&redis, &format!("CONFIG SET requirepass {DEFAULT}")).await;
    registry.keepalive(&registration.lease).await.unwrap();
    assert_eq!(as_user(&redis, "default", DEFAULT).lookup(&user()).await.unwrap().len(), 1);
}
