//! What a server promises its operator, on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::time::Duration;

use registry_core::{Directory, Instance, RegisterOptions, RegistrarState, Registry, RegistryExt, Snapshot};
use registry_memory::MemoryRegistry;
use registry_tonic::{Channel, Server, ServerError};
use support::{Load, PATIENCE, Process, SERVICE, call, eventually, service, settled, shared, within};
use tokio::time::Instant;

fn channel(registry: &MemoryRegistry) -> Channel {
    Channel::new(&Directory::new(shared(registry)), &service())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_loses_no_call() {
    let registry = MemoryRegistry::new();
    let mut servers = Vec::new();
    for name in ["a1", "b1", "c1"] {
        servers.push(Process::start(&registry, name).await);
    }
    let channel = channel(&registry);
    settled(&channel, 3).await;
    let load = Load::start(&channel, 8, 3);
    load.goes_on(100).await;
    for name in ["a2", "b2", "c2"] {
        let server = servers.remove(0);
        server.handle.shutdown();
        server.ended().await.unwrap();
        servers.push(Process::start(&registry, name).await);
        settled(&channel, 3).await;
        load.goes_on(100).await;
    }
    let tally = load.stop().await;
    assert!(tally.failures.is_empty(), "{tally:?}");
    assert_eq!(tally.answers.len(), 6, "{tally:?}");
}

#[tokio::test]
async fn what_it_is_told_is_published_with_the_port_it_got() {
    let registry = MemoryRegistry::new();
    let process = Process::start_with(&registry, "a", |builder| {
        builder.id("node-1").version("1.2.3").zone("z1").weight(7).metadata("commit", "8f3c1d")
    })
    .await;
    let listed = registry.wait_until(&service(), PATIENCE, |snapshot| snapshot.len() == 1).await.unwrap();
    let local = process.handle.local_addr();
    assert_ne!(local.port(), 0);
    let wanted =
        Instance::builder(SERVICE).endpoint(local).id("node-1").version("1.2.3").zone("z1").weight(7);
    let wanted = wanted.metadata("commit", "8f3c1d").build().unwrap();
    assert_eq!(listed.instances().collect::<Vec<_>>(), [&wanted]);
    assert_eq!(process.handle.instance(), &wanted);
}

#[tokio::test]
async fn bad_input_is_told_before_anything_is_served() {
    let registry = MemoryRegistry::new();
    let build = |service: &'static str| Server::builder(shared(&registry), service).listen("127.0.0.1:0");
    for (builder, field) in [
        (build("a/b"), "service name"),
        (build("a").weight(10_001), "weight"),
        (build("a").advertise("0.0.0.0"), "endpoint"),
    ] {
        match builder.bind().await.unwrap_err() {
            ServerError::Invalid(error) => assert_eq!(error.field(), Some(field)),
            other => panic!("{other:?}"),
        }
    }
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = build("a").listen(address.clone()).bind().await.unwrap_err();
    assert!(matches!(&error, ServerError::Listen { address: named, .. } if *named == address), "{error:?}");
}

#[tokio::test]
async fn every_address_of_the_machine_includes_ipv4_loopback() {
    let registry = MemoryRegistry::new();
    for listen in [":0", "[::]:0", "0.0.0.0:0"] {
        let server = Server::builder(shared(&registry), SERVICE).listen(listen).bind().await.unwrap();
        let port = server.local_addr().port();
        assert_eq!(server.instance().endpoint().port(), port);
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    }
}

#[tokio::test]
async fn a_registry_that_is_down_does_not_keep_it_from_serving() {
    let registry = MemoryRegistry::new();
    let its_own = registry.client();
    its_own.controls().outage();
    let process = Process::start_with(&its_own, "a", |builder| builder).await;
    let failing = |state: &RegistrarState| matches!(state, RegistrarState::Starting { error: Some(_) });
    within("a failed attempt", process.handle.wait_until(failing)).await;
    tokio::net::TcpStream::connect(process.handle.local_addr()).await.unwrap();

    its_own.controls().heal();
    assert_eq!(call(&channel(&registry), 0).await.unwrap(), "a");
}

#[tokio::test]
async fn a_registry_that_is_down_does_not_keep_it_from_stopping() {
    let registry = MemoryRegistry::new();
    let options = registry_core::RegistrarOptions::new().with_shutdown_timeout(Duration::from_millis(300));
    let process = Process::start_with(&registry, "a", |builder| builder.registrar(options)).await;
    within("registered", process.handle.wait_until(RegistrarState::is_registered)).await;
    registry.controls().black_hole();
    let began = Instant::now();
    process.handle.shutdown();
    process.ended().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_server_whose_id_was_taken_over_ends_with_an_error() {
    let registry = MemoryRegistry::new();
    let old = Process::start_with(&registry, "old", |builder| builder.id("node-1")).await;
    within("registered", old.handle.wait_until(RegistrarState::is_registered)).await;
    let new = Process::start_with(&registry, "new", |builder| builder.id("node-1")).await;
    within("registered", new.handle.wait_until(RegistrarState::is_registered)).await;
    let handle = old.handle.clone();
    let error = old.ended().await.unwrap_err();
    assert!(matches!(error, ServerError::Fenced(_)), "{error:?}");
    assert!(matches!(*handle.registrar_state(), RegistrarState::Fenced { .. }));
    let listed = registry.lookup(&service()).await.unwrap();
    assert_eq!(listed.instances().next(), Some(new.handle.instance()));
    assert_eq!(call(&channel(&registry), 0).await.unwrap(), "new");
}

#[tokio::test]
async fn it_is_draining_before_it_is_gone_and_calls_in_flight_finish() {
    let registry = MemoryRegistry::new();
    let process = Process::start(&registry, "a").await;
    let channel = channel(&registry);
    settled(&channel, 1).await;
    let slow = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, 600).await }
    });
    eventually("the call is in flight", || process.begun() == 1).await;
    process.handle.shutdown();
    let draining = |state: &RegistrarState| matches!(state, RegistrarState::Draining { .. });
    within("draining", process.handle.wait_until(draining)).await;
    registry.wait_until(&service(), PATIENCE, Snapshot::is_empty).await.unwrap();
    process.ended().await.unwrap();
    assert_eq!(slow.await.unwrap().unwrap(), "a");
}

#[tokio::test]
async fn a_call_that_does_not_end_does_not_keep_it_from_stopping() {
    let registry = MemoryRegistry::new();
    let bound = Duration::from_millis(200);
    let process = Process::start_with(&registry, "a", |builder| builder.finish_within(bound)).await;
    let channel = channel(&registry);
    tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, 600_000).await }
    });
    eventually("the call is in flight", || process.begun() == 1).await;
    process.handle.shutdown();
    let error = process.ended().await.unwrap_err();
    assert!(matches!(error, ServerError::Unfinished { after } if after == bound), "{error:?}");
}

#[tokio::test]
async fn asking_twice_cuts_the_drain_short() {
    let registry = MemoryRegistry::new();
    let hour = Duration::from_secs(3600);
    let process = Process::start_with(&registry, "a", |builder| builder.drain_grace(hour)).await;
    within("registered", process.handle.wait_until(RegistrarState::is_registered)).await;
    process.handle.shutdown();
    let draining = |state: &RegistrarState| matches!(state, RegistrarState::Draining { .. });
    within("draining", process.handle.wait_until(draining)).await;
    process.handle.shutdown();
    process.ended().await.unwrap();
}

#[tokio::test]
async fn the_shutdown_future_of_the_caller_stops_it() {
    let registry = MemoryRegistry::new();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let process =
        Process::start_with(&registry, "a", |builder| builder.shutdown_on(async { drop(stopped.await) }))
            .await;
    within("registered", process.handle.wait_until(RegistrarState::is_registered)).await;
    stop.send(()).unwrap();
    process.ended().await.unwrap();
    assert!(registry.lookup(&service()).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_entry_of_someone_else_stays_when_it_stops() {
    let registry = MemoryRegistry::new();
    let other = Instance::builder(SERVICE).endpoint("127.0.0.1:1").build().unwrap();
    registry.register(&other, &RegisterOptions::new()).await.unwrap();
    let process = Process::start(&registry, "a").await;
    process.handle.shutdown();
    process.ended().await.unwrap();
    let left = registry.lookup(&service()).await.unwrap();
    assert_eq!(left.instances().collect::<Vec<_>>(), [&other]);
}

/// Calls every instance at the moment it is registered.
#[derive(Debug)]
struct Probing {
    inner: MemoryRegistry,
    answered: std::sync::Mutex<Vec<bool>>,
}

#[tonic::async_trait]
impl Registry for Probing {
    async fn register(
        &self,
        instance: &Instance,
        options: &RegisterOptions,
    ) -> registry_core::Result<registry_core::Registration> {
        let url = format!("http://{}", instance.endpoint());
        let probe = async {
            let channel = tonic::transport::Endpoint::from_shared(url).ok()?.connect().await.ok()?;
            support::echo::echo_client::EchoClient::new(channel)
                .call(support::echo::Request::default())
                .await
                .ok()
        };
        let answer = tokio::time::timeout(Duration::from_secs(1), probe).await;
        self.answered.lock().unwrap().push(matches!(answer, Ok(Some(_))));
        self.inner.register(instance, options).await
    }

    async fn keepalive(&self, lease: &registry_core::Lease) -> registry_core::Result<()> {
        self.inner.keepalive(lease).await
    }

    async fn update(
        &self,
        lease: &registry_core::Lease,
        instance: &Instance,
    ) -> registry_core::Result<registry_core::Revision> {
        self.inner.update(lease, instance).await
    }

    async fn deregister(&self, lease: &registry_core::Lease) -> registry_core::Result<()> {
        self.inner.deregister(lease).await
    }

    async fn lookup(&self, service: &registry_core::ServiceName) -> registry_core::Result<Snapshot> {
        self.inner.lookup(service).await
    }

    async fn services(&self, prefix: &str) -> registry_core::Result<Vec<registry_core::ServiceName>> {
        self.inner.services(prefix).await
    }

    fn watch(
        &self,
        service: &registry_core::ServiceName,
        from: Option<registry_core::Cursor>,
    ) -> registry_core::Watch {
        self.inner.watch(service, from)
    }

    fn guarantees(&self) -> registry_core::Guarantees {
        self.inner.guarantees()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_registered_only_once_it_answers() {
    let probing =
        std::sync::Arc::new(Probing { inner: MemoryRegistry::new(), answered: std::sync::Mutex::default() });
    let builder = Server::builder(probing.clone(), SERVICE).listen("127.0.0.1:0");
    let server =
        builder.drain_grace(Duration::ZERO).shutdown_on(std::future::pending()).bind().await.unwrap();
    let handle = server.handle();
    let serving = tokio::spawn(server.serve(support::Named::new("a").router()));
    within("registered", handle.wait_until(|state| state.is_registered())).await;
    assert_eq!(*probing.answered.lock().unwrap(), [true]);
    handle.shutdown();
    within("the end", serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn asking_twice_does_not_cut_the_calls_in_flight() {
    let registry = MemoryRegistry::new();
    let hour = Duration::from_secs(3600);
    let process = Process::start_with(&registry, "a", |builder| builder.drain_grace(hour)).await;
    let channel = channel(&registry);
    settled(&channel, 1).await;
    let answer = tokio::spawn(async move { call(&channel, 700).await });
    eventually("the call has begun", || process.begun() == 1).await;
    process.handle.shutdown();
    let draining = |state: &RegistrarState| matches!(state, RegistrarState::Draining { .. });
    within("draining", process.handle.wait_until(draining)).await;
    process.handle.shutdown();
    process.ended().await.unwrap();
    assert_eq!(answer.await.unwrap().unwrap(), "a");
}

#[tokio::test]
async fn the_handle_of_a_server_that_is_gone_does_not_say_that_it_is_registered() {
    let registry = MemoryRegistry::new();
    let server = Server::builder(shared(&registry), SERVICE).listen("127.0.0.1:0").bind().await.unwrap();
    let handle = server.handle();
    let serving = tokio::spawn(server.serve(support::Named::new("a").router()));
    within("registered", handle.wait_until(|state| state.is_registered())).await;
    serving.abort();
    within("closed", handle.wait_until(|state| state.name() == "closed")).await;
}

#[tokio::test]
async fn the_interface_or_network_asked_for_is_advertised() {
    for network in ["127.0.0.0/8", "127.0.0.1/32"] {
        let server =
            Server::builder(shared(&MemoryRegistry::new()), SERVICE).listen(":0").advertise_from(network);
        let server = server.bind().await.unwrap();
        assert_eq!(
            server.instance().endpoint().to_string(),
            format!("127.0.0.1:{}", server.local_addr().port())
        );
    }
    let loopback =
        if_addrs::get_if_addrs().unwrap().into_iter().find(|interface| interface.is_loopback()).unwrap();
    let server = Server::builder(shared(&MemoryRegistry::new()), SERVICE).listen(":0");
    let server = server.advertise_from(loopback.name).bind().await.unwrap();
    assert!(["127.0.0.1", "[::1]"].contains(&server.instance().endpoint().host()), "{server:?}");
}

#[tokio::test]
async fn a_network_that_the_machine_is_not_in_is_told_with_those_that_there_are() {
    for network in ["203.0.113.0/24", "2001:db8::/32", "no-such-interface"] {
        let server =
            Server::builder(shared(&MemoryRegistry::new()), SERVICE).listen(":0").advertise_from(network);
        match server.bind().await.unwrap_err() {
            ServerError::Invalid(error) => {
                assert_eq!(error.field(), Some("advertise_from"));
                assert!(
                    error.message().contains(network) && error.message().contains(" 127.0.0.1"),
                    "{error}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_was_asked_for_last_is_advertised() {
    let build = || Server::builder(shared(&MemoryRegistry::new()), SERVICE).listen(":0");
    let explicit = build().advertise_from("no-such-interface").advertise("10.0.0.7:80").bind().await.unwrap();
    assert_eq!(explicit.instance().endpoint().to_string(), "10.0.0.7:80");
    let found = build().advertise("10.0.0.7:80").advertise_from("127.0.0.0/8").bind().await.unwrap();
    assert_eq!(found.instance().endpoint().host(), "127.0.0.1");
}
