//! What is done to all servers of a group at once, where they are child processes.

use futures_util::future::try_join_all;

use super::super::ServerError;
use super::nodes::Nodes;
use super::{Redis, RedisCluster, RedisSentinel, Snapshot};

/// The data of every node of a group as they were at some time. The files go when this is dropped.
#[derive(Debug)]
pub struct GroupSnapshot {
    /// None of a node that did not run.
    nodes: Vec<Option<Snapshot>>,
}

impl RedisSentinel {
    /// Cuts the power of every node, not of the sentinels, at about the same time, and starts those that are not lost with what was on their disks.
    /// Waits as [`restart_all`](Self::restart_all).
    ///
    /// # Errors
    /// [`ServerError::Refused`] without [`RedisOptions::disk`](super::RedisOptions::disk); see [`Redis::power_cut`] and
    /// [`restart_all`](Self::restart_all).
    pub async fn power_cut(&self) -> Result<(), ServerError> {
        self.cut_power().await?;
        self.restart_all().await
    }

    /// A copy of the data of every node that runs, when the replicas are in sync.
    ///
    /// # Errors
    /// See [`Redis::save`] and [`wait_in_sync`](Self::wait_in_sync).
    pub async fn save(&self) -> Result<GroupSnapshot, ServerError> {
        self.wait_in_sync().await?;
        self.save_each().await
    }

    /// Puts the data of every node back, whichever was the primary then, and waits as [`restart_all`](Self::restart_all). What is lost stays lost.
    ///
    /// # Errors
    /// See [`Redis::restore`] and [`restart_all`](Self::restart_all).
    pub async fn restore(&self, snapshot: &GroupSnapshot) -> Result<(), ServerError> {
        self.put_each_back(snapshot).await?;
        self.restart_all().await
    }
}

impl RedisCluster {
    /// Cuts the power of every node at about the same time, and starts those that are not lost with what was on their disks. Waits as
    /// [`restart_all`](Self::restart_all).
    ///
    /// # Errors
    /// [`ServerError::Refused`] without [`RedisOptions::disk`](super::RedisOptions::disk); see [`Redis::power_cut`] and
    /// [`restart_all`](Self::restart_all).
    pub async fn power_cut(&self) -> Result<(), ServerError> {
        self.cut_power().await?;
        self.restart_all().await
    }

    /// A copy of the data of every node that runs, when the replicas are in sync; not of who has which slots.
    ///
    /// # Errors
    /// See [`Redis::save`] and [`wait_in_sync`](Self::wait_in_sync).
    pub async fn save(&self) -> Result<GroupSnapshot, ServerError> {
        self.wait_in_sync().await?;
        self.save_each().await
    }

    /// Puts the data of every node back, whichever was a primary then, and waits as [`restart_all`](Self::restart_all). No slot may have moved in the
    /// meantime. What is lost stays lost.
    ///
    /// # Errors
    /// See [`Redis::restore`] and [`restart_all`](Self::restart_all).
    pub async fn restore(&self, snapshot: &GroupSnapshot) -> Result<(), ServerError> {
        self.put_each_back(snapshot).await?;
        self.restart_all().await
    }
}

impl Nodes {
    async fn cut_power(&self) -> Result<(), ServerError> {
        let there = self.there().map(|node| self.node(node).process());
        // First all of them, or one that still runs would have what another is about to lose.
        let there: Vec<_> = there.filter(|process| process.is_running()).collect();
        if let Some(without) = there.iter().find(|process| process.folder().disk().is_none()) {
            // Which says why not.
            return without.power_cut().await;
        }
        try_join_all(there.iter().map(|process| process.pause())).await?;
        try_join_all(there.iter().map(|process| process.power_cut())).await.map(drop)
    }

    async fn save_each(&self) -> Result<GroupSnapshot, ServerError> {
        let nodes = self.nodes().map(|node| async move {
            if node.process().is_running() { node.save().await.map(Some) } else { Ok(None) }
        });
        Ok(GroupSnapshot { nodes: try_join_all(nodes).await? })
    }

    /// Kills all of them and makes their data those of the snapshot.
    async fn put_each_back(&self, snapshot: &GroupSnapshot) -> Result<(), ServerError> {
        try_join_all(self.nodes().map(Redis::kill)).await?;
        let saved =
            self.there().filter_map(|node| Some((self.node(node), snapshot.nodes.get(node)?.as_ref()?)));
        saved.into_iter().try_for_each(|(node, snapshot)| node.put_back(snapshot))
    }
}
