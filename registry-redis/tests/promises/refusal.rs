//! Redis refuses to write for 30 s, three times as long as leases last: no living instance is ever deleted, new ones are refused for a clear reason,
//! and who died meanwhile goes soon after.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use registry_core::{ErrorKind, Lease, RegisterOptions, Registrar, Registry, ResetCause, ServiceName};
use registry_redis::RedisRegistry;
use registry_testing::servers::redis::Redis;
use tokio::time::{Instant, interval, timeout};

use crate::support::{
    PATIENCE, Record, eventually, info, instance, instance_of, registrar_of, registry, server, ttl, user,
};

const TTL: u64 = 9;
const REFUSED: Duration = Duration::from_secs(30);
/// How soon a refusal is told.
const QUICK: Duration = Duration::from_secs(1);
/// How many living instances there are, of which these are in other services.
const LIVING: usize = 50;
const ELSEWHERE: usize = 10;
/// Nobody but a newcomer looks at this.
const UNSEEN: &str = "unseen.rpc";
const UNSEEN_LIVING: usize = 3;

fn of(n: usize) -> ServiceName {
    match n {
        0..ELSEWHERE => ServiceName::new(format!("other-{}.rpc", n % 4)).unwrap(),
        _ => user(),
    }
}

async fn living(redis: &Redis) -> Vec<Registrar> {
    let clients: Vec<_> = (0..5).map(|_| registry(redis.address())).collect();
    let serving: Vec<_> =
        (0..LIVING).map(|n| registrar_of(&clients[n % 5], instance_of(&of(n), n), TTL)).collect();
    for registrar in &serving {
        timeout(PATIENCE, registrar.registered()).await.unwrap().unwrap();
    }
    serving
}

/// Listed where nobody looks, by an owner who beats every second as far as the test does.
struct Unseen {
    client: RedisRegistry,
    service: ServiceName,
    leases: Vec<Lease>,
}

impl Unseen {
    async fn start(redis: &Redis) -> Self {
        let (client, service) = (registry(redis.address()), ServiceName::new(UNSEEN).unwrap());
        let mut leases = Vec::new();
        for n in 0..UNSEEN_LIVING {
            let options = RegisterOptions::new().with_ttl(ttl(TTL));
            leases.push(client.register(&instance_of(&service, n), &options).await.unwrap().lease);
        }
        Self { client, service, leases }
    }

    async fn beat(&self) -> Vec<Option<ErrorKind>> {
        let beats = self.leases.iter().map(async |lease| self.client.keepalive(lease).await);
        join_all(beats).await.into_iter().map(|outcome| outcome.err().map(|error| error.kind())).collect()
    }
}

/// What makes Redis refuse, what new registrations get, and whether heartbeats get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Full,
    FailedSave,
    TooFewReplicas,
}

impl Refusal {
    fn kind(self) -> ErrorKind {
        if self == Self::Full { ErrorKind::StoreFull } else { ErrorKind::Unavailable }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Full => "OOM",
            Self::FailedSave => "MISCONF",
            Self::TooFewReplicas => "NOREPLICAS",
        }
    }

    async fn begin(self, redis: &Redis) {
        match self {
            Self::Full => redis.fill().await.unwrap(),
            Self::FailedSave => {
                // The file cannot take the place of a folder that is not empty.
                fs::create_dir_all(dump(redis).await.join("in the way")).unwrap();
                saved(redis, "err").await;
            }
            Self::TooFewReplicas => {
                redis.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await.unwrap();
            }
        }
    }

    async fn end(self, redis: &Redis) {
        match self {
            Self::Full => redis.make_room().await.unwrap(),
            Self::FailedSave => {
                fs::remove_dir_all(dump(redis).await).unwrap();
                saved(redis, "ok").await;
            }
            Self::TooFewReplicas => {
                redis.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await.unwrap();
            }
        }
    }
}

/// The file of snapshots.
async fn dump(redis: &Redis) -> PathBuf {
    let dir = redis.command(&["CONFIG", "GET", "dir"]).await.unwrap();
    PathBuf::from(dir.list()[1].text()).join("dump.rdb")
}

/// Saves in the background, with this outcome.
async fn saved(redis: &Redis, outcome: &str) {
    redis.command(&["BGSAVE"]).await.unwrap();
    let line = format!("rdb_last_bgsave_status:{outcome}");
    let done = async || {
        let info = redis.command(&["INFO", "persistence"]).await.unwrap().text();
        info.lines().any(|told| told.trim_end() == line).then_some(())
    };
    eventually("a background save", PATIENCE, done).await;
}

/// Requires that all the living are listed, everywhere.
async fn all_listed(client: &RedisRegistry) {
    let mut found = 0;
    for service in [user(), of(0), of(1), of(2), of(3)] {
        let listed = client.lookup(&service).await.unwrap();
        found += (0..LIVING).filter(|n| of(*n) == service && listed.get(instance(*n).id()).is_some()).count();
    }
    assert_eq!(found, LIVING);
}

async fn refused(refusal: Refusal) {
    let redis = Redis::start(server().with_args(["--save", "3600 1"])).await.unwrap();
    let serving = living(&redis).await;
    let unseen = Unseen::start(&redis).await;
    let watching = registry(redis.address());
    let records = [Record::start(&watching).await, Record::of(&watching, &of(1)).await];
    let dead = instance(LIVING + 1);
    let options = || RegisterOptions::new().with_ttl(ttl(TTL));
    registry(redis.address()).register(&dead, &options()).await.unwrap();

    refusal.begin(&redis).await;
    let end = Instant::now() + REFUSED;
    let mut seconds = interval(Duration::from_secs(1));
    let looking = registry(redis.address());
    while Instant::now() < end {
        seconds.tick().await;
        let begun = Instant::now();
        let error = looking.register(&instance(LIVING + 2), &options()).await.unwrap_err();
        assert_eq!(error.kind(), refusal.kind(), "{error}");
        assert!(begun.elapsed() < QUICK, "{error} after {:?}", begun.elapsed());
        all_listed(&looking).await;
        let expected = (refusal != Refusal::Full).then_some(ErrorKind::Unavailable);
        assert_eq!(unseen.beat().await, [expected; UNSEEN_LIVING]);
    }
    let counted = format!("errorstat_{}:count=", refusal.code());
    let stats = redis.command(&["INFO", "errorstats"]).await.unwrap().text();
    assert!(stats.contains(&counted), "nothing was refused: {stats}");
    for record in &records {
        record.told(|told| assert!(!told.stale && told.resets == [ResetCause::First], "{:?}", told.resets));
    }

    refusal.end(&redis).await;
    let ended = Instant::now();
    // Before anybody else has written there.
    let newcomer = registry(redis.address());
    assert_eq!(newcomer.lookup(&unseen.service).await.unwrap().len(), UNSEEN_LIVING, "the first lookup");
    assert_eq!(unseen.beat().await, [None; UNSEEN_LIVING]);
    all_listed(&newcomer).await;
    let latest = 2 * ttl(TTL).get() + Duration::from_secs(1);
    let mut gone = None;
    // As long as a lease could outlive the refusal unrenewed.
    while ended.elapsed() < latest {
        seconds.tick().await;
        all_listed(&newcomer).await;
        assert_eq!(unseen.beat().await, [None; UNSEEN_LIVING]);
        if newcomer.lookup(&user()).await.unwrap().get(dead.id()).is_none() {
            gone.get_or_insert(ended.elapsed());
        }
    }
    let gone = gone.expect("who died meanwhile is gone");
    eprintln!("{refusal:?}: who died meanwhile is gone {gone:?} after the end");
    assert!(serving.iter().all(|registrar| registrar.state().is_registered()));
    for record in &records {
        record.told(|told| {
            let living: Vec<_> = told.gone.iter().filter(|(id, _)| id != dead.id().as_str()).collect();
            assert!(living.is_empty(), "{living:?}");
            assert_eq!(told.resets, [ResetCause::First]);
        });
    }
    assert!(info(&redis, "rdb_changes_since_last_save").await > 0, "writes go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_keeps_the_living_and_refuses_the_new() {
    refused(Refusal::Full).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_cannot_save_keeps_the_living_and_refuses_the_new() {
    refused(Refusal::FailedSave).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_with_too_few_replicas_keeps_the_living_and_refuses_the_new() {
    refused(Refusal::TooFewReplicas).await;
}
