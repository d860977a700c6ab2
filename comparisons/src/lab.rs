//! What a step works with.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use registry_testing::servers::etcd::EtcdOptions;
use registry_testing::servers::redis::RedisOptions;

use crate::record::Record;
use crate::theirs::Theirs;

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Enough to see it, in minutes.
    Quick,
    /// Enough to cite it.
    Full,
}

/// What a step works with: how much to do, the seed, how servers are started, and where records go.
#[derive(Debug)]
pub struct Lab {
    /// How much is done.
    pub scale: Scale,
    /// What all random choices come from.
    pub seed: u64,
    /// The etcd that is started.
    pub etcd: PathBuf,
    /// The Redis that is started.
    pub redis: PathBuf,
    /// A folder on a real disk, for data that are meant to be durable.
    pub disk: PathBuf,
    /// Where the harmless experiments go instead, if the reader has servers.
    pub theirs: Option<Theirs>,
    kept: Mutex<Vec<Record>>,
}

impl Lab {
    /// One that has kept nothing.
    #[must_use]
    pub fn new(scale: Scale, seed: u64, etcd: PathBuf, redis: PathBuf, disk: PathBuf) -> Self {
        Self { scale, seed, etcd, redis, disk, theirs: None, kept: Mutex::default() }
    }

    /// The one or the other, by the scale.
    pub fn by_scale<T>(&self, quick: T, full: T) -> T {
        match self.scale {
            Scale::Quick => quick,
            Scale::Full => full,
        }
    }

    /// Random numbers for `what`; the same for the same seed.
    #[must_use]
    pub fn random(&self, what: &str) -> fastrand::Rng {
        // FNV-1a: the same on every machine and with every compiler.
        let hash = what.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        fastrand::Rng::with_seed(self.seed ^ hash)
    }

    /// How an etcd is started here: data in memory.
    #[must_use]
    pub fn etcd_options(&self) -> EtcdOptions {
        EtcdOptions::default().with_program(&self.etcd)
    }

    /// How a Redis is started here: data in memory, nothing persisted.
    #[must_use]
    pub fn redis_options(&self) -> RedisOptions {
        RedisOptions::default().with_program(&self.redis)
    }

    /// Keeps a record of the step that runs.
    pub fn keep(&self, record: Record) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }

    /// What was kept since this was last asked.
    pub fn take(&self) -> Vec<Record> {
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
