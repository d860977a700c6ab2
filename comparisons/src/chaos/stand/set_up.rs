//! How servers are started, by what is to be done to them.

use std::net::SocketAddr;
use std::time::Duration;

use registry_testing::servers::etcd::{Etcd, EtcdCluster, EtcdOptions};
use registry_testing::servers::proxy::Proxy;
use registry_testing::servers::redis::{
    ClusterOptions, Persistence, Redis, RedisCluster, RedisOptions, RedisSentinel, SentinelOptions,
};

use super::super::backend::Backend;
use super::site::{Deployment, Site};
use super::{Fault, Programs};
use crate::chaos::fault::Needs;
use crate::experiment::Trouble;

/// Members of etcd.
const MEMBERS: usize = 3;
/// So much etcd may hold where it is to be filled: more than a run writes, and filled in a second.
const QUOTA: u64 = 16 << 20;
/// So large a disk is that is to be filled.
const SMALL: u64 = 32 << 20;
/// `cluster-node-timeout`; Redis's own is 15 s. On a busy machine a second is too short to be taken for dead.
const NODE_TIMEOUT: Duration = Duration::from_secs(2);

/// What faults need to be injected.
struct Wants<'a>(&'a [Fault]);

impl Wants<'_> {
    fn any(&self, of: &[Fault]) -> bool {
        self.0.iter().any(|fault| of.contains(fault))
    }

    /// Proxies between readers and servers.
    fn links(&self) -> bool {
        self.any(&[
            Fault::LinkCut,
            Fault::LinkReset,
            Fault::BlackHole,
            Fault::BlackHoleLong,
            Fault::BlackHoleToServer,
            Fault::BlackHoleToClient,
            Fault::Latency,
            Fault::Throttle,
            Fault::Flaps,
            Fault::Compaction,
        ])
    }

    /// Proxies between servers.
    fn network(&self) -> bool {
        self.any(&[
            Fault::MinorityPartition,
            Fault::MajorityPartition,
            Fault::OneWayPartition,
            Fault::QuorumLoss,
            Fault::SplitBrain,
        ])
    }

    /// A disk for each server.
    fn disk(&self) -> bool {
        self.0.iter().any(|fault| fault.row().needs == Needs::LoopDevice)
    }

    fn redis(&self, programs: &Programs) -> RedisOptions {
        let mut options = programs.redis_options();
        if self.disk() {
            options = options.with_disk();
        }
        if self.any(&[Fault::DiskFull]) {
            options.disk = Some(SMALL);
            options = options.with_persistence(Persistence::EverySecond);
        }
        if self.any(&[Fault::ClockStep]) {
            options = options.with_clock();
        }
        options
    }

    fn etcd(&self, programs: &Programs) -> EtcdOptions {
        let mut options = programs.etcd_options();
        if self.disk() {
            options = options.with_disk();
        }
        if self.any(&[Fault::StoreFull]) {
            options = options.with_quota(QUOTA);
        }
        if self.network() {
            options = options.with_peer_proxies();
        }
        options
    }
}

/// Starts the servers of a backend that has some.
pub(super) async fn start(backend: Backend, faults: &[Fault], programs: &Programs) -> Result<Site, Trouble> {
    let wants = Wants(faults);
    let mut site = Site::new(deployment(backend, &wants, programs).await?, backend == Backend::RedisNaive);
    if wants.links() {
        site.links = proxies(&site.direct_addresses()?)?;
    }
    if wants.any(&[Fault::SplitBrain])
        && let Deployment::Sentinel(group) = &site.deployment
    {
        site.beside = proxies(&group.sentinel_addresses())?;
    }
    Ok(site)
}

async fn deployment(backend: Backend, wants: &Wants<'_>, programs: &Programs) -> Result<Deployment, Trouble> {
    // All are told the addresses of the proxies.
    let node = || {
        let node = wants.redis(programs);
        if wants.links() { node.with_client_proxy() } else { node }
    };
    Ok(match backend {
        Backend::Memory => return Err(Trouble::failed("the registry in memory has no servers")),
        Backend::Etcd => Deployment::Etcd(Box::new(Etcd::start(wants.etcd(programs)).await?)),
        Backend::EtcdCluster => {
            Deployment::EtcdCluster(EtcdCluster::start(MEMBERS, wants.etcd(programs)).await?)
        }
        Backend::Redis | Backend::RedisNaive => {
            Deployment::Redis(Box::new(Redis::start(wants.redis(programs)).await?))
        }
        Backend::RedisSentinel => {
            let mut options = SentinelOptions::default().with_node(node());
            options.replica_proxies = wants.network();
            Deployment::Sentinel(RedisSentinel::start(options).await?)
        }
        Backend::RedisCluster => {
            let mut options = ClusterOptions::default().with_node(node()).with_node_timeout(NODE_TIMEOUT);
            options.peer_proxies = wants.network();
            Deployment::Cluster(RedisCluster::start(options).await?)
        }
    })
}

fn proxies(servers: &[SocketAddr]) -> Result<Vec<Proxy>, Trouble> {
    Ok(servers.iter().map(|server| Proxy::start(*server)).collect::<Result<_, _>>()?)
}
