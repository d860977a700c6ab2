//! Three members, of which one has missed everything, and can be elected as well as one that has not.

use registry_testing::servers::etcd::EtcdCluster;
use registry_testing::servers::until;
use tokio::time::Instant;

use super::{ETCD, STALE_LED, WRITES};
use crate::claims::clustering::aftermath;
use crate::claims::clustering::group::{PATIENCE, etcd_client, truth};
use crate::claims::clustering::view::View;
use crate::claims::clustering::writer::{TTL, Written};
use crate::experiment::Trouble;
use crate::record::Record;

const MARKER: &str = "marker";

/// A follower gets nothing of what is written; then the leader dies, and the follower is reached again.
pub(super) async fn trial(cluster: &EtcdCluster, run: u32) -> Result<Record, Trouble> {
    for member in cluster.members() {
        member.wait_serving(PATIENCE).await?;
    }
    let leader = cluster.leader().await?;
    let stale = (leader + 1) % cluster.members().len();
    let reached = cluster.endpoints().into_iter().enumerate().filter(|(member, _)| *member != stale);
    let client = etcd_client(reached.map(|(_, endpoint)| endpoint).collect())?;
    let service = format!("stale-{run}");
    let view = View::of(&*client, &service, PATIENCE).await?;

    let swallowed = cluster.swallowed();
    let from = Instant::now();
    cluster.isolate(stale);
    let mut written = Vec::new();
    for value in 0..WRITES {
        let (id, invoked) = (format!("w-{value}"), Instant::now());
        let member = client.register(&service, &id, 1, TTL).await.ok();
        let acknowledged = member.is_some().then(Instant::now);
        written.push(Written { id, value: 1, invoked, acknowledged, member });
    }
    let status = |member: usize| async move { cluster.member(member).status().await };
    let before = status(stale).await?;
    let missed = before.revision < status(leader).await?.revision;
    let swallowed = cluster.swallowed() - swallowed;
    cluster.member(leader).kill().await?;
    cluster.heal();
    let new = cluster.wait_new_leader(leader).await?;
    // Of three members two are left, so that whoever is elected has the vote of both.
    let voted = || async { status(stale).await.ok().filter(|now| now.leader != 0 && now.term > before.term) };
    let after = until("the member that was behind has taken part in an election", PATIENCE, voted).await?;
    let truth = truth(&*client, &service, MARKER).await?;

    let acknowledged = written.iter().any(|written| written.acknowledged.is_some());
    let bitten = missed && swallowed > 0 && acknowledged;
    let proof = format!(
        "member {stale} was behind, {swallowed} bytes between servers were lost, member {leader} died, and member {new} led; \
         member {stale} went from term {} to {}, and nobody is elected by fewer than two of three",
        before.term, after.term
    );
    let record = Record::new(ETCD, run).with(STALE_LED, f64::from(u8::from(new == stale)));
    let record = aftermath::add(record.if_bitten(bitten, proof), &written, &truth, MARKER, &view, from).await;
    cluster.member(leader).restart().await?;
    let back = || async { status(leader).await.ok().filter(|status| status.leader != 0).map(drop) };
    until("the killed member follows", PATIENCE, back).await?;
    Ok(record)
}
