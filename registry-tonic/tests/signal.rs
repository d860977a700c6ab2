//! Alone in its process, because a signal reaches every server in it.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::time::Duration;

use registry_core::{RegistrarState, Registry};
use registry_memory::MemoryRegistry;
use registry_tonic::Server;
use support::{Named, SERVICE, service, shared, within};

#[tokio::test]
async fn sigterm_drains_and_deregisters() {
    let registry = MemoryRegistry::new();
    let server = Server::builder(shared(&registry), SERVICE)
        .listen("127.0.0.1:0")
        .drain_grace(Duration::from_millis(100))
        .bind()
        .await
        .unwrap();
    let handle = server.handle();
    let serving = tokio::spawn(server.serve(Named::new("a").router()));
    within("registered", handle.wait_until(RegistrarState::is_registered)).await;
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();
    let draining = |state: &RegistrarState| matches!(state, RegistrarState::Draining { .. });
    within("draining", handle.wait_until(draining)).await;
    within("the server's end", serving).await.unwrap().unwrap();
    assert!(registry.lookup(&service()).await.unwrap().is_empty());
}
