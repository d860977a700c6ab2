//! Instances die at once.

use registry_core::{HeldCause, Registrar, Ttl};
use tokio::time::Instant;

use super::stage::{Stage, id, over_each, until};

over_each! {
    ninety_of_a_hundred_killed_are_held_then_gone_after_the_bound_and_released_at_once_by_a_call => ninety;
}

async fn ninety(stage: Stage) {
    let ttl = Ttl::from_secs(4).unwrap();
    let mut instances = stage.instances(100, ttl).await;
    let (waiting, released) = (stage.guarded(ttl).await, stage.guarded(ttl).await);
    until(&waiting, 100, 0).await;
    until(&released, 100, 0).await;
    instances.drain(..90).for_each(Registrar::abandon);
    until(&waiting, 100, 90).await;
    let held_since = Instant::now();

    let state = waiting.state();
    let mut last = held_since;
    for (id, held) in state.held() {
        assert!(matches!(held.cause(), HeldCause::Expired | HeldCause::Unknown), "{held:?}");
        assert_eq!(held.until() - held.since(), 3 * ttl.get());
        assert!(state.snapshot().unwrap().get(id).is_some(), "it is listed");
        last = last.max(held.until());
    }
    assert!(state.held_of(&id(95)).is_none(), "a living one is not held");

    until(&released, 100, 90).await;
    assert_eq!(released.release().await, 90);
    assert_eq!((released.load().entries().len(), released.load().held_len()), (10, 0));
    assert_eq!(waiting.load().held_len(), 90, "another process holds them");

    until(&waiting, 10, 0).await;
    assert!(Instant::now() >= last && last.elapsed() < ttl.get(), "{:?}", last.elapsed());
    assert_eq!((waiting.stats().holds_begun, waiting.stats().holds_expired), (90, 90));
    assert_eq!((released.stats().holds_released, released.stats().holds_expired), (90, 0));
    assert!(instances.iter().all(|instance| instance.state().is_registered()));
}
