//! Views on disk: a process starts while the registry cannot be reached, and what cannot be trusted is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use registry_core::{
    Directory, DirectoryOptions, DiskOptions, ErrorKind, Folder, Freshness, GuardOptions, Instance, Lease,
    RegisterOptions, Registry, ServiceName, Shelf, Ttl, View,
};
use registry_memory::MemoryRegistry;
use tokio::time::{Instant, sleep, timeout};

const SOON: Duration = Duration::from_secs(5);

fn service() -> ServiceName {
    ServiceName::new("user.rpc").unwrap()
}

async fn register(registry: &MemoryRegistry, port: u16) -> Lease {
    let instance = Instance::builder(service()).endpoint(format!("10.0.0.1:{}", port + 1)).build().unwrap();
    let options = RegisterOptions::new().with_ttl(Ttl::MAX);
    registry.register(&instance, &options).await.unwrap().lease
}

async fn listed(view: &View, count: usize) {
    let mut view = view.clone();
    let waiting = async {
        while view.load().entries().len() != count {
            assert!(view.changed().await);
        }
    };
    timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("{count} are not in {view:?}"));
}

/// A shelf in memory, on which a test can lay its hands.
#[derive(Debug, Default)]
struct Board {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    saves: AtomicU64,
    broken: std::sync::atomic::AtomicBool,
    /// How long a save takes that begins now.
    takes: Mutex<Duration>,
    hanging: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Shelf for Board {
    async fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(io::Error::other("broken"));
        }
        self.hang().await;
        Ok(self.files.lock().unwrap().get(name).cloned())
    }

    async fn save(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(io::Error::other("broken"));
        }
        self.hang().await;
        let takes = *self.takes.lock().unwrap();
        if !takes.is_zero() {
            sleep(takes).await;
        }
        self.saves.fetch_add(1, Ordering::Relaxed);
        self.files.lock().unwrap().insert(name.to_owned(), bytes);
        Ok(())
    }
}

impl Board {
    async fn hang(&self) {
        while self.hanging.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn saves(&self) -> u64 {
        self.saves.load(Ordering::Relaxed)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<u8>)) {
        self.files.lock().unwrap().values_mut().next().map(change).unwrap();
    }
}

/// A shelf, and the time of day that follows tokio's clock.
struct Desk {
    board: Arc<Board>,
    began: Instant,
}

impl Desk {
    fn new() -> Self {
        Self { board: Arc::default(), began: Instant::now() }
    }

    fn disk(&self) -> DiskOptions {
        self.disk_of("test")
    }

    fn disk_of(&self, store: &str) -> DiskOptions {
        let began = self.began;
        let clock = move || 1_700_000_000_000 + u64::try_from(began.elapsed().as_millis()).unwrap();
        DiskOptions::on(self.board.clone(), store).with_clock(clock)
    }

    /// A process with this registry.
    fn directory(&self, registry: &MemoryRegistry) -> Directory {
        let options = DirectoryOptions::new().with_disk(self.disk());
        Directory::with_options(Arc::new(registry.clone()), options)
    }

    /// Lets a process see as many instances, and end once they are saved.
    async fn saved(&self, registry: &MemoryRegistry, count: u16) {
        for port in 0..count {
            register(registry, port).await;
        }
        let view = self.directory(registry).view(&service());
        listed(&view, count.into()).await;
        sleep(Duration::from_secs(2)).await;
        assert_eq!(view.stats().disk_saved, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_starts_from_disk_within_100_ms_says_how_old_that_is_and_goes_live_without_a_gap() {
    let desk = Desk::new();
    let registry = MemoryRegistry::new();
    desk.saved(&registry, 100).await;
    let saved = Instant::now();
    for _ in 0..2 {
        registry.controls().outage();
        sleep(Duration::from_secs(600)).await;
        let started = Instant::now();
        let mut view = desk.directory(&registry).view(&service());
        assert!(timeout(Duration::from_millis(100), view.ready()).await.unwrap());
        let state = view.state();
        assert_eq!(state.entries().len(), 100);
        let Freshness::Stale { since, error } = state.freshness() else { panic!("{state:?}") };
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let age = state.disk_age(Instant::now()).unwrap();
        assert!(
            age >= Duration::from_secs(600) && age <= saved.elapsed() + Duration::from_secs(3),
            "{age:?}"
        );
        assert!(state.stale_for(Instant::now()) >= Duration::from_secs(600) && *since < started);
        sleep(Duration::from_secs(60)).await;
        assert!(view.load().disk_age(Instant::now()).unwrap() >= age + Duration::from_secs(60));

        registry.controls().heal();
        let live = async {
            while !matches!(view.load().freshness(), Freshness::Live { .. }) {
                assert!(view.changed().await);
                assert_eq!(view.load().entries().len(), 100, "without a gap");
            }
        };
        timeout(SOON, live).await.unwrap();
        assert_eq!((view.load().disk_age(Instant::now()), view.load().resets().0), (None, 1));
        sleep(Duration::from_secs(2)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_says_nothing_is_not_waited_for() {
    let desk = Desk::new();
    let registry = MemoryRegistry::new();
    desk.saved(&registry, 3).await;
    registry.controls().black_hole();
    let view = desk.directory(&registry).view(&service());
    assert!(timeout(Duration::from_millis(100), view.ready()).await.unwrap());
    assert_eq!(view.load().entries().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_answers_is_believed_and_not_the_disk() {
    let desk = Desk::new();
    desk.saved(&MemoryRegistry::new(), 3).await;
    let view = desk.directory(&MemoryRegistry::new()).view(&service());
    view.ready().await;
    assert!(view.load().entries().is_empty() && view.load().disk_age(Instant::now()).is_none());
    sleep(Duration::from_secs(1)).await;
    assert!(view.load().entries().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_trusted_is_reported_and_ignored() {
    type Harm = fn(&Desk) -> DiskOptions;
    let harms: [(&str, Harm); 6] = [
        ("damaged", |desk| {
            desk.board.change(|file| *file.last_mut().unwrap() ^= 1);
            desk.disk()
        }),
        ("cut short", |desk| {
            desk.board.change(|file| file.truncate(file.len() / 2));
            desk.disk()
        }),
        ("empty", |desk| {
            desk.board.change(Vec::clear);
            desk.disk()
        }),
        ("too old", |desk| desk.disk().with_max_age(Duration::from_millis(1))),
        ("of the future", |desk| desk.disk().with_clock(|| 1_600_000_000_000)),
        ("not readable", |desk| {
            desk.board.broken.store(true, Ordering::Relaxed);
            desk.disk()
        }),
    ];
    for (what, harm) in harms {
        let desk = Desk::new();
        let registry = MemoryRegistry::new();
        desk.saved(&registry, 3).await;
        registry.controls().outage();
        sleep(Duration::from_secs(1)).await;
        let options = DirectoryOptions::new().with_disk(harm(&desk));
        let view = Directory::with_options(Arc::new(registry), options).view(&service());
        sleep(SOON).await;
        assert!(view.load().snapshot().is_none(), "{what}");
        assert_eq!(view.stats().disk_rejected, 1, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_saved_of_another_store_or_service_is_not_served() {
    let desk = Desk::new();
    let registry = MemoryRegistry::new();
    desk.saved(&registry, 3).await;
    registry.controls().outage();
    let other = DirectoryOptions::new().with_disk(desk.disk_of("other"));
    let other = Directory::with_options(Arc::new(registry.clone()), other).view(&service());
    let user = desk.directory(&registry).view(&ServiceName::new("user").unwrap());
    sleep(SOON).await;
    assert!(other.load().snapshot().is_none() && user.load().snapshot().is_none());
    assert_eq!(other.stats().disk_rejected, 0, "it is not even looked at");
    drop(user);
    // One that was copied to where the other's would be.
    let names = || desk.board.files.lock().unwrap().keys().cloned().collect::<Vec<_>>();
    registry.controls().heal();
    listed(&other, 3).await;
    sleep(Duration::from_secs(2)).await;
    let [own, foreign] = &names()[..] else { panic!("{:?}", names()) };
    let file = desk.board.files.lock().unwrap()[own].clone();
    desk.board.files.lock().unwrap().insert(foreign.clone(), file.clone());
    desk.board.files.lock().unwrap().insert(own.clone(), file);
    registry.controls().outage();
    drop(other);
    let mut rejected = 0;
    for store in ["test", "other"] {
        let options = DirectoryOptions::new().with_disk(desk.disk_of(store));
        let view = Directory::with_options(Arc::new(registry.clone()), options).view(&service());
        sleep(SOON).await;
        rejected += view.stats().disk_rejected;
    }
    assert_eq!(rejected, 1);
}

#[tokio::test(start_paused = true)]
async fn saves_are_gathered_and_repeated_so_that_the_age_stays_true() {
    let desk = Desk::new();
    let registry = MemoryRegistry::new();
    let view = desk.directory(&registry).view(&service());
    view.ready().await;
    for port in 0..50 {
        register(&registry, port).await;
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_secs(2)).await;
    assert!((4..=7).contains(&desk.board.saves()), "{} saves in 5 s of 50 changes", desk.board.saves());
    let before = desk.board.saves();
    sleep(Duration::from_secs(600)).await;
    let repeated = desk.board.saves() - before;
    assert!((9..=11).contains(&repeated), "{repeated} in 10 minutes");
    registry.controls().outage();
    sleep(Duration::from_secs(60)).await;
    let before = desk.board.saves();
    sleep(Duration::from_secs(600)).await;
    assert_eq!(desk.board.saves(), before, "what is not current is not saved");
    assert_eq!(view.stats().disk_saved, before);
}

#[tokio::test(start_paused = true)]
async fn where_saving_is_slow_no_more_than_a_twentieth_of_the_time_is_spent_on_it() {
    // 20 times as long; and never longer than it takes until a view that stays the same is saved again.
    for (takes, saves) in [(Duration::from_millis(500), 55..=59), (Duration::from_secs(9), 7..=9)] {
        let desk = Desk::new();
        let registry = MemoryRegistry::new();
        let _view = desk.directory(&registry).view(&service());
        *desk.board.takes.lock().unwrap() = takes;
        for port in 0..600 {
            register(&registry, port).await;
            sleep(Duration::from_secs(1)).await;
        }
        assert!(saves.contains(&desk.board.saves()), "{} of {takes:?} in 10 minutes", desk.board.saves());
    }
}

#[tokio::test(start_paused = true)]
async fn a_shelf_that_is_broken_is_counted_and_used_again_once_it_works() {
    let desk = Desk::new();
    let registry = MemoryRegistry::new();
    register(&registry, 1).await;
    desk.board.broken.store(true, Ordering::Relaxed);
    let view = desk.directory(&registry).view(&service());
    sleep(Duration::from_secs(20)).await;
    assert!(view.stats().disk_failed >= 2 && view.load().entries().len() == 1, "{:?}", view.stats());
    desk.board.broken.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(view.stats().disk_saved, 1);
}

#[tokio::test(start_paused = true)]
async fn a_shelf_that_hangs_is_counted_too_and_costs_no_view() {
    let desk = Desk::new();
    let registry = MemoryRegistry::new();
    register(&registry, 1).await;
    desk.board.hanging.store(true, Ordering::Relaxed);
    let view = desk.directory(&registry).view(&service());
    sleep(Duration::from_secs(60)).await;
    assert!(view.stats().disk_failed >= 3 && view.load().entries().len() == 1, "{:?}", view.stats());
    desk.board.hanging.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(view.stats().disk_saved, 1);
    // What takes long to be read is still better than nothing.
    registry.controls().outage();
    desk.board.hanging.store(true, Ordering::Relaxed);
    let view = desk.directory(&registry).view(&service());
    sleep(Duration::from_secs(60)).await;
    assert!(view.load().snapshot().is_none());
    desk.board.hanging.store(false, Ordering::Relaxed);
    listed(&view, 1).await;
    assert_eq!(view.stats().disk_rejected, 0);
}

/// A shelf whose author has made a mistake.
#[derive(Debug)]
struct Mistake;

#[async_trait]
impl Shelf for Mistake {
    async fn load(&self, _: &str) -> io::Result<Option<Vec<u8>>> {
        panic!("a mistake, which this test makes")
    }

    async fn save(&self, _: &str, _: Vec<u8>) -> io::Result<()> {
        panic!("a mistake, which this test makes")
    }
}

#[tokio::test(start_paused = true)]
async fn a_shelf_that_panics_has_failed_and_costs_no_view() {
    let registry = MemoryRegistry::new();
    let options = DirectoryOptions::new().with_disk(DiskOptions::on(Arc::new(Mistake), "test"));
    registry.controls().outage();
    let view = Directory::with_options(Arc::new(registry.clone()), options).view(&service());
    sleep(SOON).await;
    assert_eq!(view.stats().disk_rejected, 1);
    registry.controls().heal();
    sleep(SOON).await;
    register(&registry, 1).await;
    listed(&view, 1).await;
    assert!(view.stats().disk_failed > 0);
}

#[tokio::test(start_paused = true)]
async fn a_guard_knows_what_was_on_disk_and_saves_nothing_that_is_held() {
    let desk = Desk::new();
    let registry = MemoryRegistry::new();
    desk.saved(&registry, 10).await;
    registry.controls().outage();
    let options = DirectoryOptions::new().with_disk(desk.disk()).with_guard(GuardOptions::new());
    let view = Directory::with_options(Arc::new(registry.clone()), options).view(&service());
    listed(&view, 10).await;
    registry.controls().wipe();
    let saves = desk.board.saves();
    registry.controls().heal();
    let mut follower = view.clone();
    let held = async {
        while follower.load().held_len() != 10 {
            assert!(follower.changed().await);
        }
    };
    timeout(SOON, held).await.unwrap();
    assert_eq!((view.load().entries().len(), view.load().resets().0), (10, 1));
    sleep(Duration::from_secs(20)).await;
    assert_eq!(desk.board.saves(), saves);
    sleep(Duration::from_secs(20)).await;
    assert_eq!((view.load().entries().len(), desk.board.saves()), (0, saves + 1));
}

#[tokio::test(start_paused = true)]
async fn an_old_file_is_served_until_the_registry_answers_and_no_guard_holds_what_it_lists() {
    for (age, held) in [(Duration::from_secs(5), 10), (Duration::from_secs(20 * 60 * 60), 0)] {
        let desk = Desk::new();
        let registry = MemoryRegistry::new();
        desk.saved(&registry, 10).await;
        registry.controls().outage();
        // All were replaced since: the service was deployed anew, or the store lost everything.
        registry.controls().wipe();
        sleep(age).await;
        let options = DirectoryOptions::new().with_disk(desk.disk()).with_guard(GuardOptions::new());
        let view = Directory::with_options(Arc::new(registry.clone()), options).view(&service());
        listed(&view, 10).await;
        registry.controls().heal();
        register(&registry, 100).await;
        let mut follower = view.clone();
        let answered = async {
            while follower.load().resets().0 == 0 {
                assert!(follower.changed().await);
            }
        };
        timeout(SOON, answered).await.unwrap();
        assert!(view.load().held_len() == held, "{} are held of a file {age:?} old", view.load().held_len());
        let bound = view.load().held().map(|(_, held)| held.until()).max();
        assert!(bound.is_none_or(|until| until <= Instant::now() + Duration::from_secs(30) - age));
        listed(&view, held + 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_changed_last_is_saved_when_the_view_ends() {
    let desk = Desk::new();
    let registry = MemoryRegistry::new();
    desk.saved(&registry, 3).await;
    let view = desk.directory(&registry).view(&service());
    listed(&view, 3).await;
    sleep(Duration::from_secs(2)).await;
    register(&registry, 3).await;
    listed(&view, 4).await;
    let saves = desk.board.saves();
    drop(view);
    let saved = async {
        while desk.board.saves() == saves {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_millis(1), saved).await.expect("at once");
    registry.controls().outage();
    let view = desk.directory(&registry).view(&service());
    listed(&view, 4).await;
    let saves = desk.board.saves();
    drop(view);
    sleep(SOON).await;
    assert_eq!(desk.board.saves(), saves, "what is not current is not saved");
}

#[tokio::test(start_paused = true)]
async fn what_a_view_saves_slowly_when_it_ends_does_not_replace_what_the_next_one_saved() {
    let desk = Desk::new();
    let registry = MemoryRegistry::new();
    desk.saved(&registry, 3).await;
    let directory = desk.directory(&registry);
    let view = directory.view(&service());
    listed(&view, 3).await;
    sleep(Duration::from_secs(2)).await;
    register(&registry, 3).await;
    listed(&view, 4).await;
    *desk.board.takes.lock().unwrap() = Duration::from_secs(8);
    drop(view);
    sleep(Duration::from_millis(1)).await;
    *desk.board.takes.lock().unwrap() = Duration::ZERO;
    let view = directory.view(&service());
    register(&registry, 4).await;
    listed(&view, 5).await;
    sleep(Duration::from_secs(20)).await;
    assert_eq!(view.stats().disk_saved, 1);
    registry.controls().outage();
    let next = desk.directory(&registry).view(&service());
    listed(&next, 5).await;
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_as_slow_as_a_normal_start_is_waited_for() {
    let desk = Desk::new();
    let registry = MemoryRegistry::new();
    desk.saved(&registry, 3).await;
    registry.controls().set_latency(Duration::from_millis(50));
    let view = desk.directory(&registry).view(&service());
    assert!(view.ready().await);
    assert_eq!((view.load().resets().0, view.load().disk_age(Instant::now())), (1, None));
}

/// A folder of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("registry-core-{name}-{}", std::process::id())))
    }

    /// The only file.
    fn file(&self) -> PathBuf {
        let [name] = &self.names()[..] else { panic!("one file, of {:?}", self.names()) };
        self.0.join(name)
    }

    fn disk(&self) -> DiskOptions {
        DiskOptions::new(&self.0, "test").with_delay(Duration::ZERO)
    }

    /// A view that is served from here when `registry` is away.
    fn view(&self, registry: &MemoryRegistry) -> View {
        let options = DirectoryOptions::new().with_disk(self.disk());
        Directory::with_options(Arc::new(registry.clone()), options).view(&service())
    }

    /// Lets a process save what it sees, and gives the registry, which is away from then on.
    async fn saved(&self, count: u16) -> MemoryRegistry {
        let registry = MemoryRegistry::new();
        for port in 0..count {
            register(&registry, port).await;
        }
        let view = self.view(&registry);
        listed(&view, count.into()).await;
        until(|| view.stats().disk_saved > 0).await;
        registry.controls().outage();
        registry
    }

    fn names(&self) -> Vec<String> {
        let files = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        files.map(|file| file.file_name().into_string().unwrap()).collect()
    }
}

async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, waiting).await.expect("in time");
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_a_folder_and_what_is_read_is_always_whole() {
    let scratch = Scratch::new("shared");
    let registry = MemoryRegistry::new();
    for port in 0..400 {
        register(&registry, port).await;
    }
    let clients = [registry.client(), registry.client()];
    let [one, two] = clients.each_ref().map(|client| scratch.view(client));
    let lost = registry.client();
    lost.controls().outage();
    let mut starts = 0;
    for port in 400..440 {
        register(&registry, port).await;
        if one.stats().disk_saved + two.stats().disk_saved > 0 {
            let view = scratch.view(&lost);
            assert!(timeout(SOON, view.ready()).await.unwrap());
            assert!((400..=440).contains(&view.load().entries().len()));
            assert_eq!(view.stats().disk_rejected, 0);
            starts += 1;
        }
        sleep(Duration::from_millis(5)).await;
    }
    assert!(starts > 10, "{starts}");
    let both = async {
        while one.stats().disk_saved < 2 || two.stats().disk_saved < 2 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, both).await.unwrap();
    assert_eq!(one.stats().disk_failed + two.stats().disk_failed, 0);
    // So that nobody saves when they end: what is not current is not saved.
    clients.iter().for_each(|client| client.controls().outage());
    let live = |view: &View| matches!(view.load().freshness(), Freshness::Live { .. });
    until(|| !live(&one) && !live(&two)).await;
    sleep(Duration::from_millis(100)).await;
}

const FOLDER: &str = "REGISTRY_CORE_TEST_FOLDER";

/// A process of the next test: saves again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "another test runs it, in processes of its own"]
async fn a_process_that_saves() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let registry = MemoryRegistry::new();
    for port in 0..300 {
        register(&registry, port).await;
    }
    let disk = DiskOptions::new(folder, "test").with_delay(Duration::ZERO);
    let options = DirectoryOptions::new().with_disk(disk);
    let view = Directory::with_options(Arc::new(registry.clone()), options).view(&service());
    for port in 300..320 {
        let saved = view.stats().disk_saved;
        register(&registry, port).await;
        until(|| view.stats().disk_saved > saved).await;
    }
    listed(&view, 320).await;
    let stats = view.stats();
    assert_eq!((stats.disk_failed, stats.disk_rejected), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_reads_is_whole_while_two_others_save_it() {
    let scratch = Scratch::new("processes");
    let start = || {
        let mut process = std::process::Command::new(std::env::current_exe().unwrap());
        process.args(["--exact", "a_process_that_saves", "--ignored"]).env(FOLDER, &scratch.0);
        process.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let mut processes = [start(), start()];
    let away = MemoryRegistry::new();
    away.controls().outage();
    until(|| scratch.names().iter().any(|name| name.ends_with(".view"))).await;
    let mut starts = 0;
    while processes.iter_mut().any(|process| process.try_wait().unwrap().is_none()) {
        let view = scratch.view(&away);
        assert!(timeout(SOON, view.ready()).await.unwrap());
        assert!((300..=320).contains(&view.load().entries().len()), "{}", view.load().entries().len());
        assert_eq!(view.stats().disk_rejected, 0);
        starts += 1;
    }
    assert!(processes.iter_mut().all(|process| process.wait().unwrap().success()));
    assert!(starts > 10, "{starts}");
}

/// In real time, and from a real file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_starts_from_a_file_of_10_000_instances_within_100_ms() {
    let scratch = Scratch::new("large");
    let registry = scratch.saved(10_000).await;
    // What is deployed is optimized, and that is what is promised. Without, decoding JSON alone takes several times as long: the bound is there for what takes
    // a time that grows with the square.
    let bound = Duration::from_millis(if cfg!(debug_assertions) { 1_000 } else { 100 });
    let took = async || {
        let started = Instant::now();
        let view = scratch.view(&registry);
        assert!(timeout(SOON, view.ready()).await.unwrap());
        assert_eq!(view.load().entries().len(), 10_000);
        started.elapsed()
    };
    let mut best = took().await;
    // The promise is about this library, and not about what else the machine does: other tests run beside this one. Whatever is slow in here is so each time.
    for _ in 0..4 {
        best = best.min(took().await);
    }
    assert!(best < bound, "{best:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_in_a_folder_that_is_damaged_cut_short_or_litter_is_rejected_without_reading_more_than_is_needed()
 {
    type Harm = fn(&std::path::Path);
    let harms: [(&str, Harm); 4] = [
        ("a bit", |path| {
            let mut bytes = std::fs::read(path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(path, bytes).unwrap();
        }),
        ("cut short", |path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("empty", |path| std::fs::write(path, "").unwrap()),
        ("a gigabyte of nothing", |path| {
            std::fs::write(path, "litter").unwrap();
            std::fs::File::options().write(true).open(path).unwrap().set_len(1 << 30).unwrap();
        }),
    ];
    for (what, harm) in harms {
        let scratch = Scratch::new("damaged");
        let registry = scratch.saved(3).await;
        harm(&scratch.file());
        let started = Instant::now();
        let view = scratch.view(&registry);
        until(|| view.stats().disk_rejected == 1).await;
        assert!(view.load().snapshot().is_none(), "{what}");
        assert!(started.elapsed() < Duration::from_secs(1), "{what}: {:?}", started.elapsed());
        // The next one is good.
        registry.controls().heal();
        listed(&view, 3).await;
        until(|| view.stats().disk_saved == 1).await;
        drop(view);
        registry.controls().outage();
        let view = scratch.view(&registry);
        listed(&view, 3).await;
    }
}

/// As on a volume that was mounted anew for a pod with an `fsGroup`.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_its_group_may_write_is_read_where_the_group_is_trusted() {
    use std::os::unix::fs::PermissionsExt;

    let scratch = Scratch::new("group");
    let registry = scratch.saved(3).await;
    let give = |mode| std::fs::set_permissions(scratch.file(), PermissionsExt::from_mode(mode)).unwrap();
    let open = |folder: Folder| {
        let disk = DiskOptions::on(Arc::new(folder), "test");
        let options = DirectoryOptions::new().with_disk(disk);
        Directory::with_options(Arc::new(registry.clone()), options).view(&service())
    };
    give(0o660);
    std::fs::set_permissions(&scratch.0, PermissionsExt::from_mode(0o2770)).unwrap();
    let view = open(Folder::new(&scratch.0));
    until(|| view.stats().disk_rejected == 1).await;
    listed(&open(Folder::new(&scratch.0).trusting_group()), 3).await;
    give(0o606);
    let view = open(Folder::new(&scratch.0).trusting_group());
    until(|| view.stats().disk_rejected == 1).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_in_which_others_can_put_an_older_file_back_is_neither_read_nor_written() {
    use std::os::unix::fs::PermissionsExt;

    let scratch = Scratch::new("folder");
    let registry = scratch.saved(3).await;
    let give = |mode| std::fs::set_permissions(&scratch.0, PermissionsExt::from_mode(mode)).unwrap();
    give(0o777);
    let view = scratch.view(&registry);
    until(|| view.stats().disk_rejected == 1).await;
    registry.controls().heal();
    until(|| view.stats().disk_failed > 0).await;
    assert_eq!(view.stats().disk_saved, 0);
    drop(view);
    registry.controls().outage();
    give(0o1777);
    listed(&scratch.view(&registry), 3).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_the_users_own_and_what_is_not_is_not_read() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    type Harm = fn(&std::path::Path);
    let harms: [(&str, Harm); 4] = [
        ("others may write it", |path| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).unwrap();
        }),
        ("a pipe, which nobody writes", |path| {
            std::fs::remove_file(path).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        }),
        ("a link", |path| {
            let elsewhere = path.with_extension("elsewhere");
            std::fs::rename(path, &elsewhere).unwrap();
            symlink(elsewhere, path).unwrap();
        }),
        ("a folder", |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        }),
    ];
    for (what, harm) in harms {
        let scratch = Scratch::new("own");
        let registry = scratch.saved(3).await;
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&scratch.0), mode(&scratch.file())), (0o700, 0o600));
        harm(&scratch.file());
        let view = scratch.view(&registry);
        until(|| view.stats().disk_rejected == 1).await;
        assert!(view.load().snapshot().is_none(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_cannot_be_written_costs_no_view() {
    let scratch = Scratch::new("file");
    std::fs::write(&scratch.0, "a file, where the folder should be").unwrap();
    let registry = MemoryRegistry::new();
    register(&registry, 1).await;
    let disk = DiskOptions::new(&scratch.0, "test").with_delay(Duration::ZERO);
    let options = DirectoryOptions::new().with_disk(disk);
    let view = Directory::with_options(Arc::new(registry), options).view(&service());
    listed(&view, 1).await;
    let failed = async {
        while view.stats().disk_failed == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, failed).await.unwrap();
    std::fs::remove_file(&scratch.0).unwrap();
    assert!(scratch.names().is_empty());
}
