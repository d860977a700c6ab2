//! Stores and disks that take no more.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use registry_testing::servers::{ServerError, until};

use super::Bite;
use super::site::{Deployment, PATIENCE, Site};
use super::struck::Struck;
use crate::experiment::Trouble;

/// What nobody else writes.
const CANARY: &str = "chaos-canary";
/// More than is left in the last block of a file.
const LARGE: usize = 16 << 10;
const JUNK: &str = "junk";

/// Whether a write that needs room is refused, and with what.
async fn refusal(site: &Site) -> Option<String> {
    match site.put(CANARY, &"x".repeat(LARGE)).await {
        Err(ServerError::Refused { answer, .. }) => Some(answer),
        _ => None,
    }
}

/// Fills the store until it refuses.
pub(super) async fn fill_store(site: &Arc<Site>) -> Result<Struck, Trouble> {
    let site = Arc::clone(site);
    match &site.deployment {
        Deployment::Etcd(etcd) => etcd.fill().await?,
        Deployment::EtcdCluster(cluster) => cluster.member(cluster.leader().await?).fill().await?,
        Deployment::Redis(redis) => redis.fill().await?,
        Deployment::Sentinel(group) => group.fill().await?,
        Deployment::Cluster(cluster) => cluster.fill().await?,
    }
    let first = refusal(&site).await;
    Ok(Struck::new("the store is full", async move {
        let last = refusal(&site).await;
        make_room(&site).await?;
        Ok(refused(first, last))
    }))
}

fn refused(first: Option<String>, last: Option<String>) -> Bite {
    let bitten = first.is_some() && last.is_some();
    let said =
        |refusal: Option<String>| refusal.map_or("it was done".to_owned(), |said| said.trim().to_owned());
    Bite::new(bitten, format!("a write at first: {}; at last: {}", said(first), said(last)))
}

async fn make_room(site: &Site) -> Result<(), Trouble> {
    match &site.deployment {
        Deployment::Etcd(etcd) => etcd.make_room().await?,
        Deployment::EtcdCluster(cluster) => {
            for member in cluster.members() {
                member.make_room().await?;
            }
        }
        Deployment::Redis(redis) => redis.make_room().await?,
        Deployment::Sentinel(group) => group.make_room().await?,
        Deployment::Cluster(cluster) => cluster.make_room().await?,
    }
    wait_room(site).await
}

async fn wait_room(site: &Site) -> Result<(), Trouble> {
    let room = || async {
        let written = site.put(CANARY, &"x".repeat(LARGE)).await.is_ok();
        if !written && let Deployment::EtcdCluster(cluster) = &site.deployment {
            // A member that was still full raises the alarm again.
            let _ = cluster.member(0).make_room().await;
        }
        written.then_some(())
    };
    Ok(until("a write is done again", PATIENCE, room).await?)
}

/// Fills the disk of a Redis, until what it appends is refused.
pub(super) async fn fill_disk(site: &Arc<Site>) -> Result<Struck, Trouble> {
    let site = Arc::clone(site);
    let disk = site.server(0).process().folder().disk().map(|disk| disk.path());
    let disk = disk.ok_or_else(|| Trouble::failed("the data are not on a disk of their own"))?;
    let junk = disk.join(JUNK);
    let bytes = fill(&junk)?;
    let full = || async { refusal(&site).await };
    let first = until("a write is refused", PATIENCE, full).await?;
    let what = format!("{bytes} bytes took all room of the disk");
    Ok(Struck::new(what, async move {
        let last = refusal(&site).await;
        fs::remove_file(&junk)?;
        wait_room(&site).await?;
        Ok(refused(Some(first), last))
    }))
}

/// Writes until there is no room; gives how much it was.
fn fill(junk: &Path) -> Result<u64, Trouble> {
    let mut file = File::create(junk)?;
    let mut size = 1 << 20;
    // In ever smaller pieces, so that not a block is left.
    while size >= 4096 {
        if file.write_all(&vec![b'x'; size]).and_then(|()| file.sync_data()).is_err() {
            size /= 4;
        }
    }
    Ok(file.metadata()?.len())
}
