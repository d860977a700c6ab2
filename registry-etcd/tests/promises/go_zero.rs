//! go-zero's wire contract, byte by byte: what its clients see of us, and what we see of its servers.
//!
//! | | |
//! | --- | --- |
//! | key | `<Key>/<decimal int64>`, under a lease |
//! | value | `host:port`, raw |
//! | discovery | a range over `<Key>/`, then a watch from the next revision |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcd_client::{Client, EventType, GetOptions, PutOptions, WatchOptions};
use registry_core::{
    Directory, DirectoryOptions, GuardOptions, Instance, OnConflict, RegisterOptions, Registry, ResetCause,
    Status, View,
};
use registry_etcd::{EtcdOptions, EtcdRegistry, Layout};
use registry_testing::servers::etcd::Etcd;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::support::{
    PATIENCE, RawKey, Record, eventually, instance, lasting, raw_keys, registrar, registry_in, server, ttl,
    user,
};

/// What go-zero's `discov` does: the addresses under a key, kept by key, told by value.
struct GoZeroClient {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    values: BTreeMap<String, String>,
    /// The addresses after each batch of events, as its listeners are told.
    told: Vec<BTreeSet<String>>,
}

impl GoZeroClient {
    async fn start(etcd: &Etcd, key: &str) -> Self {
        let mut client = Client::connect([etcd.endpoint()], None).await.unwrap();
        let prefix = format!("{key}/");
        let loaded = client.get(&*prefix, Some(GetOptions::new().with_prefix())).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let values: BTreeMap<_, _> =
            loaded.kvs().iter().map(|kv| (text(kv.key()), text(kv.value()))).collect();
        let next = loaded.header().unwrap().revision() + 1;
        let options = WatchOptions::new().with_prefix().with_start_revision(next);
        let mut watch = client.watch(prefix, Some(options)).await.unwrap();
        let addresses = |values: &BTreeMap<String, String>| values.values().cloned().collect();
        let seen = Arc::new(Mutex::new(Seen { told: vec![addresses(&values)], values }));
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok(Some(response)) = watch.message().await {
                let mut seen = shared.lock().unwrap();
                for event in response.events() {
                    let kv = event.kv().unwrap();
                    match event.event_type() {
                        EventType::Put => seen.values.insert(text(kv.key()), text(kv.value())),
                        EventType::Delete => seen.values.remove(&text(kv.key())),
                    };
                }
                let now = addresses(&seen.values);
                seen.told.push(now);
            }
        });
        Self { seen, task }
    }

    fn addresses(&self) -> BTreeSet<String> {
        self.seen.lock().unwrap().values.values().cloned().collect()
    }

    async fn until(&self, wanted: &[&str]) {
        let wanted: BTreeSet<_> = wanted.iter().map(|address| (*address).to_owned()).collect();
        eventually(&format!("{wanted:?}"), PATIENCE, async || (self.addresses() == wanted).then_some(()))
            .await;
    }
}

impl Drop for GoZeroClient {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What go-zero's publisher does; gives the lease.
async fn publish(etcd: &Etcd, key: &str, id: Option<i64>, address: &str, secs: i64) -> i64 {
    let mut client = Client::connect([etcd.endpoint()], None).await.unwrap();
    let lease = client.lease_grant(secs, None).await.unwrap().id();
    let key = format!("{key}/{}", id.unwrap_or(lease));
    client.put(key, address, Some(PutOptions::new().with_lease(lease))).await.unwrap();
    lease
}

async fn revoke(etcd: &Etcd, lease: i64) {
    let mut client = Client::connect([etcd.endpoint()], None).await.unwrap();
    client.lease_revoke(lease).await.unwrap();
}

async fn start() -> (Etcd, EtcdRegistry) {
    let etcd = Etcd::start(server()).await.unwrap();
    let registry = registry_in(Layout::GoZero, [etcd.endpoint()]);
    (etcd, registry)
}

fn addresses(snapshot: &registry_core::Snapshot) -> Vec<String> {
    snapshot.instances().map(|instance| instance.endpoint().authority()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_holds_go_zeros_servers_that_leave_as_if_they_were_lost_unless_it_is_told_not_to() {
    let (etcd, registry) = start().await;
    let mut leases = Vec::new();
    for n in 1..=5 {
        leases.push(publish(&etcd, "user.rpc", None, &format!("10.0.0.{n}:8080"), 3600).await);
    }
    let ours = registry.register(&instance(6), &lasting()).await.unwrap();
    let registry: Arc<dyn Registry> = Arc::new(registry);
    let open = |guard: GuardOptions| {
        let options = DirectoryOptions::new().with_guard(guard);
        Directory::with_options(Arc::clone(&registry), options).view(&user())
    };
    let (holding, trusting) = (open(GuardOptions::new()), open(GuardOptions::new().with_hold_unknown(false)));
    let until = async |view: &View, listed: usize, held: usize| {
        eventually(&format!("{listed} listed, {held} held"), PATIENCE, async || {
            let state = view.load();
            let now = (state.entries().len(), state.held_len());
            (state.snapshot().is_some() && now == (listed, held)).then_some(())
        })
        .await;
    };
    until(&holding, 6, 0).await;
    until(&trusting, 6, 0).await;
    // Who leaves in our way says so, in this layout too.
    registry.deregister(&ours.lease).await.unwrap();
    until(&holding, 5, 0).await;
    for lease in &leases[..4] {
        revoke(&etcd, *lease).await;
    }
    until(&holding, 5, 4).await;
    until(&trusting, 1, 0).await;
    assert_eq!((holding.release().await, trusting.stats().holds_begun), (4, 0));
    until(&holding, 1, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_publish_is_what_go_zero_reads() {
    let (etcd, registry) = start().await;
    let full = Instance::builder("user.rpc")
        .id("node-1")
        .endpoint("10.0.0.7:8080")
        .endpoint("10.0.0.7:9090")
        .metadata("commit", "8f3c1d")
        .weight(7)
        .zone("eu-1a")
        .build()
        .unwrap();
    let registration = registry.register(&full, &lasting()).await.unwrap();
    let lease = i64::try_from(registration.lease.key()).unwrap();
    let under_key = raw_keys(&etcd, "user.rpc/").await;
    let [RawKey { key, value, lease: of_address }] = &under_key[..] else { panic!("{under_key:?}") };
    let number = key.strip_prefix("user.rpc/").unwrap();
    assert!(number.bytes().all(|b| b.is_ascii_digit()) && number.parse::<i64>().unwrap() > 0, "{number}");
    assert_eq!((value.as_str(), *of_address), ("10.0.0.7:8080", lease));
    // All else is where no go-zero client looks, under the same lease.
    let all = raw_keys(&etcd, "").await;
    let beside: Vec<_> =
        all.iter().filter(|kv| kv.key != *key).map(|kv| (kv.key.as_str(), kv.lease)).collect();
    assert_eq!(beside, [("user.rpc.~meta/node-1", lease), ("~registry/store", 0)]);
    // And it comes back whole.
    let listed = registry.lookup(&user()).await.unwrap();
    assert_eq!(listed.instances().collect::<Vec<_>>(), [&full]);
}

#[tokio::test(flavor = "multi_thread")]
async fn go_zero_clients_follow_our_servers() {
    let (etcd, registry) = start().await;
    let client = GoZeroClient::start(&etcd, "user.rpc").await;
    let first = registrar(&registry, 1, 5);
    let second = registrar(&registry, 2, 5);
    client.until(&["10.0.0.2:8080", "10.0.0.3:8080"]).await;
    second.drain(Duration::from_millis(300)).await.unwrap();
    client.until(&["10.0.0.2:8080"]).await;
    // Dead without a word: gone with its lease.
    first.abandon();
    client.until(&[]).await;
    assert!(raw_keys(&etcd, "user.rpc").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn we_follow_go_zero_servers() {
    let (etcd, registry) = start().await;
    let record = Record::start(&registry).await;
    let lease = publish(&etcd, "user.rpc", None, "10.0.0.8:8080", 600).await;
    publish(&etcd, "user.rpc", Some(42), "[fd00::1]:8080", 600).await;
    let ids = async || {
        let of_view = |told: &crate::support::Told| -> Option<Vec<String>> {
            Some(told.view.as_ref()?.iter().map(|entry| entry.id().to_string()).collect())
        };
        record.told(of_view).filter(|ids| ids.len() == 2)
    };
    let mut wanted = vec![format!("go-zero:{lease}"), "go-zero:42".to_owned()];
    wanted.sort();
    assert_eq!(eventually("both", PATIENCE, ids).await, wanted);
    assert_eq!(addresses(&registry.lookup(&user()).await.unwrap()).len(), 2);
    assert_eq!(registry.services("").await.unwrap(), [user()]);
    revoke(&etcd, lease).await;
    let one = async || record.told(|told| (told.view.as_ref()?.len() == 1).then_some(()));
    eventually("one", PATIENCE, one).await;
    record.told(|told| assert_eq!((told.changes.len(), &told.resets[..]), (3, &[ResetCause::First][..])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_go_zeros_that_has_slashes_is_a_prefix_and_a_service() {
    let (etcd, _) = start().await;
    let options = EtcdOptions::new([etcd.endpoint()]).with_layout(Layout::GoZero).with_prefix("team/a");
    let registry = EtcdRegistry::new(options).unwrap();
    publish(&etcd, "team/a/user.rpc", None, "10.0.0.8:8080", 600).await;
    registry.register(&instance(1), &lasting()).await.unwrap();
    let client = GoZeroClient::start(&etcd, "team/a/user.rpc").await;
    client.until(&["10.0.0.2:8080", "10.0.0.8:8080"]).await;
    assert_eq!(registry.lookup(&user()).await.unwrap().len(), 2);
    assert_eq!(registry.services("user").await.unwrap(), [user()]);
    // go-zero: `team` and `team/a` are Keys of their own, and must not see ours.
    for key in ["team", "team/a", "user.rpc"] {
        let under = raw_keys(&etcd, &format!("{key}/")).await;
        assert!(under.iter().all(|kv| kv.key.starts_with("team/a/user.rpc")), "{under:?}");
    }
}

/// Address and metadata are changed by two hands at the same time, again and again: go-zero's clients never see no address or two, ours never see a
/// change in parts, and in the end there is one of each.
#[tokio::test(flavor = "multi_thread")]
async fn address_and_metadata_changed_at_the_same_time_stay_together() {
    const ROUNDS: usize = 100;
    let (etcd, registry) = start().await;
    let node = |port: usize, note: usize| {
        let builder = Instance::builder("user.rpc").id("node-1").endpoint(format!("10.0.0.7:{port}"));
        builder.metadata("note", note.to_string()).build().unwrap()
    };
    let registration = registry.register(&node(8000, 0), &lasting()).await.unwrap();
    let other = registry_in(Layout::GoZero, [etcd.endpoint()]);
    let record = Record::start(&registry).await;
    let client = GoZeroClient::start(&etcd, "user.rpc").await;
    let (lease, again) = (registration.lease.clone(), registration.lease.clone());
    let moving = tokio::spawn(async move {
        for n in 1..=ROUNDS {
            let _ = registry.update(&lease, &node(8000 + n, n)).await;
        }
        registry
    });
    let noting = tokio::spawn(async move {
        for n in 1..=ROUNDS {
            let _ = other.update(&again, &node(8000, 1_000 + n)).await;
        }
    });
    let registry = moving.await.unwrap();
    noting.await.unwrap();
    let last = registry.lookup(&user()).await.unwrap();
    assert_eq!(last.len(), 1);
    let address = last.instances().next().unwrap().endpoint().authority();
    client.until(&[&address]).await;
    record.until_revision(last.get(&"node-1".try_into().unwrap()).unwrap().modified(), PATIENCE).await;
    let under_key = raw_keys(&etcd, "user.rpc/").await;
    assert_eq!(under_key.iter().map(|kv| kv.value.as_str()).collect::<Vec<_>>(), [address.as_str()]);
    assert_eq!(raw_keys(&etcd, "user.rpc.~meta/").await.len(), 1);
    for told in &client.seen.lock().unwrap().told {
        assert_eq!(told.len(), 1, "go-zero's clients were told {told:?}");
    }
    record.told(|told| {
        assert_eq!((&told.resets[..], told.deletions), (&[ResetCause::First][..], 0));
        assert!(told.changes.len() >= ROUNDS, "{} changes", told.changes.len());
        assert!(told.changes.is_sorted_by(|a, b| a.0 < b.0), "one change for each revision");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_takes_the_address_from_go_zero_first_and_keeps_the_entry() {
    let (etcd, registry) = start().await;
    let registration = registry.register(&instance(1), &lasting()).await.unwrap();
    let draining = instance(1).with_status(Status::Draining);
    registry.update(&registration.lease, &draining).await.unwrap();
    assert!(raw_keys(&etcd, "user.rpc/").await.is_empty());
    let listed = registry.lookup(&user()).await.unwrap();
    assert_eq!(listed.instances().next().unwrap().status(), Status::Draining);
    registry.keepalive(&registration.lease).await.unwrap();
    // And back.
    registry.update(&registration.lease, &instance(1)).await.unwrap();
    assert_eq!(raw_keys(&etcd, "user.rpc/").await.len(), 1);
    registry.deregister(&registration.lease).await.unwrap();
    assert!(raw_keys(&etcd, "user.rpc").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_address_under_a_key_is_skipped_and_counted() {
    let (etcd, registry) = start().await;
    registry.register(&instance(1), &lasting()).await.unwrap();
    let record = Record::start(&registry).await;
    for (key, value) in [
        ("user.rpc/1", "no address"),
        ("user.rpc/2", ""),
        ("user.rpc/3", "{\"host\":\"10.0.0.9\"}"),
        ("user.rpc/4", "grpc://10.0.0.9:80"),
        ("user.rpc/not*a*name", "10.0.0.9:80"),
        ("user.rpc/a/b", "10.0.0.9:80"),
        ("user.rpc.~meta/x", "10.0.0.9:80"),
    ] {
        etcd.put(key, value).await.unwrap();
    }
    etcd.put("user.rpc/5", vec![0xff; 1 << 20]).await.unwrap();
    let registration = registry.register(&instance(2), &lasting()).await.unwrap();
    record.until_revision(registration.revision, PATIENCE).await;
    let listed = registry.lookup(&user()).await.unwrap();
    assert_eq!((listed.len(), listed.skipped()), (2, 6));
    record.told(|told| {
        assert!(told.view.as_ref().unwrap().iter().eq(listed.iter()));
        assert_eq!(told.resets, [ResetCause::First]);
    });
}

/// A restarted Rust service takes its own id over; the old address is gone with it, not a TTL later.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_another_address_leaves_no_zombie() {
    let (etcd, registry) = start().await;
    let at = |port: u16| {
        Instance::builder("user.rpc").id("node-1").endpoint(format!("10.0.0.7:{port}")).build().unwrap()
    };
    let client = GoZeroClient::start(&etcd, "user.rpc").await;
    registry.register(&at(1), &lasting()).await.unwrap();
    client.until(&["10.0.0.7:1"]).await;
    let restarted = registry_in(Layout::GoZero, [etcd.endpoint()]);
    restarted.register(&at(2), &RegisterOptions::new().with_ttl(ttl(600))).await.unwrap();
    client.until(&["10.0.0.7:2"]).await;
    let told = client.seen.lock().unwrap().told.clone();
    let mut from_first = told.iter().skip_while(|addresses| addresses.is_empty());
    assert!(from_first.all(|addresses| addresses.len() == 1), "{told:?}");
    let refused = RegisterOptions::new().with_on_conflict(OnConflict::Refuse);
    assert!(registry.register(&at(3), &refused).await.is_err());
    sleep(Duration::from_millis(50)).await;
    assert_eq!(raw_keys(&etcd, "user.rpc/").await.len(), 1);
}

/// go-zero's own publisher, in a bug of its own, loses the live endpoint or leaves a second key: here the registrar is cut off while it changes.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_changes_during_a_cut_is_one_address_afterwards() {
    let etcd = Etcd::start(server()).await.unwrap();
    let proxy = registry_testing::servers::proxy::Proxy::start(etcd.client_address()).unwrap();
    let cut_off = registry_in(Layout::GoZero, [format!("http://{}", proxy.address())]);
    let node = |port: u16| {
        Instance::builder("user.rpc").id("node-1").endpoint(format!("10.0.0.7:{port}")).build().unwrap()
    };
    let options = registry_core::RegistrarOptions::default().with_ttl(ttl(10));
    let serving = registry_core::Registrar::start(Arc::new(cut_off), node(1), options);
    timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let client = GoZeroClient::start(&etcd, "user.rpc").await;
    for round in 0..5_u16 {
        proxy.set(registry_testing::servers::proxy::Faults::refusing()).await;
        proxy.cut().await;
        let serving = &serving;
        let (updated, ()) = tokio::join!(serving.update(node(2 + round)), async {
            sleep(Duration::from_millis(100)).await;
            proxy.heal().await;
        });
        updated.unwrap();
        client.until(&[&format!("10.0.0.7:{}", 2 + round)]).await;
        assert_eq!(raw_keys(&etcd, "user.rpc/").await.len(), 1);
    }
}
