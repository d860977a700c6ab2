//! A registry that clients and servers share, and that can be out of reach.

use std::sync::Arc;
use std::time::Duration;

use registry_testing::servers::etcd::{Etcd, EtcdOptions};
use registry_testing::servers::proxy::{Faults, Proxy};
use registry_testing::servers::redis::{Redis, RedisOptions, Reply};
use service_registry::memory::MemoryRegistry;
use service_registry::tonic::{Channel, ServerBuilder};
use service_registry::{Directory, Registry, connect};
use tokio::sync::RwLock;

use super::support::{Process, SERVICE, service, within};

/// Tests run side by side. What measures time, or calls all the while, reads this; what needs much of the machine, or must have its peace, writes it.
pub(crate) static MACHINE: RwLock<()> = RwLock::const_new(());

/// Where clients and servers meet.
pub(crate) enum Stage {
    Memory(MemoryRegistry),
    Etcd { server: Box<Etcd>, proxy: Proxy, layout: &'static str },
    Redis { server: Box<Redis>, proxy: Proxy },
}

impl Stage {
    pub(crate) fn memory() -> Self {
        Self::Memory(MemoryRegistry::new())
    }

    pub(crate) async fn etcd() -> Self {
        let server = Etcd::start(EtcdOptions::default()).await.unwrap();
        let address = server.endpoint().trim_start_matches("http://").parse().unwrap();
        Self::Etcd { server: Box::new(server), proxy: Proxy::start(address).unwrap(), layout: "json" }
    }

    /// The same in go-zero's layout.
    pub(crate) async fn go_zero() -> Self {
        match Self::etcd().await {
            Self::Etcd { server, proxy, .. } => Self::Etcd { server, proxy, layout: "go-zero" },
            other => other,
        }
    }

    pub(crate) async fn redis() -> Self {
        let server = Redis::start(RedisOptions::default()).await.unwrap();
        let proxy = Proxy::start(server.address()).unwrap();
        Self::Redis { server: Box::new(server), proxy }
    }

    /// What another process connects to. In memory that is a registry of its own.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Memory(_) => "memory://".to_owned(),
            Self::Etcd { proxy, layout, .. } => format!("etcd://{}?layout={layout}", proxy.address()),
            Self::Redis { proxy, .. } => format!("redis://{}", proxy.address()),
        }
    }

    /// A client of its own, as another process has.
    pub(crate) async fn registry(&self) -> Arc<dyn Registry> {
        match self {
            Self::Memory(registry) => Arc::new(registry.clone()),
            Self::Etcd { .. } | Self::Redis { .. } => connect(&self.url()).await.unwrap(),
        }
    }

    fn proxy(&self) -> Option<&Proxy> {
        match self {
            Self::Memory(_) => None,
            Self::Etcd { proxy, .. } | Self::Redis { proxy, .. } => Some(proxy),
        }
    }

    /// Nobody reaches the registry until [`back`](Self::back).
    pub(crate) async fn away(&self) {
        match self {
            Self::Memory(registry) => registry.controls().outage(),
            Self::Etcd { proxy, .. } | Self::Redis { proxy, .. } => {
                proxy.set(Faults::refusing()).await;
                proxy.cut().await;
            }
        }
    }

    pub(crate) async fn back(&self) {
        match self {
            Self::Memory(registry) => registry.controls().heal(),
            Self::Etcd { proxy, .. } | Self::Redis { proxy, .. } => proxy.heal().await,
        }
    }

    /// How many connections to it are open; in memory there are none.
    pub(crate) fn connections(&self) -> usize {
        self.proxy().map_or(0, |proxy| proxy.counters().open)
    }

    /// How many watch the service, as the store itself counts them: feeds in memory and in etcd, connections that listen in Redis.
    pub(crate) async fn watches(&self) -> usize {
        match self {
            Self::Memory(registry) => registry.controls().watchers(),
            Self::Etcd { server, .. } => {
                server.metric("etcd_debugging_mvcc_watcher_total").await.unwrap() as usize
            }
            Self::Redis { server, .. } => {
                let log = format!("registry:{{{SERVICE}}}:log");
                let counted = server.command(&["PUBSUB", "SHARDNUMSUB", &log]).await.unwrap();
                let Reply::Number(listening) = counted.list()[1] else { panic!("{counted:?}") };
                listening.try_into().unwrap()
            }
        }
    }

    /// A channel with a directory of its own.
    pub(crate) async fn channel(&self) -> Channel {
        Channel::new(&Directory::new(self.registry().await), &service())
    }

    /// A server, once it is registered.
    pub(crate) async fn server(&self, name: &'static str) -> Process {
        let server = self.server_with(name, |builder| builder).await;
        within("registered", server.handle.wait_until(|state| state.is_registered())).await;
        server
    }

    pub(crate) async fn server_with(
        &self,
        name: &'static str,
        change: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Process {
        let change = |builder: ServerBuilder| change(builder.drain_grace(Duration::from_secs(1)));
        Process::start_on(self.registry().await, name, change).await
    }
}

/// Runs a test over each kind of registry, as a test of its own.
macro_rules! over_each {
    ($($(#[$attribute:meta])* $name:ident => $play:ident;)*) => {$(
        mod $name {
            use crate::stage::Stage;

            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_memory() {
                super::$play(Stage::memory()).await;
            }

            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_etcd() {
                super::$play(Stage::etcd().await).await;
            }

            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_redis() {
                super::$play(Stage::redis().await).await;
            }
        }
    )*};
}

pub(crate) use over_each;
