//! Partitions between servers, and what takes their majority away.

use std::sync::Arc;

use futures_util::future::join_all;
use registry_testing::servers::proxy::Faults;
use registry_testing::servers::redis::RedisCluster;
use registry_testing::servers::{ServerError, until};

use super::Bite;
use super::site::{Deployment, Led, PATIENCE, Site};
use super::struck::Struck;
use crate::experiment::Trouble;

/// What nobody else writes.
const CANARY: &str = "chaos-canary";

fn none_between() -> Trouble {
    Trouble::failed("these servers have no network between them")
}

impl Site {
    /// Cuts a server off from all others of its group, both ways.
    fn isolate(&self, index: usize) -> Result<(), Trouble> {
        let cut = match &self.deployment {
            Deployment::EtcdCluster(cluster) => cluster.isolate(index),
            Deployment::Sentinel(group) => group.isolate(index),
            Deployment::Cluster(cluster) => cluster.isolate(index),
            Deployment::Etcd(_) | Deployment::Redis(_) => false,
        };
        cut.then_some(()).ok_or_else(none_between)
    }

    /// Nothing that a server sends reaches any other of its group.
    fn mute(&self, index: usize) -> Result<(), Trouble> {
        let others = |size: usize| (0..size).filter(|other| *other != index);
        let cut = match &self.deployment {
            Deployment::EtcdCluster(cluster) => others(self.size()).all(|other| cluster.block(index, other)),
            // Sentinels are counted after the nodes.
            Deployment::Sentinel(group) => {
                others(self.size() + group.sentinel_addresses().len()).all(|other| group.block(index, other))
            }
            Deployment::Cluster(cluster) => others(self.size()).all(|other| cluster.block(index, other)),
            Deployment::Etcd(_) | Deployment::Redis(_) => false,
        };
        cut.then_some(()).ok_or_else(none_between)
    }

    fn heal_network(&self) {
        match &self.deployment {
            Deployment::EtcdCluster(cluster) => cluster.heal(),
            Deployment::Sentinel(group) => group.heal(),
            Deployment::Cluster(cluster) => cluster.heal(),
            Deployment::Etcd(_) | Deployment::Redis(_) => {}
        }
    }

    /// Bytes between servers that were lost so far.
    fn swallowed(&self) -> u64 {
        match &self.deployment {
            Deployment::EtcdCluster(cluster) => cluster.swallowed(),
            Deployment::Sentinel(group) => group.swallowed(),
            Deployment::Cluster(cluster) => cluster.swallowed(),
            Deployment::Etcd(_) | Deployment::Redis(_) => 0,
        }
    }

    async fn wait_swallowed(&self, before: u64) -> Result<(), ServerError> {
        let lost = || async { (self.swallowed() > before).then_some(()) };
        until("something between servers is lost", PATIENCE, lost).await
    }
}

/// Cuts one off that does not lead.
pub(super) async fn isolate_follower(
    site: &Arc<Site>,
    random: &mut fastrand::Rng,
) -> Result<Struck, Trouble> {
    let (site, follower) = (Arc::clone(site), site.follower(random).await?);
    let before = site.swallowed();
    site.isolate(follower)?;
    site.wait_swallowed(before).await?;
    Ok(Struck::new(format!("{} was cut off from all others", site.name(follower)), async move {
        let swallowed = site.swallowed() - before;
        site.heal_network();
        Ok(Bite::new(swallowed > 0, format!("{swallowed} bytes between servers were lost")))
    }))
}

/// Cuts the one off that leads.
pub(super) async fn isolate_leader(site: &Arc<Site>) -> Result<Struck, Trouble> {
    let led = site.led_by(site.leader().await?).await?;
    let before = site.swallowed();
    site.isolate(led.leader)?;
    until_another_leads(site, led, before, "was cut off from all others").await
}

/// Lets nothing out that the one that leads sends to others.
pub(super) async fn mute_leader(site: &Arc<Site>) -> Result<Struck, Trouble> {
    let led = site.led_by(site.leader().await?).await?;
    let before = site.swallowed();
    site.mute(led.leader)?;
    until_another_leads(site, led, before, "is heard by nobody, and hears all").await
}

async fn until_another_leads(site: &Arc<Site>, led: Led, before: u64, what: &str) -> Result<Struck, Trouble> {
    let site = Arc::clone(site);
    site.wait_swallowed(before).await?;
    Ok(Struck::new(format!("{}, which led, {what}", site.name(led.leader)), async move {
        let next = site.next_leader(led).await?;
        let swallowed = site.swallowed() - before;
        site.heal_network();
        let proof = format!("{swallowed} bytes between servers were lost, and {} led", site.name(next));
        Ok(Bite::new(swallowed > 0 && next != led.leader, proof))
    }))
}

/// Cuts the primary off from all servers, and the writers from all sentinels, so that they go on with it.
pub(super) async fn split_brain(site: &Arc<Site>) -> Result<Struck, Trouble> {
    let site = Arc::clone(site);
    let led = site.led_by(site.leader().await?).await?;
    let before = site.swallowed();
    join_all(site.beside.iter().map(|proxy| proxy.set(Faults::black_hole()))).await;
    site.isolate(led.leader)?;
    site.wait_swallowed(before).await?;
    let what = format!("{}, the primary, was cut off together with the writers", site.name(led.leader));
    Ok(Struck::new(what, async move {
        let next = site.next_leader(led).await?;
        let Deployment::Sentinel(group) = &site.deployment else { return Err(none_between()) };
        let takes = group.command(led.leader, &["SET", CANARY, "lost"]).await.is_ok();
        let swallowed = site.swallowed() - before;
        site.heal_network();
        join_all(site.beside.iter().map(|proxy| proxy.heal())).await;
        let proof = format!(
            "{swallowed} bytes between servers were lost, {} was the primary, and {} {} a write beside it",
            site.name(next),
            site.name(led.leader),
            if takes { "still took" } else { "refused" }
        );
        Ok(Bite::new(swallowed > 0 && next != led.leader && takes, proof))
    }))
}

/// Takes the majority away.
pub(super) async fn lose_quorum(site: &Arc<Site>, random: &mut fastrand::Rng) -> Result<Struck, Trouble> {
    let site = Arc::clone(site);
    let mut three = [0, 1, 2];
    random.shuffle(&mut three);
    let [left, ref killed @ ..] = three;
    let killed = *killed;
    match &site.deployment {
        Deployment::EtcdCluster(cluster) => {
            for member in killed {
                cluster.member(member).kill().await?;
            }
            let without = !cluster.member(left).serves().await;
            let what = format!("SIGKILL to etcd-{} and etcd-{}", killed[0], killed[1]);
            Ok(Struck::new(what, async move {
                let still = !site_serves(&site, left).await;
                site.restart_some(&killed).await?;
                let proof = format!(
                    "etcd-{left} served a linearizable read: {} at first, {} at last",
                    !without, !still
                );
                Ok(Bite::new(without && still, proof))
            }))
        }
        Deployment::Sentinel(group) => {
            for sentinel in killed {
                group.sentinel(sentinel).kill().await?;
            }
            let lost = || async { says_no_quorum(&site, left).await.then_some(()) };
            until("the sentinel that is left knows of it", PATIENCE, lost).await?;
            let what = format!("SIGKILL to sentinels {} and {}", killed[0], killed[1]);
            Ok(Struck::new(what, async move {
                let still = says_no_quorum(&site, left).await;
                let Deployment::Sentinel(group) = &site.deployment else { return Err(none_between()) };
                for sentinel in killed {
                    group.restart_sentinel(sentinel).await?;
                }
                let back = || async { (!says_no_quorum(&site, left).await).then_some(()) };
                until("the sentinels are a majority again", PATIENCE, back).await?;
                Ok(Bite::new(still, format!("sentinel {left} said NOQUORUM at first, and at last: {still}")))
            }))
        }
        Deployment::Cluster(cluster) => {
            let before = site.swallowed();
            for node in 0..site.size() {
                site.isolate(node)?;
            }
            let all = || async { (failed(cluster).await == site.size()).then_some(()) };
            until("all nodes say that the cluster has failed", PATIENCE, all).await?;
            Ok(Struck::new("all nodes were cut off from each other", async move {
                let Deployment::Cluster(cluster) = &site.deployment else { return Err(none_between()) };
                let failed = failed(cluster).await;
                let swallowed = site.swallowed() - before;
                site.heal_network();
                let proof = format!(
                    "{failed} of {} nodes said cluster_state:fail, and {swallowed} bytes between them were lost",
                    site.size()
                );
                Ok(Bite::new(failed == site.size() && swallowed > 0, proof))
            }))
        }
        Deployment::Etcd(_) | Deployment::Redis(_) => Err(none_between()),
    }
}

async fn site_serves(site: &Site, member: usize) -> bool {
    match site.server(member) {
        super::site::Server::Etcd(etcd) => etcd.serves().await,
        super::site::Server::Redis(_) => false,
    }
}

async fn says_no_quorum(site: &Site, sentinel: usize) -> bool {
    let Deployment::Sentinel(group) = &site.deployment else { return false };
    let said = group.ask_sentinel(sentinel, &["SENTINEL", "CKQUORUM", group.service_name()]).await;
    matches!(said, Err(ServerError::Refused { answer, .. }) if answer.starts_with("NOQUORUM"))
}

/// How many nodes say that the cluster has failed.
async fn failed(cluster: &RedisCluster) -> usize {
    let says = (0..cluster.nodes().len()).map(|node| async move {
        let said = cluster.command(node, &["CLUSTER", "INFO"]).await.ok()?;
        said.text().lines().any(|line| line.trim_end() == "cluster_state:fail").then_some(())
    });
    join_all(says).await.into_iter().flatten().count()
}
