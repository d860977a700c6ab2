//! Whom a channel calls, where all can be called.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use registry_core::{Directory, Registration, Registry};
use registry_memory::MemoryRegistry;
use registry_tonic::{Channel, ChannelBuilder, Policy};
use support::echo::Request;
use support::echo::echo_client::EchoClient;
use support::in_memory::InMemory;
use support::listed::{bare, instance_at, list};
use support::{Named, PATIENCE, call, service, settled, shared, within};
use tokio::task::JoinHandle;

fn builder(registry: &MemoryRegistry) -> ChannelBuilder {
    let view = Directory::new(shared(registry)).view(&service());
    Channel::builder(view).seed(7).slow_start(Duration::ZERO)
}

/// A server, its task, and its registration.
async fn listed(
    registry: &MemoryRegistry,
    name: &'static str,
    change: impl FnOnce(registry_core::InstanceBuilder) -> registry_core::InstanceBuilder,
) -> (JoinHandle<()>, Registration) {
    let (at, _, task) = bare(name).await;
    let (_, registration) = list(registry, change(instance_at(at).id(name))).await;
    (task, registration)
}

async fn with_key(channel: &Channel, key: &str) -> String {
    let mut request = tonic::Request::new(Request::default());
    request.metadata_mut().insert("user", key.parse().unwrap());
    EchoClient::new(channel.clone()).call(request).await.unwrap().into_inner().server
}

async fn owners(channel: &Channel) -> BTreeMap<String, String> {
    let mut owners = BTreeMap::new();
    for key in 0..200 {
        let key = format!("user-{key}");
        owners.insert(key.clone(), with_key(channel, &key).await);
    }
    owners
}

#[tokio::test]
async fn the_same_key_goes_to_the_same_server_and_only_keys_of_who_leaves_move() {
    let registry = MemoryRegistry::new();
    let mut all = Vec::new();
    for name in ["a", "b", "c", "d"] {
        all.push(listed(&registry, name, |instance| instance).await);
    }
    let by_user = || Policy::ConsistentHash("user".parse().unwrap());
    let channel = builder(&registry).policy(by_user()).build();
    let other = builder(&registry).policy(by_user()).seed(8).build();
    settled(&channel, 4).await;
    settled(&other, 4).await;
    let before = owners(&channel).await;
    assert_eq!(before, owners(&channel).await);
    assert_eq!(before, owners(&other).await, "clients agree");
    for name in ["a", "b", "c", "d"] {
        let keys = before.values().filter(|owner| *owner == name).count();
        assert!((25..=80).contains(&keys), "{name} has {keys} of 200");
    }

    registry.deregister(&all[2].1.lease).await.unwrap();
    settled(&channel, 3).await;
    for (key, owner) in owners(&channel).await {
        assert!(owner == before[&key] || before[&key] == "c", "{key} moved from {} to {owner}", before[&key]);
    }
    // Without a key it goes by load: to all, though who was slow once waits for its turn until that is forgotten.
    let mut answers = BTreeSet::new();
    let by_load = async {
        while answers.len() < 3 {
            answers.insert(call(&channel, 0).await.unwrap());
        }
    };
    within("answers of all three", by_load).await;
}

#[tokio::test]
async fn in_turn_is_exactly_in_turn() {
    let registry = MemoryRegistry::new();
    let _all = [
        listed(&registry, "a", |instance| instance).await,
        listed(&registry, "b", |instance| instance).await,
        listed(&registry, "c", |instance| instance).await,
    ];
    let channel = builder(&registry).policy(Policy::RoundRobin).build();
    settled(&channel, 3).await;
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(call(&channel, 0).await.unwrap());
    }
    for round in answers.chunks(3) {
        let mut round = round.to_vec();
        round.sort();
        assert_eq!(round, ["a", "b", "c"]);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_are_shared_by_weight_in_turn_as_well_as_by_load() {
    let registry = MemoryRegistry::new();
    let memory = InMemory::default();
    for (name, weight) in [("light", 100), ("heavy", 300)] {
        let instance = memory.serve(Named::new(name).router()).id(name).weight(weight);
        list(&registry, instance).await;
    }
    // In turn exactly; by load as it is drawn, of two that cost the same.
    for (policy, most_off) in [(Policy::RoundRobin, 0), (Policy::PeakEwma, 40)] {
        let channel = builder(&registry).connector(memory.clone()).policy(policy.clone()).build();
        settled(&channel, 2).await;
        let mut heavy = 0_i32;
        for _ in 0..400 {
            heavy += i32::from(call(&channel, 0).await.unwrap() == "heavy");
        }
        assert!((heavy - 300).abs() <= most_off, "{policy:?}: {heavy} of 400 to whom 300 belong");
    }
}

/// Lists servers in memory in these zones, and gives a channel that prefers the zone `z1`, and what has registered the first. Only the clock of the test
/// takes time: a machine that has other things to do would make any of them slow, and calls leave who is slow.
async fn in_zones<const N: usize>(
    registry: &MemoryRegistry,
    all: [(&'static str, Option<&str>); N],
) -> (Channel, Registration) {
    let memory = InMemory::default();
    let mut first = None;
    for (name, zone) in all {
        let mut instance = memory.serve(Named::new(name).router()).id(name);
        if let Some(zone) = zone {
            instance = instance.zone(zone);
        }
        let (_, registration) = list(registry, instance).await;
        first.get_or_insert(registration);
    }
    let channel = builder(registry).connector(memory).prefer_zone("z1".parse().unwrap()).build();
    settled(&channel, N).await;
    (channel, first.unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_own_zone_is_preferred_for_as_long_as_somebody_is_there() {
    let registry = MemoryRegistry::new();
    let all = [("near", Some("z1")), ("far-1", Some("z2")), ("far-2", None)];
    let (channel, near) = in_zones(&registry, all).await;
    for _ in 0..200 {
        assert_eq!(call(&channel, 0).await.unwrap(), "near");
    }
    registry.deregister(&near.lease).await.unwrap();
    settled(&channel, 2).await;
    assert!(call(&channel, 0).await.unwrap().starts_with("far"));
}

#[tokio::test(start_paused = true)]
async fn who_is_overloaded_in_the_own_zone_does_not_keep_its_calls() {
    let registry = MemoryRegistry::new();
    let (channel, _) = in_zones(&registry, [("near", Some("z1")), ("far", Some("z2"))]).await;
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel, 200).await.unwrap() })
        })
        .collect();
    let mut far = 0;
    for call in calls {
        far += usize::from(call.await.unwrap() == "far");
    }
    // All are picked for at one moment, when each in flight is expected to take 1 ms: it takes 24 in the zone to outweigh 20 ms and four times the first
    // one elsewhere, and four more for each that follows.
    assert!((5..=7).contains(&far), "{far} of 50 left the zone");
}

#[tokio::test]
async fn a_newcomer_gets_its_share_little_by_little() {
    let registry = MemoryRegistry::new();
    let window = Duration::from_secs(4);
    let _old = [
        listed(&registry, "a", |instance| instance).await,
        listed(&registry, "b", |instance| instance).await,
    ];
    let channel = builder(&registry).slow_start(window).build();
    settled(&channel, 2).await;
    // Those that are there are warm by then: the thing itself.
    tokio::time::sleep(window).await;
    let _new = listed(&registry, "new", |instance| instance).await;
    settled(&channel, 3).await;
    let joined = tokio::time::Instant::now();
    let mut early = (0, 0);
    while joined.elapsed() < window / 4 {
        early.0 += u32::from(call(&channel, 0).await.unwrap() == "new");
        early.1 += 1;
    }
    assert!(early.1 > 100 && early.0 > 0, "{early:?}");
    let share = f64::from(early.0) / f64::from(early.1);
    assert!(share < 0.2, "of the first quarter: {share:.2} of {}", early.1);
    // Its share is a third in the end; a busy machine may make one of them slow for a while.
    tokio::time::sleep_until(joined + window).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut late = 0;
    while late < 50 {
        assert!(tokio::time::Instant::now() < deadline, "{late} of the last 200");
        late = 0;
        for _ in 0..200 {
            late += u32::from(call(&channel, 0).await.unwrap() == "new");
        }
    }
}
