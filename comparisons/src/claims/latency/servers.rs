//! The servers that are compared.

use std::time::Duration;

use registry_etcd::EtcdRegistry;
use registry_redis::RedisRegistry;
use registry_testing::servers::etcd::{Etcd, EtcdCluster, EtcdOptions};
use registry_testing::servers::proxy::{Faults, Proxy};
use registry_testing::servers::redis::{Persistence, Redis, RedisOptions, Reply};
use registry_testing::servers::{ServerError, until};

use crate::contestants::{Ours, RawEtcd};
use crate::experiment::Trouble;
use crate::lab::Lab;

/// As etcd comes: its own heartbeat and election timeout, and every write synced.
pub(super) fn etcd_as_it_comes(lab: &Lab) -> EtcdOptions {
    let mut options = lab.etcd_options().with_timing(Duration::from_millis(100), Duration::from_secs(1));
    options.no_fsync = false;
    options
}

/// `registry-etcd` and a bare client, both at the member `first` of `endpoints`.
pub(super) async fn on_etcd(endpoints: Vec<String>, first: usize) -> Result<(Ours, RawEtcd), Trouble> {
    let raw = RawEtcd::connect(&endpoints[first]).await?;
    let options = registry_etcd::EtcdOptions::new(endpoints).with_first_member(first);
    Ok((Ours::new(EtcdRegistry::new(options)?), raw))
}

/// At a node that is alone.
pub(super) async fn on_one(etcd: &Etcd) -> Result<(Ours, RawEtcd), Trouble> {
    on_etcd(vec![etcd.endpoint()], 0).await
}

/// At the leader, which is what is fastest.
pub(super) async fn on_leader(cluster: &EtcdCluster) -> Result<(Ours, RawEtcd), Trouble> {
    on_etcd(cluster.endpoints(), cluster.leader().await?).await
}

/// `registry-redis` at one server.
pub(super) fn on_redis(redis: &Redis) -> Result<Ours, Trouble> {
    let options = registry_redis::RedisOptions::standalone(redis.address().to_string());
    Ok(Ours::new(RedisRegistry::new(options)?))
}

/// The same, waiting for one replica.
pub(super) fn on_replicated(pair: &Replicated) -> Result<Ours, Trouble> {
    let options = registry_redis::RedisOptions::standalone(pair.primary.address().to_string());
    Ok(Ours::new(RedisRegistry::new(options.with_wait(1, Duration::from_secs(1)))?))
}

/// A primary and its replica, each with an append-only file that is synced before each answer.
#[derive(Debug)]
pub(super) struct Replicated {
    pub(super) primary: Redis,
    link: Proxy,
    _replica: Redis,
}

const IN_SYNC: Duration = Duration::from_secs(20);

impl Replicated {
    /// Starts both, in sync.
    pub(super) async fn start(options: RedisOptions) -> Result<Self, ServerError> {
        let options = options.with_persistence(Persistence::EveryWrite);
        let options = options.with_args(["--repl-diskless-sync-delay", "0"]);
        let primary = Redis::start(options.clone()).await?;
        let link = Proxy::start(primary.address())?;
        let (host, port) = (link.address().ip().to_string(), link.address().port().to_string());
        let replica = Redis::start(options.with_args(["--replicaof", &host, &port])).await?;
        let in_sync = || async {
            let reached = primary.command(&["WAIT", "1", "100"]).await.ok()?;
            (reached == Reply::Number(1)).then_some(())
        };
        until("the replica is in sync", IN_SYNC, in_sync).await?;
        Ok(Self { primary, link, _replica: replica })
    }

    /// Puts so much time on the way between them, each way.
    pub(super) async fn delay(&self, each_way: Duration) {
        self.link.set(Faults::default().with_latency(each_way)).await;
    }
}
