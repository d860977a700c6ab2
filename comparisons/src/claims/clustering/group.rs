//! Servers that fail over, under one control, and their clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use registry_etcd::EtcdRegistry;
use registry_redis::RedisRegistry;
use registry_testing::servers::etcd::EtcdCluster;
use registry_testing::servers::redis::{ClusterOptions, RedisCluster, RedisSentinel, SentinelOptions};
use registry_testing::servers::{ServerError, until};

use super::writer::{EVERY, EVERY_WAITING, TTL};
use crate::contestants::{Contestant, Listed, NaiveHash, Ours, Place};
use crate::experiment::Trouble;
use crate::lab::Lab;

/// How long a group may take to be well again, and whatever else is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// `cluster-node-timeout`; Redis's own is 15 s.
pub(super) const NODE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a primary must be silent for Sentinel to take it for dead; its own default is 30 s.
pub(super) const DOWN_AFTER: Duration = Duration::from_secs(1);
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the leader of etcd must be silent until an election, about, and how often it is not; its own defaults are 1 s and 100 ms.
pub(super) const ELECTION: Duration = Duration::from_millis(500);
const HEARTBEAT: Duration = Duration::from_millis(50);
/// How long a client waits for replicas.
pub(super) const WAIT: Duration = Duration::from_millis(500);

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// A backend of this project, as it comes.
    Ours,
    /// The same, with `WAIT` for one replica.
    OursWaiting,
    /// The hash that people write.
    Naive,
}

impl Client {
    /// How often it registers an instance.
    pub(super) fn every(self) -> Duration {
        if self == Self::OursWaiting { EVERY_WAITING } else { EVERY }
    }
}

/// How the server that leads is struck down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strike {
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Pause,
}

/// Servers that fail over.
#[derive(Debug)]
pub(super) enum Group {
    /// Three members.
    Etcd(EtcdCluster),
    /// A primary, two replicas, three sentinels.
    Sentinel(RedisSentinel),
    /// Three primaries with one replica each.
    Cluster(RedisCluster),
}

impl Group {
    pub(super) async fn etcd(lab: &Lab) -> Result<Self, Trouble> {
        let options = lab.etcd_options().with_peer_proxies().with_timing(HEARTBEAT, ELECTION);
        Ok(Self::Etcd(EtcdCluster::start(3, options).await?))
    }

    pub(super) async fn sentinel(lab: &Lab) -> Result<Self, Trouble> {
        let options = sentinels().with_node(lab.redis_options());
        Ok(Self::Sentinel(RedisSentinel::start(options).await?))
    }

    /// Whose primary refuses writes once no replica has answered for 2 s, the least that Redis can be told.
    pub(super) async fn cautious_sentinel(lab: &Lab) -> Result<Self, Trouble> {
        let node = lab.redis_options().with_args(["--min-replicas-max-lag", "2"]);
        let options = sentinels().with_node(node);
        Ok(Self::Sentinel(RedisSentinel::start(options.with_min_replicas_to_write(1)).await?))
    }

    pub(super) async fn cluster(lab: &Lab) -> Result<Self, Trouble> {
        let options = ClusterOptions::default().with_node(lab.redis_options()).with_peer_proxies();
        Ok(Self::Cluster(RedisCluster::start(options.with_node_timeout(NODE_TIMEOUT)).await?))
    }

    /// A client of its own connections, that finds who leads as it would in production.
    pub(super) fn client(&self, client: Client) -> Result<Arc<dyn Contestant>, Trouble> {
        match self {
            Self::Etcd(cluster) => etcd_client(cluster.endpoints()),
            Self::Sentinel(group) => {
                sentinel_client(client, group.sentinel_addresses(), group.service_name())
            }
            Self::Cluster(cluster) => {
                let seeds = cluster.seeds();
                if client == Client::Naive {
                    return Ok(Arc::new(NaiveHash::new(Place::Cluster(seeds))));
                }
                let seeds = seeds.into_iter().map(|seed| seed.to_string());
                ours_redis(client, registry_redis::RedisOptions::cluster(seeds))
            }
        }
    }

    /// The server that leads, of a cluster the one that has the service.
    pub(super) async fn leader(&self, service: &str) -> Result<usize, ServerError> {
        match self {
            Self::Etcd(cluster) => cluster.leader().await,
            Self::Sentinel(group) => group.primary().await,
            Self::Cluster(cluster) => cluster.owner_of(format!("{{{service}}}")).await,
        }
    }

    /// Waits until another one leads.
    pub(super) async fn next_leader(&self, service: &str, old: usize) -> Result<usize, ServerError> {
        match self {
            Self::Etcd(cluster) => cluster.wait_new_leader(old).await,
            Self::Sentinel(group) => group.wait_new_primary(old).await,
            Self::Cluster(_) => {
                let other = || async { self.leader(service).await.ok().filter(|leader| *leader != old) };
                until("a replica has taken over", PATIENCE, other).await
            }
        }
    }

    /// Cuts the leader off from those that replicate from it. Clients and, where there are some, sentinels and other primaries still reach all.
    pub(super) async fn cut(&self, leader: usize) -> Result<bool, ServerError> {
        Ok(match self {
            Self::Etcd(cluster) => cluster.isolate(leader),
            Self::Sentinel(group) => group.partition_replicas(),
            Self::Cluster(cluster) => {
                let replica = cluster.replica_of(leader).await?;
                cluster.block(leader, replica) && cluster.block(replica, leader)
            }
        })
    }

    /// Cuts a server off from all others; clients still reach it.
    pub(super) fn isolate(&self, server: usize) -> bool {
        match self {
            Self::Etcd(cluster) => cluster.isolate(server),
            Self::Sentinel(group) => group.isolate(server),
            Self::Cluster(cluster) => cluster.isolate(server),
        }
    }

    /// Lets all reach each other again.
    pub(super) fn heal(&self) {
        match self {
            Self::Etcd(cluster) => cluster.heal(),
            Self::Sentinel(group) => group.heal(),
            Self::Cluster(cluster) => cluster.heal(),
        }
    }

    /// Bytes between servers that were lost so far.
    pub(super) fn swallowed(&self) -> u64 {
        match self {
            Self::Etcd(cluster) => cluster.swallowed(),
            Self::Sentinel(group) => group.swallowed(),
            Self::Cluster(cluster) => cluster.swallowed(),
        }
    }

    pub(super) async fn strike(&self, server: usize, strike: Strike) -> Result<(), ServerError> {
        match (self, strike) {
            (Self::Etcd(cluster), Strike::Kill) => cluster.member(server).kill().await,
            (Self::Etcd(cluster), Strike::Pause) => cluster.member(server).pause().await,
            (Self::Sentinel(group), Strike::Kill) => group.kill(server).await,
            (Self::Sentinel(group), Strike::Pause) => group.pause(server).await,
            (Self::Cluster(cluster), Strike::Kill) => cluster.kill(server).await,
            (Self::Cluster(cluster), Strike::Pause) => cluster.pause(server).await,
        }
    }

    /// Undoes a strike.
    pub(super) async fn revive(&self, server: usize, strike: Strike) -> Result<(), ServerError> {
        match (self, strike) {
            (Self::Etcd(cluster), Strike::Kill) => cluster.member(server).restart().await,
            (Self::Etcd(cluster), Strike::Pause) => cluster.member(server).resume().await,
            (Self::Sentinel(group), Strike::Kill) => group.restart(server).await,
            (Self::Sentinel(group), Strike::Pause) => group.resume(server).await,
            (Self::Cluster(cluster), Strike::Kill) => cluster.restart(server).await,
            (Self::Cluster(cluster), Strike::Pause) => cluster.resume(server).await,
        }
    }

    /// Whether its process runs; a paused one does.
    pub(super) fn runs(&self, server: usize) -> bool {
        match self {
            Self::Etcd(cluster) => cluster.member(server).process().is_running(),
            Self::Sentinel(group) => group.node(server).process().is_running(),
            Self::Cluster(cluster) => cluster.node(server).process().is_running(),
        }
    }

    /// Waits until all are well, follow one leader, and know it of each other, so that the next fault meets what the last one met.
    pub(super) async fn settle(&self) -> Result<(), ServerError> {
        match self {
            Self::Etcd(cluster) => {
                for member in cluster.members() {
                    member.wait_serving(PATIENCE).await?;
                }
                cluster.leader().await.map(drop)
            }
            Self::Sentinel(group) => {
                group.wait_in_sync().await?;
                let known = || async { sentinels_know_all(group).await.then_some(()) };
                until("the sentinels take all servers for well", PATIENCE, known).await
            }
            Self::Cluster(cluster) => {
                cluster.wait_ok().await?;
                cluster.wait_in_sync().await
            }
        }
    }

    /// Removes what was written, where that is cheap.
    pub(super) async fn clear(&self) -> Result<(), ServerError> {
        match self {
            Self::Etcd(_) => Ok(()),
            Self::Sentinel(group) => group.wipe().await,
            Self::Cluster(cluster) => cluster.wipe().await,
        }
    }
}

fn sentinels() -> SentinelOptions {
    SentinelOptions::default().with_timing(DOWN_AFTER, FAILOVER_TIMEOUT).with_replica_proxies()
}

/// A client of these members of an etcd cluster.
pub(super) fn etcd_client(endpoints: Vec<String>) -> Result<Arc<dyn Contestant>, Trouble> {
    Ok(Arc::new(Ours::new(EtcdRegistry::new(registry_etcd::EtcdOptions::new(endpoints))?)))
}

/// A client that asks these sentinels.
pub(super) fn sentinel_client(
    client: Client,
    sentinels: Vec<SocketAddr>,
    name: &str,
) -> Result<Arc<dyn Contestant>, Trouble> {
    if client == Client::Naive {
        return Ok(Arc::new(NaiveHash::new(Place::Sentinel { sentinels, name: name.to_owned() })));
    }
    let sentinels = sentinels.into_iter().map(|sentinel| sentinel.to_string());
    ours_redis(client, registry_redis::RedisOptions::sentinel(sentinels, name))
}

/// `registry-redis`, with or without `WAIT`.
pub(super) fn ours_redis(
    client: Client,
    options: registry_redis::RedisOptions,
) -> Result<Arc<dyn Contestant>, Trouble> {
    let options = if client == Client::OursWaiting { options.with_wait(1, WAIT) } else { options };
    Ok(Arc::new(Ours::new(RedisRegistry::new(options)?)))
}

/// A sentinel promotes only a replica that it takes for well.
pub(crate) async fn sentinels_know_all(group: &RedisSentinel) -> bool {
    let service = group.service_name();
    let well = (0..group.sentinel_addresses().len()).map(|sentinel| async move {
        let primary = group.ask_sentinel(sentinel, &["SENTINEL", "MASTER", service]).await.ok()?;
        let replicas = group.ask_sentinel(sentinel, &["SENTINEL", "REPLICAS", service]).await.ok()?;
        let says = |reply: &registry_testing::servers::redis::Reply, name: &str, value: &str| {
            reply.list().chunks_exact(2).any(|pair| pair[0].text() == name && pair[1].text() == value)
        };
        let fit = |replica| says(replica, "flags", "slave") && says(replica, "master-link-status", "ok");
        let all = replicas.list().len() + 1 == group.nodes().len();
        (says(&primary, "flags", "master") && all && replicas.list().iter().all(fit)).then_some(())
    });
    join_all(well).await.into_iter().all(|well| well.is_some())
}

/// What is there, asked by a client that had no part in what happened, after it has registered `marker`, by which it is known that a watcher has been
/// told all that came before.
pub(super) async fn truth(
    client: &dyn Contestant,
    service: &str,
    marker: &str,
) -> Result<Listed, ServerError> {
    let registered = || async { client.register(service, marker, 0, TTL).await.ok() };
    until("a registration after the fault", PATIENCE, registered).await?;
    until("a list after the fault", PATIENCE, || async { client.list(service).await.ok() }).await
}
