//! Dropping any future is safe, at any moment: what it asked for happened or did not, and everything works afterwards.

use std::time::Duration;

use registry_core::{Registry, Snapshot};
use tokio::time::timeout;

use super::Backend;
use super::support::{
    answer, entry, instance, lookup, options, poll_times, register, register_with, user, weighing,
};
use super::watcher::Watcher;

/// How many polls a future gets before it is dropped. The last are enough for most answers of a store in this process.
const POLLS: [usize; 6] = [0, 1, 2, 3, 5, 8];

/// Requires that `watcher` and lookup agree, and that the registry works.
async fn require_sound(client: &dyn Registry, watcher: &mut Watcher) {
    let registration = register(client, &instance(77)).await;
    watcher.until_revision(registration.revision).await;
    watcher.settle(client).await;
    answer(client.deregister(&registration.lease)).await;
    watcher.settle(client).await;
}

/// A dropped `register` lists one entry or none, and registering again with the same token gives its lease.
pub async fn a_dropped_register_can_be_repeated(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    for (n, polls) in POLLS.into_iter().enumerate() {
        let (instance, options) = (instance(n), options(&*client));
        poll_times(polls, client.register(&instance, &options)).await;
        assert!(lookup(&*client, &user()).await.len() <= 1);
        let registration = register_with(&*client, &instance, &options).await;
        answer(client.keepalive(&registration.lease)).await;
        assert_eq!(lookup(&*client, &user()).await.len(), 1);
        answer(client.deregister(&registration.lease)).await;
        assert!(lookup(&*client, &user()).await.is_empty(), "after {polls} polls");
        require_sound(&*client, &mut watcher).await;
    }
}

/// A dropped takeover fenced the old owner or did not; one of the two holds the id.
pub async fn a_dropped_takeover_leaves_one_owner(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    for polls in POLLS {
        let old = register(&*client, &instance(1)).await;
        let options = options(&*client);
        poll_times(polls, client.register(&weighing(&instance(1), 7), &options)).await;
        let held = client.keepalive(&old.lease).await.is_ok();
        let listed = lookup(&*client, &user()).await;
        let incarnation = entry(&listed, instance(1).id()).incarnation();
        // On a real server the dropped request may still be under way, and take over after the heartbeat.
        assert!(!held || incarnation >= old.lease.incarnation());
        assert!(held || incarnation > old.lease.incarnation());
        let new = register_with(&*client, &weighing(&instance(1), 7), &options).await;
        assert!(client.keepalive(&old.lease).await.is_err());
        answer(client.deregister(&new.lease)).await;
        require_sound(&*client, &mut watcher).await;
    }
}

/// A dropped `keepalive` renewed the lease or did not, and harms neither it nor the next.
pub async fn a_dropped_keepalive_harms_nothing(backend: &dyn Backend) {
    let client = backend.client().await;
    let registration = register(&*client, &instance(1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    for polls in POLLS {
        poll_times(polls, client.keepalive(&registration.lease)).await;
        answer(client.keepalive(&registration.lease)).await;
        assert_eq!(lookup(&*client, &user()).await.len(), 1);
    }
    require_sound(&*client, &mut watcher).await;
}

/// A dropped `update` shows the old value or the new one, whole, and can be repeated.
pub async fn a_dropped_update_shows_the_old_value_or_the_new(backend: &dyn Backend) {
    let client = backend.client().await;
    let registration = register(&*client, &weighing(&instance(1), 1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let mut weight = 1;
    for polls in POLLS {
        let (old, new) = (weight, weight + 1);
        let changed = weighing(&instance(1), new);
        poll_times(polls, client.update(&registration.lease, &changed)).await;
        let listed = lookup(&*client, &user()).await;
        let shown = entry(&listed, instance(1).id()).instance().weight().get();
        assert!(shown == old || shown == new, "{shown}, which is neither {old} nor {new}");
        answer(client.update(&registration.lease, &changed)).await;
        weight = new;
    }
    let listed = lookup(&*client, &user()).await;
    assert_eq!(entry(&listed, instance(1).id()).instance().weight().get(), weight);
    require_sound(&*client, &mut watcher).await;
}

/// A dropped `deregister` removed the entry or did not, and can be repeated.
pub async fn a_dropped_deregister_can_be_repeated(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    for polls in POLLS {
        let registration = register(&*client, &instance(1)).await;
        poll_times(polls, client.deregister(&registration.lease)).await;
        answer(client.deregister(&registration.lease)).await;
        let gone = |view: &Snapshot| view.get(instance(1).id()).is_none();
        watcher.until_revision(registration.revision).await;
        watcher.until("the end of the entry", gone).await;
        assert!(lookup(&*client, &user()).await.is_empty());
    }
    require_sound(&*client, &mut watcher).await;
}

/// Dropped lookups harm nothing, and neither do answers that nobody waited for.
pub async fn a_dropped_lookup_harms_nothing(backend: &dyn Backend) {
    let client = backend.client().await;
    register(&*client, &instance(1)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    for polls in POLLS {
        poll_times(polls, client.lookup(&user())).await;
        poll_times(polls, client.services("")).await;
        let _ = timeout(Duration::from_micros(100), client.lookup(&user())).await;
        assert_eq!(lookup(&*client, &user()).await.len(), 1);
        assert_eq!(answer(client.services("")).await, [user()]);
    }
    require_sound(&*client, &mut watcher).await;
}
