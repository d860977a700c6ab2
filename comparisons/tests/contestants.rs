//! Each contestant does, on real servers, what is said of it: ours what a registry does, the naive ones what they do and what they do not.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use comparisons::contestants::{
    Contestant, Listed, Member, NaiveHash, NaiveKey, Ours, Place, Seen, Watching, fold,
};
use futures_util::StreamExt;
use registry_etcd::{EtcdOptions, EtcdRegistry};
use registry_memory::MemoryRegistry;
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::servers::etcd::{Etcd, EtcdCluster, EtcdOptions as EtcdServer};
use registry_testing::servers::proxy::{Faults, Proxy};
use registry_testing::servers::redis::{
    ClusterOptions, Failover, Redis, RedisCluster, RedisOptions as RedisServer, RedisSentinel,
    SentinelOptions,
};
use registry_testing::servers::until;
use tokio::time::{Instant, timeout_at};

const PATIENCE: Duration = Duration::from_secs(15);
const LONG: Duration = Duration::from_secs(60);
/// The least that etcd takes.
const SHORT: Duration = Duration::from_secs(2);
const USERS: &str = "users";

/// What one who watches takes for the truth, and all that was told.
struct View {
    watching: Watching,
    listed: Listed,
    told: Vec<Seen>,
}

impl View {
    fn of(contestant: &dyn Contestant) -> Self {
        Self { watching: contestant.watch(USERS), listed: Listed::new(), told: Vec::new() }
    }

    async fn until(&mut self, what: &str, there: impl Fn(&Listed) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let had_list = |told: &[Seen]| told.iter().any(|seen| matches!(seen, Seen::List { .. }));
        while !(had_list(&self.told) && there(&self.listed)) {
            let seen = timeout_at(deadline, self.watching.next()).await;
            let seen = seen.unwrap_or_else(|_| panic!("{what}: {:?} after {:?}", self.listed, self.told));
            let seen = seen.expect("a watch does not end");
            fold(&mut self.listed, &seen);
            self.told.push(seen);
        }
    }
}

fn all(listed: &[(&str, u64)]) -> Listed {
    listed.iter().map(|(id, value)| ((*id).to_owned(), *value)).collect()
}

/// Registers, changes, lists, is watched, and gives the id to who comes later.
async fn works(contestant: &dyn Contestant) {
    let mut view = View::of(contestant);
    view.until("nothing is listed at first", Listed::is_empty).await;
    let first = contestant.register(USERS, "a", 1, LONG).await.unwrap();
    view.until("a registration is told", |listed| *listed == all(&[("a", 1)])).await;
    let second = contestant.register(USERS, "b", 2, LONG).await.unwrap();
    first.set(3).await.unwrap();
    view.until("a change is told", |listed| *listed == all(&[("a", 3), ("b", 2)])).await;
    first.renew().await.unwrap();
    second.renew().await.unwrap();
    assert_eq!(contestant.list(USERS).await.unwrap(), all(&[("a", 3), ("b", 2)]));

    let _newer = contestant.register(USERS, "b", 4, LONG).await.unwrap();
    view.until("the newer one is told", |listed| *listed == all(&[("a", 3), ("b", 4)])).await;
    first.leave().await.unwrap();
    view.until("leaving is told", |listed| *listed == all(&[("b", 4)])).await;
    assert_eq!(contestant.list(USERS).await.unwrap(), all(&[("b", 4)]));
    let gap = |seen: &&Seen| matches!(seen, Seen::List { gap: true, .. } | Seen::Trouble(_));
    assert_eq!(view.told.iter().find(gap), None, "nothing was lost");
}

/// One that no longer beats goes, from lists and from views, and one that does stays.
async fn expires(contestant: &dyn Contestant) {
    let alive = contestant.register(USERS, "alive", 1, SHORT).await.unwrap();
    let mut view = View::of(contestant);
    view.until("the living one is listed", |listed| listed.contains_key("alive")).await;
    let _dead = contestant.register(USERS, "dead", 2, SHORT).await.unwrap();
    view.until("the other one, too", |listed| listed.contains_key("dead")).await;
    let beats = async {
        loop {
            alive.renew().await.unwrap();
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    tokio::select! {
        never = beats => never,
        () = view.until("expiry is told", |listed| !listed.contains_key("dead")) => {}
    }
    assert!(
        view.listed.contains_key("alive")
            && view
                .told
                .iter()
                .all(|seen| { !matches!(seen, Seen::Change { id, value: None } if id == "alive") })
    );
    assert!(!contestant.list(USERS).await.unwrap().contains_key("dead"));
}

/// The old one is told, and the newer one's value stands.
async fn fences(contestant: &dyn Contestant) {
    let old = contestant.register(USERS, "id", 1, LONG).await.unwrap();
    let _new = contestant.register(USERS, "id", 2, LONG).await.unwrap();
    assert!(old.set(3).await.is_err() && old.renew().await.is_err());
    old.leave().await.unwrap();
    assert_eq!(contestant.list(USERS).await.unwrap().get("id"), Some(&2));
}

async fn is_a_registry(contestant: &dyn Contestant) {
    works(contestant).await;
    fences(contestant).await;
    expires(contestant).await;
}

fn etcd(endpoints: impl IntoIterator<Item = String>) -> Ours {
    Ours::new(EtcdRegistry::new(EtcdOptions::new(endpoints)).unwrap())
}

fn with_events() -> RedisServer {
    RedisServer::default().with_args(NaiveKey::ARGS)
}

#[tokio::test]
async fn memory_is_a_registry() {
    is_a_registry(&Ours::new(MemoryRegistry::new())).await;
}

#[tokio::test]
async fn etcd_is_a_registry() {
    let server = Etcd::start(EtcdServer::default()).await.unwrap();
    is_a_registry(&etcd([server.endpoint()])).await;
}

#[tokio::test]
async fn three_etcds_are_a_registry() {
    let servers = EtcdCluster::start(3, EtcdServer::default()).await.unwrap();
    is_a_registry(&etcd(servers.endpoints())).await;
}

#[tokio::test]
async fn our_redis_is_a_registry() {
    let server = Redis::start(RedisServer::default()).await.unwrap();
    let options = RedisOptions::standalone(server.address().to_string());
    is_a_registry(&Ours::new(RedisRegistry::new(options).unwrap())).await;
}

#[tokio::test]
async fn naive_ones_work_while_nothing_is_amiss() {
    let server = Redis::start(with_events()).await.unwrap();
    let place = || Place::Server(server.address());
    for contestant in [
        &NaiveHash::new(place()) as &dyn Contestant,
        &NaiveHash::reloading(Place::Url(server.url())),
        &NaiveKey::new(place()),
    ] {
        server.flush_all().await.unwrap();
        works(contestant).await;
    }
    server.flush_all().await.unwrap();
    expires(&NaiveKey::new(place())).await;
}

#[tokio::test]
async fn naive_ones_do_not_fence() {
    let server = Redis::start(with_events()).await.unwrap();
    let place = || Place::Server(server.address());
    for contestant in [&NaiveHash::new(place()) as &dyn Contestant, &NaiveKey::new(place())] {
        server.flush_all().await.unwrap();
        let old = contestant.register(USERS, "id", 1, LONG).await.unwrap();
        let _new = contestant.register(USERS, "id", 2, LONG).await.unwrap();
        old.renew().await.unwrap();
        assert_eq!(contestant.list(USERS).await.unwrap(), all(&[("id", 1)]));
    }
}

#[tokio::test]
async fn a_naive_hash_keeps_the_dead_while_one_lives_and_tells_of_no_expiry() {
    let server = Redis::start(RedisServer::default()).await.unwrap();
    let contestant = NaiveHash::new(Place::Server(server.address()));
    let ttl = Duration::from_millis(300);
    let alive = contestant.register(USERS, "alive", 1, ttl).await.unwrap();
    let _dead = contestant.register(USERS, "dead", 2, ttl).await.unwrap();
    let mut view = View::of(&contestant);
    view.until("both are listed", |listed| listed.len() == 2).await;
    for _ in 0..15 {
        tokio::time::sleep(ttl / 5).await;
        alive.renew().await.unwrap();
    }
    assert_eq!(contestant.list(USERS).await.unwrap().len(), 2, "after three times its TTL");
    let gone = until("all are gone", PATIENCE, || async {
        contestant.list(USERS).await.unwrap().is_empty().then_some(())
    });
    gone.await.unwrap();
    let _later = contestant.register(USERS, "later", 3, LONG).await.unwrap();
    view.until("what comes later is told", |listed| listed.contains_key("later")).await;
    assert_eq!(view.listed.len(), 3, "ghosts: {:?}", view.listed);
}

/// A watcher behind the proxy is cut off, a change is made past it, and then another. Gives what it was told.
async fn cut_off(watcher: impl Contestant, server: &Redis, proxy: &Proxy, direct: &dyn Contestant) -> View {
    let member = direct.register(USERS, "a", 1, LONG).await.unwrap();
    let mut view = View::of(&watcher);
    view.until("the first list", |listed| *listed == all(&[("a", 1)])).await;
    proxy.set(Faults::refusing()).await;
    proxy.cut().await;
    let missed = direct.register(USERS, "missed", 2, LONG).await.unwrap();
    proxy.heal().await;
    let mut value = 2;
    let deadline = Instant::now() + PATIENCE;
    // Until it has subscribed again, it is told nothing.
    while view.listed.get("a") == Some(&1) && Instant::now() < deadline {
        member.set(value).await.unwrap();
        value += 1;
        let soon = Instant::now() + Duration::from_millis(20);
        while let Ok(Some(seen)) = timeout_at(soon, view.watching.next()).await {
            fold(&mut view.listed, &seen);
            view.told.push(seen);
        }
    }
    assert_ne!(view.listed.get("a"), Some(&1), "it goes on by itself: {:?}", view.told);
    missed.leave().await.unwrap();
    server.flush_all().await.unwrap();
    view
}

#[tokio::test]
async fn naive_watchers_go_on_after_a_cut_and_only_a_reloading_one_says_that_it_may_have_missed_something() {
    let server = Redis::start(with_events()).await.unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let past = Place::Server(server.address());
    let through = || Place::Server(proxy.address());
    let (hash, key) = (NaiveHash::new(past.clone()), NaiveKey::new(past));
    let gaps =
        |view: &View| view.told.iter().filter(|seen| matches!(seen, Seen::List { gap: true, .. })).count();
    let silent = [
        cut_off(NaiveHash::new(through()), &server, &proxy, &hash).await,
        cut_off(NaiveKey::new(through()), &server, &proxy, &key).await,
    ];
    for view in silent {
        assert_eq!((gaps(&view), view.listed.get("missed")), (0, None), "{:?}", view.told);
        assert!(troubles(&view) >= 1, "that its subscription ended, it says: {:?}", view.told);
    }
    let view = cut_off(NaiveHash::reloading(through()), &server, &proxy, &hash).await;
    assert!(gaps(&view) >= 1, "{:?}", view.told);
}

#[tokio::test]
async fn a_naive_watcher_whose_connections_were_cut_loads_the_list_at_once() {
    let server = Redis::start(RedisServer::default()).await.unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let direct = NaiveHash::new(Place::Server(server.address()));
    let _member = direct.register(USERS, "a", 1, LONG).await.unwrap();
    let watcher = NaiveHash::reloading(Place::Server(proxy.address()));
    let mut view = View::of(&watcher);
    view.until("the first list", |listed| *listed == all(&[("a", 1)])).await;
    proxy.cut().await;
    let _missed = direct.register(USERS, "missed", 2, LONG).await.unwrap();
    view.until("what it missed", |listed| listed.contains_key("missed")).await;
    assert!(view.told.iter().any(|seen| matches!(seen, Seen::List { gap: true, .. })), "{:?}", view.told);
    assert_eq!(troubles(&view), 1, "the end of its subscription, and no other: {:?}", view.told);
}

fn troubles(view: &View) -> usize {
    view.told.iter().filter(|seen| matches!(seen, Seen::Trouble(_))).count()
}

/// Sets values until one is acknowledged and, in the end, listed and told.
async fn goes_on(contestant: &dyn Contestant, member: &dyn Member, view: &mut View, from: u64) {
    let deadline = Instant::now() + PATIENCE;
    let mut value = from;
    loop {
        assert!(Instant::now() < deadline, "it does not go on: {:?}", view.told.last());
        value += 1;
        let set = member.set(value).await.is_ok();
        let soon = Instant::now() + Duration::from_millis(100);
        while let Ok(Some(seen)) = timeout_at(soon, view.watching.next()).await {
            fold(&mut view.listed, &seen);
            view.told.push(seen);
            if view.listed.get("a") == Some(&value) {
                break;
            }
        }
        if set && view.listed.get("a") == Some(&value) {
            break;
        }
    }
    assert_eq!(contestant.list(USERS).await.unwrap().get("a"), Some(&value));
}

#[tokio::test]
async fn under_sentinels_naive_ones_find_the_new_primary() {
    let options = SentinelOptions::default().with_node(with_events()).with_replicas(1);
    let servers = RedisSentinel::start(options).await.unwrap();
    let place = || Place::Sentinel {
        sentinels: servers.sentinel_addresses(),
        name: servers.service_name().to_owned(),
    };
    for contestant in [&NaiveHash::new(place()) as &dyn Contestant, &NaiveKey::new(place())] {
        servers.wipe().await.unwrap();
        works(contestant).await;
        let member = contestant.register(USERS, "a", 1, LONG).await.unwrap();
        let mut view = View::of(contestant);
        view.until("the first list", |listed| listed.get("a") == Some(&1)).await;
        servers.fail_over().await.unwrap();
        goes_on(contestant, &*member, &mut view, 1).await;
        servers.wait_in_sync().await.unwrap();
    }
}

#[tokio::test]
async fn in_a_cluster_naive_ones_work_and_go_on_after_a_fail_over() {
    let options = ClusterOptions::default().with_node(with_events());
    let servers = RedisCluster::start(options).await.unwrap();
    let place = || Place::Cluster(servers.seeds());
    for contestant in [&NaiveHash::new(place()) as &dyn Contestant, &NaiveKey::new(place())] {
        servers.wipe().await.unwrap();
        works(contestant).await;
        let member = contestant.register(USERS, "a", 1, LONG).await.unwrap();
        let mut view = View::of(contestant);
        view.until("the first list", |listed| listed.get("a") == Some(&1)).await;
        let owner = servers.owner_of(USERS).await.unwrap();
        servers.fail_over(owner, Failover::Plain).await.unwrap();
        goes_on(contestant, &*member, &mut view, 1).await;
    }
    // Wherever a service lies.
    let contestant = NaiveKey::new(place());
    for service in ["a", "b", "c", "d", "e", "f"] {
        let member = contestant.register(service, "x", 1, LONG).await.unwrap();
        assert_eq!(contestant.list(service).await.unwrap(), all(&[("x", 1)]), "{service}");
        member.leave().await.unwrap();
        assert!(contestant.list(service).await.unwrap().is_empty(), "{service}");
    }
}

#[tokio::test]
async fn in_a_cluster_naive_ones_go_on_when_the_node_is_gone_that_they_asked_first() {
    let options = ClusterOptions::default().with_node(with_events());
    let servers = RedisCluster::start(options).await.unwrap();
    for contestant in [
        &NaiveHash::new(Place::Cluster(servers.seeds())) as &dyn Contestant,
        &NaiveKey::new(Place::Cluster(servers.seeds())),
    ] {
        let member = contestant.register(USERS, "a", 1, LONG).await.unwrap();
        let mut view = View::of(contestant);
        view.until("the first list", |listed| listed.get("a") == Some(&1)).await;
        servers.kill(0).await.unwrap();
        goes_on(contestant, &*member, &mut view, 1).await;
        servers.restart(0).await.unwrap();
        servers.wait_ok().await.unwrap();
        servers.wipe().await.unwrap();
    }
}
