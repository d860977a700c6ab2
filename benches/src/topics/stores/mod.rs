//! What is done over real stores: through the registry, and by raw clients that send the same requests.

mod apart;
pub mod first;
pub mod heartbeats;
pub mod load;
pub mod operations;
pub mod watch;

use std::sync::Arc;

use comparisons::experiment::Trouble;
use comparisons::lab::{Lab, Scale};
use registry_core::{Registry, RegistryExt};
use registry_etcd::{EtcdOptions, EtcdRegistry};
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::servers::etcd::{Etcd, etcd_3_5};
use registry_testing::servers::redis::{Redis, redis_8};

use self::apart::Apart;

/// The service of our arm.
const OURS: &str = "ours.rpc";
/// Those of the arms that it is compared with, and of a third one where there is one.
const RAW: [&str; 3] = ["raw1.rpc", "raw2.rpc", "raw3.rpc"];
// They are in every key and value: who has the shorter one would have less to send and to read.
const _: () = assert!(OURS.len() == RAW[0].len() && OURS.len() == RAW[1].len() && OURS.len() == RAW[2].len());

/// A store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// One node, which syncs nothing: the less it does itself, the more shows what is put on top of it.
    Etcd,
    /// One server, without persistence.
    Redis,
}

/// A store that runs, on cores of its own where there is more than one. It ends with the last who holds it.
#[derive(Debug)]
pub struct Server {
    process: Process,
    _apart: Option<Apart>,
}

/// What a store runs as.
#[derive(Debug)]
enum Process {
    Etcd(Box<Etcd>),
    Redis(Box<Redis>),
}

impl Server {
    /// Starts one, with nothing in it.
    ///
    /// # Errors
    /// [`Trouble::NotRun`] where it is not installed.
    pub async fn start(store: Store, lab: &Lab) -> Result<Arc<Self>, Trouble> {
        let failed = |error| Trouble::Failed(Box::new(error));
        let apart = Apart::begin().map_err(failed)?;
        let process = match store {
            Store::Etcd => Process::Etcd(Box::new(Etcd::start(lab.etcd_options()).await?)),
            Store::Redis => Process::Redis(Box::new(Redis::start(lab.redis_options()).await?)),
        };
        let pid = match &process {
            Process::Etcd(etcd) => etcd.process().pid(),
            Process::Redis(redis) => redis.process().pid(),
        };
        if let Some(apart) = &apart {
            apart.part(pid).map_err(failed)?;
        }
        Ok(Arc::new(Self { process, _apart: apart }))
    }

    /// Starts one as it is installed here.
    ///
    /// # Errors
    /// [`Trouble::NotRun`] where it is not installed.
    pub async fn installed(store: Store) -> Result<Arc<Self>, Trouble> {
        Self::start(store, &lab()).await
    }

    /// Where clients find it.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.process {
            Process::Etcd(etcd) => etcd.endpoint(),
            Process::Redis(redis) => redis.url(),
        }
    }

    /// A client of this project, with a connection of its own and every option at its default.
    ///
    /// # Errors
    /// None that can happen: nothing waits for the server.
    pub fn registry(&self) -> Result<Arc<dyn Registry>, Trouble> {
        Ok(match &self.process {
            Process::Etcd(etcd) => EtcdRegistry::new(EtcdOptions::new([etcd.endpoint()]))?.shared(),
            Process::Redis(redis) => {
                RedisRegistry::new(RedisOptions::standalone(redis.address().to_string()))?.shared()
            }
        })
    }
}

/// Where stores are as they are installed here, for who has no options of its own.
#[must_use]
pub fn lab() -> Lab {
    let (etcd, redis) = (etcd_3_5().unwrap_or("etcd".into()), redis_8().unwrap_or("redis-server".into()));
    Lab::new(Scale::Full, 8, etcd, redis, std::env::temp_dir())
}
