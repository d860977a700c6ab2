//! A registry that processes share, that can be out of reach, and that can lose everything.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use registry_core::{
    Directory, DirectoryOptions, GuardOptions, Instance, InstanceId, Registrar, RegistrarOptions, Registry,
    ServiceName, Ttl, View,
};
use registry_testing::servers::etcd::{Etcd, EtcdOptions};
use registry_testing::servers::proxy::{Faults, Proxy};
use registry_testing::servers::redis::{Redis, RedisOptions};
use service_registry::connect;
use service_registry::memory::MemoryRegistry;
use tokio::time::timeout;

/// How long a condition may take, where no promise says less.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) enum Stage {
    Memory(MemoryRegistry),
    Etcd { server: Box<Etcd>, proxy: Proxy, query: &'static str },
    Redis { server: Box<Redis>, proxy: Proxy },
}

impl Stage {
    pub(crate) fn memory() -> Self {
        Self::Memory(MemoryRegistry::new())
    }

    pub(crate) async fn etcd() -> Self {
        Self::etcd_with("").await
    }

    /// An etcd in go-zero's layout.
    pub(crate) async fn go_zero() -> Self {
        Self::etcd_with("?layout=go-zero").await
    }

    async fn etcd_with(query: &'static str) -> Self {
        let server = Etcd::start(EtcdOptions::default()).await.unwrap();
        let proxy = Proxy::start(server.client_address()).unwrap();
        Self::Etcd { server: Box::new(server), proxy, query }
    }

    pub(crate) async fn redis() -> Self {
        let server = Redis::start(RedisOptions::default()).await.unwrap();
        let proxy = Proxy::start(server.address()).unwrap();
        Self::Redis { server: Box::new(server), proxy }
    }

    /// A client of its own, as another process has. All are out of reach together.
    pub(crate) async fn registry(&self) -> Arc<dyn Registry> {
        match self {
            Self::Memory(registry) => Arc::new(registry.clone()),
            Self::Etcd { proxy, query, .. } => {
                connect(&format!("etcd://{}{query}", proxy.address())).await.unwrap()
            }
            Self::Redis { proxy, .. } => connect(&format!("redis://{}", proxy.address())).await.unwrap(),
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

    /// The store loses all that it has.
    pub(crate) async fn wipe(&self) {
        match self {
            Self::Memory(registry) => registry.controls().wipe(),
            Self::Etcd { server, .. } => server.wipe().await.unwrap(),
            Self::Redis { server, .. } => server.flush_all().await.unwrap(),
        }
    }

    /// A view of a process that guards.
    pub(crate) async fn guarded(&self, ttl: Ttl) -> View {
        let guard = GuardOptions::new().with_ttl(ttl);
        self.directory(DirectoryOptions::new().with_guard(guard)).await.view(&service())
    }

    pub(crate) async fn directory(&self, options: DirectoryOptions) -> Directory {
        Directory::with_options(self.registry().await, options)
    }

    /// Instances of one process each, once all are registered.
    pub(crate) async fn instances(&self, count: u16, ttl: Ttl) -> Vec<Registrar> {
        self.more_instances(1..=count, ttl).await
    }

    /// Those with these numbers.
    pub(crate) async fn more_instances(&self, numbers: RangeInclusive<u16>, ttl: Ttl) -> Vec<Registrar> {
        let registry = self.registry().await;
        let start = |n| {
            let options = RegistrarOptions::new().with_ttl(ttl);
            Registrar::start(Arc::clone(&registry), instance(n), options)
        };
        let all: Vec<_> = numbers.map(start).collect();
        for registrar in &all {
            timeout(PATIENCE, registrar.registered()).await.expect("registered").unwrap();
        }
        all
    }
}

pub(crate) fn service() -> ServiceName {
    ServiceName::new("user.rpc").unwrap()
}

/// What an instance publishes.
pub(crate) fn instance(n: u16) -> Instance {
    Instance::builder(service()).endpoint(format!("10.0.0.1:{}", 8000 + n)).build().unwrap()
}

/// The id of an instance.
pub(crate) fn id(n: u16) -> InstanceId {
    instance(n).id().clone()
}

/// Waits until the view lists as many instances, and holds as many of them.
pub(crate) async fn until(view: &View, listed: usize, held: usize) {
    let mut view = view.clone();
    let waiting = async {
        loop {
            let state = view.state();
            let now = (state.entries().len(), state.held_len());
            if state.snapshot().is_some() && now == (listed, held) {
                return;
            }
            assert!(view.changed().await);
        }
    };
    let waited = timeout(PATIENCE, waiting).await;
    let state = view.state();
    assert!(
        waited.is_ok(),
        "{listed} listed and {held} held, and not {} and {}",
        state.entries().len(),
        state.held_len()
    );
}

/// Runs a test over each kind of registry, as a test of its own.
macro_rules! over_each {
    ($($name:ident => $play:ident;)*) => {$(
        mod $name {
            use crate::stage::Stage;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_memory() {
                super::$play(Stage::memory()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_etcd() {
                super::$play(Stage::etcd().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_redis() {
                super::$play(Stage::redis().await).await;
            }
        }
    )*};
}

pub(crate) use over_each;
