//! How a cluster is started.

use std::time::Duration;

use super::super::RedisOptions;

/// Of what a cluster consists and how it is timed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClusterOptions {
    /// How each node is started. With [`RedisOptions::client_proxy`] there is a proxy in front of each, which is what nodes tell clients of it.
    pub node: RedisOptions,
    /// How many primaries share the slots; 3 by default, the fewest that can agree on a fail-over when one is gone.
    pub primaries: usize,
    /// How many replicas each of them has; 1 by default.
    pub replicas: usize,
    /// `cluster-node-timeout`: without an answer for so long, a node takes another for dead. 1 s by default.
    pub node_timeout: Duration,
    /// `cluster-require-full-coverage`: serve nothing while any slot is not served. Off by default, unlike Redis' own.
    pub full_coverage: bool,
    /// Put proxies between the nodes, one for each ordered pair and port. Linux only, where all of 127.0.0.0/8 is this machine.
    pub peer_proxies: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            node: RedisOptions::default(),
            primaries: 3,
            replicas: 1,
            node_timeout: Duration::from_secs(1),
            full_coverage: false,
            peer_proxies: false,
        }
    }
}

impl ClusterOptions {
    /// With nodes that are started like this.
    #[must_use]
    pub fn with_node(mut self, node: RedisOptions) -> Self {
        self.node = node;
        self
    }

    /// With so many primaries, and so many replicas of each.
    #[must_use]
    pub fn with_size(mut self, primaries: usize, replicas: usize) -> Self {
        self.primaries = primaries;
        self.replicas = replicas;
        self
    }

    /// With `cluster-node-timeout`.
    #[must_use]
    pub fn with_node_timeout(mut self, timeout: Duration) -> Self {
        self.node_timeout = timeout;
        self
    }

    /// With `cluster-require-full-coverage`.
    #[must_use]
    pub fn with_full_coverage(mut self) -> Self {
        self.full_coverage = true;
        self
    }

    /// With proxies between the nodes.
    #[must_use]
    pub fn with_peer_proxies(mut self) -> Self {
        self.peer_proxies = true;
        self
    }
}
