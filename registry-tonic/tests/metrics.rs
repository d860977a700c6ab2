//! What a channel tells a recorder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

#[path = "../../registry-core/tests/support/recorder.rs"]
mod recorder;
mod support;

use std::time::Duration;

use recorder::Recorded;
use registry_core::Directory;
use registry_core::layer::Meter;
use registry_memory::MemoryRegistry;
use registry_tonic::{Channel, ChannelBuilder};
use support::echo::Request;
use support::echo::echo_client::EchoClient;
use support::listed::{Moody, instance_at, list};
use support::{call, eventually, service, settled, shared};
use tokio::time::Instant;
use tonic::Code;

/// Plays with a recorder that only this thread tells.
fn recorded<F: Future<Output = ()>>(play: impl FnOnce(Recorded) -> F) {
    let recorded = Recorded::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorded, || runtime.block_on(play(recorded.clone())));
}

fn builder(registry: &MemoryRegistry) -> ChannelBuilder {
    let view = Directory::new(shared(registry)).view(&service());
    Channel::builder(view).wait_for_ready(Duration::from_millis(100)).ejection(None)
}

#[test]
fn a_channel_counts_what_all_endpoints_did_also_after_they_have_left() {
    recorded(async |recorded| {
        let registry = MemoryRegistry::new();
        let moody = [Moody::new("a"), Moody::new("b")];
        let mut leases = Vec::new();
        let mut tasks = Vec::new();
        for moody in &moody {
            let (at, task) = moody.serve();
            leases.push(list(&registry, instance_at(at)).await.1.lease);
            tasks.push(task);
        }
        let channel = builder(&registry).metered(&Meter::new()).build();
        settled(&channel, 2).await;
        for _ in 0..10 {
            call(&channel, 0).await.unwrap();
        }
        moody.iter().for_each(|moody| moody.answer(Code::Unavailable));
        call(&channel, 0).await.unwrap_err();

        let count = |name: &str| recorded.counter(&format!("registry_channel_{name}{{service=echo.rpc}}"));
        let gauge = |name: &str| recorded.gauge(&format!("registry_channel_{name}"));
        let ready = || gauge("endpoints{connectivity=ready,service=echo.rpc}");
        eventually("all is told", || count("calls_total") == 11 && count("errors_total") == 1).await;
        assert_eq!((ready(), count("ejections_total")), (2.0, 0));
        assert!(gauge("latency_seconds{service=echo.rpc}") >= 0.001);
        assert!(recorded.all_are_described());

        for lease in leases {
            registry_core::Registry::deregister(&registry, &lease).await.unwrap();
        }
        eventually("they have left", || ready() == 0.0).await;
        assert_eq!((count("calls_total"), count("errors_total")), (11, 1));
    });
}

#[test]
fn the_last_calls_of_a_channel_are_counted_too_and_then_nothing_is_left() {
    recorded(async |recorded| {
        let registry = MemoryRegistry::new();
        let moody = Moody::new("a");
        let (at, _task) = moody.serve();
        list(&registry, instance_at(at)).await;
        let channel = builder(&registry).metered(&Meter::named("eu")).build();
        settled(&channel, 1).await;
        for _ in 0..3 {
            call(&channel, 0).await.unwrap();
        }
        drop(channel);
        let calls = || recorded.counter("registry_channel_calls_total{registry=eu,service=echo.rpc}");
        eventually("they are counted", || calls() == 3).await;
        let ready = "registry_channel_endpoints{connectivity=ready,registry=eu,service=echo.rpc}";
        eventually("no endpoint is left", || recorded.gauge(ready) == 0.0).await;
    });
}

#[test]
fn what_outlives_its_channel_is_in_flight_until_it_ends_and_nothing_else_is_held() {
    recorded(async |recorded| {
        let registry = MemoryRegistry::new();
        let moody = Moody::new("a");
        let (at, _task) = moody.serve();
        list(&registry, instance_at(at)).await;
        let channel = builder(&registry).metered(&Meter::new()).build();
        settled(&channel, 1).await;
        let request = Request { after_ms: 60_000, replies: 1 };
        let stream = EchoClient::new(channel.clone()).stream(request).await.unwrap();
        let gauge = |name: &str| recorded.gauge(&format!("registry_channel_{name}"));
        let in_flight = || gauge("calls_in_flight{service=echo.rpc}");
        let ready = || gauge("endpoints{connectivity=ready,service=echo.rpc}");
        eventually("it is told", || in_flight() == 1.0).await;
        // It is told again in a second, unless something happens.
        let dropped = Instant::now();
        drop(channel);
        eventually("no endpoint is left", || ready() == 0.0).await;
        assert!(dropped.elapsed() < Duration::from_millis(700), "{:?}", dropped.elapsed());
        assert_eq!(in_flight(), 1.0);
        drop(stream);
        eventually("it has ended", || in_flight() == 0.0).await;
    });
}

#[test]
fn each_endpoint_tells_its_own_where_that_is_asked_for() {
    recorded(async |recorded| {
        let registry = MemoryRegistry::new();
        let (moody, other) = (Moody::new("a"), Moody::new("b"));
        let ((at, _task), (other, _other_task)) = (moody.serve(), other.serve());
        list(&registry, instance_at(at)).await;
        list(&registry, instance_at(other)).await;
        let channel = builder(&registry).metered_by_endpoint(&Meter::new()).build();
        settled(&channel, 2).await;
        for _ in 0..50 {
            call(&channel, 0).await.unwrap();
        }
        let calls = |at: std::net::SocketAddr| {
            recorded.counter(&format!("registry_channel_calls_total{{endpoint={at},service=echo.rpc}}"))
        };
        eventually("both add up", || calls(at) + calls(other) == 50).await;
        assert!(calls(at) > 0 && calls(other) > 0);
        assert_eq!(
            recorded.counter("registry_channel_calls_total{service=echo.rpc}"),
            0,
            "and nothing twice"
        );
    });
}
