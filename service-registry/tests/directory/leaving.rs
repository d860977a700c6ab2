//! Instances leave of their own will.

use std::time::Duration;

use registry_core::{Directory, Ttl};
use tokio::time::{Instant, timeout};

use super::stage::{PATIENCE, Stage, over_each, service, until};

over_each! {
    scale_to_zero_by_deregistering_is_seen_at_once_guard_or_not => scale_to_zero;
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
