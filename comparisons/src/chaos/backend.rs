//! Who is put under faults.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A registry, as deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// `registry-memory`, in one process.
    Memory,
    /// `registry-etcd` on one server.
    Etcd,
    /// `registry-etcd` on three members.
    EtcdCluster,
    /// `registry-redis` on one server.
    Redis,
    /// `registry-redis` on a primary with replicas under Sentinels.
    RedisSentinel,
    /// `registry-redis` on a Redis Cluster.
    RedisCluster,
    /// The registry on Redis that people write, as the positive control: it is to be caught.
    RedisNaive,
}

impl Backend {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 7] = [
        Self::Memory,
        Self::Etcd,
        Self::EtcdCluster,
        Self::Redis,
        Self::RedisSentinel,
        Self::RedisCluster,
        Self::RedisNaive,
    ];

    /// As it is written in tables and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Etcd => "etcd",
            Self::EtcdCluster => "etcd-cluster",
            Self::Redis => "redis",
            Self::RedisSentinel => "redis-sentinel",
            Self::RedisCluster => "redis-cluster",
            Self::RedisNaive => "redis-naive",
        }
    }

    /// Whether there is one server, or store, and no other that could answer in its place.
    #[must_use]
    pub fn is_single(self) -> bool {
        matches!(self, Self::Memory | Self::Etcd | Self::Redis | Self::RedisNaive)
    }

    /// Whether it is `registry-redis`.
    #[must_use]
    pub fn is_ours_on_redis(self) -> bool {
        matches!(self, Self::Redis | Self::RedisSentinel | Self::RedisCluster)
    }

    /// Whether it is one of this project's, and so must keep what its `guarantees()` say.
    #[must_use]
    pub fn is_ours(self) -> bool {
        self != Self::RedisNaive
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
