//! Entries that others wrote and nobody can read: skipped, counted, and the cause of nothing else.

use registry_core::{InstanceId, Snapshot};

use super::Backend;
use super::support::{
    answer, entries, entry, ids, instance, lookup, options, register, register_with, service, user,
};
use super::watcher::Watcher;

/// What is written where an entry should be.
fn rubbish() -> Vec<Vec<u8>> {
    vec![
        b"".to_vec(),
        b"null".to_vec(),
        b"{}".to_vec(),
        b"10.0.0.7:8080".to_vec(),
        b"{\"schema\":1".to_vec(),
        b"{\"schema\":999,\"service\":\"user.rpc\"}".to_vec(),
        vec![0xff, 0xfe, 0x00, 0x01],
        vec![b'['; 100_000],
        vec![b'x'; 300_000],
    ]
}

fn id(n: usize) -> InstanceId {
    InstanceId::new(format!("rubbish-{n}")).expect("a valid id")
}

/// It is left out and counted, and its neighbours are listed.
pub async fn what_cannot_be_read_is_skipped_and_counted(backend: &dyn Backend) {
    let client = backend.client().await;
    register(&*client, &instance(1)).await;
    for (n, bytes) in rubbish().iter().enumerate() {
        backend.put_bytes(&user(), &id(n), bytes).await;
    }
    register(&*client, &instance(2)).await;
    let listed = lookup(&*client, &user()).await;
    assert_eq!(ids(&listed), [instance(1).id().as_str(), instance(2).id().as_str()]);
    assert_eq!(listed.skipped(), rubbish().len());
    let watcher = Watcher::ready(&*client, &user()).await;
    assert_eq!(entries(watcher.view()), entries(&listed));
}

/// A live watch passes it by, does not end, and delivers what follows.
pub async fn what_cannot_be_read_does_not_stop_a_watch(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    for (n, bytes) in rubbish().iter().enumerate() {
        backend.put_bytes(&user(), &id(n), bytes).await;
        let registration = register(&*client, &instance(n)).await;
        watcher.until_revision(registration.revision).await;
        assert_eq!(watcher.view().len(), n + 1);
    }
    assert_eq!(watcher.resets.len(), 1, "nothing was lost, and nothing is loaded anew: {:?}", watcher.resets);
    assert!(!watcher.is_stale());
    watcher.settle(&*client).await;
}

/// A watch resumes over it.
pub async fn what_cannot_be_read_does_not_stop_a_resumed_watch(backend: &dyn Backend) {
    let client = backend.client().await;
    register(&*client, &instance(1)).await;
    let old = lookup(&*client, &user()).await;
    backend.put_bytes(&user(), &id(0), b"{}").await;
    let second = register(&*client, &instance(2)).await;
    backend.put_bytes(&user(), &id(1), b"\xff").await;
    let mut watcher = Watcher::after(&*client, &old);
    watcher.until_revision(second.revision).await;
    watcher.settle(&*client).await;
    assert_eq!(watcher.view().len(), 2);
}

/// An entry that was valid and is overwritten with rubbish is gone, from lookup and from watches alike, and its owner learns it.
pub async fn an_entry_that_became_rubbish_is_gone_everywhere(backend: &dyn Backend) {
    let client = backend.client().await;
    let broken = register(&*client, &instance(1)).await;
    register(&*client, &instance(2)).await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    backend.put_bytes(&user(), instance(1).id(), b"not an entry").await;
    watcher.until("the loss of the entry", |view: &Snapshot| view.len() == 1).await;
    let listed = lookup(&*client, &user()).await;
    assert_eq!(ids(&listed), [instance(2).id().as_str()]);
    assert_eq!(listed.skipped(), 1);
    watcher.settle(&*client).await;
    super::support::refused(registry_core::ErrorKind::LeaseLost, client.keepalive(&broken.lease)).await;
}

/// An id that holds rubbish can be registered, and is whole again.
pub async fn an_id_that_holds_rubbish_can_be_registered(backend: &dyn Backend) {
    let client = backend.client().await;
    let options = options(&*client);
    register_with(&*client, &instance(1), &options).await;
    backend.put_bytes(&user(), instance(1).id(), b"not an entry").await;
    let mut watcher = Watcher::ready(&*client, &user()).await;
    let again = register_with(&*client, &instance(1), &options).await;
    answer(client.keepalive(&again.lease)).await;
    let listed = lookup(&*client, &user()).await;
    assert_eq!(entry(&listed, instance(1).id()).instance(), &instance(1));
    assert_eq!(listed.skipped(), 0);
    watcher.until("the entry", |view| view.len() == 1).await;
    answer(client.deregister(&again.lease)).await;
}

/// A service that holds nothing but rubbish has no instances, and is no error; it harms no other.
pub async fn a_service_of_rubbish_has_no_instances(backend: &dyn Backend) {
    let client = backend.client().await;
    let rubbish_only = service("rubbish");
    backend.put_bytes(&rubbish_only, &id(0), b"{}").await;
    register(&*client, &instance(1)).await;
    let listed = lookup(&*client, &rubbish_only).await;
    assert_eq!((listed.len(), listed.skipped()), (0, 1));
    let names = answer(client.services("")).await;
    assert!(names.contains(&user()), "{names:?}");
    let mut watcher = Watcher::ready(&*client, &rubbish_only).await;
    register(&*client, &super::support::instance_of(&rubbish_only, 1)).await;
    watcher.until("the first real instance", |view| view.len() == 1).await;
}
