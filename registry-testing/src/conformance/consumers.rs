//! A [`Directory`] over the backend: the view follows, survives an outage, and says how fresh it is.

use std::sync::Arc;
use std::time::Duration;

use registry_core::{Difference, Directory, Freshness, RegistryExt, View};
use tokio::time::{Instant, timeout};

use super::Backend;
use super::support::{PATIENCE, answer, entries, eventually, instance, lookup, register, user, weighing};

/// A view of the service, ready.
async fn view(directory: &Directory) -> View {
    let view = directory.view(&user());
    timeout(PATIENCE, view.ready()).await.expect("a view is ready in time");
    view
}

async fn until_stale(view: &View) {
    let stale = async || matches!(view.load().freshness(), Freshness::Stale { .. }).then_some(());
    eventually("the view is stale", PATIENCE, stale).await;
}

async fn until_live(view: &View) {
    let live = async || matches!(view.load().freshness(), Freshness::Live { .. }).then_some(());
    eventually("the view is live", PATIENCE, live).await;
}

/// A view shows what lookup lists, through every kind of change.
pub async fn a_view_follows_what_is_listed(backend: &dyn Backend) {
    let client = backend.client().await;
    let directory = Directory::new(Arc::clone(&client));
    let view = view(&directory).await;
    let follows = async || {
        let listed = lookup(&*client, &user()).await;
        let same = async || (view.load().entries() == entries(&listed)).then_some(());
        eventually("the view follows", PATIENCE, same).await;
    };
    follows().await;
    let first = register(&*client, &instance(1)).await;
    register(&*client, &instance(2)).await;
    follows().await;
    answer(client.update(&first.lease, &weighing(&instance(1), 7))).await;
    follows().await;
    register(&*client, &weighing(&instance(2), 8)).await;
    follows().await;
    answer(client.deregister(&first.lease)).await;
    follows().await;
    assert_eq!(view.load().entries().len(), 1);
}

/// The differences of a view, summed up, are what is listed.
pub async fn differences_sum_up_to_what_is_listed(backend: &dyn Backend) {
    let client = backend.client().await;
    register(&*client, &instance(0)).await;
    let mut differences = view(&Directory::new(Arc::clone(&client))).await.differences();
    let lease = register(&*client, &instance(1)).await.lease;
    answer(client.update(&lease, &weighing(&instance(1), 7))).await;
    register(&*client, &instance(2)).await;
    answer(client.deregister(&lease)).await;
    let listed = lookup(&*client, &user()).await;
    let mut sum = std::collections::BTreeMap::new();
    let deadline = Instant::now() + PATIENCE;
    while !sum.values().cloned().eq(listed.iter().cloned()) {
        let next = tokio::time::timeout_at(deadline, differences.next()).await;
        for difference in next.expect("differences come in time").expect("they do not end") {
            match difference {
                Difference::Removed(entry) => sum.remove(entry.id()),
                Difference::Added(entry) | Difference::Changed { new: entry, .. } => {
                    sum.insert(entry.id().clone(), entry)
                }
                _ => None,
            };
        }
    }
}

/// In an outage a view is stale, says so, and goes on serving; afterwards it is live and current. It is empty at no moment.
pub async fn a_view_is_stale_then_live_and_never_empty(backend: &dyn Backend) {
    let client = backend.client().await;
    let (reader, link) = backend.linked_client().await;
    register(&*client, &instance(1)).await;
    let directory = Directory::new(reader);
    let mut view = view(&directory).await;
    let watching = {
        let mut view = view.clone();
        tokio::spawn(async move {
            while view.changed().await {
                assert!(!view.load().entries().is_empty(), "the view was emptied");
            }
        })
    };
    for black_hole in [false, true] {
        if black_hole {
            link.black_hole().await
        } else {
            link.cut().await
        }
        until_stale(&view).await;
        assert_eq!(view.load().entries().len(), 1 + usize::from(black_hole));
        let added = instance(2 + usize::from(black_hole));
        register(&*client, &added).await;
        link.heal().await;
        until_live(&view).await;
        let there = async || view.load().snapshot().and_then(|view| view.get(added.id()).cloned());
        eventually("what changed meanwhile", PATIENCE, there).await;
        assert!(view.changed().await);
    }
    assert!(!watching.is_finished(), "{:?}", watching.await);
    watching.abort();
}

/// A wipe reaches a view, and what registers afterwards too.
pub async fn a_view_survives_a_wipe(backend: &dyn Backend) {
    let client = backend.client().await;
    register(&*client, &instance(1)).await;
    let view = view(&Directory::new(Arc::clone(&client))).await;
    backend.wipe().await;
    let empty = async || view.load().entries().is_empty().then_some(());
    eventually("the wipe", PATIENCE, empty).await;
    register(&*client, &instance(2)).await;
    let there = async || (view.load().entries().len() == 1).then_some(());
    eventually("the new life", PATIENCE, there).await;
    assert_eq!(view.load().resets().0, 2);
}

/// `wait_until` gives the snapshot that was waited for, and says in time when it does not come.
pub async fn waiting_for_instances_ends_when_they_are_there_or_in_time(backend: &dyn Backend) {
    let client = backend.client().await;
    let waiting = {
        let client = Arc::clone(&client);
        tokio::spawn(async move { client.wait_until(&user(), PATIENCE, |view| view.len() == 2).await })
    };
    // So that it sees them come, one by one.
    for n in 1..=2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        register(&*client, &instance(n)).await;
    }
    let seen = waiting.await.expect("it ends").expect("they are there");
    assert_eq!(entries(&seen), entries(&lookup(&*client, &user()).await));
    let limit = Duration::from_millis(300);
    let error = client.wait_until(&user(), limit, |view| view.len() == 3).await.expect_err("there are two");
    assert!(error.message().contains("2 instances"), "{error}");
}
