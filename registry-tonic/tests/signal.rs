//! Alone in its process, and one at a time, because a signal reaches every server in it.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::time::Duration;

use registry_core::{Directory, RegistrarState, Registry};
use registry_memory::MemoryRegistry;
use registry_tonic::{Channel, Server, ServerBuilder, ServerError};
use rustix::process::Signal;
use support::{Named, SERVICE, service, settled, shared, within};

static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn builder(registry: &MemoryRegistry) -> ServerBuilder {
    Server::builder(shared(registry), SERVICE).listen("127.0.0.1:0")
}

fn raise(signal: Signal) {
    rustix::process::kill_process(rustix::process::getpid(), signal).unwrap();
}

/// Sends `first` to a server that has a client, waits until it drains, and sends what follows.
async fn signalled(
    registry: &MemoryRegistry,
    builder: ServerBuilder,
    first: Signal,
    then: Option<Signal>,
) -> Result<(), ServerError> {
    let server = builder.bind().await.unwrap();
    let handle = server.handle();
    let serving = tokio::spawn(server.serve(Named::new("a").router()));
    within("registered", handle.wait_until(RegistrarState::is_registered)).await;
    let channel = Channel::new(&Directory::new(shared(registry)), &service());
    settled(&channel, 1).await;
    raise(first);
    let draining = |state: &RegistrarState| matches!(state, RegistrarState::Draining { .. });
    within("draining", handle.wait_until(draining)).await;
    if let Some(then) = then {
        raise(then);
    }
    within("the server's end", serving).await.unwrap()
}

#[tokio::test]
async fn sigterm_and_sigint_drain_and_deregister() {
    let _alone = ONE_AT_A_TIME.lock().await;
    for signal in [Signal::TERM, Signal::INT] {
        let registry = MemoryRegistry::new();
        let builder = builder(&registry).drain_grace(Duration::from_millis(100));
        signalled(&registry, builder, signal, None).await.unwrap();
        assert!(registry.lookup(&service()).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_second_sigterm_cuts_the_grace_short_and_it_still_deregisters() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let registry = MemoryRegistry::new();
    let builder = builder(&registry).drain_grace(Duration::from_secs(3600));
    signalled(&registry, builder, Signal::TERM, Some(Signal::TERM)).await.unwrap();
    assert!(registry.lookup(&service()).await.unwrap().is_empty());
}
