//! Redis under sentinels, and a Redis cluster, in containers.

use async_trait::async_trait;

use super::super::ServerError;
use super::super::redis::{
    ClusterOptions, Launch, Node, RedisCluster, RedisOptions, RedisSentinel, Role, SentinelOptions,
};
use super::{ContainerOptions, RedisContainer};

#[async_trait]
impl Node for RedisContainer {
    async fn is_running(&self) -> bool {
        self.container().is_running().await
    }

    async fn kill(&self) -> Result<(), ServerError> {
        self.container().kill().await
    }

    async fn pause(&self) -> Result<(), ServerError> {
        self.container().pause().await
    }

    async fn resume(&self) -> Result<(), ServerError> {
        self.container().resume().await
    }

    async fn restart(&self) -> Result<(), ServerError> {
        self.container().restart().await
    }

    async fn discard(&self) -> Result<(), ServerError> {
        self.container().discard().await
    }
}

/// How the servers of a group are started.
struct Containers<'a> {
    container: ContainerOptions,
    node: &'a RedisOptions,
}

#[async_trait]
impl Launch for Containers<'_> {
    type Node = RedisContainer;

    async fn launch(&self, role: Role) -> Result<RedisContainer, ServerError> {
        let mut options = self.container.clone();
        if role.is_sentinel {
            options.args.clear();
        } else {
            options.args.extend(self.node.args.iter().cloned());
        }
        RedisContainer::in_group(options, role, self.node.persistence).await
    }
}

impl RedisSentinel<RedisContainer> {
    /// As [`start`](RedisSentinel::start), each server in a container, in the network of this machine. Of
    /// [`SentinelOptions::node`](SentinelOptions::node), what says where and how a process runs has no meaning: the program, the place of the data,
    /// the disk and the clock.
    ///
    /// # Errors
    /// As [`RedisContainer::start`]; [`ServerError::Timeout`].
    pub async fn start_in_containers(
        container: ContainerOptions,
        options: SentinelOptions,
    ) -> Result<Self, ServerError> {
        Self::launch(&Containers { container, node: &options.node }, &options).await
    }
}

impl RedisCluster<RedisContainer> {
    /// As [`start`](RedisCluster::start), each server in a container, in the network of this machine. Of
    /// [`ClusterOptions::node`](ClusterOptions::node), what says where and how a process runs has no meaning: the program, the place of the data, the
    /// disk and the clock.
    ///
    /// # Errors
    /// As [`RedisContainer::start`]; [`ServerError::Timeout`].
    pub async fn start_in_containers(
        container: ContainerOptions,
        options: ClusterOptions,
    ) -> Result<Self, ServerError> {
        Self::launch(&Containers { container, node: &options.node }, &options).await
    }
}
