//! A channel over a directory with a guard and views on disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use registry_core::{Directory, DirectoryOptions, DiskOptions, GuardOptions};
use registry_memory::MemoryRegistry;
use registry_tonic::Channel;
use support::{Load, Process, call, eventually, service, settled, shared, within};

#[tokio::test]
async fn a_wipe_of_the_registry_costs_a_guarded_channel_no_call_and_no_connection() {
    let registry = MemoryRegistry::new();
    let servers = [Process::start(&registry, "a").await, Process::start(&registry, "b").await];
    let options = DirectoryOptions::new().with_guard(GuardOptions::new());
    let directory = Directory::with_options(shared(&registry), options);
    let channel = Channel::new(&directory, &service());
    settled(&channel, 2).await;
    let view = channel.view().clone();
    let load = Load::start(&channel, 4, 0);
    registry.controls().wipe();
    eventually("both are held", || view.load().held_len() == 2).await;
    let begun: Vec<_> = servers.iter().map(Process::begun).collect();
    eventually("held ones are called", || {
        servers.iter().zip(&begun).all(|(server, begun)| server.begun() > begun + 20)
    })
    .await;
    assert_eq!(channel.endpoints().iter().filter(|one| one.is_ready()).count(), 2, "{channel:?}");
    eventually("both are back", || view.load().held_len() == 0).await;
    assert_eq!(view.load().entries().len(), 2);
    assert!(load.stop().await.failures.is_empty());
}

#[tokio::test]
async fn a_channel_starts_from_disk_while_the_registry_cannot_be_reached() {
    let folder = std::env::temp_dir().join(format!("registry-tonic-guarded-{}", std::process::id()));
    let registry = MemoryRegistry::new();
    let _server = Process::start(&registry, "a").await;
    let open = |client: &MemoryRegistry| {
        let disk = DiskOptions::new(&folder, "test").with_delay(std::time::Duration::ZERO);
        let options = DirectoryOptions::new().with_disk(disk);
        Channel::new(&Directory::with_options(shared(client), options), &service())
    };
    let before = open(&registry);
    eventually("it is saved", || before.view().stats().disk_saved > 0).await;
    let away = registry.client();
    away.controls().outage();
    let channel = open(&away);
    assert_eq!(within("an answer", call(&channel, 0)).await.unwrap(), "a");
    std::fs::remove_dir_all(&folder).unwrap();
}
