//! One fault, and what becomes of the clients of a group meanwhile.

use std::sync::Arc;

use registry_testing::servers::{ServerError, until};
use tokio::time::Instant;

use super::{RECOVERED, WRITE_GAP};
use crate::claims::clustering::aftermath;
use crate::claims::clustering::group::{Client, Group, PATIENCE, Strike, truth};
use crate::claims::clustering::view::View;
use crate::claims::clustering::writer::{Writer, gap};
use crate::contestants::Contestant;
use crate::experiment::Trouble;
use crate::record::Record;

/// So many registrations are acknowledged before the fault, and so many after it is over, before the writers stop.
const SOME: usize = 30;
/// So many are sent while the link to the replicas is cut and the leader still runs.
const WHILE_CUT: usize = 60;
/// What the watchers are asked about.
const MARKER: &str = "marker";

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) strike: Strike,
    /// Whether the leader is cut off from its replicas before.
    pub(super) cut: bool,
    /// How many registrations more are acknowledged before, so that it does not come always at the same point.
    pub(super) later: usize,
}

/// One client of a group, and what it does during the fault.
struct Party {
    arm: String,
    client: Client,
    service: String,
    writer: Writer,
    view: View,
}

/// Does a fault to a group while `clients` write. Gives one record for each of them.
pub(super) async fn strike(
    group: &Group,
    clients: &[(&str, Client)],
    fault: Fault,
    run: u32,
) -> Result<Vec<Record>, Trouble> {
    group.settle().await?;
    let parties = parties(group, clients, fault, run).await?;
    // Of a cluster, the one that has the service of the only client.
    let service = parties.first().map(|party| party.service.clone()).unwrap_or_default();
    let begun = Instant::now();
    let enough = SOME + fault.later;
    await_all("registrations before the fault", &parties, |writer| {
        writer.acknowledged_since(begun) >= enough
    })
    .await?;

    let old = group.leader(&service).await?;
    let swallowed = group.swallowed();
    let from = Instant::now();
    if fault.cut {
        group.cut(old).await?;
        await_all("registrations without replicas", &parties, |writer| writer.sent_since(from) >= WHILE_CUT)
            .await?;
    }
    group.strike(old, fault.strike).await?;
    let runs = group.runs(old);
    let new = group.next_leader(&service, old).await?;
    let swallowed = group.swallowed() - swallowed;
    group.heal();
    let over = Instant::now();
    // How it went on is a result, also where it did not.
    let goes_on = await_all("registrations after the fault", &parties, |writer| {
        writer.acknowledged_since(over) >= SOME
    })
    .await
    .is_ok();
    let end = Instant::now();
    parties.iter().for_each(|party| party.writer.halt());
    group.revive(old, fault.strike).await?;

    let bitten = new != old && runs == (fault.strike == Strike::Pause) && (!fault.cut || swallowed > 0);
    let proof = proof(fault, old, new, swallowed);
    let mut records = Vec::new();
    let mut finished = Vec::new();
    for party in parties {
        let written = party.writer.outcome().await;
        finished.push((party.arm, party.client, party.service, party.view, written));
    }
    group.settle().await?;
    for (arm, client, service, view, written) in finished {
        let truth = truth(&*group.client(client)?, &service, MARKER).await?;
        let record = Record::new(arm, run)
            .with(WRITE_GAP, gap(&written, from, end).as_secs_f64())
            .with(RECOVERED, f64::from(u8::from(goes_on)))
            .if_bitten(bitten, proof.clone());
        records.push(aftermath::add(record, &written, &truth, MARKER, &view, from).await);
    }
    group.clear().await?;
    Ok(records)
}

async fn parties(
    group: &Group,
    clients: &[(&str, Client)],
    fault: Fault,
    run: u32,
) -> Result<Vec<Party>, Trouble> {
    let mut parties = Vec::new();
    for (index, (arm, client)) in clients.iter().enumerate() {
        let arm = if fault.cut { super::cut(arm) } else { (*arm).to_owned() };
        let service = format!("fault-{run}-{}-{index}", u8::from(fault.cut));
        let contestant: Arc<dyn Contestant> = group.client(*client)?;
        let view = View::of(&*contestant, &service, PATIENCE).await?;
        let writer = Writer::start(&contestant, &service, "w", client.every());
        parties.push(Party { arm, client: *client, service, writer, view });
    }
    Ok(parties)
}

async fn await_all(
    what: &str,
    parties: &[Party],
    enough: impl Fn(&Writer) -> bool,
) -> Result<(), ServerError> {
    let all = || async { parties.iter().all(|party| enough(&party.writer)).then_some(()) };
    until(what, PATIENCE, all).await
}

fn proof(fault: Fault, old: usize, new: usize, swallowed: u64) -> String {
    let struck = match fault.strike {
        Strike::Kill => "its process was gone",
        Strike::Pause => "its process stood still",
    };
    let cut =
        if fault.cut { format!(", {swallowed} bytes between servers were lost") } else { String::new() };
    format!("server {old} led and {struck}, then server {new} led{cut}")
}
