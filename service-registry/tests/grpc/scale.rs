//! Many endpoints.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use service_registry::Instance;
use tonic::transport::server::TcpIncoming;

use super::stage::{MACHINE, Stage, over_each};
use super::support::listed::list;
use super::support::{Named, SERVICE, call};

over_each! {
    more_endpoints_than_a_tonic_channel_can_have_work => more_than_tonic;
    five_thousand_endpoints_work => five_thousand;
}

async fn more_than_tonic(stage: Stage) {
    works_with(&stage, 1_025, 400).await;
}

async fn five_thousand(stage: Stage) {
    works_with(&stage, 5_000, 700).await;
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

/// So many instances, each at an address of its own, at all of which one server listens.
async fn many(stage: &Stage, count: u16) -> tokio::task::JoinHandle<()> {
    let incoming = TcpIncoming::bind("0.0.0.0:0".parse().unwrap()).unwrap();
    let port = incoming.local_addr().unwrap().port();
    let router = Named::new("many").router();
    let task = tokio::spawn(async move { router.serve_with_incoming(incoming).await.unwrap() });
    let registry = stage.registry().await;
    let listed = stream::iter(0..count).for_each_concurrent(SIDE_BY_SIDE, |at| {
        let [high, low] = at.to_be_bytes();
        let address = Ipv4Addr::new(127, 1, high, low);
        let instance = Instance::builder(SERVICE).endpoint(format!("{address}:{port}"));
        let registry = &*registry;
        async move { drop(list(registry, instance).await) }
    });
    listed.await;
    task
}

/// A thousand calls reach at least so many of `count` endpoints.
async fn works_with(stage: &Stage, count: u16, reached: usize) {
    let _alone = MACHINE.write().await;
    allow_open_files(2 * u64::from(count) + 1_000);
    let task = many(stage, count).await;
    let channel = stage.channel().await;
    let connected = channel.wait_until(Duration::from_secs(120), |all| {
        all.len() == usize::from(count) && all.iter().all(|one| one.is_ready())
    });
    connected.await.unwrap_or_else(|all| {
        panic!("{} of {count} are connected", all.iter().filter(|one| one.is_ready()).count())
    });
    for _ in 0..CALLS {
        assert_eq!(call(&channel, 0).await.unwrap(), "many");
    }
    let called = channel.endpoints().iter().filter(|one| one.calls > 0).count();
    assert!(called > reached, "{CALLS} calls went to only {called} of {count}");
    task.abort();
}
