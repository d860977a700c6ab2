//! Who is tested here: a server with what it persists, and clients of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use registry_core::Registry;
use registry_etcd::{EtcdOptions, EtcdRegistry};
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::servers::etcd::Etcd;
use registry_testing::servers::process::Process;
use registry_testing::servers::redis::{Persistence, Redis, RedisOptions as ServerOptions};
use registry_testing::servers::{ServerError, until};

use super::watcher::Watcher;
use crate::contestants::{Contestant, Listed, NaiveHash, NaiveKey, Ours, Place};
use crate::experiment::Trouble;
use crate::lab::Lab;
use crate::record::{Outcome, Record};

/// How long a server that was started again may take to answer a client.
const ANSWERS: Duration = Duration::from_secs(10);
/// How long a watcher may take to be told of any of the changes that are made for it to see.
const TOLD: Duration = Duration::from_secs(10);
/// How often such a change is made.
const AGAIN: Duration = Duration::from_millis(100);
/// What such changes are called.
const SENTINEL: &str = "sentinel-";

/// What a Redis keeps, by its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// Nothing.
    Nothing,
    /// Snapshots, at Debian's default save points, which are also those of Redis itself.
    Snapshots,
    /// An append-only file that is synced once a second.
    EverySecond,
    /// An append-only file that is synced before each answer.
    Always,
}

impl Policy {
    /// As it is called in the name of an arm.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no persistence",
            Self::Snapshots => "RDB default",
            Self::EverySecond => "AOF everysec",
            Self::Always => "AOF always",
        }
    }

    /// A Redis that keeps this.
    pub(super) fn on(self, options: ServerOptions) -> ServerOptions {
        match self {
            Self::Nothing => options.with_persistence(Persistence::None),
            Self::Snapshots => options.with_args(["--save", "3600 1 300 100 60 10000"]),
            Self::EverySecond => options.with_persistence(Persistence::EverySecond),
            Self::Always => options.with_persistence(Persistence::EveryWrite),
        }
    }
}

/// How a registry is made of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// [`NaiveHash`].
    NaiveHash,
    /// [`NaiveKey`].
    NaiveKey,
    /// The backend of this project.
    Ours,
}

impl Way {
    /// All on Redis.
    pub(super) const ALL: [Self; 3] = [Self::NaiveHash, Self::NaiveKey, Self::Ours];

    /// The name of its arms on Redis, before what qualifies them.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NaiveHash => "redis-naive hash",
            Self::NaiveKey => "redis-naive key",
            Self::Ours => "redis",
        }
    }

    /// A Redis that can serve it.
    pub(super) fn on(self, options: ServerOptions) -> ServerOptions {
        if self == Self::NaiveKey { options.with_args(NaiveKey::ARGS) } else { options }
    }
}

/// The server that is tested.
#[derive(Debug)]
pub(super) enum Server {
    /// A Redis.
    Redis(Box<Redis>),
    /// One etcd.
    Etcd(Box<Etcd>),
}

impl Server {
    pub(super) fn process(&self) -> &Process {
        match self {
            Self::Redis(redis) => redis.process(),
            Self::Etcd(etcd) => etcd.process(),
        }
    }

    /// SIGTERM, as an init system stops it.
    pub(super) async fn stop(&self) -> Result<(), ServerError> {
        match self {
            Self::Redis(redis) => redis.stop().await,
            Self::Etcd(etcd) => etcd.terminate().await,
        }
    }

    /// Starts it again with what it has kept.
    pub(super) async fn restart(&self) -> Result<(), ServerError> {
        match self {
            Self::Redis(redis) => redis.restart().await,
            Self::Etcd(etcd) => etcd.restart().await,
        }
    }

    /// A client with connections of its own. On etcd there is only one way.
    pub(super) fn client(&self, way: Way) -> Result<Client, Trouble> {
        let place = |redis: &Redis| Place::Server(redis.address());
        Ok(match (self, way) {
            (Self::Redis(redis), Way::NaiveHash) => Client::naive(NaiveHash::new(place(redis))),
            (Self::Redis(redis), Way::NaiveKey) => Client::naive(NaiveKey::new(place(redis))),
            (Self::Redis(redis), Way::Ours) => {
                Client::of(RedisRegistry::new(RedisOptions::standalone(redis.address().to_string()))?)
            }
            (Self::Etcd(etcd), _) => Client::of(EtcdRegistry::new(EtcdOptions::new([etcd.endpoint()]))?),
        })
    }
}

/// A client of a registry.
#[derive(Clone)]
pub(super) struct Client {
    /// As all are compared.
    pub(super) contestant: Arc<dyn Contestant>,
    /// What is behind it, where it is of this project.
    pub(super) registry: Option<Arc<dyn Registry>>,
}

impl Client {
    fn naive(contestant: impl Contestant + 'static) -> Self {
        Self { contestant: Arc::new(contestant), registry: None }
    }

    pub(super) fn of(registry: impl Registry) -> Self {
        let ours = Ours::new(registry);
        let registry = Some(Arc::clone(ours.registry()));
        Self { contestant: Arc::new(ours), registry }
    }

    /// A watch of `service` that has its first list.
    pub(super) async fn watch(&self, service: &str) -> Result<Watcher, Trouble> {
        let watcher = Watcher::start(self.contestant.watch(service));
        until("the first list of a watch", ANSWERS, || async { watcher.view().map(drop) }).await?;
        Ok(watcher)
    }

    /// What is listed, as soon as there is an answer.
    pub(super) async fn listed(&self, service: &str) -> Result<Listed, Trouble> {
        let listed = until("a list", ANSWERS, || async { self.contestant.list(service).await.ok() });
        Ok(listed.await?)
    }

    /// Makes changes until `watcher` is told of one, and gives in how many ids its view differs from the list then, those changes aside. Changes
    /// are told in order, so what differs then was missed. All of them, if it is told of none.
    pub(super) async fn differences(&self, service: &str, watcher: &Watcher) -> Result<usize, Trouble> {
        let mut made = 0;
        let told = until("a watcher is told of a change", TOLD, || {
            made += 1;
            let id = format!("{SENTINEL}{made}");
            async move {
                let _ = self.contestant.register(service, &id, made, TOLD * 3).await;
                tokio::time::sleep(AGAIN).await;
                let view = watcher.view().unwrap_or_default();
                view.keys().any(|id| id.starts_with(SENTINEL)).then_some(())
            }
        });
        let told = told.await.is_ok();
        let without_sentinels = |mut listed: Listed| {
            listed.retain(|id, _| !id.starts_with(SENTINEL));
            listed
        };
        let listed = without_sentinels(self.listed(service).await?);
        let view = without_sentinels(watcher.view().unwrap_or_default());
        let unlike = |one: &Listed, other: &Listed| {
            one.iter()
                .filter(|(id, value)| other.get(*id) != Some(*value))
                .map(|(id, _)| id.clone())
                .collect()
        };
        let mut differing: std::collections::BTreeSet<String> = unlike(&listed, &view);
        differing.extend(unlike(&view, &listed));
        if !told && differing.is_empty() {
            return Err(Trouble::failed("a watcher was told of none of the changes made for it to see"));
        }
        Ok(differing.len())
    }
}

/// An arm that runs, and its name.
pub(super) type Running<'a> = (String, BoxFuture<'a, Result<Record, Trouble>>);

/// Runs arms side by side, each on a server of its own, and keeps their records: also of those that broke off, and of those the others do not suffer.
pub(super) async fn side_by_side(lab: &Lab, run: u32, arms: Vec<Running<'_>>) {
    let arms = arms.into_iter().map(|(arm, running)| async move {
        let outcome = match running.await {
            Ok(record) => return lab.keep(record),
            Err(Trouble::NotRun(why)) => Outcome::NotRun { why },
            Err(trouble) => Outcome::Failed { why: trouble.to_string() },
        };
        lab.keep(Record { outcome, ..Record::new(arm, run) });
    });
    join_all(arms).await;
}
