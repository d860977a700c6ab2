//! The registry is out of reach, or has nothing to offer.

use std::time::Duration;

use registry_testing::servers::ports::Port;
use service_registry::Directory;
use service_registry::core::Freshness;
use service_registry::tonic::{Channel, ServerBuilder};
use tokio::time::Instant;
use tonic::Code;

use super::calls::{Calls, answers, failures};
use super::stage::{MACHINE, Stage, over_each};
use super::support::echo::Request;
use super::support::echo::echo_client::EchoClient;
use super::support::{PATIENCE, call, eventually, service, settled, within};

over_each! {
    while_the_registry_is_away_for_a_minute_and_a_server_restarts_no_call_fails => away_for_a_minute;
    an_empty_set_fails_in_time_and_says_why => empty;
    a_registry_that_was_never_there_fails_in_time_and_says_why => never_there;
}

/// Side by side with all others, also with those that want the machine for themselves: it hardly does anything, for a minute, and nothing that it
/// promises depends on how fast it goes.
async fn away_for_a_minute(stage: Stage) {
    let port = Port::free().unwrap();
    let at = |builder: ServerBuilder| builder.listen(port.address().to_string());
    let leaving = stage.server_with("leaving", at).await;
    within("registered", leaving.handle.wait_until(|state| state.is_registered())).await;
    let _staying = [stage.server("b").await, stage.server("c").await];
    let channel = stage.channel().await;
    settled(&channel, 3).await;
    let calls = Calls::start(&channel, 100, 2);
    calls.reach(200).await;

    stage.away().await;
    let away = Instant::now();
    tokio::time::sleep_until(away + Duration::from_secs(10)).await;
    leaving.handle.shutdown();
    // It cannot say goodbye to the registry, and stops in order all the same.
    leaving.ended().await.unwrap();
    // Where it was, and where the channel still looks for it: the registry cannot tell of any other place.
    let returning = stage.server_with("returning", at).await;
    settled(&channel, 3).await;
    eventually("it is called again", || returning.begun() > 20).await;
    tokio::time::sleep_until(away + Duration::from_secs(60)).await;
    assert!(!returning.handle.registrar_state().is_registered());

    stage.back().await;
    within("registered", returning.handle.wait_until(|state| state.is_registered())).await;
    settled(&channel, 3).await;
    calls.reach(calls.begun() + 300).await;
    let all = calls.stop().await;
    let failed = failures(&all);
    assert!(failed.is_empty(), "{} of {} failed, such as {:?}", failed.len(), all.len(), failed[0]);
    assert_eq!(answers(&all).len(), 4, "all of them answered: {:?}", answers(&all));
}

async fn impatient(stage: &Stage) -> Channel {
    let view = Directory::new(stage.registry().await).view(&service());
    Channel::builder(view).wait_for_ready(Duration::from_millis(500)).build()
}

async fn fails_in_time(channel: &Channel) -> String {
    let began = Instant::now();
    let status = within("a failure", call(channel, 0)).await.unwrap_err();
    let took = began.elapsed();
    assert!((500..1_500).contains(&took.as_millis()), "{took:?}");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().starts_with("echo.rpc: no endpoint to call after 0.5 s"), "{status:?}");
    status.message().to_owned()
}

/// The same with a deadline of its own, which ends before the channel's patience.
async fn fails_by_its_deadline(channel: &Channel) {
    const DEADLINE: Duration = Duration::from_millis(200);
    let mut request = tonic::Request::new(Request::default());
    request.set_timeout(DEADLINE);
    let began = Instant::now();
    let failed = within("a failure", EchoClient::new(channel.clone()).call(request)).await;
    let (status, took) = (failed.unwrap_err(), began.elapsed());
    assert!((DEADLINE..DEADLINE + Duration::from_millis(250)).contains(&took), "{took:?}");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let why = status.message();
    assert!(
        why.starts_with("echo.rpc: no endpoint to call after 0.2 s: no instances are registered"),
        "{why}"
    );
}

async fn empty(stage: Stage) {
    let _measuring = MACHINE.read().await;
    let channel = impatient(&stage).await;
    within("the first answer of the registry", channel.view().ready()).await;
    let why = fails_in_time(&channel).await;
    assert!(why.contains("no instances are registered (proven current"), "{why}");
    fails_by_its_deadline(&channel).await;

    stage.away().await;
    let is_stale = || matches!(channel.view().load().freshness(), Freshness::Stale { .. });
    eventually("the view is stale", is_stale).await;
    let why = fails_in_time(&channel).await;
    let (what, since) = why.split_once("no instances are registered (as of ").expect(&why);
    assert!(
        what.ends_with(": ") && since.contains(" s ago, the registry cannot be reached since: "),
        "{why}"
    );
    fails_by_its_deadline(&channel).await;

    stage.back().await;
    let _server = stage.server("a").await;
    channel.wait_until(PATIENCE, |all| all.iter().any(|one| one.is_ready())).await.unwrap();
    assert_eq!(call(&channel, 0).await.unwrap(), "a");
}

async fn never_there(stage: Stage) {
    let _measuring = MACHINE.read().await;
    stage.away().await;
    let channel = impatient(&stage).await;
    let why = fails_in_time(&channel).await;
    assert!(why.contains("the registry was never reached"), "{why}");
}
