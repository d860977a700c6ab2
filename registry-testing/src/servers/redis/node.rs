//! What a group is made of.

use std::fmt;

use async_trait::async_trait;

use super::super::ServerError;
use super::role::Role;
use super::{Redis, RedisOptions};

/// One server of a group, as the group controls it: a child process, which is a [`Redis`], or a container.
#[async_trait]
pub trait Node: fmt::Debug + Send + Sync + 'static {
    /// Whether it runs; a paused one does.
    async fn is_running(&self) -> bool;

    /// SIGKILL, also for a paused one; returns when it is gone.
    ///
    /// # Errors
    /// [`ServerError::Timeout`], [`ServerError::Io`].
    async fn kill(&self) -> Result<(), ServerError>;

    /// Makes it stand still. Its port goes on accepting.
    ///
    /// # Errors
    /// [`ServerError::Exited`] if it does not run; [`ServerError::Timeout`], [`ServerError::Io`].
    async fn pause(&self) -> Result<(), ServerError>;

    /// Lets it go on.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    async fn resume(&self) -> Result<(), ServerError>;

    /// Starts it on the same port with what was kept, after a SIGKILL if it runs, and waits until it answers.
    ///
    /// # Errors
    /// [`ServerError::Missing`], [`ServerError::Exited`], [`ServerError::Timeout`], [`ServerError::Io`].
    async fn restart(&self) -> Result<(), ServerError>;

    /// Kills it and removes its data.
    ///
    /// # Errors
    /// As [`kill`](Self::kill).
    async fn discard(&self) -> Result<(), ServerError>;
}

#[async_trait]
impl Node for Redis {
    async fn is_running(&self) -> bool {
        self.process().is_running()
    }

    async fn kill(&self) -> Result<(), ServerError> {
        Redis::kill(self).await
    }

    async fn pause(&self) -> Result<(), ServerError> {
        Redis::pause(self).await
    }

    async fn resume(&self) -> Result<(), ServerError> {
        Redis::resume(self).await
    }

    async fn restart(&self) -> Result<(), ServerError> {
        Redis::restart(self).await
    }

    async fn discard(&self) -> Result<(), ServerError> {
        Redis::discard(self).await
    }
}

/// How the servers of a group are started.
#[async_trait]
pub(crate) trait Launch: Sync {
    /// What comes of it.
    type Node: Node;

    /// Starts one and waits until it answers.
    async fn launch(&self, role: Role) -> Result<Self::Node, ServerError>;
}

#[async_trait]
impl Launch for RedisOptions {
    type Node = Redis;

    async fn launch(&self, role: Role) -> Result<Redis, ServerError> {
        let own = if role.is_sentinel {
            let (disk, args) = (None, Vec::new());
            Self { disk, args, ..self.clone() }
        } else {
            self.clone()
        };
        let redis = Redis::with_role(&own, role).await?;
        redis.start_process().await?;
        Ok(redis)
    }
}
