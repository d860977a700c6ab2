//! Many endpoints.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use service_registry::tonic::Channel;
use service_registry::{Instance, Registry};
use tonic::transport::server::TcpIncoming;

use super::stage::{MACHINE, Stage, over_each};
use super::support::listed::list;
use super::support::{Named, SERVICE, call};

over_each! {
    more_endpoints_than_a_tonic_channel_can_have_work => more_than_tonic_takes;
    and_so_do_five_thousand => five_thousand;
}

/// So many instances are registered at a time.
const SIDE_BY_SIDE: usize = 64;
const CALLS: usize = 1_000;

/// Each connection has two ends here.
fn allow_open_files(wanted: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        let allowed = maximum.is_none_or(|maximum| maximum >= wanted);
        assert!(allowed, "at most {maximum:?} open files are allowed");
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).unwrap();
    }
}

/// Registers instances, each at an address of its own, at all of which one server listens.
async fn register(registry: &dyn Registry, which: Range<u16>, port: u16) {
    let listed = stream::iter(which).for_each_concurrent(SIDE_BY_SIDE, |at| {
        let [high, low] = at.to_be_bytes();
        let address = Ipv4Addr::new(127, 1, high, low);
        let instance = Instance::builder(SERVICE).endpoint(format!("{address}:{port}"));
        async move { drop(list(registry, instance).await) }
    });
    listed.await;
}

/// A thousand calls reach at least so many of `count` endpoints.
async fn works_with(channel: &Channel, count: u16, reached: usize) {
    let connected = channel.wait_until(Duration::from_secs(120), |all| {
        all.len() == usize::from(count) && all.iter().all(|one| one.is_ready())
    });
    connected.await.unwrap_or_else(|all| {
        panic!("{} of {count} are connected", all.iter().filter(|one| one.is_ready()).count())
    });
    let calls = |channel: &Channel| -> Vec<u64> { channel.endpoints().iter().map(|one| one.calls).collect() };
    let before = calls(channel);
    for _ in 0..CALLS {
        assert_eq!(call(channel, 0).await.unwrap(), "many");
    }
    let called = calls(channel).iter().zip(before).filter(|(after, before)| *after > before).count();
    assert!(called > reached, "{CALLS} calls went to only {called} of {count}");
}

async fn more_than_tonic_takes(stage: Stage) {
    grows(stage, &[(1_025, 400)]).await;
}

async fn five_thousand(stage: Stage) {
    grows(stage, &[(1_025, 400), (5_000, 700)]).await;
}

/// Grows to so many endpoints each time, at least so many of which are reached.
async fn grows(stage: Stage, sizes: &[(u16, usize)]) {
    let _alone = MACHINE.write().await;
    allow_open_files(11_000);
    let incoming = TcpIncoming::bind("0.0.0.0:0".parse().unwrap()).unwrap();
    let port = incoming.local_addr().unwrap().port();
    let router = Named::new("many").router();
    let server = tokio::spawn(async move { router.serve_with_incoming(incoming).await.unwrap() });
    let registry = stage.registry().await;
    let channel = stage.channel().await;

    let mut there = 0;
    for (count, reached) in sizes {
        register(&*registry, there..*count, port).await;
        works_with(&channel, *count, *reached).await;
        there = *count;
    }
    server.abort();
}
