//! What makes a store refuse, or throw out.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use registry_memory::MemoryRegistry;
use registry_testing::servers::etcd::{Etcd, EtcdOptions};
use registry_testing::servers::redis::{Redis, RedisOptions};
use registry_testing::servers::until;
use tokio::task::JoinHandle;
use tokio::time::interval;

use crate::claims::persistence::subjects::{Client, Server, Way};
use crate::experiment::Trouble;
use crate::lab::Lab;

/// What happens to a Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfRedis {
    /// `maxmemory` is reached, with `noeviction`.
    Full,
    /// The last background save failed, upon which writes are refused.
    FailedSave,
    /// Fewer replicas than `min-replicas-to-write`.
    NoReplicas,
    /// `maxmemory` is reached, with `allkeys-lru`, and others write.
    Evicting,
}

impl OfRedis {
    pub(super) const ALL: [Self; 4] = [Self::Full, Self::FailedSave, Self::NoReplicas, Self::Evicting];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Full => "memory full",
            Self::FailedSave => "failed save",
            Self::NoReplicas => "replicas missing",
            Self::Evicting => "evicting",
        }
    }

    fn on(self, options: RedisOptions) -> RedisOptions {
        if self == Self::FailedSave { options.with_args(["--save", "3600 1"]) } else { options }
    }

    /// What the server counts when it bites, of `INFO`.
    fn counter(self) -> &'static str {
        match self {
            Self::Full => "errorstat_OOM:count=",
            Self::FailedSave => "errorstat_MISCONF:count=",
            Self::NoReplicas => "errorstat_NOREPLICAS:count=",
            Self::Evicting => "evicted_keys:",
        }
    }
}

/// A registry that gets into trouble.
pub(super) enum Store {
    Redis { server: Server, trouble: OfRedis, way: Way, neighbour: Option<Neighbour> },
    Etcd(Server),
    Memory { registry: MemoryRegistry, living: usize },
}

/// So much etcd may hold.
const QUOTA: u64 = 1 << 20;
/// How much more than now fits into a Redis that evicts.
const ROOM: u64 = 4 << 20;
/// How long a background save may take.
const SAVED: Duration = Duration::from_secs(10);

impl Store {
    pub(super) async fn redis(lab: &Lab, trouble: OfRedis, way: Way) -> Result<Self, Trouble> {
        let server = Server::Redis(Box::new(Redis::start(way.on(trouble.on(lab.redis_options()))).await?));
        Ok(Self::Redis { server, trouble, way, neighbour: None })
    }

    pub(super) async fn etcd(lab: &Lab) -> Result<Self, Trouble> {
        let options: EtcdOptions = lab.etcd_options().with_quota(QUOTA);
        Ok(Self::Etcd(Server::Etcd(Box::new(Etcd::start(options).await?))))
    }

    /// One that has room for the `living` and no more, once there is trouble.
    pub(super) fn memory(living: usize) -> Self {
        Self::Memory { registry: MemoryRegistry::new(), living }
    }

    pub(super) fn client(&self) -> Result<Client, Trouble> {
        match self {
            Self::Redis { server, way, .. } => server.client(*way),
            Self::Etcd(server) => server.client(Way::Ours),
            Self::Memory { registry, .. } => Ok(Client::of(registry.client())),
        }
    }

    pub(super) async fn begin(&mut self) -> Result<(), Trouble> {
        match self {
            Self::Redis { server: Server::Redis(redis), trouble, neighbour, .. } => {
                *neighbour = begin(redis, *trouble).await?;
            }
            Self::Etcd(Server::Etcd(etcd)) => etcd.fill().await?,
            Self::Memory { registry, living } => registry.controls().set_capacity(*living),
            _ => {}
        }
        Ok(())
    }

    /// What an operator does about it.
    pub(super) async fn end(&mut self) -> Result<(), Trouble> {
        match self {
            Self::Redis { server: Server::Redis(redis), trouble, neighbour, .. } => {
                drop(neighbour.take());
                end(redis, *trouble).await?;
            }
            Self::Etcd(Server::Etcd(etcd)) => etcd.make_room().await?,
            Self::Memory { registry, living } => registry.controls().set_capacity(*living * 100),
            _ => {}
        }
        Ok(())
    }

    /// How often the server says that it bit, if it counts that.
    pub(super) async fn bites(&self) -> Result<Option<u64>, Trouble> {
        let Self::Redis { server: Server::Redis(redis), trouble, .. } = self else { return Ok(None) };
        let info = redis.command(&["INFO", "everything"]).await?.text();
        let counted = info.lines().find_map(|line| line.strip_prefix(trouble.counter()));
        Ok(Some(counted.and_then(|count| count.trim().parse().ok()).unwrap_or_default()))
    }
}

async fn begin(redis: &Redis, trouble: OfRedis) -> Result<Option<Neighbour>, Trouble> {
    match trouble {
        OfRedis::Full => redis.fill().await?,
        OfRedis::FailedSave => {
            // The file cannot take the place of a folder that is not empty.
            fs::create_dir_all(dump(redis).join("in the way"))?;
            saved(redis, "err").await?;
        }
        OfRedis::NoReplicas => drop(redis.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await?),
        OfRedis::Evicting => {
            let memory = redis.command(&["INFO", "memory"]).await?.text();
            let used =
                memory.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse::<u64>().ok());
            let limit = (used.unwrap_or_default() + ROOM).to_string();
            redis.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", &limit]).await?;
            return Ok(Some(Neighbour::start(redis)?));
        }
    }
    Ok(None)
}

async fn end(redis: &Redis, trouble: OfRedis) -> Result<(), Trouble> {
    match trouble {
        OfRedis::Full | OfRedis::Evicting => redis.make_room().await?,
        OfRedis::FailedSave => {
            fs::remove_dir_all(dump(redis))?;
            saved(redis, "ok").await?;
        }
        OfRedis::NoReplicas => drop(redis.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await?),
    }
    Ok(())
}

fn dump(redis: &Redis) -> PathBuf {
    redis.process().folder().data().join("dump.rdb")
}

/// Saves in the background, with this outcome.
async fn saved(redis: &Redis, outcome: &str) -> Result<(), Trouble> {
    redis.command(&["BGSAVE"]).await?;
    let line = format!("rdb_last_bgsave_status:{outcome}");
    let saved = until("a background save", SAVED, || async {
        let info = redis.command(&["INFO", "persistence"]).await.ok()?.text();
        info.lines().any(|told| told.trim_end() == line).then_some(())
    });
    Ok(saved.await?)
}

/// Another user of the same Redis, who caches some 13 MB a second. Ends when dropped.
pub(super) struct Neighbour(JoinHandle<()>);

impl Neighbour {
    const EVERY: Duration = Duration::from_millis(100);
    const KEYS: u64 = 80;
    const BYTES: usize = 16 << 10;

    fn start(redis: &Redis) -> Result<Self, Trouble> {
        let client = redis::Client::open(redis.url())?;
        Ok(Self(tokio::spawn(async move {
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else { return };
            let value = vec![b'x'; Self::BYTES];
            let mut ticks = interval(Self::EVERY);
            for burst in 0_u64.. {
                ticks.tick().await;
                let mut pipe = redis::pipe();
                for key in 0..Self::KEYS {
                    pipe.cmd("SET").arg(format!("cache:{burst}:{key}")).arg(&value).ignore();
                }
                // What is refused now is cached another time.
                let _: Result<(), _> = pipe.query_async(&mut connection).await;
            }
        })))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.0.abort();
    }
}
