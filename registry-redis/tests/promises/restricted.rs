//! A server that does not tell of itself: everything works, and no more is claimed than can be known.

use std::time::Duration;

use registry_core::{
    AfterDisruption, Durability, ErrorKind, GapDetection, Guarantees, RegisterOptions, Registry, ResetCause,
};
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::servers::redis::{Persistence, Redis, RedisOptions as ServerOptions};
use tokio::time::{Instant, timeout};

use crate::support::{
    PATIENCE, Record, eventually, instance, lasting, registrar, registry, server, ttl, user, weighing,
};

const RIGHT: Duration = Duration::from_secs(3);
/// The registrar's TTL.
const TTL: u64 = 5;
const PASSWORD: &str = "secret";

/// With a user for the registry, who may do everything but what is denied, with keys and channels of the registry only.
fn restricted(denied: &[&str]) -> ServerOptions {
    let user = ["--user", "registry", "on", ">secret", "~registry:*", "&registry:*", "+@all"];
    appending().with_args(user).with_args(denied.iter().copied())
}

fn as_user(redis: &Redis) -> RedisRegistry {
    let options = RedisOptions::standalone(redis.address().to_string()).with_user("registry", PASSWORD);
    RedisRegistry::new(options).unwrap()
}

fn as_anybody(redis: &Redis) -> RedisRegistry {
    registry(redis.address())
}

fn appending() -> ServerOptions {
    server().with_persistence(Persistence::EveryWrite)
}

/// Everything that a registry does, and a restart.
async fn works(redis: &Redis, connect: fn(&Redis) -> RedisRegistry) -> Guarantees {
    let (owner, other) = (connect(redis), connect(redis));
    let guarantees = owner.inspect().await.unwrap();
    let serving = registrar(&owner, 1, TTL);
    timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let record = Record::start(&other).await;
    let mut acknowledged = vec![serving.update(weighing(1, 7)).await.unwrap()];
    let registration = other.register(&instance(2), &lasting()).await.unwrap();
    other.keepalive(&registration.lease).await.unwrap();
    acknowledged.push(registration.revision);
    acknowledged.push(other.update(&registration.lease, &weighing(2, 8)).await.unwrap());
    assert_eq!(other.services("us").await.unwrap(), [user()]);
    other.deregister(&registration.lease).await.unwrap();
    let brief = RegisterOptions::new().with_ttl(ttl(1));
    let dead = other.register(&instance(3), &brief).await.unwrap();
    acknowledged.push(dead.revision);
    let alone = async || (other.lookup(&user()).await.unwrap().len() == 1).then_some(());
    eventually("who is dead is gone", ttl(1).get() + Duration::from_secs(1), alone).await;
    record.until_equal(&other, Instant::now() + RIGHT).await;
    record.require_whole(&acknowledged);

    redis.restart().await.unwrap();
    let up = Instant::now();
    let deadline = up + Duration::from_secs(TTL);
    eventually("the registrar is back", deadline - Instant::now(), async || {
        let listed = other.lookup(&user()).await.ok()?;
        (serving.state().is_registered() && listed.len() == 1).then_some(())
    })
    .await;
    let latest = other.register(&instance(4), &lasting()).await.unwrap();
    record.until_revision(latest.revision, PATIENCE).await;
    record.until_equal(&other, Instant::now() + RIGHT).await;
    record.told(|told| assert_eq!(told.resets, [ResetCause::First], "everything was kept"));
    guarantees
}

fn require_little(guarantees: &Guarantees) {
    assert_eq!(guarantees.durability, Durability::None, "nothing is known of files");
    assert_eq!(guarantees.after_disruption, AfterDisruption::MayExpireEarly);
    assert!(!guarantees.linearizable_reads, "there may be replicas");
    assert_eq!(guarantees.gap_detection, GapDetection::Always, "which is done without asking");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_asked_is_claimed() {
    let redis = Redis::start(appending()).await.unwrap();
    let guarantees = works(&redis, as_anybody).await;
    assert_eq!(guarantees.durability, Durability::PowerCut);
    assert_eq!(guarantees.after_disruption, AfterDisruption::ExtendedByAtMostOneTtl);
    assert!(guarantees.linearizable_reads);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_config_and_info_everything_works_and_little_is_claimed() {
    let redis = Redis::start(restricted(&["-config", "-info"])).await.unwrap();
    require_little(&works(&redis, as_user).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_info_everything_works_and_little_is_claimed() {
    let redis = Redis::start(restricted(&["-info"])).await.unwrap();
    require_little(&works(&redis, as_user).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_config_everything_works_and_how_often_files_are_synced_is_not_claimed() {
    let redis = Redis::start(restricted(&["-config"])).await.unwrap();
    let guarantees = works(&redis, as_user).await;
    assert_eq!(guarantees.durability, Durability::Window);
    assert!(guarantees.linearizable_reads);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_config_has_no_name_everything_works_and_how_often_files_are_synced_is_not_claimed() {
    let redis = Redis::start(appending().with_args(["--rename-command", "CONFIG", ""])).await.unwrap();
    let unknown = redis.command(&["CONFIG", "GET", "save"]).await.unwrap_err();
    assert!(unknown.to_string().contains("unknown command"), "{unknown}");
    let guarantees = works(&redis, as_anybody).await;
    assert_eq!(guarantees.durability, Durability::Window);
    assert!(guarantees.linearizable_reads);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_is_denied() {
    let redis = Redis::start(restricted(&["-config", "-info"])).await.unwrap();
    for command in [&["CONFIG", "GET", "save"][..], &["INFO"]] {
        let outcome = redis.command(&[&["ACL", "DRYRUN", "registry"], command].concat()).await.unwrap();
        assert!(outcome.text().contains("no permissions"), "{outcome:?}");
    }
}

/// It cannot see to it that the history has another name, which is for who watches.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_is_told_what_is_there_after_a_backup_was_put_back() {
    let redis = Redis::start(restricted(&["-@write"])).await.unwrap();
    let (owner, looking) = (as_anybody(&redis), as_user(&redis));
    owner.register(&instance(1), &lasting()).await.unwrap();
    let refused = looking.register(&instance(9), &lasting()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    let backup = redis.save().await.unwrap();
    owner.register(&instance(2), &lasting()).await.unwrap();
    assert_eq!(looking.lookup(&user()).await.unwrap().len(), 2);
    redis.restore(&backup).await.unwrap();
    // One that has seen nothing of what was lost.
    let owner = as_anybody(&redis);
    for n in 3..6 {
        owner.register(&instance(n), &lasting()).await.unwrap();
    }
    let listed = looking.lookup(&user()).await.unwrap();
    let there = |n: &usize| listed.get(instance(*n).id()).is_some();
    assert_eq!((1..6).filter(there).collect::<Vec<_>>(), [1, 3, 4, 5]);
}
