//! The servers of a stand, and what is alike in all of them.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::try_join_all;
use registry_testing::servers::etcd::{Etcd, EtcdCluster};
use registry_testing::servers::process::Process;
use registry_testing::servers::proxy::Proxy;
use registry_testing::servers::redis::{Redis, RedisCluster, RedisSentinel, Reply};
use registry_testing::servers::{ServerError, until};
use tokio::time::timeout;

use super::{Place, Role};
use crate::claims::clustering::sentinels_know_all;
use crate::experiment::Trouble;

/// How long servers may take to be well again, and whatever else is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// A server that does not answer within this is taken for silent.
const ANSWERS: Duration = Duration::from_millis(500);
/// Among so many slots, evenly spread, a primary has one.
const SPREAD: usize = 500;

/// The servers.
#[derive(Debug)]
pub(super) enum Deployment {
    Etcd(Box<Etcd>),
    EtcdCluster(EtcdCluster),
    Redis(Box<Redis>),
    /// A primary, two replicas, three Sentinels.
    Sentinel(RedisSentinel),
    /// Three primaries with a replica each.
    Cluster(RedisCluster),
}

/// The servers, and what stands in front of them.
#[derive(Debug)]
pub(super) struct Site {
    // Before the proxies, so that they are gone before those are.
    pub(super) deployment: Deployment,
    /// In front of each server, for readers alone; none where all clients are told the same addresses.
    pub(super) links: Vec<Proxy>,
    /// In front of each Sentinel, for writers alone.
    pub(super) beside: Vec<Proxy>,
    naive: bool,
}

/// One server.
#[derive(Clone, Copy, Debug)]
pub(super) enum Server<'a> {
    Etcd(&'a Etcd),
    Redis(&'a Redis),
}

impl<'a> Server<'a> {
    pub(super) fn process(self) -> &'a Process {
        match self {
            Self::Etcd(etcd) => etcd.process(),
            Self::Redis(redis) => redis.process(),
        }
    }

    /// Whether it answers for itself, past every proxy; of etcd, without a quorum.
    pub(super) async fn answers(self) -> bool {
        let answer = async {
            match self {
                Self::Etcd(etcd) => etcd.status().await.is_ok(),
                Self::Redis(redis) => redis.command(&["PING"]).await.is_ok(),
            }
        };
        timeout(ANSWERS, answer).await.unwrap_or(false)
    }

    /// Starts it again with its data.
    pub(super) async fn restart(self) -> Result<(), ServerError> {
        match self {
            Self::Etcd(etcd) => etcd.restart().await,
            Self::Redis(redis) => redis.restart().await,
        }
    }
}

impl Site {
    pub(super) fn new(deployment: Deployment, naive: bool) -> Self {
        Self { deployment, links: Vec::new(), beside: Vec::new(), naive }
    }

    pub(super) fn is_naive(&self) -> bool {
        self.naive
    }

    /// Where each server is for clients that are told nothing by servers; nowhere, of others.
    pub(super) fn direct_addresses(&self) -> Result<Vec<SocketAddr>, Trouble> {
        match &self.deployment {
            Deployment::Etcd(etcd) => Ok(vec![etcd.client_address()]),
            Deployment::EtcdCluster(cluster) => {
                Ok(cluster.members().iter().map(Etcd::client_address).collect())
            }
            Deployment::Redis(redis) => Ok(vec![redis.address()]),
            Deployment::Sentinel(_) | Deployment::Cluster(_) => Ok(Vec::new()),
        }
    }

    pub(super) fn place(&self, role: Role) -> Place {
        let direct = |addresses: Vec<SocketAddr>| match role {
            Role::Reader if !self.links.is_empty() => self.links.iter().map(Proxy::address).collect(),
            _ => addresses,
        };
        let url = |scheme: &str, addresses: Vec<SocketAddr>, path: &str| {
            let hosts = addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",");
            format!("{scheme}://{hosts}{path}")
        };
        let (scheme, addresses, path) = match &self.deployment {
            Deployment::Etcd(etcd) => ("etcd", direct(vec![etcd.client_address()]), String::new()),
            Deployment::EtcdCluster(cluster) => {
                let members = cluster.members().iter().map(Etcd::client_address);
                ("etcd", direct(members.collect()), String::new())
            }
            Deployment::Redis(redis) => ("redis", direct(vec![redis.address()]), String::new()),
            Deployment::Sentinel(group) => {
                let beside = role == Role::Writer && !self.beside.is_empty();
                let beside = beside.then(|| self.beside.iter().map(Proxy::address).collect());
                let sentinels = beside.unwrap_or_else(|| group.sentinel_addresses());
                ("redis+sentinel", sentinels, format!("/{}", group.service_name()))
            }
            Deployment::Cluster(cluster) => ("redis+cluster", cluster.seeds(), String::new()),
        };
        let url = url(scheme, addresses, &path);
        match &self.deployment {
            _ if self.naive => Place::NaiveUrl(url),
            Deployment::Sentinel(group) => Place::Group { url, servers: group.direct_addresses() },
            Deployment::Cluster(cluster) => Place::Group { url, servers: cluster.direct_addresses() },
            _ => Place::Url(url),
        }
    }

    /// What faults of links work on.
    pub(super) fn links(&self) -> Vec<&Proxy> {
        match &self.deployment {
            Deployment::Sentinel(group) => {
                group.client_proxies().iter().chain(group.sentinel_proxies()).collect()
            }
            Deployment::Cluster(cluster) => cluster.client_proxies().iter().collect(),
            _ => self.links.iter().collect(),
        }
    }

    /// How many servers have data.
    pub(super) fn size(&self) -> usize {
        match &self.deployment {
            Deployment::Etcd(_) | Deployment::Redis(_) => 1,
            Deployment::EtcdCluster(cluster) => cluster.members().len(),
            Deployment::Sentinel(group) => group.nodes().len(),
            Deployment::Cluster(cluster) => cluster.nodes().len(),
        }
    }

    /// One that has data.
    pub(super) fn server(&self, index: usize) -> Server<'_> {
        match &self.deployment {
            Deployment::Etcd(etcd) => Server::Etcd(etcd),
            Deployment::EtcdCluster(cluster) => Server::Etcd(cluster.member(index)),
            Deployment::Redis(redis) => Server::Redis(redis),
            Deployment::Sentinel(group) => Server::Redis(group.node(index)),
            Deployment::Cluster(cluster) => Server::Redis(cluster.node(index)),
        }
    }

    /// All that have data.
    pub(super) fn servers(&self) -> impl Iterator<Item = Server<'_>> {
        (0..self.size()).map(|index| self.server(index))
    }

    /// As it is called in proofs.
    pub(super) fn name(&self, index: usize) -> String {
        match &self.deployment {
            Deployment::Etcd(_) => "etcd".to_owned(),
            Deployment::Redis(_) => "redis".to_owned(),
            Deployment::EtcdCluster(_) => format!("etcd-{index}"),
            Deployment::Sentinel(_) | Deployment::Cluster(_) => format!("redis-{index}"),
        }
    }

    /// The one that leads; of a cluster of Redis, the primary with the most keys.
    pub(super) async fn leader(&self) -> Result<usize, Trouble> {
        match &self.deployment {
            Deployment::Etcd(_) | Deployment::Redis(_) => Ok(0),
            Deployment::EtcdCluster(cluster) => Ok(cluster.leader().await?),
            Deployment::Sentinel(group) => Ok(group.primary().await?),
            Deployment::Cluster(cluster) => {
                let mut most = None;
                for node in cluster.primaries().await {
                    let keys = match cluster.command(node, &["DBSIZE"]).await? {
                        Reply::Number(keys) => keys,
                        _ => 0,
                    };
                    most = most.max(Some((keys, std::cmp::Reverse(node))));
                }
                let leader = most.map(|(_, std::cmp::Reverse(node))| node);
                leader.ok_or_else(|| Trouble::failed("no node says that it is a primary"))
            }
        }
    }

    /// One that does not lead, by chance; the only one, where there is no other.
    pub(super) async fn follower(&self, random: &mut fastrand::Rng) -> Result<usize, Trouble> {
        if self.size() == 1 {
            return Ok(0);
        }
        let leader = self.leader().await?;
        let other = random.usize(0..self.size() - 1);
        Ok(if other < leader { other } else { other + 1 })
    }

    /// What `leader` leads: of a cluster of Redis a slot of its own.
    pub(super) async fn led_by(&self, leader: usize) -> Result<Led, Trouble> {
        let slot = match &self.deployment {
            Deployment::Cluster(cluster) => {
                let mut found = None;
                for slot in (0..16_384_u16).step_by(SPREAD) {
                    if cluster.owner_of_slot(slot).await? == leader {
                        found = Some(slot);
                        break;
                    }
                }
                found
            }
            _ => None,
        };
        Ok(Led { leader, slot })
    }

    /// Waits until another one leads.
    pub(super) async fn next_leader(&self, led: Led) -> Result<usize, Trouble> {
        match &self.deployment {
            Deployment::Etcd(_) | Deployment::Redis(_) => Err(Trouble::failed("there is no other server")),
            Deployment::EtcdCluster(cluster) => Ok(cluster.wait_new_leader(led.leader).await?),
            Deployment::Sentinel(group) => Ok(group.wait_new_primary(led.leader).await?),
            Deployment::Cluster(cluster) => {
                let slot = led.slot.unwrap_or_default();
                let other =
                    || async { cluster.owner_of_slot(slot).await.ok().filter(|owner| *owner != led.leader) };
                Ok(until("a replica has taken over", PATIENCE, other).await?)
            }
        }
    }

    /// Waits until all are well, follow one leader, and know it of each other.
    pub(super) async fn settle(&self) -> Result<(), Trouble> {
        match &self.deployment {
            Deployment::Etcd(etcd) => etcd.wait_serving(PATIENCE).await?,
            Deployment::EtcdCluster(cluster) => {
                for member in cluster.members() {
                    member.wait_serving(PATIENCE).await?;
                }
                cluster.leader().await?;
            }
            Deployment::Redis(redis) => {
                let answers = || async { Server::Redis(redis).answers().await.then_some(()) };
                until("redis answers", PATIENCE, answers).await?;
            }
            Deployment::Sentinel(group) => {
                group.wait_in_sync().await?;
                let known = || async { sentinels_know_all(group).await.then_some(()) };
                until("the sentinels take all servers for well", PATIENCE, known).await?;
            }
            Deployment::Cluster(cluster) => {
                cluster.wait_ok().await?;
                cluster.wait_in_sync().await?;
            }
        }
        Ok(())
    }

    /// Starts all again with what they have kept.
    pub(super) async fn restart_all(&self) -> Result<(), Trouble> {
        match &self.deployment {
            Deployment::Etcd(etcd) => etcd.restart().await?,
            Deployment::EtcdCluster(cluster) => cluster.restart().await?,
            Deployment::Redis(redis) => redis.restart().await?,
            Deployment::Sentinel(group) => group.restart_all().await?,
            Deployment::Cluster(cluster) => cluster.restart_all().await?,
        }
        Ok(())
    }

    /// Starts some again at the same time, since none of them serves before there is a majority.
    pub(super) async fn restart_some(&self, servers: &[usize]) -> Result<(), Trouble> {
        try_join_all(servers.iter().map(|index| self.server(*index).restart())).await?;
        Ok(())
    }

    /// A key of nobody's, past every proxy.
    pub(super) async fn put(&self, key: &str, value: &str) -> Result<(), ServerError> {
        match &self.deployment {
            Deployment::Etcd(etcd) => etcd.put(key, value).await.map(drop),
            Deployment::EtcdCluster(cluster) => {
                cluster.member(cluster.leader().await?).put(key, value).await.map(drop)
            }
            _ => self.redis_command(key, &["SET", key, value]).await.map(drop),
        }
    }

    /// What it holds.
    pub(super) async fn get(&self, key: &str) -> Result<Option<String>, ServerError> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        match &self.deployment {
            Deployment::Etcd(etcd) => Ok(etcd.get(key).await?.map(text)),
            Deployment::EtcdCluster(cluster) => {
                Ok(cluster.member(cluster.leader().await?).get(key).await?.map(text))
            }
            _ => {
                let value = self.redis_command(key, &["GET", key]).await?;
                Ok((value != Reply::Nil).then(|| value.text()))
            }
        }
    }

    /// A command about a key, to whichever Redis has it.
    pub(super) async fn redis_command(
        &self,
        key: &str,
        words: &[impl AsRef<[u8]>],
    ) -> Result<Reply, ServerError> {
        match &self.deployment {
            Deployment::Redis(redis) => redis.command(words).await,
            Deployment::Sentinel(group) => group.command(group.primary().await?, words).await,
            Deployment::Cluster(cluster) => cluster.command(cluster.owner_of(key).await?, words).await,
            Deployment::Etcd(_) | Deployment::EtcdCluster(_) => Err(no_redis()),
        }
    }

    /// All keys of all primaries that match.
    pub(super) async fn redis_keys(&self, pattern: &str) -> Result<Vec<String>, ServerError> {
        let words = ["KEYS", pattern];
        let found = match &self.deployment {
            Deployment::Redis(redis) => vec![redis.command(&words).await?],
            Deployment::Sentinel(group) => vec![group.command(group.primary().await?, &words).await?],
            Deployment::Cluster(cluster) => {
                let mut found = Vec::new();
                for node in cluster.primaries().await {
                    found.push(cluster.command(node, &words).await?);
                }
                found
            }
            Deployment::Etcd(_) | Deployment::EtcdCluster(_) => return Err(no_redis()),
        };
        let mut keys: Vec<_> =
            found.iter().flat_map(|reply| reply.list().iter().map(|key| key.text())).collect();
        keys.sort();
        Ok(keys)
    }
}

/// Who leads, and what by that it is known who leads next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Led {
    pub(super) leader: usize,
    slot: Option<u16>,
}

fn no_redis() -> ServerError {
    ServerError::Refused { request: "a command of Redis".to_owned(), answer: "these are no Redis".to_owned() }
}
