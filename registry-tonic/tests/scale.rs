//! Many endpoints.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::net::Ipv4Addr;
use std::time::Duration;

use registry_core::{Directory, Instance};
use registry_memory::MemoryRegistry;
use registry_tonic::Channel;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::listed::list;
use support::{Named, SERVICE, call, service, shared};
use tonic::transport::server::TcpIncoming;

/// Each connection has two ends here.
fn allow_open_files(wanted: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        assert!(
            maximum.is_none_or(|maximum| maximum >= wanted),
            "at most {maximum:?} open files are allowed"
        );
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).unwrap();
    }
}

/// So many instances, each at an address of its own, at all of which one server listens.
async fn many(registry: &MemoryRegistry, count: u16) -> tokio::task::JoinHandle<()> {
    let incoming = TcpIncoming::bind("0.0.0.0:0".parse().unwrap()).unwrap();
    let port = incoming.local_addr().unwrap().port();
    let router = Named::new("many").router();
    let task = tokio::spawn(async move { router.serve_with_incoming(incoming).await.unwrap() });
    for at in 0..count {
        let [high, low] = at.to_be_bytes();
        let address = Ipv4Addr::new(127, 1, high, low);
        list(registry, Instance::builder(SERVICE).endpoint(format!("{address}:{port}"))).await;
    }
    task
}

async fn works_with(count: u16) {
    allow_open_files(2 * u64::from(count) + 1_000);
    let registry = MemoryRegistry::new();
    let task = many(&registry, count).await;
    let channel = Channel::new(&Directory::new(shared(&registry)), &service());
    let connected = channel.wait_until(Duration::from_secs(120), |all| {
        all.len() == usize::from(count) && all.iter().all(|one| one.is_ready())
    });
    connected.await.unwrap_or_else(|all| {
        panic!("{} of {count} are connected", all.iter().filter(|one| one.is_ready()).count())
    });
    for _ in 0..1_000 {
        assert_eq!(call(&channel, 0).await.unwrap(), "many");
    }
    let called = channel.endpoints().iter().filter(|one| one.calls > 0).count();
    let least = if count > 2_000 { 700 } else { 400 };
    assert!(called > least, "1,000 calls went to only {called} of {count}");

    drop(channel);
    task.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_endpoints_than_a_tonic_channel_can_have_work() {
    works_with(1_025).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_endpoints_work() {
    works_with(5_000).await;
}
