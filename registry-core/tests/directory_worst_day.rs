//! Processes that start, or follow, while the registry is wrong about everybody: what is saved tells a wiped registry from an empty one, and what contradicts itself is not
//! taken for the truth.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream;
use registry_core::{
    Batch, Change, Cursor, Directory, DirectoryOptions, DiskOptions, Entry, Epoch, ErrorKind, Freshness,
    Guarantees, GuardOptions, HeldCause, Incarnation, Instance, Lease, RegisterOptions, Registration,
    Registry, ResetCause, Result, Revision, ServiceName, Shelf, Snapshot, Ttl, View, Watch, WatchEvent,
};
use registry_memory::MemoryRegistry;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

const TTL: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(5);

fn service() -> ServiceName {
    ServiceName::new("user.rpc").unwrap()
}

fn instance(port: u16) -> Instance {
    Instance::builder(service()).endpoint(format!("10.0.0.1:{}", port + 1)).build().unwrap()
}

async fn register(registry: &MemoryRegistry, ports: std::ops::Range<u16>) -> Vec<Lease> {
    let options = RegisterOptions::new().with_ttl(Ttl::MAX);
    let mut leases = Vec::new();
    for port in ports {
        leases.push(registry.register(&instance(port), &options).await.unwrap().lease);
    }
    leases
}

async fn until(view: &View, holds: impl Fn(&View) -> bool) {
    let mut view = view.clone();
    let waiting = async {
        while !holds(&view) {
            assert!(view.changed().await);
        }
    };
    timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("not in {view:?}"));
}

/// How many are listed, and how many of them are held.
fn listed(view: &View) -> (usize, usize) {
    let state = view.load();
    (state.entries().len(), state.held_len())
}

/// A folder of several processes.
#[derive(Clone, Debug)]
struct Folder {
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    began: Instant,
}

#[async_trait]
impl Shelf for Folder {
    async fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.files.lock().unwrap().get(name).cloned())
    }

    async fn save(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        self.files.lock().unwrap().insert(name.to_owned(), bytes);
        Ok(())
    }
}

impl Folder {
    fn new() -> Self {
        Self { files: Arc::default(), began: Instant::now() }
    }

    /// The view of a process that starts now.
    fn start(&self, registry: &MemoryRegistry) -> View {
        self.start_with(registry, |disk| disk)
    }

    fn start_with(&self, registry: &MemoryRegistry, change: impl FnOnce(DiskOptions) -> DiskOptions) -> View {
        let began = self.began;
        let clock = move || 1_700_000_000_000 + u64::try_from(began.elapsed().as_millis()).unwrap();
        let disk = change(DiskOptions::on(Arc::new(self.clone()), "test").with_clock(clock));
        let options = DirectoryOptions::new().with_guard(GuardOptions::new()).with_disk(disk);
        Directory::with_options(Arc::new(registry.clone()), options).view(&service())
    }

    /// Lets a process see 100 instances, and end once they are saved.
    async fn after(&self, registry: &MemoryRegistry) -> Vec<Lease> {
        let leases = register(registry, 0..100).await;
        let view = self.start(registry);
        until(&view, |view| listed(view) == (100, 0)).await;
        sleep(Duration::from_secs(2)).await;
        assert_eq!(view.stats().disk_saved, 1);
        leases
    }
}

#[tokio::test(start_paused = true)]
async fn who_starts_right_after_a_wipe_holds_the_living_however_soon_the_registry_answers() {
    let (registry, folder) = (MemoryRegistry::new(), Folder::new());
    folder.after(&registry).await;
    registry.controls().wipe();
    register(&registry, 0..3).await;
    let saved = folder.files.lock().unwrap().clone();
    let started = Instant::now();
    let view = folder.start(&registry);
    until(&view, |view| matches!(view.load().freshness(), Freshness::Live { .. })).await;
    assert!(started.elapsed() < Duration::from_millis(10), "{:?}", started.elapsed());
    assert_eq!(listed(&view), (100, 97));
    let held = view.load().held_of(instance(50).id()).copied().unwrap();
    assert!(matches!(held.cause(), HeldCause::Reset(_)), "{held:?}");
    sleep(TTL).await;
    assert_eq!(
        *folder.files.lock().unwrap(),
        saved,
        "what is held is not saved as gone for those who start next"
    );
    register(&registry, 3..100).await;
    until(&view, |view| listed(view) == (100, 0)).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_served_through_a_long_outage_is_held_when_the_registry_comes_back_empty() {
    let (registry, folder) = (MemoryRegistry::new(), Folder::new());
    folder.after(&registry).await;
    registry.controls().outage();
    sleep(Duration::from_secs(3_600)).await;
    let view = folder.start(&registry);
    until(&view, |view| listed(view) == (100, 0)).await;
    registry.controls().wipe();
    registry.controls().heal();
    until(&view, |view| matches!(view.load().freshness(), Freshness::Live { .. })).await;
    assert_eq!(listed(&view), (100, 100));
    register(&registry, 0..50).await;
    until(&view, |view| listed(view) == (100, 50)).await;
    sleep(2 * TTL).await;
    assert_eq!(listed(&view), (100, 50));
    sleep(TTL).await;
    until(&view, |view| listed(view) == (50, 0)).await;
}

/// The registry is slow, and given time. The file was read long before it answers.
#[tokio::test(start_paused = true)]
async fn the_age_of_a_file_grows_while_the_registry_is_waited_for() {
    const SLOW: Duration = Duration::from_millis(2_500);
    let patient = |disk: DiskOptions| disk.with_grace(Duration::from_secs(10));
    let (registry, folder) = (MemoryRegistry::new(), Folder::new());
    folder.after(&registry).await;
    let ended = Instant::now();
    registry.controls().wipe();
    register(&registry, 0..3).await;
    sleep(Duration::from_secs(5)).await;
    registry.controls().set_latency(SLOW);
    let (started, view) = (Instant::now(), folder.start_with(&registry, patient));
    until(&view, |view| matches!(view.load().freshness(), Freshness::Live { .. })).await;
    assert!(started.elapsed() >= SLOW && view.load().disk_age(Instant::now()).is_none());
    assert_eq!(listed(&view), (100, 97));
    let held = view.load().held_of(instance(50).id()).copied().unwrap();
    assert!(held.since() <= ended && held.until() <= ended + 3 * TTL, "{held:?}, {ended:?}");
    drop(view);

    registry.controls().black_hole();
    let view = folder.start_with(&registry, |disk| disk.with_grace(SLOW));
    until(&view, |view| listed(view) == (100, 0)).await;
    let age = view.load().disk_age(Instant::now()).unwrap();
    let (least, most) = (ended.elapsed(), ended.elapsed() + Duration::from_secs(3));
    assert!(age >= least && age <= most, "{age:?} is not from {least:?} to {most:?}");
    assert_eq!(view.load().stale_for(Instant::now()), age);
}

#[tokio::test(start_paused = true)]
async fn an_old_file_holds_nobody_where_the_registry_is_there_and_lists_nobody() {
    let (registry, folder) = (MemoryRegistry::new(), Folder::new());
    for lease in folder.after(&registry).await {
        registry.deregister(&lease).await.unwrap();
    }
    sleep(3 * TTL).await;
    let view = folder.start(&registry);
    until(&view, |view| matches!(view.load().freshness(), Freshness::Live { .. })).await;
    assert_eq!(listed(&view), (0, 0));
    assert_eq!(view.stats().holds_begun, 0);
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_deletes_is_held_only_where_it_cannot_be_told_from_expiry() {
    for (hold, held) in [(None, 0), (Some(true), 60)] {
        let registry = MemoryRegistry::new();
        register(&registry, 0..100).await;
        let mut guard = GuardOptions::new();
        guard.hold_unknown = hold;
        let options = DirectoryOptions::new().with_guard(guard);
        let view = Directory::with_options(Arc::new(registry.clone()), options).view(&service());
        until(&view, |view| listed(view) == (100, 0)).await;
        for port in 0..60 {
            assert!(registry.controls().delete(&service(), instance(port).id()));
        }
        until(&view, |view| listed(view) == (40 + held, held)).await;
        assert_eq!(view.stats().holds_begun, held as u64);
    }
}

/// A registry of other hands, whose one watch tells what it is told to.
#[derive(Debug)]
struct Told(Mutex<Option<mpsc::UnboundedReceiver<WatchEvent>>>);

#[async_trait]
impl Registry for Told {
    async fn register(&self, _: &Instance, _: &RegisterOptions) -> Result<Registration> {
        panic!("only a watch is asked for")
    }

    async fn keepalive(&self, _: &Lease) -> Result<()> {
        panic!("only a watch is asked for")
    }

    async fn update(&self, _: &Lease, _: &Instance) -> Result<Revision> {
        panic!("only a watch is asked for")
    }

    async fn deregister(&self, _: &Lease) -> Result<()> {
        panic!("only a watch is asked for")
    }

    async fn lookup(&self, _: &ServiceName) -> Result<Snapshot> {
        panic!("only a watch is asked for")
    }

    async fn services(&self, _: &str) -> Result<Vec<ServiceName>> {
        panic!("only a watch is asked for")
    }

    fn watch(&self, _: &ServiceName, _: Option<Cursor>) -> Watch {
        let told = self.0.lock().unwrap().take().unwrap();
        Watch::new(stream::unfold(told, |mut told| async { Some((told.recv().await?, told)) }))
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees::weakest()
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_contradicts_itself_leaves_the_view_stale_until_it_lists_all_anew() {
    let (tell, told) = mpsc::unbounded_channel();
    let view = Directory::new(Arc::new(Told(Mutex::new(Some(told))))).view(&service());
    let cursor = |revision| Cursor::new(Epoch::new(1), Revision::new(revision), 0);
    let entry = |port, revision| {
        let revision = Revision::new(revision);
        Arc::new(Entry::new(instance(port), Incarnation::new(1), revision, revision))
    };
    let list = |revision, ports: std::ops::Range<u16>| {
        let snapshot = Snapshot::new(service(), cursor(revision), ports.map(|port| entry(port, revision)));
        WatchEvent::Reset { snapshot, cause: ResetCause::First }
    };
    tell.send(list(10, 0..2)).unwrap();
    until(&view, |view| listed(view) == (2, 0)).await;
    let proven = Instant::now();
    sleep(Duration::from_secs(1)).await;
    tell.send(WatchEvent::Changes(Batch { cursor: cursor(9), changes: vec![Change::Put(entry(2, 9))] }))
        .unwrap();
    let is_corrupt = |view: &View| match view.load().freshness() {
        Freshness::Stale { since, error } => {
            assert_eq!((error.kind(), *since), (ErrorKind::Corrupt, proven));
            true
        }
        _ => false,
    };
    until(&view, is_corrupt).await;
    // What follows does not say that the one that was refused did not matter.
    tell.send(WatchEvent::Changes(Batch { cursor: cursor(11), changes: vec![Change::Put(entry(3, 11))] }))
        .unwrap();
    until(&view, |view| listed(view) == (3, 0)).await;
    tell.send(WatchEvent::Progress { cursor: cursor(12) }).unwrap();
    tell.send(WatchEvent::Live { cursor: cursor(12) }).unwrap();
    until(&view, |view| view.load().cursor() == Some(cursor(12))).await;
    assert!(is_corrupt(&view));
    tell.send(list(13, 0..4)).unwrap();
    until(&view, |view| matches!(view.load().freshness(), Freshness::Live { .. })).await;
    assert_eq!(listed(&view), (4, 0));
}
