//! Views on disk: a process starts while the registry cannot be reached, and what cannot be trusted is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use registry_core::{
    Directory, DirectoryOptions, DiskOptions, ErrorKind, Freshness, GuardOptions, Instance, Lease,
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
