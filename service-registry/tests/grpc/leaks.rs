//! What channels leave behind.

use registry_testing::servers::proxy::Proxy;
use registry_testing::servers::until;
use service_registry::Directory;
use service_registry::tonic::Channel;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::stage::{MACHINE, Stage, over_each};
use super::support::listed::{bare, instance_at, list};
use super::support::{PATIENCE, call, eventually, service, settled};

over_each! {
    a_hundred_channels_that_are_dropped_leave_no_trace => apart;
    a_hundred_channels_that_share_a_directory_leave_no_trace => shared;
    a_thousand_channels_that_are_dropped_leave_no_task_no_watch_and_no_connection => thousand_apart;
    a_thousand_channels_that_share_a_directory_share_a_watch_and_leave_nothing => thousand_shared;
}

/// So many at a time, once or until they are a thousand.
const CHANNELS: usize = 100;
const ROUNDS: usize = 10;

/// Two servers, and what there was before the first channel.
struct Scene {
    stage: Stage,
    proxies: [Proxy; 2],
    tasks: usize,
    _servers: [JoinHandle<()>; 2],
}

/// Of the runtime of this test, which all registries and channels of it have in common.
fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

impl Scene {
    async fn set(stage: Stage) -> Self {
        let ((a, _, a_task), (b, _, b_task)) = (bare("a").await, bare("b").await);
        let proxies = [Proxy::start(a).unwrap(), Proxy::start(b).unwrap()];
        let scene = Self { stage, proxies, tasks: tasks(), _servers: [a_task, b_task] };
        let registry = scene.stage.registry().await;
        for proxy in &scene.proxies {
            list(&*registry, instance_at(proxy.address())).await;
        }
        drop(registry);
        scene.nothing_is_left().await;
        scene
    }

    /// Connections to each server.
    fn connections(&self) -> [usize; 2] {
        self.proxies.each_ref().map(|proxy| proxy.counters().open)
    }

    async fn are_used(&self, channels: &[Channel]) {
        for channel in channels {
            settled(channel, 2).await;
            call(channel, 0).await.unwrap();
        }
        assert_eq!(self.connections(), [channels.len(); 2], "each has one to each server");
        assert!(tasks() >= self.tasks + channels.len(), "there is something to be left behind");
    }

    async fn are_watches(&self, wanted: usize) {
        let watches = || async { (self.stage.watches().await == wanted).then_some(()) };
        let found = until("watches", PATIENCE, watches).await;
        let now = self.stage.watches().await;
        assert!(found.is_ok() && now == wanted, "{now} watches instead of {wanted}");
    }

    async fn no_connection_is_left(&self) {
        eventually("no connection to a server is left", || self.connections() == [0; 2]).await;
    }

    async fn nothing_is_left(&self) {
        self.no_connection_is_left().await;
        self.are_watches(0).await;
        eventually("no connection to the registry is left", || self.stage.connections() == 0).await;
        eventually("no task is left", || tasks() == self.tasks).await;
    }
}

async fn apart(stage: Stage) {
    rounds_apart(stage, 1).await;
}

async fn thousand_apart(stage: Stage) {
    rounds_apart(stage, ROUNDS).await;
}

async fn shared(stage: Stage) {
    rounds_shared(stage, 1).await;
}

async fn thousand_shared(stage: Stage) {
    rounds_shared(stage, ROUNDS).await;
}

async fn rounds_apart(stage: Stage, rounds: usize) {
    let _alone = MACHINE.write().await;
    let scene = Scene::set(stage).await;
    for _ in 0..rounds {
        let mut channels = Vec::new();
        for _ in 0..CHANNELS {
            channels.push(scene.stage.channel().await);
        }
        scene.are_used(&channels).await;
        scene.are_watches(CHANNELS).await;
        drop(channels);
        scene.nothing_is_left().await;
    }
}

async fn rounds_shared(stage: Stage, rounds: usize) {
    let _alone = MACHINE.write().await;
    let scene = Scene::set(stage).await;
    let directory = Directory::new(scene.stage.registry().await);
    for _ in 0..rounds {
        let channels: Vec<Channel> = (0..CHANNELS).map(|_| Channel::new(&directory, &service())).collect();
        scene.are_used(&channels).await;
        scene.are_watches(1).await;
        drop(channels);
        scene.no_connection_is_left().await;
    }
    drop(directory);
    scene.nothing_is_left().await;
}
