//! What a server promises its operator, on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use registry_core::{Directory, Instance, Operation, RegistrarState, Registry, RegistryExt};
use registry_memory::MemoryRegistry;
use registry_tonic::{Channel, Server, ServerError, ServerState};
use support::echo::Request;
use support::echo::echo_client::EchoClient;
use support::server::{Hooked, Running, quick};
use support::{PATIENCE, Process, SERVICE, call, service, shared, within};

fn channel(registry: &MemoryRegistry) -> Channel {
    Channel::new(&Directory::new(shared(registry)), &service())
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
async fn a_server_whose_id_was_taken_over_ends_with_an_error() {
    let registry = MemoryRegistry::new();
    let old = Process::start_with(&registry, "old", |builder| builder.id("node-1")).await;
    within("registered", old.handle.wait_until(RegistrarState::is_registered)).await;
    let new = Process::start_with(&registry, "new", |builder| builder.id("node-1")).await;
    within("registered", new.handle.wait_until(RegistrarState::is_registered)).await;
    let handle = old.handle.clone();
    let error = old.ended().await.unwrap_err();
    assert!(matches!(&error, ServerError::Fenced { service: lost, .. } if *lost == service()), "{error:?}");
    assert!(matches!(*handle.registrar_state(), RegistrarState::Fenced { .. }));
    let listed = registry.lookup(&service()).await.unwrap();
    assert_eq!(listed.instances().next(), Some(new.handle.instance()));
    assert_eq!(call(&channel(&registry), 0).await.unwrap(), "new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_registered_only_once_it_answers() {
    let answered = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&answered);
    let hooked = Hooked::new(&MemoryRegistry::new(), move |operation, instance| {
        let seen = Arc::clone(&seen);
        Box::pin(async move {
            if let (Operation::Register, Some(instance)) = (operation, instance) {
                let answer = tokio::time::timeout(Duration::from_secs(1), called(&instance)).await;
                seen.lock().unwrap().push(answer.unwrap_or(false));
            }
        })
    });
    let running = Running::start(quick(hooked)).await;
    running.registered().await;
    assert_eq!(*answered.lock().unwrap(), [true]);
}

/// Whether a call to it is answered.
async fn called(instance: &Instance) -> bool {
    let endpoint =
        tonic::transport::Endpoint::from_shared(format!("http://{}", instance.endpoint())).unwrap();
    let Ok(channel) = endpoint.connect().await else { return false };
    EchoClient::new(channel).call(Request::default()).await.is_ok()
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
    assert_eq!(handle.state(), ServerState::Ended);
}

#[tokio::test]
async fn the_handle_of_a_server_that_never_served_says_that_it_has_ended() {
    let server = quick(shared(&MemoryRegistry::new())).bind().await.unwrap();
    let handle = server.handle();
    assert_eq!(handle.state(), ServerState::Starting);
    drop(server);
    assert_eq!(handle.state(), ServerState::Ended);
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

#[tokio::test]
async fn a_server_on_ipv6_is_registered_and_called() {
    let registry = MemoryRegistry::new();
    let builder = quick(shared(&registry)).listen("[::1]:0");
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        // A machine without IPv6 says so, and has nothing more to show.
        assert!(matches!(builder.bind().await, Err(ServerError::Listen { .. })));
        eprintln!("skipped: a call by IPv6, which this machine does not have");
        return;
    }
    let running = Running::start(builder).await;
    let port = running.handle.local_addr().port();
    assert_eq!(running.handle.instance().endpoint().to_string(), format!("[::1]:{port}"));
    assert_eq!(call(&channel(&registry), 0).await.unwrap(), "a");
}

#[tokio::test]
async fn any_server_can_be_served_and_is_told_when_to_stop() {
    let registry = MemoryRegistry::new();
    let server = quick(shared(&registry)).bind().await.unwrap();
    let handle = server.handle();
    let serving = tokio::spawn(server.serve_with(|listener, stop| async move {
        let _listening = listener;
        stop.await;
        Ok::<_, std::io::Error>(())
    }));
    within("registered", handle.wait_until(RegistrarState::is_registered)).await;
    handle.shutdown();
    within("the end", serving).await.unwrap().unwrap();
    assert!(registry.lookup(&service()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_ends_by_itself_is_deregistered_and_says_why() {
    for in_the_drain in [false, true] {
        let registry = MemoryRegistry::new();
        let (fail, failed) = tokio::sync::oneshot::channel::<()>();
        let server = quick(shared(&registry)).drain_grace(Duration::from_secs(3600)).bind().await.unwrap();
        let handle = server.handle();
        let serving = tokio::spawn(server.serve_with(|listener, _| async move {
            let _listening = listener;
            let _ = failed.await;
            Err::<(), _>(std::io::Error::other("out of paper"))
        }));
        within("registered", handle.wait_until(RegistrarState::is_registered)).await;
        if in_the_drain {
            handle.shutdown();
            within("draining", handle.wait_until_state(|state| *state == ServerState::Draining)).await;
        }
        fail.send(()).unwrap();
        match within("the end", serving).await.unwrap().unwrap_err() {
            ServerError::Serving(error) => assert_eq!(error.to_string(), "out of paper"),
            other => panic!("{other:?}"),
        }
        assert!(registry.lookup(&service()).await.unwrap().is_empty());
        assert_eq!(handle.registrar_state().name(), "closed");
    }
}

#[tokio::test]
async fn the_protocol_is_advertised_with_whatever_address_there_is() {
    let registry = MemoryRegistry::new();
    let build =
        || Server::builder(shared(&registry), SERVICE).listen("127.0.0.1:0").advertise_protocol("grpcs");
    let found = build().bind().await.unwrap();
    let expected = format!("grpcs://{}", found.local_addr());
    assert_eq!(found.instance().endpoint().to_string(), expected);
    assert_eq!(found.instance().id().as_str(), found.local_addr().to_string());
    let given = build().advertise("user-1.internal").bind().await.unwrap();
    let expected = format!("grpcs://user-1.internal:{}", given.local_addr().port());
    assert_eq!(given.instance().endpoint().to_string(), expected);
    let error = build().advertise_protocol("No Protocol").bind().await.unwrap_err();
    assert!(matches!(&error, ServerError::Invalid(error) if error.field() == Some("endpoint")), "{error:?}");
}
