//! A server whose packets are swallowed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use registry_testing::servers::proxy::{Faults, Proxy};
use service_registry::tonic::{Connectivity, EndpointStatus};
use tokio::time::Instant;

use super::calls::{Calls, failures};
use super::stage::{MACHINE, Stage, over_each};
use super::support::listed::{bare, instance_at, list};
use super::support::{PATIENCE, eventually, settled};

over_each! {
    an_endpoint_behind_a_black_hole_is_out_within_two_seconds_and_back_when_it_heals => black_hole;
}

fn far(all: &[EndpointStatus]) -> &EndpointStatus {
    all.iter().find(|one| one.id.as_str() == "far").expect("it is listed")
}

async fn black_hole(stage: Stage) {
    let _measuring = MACHINE.read().await;
    let (far_at, far_server, _far_task) = bare("far").await;
    let (near_at, _, _near_task) = bare("near").await;
    let proxy = Proxy::start(far_at).unwrap();
    // They stay listed all the time: it is the channel that finds out.
    let registry = stage.registry().await;
    list(&*registry, instance_at(proxy.address()).id("far")).await;
    list(&*registry, instance_at(near_at).id("near")).await;
    let channel = stage.channel().await;
    settled(&channel, 2).await;
    let reached = || far_server.begun.load(Ordering::SeqCst);
    let calls = Calls::start(&channel, 200, 1);
    eventually("it is called", || reached() > 50).await;

    proxy.set(Faults::black_hole()).await;
    let cut = Instant::now();
    channel.wait_until(PATIENCE, |all| !far(all).is_ready()).await.unwrap();
    let out = Instant::now();
    assert!(out - cut < Duration::from_secs(2), "{:?}", out - cut);
    // Who had picked it by then is counted soon. Nobody picks it any more, neither while another way to it is looked for, nor once it is known that
    // there is none.
    calls.reach(calls.begun() + 20).await;
    let picked = far(&channel.endpoints()).calls;
    let given_up = |one: &EndpointStatus| matches!(one.connectivity, Connectivity::Connecting { .. });
    channel.wait_until(PATIENCE, |all| given_up(far(all))).await.unwrap();
    calls.reach(calls.begun() + 400).await;
    assert_eq!(far(&channel.endpoints()).calls, picked, "nobody is sent there");

    proxy.heal().await;
    channel.wait_until(PATIENCE, |all| far(all).is_ready()).await.unwrap();
    let before = reached();
    eventually("it is called again", || reached() > before + 20).await;
    // Those that were in the hole have no deadline; everybody else is answered.
    let all = calls.stop().await;
    for one in failures(&all) {
        assert!(one.at <= out && one.at + one.took >= cut, "it was not in the hole: {one:?}");
        let message = one.outcome.as_ref().unwrap_err().message();
        assert!(message.contains(&proxy.address().to_string()), "it was not sent there: {one:?}");
    }
}
