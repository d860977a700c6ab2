//! Data that are gone, or that are those of a backup.

use std::sync::Arc;

use registry_testing::servers::etcd;
use registry_testing::servers::redis::{GroupSnapshot, Snapshot};

use super::Bite;
use super::site::{Deployment, Site};
use super::struck::Struck;
use crate::experiment::Trouble;

/// What nobody else writes.
const CANARY: &str = "chaos-canary";

/// Removes all data at once.
pub(super) async fn wipe(site: &Arc<Site>) -> Result<Struck, Trouble> {
    let site = Arc::clone(site);
    site.put(CANARY, "before").await?;
    let there = site.get(CANARY).await?.is_some();
    let how = match &site.deployment {
        Deployment::Etcd(etcd) => {
            etcd.wipe().await?;
            "etcd started with a new data directory"
        }
        Deployment::EtcdCluster(cluster) => {
            cluster.wipe().await?;
            "all members of etcd started with new data directories"
        }
        Deployment::Redis(redis) => {
            redis.flush_all().await?;
            "FLUSHALL"
        }
        Deployment::Sentinel(group) => {
            group.wipe().await?;
            "FLUSHALL on the primary"
        }
        Deployment::Cluster(cluster) => {
            cluster.wipe().await?;
            "FLUSHALL on every primary"
        }
    };
    let gone = site.get(CANARY).await?.is_none();
    Ok(Struck::new(how, async move {
        let proof = format!("a key that was written just before was there: {there}, and then gone: {gone}");
        Ok(Bite::new(there && gone, proof))
    }))
}

/// The data as they were.
enum Backup {
    Etcd(etcd::Snapshot),
    Redis(Snapshot),
    Group(GroupSnapshot),
}

impl Backup {
    async fn of(site: &Site) -> Result<Self, Trouble> {
        Ok(match &site.deployment {
            Deployment::Etcd(etcd) => Self::Etcd(etcd.save().await?),
            Deployment::EtcdCluster(cluster) => Self::Etcd(cluster.save().await?),
            Deployment::Redis(redis) => Self::Redis(redis.save().await?),
            Deployment::Sentinel(group) => Self::Group(group.save().await?),
            Deployment::Cluster(cluster) => Self::Group(cluster.save().await?),
        })
    }

    async fn put_back(&self, site: &Site) -> Result<(), Trouble> {
        match (&site.deployment, self) {
            (Deployment::Etcd(etcd), Self::Etcd(backup)) => etcd.restore(backup).await?,
            (Deployment::EtcdCluster(cluster), Self::Etcd(backup)) => cluster.restore(backup).await?,
            (Deployment::Redis(redis), Self::Redis(backup)) => redis.restore(backup).await?,
            (Deployment::Sentinel(group), Self::Group(backup)) => group.restore(backup).await?,
            (Deployment::Cluster(cluster), Self::Group(backup)) => cluster.restore(backup).await?,
            _ => return Err(Trouble::failed("a backup is of other servers")),
        }
        Ok(())
    }
}

/// Takes a backup, and puts it back in the end.
pub(super) async fn restore(site: &Arc<Site>) -> Result<Struck, Trouble> {
    let site = Arc::clone(site);
    let backup = Backup::of(&site).await?;
    site.put(CANARY, "after the backup").await?;
    let there = site.get(CANARY).await?.is_some();
    Ok(Struck::new("a backup was taken, which is put back in the end", async move {
        backup.put_back(&site).await?;
        let gone = site.get(CANARY).await?.is_none();
        let proof =
            format!("a key that was written after the backup was there: {there}, and then gone: {gone}");
        Ok(Bite::new(there && gone, proof))
    }))
}
