//! What a channel tells a recorder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

#[path = "../../registry-core/tests/support/recorder.rs"]
mod recorder;
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use recorder::Recorded;
use registry_core::backoff::Backoff;
use registry_core::layer::Meter;
use registry_core::{Directory, DirectoryOptions, GuardOptions};
use registry_memory::MemoryRegistry;
use registry_tonic::{Channel, ChannelBuilder, Ejection};
use support::echo::Request;
use support::echo::echo_client::EchoClient;
use support::listed::{Moody, instance_at, list};
use support::{PATIENCE, call, eventually, service, settled, shared};
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
fn a_channel_tells_how_its_view_is_as_long_as_it_is_there() {
    recorded(async |recorded| {
        let registry = MemoryRegistry::new();
        let moody = Moody::new("a");
        let (at, _task) = moody.serve();
        list(&registry, instance_at(at)).await;
        let guard = GuardOptions::new().with_share(0.0);
        let options = DirectoryOptions::new().with_guard(guard);
        let directory = Directory::with_options(shared(&registry), options);
        let meter = Meter::new();
        let build = || Channel::builder(directory.view(&service())).ejection(None).metered(&meter).build();
        let (channel, other) = (build(), build());
        settled(&channel, 1).await;
        let view = |name: &str| recorded.gauge(&format!("registry_view_{name}{{service=echo.rpc}}"));
        let counter = |label: &str| recorded.counter(&format!("registry_view_{label},service=echo.rpc}}"));
        eventually("the view is told", || view("instances") == 1.0).await;
        registry.controls().wipe();
        eventually("what is held is told", || view("held_instances") == 1.0).await;
        let holds = || recorded.counter("registry_view_holds_total{service=echo.rpc,state=begun}");
        let resets = |cause| counter(&format!("resets_total{{cause={cause}"));
        assert_eq!((resets("first"), resets("wiped"), holds()), (1, 1, 1), "once for both channels");

        registry.controls().outage();
        drop(other);
        let away = Instant::now();
        eventually("it grows older", || view("age_seconds") > 1.5).await;
        assert!(away.elapsed() > Duration::from_millis(500));
        assert_eq!((view("instances"), view("held_instances")), (1.0, 1.0), "the other has not ended");
        assert!(recorded.all_are_described());
        drop(channel);
        eventually("it ends with the last", || view("instances") == 0.0 && view("age_seconds") == 0.0).await;
        assert_eq!(directory.watched(), 0);
    });
}

#[test]
fn the_last_calls_of_a_channel_are_counted_too_and_then_nothing_is_left() {
    recorded(async |recorded| {
        let registry = MemoryRegistry::new();
        let moody = Moody::new("a");
        let (at, _task) = moody.serve();
        list(&registry, instance_at(at)).await;
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let before = tasks();
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
        eventually("no task is left", || tasks() == before).await;
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
        let calls = |at: SocketAddr| {
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

/// Does it again and again until something holds.
async fn eventually_by(what: &str, mut again: impl AsyncFnMut(), mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        again().await;
    }
}

#[test]
fn an_endpoint_that_is_ejected_shows_by_itself_and_in_the_sum_of_all() {
    recorded(async |recorded| {
        let registry = MemoryRegistry::new();
        let (bad, good) = (Moody::new("bad"), Moody::new("good"));
        let ((bad_at, _task), (good_at, _other_task)) = (bad.serve(), good.serve());
        list(&registry, instance_at(bad_at)).await;
        list(&registry, instance_at(good_at)).await;
        bad.answer(Code::Unavailable);
        // Not tried again while anybody looks.
        let for_long = Backoff::new(Duration::from_secs(3600), Duration::from_secs(3600));
        let ejection = Ejection::default().with_after(3).with_backoff(for_long);
        let build = || builder(&registry).ejection(ejection);
        let each = build().metered_by_endpoint(&Meter::named("each")).build();
        let sum = build().metered(&Meter::named("sum")).build();
        let count = |name: &str, labels: &str| {
            recorded.counter(&format!("registry_channel_{name}_total{{{labels},service=echo.rpc}}"))
        };
        let gauge = |name: &str, labels: &str| {
            recorded.gauge(&format!("registry_channel_{name}{{{labels},service=echo.rpc}}"))
        };
        for channel in [&each, &sum] {
            settled(channel, 2).await;
            let ejected = || channel.endpoints().iter().any(|endpoint| endpoint.ejections == 1);
            eventually_by("it is ejected", async || drop(call(channel, 0).await), ejected).await;
            call(channel, 200).await.unwrap();
        }
        let labels = |at: SocketAddr| format!("endpoint={at},registry=each");
        let (bad, good, both) = (labels(bad_at), labels(good_at), "registry=sum");
        let latency = |labels: &str| gauge("latency_seconds", labels);
        eventually("who took long is told to be slow", || latency(&good) > 0.02).await;
        assert!(latency(&bad) < 0.02, "each tells its own");
        let errors = |channel: &Channel| channel.endpoints().iter().map(|one| one.errors).sum::<u64>();
        assert!(errors(&each) >= 3 && errors(&sum) >= 3);
        for (labels, ejections, errors) in
            [(bad.as_str(), 1, errors(&each)), (good.as_str(), 0, 0), (both, 1, errors(&sum))]
        {
            eventually("ejections are told", || count("ejections", labels) == ejections).await;
            eventually("errors are told", || count("errors", labels) == errors).await;
        }
        for registry in ["each", "sum"] {
            let of = |word: &str| gauge("endpoints", &format!("connectivity={word},registry={registry}"));
            eventually("one is ejected", || (of("ejected"), of("ready")) == (1.0, 1.0)).await;
        }

        let request = Request { after_ms: 60_000, replies: 1 };
        let stream = EchoClient::new(each.clone()).stream(request).await.unwrap();
        eventually("it is in flight there", || gauge("calls_in_flight", &good) == 1.0).await;
        assert_eq!(gauge("calls_in_flight", &bad), 0.0);
        drop(stream);
        eventually("it has ended", || gauge("calls_in_flight", &good) == 0.0).await;
        assert!(recorded.all_are_described());
    });
}
