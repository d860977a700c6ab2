//! Servers that are killed.

use std::ops::Range;
use std::time::Duration;

use service_registry::tonic::{Channel, Connectivity};
use service_registry::{Directory, Instance};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::calls::{Called, Calls, failures, p99};
use super::child::Child;
use super::stage::{MACHINE, Stage, over_each};
use super::support::listed::list;
use super::support::{PATIENCE, call, eventually, settled, within};

over_each! {
    of_a_server_that_is_killed_only_calls_in_flight_fail_and_the_others_are_as_fast_as_without_it => killed;
}

const PER_SECOND: u32 = 300;
const WORK_MS: u64 = 5;

/// A channel to those of whom none is killed, as another service that they are copies of as well.
async fn spared(stage: &Stage, servers: &[Child]) -> Channel {
    let name = "spared.rpc";
    let registry = stage.registry().await;
    for server in servers {
        list(&*registry, Instance::builder(name).endpoint(server.address())).await;
    }
    let channel = Channel::new(&Directory::new(registry), &name.parse().unwrap());
    settled(&channel, servers.len()).await;
    channel
}

/// The p99 of calls that were begun then and answered by another one than the victim, in ms.
fn of_others(all: &[Called], then: &Range<Instant>) -> f64 {
    let theirs = all.iter().filter(|one| one.outcome.as_ref().is_ok_and(|server| server != "victim"));
    p99(theirs.filter(|one| then.contains(&one.at)).map(|one| one.took))
}

async fn killed(stage: Stage) {
    let _alone = MACHINE.write().await;
    let victim = Child::start(&stage, "victim").await;
    let others = [Child::start(&stage, "b").await, Child::start(&stage, "c").await];
    let channel = stage.channel().await;
    settled(&channel, 3).await;
    let spared = spared(&stage, &others).await;
    let calls = Calls::start(&channel, PER_SECOND, WORK_MS);
    let control = Calls::start(&spared, PER_SECOND, WORK_MS);
    calls.reach(PER_SECOND).await;

    let at = victim.address().to_string();
    let of_the_victim = |status: &Status| {
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(status.message().contains(&at), "it was not sent there: {status:?}");
    };
    let in_flight = || victim.of(&channel.endpoints()).in_flight;
    // More than there are of those that are soon over, so that some are under way there for certain.
    let mut long = JoinSet::new();
    eventually("long calls are in flight there", || {
        let channel = channel.clone();
        long.spawn(async move { call(&channel, 600_000).await });
        in_flight() >= 6
    })
    .await;
    // Whoever has a connection there can know from its end on.
    let mut witness = TcpStream::connect(victim.address()).await.unwrap();
    let known = tokio::spawn(async move {
        let _ = witness.read_to_end(&mut Vec::new()).await;
        Instant::now()
    });
    let killed = Instant::now();
    victim.kill().await;
    // Its connection is gone, or so many calls broke before that was noticed that it is ejected.
    let out = |connectivity: &Connectivity| {
        matches!(connectivity, Connectivity::Connecting { .. } | Connectivity::Ejected { .. })
    };
    channel.wait_until(PATIENCE, |all| out(&victim.of(all).connectivity)).await.unwrap();
    let noticed = Instant::now();
    let known = within("its connections end", known).await.unwrap();
    let late = noticed.saturating_duration_since(known);
    assert!(late < Duration::from_millis(100), "noticed {late:?} after it could be known");

    // Who was about to be sent there has gone elsewhere. It stays listed, and yet nobody else is.
    calls.reach(calls.begun() + 20).await;
    eventually("none is in flight there", || in_flight() == 0).await;
    let picked = victim.of(&channel.endpoints()).calls;
    calls.reach(calls.begun() + 3 * PER_SECOND).await;
    assert_eq!(victim.of(&channel.endpoints()).calls, picked, "none is picked for it once it is known");

    // Those that were sent elsewhere, or are sent there again, are never answered.
    let mut failed = 0;
    while let Some(ended) = long.try_join_next() {
        of_the_victim(&ended.unwrap().unwrap_err());
        failed += 1;
    }
    assert!(failed > 0, "none was in flight there");
    assert!(!long.is_empty(), "none was elsewhere");
    drop(long);

    let (all, control) = (calls.stop().await, control.stop().await);
    let failed = failures(&all);
    for one in &failed {
        of_the_victim(one.outcome.as_ref().unwrap_err());
        assert!(one.at <= noticed && one.at + one.took >= killed, "it was not in flight then: {one:?}");
    }
    // Of those that were begun in between, it may have been sent a few.
    let after: Vec<_> = failed.iter().filter(|one| one.at > known).collect();
    assert!(
        after.len() <= 3,
        "{} calls were lost that were begun after it could be known: {after:?}",
        after.len()
    );
    assert!(failures(&control).is_empty(), "{:?}", failures(&control));
    let then = killed..Instant::now();
    let (ours, control) = (of_others(&all, &then), of_others(&control, &then));
    assert!(
        ours <= 1.5 * control,
        "p99 of the others: {ours:.1} ms, called by who knows only them {control:.1} ms"
    );
}
