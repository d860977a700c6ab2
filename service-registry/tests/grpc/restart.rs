//! Servers that are restarted.

use tokio::time::Instant;

use super::calls::{Calls, answers, failures};
use super::stage::{Stage, over_each};
use super::support::{Process, settled};

over_each! {
    a_rolling_restart_of_all_servers_fails_no_call => rolling_restart;
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
    for again in ["a2", "b2", "c2"] {
        calls.reach(calls.begun() + 500).await;
        let old: Process = servers.remove(0);
        old.handle.shutdown();
        old.ended().await.unwrap();
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
