//! The hot path allocates nothing: a pick and the completion of its call, by themselves and as a channel does them. That reading a view allocates nothing,
//! nor any other policy, is tested in `registry-core`.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::task::{Context, Waker};

use allocation_counter::measure;
use benches::work::grpc::{Background, Servers, channel};
use benches::work::picking::{Picking, Published, TowerP2c};
use http::Request;
use registry_core::pick::{Draw, RoundRobin, random};
use registry_tonic::Policy;
use tonic::body::Body;
use tower::Service;

const CALLS: u64 = 1_000;

/// What a channel picks from, with unequal weights or equal ones.
async fn of_channel(size: usize, policy: Policy, weight: impl Fn(usize) -> u32) -> Picking {
    Picking::new(size, policy, weight, 1).await.unwrap()
}

#[tokio::test]
async fn a_channels_pick_and_completion_allocate_nothing_whatever_the_policy() {
    for policy in [Policy::PeakEwma, Policy::RoundRobin, Policy::ConsistentHash("x-key".parse().unwrap())] {
        for size in [1, 2, 1_000] {
            let equal = of_channel(size, policy.clone(), |_| 100).await;
            let by_weight = of_channel(size, policy.clone(), |number| 1 + number as u32 % 3).await;
            // The first time in a thread, something is set up.
            assert_eq!((equal.call(1, || 1), by_weight.call(1, || 1)), (Some(1), Some(1)));
            let mut answered = 0;
            let allocated = measure(|| {
                for key in 0..CALLS {
                    answered += equal.call(key, || 1).into_iter().chain(by_weight.call(key, || 1)).count();
                    answered += usize::from(equal.pick(key).is_some() && by_weight.pick(key).is_some());
                }
            });
            assert_eq!((allocated.count_total, answered), (0, 3 * CALLS as usize), "{policy:?} of {size}");
        }
    }
}

#[test]
fn a_pick_by_the_core_and_its_completion_allocate_nothing() {
    for size in [1, 2, 1_000] {
        let core = Published::new(size, 1);
        assert_eq!(core.call(1), Some(1));
        let mut answered = 0;
        let allocated = measure(|| answered += (0..CALLS).filter_map(|request| core.call(request)).count());
        assert_eq!((allocated.count_total, answered), (0, CALLS as usize), "of {size}");
    }
}

#[test]
fn a_pick_in_turn_or_at_random_allocates_nothing() {
    let (endpoints, draw, turns) = ([0_u8; 1_000], Draw::with_seed(1), RoundRobin::default());
    let mut picked = 0;
    let allocated = measure(|| {
        for _ in 0..CALLS {
            picked += random(&endpoints, &draw).into_iter().chain(turns.pick(&endpoints)).count();
        }
    });
    assert_eq!((allocated.count_total, picked), (0, 2 * CALLS as usize));
}

/// That what counts allocations counts them here.
#[test]
fn towers_balancer_allocates() {
    let mut tower = TowerP2c::new(10);
    tower.call(1).unwrap();
    assert!(measure(|| drop(tower.call(1))).count_total > 0);
}

/// A call picks as soon as it is made, before it is awaited: what it allocates until then is the future, in one piece, and what is picked from does not
/// matter.
#[tokio::test]
async fn a_channel_picks_without_allocating() {
    for size in [1, 3] {
        let (servers, calling) = (Servers::start(size).unwrap(), Background::start().unwrap());
        let addresses = servers.addresses.clone();
        let mut channel = calling.run(channel(addresses)).await.unwrap();
        assert!(channel.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
        let request = || Request::builder().uri("http://any/user.Users/Find").body(Body::empty()).unwrap();
        drop(channel.call(request()));
        let calls: Vec<_> = (0..CALLS).map(|_| request()).collect();
        let allocated = measure(|| calls.into_iter().for_each(|call| drop(channel.call(call))));
        assert_eq!(allocated.count_total, CALLS, "of {size}");
    }
}
