//! A real Redis for every test, in one of its deployments; and what an operator does to the keys of a service.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use registry_core::codec::Stored;
use registry_core::{Incarnation, Instance, InstanceId, OwnerToken, Registry, ServiceName};
use registry_redis::{AddressMap, RedisOptions, RedisRegistry};
use registry_testing::conformance::{Backend, Control, Link};
use registry_testing::servers::proxy::Proxy;
use registry_testing::servers::redis::{
    ClusterOptions, Persistence, Redis, RedisCluster, RedisOptions as ServerOptions, RedisSentinel, Reply,
    SentinelOptions, Snapshot,
};
use registry_testing::servers::until;

/// So that nothing fails over but where that is what is wanted.
const PATIENT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Harness {
    servers: Servers,
    prefix: String,
    /// How many replicas writes wait for.
    wait: Option<u32>,
    backup: Mutex<Vec<Snapshot>>,
}

#[derive(Clone, Debug)]
enum Servers {
    One(Arc<Redis>),
    Sentinel(Arc<RedisSentinel>),
    Cluster(Arc<RedisCluster>),
}

/// Groups of servers take seconds to start, so those tests that do nothing to the servers themselves share one of each kind, each under a prefix of its own.
static SHARED: tokio::sync::Mutex<Vec<(Setup, Servers)>> = tokio::sync::Mutex::const_new(Vec::new());

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Deployment {
    #[default]
    Standalone,
    /// A primary and two replicas.
    Sentinel,
    /// Three primaries with a replica each.
    Cluster,
}

/// How the servers of a module are started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) program: Option<PathBuf>,
    pub(crate) persistence: Persistence,
    pub(crate) deployment: Deployment,
    /// Writes wait for all replicas.
    pub(crate) wait: bool,
}

impl Setup {
    fn node(&self, needs: &[Control]) -> ServerOptions {
        let mut options = ServerOptions::default().with_persistence(self.persistence);
        if let Some(program) = &self.program {
            options = options.with_program(program);
        }
        if needs.contains(&Control::PowerCut) { options.with_disk() } else { options }
    }
}

impl Harness {
    pub(crate) async fn prepared_for(setup: Setup, needs: &[Control]) -> Self {
        static TESTS: AtomicUsize = AtomicUsize::new(0);
        let to_servers = [
            Control::Pause,
            Control::Wipe,
            Control::Restart,
            Control::PowerCut,
            Control::LoseMinority,
            Control::Restore,
            Control::Capacity,
        ];
        let shares =
            setup.deployment != Deployment::Standalone && !needs.iter().any(|need| to_servers.contains(need));
        let servers = if shares { Self::shared(&setup).await } else { Self::started(&setup, needs).await };
        // Where one is lost, there is one replica left.
        let wait = setup.wait.then_some(if needs.contains(&Control::LoseMinority) { 1 } else { 2 });
        let prefix = format!("registry-{}", TESTS.fetch_add(1, Ordering::Relaxed));
        Self { servers, prefix, wait, backup: Mutex::default() }
    }

    async fn shared(setup: &Setup) -> Servers {
        let mut shared = SHARED.lock().await;
        if let Some((_, servers)) = shared.iter().find(|(of, _)| of == setup) {
            return servers.clone();
        }
        let servers = Self::started(setup, &[]).await;
        shared.push((setup.clone(), servers.clone()));
        servers
    }

    async fn started(setup: &Setup, needs: &[Control]) -> Servers {
        let node = setup.node(needs);
        let loses = needs.contains(&Control::LoseMinority);
        if setup.deployment == Deployment::Cluster {
            let mut options = ClusterOptions::default().with_node(node);
            if !loses {
                options = options.with_node_timeout(PATIENT);
            }
            Servers::Cluster(Arc::new(RedisCluster::start(options).await.unwrap()))
        } else if setup.deployment == Deployment::Sentinel || loses {
            let mut options = SentinelOptions::default().with_node(node);
            if !loses {
                options = options.with_timing(PATIENT, PATIENT);
            }
            Servers::Sentinel(Arc::new(RedisSentinel::start(options).await.unwrap()))
        } else {
            Servers::One(Arc::new(Redis::start(node).await.unwrap()))
        }
    }

    fn key(&self, service: &ServiceName, part: &str) -> String {
        format!("{}:{{{service}}}:{part}", self.prefix)
    }

    async fn registry(&self, options: RedisOptions) -> Arc<dyn Registry> {
        let options = options.with_prefix(&self.prefix);
        let options = match self.wait {
            Some(replicas) => options.with_wait(replicas, Duration::from_secs(1)),
            None => options,
        };
        let registry = RedisRegistry::new(options).unwrap();
        // What is promised is read from the server, which may just have been started on a busy machine.
        let known = until("the server tells what it is", PATIENT, || async { registry.inspect().await.ok() });
        known.await.unwrap();
        Arc::new(registry)
    }

    fn options(&self) -> RedisOptions {
        match &self.servers {
            Servers::One(redis) => RedisOptions::standalone(redis.address().to_string()),
            Servers::Sentinel(group) => {
                RedisOptions::sentinel(texts(&group.sentinel_addresses()), group.service_name())
            }
            Servers::Cluster(cluster) => RedisOptions::cluster(texts(&cluster.seeds())),
        }
    }

    /// All servers that hold data.
    fn nodes(&self) -> Vec<&Redis> {
        match &self.servers {
            Servers::One(redis) => vec![redis],
            Servers::Sentinel(group) => group.nodes().collect(),
            Servers::Cluster(cluster) => cluster.nodes().collect(),
        }
    }

    /// Everything that listens.
    fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<_> = self.nodes().iter().map(|node| node.address()).collect();
        if let Servers::Sentinel(group) = &self.servers {
            addresses.extend(group.sentinel_addresses());
        }
        addresses
    }

    /// The servers that take writes.
    async fn primaries(&self) -> Vec<&Redis> {
        match &self.servers {
            Servers::One(redis) => vec![redis],
            Servers::Sentinel(group) => vec![group.node(group.primary().await.unwrap())],
            Servers::Cluster(cluster) => {
                cluster.primaries().await.into_iter().map(|node| cluster.node(node)).collect()
            }
        }
    }

    /// The server that takes what is written about a service.
    async fn primary(&self, service: &ServiceName) -> &Redis {
        match &self.servers {
            Servers::Cluster(cluster) => {
                cluster.node(cluster.owner_of(self.key(service, "head")).await.unwrap())
            }
            _ => self.primaries().await[0],
        }
    }

    async fn command(&self, service: &ServiceName, words: &[impl AsRef<[u8]>]) -> Reply {
        self.primary(service).await.command(words).await.unwrap()
    }

    async fn started_again(&self) {
        match &self.servers {
            Servers::One(redis) => redis.restart().await.unwrap(),
            Servers::Sentinel(group) => group.restart_all().await.unwrap(),
            Servers::Cluster(cluster) => cluster.restart_all().await.unwrap(),
        }
    }
}

fn texts(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

#[async_trait]
impl Backend for Harness {
    /// 4,096 are held, and the rest must take the second that a full queue waits.
    fn overflow(&self) -> usize {
        12_288
    }

    async fn client(&self) -> Arc<dyn Registry> {
        self.registry(self.options()).await
    }

    async fn linked_client(&self) -> (Arc<dyn Registry>, Arc<dyn Link>) {
        let addresses = self.addresses();
        let proxies: Vec<_> = addresses.iter().map(|address| Proxy::start(*address).unwrap()).collect();
        let reached: Vec<_> = addresses.into_iter().zip(proxies.iter().map(Proxy::address)).collect();
        let through = move |address: SocketAddr| {
            reached.iter().find(|(direct, _)| *direct == address).map(|(_, proxy)| *proxy)
        };
        let options = match &self.servers {
            Servers::One(redis) => RedisOptions::standalone(through(redis.address()).unwrap().to_string()),
            Servers::Sentinel(group) => {
                let sentinels: Vec<_> =
                    group.sentinel_addresses().into_iter().map(|address| through(address).unwrap()).collect();
                RedisOptions::sentinel(texts(&sentinels), group.service_name())
            }
            Servers::Cluster(cluster) => {
                let seeds: Vec<_> =
                    cluster.seeds().into_iter().map(|address| through(address).unwrap()).collect();
                RedisOptions::cluster(texts(&seeds))
            }
        };
        let map = AddressMap::new(move |host, port| {
            let proxy = through(SocketAddr::new(host.parse().ok()?, port))?;
            Some((proxy.ip().to_string(), proxy.port()))
        });
        (self.registry(options.with_address_map(map)).await, Arc::new(Links(proxies)))
    }

    async fn pause(&self) {
        join_all(self.nodes().into_iter().map(Redis::pause)).await.into_iter().for_each(Result::unwrap);
    }

    async fn resume(&self) {
        join_all(self.nodes().into_iter().map(Redis::resume)).await.into_iter().for_each(Result::unwrap);
    }

    async fn compact(&self) {
        for primary in self.primaries().await {
            for log in primary.command(&["KEYS", &format!("{}:*:log", self.prefix)]).await.unwrap().list() {
                primary.command(&["XTRIM", &log.text(), "MAXLEN", "=", "0"]).await.unwrap();
            }
        }
    }

    async fn wipe(&self) {
        match &self.servers {
            Servers::One(redis) => redis.flush_all().await.unwrap(),
            Servers::Sentinel(group) => group.wipe().await.unwrap(),
            Servers::Cluster(cluster) => cluster.wipe().await.unwrap(),
        }
    }

    async fn restart(&self) {
        self.started_again().await;
    }

    async fn power_cut(&self) {
        join_all(self.nodes().into_iter().map(Redis::power_cut)).await.into_iter().for_each(Result::unwrap);
        self.started_again().await;
    }

    async fn lose_minority(&self) {
        match &self.servers {
            Servers::One(_) => panic!("one server has no minority to lose"),
            Servers::Sentinel(group) => {
                let primary = group.primary().await.unwrap();
                group.lose(primary).await.unwrap();
                group.wait_new_primary(primary).await.unwrap();
            }
            Servers::Cluster(cluster) => {
                let primary = cluster.owner_of("{user.rpc}").await.unwrap();
                cluster.lose(primary).await.unwrap();
                cluster.wait_ok().await.unwrap();
            }
        }
    }

    async fn checkpoint(&self) {
        for primary in self.primaries().await {
            let snapshot = primary.save().await.unwrap();
            self.backup.lock().unwrap().push(snapshot);
        }
    }

    async fn restore(&self) {
        let backup = std::mem::take(&mut *self.backup.lock().unwrap());
        for (primary, backup) in self.primaries().await.into_iter().zip(&backup) {
            primary.restore(backup).await.unwrap();
        }
        match &self.servers {
            Servers::One(_) => {}
            Servers::Sentinel(group) => group.wait_in_sync().await.unwrap(),
            Servers::Cluster(cluster) => {
                cluster.wait_ok().await.unwrap();
                cluster.wait_in_sync().await.unwrap();
            }
        }
    }

    async fn delete(&self, service: &ServiceName, id: &InstanceId) {
        self.command(service, &["HDEL", &self.key(service, "instances"), id.as_str()]).await;
    }

    async fn overwrite(&self, instance: &Instance) {
        let stored = Stored::new(instance.clone(), Incarnation::default(), OwnerToken::random());
        self.put_bytes(instance.service(), instance.id(), &stored.encode()).await;
    }

    async fn put_bytes(&self, service: &ServiceName, id: &InstanceId, bytes: &[u8]) {
        let key = self.key(service, "instances");
        self.command(service, &[b"HSET", key.as_bytes(), id.as_str().as_bytes(), bytes]).await;
    }

    async fn expire(&self, service: &ServiceName, id: &InstanceId) {
        self.command(service, &["ZADD", &self.key(service, "deadlines"), "XX", "0", id.as_str()]).await;
    }

    async fn fill(&self) {
        match &self.servers {
            Servers::One(redis) => redis.fill().await.unwrap(),
            Servers::Sentinel(group) => group.fill().await.unwrap(),
            Servers::Cluster(cluster) => cluster.fill().await.unwrap(),
        }
    }

    async fn unfill(&self) {
        match &self.servers {
            Servers::One(redis) => redis.make_room().await.unwrap(),
            Servers::Sentinel(group) => group.make_room().await.unwrap(),
            Servers::Cluster(cluster) => cluster.make_room().await.unwrap(),
        }
    }
}

/// The ways of one client to all servers.
#[derive(Debug)]
struct Links(Vec<Proxy>);

#[async_trait]
impl Link for Links {
    async fn cut(&self) {
        join_all(self.0.iter().map(Link::cut)).await;
    }

    async fn black_hole(&self) {
        join_all(self.0.iter().map(Link::black_hole)).await;
    }

    async fn heal(&self) {
        join_all(self.0.iter().map(Link::heal)).await;
    }
}
