//! Instances leave of their own will.

use std::time::Duration;

use registry_core::{Directory, Registrar, Status, Ttl, View};
use tokio::time::{Instant, timeout};

use super::stage::{PATIENCE, Stage, id, instance, over_each, service, until};

over_each! {
    scale_to_zero_by_deregistering_is_seen_at_once_guard_or_not => scale_to_zero;
    drained_and_then_killed_nobody_is_held => drained_and_killed;
    drained_and_then_lost_with_the_store_nobody_is_held_but_the_others => drained_and_wiped;
}

/// There, who drains takes its address off first, and who leaves says goodbye beside it.
mod over_etcd_as_go_zero {
    use super::Stage;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn scale_to_zero_by_deregistering_is_seen_at_once_guard_or_not() {
        super::scale_to_zero(Stage::go_zero().await).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn drained_and_then_killed_nobody_is_held() {
        super::drained_and_killed(Stage::go_zero().await).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn drained_and_then_lost_with_the_store_nobody_is_held_but_the_others() {
        super::drained_and_wiped(Stage::go_zero().await).await;
    }
}

/// Much less than a TTL, or a heartbeat.
const AT_ONCE: Duration = Duration::from_secs(2);

async fn scale_to_zero(stage: Stage) {
    let ttl = Ttl::from_secs(30).unwrap();
    let mut instances = stage.instances(40, ttl).await;
    let guarded = stage.guarded(ttl).await;
    let bare = Directory::new(stage.registry().await).view(&service());
    until(&guarded, 40, 0).await;
    until(&bare, 40, 0).await;
    // Half of them drain first.
    let drained = instances.split_off(20).into_iter().map(|one| one.drain(Duration::from_millis(100)));
    let all = async {
        for instance in instances {
            instance.shutdown().await.unwrap();
        }
        for drained in drained {
            drained.await.unwrap();
        }
    };
    let follow = async {
        timeout(PATIENCE, all).await.unwrap();
        let gone = Instant::now();
        until(&guarded, 0, 0).await;
        until(&bare, 0, 0).await;
        gone.elapsed()
    };
    let took = follow.await;
    assert!(took < AT_ONCE, "{took:?}");
    assert_eq!(guarded.stats().holds_begun, 0, "nobody was held");
}

/// Forty instances, and a guarded view that has seen the first thirty of them drain.
async fn drained(stage: &Stage, ttl: Ttl) -> (Vec<Registrar>, View) {
    let instances = stage.instances(40, ttl).await;
    let view = stage.guarded(ttl).await;
    until(&view, 40, 0).await;
    for (n, registrar) in (1..=30).zip(&instances) {
        let draining = instance(n).to_builder().status(Status::Draining).build().unwrap();
        registrar.update(draining).await.unwrap();
    }
    let mut follower = view.clone();
    let seen = async {
        let draining = |view: &View| {
            let state = view.load();
            state.entries().iter().filter(|entry| entry.instance().status() == Status::Draining).count()
        };
        while draining(&follower) < 30 {
            assert!(follower.changed().await);
        }
    };
    timeout(PATIENCE, seen).await.expect("the view sees who drains");
    (instances, view)
}

async fn drained_and_killed(stage: Stage) {
    let (mut instances, view) = drained(&stage, Ttl::from_secs(4).unwrap()).await;
    instances.drain(..30).for_each(Registrar::abandon);
    // Three quarters vanish at once, which would be held of others.
    until(&view, 10, 0).await;
    assert_eq!(view.stats().holds_begun, 0);
    assert!(instances.iter().all(|instance| instance.state().is_registered()));
}

async fn drained_and_wiped(stage: Stage) {
    let (mut instances, mut view) = drained(&stage, Ttl::from_secs(6).unwrap()).await;
    instances.drain(..30).for_each(Registrar::abandon);
    stage.wipe().await;
    let back = async {
        loop {
            let state = view.state();
            assert!((1..=30).all(|n| state.held_of(&id(n)).is_none()), "one that drained is held");
            if state.resets().0 > 1 && (state.entries().len(), state.held_len()) == (10, 0) {
                return;
            }
            assert!(view.changed().await);
        }
    };
    timeout(PATIENCE, back).await.expect("the others come back");
    let stats = view.stats();
    assert!(stats.holds_begun <= 10 && stats.holds_expired == 0, "{stats:?}");
    for instance in &instances {
        timeout(PATIENCE, instance.registered()).await.expect("it knows that it is back").unwrap();
    }
}
