//! Servers that are restarted, and servers that are killed.

use std::time::Duration;

use service_registry::tonic::{Connectivity, EndpointStatus};
use tokio::time::Instant;
use tonic::Code;

use super::calls::{Calls, answers, failures, p99};
use super::stage::{Stage, over_each};
use super::support::{PATIENCE, Process, settled};

over_each! {
    a_rolling_restart_of_all_servers_fails_no_call => rolling_restart;
    of_a_killed_server_only_calls_in_flight_fail => killed;
}

const CALLS: u32 = 20_000;
const PER_SECOND: u32 = 1_000;

async fn rolling_restart(stage: Stage) {
    let mut servers = vec![stage.server("a1").await, stage.server("b1").await, stage.server("c1").await];
    let channel = stage.channel().await;
    settled(&channel, 3).await;
    let began = Instant::now();
    let calls = Calls::start(&channel, PER_SECOND, 2);
    // Stopped first, and started then, as where there is no room for one more.
    for (at, again) in ["a2", "b2", "c2"].into_iter().enumerate() {
        calls.reach(calls.begun() + 500).await;
        let old: Process = servers.remove(0);
        old.handle.shutdown();
        old.ended().await.unwrap();
        assert!(at < 3);
        servers.push(stage.server(again).await);
        settled(&channel, 3).await;
    }
    calls.reach(CALLS).await;
    let rate = f64::from(calls.begun()) / began.elapsed().as_secs_f64();
    let all = calls.stop().await;
    let failed = failures(&all);
    assert!(failed.is_empty(), "{} of {} failed, such as {:?}", failed.len(), all.len(), failed[0]);
    assert!(all.len() >= CALLS as usize && rate >= 500.0, "{} calls, {rate:.0} a second", all.len());
    let answers = answers(&all);
    assert!(answers.len() == 6 && answers.values().all(|answers| *answers > 100), "{answers:?}");
}

async fn killed(stage: Stage) {
    let victim = stage.server("victim").await;
    let _others = [stage.server("b").await, stage.server("c").await];
    let channel = stage.channel().await;
    settled(&channel, 3).await;
    let calls = Calls::start(&channel, 500, 5);
    calls.reach(1_500).await;

    let id = victim.handle.instance().id().clone();
    let of_victim = |all: &[EndpointStatus]| all.iter().find(|one| one.id == id).cloned();
    let killed = Instant::now();
    victim.kill();
    let out = |all: &[EndpointStatus]| of_victim(all).is_none_or(|one| !one.is_ready());
    let seen = channel.wait_until(PATIENCE, out).await.unwrap();
    let noticed = Instant::now();
    let picked = of_victim(&seen).map(|one| {
        assert!(matches!(one.connectivity, Connectivity::Connecting { .. }), "{one:?}");
        one.calls
    });
    calls.reach(calls.begun() + 1_500).await;
    if let Some((before, after)) = picked.zip(of_victim(&channel.endpoints()).map(|one| one.calls)) {
        assert_eq!(before, after, "none is picked for it once it is known");
    }
    let all = calls.stop().await;
    let (in_flight, failed) = (Duration::from_millis(500), failures(&all));
    for one in &failed {
        assert_eq!(one.outcome.as_ref().unwrap_err().code(), Code::Unavailable, "{one:?}");
        assert!(one.at <= noticed && one.at + in_flight >= killed, "it was not in flight then: {one:?}");
    }
    // Calls take 5 ms, of which the victim has a third, and 500 begin in a second.
    assert!(failed.len() <= 30, "{} of {} failed", failed.len(), all.len());
    let of_others = |from: Instant, to: Instant| {
        let of_them = all.iter().filter(|one| one.outcome.as_ref().is_ok_and(|server| server != "victim"));
        p99(of_them.filter(|one| (from..to).contains(&one.at)).collect::<Vec<_>>())
    };
    let (before, after) =
        (of_others(killed - Duration::from_secs(2), killed), of_others(killed, Instant::now()));
    assert!(after < 3.0 * before + 20.0, "p99 of the others: {before:.1} ms before, {after:.1} ms after");
}
