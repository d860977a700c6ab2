//! Servers that are killed.

use std::time::Duration;

use service_registry::tonic::Connectivity;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::calls::{Calls, failures, p99};
use super::child::Child;
use super::stage::{MACHINE, Stage, over_each};
use super::support::{PATIENCE, call, eventually, settled};

over_each! {
    of_a_server_that_is_killed_only_calls_in_flight_fail_and_the_others_are_as_fast_as_before => killed;
}

const PER_SECOND: u32 = 300;
const WORK_MS: u64 = 5;

async fn killed(stage: Stage) {
    let _alone = MACHINE.write().await;
    let victim = Child::start(&stage, "victim").await;
    let _others = [Child::start(&stage, "b").await, Child::start(&stage, "c").await];
    let channel = stage.channel().await;
    settled(&channel, 3).await;
    let calls = Calls::start(&channel, PER_SECOND, WORK_MS);
    calls.reach(3 * PER_SECOND).await;

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
    let killed = Instant::now();
    victim.kill().await;
    // Its connection is gone, or so many calls broke before that was noticed that it is ejected.
    let out = |connectivity: &Connectivity| {
        matches!(connectivity, Connectivity::Connecting { .. } | Connectivity::Ejected { .. })
    };
    channel.wait_until(PATIENCE, |all| out(&victim.of(all).connectivity)).await.unwrap();
    let noticed = Instant::now();
    assert!(noticed - killed < Duration::from_secs(1), "noticed after {:?}", noticed - killed);

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

    let all = calls.stop().await;
    for one in failures(&all) {
        of_the_victim(one.outcome.as_ref().unwrap_err());
        assert!(one.at <= noticed && one.at + one.took >= killed, "it was not in flight then: {one:?}");
    }
    let of_others = |from: Instant, to: Instant| {
        let theirs = all.iter().filter(|one| one.outcome.as_ref().is_ok_and(|server| server != "victim"));
        p99(theirs.filter(|one| (from..to).contains(&one.at)).map(|one| one.took))
    };
    let before = of_others(killed - Duration::from_secs(2), killed);
    let after = of_others(killed, Instant::now());
    assert!(after < 3.0 * before + 20.0, "p99 of the others: {before:.1} ms before, {after:.1} ms after");
}
