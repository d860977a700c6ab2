//! A process starts while the registry is out of reach.

use std::time::Duration;

use registry_core::{DirectoryOptions, DiskOptions, ErrorKind, Freshness, Ttl};
use tokio::time::{Instant, sleep, timeout};

use super::stage::{PATIENCE, Stage, id, over_each, service, until};

over_each! {
    started_with_the_registry_down_it_serves_from_disk_within_100_ms_and_goes_live_without_a_gap => cold;
}

async fn cold(stage: Stage) {
    let folder = tempfile::tempdir().unwrap();
    let disk = || DiskOptions::new(folder.path(), "test").with_delay(Duration::from_millis(10));
    let ttl = Ttl::from_secs(600).unwrap();
    let mut instances = stage.instances(100, ttl).await;
    {
        let before = stage.directory(DirectoryOptions::new().with_disk(disk())).await.view(&service());
        until(&before, 100, 0).await;
        let saved = async {
            while before.stats().disk_saved == 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, saved).await.unwrap();
    }
    stage.away().await;
    sleep(Duration::from_secs(2)).await;

    // Connecting is a part of the start, and waits for nobody.
    let started = Instant::now();
    let mut view = stage.directory(DirectoryOptions::new().with_disk(disk())).await.view(&service());
    assert!(timeout(PATIENCE, view.ready()).await.unwrap());
    let took = started.elapsed();
    let state = view.state();
    assert!(took < Duration::from_millis(100), "{took:?}");
    assert_eq!(state.entries().len(), 100);
    let Freshness::Stale { error, .. } = state.freshness() else { panic!("{state:?}") };
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
    let age = state.disk_age(Instant::now()).unwrap();
    assert!(age >= Duration::from_millis(1_900) && age < PATIENCE, "{age:?}");
    assert!(state.stale_for(Instant::now()) >= age.min(Duration::from_secs(2)));
    sleep(Duration::from_secs(1)).await;
    assert!(view.load().disk_age(Instant::now()).unwrap() >= age + Duration::from_secs(1));

    stage.back().await;
    let live = async {
        loop {
            let state = view.state();
            assert_eq!(state.entries().len(), 100, "a gap");
            if matches!(state.freshness(), Freshness::Live { .. }) {
                return state.disk_age(Instant::now());
            }
            assert!(view.changed().await);
        }
    };
    assert_eq!(timeout(PATIENCE, live).await.expect("it goes live"), None);
    assert_eq!(view.stats().disk_rejected, 0);

    // And it follows: who comes and who leaves is seen.
    instances.extend(stage.more_instances(101..=102, ttl).await);
    until(&view, 102, 0).await;
    timeout(PATIENCE, instances.swap_remove(0).shutdown()).await.unwrap().unwrap();
    until(&view, 101, 0).await;
    assert!(view.load().snapshot().unwrap().get(&id(1)).is_none());
    assert_eq!(view.load().resets().0, 1, "what came was told, not listed anew");
}
