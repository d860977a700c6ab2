//! Which servers are started.

use std::path::PathBuf;

use registry_testing::servers::etcd::EtcdOptions;
use registry_testing::servers::redis::{Persistence, RedisOptions};

/// The programs of the servers.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `etcd`, with its tools beside it.
    pub etcd: PathBuf,
    /// `redis-server`.
    pub redis: PathBuf,
}

impl Default for Programs {
    /// Those in `PATH`.
    fn default() -> Self {
        Self { etcd: EtcdOptions::default().program, redis: RedisOptions::default().program }
    }
}

impl Programs {
    pub(super) fn etcd_options(&self) -> EtcdOptions {
        EtcdOptions::default().with_program(&self.etcd)
    }

    /// Of one that loses nothing by a SIGKILL.
    pub(super) fn redis_options(&self) -> RedisOptions {
        RedisOptions::default().with_program(&self.redis).with_persistence(Persistence::EveryWrite)
    }
}
