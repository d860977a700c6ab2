//! What others write under the prefix, and nobody can read: skipped, counted, told in the log once, and nothing else is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ThreadId};

use registry_core::{Registry, ResetCause};
use registry_testing::servers::etcd::Etcd;
use tracing::span::{Attributes, Id, Record as Values};
use tracing::subscriber::set_global_default;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::support::{PATIENCE, Record, instance, lasting, registry, server, user, weighing};

/// Counts the warnings of the backend on one thread. It listens to all, since `tracing` may never ask a subscriber that is only of a thread, if
/// another thread came to the same place first.
struct Warnings {
    of: ThreadId,
    told: Arc<AtomicUsize>,
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target().starts_with("registry_etcd")
    }

    fn event(&self, _: &Event<'_>) {
        if thread::current().id() == self.of {
            self.told.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Values<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

// One thread, so that all of it is counted.
#[tokio::test]
async fn foreign_malformed_and_oversized_values_are_skipped_counted_and_told_once() {
    let counted = Arc::new(AtomicUsize::new(0));
    set_global_default(Warnings { of: thread::current().id(), told: Arc::clone(&counted) })
        .expect("the only one of this program");
    let told = || counted.load(Ordering::Relaxed);
    let etcd = Etcd::start(server()).await.unwrap();
    let registry = registry([etcd.endpoint()]);
    let registration = registry.register(&instance(1), &lasting()).await.unwrap();
    let record = Record::start(&registry).await;

    let key = |id: &str| format!("/registry/user.rpc/{id}");
    let large = vec![b'x'; 1 << 20];
    let of_another = {
        let other = etcd.get(key(instance(1).id().as_str())).await.unwrap().unwrap();
        String::from_utf8(other).unwrap()
    };
    for (id, value) in [
        ("rubbish", &b"\xff\xfe"[..]),
        ("empty", b""),
        ("json", b"{}"),
        ("future", br#"{"schema":99}"#),
        ("oversized", &large),
        ("of-another", of_another.as_bytes()),
    ] {
        etcd.put(key(id), value).await.unwrap();
    }
    // Keys that are none of an instance are none of ours: not counted.
    for foreign in
        ["/registry/user.rpc/a/b", "/registry/user.rpc/b*d", "/registry/loose", "/registry/user.rpc/"]
    {
        etcd.put(foreign, "x").await.unwrap();
    }
    let last = registry.update(&registration.lease, &weighing(1, 7)).await.unwrap();
    record.until_revision(last, PATIENCE).await;
    assert_eq!(told(), 6, "one warning for each");
    for _ in 0..5 {
        let listed = registry.lookup(&user()).await.unwrap();
        assert_eq!((listed.len(), listed.skipped()), (1, 6));
        assert_eq!(registry.services("").await.unwrap(), [user()]);
    }
    let second = Record::start(&registry).await;
    second.told(|told| assert_eq!(told.view.as_ref().unwrap().len(), 1));
    assert_eq!(told(), 6, "each was told before");

    // Another value is news. And an entry that is spoilt is not listed any more.
    etcd.put(key("empty"), "still nothing").await.unwrap();
    let other = registry.register(&instance(2), &lasting()).await.unwrap();
    record.until_revision(other.revision, PATIENCE).await;
    etcd.put(key(instance(2).id().as_str()), "spoilt").await.unwrap();
    let third = registry.register(&instance(3), &lasting()).await.unwrap();
    record.until_revision(third.revision, PATIENCE).await;
    assert_eq!(told(), 8);
    let listed = registry.lookup(&user()).await.unwrap();
    assert_eq!((listed.len(), listed.skipped()), (2, 7));
    record.told(|told| {
        assert_eq!(told.resets, [ResetCause::First]);
        assert!(told.view.as_ref().unwrap().iter().eq(listed.iter()));
    });
}
