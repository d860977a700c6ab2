//! Discovery at work: servers come, drain, die; the registry goes away and comes back; a client goes on calling.
//!
//! `cargo run --example quickstart`, or on an etcd or a Redis:
//! `cargo run --features etcd --example quickstart -- --registry etcd://127.0.0.1:2379`
//! `cargo run --features redis --example quickstart -- --registry redis://127.0.0.1:6379`
#![allow(clippy::print_stdout, clippy::print_stderr)] // Its output is what it is for.

mod orders;
mod place;
#[cfg(all(test, any(feature = "etcd", feature = "redis")))]
mod tests;
mod timeline;
mod users;
mod verdict;
#[cfg(any(feature = "etcd", feature = "redis"))]
mod wires;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use service_registry::core::{Freshness, Status, ViewState};
use service_registry::tonic::Channel;
use service_registry::{Directory, Ttl, View};
use tokio::time::{Instant, sleep, timeout};

use crate::orders::Orders;
use crate::place::Place;
use crate::timeline::{Summary, Timeline};
use crate::users::Process;
use crate::verdict::Verdict;

/// Watch discovery at work, for about fifteen seconds.
///
/// Three gRPC servers of the service `user.rpc` register themselves. A client, `order`, finds them and calls one every 5 ms. Then a
/// server joins, one is drained, one is killed without a goodbye, and the registry is taken away for a while.
///
/// Every line says what happened, and who answered how many calls since the line before. Only calls that were in flight on the
/// killed server may fail; if any other does, the exit code is 1. When the story cannot be told, it is 2, and an error says why.
#[derive(Parser)]
#[command(
    name = "quickstart",
    after_help = "Registries:
  memory://                 a store in this process; needs no server
  etcd://127.0.0.1:2379     an etcd, such as `etcd` starts; needs a build with etcd:
                              cargo run --features etcd --example quickstart -- --registry etcd://127.0.0.1:2379
  etcds://h1,h2,h3?ca=PATH  one with several members and TLS
  redis://127.0.0.1:6379    a Redis, such as `redis-server` starts; needs a build with redis:
                              cargo run --features redis --example quickstart -- --registry redis://127.0.0.1:6379
  redis+sentinel://h/name   one that Sentinels watch over; `connect` documents all of a URL

Where to look next: the code is in examples/examples/quickstart, and starts in main.rs."
)]
struct Arguments {
    /// The registry.
    ///
    /// On one that others use too, this run's service gets a name of its own, `user.rpc-` and a random number. What it registers is removed at
    /// the end, or, when the run is cut short, as its leases end. To take the registry away, the program stands between
    /// itself and the servers and cuts its own wires; others notice nothing. (It cannot where several servers have TLS certificates for
    /// different names, or where servers name others, as Sentinels and clusters of Redis do; then that step is left out.)
    #[arg(long, value_name = "URL", default_value = "memory://")]
    registry: String,

    /// How long a server stays listed without a heartbeat, in seconds: how long the killed one stays in the view.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=20))]
    ttl: u64,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How often `order` calls.
const PERIOD: Duration = Duration::from_millis(5);

/// Longer than anything here takes, even on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(verdict) if verdict.is_good() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: &Arguments) -> Result<Verdict, Failure> {
    let ttl = Ttl::from_secs(arguments.ttl)?;
    let place = Place::open(&arguments.registry).await?;
    println!("{} on {}, TTL {ttl}; the client `order` calls every 5 ms\n", place.service, place.shown);
    let timeline = Timeline::begin();

    // Three servers, and a client that finds them.
    let user1 = Process::start(&place, ttl, "user-1").await?;
    let user2 = Process::start(&place, ttl, "user-2").await?;
    let user3 = Process::start(&place, ttl, "user-3").await?;
    timeline.say("user-1, user-2 and user-3 start, on ports of their own");
    let registry = place.connect().await?;
    let directory = Directory::new(registry.clone());
    let channel = Channel::new(&directory, &place.service);
    connected(&channel, 3).await?;
    timeline.say("order is connected to all three and starts to call");
    let orders = Orders::start(&channel, PERIOD);
    let began = Instant::now();
    sleep(Duration::from_millis(2000)).await;

    // One more.
    timeline.tell(&orders, "user-4 joins");
    let joined = Instant::now();
    let user4 = Process::start(&place, ttl, "user-4").await?;
    connected(&channel, 4).await?;
    timeline.tell(&orders, "  order is connected to it");
    let join_to_call = first_answer(&orders, "user-4").await?.saturating_duration_since(joined);
    sleep(Duration::from_millis(2000)).await;

    // One leaves in order.
    timeline.tell(&orders, "user-2 is asked to stop");
    let asked = Instant::now();
    user2.handle.shutdown();
    let view = channel.view();
    seen(view, |state| status_of(state, &user2) == Some(Status::Draining)).await?;
    let asked_to_drained = asked.elapsed();
    timeline.tell(&orders, "  it is draining: no new calls");
    seen(view, |state| status_of(state, &user2).is_none()).await?;
    timeline.tell(&orders, "  it has deregistered");
    timeout(PATIENCE, user2.ended()).await.map_err(|_| "user-2 did not end")??;
    timeline.tell(&orders, "  it has finished its last call and ended");
    sleep(Duration::from_millis(1500)).await;

    // One dies.
    timeline.tell(&orders, "user-3 is killed, without a goodbye");
    let victim = user3.handle.instance().clone();
    let killed = Instant::now();
    user3.kill();
    channel
        .wait_until(PATIENCE, |all| all.iter().all(|one| one.id != *victim.id() || !one.is_ready()))
        .await
        .map_err(|_| "the death of user-3 was not noticed")?;
    let noticed = Instant::now();
    let kill_to_noticed = noticed.saturating_duration_since(killed);
    timeline.tell(&orders, "  order has lost the connection to it: no new calls");
    seen(view, |state| state.entries().iter().all(|entry| entry.id() != victim.id())).await?;
    let kill_to_removed = killed.elapsed();
    timeline.tell(&orders, "  its lease has ended: out of the view");
    sleep(Duration::from_millis(1000)).await;

    // The registry goes, and comes back.
    match place.take_away().await {
        Some(how) => {
            // Shorter than what is left of a lease after a missed heartbeat, with time to connect again: nothing expires meanwhile.
            let outage = ttl.get() / 3;
            timeline.tell(&orders, how);
            seen(view, |state| matches!(state.freshness(), Freshness::Stale { .. })).await?;
            timeline.tell(&orders, "  order knows, and goes on with what it knew");
            sleep(outage).await;
            place.give_back().await;
            timeline.tell(&orders, "the registry is back");
            seen(view, |state| matches!(state.freshness(), Freshness::Live { .. })).await?;
            timeline.tell(&orders, "  order's view is proven current again");
        }
        None => timeline.tell(&orders, "taking the registry away is left out: see --help"),
    }
    sleep(Duration::from_millis(1500)).await;

    // The end.
    timeline.tell(&orders, "order stops");
    let called_for = began.elapsed();
    let count = timeout(PATIENCE, orders.stop()).await.map_err(|_| "calls hang")?;
    let milliseconds = |took: Duration| format!("{:>6} ms", took.as_millis());
    let rows = vec![
        ("from the start of user-4 to its first answer", milliseconds(join_to_call)),
        ("from asking user-2 to stop to draining in view", milliseconds(asked_to_drained)),
        ("from the death of user-3 to no new calls", milliseconds(kill_to_noticed)),
        ("from the death of user-3 to out of the view", milliseconds(kill_to_removed)),
    ];
    Summary { rows }.print(&count);
    let verdict = Verdict::new(&count, killed..=noticed, victim.endpoint(), called_for, PERIOD);
    for process in [&user1, &user4] {
        process.handle.shutdown();
    }
    for process in [user1, user4] {
        timeout(PATIENCE, process.ended()).await.map_err(|_| "a server did not end")??;
    }
    let left = timeout(PATIENCE, registry.lookup(&place.service)).await;
    if !left.map_err(|_| "the registry does not say what is left in it")??.is_empty() {
        return Err(format!("entries of {} are left in the registry", place.service).into());
    }
    verdict.print();
    Ok(verdict)
}

async fn connected(channel: &Channel, servers: usize) -> Result<(), Failure> {
    let all = channel.wait_until(PATIENCE, |all| all.iter().filter(|one| one.is_ready()).count() == servers);
    all.await.map(drop).map_err(|last| format!("never connected to {servers} servers: {last:?}").into())
}

/// Waits until the view satisfies `wanted`.
async fn seen(view: &View, mut wanted: impl FnMut(&ViewState) -> bool) -> Result<(), Failure> {
    let mut view = view.clone();
    let wait = async {
        while !wanted(&view.load()) {
            view.changed().await;
        }
    };
    Ok(timeout(PATIENCE, wait).await.map_err(|_| "what was to be seen in the view never was")?)
}

fn status_of(state: &ViewState, process: &Process) -> Option<Status> {
    let entry = state.entries().iter().find(|entry| entry.id() == process.handle.instance().id());
    entry.map(|entry| entry.instance().status())
}

async fn first_answer(orders: &Orders, server: &str) -> Result<Instant, Failure> {
    let wait = async {
        loop {
            if let Some(answers) = orders.count().answers.get(server) {
                return answers.first;
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    Ok(timeout(PATIENCE, wait).await.map_err(|_| format!("{server} never answered"))?)
}
