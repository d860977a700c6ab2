//! Servers that are restarted.

use std::collections::VecDeque;

use registry_testing::servers::ports::Port;
use service_registry::Ttl;
use tokio::time::Instant;

use super::calls::{Calls, answers, failures};
use super::stage::{MACHINE, Stage, over_each};
use super::support::{Process, settled, within};

over_each! {
    a_rolling_restart_of_all_servers_fails_no_call => rolling_restart;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_in_go_zeros_layout_fails_no_call() {
    rolling_restart(Stage::go_zero().await).await;
}

const CALLS: u32 = 20_000;
const PER_SECOND: u32 = 1_000;
const SERVERS: usize = 3;

/// A server, and its port, which is nobody else's while it is restarted.
struct Seat {
    server: Process,
    port: Port,
}

impl Seat {
    /// Starts a server there, and waits until it is registered.
    async fn take(stage: &Stage, port: Port, name: &'static str) -> Self {
        let at = port.address().to_string();
        // Who restarts says so: no lease is to end, even where so much goes on that heartbeats are late.
        let server = stage.server_with(name, |builder| builder.listen(at).ttl(Ttl::default())).await;
        within("registered", server.handle.wait_until(|state| state.is_registered())).await;
        Self { server, port }
    }

    /// Stops the server, and waits until it has ended.
    async fn leave(self) -> Port {
        self.server.handle.shutdown();
        self.server.ended().await.unwrap();
        self.port
    }
}

async fn rolling_restart(stage: Stage) {
    let _loading = MACHINE.read().await;
    let mut seats = VecDeque::new();
    for name in ["a", "b", "c"] {
        seats.push_back(Seat::take(&stage, Port::free().unwrap(), name).await);
    }
    let channel = stage.channel().await;
    settled(&channel, SERVERS).await;
    let began = Instant::now();
    let calls = Calls::start(&channel, PER_SECOND, 2);
    let mut restarts = 0;
    // One after the other, each at least twice, for as long as there are calls: who has run for longest is stopped first, and started then, as where there
    // is no room for one more.
    while calls.begun() < CALLS || restarts < 2 * SERVERS {
        calls.reach(calls.begun() + 200).await;
        let port = seats.pop_front().unwrap().leave().await;
        // Every other one comes back at the same address, and so under the same id; the others elsewhere.
        let port = if restarts % 2 == 0 { port } else { Port::free().unwrap() };
        restarts += 1;
        seats.push_back(Seat::take(&stage, port, format!("newcomer {restarts}").leak()).await);
        settled(&channel, SERVERS).await;
    }
    calls.reach(calls.begun() + 500).await;
    let rate = f64::from(calls.begun()) / began.elapsed().as_secs_f64();
    let all = calls.stop().await;
    let failed = failures(&all);
    assert!(
        failed.is_empty(),
        "{} of {} failed in {restarts} restarts, such as {:?}",
        failed.len(),
        all.len(),
        failed[0]
    );
    assert!(all.len() >= CALLS as usize && rate >= 500.0, "{} calls, {rate:.0} a second", all.len());
    let answers = answers(&all);
    assert_eq!(answers.len(), SERVERS + restarts, "{answers:?}");
    assert!(answers.values().all(|answers| *answers >= 10), "{answers:?}");
}
