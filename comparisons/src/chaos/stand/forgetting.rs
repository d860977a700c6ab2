//! History that is forgotten while readers are away.

use std::collections::BTreeMap;
use std::sync::Arc;

use registry_testing::servers::ServerError;
use registry_testing::servers::etcd::Etcd;

use super::site::{Deployment, Server, Site};
use super::struck::Struck;
use super::{Bite, Fault, links};
use crate::experiment::Trouble;

/// Where each history is: the revision of an etcd, or the last entry of each log of Redis.
type Histories = BTreeMap<String, String>;

/// Cuts readers off; before they come back, all history is forgotten.
pub(super) async fn compact(site: &Arc<Site>) -> Result<Struck, Trouble> {
    let Struck { what, heal } = links::strike(Arc::clone(site), Fault::LinkCut).await?;
    let site = Arc::clone(site);
    let before = histories(&site).await?;
    Ok(Struck::new(format!("{what}; history is forgotten before they are open again"), async move {
        let (forgotten, how) = forget(&site, &before).await?;
        let cut = heal.await?;
        Ok(Bite::new(cut.bitten && forgotten, format!("{how}; {}", cut.proof)))
    }))
}

fn etcd(site: &Site) -> Option<&Etcd> {
    match site.server(0) {
        Server::Etcd(etcd) => Some(etcd),
        Server::Redis(_) => None,
    }
}

async fn histories(site: &Site) -> Result<Histories, Trouble> {
    if let Some(etcd) = etcd(site) {
        return Ok(Histories::from([("revision".to_owned(), etcd.status().await?.revision.to_string())]));
    }
    let mut last = Histories::new();
    for log in site.redis_keys("registry:*:log").await? {
        let found = site.redis_command(&log, &["XREVRANGE", &log, "+", "-", "COUNT", "1"]).await?;
        let id = found.list().first().and_then(|entry| entry.list().first()).map(|id| id.text());
        last.insert(log, id.unwrap_or_default());
    }
    Ok(last)
}

/// Whether something is forgotten that is newer than `before`, and how that is known.
async fn forget(site: &Site, before: &Histories) -> Result<(bool, String), Trouble> {
    if let Some(etcd) = etcd(site) {
        let cut: u64 = before.get("revision").and_then(|revision| revision.parse().ok()).unwrap_or_default();
        let compacted = match &site.deployment {
            Deployment::EtcdCluster(cluster) => cluster.compact().await?,
            _ => etcd.compact().await?,
        };
        let next = etcd.get_at("any", cut + 1).await;
        let unreadable =
            matches!(next, Err(ServerError::Refused { answer, .. }) if answer.contains("compacted"));
        let how = format!(
            "readers were cut off at revision {cut}, history was compacted up to {compacted}, and revision {} {} be read",
            cut + 1,
            if unreadable { "could not" } else { "could" }
        );
        return Ok((unreadable, how));
    }
    let after = histories(site).await?;
    let moved: Vec<&String> =
        after.iter().filter(|(log, last)| before.get(*log) != Some(last)).map(|(log, _)| log).collect();
    // Writers go on meanwhile: what counts is that what they had written before is gone.
    let mut kept = 0;
    for (log, last) in &after {
        site.redis_command(log, &["XTRIM", log, "MAXLEN", "=", "0"]).await?;
        let until = if last.is_empty() { "0-0" } else { last };
        let found = site.redis_command(log, &["XRANGE", log, "-", until, "COUNT", "1"]).await?;
        kept += found.list().len();
    }
    let how = format!(
        "{} of {} logs had grown since readers were cut off, and {kept} still had something of that",
        moved.len(),
        after.len()
    );
    Ok((kept == 0 && !moved.is_empty(), how))
}
