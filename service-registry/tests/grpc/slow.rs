//! One server is much slower than its peers.

use std::net::SocketAddr;
use std::time::Duration;

use service_registry::tonic::{Channel, Policy};
use service_registry::{Directory, Instance, Registry, ServiceName};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::transport::Endpoint;

use super::calls::p99;
use super::stage::{MACHINE, Stage, over_each};
use super::support::echo::Request;
use super::support::echo::echo_client::EchoClient;
use super::support::listed::{Moody, list};
use super::support::settled;

over_each! {
    one_slow_server_of_three_does_not_make_the_service_slow => slow;
}

/// What a call takes a server, and how many times as long the slow one.
const WORK_MS: u64 = 10;
const SLOWER: u64 = 20;
/// Calls through each kind of channel, from the first one on, when nobody knows yet who is slow.
const CALLS: usize = 1_600;
const PER_SECOND: u32 = 100;

/// Lists servers under `name`.
async fn listed(registry: &dyn Registry, name: &str, servers: &[SocketAddr]) -> ServiceName {
    for server in servers {
        list(registry, Instance::builder(name).endpoint(*server)).await;
    }
    name.parse().unwrap()
}

/// The 99th percentile, in ms, of calls that are begun at a fixed rate.
macro_rules! called {
    ($client:expr) => {
        async {
            let mut ticks = interval(Duration::from_secs(1) / PER_SECOND);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut calls = JoinSet::new();
            for _ in 0..CALLS {
                ticks.tick().await;
                let mut client = $client.clone();
                calls.spawn(async move {
                    let began = Instant::now();
                    client.call(Request { after_ms: WORK_MS, replies: 0 }).await.unwrap();
                    began.elapsed()
                });
            }
            p99(calls.join_all().await)
        }
    };
}

async fn slow(stage: Stage) {
    let _measuring = MACHINE.read().await;
    let servers: [(SocketAddr, JoinHandle<()>); 3] =
        [Moody::new("a").serve(), Moody::new("b").serve(), Moody::slower("slow", SLOWER).serve()];
    let addresses: Vec<_> = servers.iter().map(|(address, _)| *address).collect();
    let registry = stage.registry().await;
    let directory = Directory::new(stage.registry().await);
    let peers = directory.view(&listed(&*registry, "peers.rpc", &addresses[..2]).await);
    let all = directory.view(&listed(&*registry, "all.rpc", &addresses).await);
    let without = Channel::builder(peers).build();
    let with = Channel::builder(all.clone()).build();
    let in_turn = Channel::builder(all).policy(Policy::RoundRobin).build();
    settled(&without, 2).await;
    settled(&with, 3).await;
    settled(&in_turn, 3).await;
    let endpoints =
        addresses.iter().map(|address| Endpoint::from_shared(format!("http://{address}")).unwrap());
    let of_tonic = tonic::transport::Channel::balance_list(endpoints);

    let (without, with) = (EchoClient::new(without), EchoClient::new(with));
    let (in_turn, of_tonic) = (EchoClient::new(in_turn), EchoClient::new(of_tonic));
    // All at the same time: what else the machine has to do is the same for all of them.
    let (without, with, in_turn, of_tonic) =
        tokio::join!(called!(without), called!(with), called!(in_turn), called!(of_tonic));
    let figures = format!(
        "p99 of all calls: {without:.1} ms without the slow server; with it {with:.1} ms, in turn {in_turn:.1} ms, by tonic {of_tonic:.1} ms"
    );
    assert!(with <= 1.5 * without, "{figures}");
    assert!(in_turn > 5.0 * without && of_tonic > 5.0 * without, "the slow one was slow: {figures}");
}
