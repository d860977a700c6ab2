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
use support::listed::{bare, instance_at, list};
use support::{PATIENCE, call, service, settled, shared, within};
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

#[tokio::test]
async fn the_own_zone_is_preferred_for_as_long_as_somebody_is_there() {
    let registry = MemoryRegistry::new();
    let near = listed(&registry, "near", |instance| instance.zone("z1")).await;
    let _far = [
        listed(&registry, "far-1", |instance| instance.zone("z2")).await,
        listed(&registry, "far-2", |instance| instance).await,
    ];
    let channel = builder(&registry).prefer_zone("z1".parse().unwrap()).build();
    settled(&channel, 3).await;
    for _ in 0..200 {
        assert_eq!(call(&channel, 0).await.unwrap(), "near");
    }
    registry.deregister(&near.1.lease).await.unwrap();
    settled(&channel, 2).await;
    assert!(call(&channel, 0).await.unwrap().starts_with("far"));
}

#[tokio::test]
async fn who_is_overloaded_in_the_own_zone_does_not_keep_its_calls() {
    let registry = MemoryRegistry::new();
    let _near = listed(&registry, "near", |instance| instance.zone("z1")).await;
    let _far = listed(&registry, "far", |instance| instance.zone("z2")).await;
    let channel = builder(&registry).prefer_zone("z1".parse().unwrap()).build();
    settled(&channel, 2).await;
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
    assert!((3..=25).contains(&far), "{far} of 50 left the zone");
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
