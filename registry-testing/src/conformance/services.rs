//! What `services` promises.

use registry_core::Registry;

use super::Backend;
use super::support::{
    PATIENCE, answer, eventually, instance_of, lookup, register, register_briefly, service,
};
use super::watcher::Watcher;

const NAMES: [&str; 6] = ["User", "user", "user-2", "user.rpc", "user.rpc.v2", "user_x"];

async fn services(client: &dyn Registry, prefix: &str) -> Vec<String> {
    answer(client.services(prefix)).await.iter().map(ToString::to_string).collect()
}

/// Each service once, in ascending order; none when there is none.
pub async fn services_are_listed_once_and_in_order(backend: &dyn Backend) {
    let client = backend.client().await;
    assert!(services(&*client, "").await.is_empty());
    for name in ["user.rpc", "User", "user_x", "user", "user.rpc.v2", "user-2"] {
        register(&*client, &instance_of(&service(name), 1)).await;
        register(&*client, &instance_of(&service(name), 2)).await;
    }
    assert_eq!(services(&*client, "").await, NAMES);
}

/// A prefix is a prefix of the name, and nothing else has a meaning in it.
pub async fn a_prefix_selects_names_that_start_with_it(backend: &dyn Backend) {
    let client = backend.client().await;
    for name in NAMES {
        register(&*client, &instance_of(&service(name), 1)).await;
    }
    assert_eq!(services(&*client, "user").await, NAMES[1..]);
    assert_eq!(services(&*client, "user.").await, NAMES[3..5]);
    assert_eq!(services(&*client, "user.rpc").await, NAMES[3..5]);
    assert_eq!(services(&*client, "user-").await, NAMES[2..3]);
    for nothing in
        ["x", "user*", "use?", "[u]ser", "*", "user.rpc/", "user\\", "user.rpc.v2.", "us%", "^user"]
    {
        assert!(services(&*client, nothing).await.is_empty(), "{nothing:?} is a prefix of no name");
    }
}

/// A service whose last instance left is not listed.
pub async fn a_service_without_instances_is_not_listed(backend: &dyn Backend) {
    let client = backend.client().await;
    let left = register(&*client, &instance_of(&service("left"), 1)).await;
    register(&*client, &instance_of(&service("stays"), 1)).await;
    answer(client.deregister(&left.lease)).await;
    assert!(lookup(&*client, &service("left")).await.is_empty());
    assert_eq!(services(&*client, "").await, ["stays"]);
    register(&*client, &instance_of(&service("left"), 1)).await;
    assert_eq!(services(&*client, "").await, ["left", "stays"]);
}

/// A service whose instances all expired is not listed, though nobody looks at it.
pub async fn a_service_whose_instances_expired_is_not_listed(backend: &dyn Backend) {
    let client = backend.client().await;
    register(&*client, &instance_of(&service("stays"), 1)).await;
    let ttl = register_briefly(&*client, &instance_of(&service("expires"), 1)).await.ttl.get();
    let gone = async || (services(&*client, "").await == ["stays"]).then_some(());
    eventually("the end of the service", ttl + client.guarantees().expiry_bound + PATIENCE, gone).await;
}

/// No service sees another whose name begins or ends alike. (A class of bug: `foo` matches `foo-bar`.)
pub async fn names_that_begin_alike_do_not_mix(backend: &dyn Backend) {
    let client = backend.client().await;
    let mut watchers = Vec::new();
    for name in NAMES {
        watchers.push(Watcher::ready(&*client, &service(name)).await);
    }
    let mut leases = Vec::new();
    for (n, name) in NAMES.iter().enumerate() {
        leases.push(register(&*client, &instance_of(&service(name), n)).await.lease);
    }
    for (n, name) in NAMES.iter().enumerate() {
        let listed = lookup(&*client, &service(name)).await;
        assert_eq!(super::support::ids(&listed), [instance_of(&service(name), n).id().as_str()]);
    }
    answer(client.deregister(&leases[1])).await;
    assert!(lookup(&*client, &service("user")).await.is_empty());
    for (n, watcher) in watchers.iter_mut().enumerate() {
        if n == 1 {
            watcher.until("the change of its own", |view| view.is_empty()).await;
        } else {
            watcher.until("the change of its own", |view| view.len() == 1).await;
            answer(client.keepalive(&leases[n])).await;
        }
        watcher.settle(&*client).await;
        assert!(watcher.changes().len() <= 2, "{}: {:?}", NAMES[n], watcher.changes());
    }
}
