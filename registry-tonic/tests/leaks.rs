//! What channels leave behind. In a process of its own, since it counts what the process has open.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use registry_core::Directory;
use registry_memory::MemoryRegistry;
use registry_tonic::Channel;
use support::{Process, call, eventually, service, shared};

/// The sockets of this process, by what the kernel says.
fn sockets() -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let links = open.filter_map(|file| std::fs::read_link(file.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

#[tokio::test]
async fn a_thousand_channels_that_are_dropped_leave_no_task_no_watch_and_no_connection() {
    let registry = MemoryRegistry::new();
    let _servers = [Process::start(&registry, "a").await, Process::start(&registry, "b").await];
    let metrics = tokio::runtime::Handle::current().metrics();
    let (tasks, sockets_before) = (metrics.num_alive_tasks(), sockets());
    for _ in 0..20 {
        let channels: Vec<Channel> =
            (0..50).map(|_| Channel::new(&Directory::new(shared(&registry)), &service())).collect();
        for channel in &channels {
            call(channel, 0).await.unwrap();
        }
        assert_eq!(registry.controls().watchers(), 50);
        assert!(sockets() >= sockets_before + 50);
    }
    eventually("no task is left", || metrics.num_alive_tasks() == tasks).await;
    eventually("no watch is left", || registry.controls().watchers() == 0).await;
    eventually("no connection is left", || sockets() == sockets_before).await;
}
