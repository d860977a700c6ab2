//! W8 and W9 in trouble: losing the registry is not data, and the present comes back in time.

use std::time::Duration;

use registry_core::{ErrorKind, ResetCause, WatchEvent};
use tokio::time::{Instant, sleep};

use super::Backend;
use super::support::{answer, entries, instance, lookup, register, register_with, user, weighing};
use super::watcher::Watcher;

/// A cut shows as `Stale` with what is wrong; nothing is emptied, and what changed meanwhile comes after it, change by change.
pub async fn w9_a_cut_is_stale_then_the_changes_then_live(backend: &dyn Backend) {
    let client = backend.client().await;
    let (reader, link) = backend.linked_client().await;
    register(&*client, &instance(1)).await;
    let mut watcher = Watcher::ready(&*reader, &user()).await;
    let cut = Instant::now();
    link.cut().await;
    let stale = |event: &WatchEvent| matches!(event, WatchEvent::Stale { .. });
    let WatchEvent::Stale { since, error } =
        watcher.until_item("Stale", super::support::PATIENCE, stale).await
    else {
        panic!("waited for Stale")
    };
    assert!(since <= cut + Duration::from_secs(1), "current until the cut at the latest");
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
    assert_eq!(watcher.view().len(), 1, "the set is kept");
    let second = register(&*client, &instance(2)).await;
    let third = register(&*client, &instance(3)).await;
    link.heal().await;
    watcher.until_live().await;
    assert_eq!(watcher.resets, [ResetCause::First], "a cut alone loses nothing");
    let (second, third) =
        ((second.revision, instance(2).id().clone()), (third.revision, instance(3).id().clone()));
    watcher.until("what changed meanwhile", |view| view.len() == 3).await;
    assert_eq!(watcher.changes(), [second, third]);
}

/// `Live` comes also when nothing changed.
pub async fn w9_after_a_cut_in_which_nothing_changed_comes_live(backend: &dyn Backend) {
    let (reader, link) = backend.linked_client().await;
    register(&*backend.client().await, &instance(1)).await;
    let mut watcher = Watcher::ready(&*reader, &user()).await;
    for _ in 0..2 {
        link.cut().await;
        watcher.until_stale().await;
        link.heal().await;
        watcher.until_live().await;
    }
    assert_eq!(watcher.view().len(), 1);
    assert!(watcher.changes().is_empty(), "history is not replayed: {:?}", watcher.changes());
    assert_eq!(watcher.resets, [ResetCause::First]);
}

/// Silence, too, is noticed: a connection that says nothing any more is not taken for a quiet service.
pub async fn w9_a_black_hole_is_noticed(backend: &dyn Backend) {
    let client = backend.client().await;
    let (reader, link) = backend.linked_client().await;
    register(&*client, &instance(1)).await;
    let mut watcher = Watcher::ready(&*reader, &user()).await;
    link.black_hole().await;
    register(&*client, &instance(2)).await;
    watcher.until_stale().await;
    assert_eq!(watcher.view().len(), 1, "the set is kept");
    link.heal().await;
    watcher.until("what changed meanwhile", |view| view.len() == 2).await;
    watcher.until_live().await;
}

/// In a long outage the set is neither emptied nor aged, and the stream does not end: also when every lease ran out meanwhile.
pub async fn w9_in_an_outage_the_set_is_never_emptied(backend: &dyn Backend) {
    let (reader, link) = backend.linked_client().await;
    let client = backend.client().await;
    let registration = super::support::register_briefly(&*client, &instance(1)).await;
    let mut watcher = Watcher::ready(&*reader, &user()).await;
    link.cut().await;
    watcher.until_stale().await;
    let end = registration.ttl.get() + client.guarantees().expiry_bound.min(registration.ttl.get());
    watcher.rest(end + Duration::from_secs(1)).await;
    assert_eq!(watcher.view().len(), 1, "nothing is known to have changed");
    assert!(watcher.is_stale());
    link.heal().await;
    watcher.until("what really happened", |view| view.is_empty()).await;
}

/// Starting a watch waits for no server: it says `Stale`, and delivers once the server is there.
pub async fn w9_a_watch_started_in_an_outage_delivers_after_it(backend: &dyn Backend) {
    let (reader, link) = backend.linked_client().await;
    register(&*backend.client().await, &instance(1)).await;
    for black_hole in [false, true] {
        if black_hole {
            link.black_hole().await
        } else {
            link.cut().await
        }
        let mut watcher = Watcher::new(&*reader, &user());
        let first = watcher.next().await;
        assert!(matches!(first, WatchEvent::Stale { .. }), "W1: only Stale may come before Reset: {first:?}");
        link.heal().await;
        watcher.until("the first snapshot", |view| view.len() == 1).await;
        watcher.until_live().await;
    }
}

/// Likewise from a cursor: after the outage it goes on with the first later change.
pub async fn w9_a_watch_resumed_in_an_outage_goes_on_after_it(backend: &dyn Backend) {
    let client = backend.client().await;
    let (reader, link) = backend.linked_client().await;
    register(&*client, &instance(1)).await;
    let snapshot = lookup(&*client, &user()).await;
    link.cut().await;
    let mut watcher = Watcher::after(&*reader, &snapshot);
    assert!(matches!(watcher.next().await, WatchEvent::Stale { .. }));
    let second = register(&*client, &instance(2)).await;
    link.heal().await;
    assert_eq!(watcher.next_changes().await.cursor.revision(), second.revision);
    assert!(watcher.resets.is_empty(), "{:?}", watcher.resets);
}

/// An instance whose address changed during a cut is there afterwards, with its new address. (A class of bug: adding before
/// deleting, and deleting by key, loses the live endpoint.)
pub async fn w8_an_address_that_changed_during_a_cut_is_not_lost(backend: &dyn Backend) {
    let client = backend.client().await;
    let (reader, link) = backend.linked_client().await;
    let at = |endpoint: &str| {
        let builder = instance(1).to_builder().id("node-1").clear_endpoints().endpoint(endpoint);
        builder.build().expect("a valid instance")
    };
    let mut lease = register(&*client, &at("10.9.9.9:1")).await.lease;
    let mut watcher = Watcher::ready(&*reader, &user()).await;
    for (black_hole, endpoint) in [(false, "10.9.9.9:2"), (true, "10.9.9.9:3")] {
        if black_hole {
            link.black_hole().await
        } else {
            link.cut().await
        }
        watcher.until_stale().await;
        answer(client.deregister(&lease)).await;
        let moved = at(endpoint);
        lease = register(&*client, &moved).await.lease;
        link.heal().await;
        watcher.until_live().await;
        watcher.settle(&*client).await;
        assert_eq!(watcher.view().len(), 1);
        assert_eq!(super::support::entry(watcher.view(), moved.id()).instance(), &moved);
    }
}

/// Four short flaps of the connection, 3 to 30 ms apart, stop nothing. (A class of bug: they deadlock discovery for the whole
/// process.)
pub async fn w8_four_flaps_of_the_connection_stop_nothing(backend: &dyn Backend) {
    let client = backend.client().await;
    let (reader, link) = backend.linked_client().await;
    let mut watching = Vec::new();
    for _ in 0..5 {
        let mut watcher = Watcher::ready(&*reader, &user()).await;
        watching.push(tokio::spawn(async move {
            let deadline = Instant::now() + super::support::PATIENCE;
            while watcher.changes().len() < 5 && watcher.try_next(deadline).await.is_some() {}
            watcher
        }));
    }
    for (n, pause) in [3, 30, 7, 12].into_iter().enumerate() {
        link.cut().await;
        sleep(Duration::from_millis(pause)).await;
        register(&*client, &instance(n)).await;
        link.heal().await;
        sleep(Duration::from_millis(pause)).await;
    }
    register(&*client, &instance(9)).await;
    for task in watching {
        let mut watcher = task.await.expect("a watch that keeps its promises");
        assert_eq!(watcher.changes().len(), 5, "each change once: {:?}", watcher.changes());
        watcher.settle(&*client).await;
    }
    super::support::until_answered(async || reader.lookup(&user()).await).await;
}

/// While a connection flaps under constant change, no view goes back to an older list. (A class of bug: an older list is installed over a
/// newer one.)
pub async fn w2_under_flaps_and_changes_no_view_goes_back(backend: &dyn Backend) {
    let client = backend.client().await;
    let (reader, link) = backend.linked_client().await;
    let options = super::support::options(&*client);
    register_with(&*client, &weighing(&instance(1), 0), &options).await;
    let mut watcher = Watcher::ready(&*reader, &user()).await;
    let mut seen = 0;
    for weight in 1..=60 {
        if weight % 6 == 3 {
            link.cut().await;
        }
        register_with(&*client, &weighing(&instance(1), weight), &options).await;
        if weight % 6 == 5 {
            link.heal().await;
        }
        let until = Instant::now() + Duration::from_millis(5);
        while watcher.try_next(until).await.is_some() {
            let shown = super::support::entry(watcher.view(), instance(1).id()).instance().weight().get();
            assert!(shown >= seen, "{shown} was shown after {seen}");
            seen = shown;
        }
    }
    link.heal().await;
    watcher.settle(&*client).await;
    assert_eq!(watcher.changes().len(), 60, "each change once, in order");
}

/// W8: within `guarantees().convergence` after the end of a fault every watch shows what lookup lists.
pub async fn w8_a_watch_converges_in_time_after_a_cut(backend: &dyn Backend) {
    let client = backend.client().await;
    let (reader, link) = backend.linked_client().await;
    for n in 0..5 {
        register(&*client, &instance(n)).await;
    }
    let mut watcher = Watcher::ready(&*reader, &user()).await;
    for (round, outage) in [50, 700, 3000, 6000].into_iter().enumerate() {
        link.cut().await;
        watcher.until_stale().await;
        let n = 10 + round;
        register(&*client, &instance(n)).await;
        watcher.rest(Duration::from_millis(outage)).await;
        link.heal().await;
        let deadline = Instant::now() + client.guarantees().convergence;
        watcher.settle_by(&*client, deadline).await;
        assert!(watcher.view().get(instance(n).id()).is_some());
        assert_eq!(entries(watcher.view()), entries(&lookup(&*client, &user()).await));
        if watcher.is_stale() {
            watcher.until_live().await;
        }
    }
}
