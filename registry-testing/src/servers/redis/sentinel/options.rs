//! How a group with sentinels is started.

use std::time::Duration;

use super::super::RedisOptions;

/// Of what a group consists and how it is timed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SentinelOptions {
    /// How each data node is started; of a sentinel, only the program and the place of its folder. With [`RedisOptions::client_proxy`] there is a
    /// proxy in front of each node, which is what sentinels tell of it, and of each sentinel.
    pub node: RedisOptions,
    /// How many replicas there are beside the primary; 2 by default.
    pub replicas: usize,
    /// How many sentinels; 3 by default. A majority of them must agree on a fail-over.
    pub sentinels: usize,
    /// `down-after-milliseconds`: without an answer for so long, a sentinel takes a node for dead. 1 s by default. With much less, a primary that
    /// was just promoted is taken for dead, since all connections to it are closed by that.
    pub down_after: Duration,
    /// `failover-timeout`; 2 s by default. A fail-over that failed is tried again after twice as long.
    pub failover_timeout: Duration,
    /// `min-replicas-to-write`; 0 by default.
    pub min_replicas_to_write: usize,
    /// Let sentinels ask and tell each other several times a second, where it would be once in one, two or ten seconds, so that they learn sooner
    /// of each other, and of a primary that returns: they make it a replica after 2 s, not after 8. On by default.
    pub hasty: bool,
    /// Put proxies between the data nodes, and between them and the sentinels, one for each ordered pair. Linux only, where all of 127.0.0.0/8
    /// is this machine.
    pub replica_proxies: bool,
}

impl Default for SentinelOptions {
    fn default() -> Self {
        Self {
            node: RedisOptions::default(),
            replicas: 2,
            sentinels: 3,
            down_after: Duration::from_secs(1),
            failover_timeout: Duration::from_secs(2),
            min_replicas_to_write: 0,
            hasty: true,
            replica_proxies: false,
        }
    }
}

impl SentinelOptions {
    /// With data nodes that are started like this.
    #[must_use]
    pub fn with_node(mut self, node: RedisOptions) -> Self {
        self.node = node;
        self
    }

    /// With so many replicas.
    #[must_use]
    pub fn with_replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// With `down-after-milliseconds` and `failover-timeout`.
    #[must_use]
    pub fn with_timing(mut self, down_after: Duration, failover_timeout: Duration) -> Self {
        self.down_after = down_after;
        self.failover_timeout = failover_timeout;
        self
    }

    /// With `min-replicas-to-write`.
    #[must_use]
    pub fn with_min_replicas_to_write(mut self, replicas: usize) -> Self {
        self.min_replicas_to_write = replicas;
        self
    }

    /// With sentinels that ask and tell each other as often as they do by themselves, or not.
    #[must_use]
    pub fn with_hasty(mut self, hasty: bool) -> Self {
        self.hasty = hasty;
        self
    }

    /// With proxies between the servers.
    #[must_use]
    pub fn with_replica_proxies(mut self) -> Self {
        self.replica_proxies = true;
        self
    }
}
