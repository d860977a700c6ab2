//! The store loses everything under instances that live.

use registry_core::{Directory, HeldCause, ResetCause, Ttl};
use tokio::time::timeout;

use super::stage::{PATIENCE, Stage, over_each, service, until};

over_each! {
    wiped_under_100_instances_a_guarded_view_loses_none_and_another_says_reset_and_converges => wiped;
}

async fn wiped(stage: Stage) {
    let ttl = Ttl::from_secs(6).unwrap();
    let instances = stage.instances(100, ttl).await;
    let mut guarded = stage.guarded(ttl).await;
    let bare = Directory::new(stage.registry().await).view(&service());
    until(&guarded, 100, 0).await;
    until(&bare, 100, 0).await;
    assert_eq!((guarded.load().resets().0, bare.load().resets().0), (1, 1));

    stage.wipe().await;
    let back = async {
        let mut most = 0;
        loop {
            let state = guarded.state();
            assert_eq!(state.entries().len(), 100, "a living instance is lost");
            most = most.max(state.held_len());
            if state.resets().0 > 1 && state.held_len() == 0 {
                return most;
            }
            for (_, held) in state.held() {
                assert!(matches!(held.cause(), HeldCause::Reset(_)), "{held:?}");
            }
            assert!(guarded.changed().await);
        }
    };
    let most = timeout(PATIENCE, back).await.expect("all come back");
    assert!(most > 50, "{most} were held: the wipe was not seen");
    let stats = guarded.stats();
    assert_eq!((stats.holds_begun, stats.holds_expired), (stats.holds_ended, 0), "{stats:?}");
    until(&bare, 100, 0).await;
    let stats = bare.stats();
    assert!(bare.load().resets().0 > 1 && stats.resets(ResetCause::First) == 1, "{stats:?}");
    assert_eq!((stats.holds_begun, bare.load().held_len()), (0, 0), "without a guard nobody is held");
    for instance in &instances {
        timeout(PATIENCE, instance.registered()).await.expect("it knows that it is back").unwrap();
    }
}
