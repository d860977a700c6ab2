//! Views in a real folder, in real time: shared by processes, damaged, not the user's own, on a disk that fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use registry_core::{
    Directory, DirectoryOptions, DiskOptions, Folder, Freshness, Instance, RegisterOptions, Registry,
    ServiceName, Ttl, View,
};
use registry_memory::MemoryRegistry;
use tokio::time::{Instant, sleep, timeout};

/// How long a condition may take: a busy disk takes seconds to flush.
const PATIENCE: Duration = Duration::from_secs(60);

fn service() -> ServiceName {
    ServiceName::new("user.rpc").unwrap()
}

async fn register(registry: &MemoryRegistry, port: u16) {
    let instance = Instance::builder(service()).endpoint(format!("10.0.0.1:{}", port + 1)).build().unwrap();
    let options = RegisterOptions::new().with_ttl(Ttl::MAX);
    registry.register(&instance, &options).await.unwrap();
}

async fn listed(view: &View, count: usize) {
    let mut view = view.clone();
    let waiting = async {
        while view.load().entries().len() != count {
            assert!(view.changed().await);
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{count} are not in {view:?}"));
}

/// Saves at once what has changed; where the disk is slow, after a second.
fn eager(disk: DiskOptions) -> DiskOptions {
    disk.with_delay(Duration::ZERO).with_refresh(Duration::from_secs(1))
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
        eager(DiskOptions::new(&self.0, "test"))
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

    fn process_that_saves(&self) -> Child {
        let mut process = Command::new(std::env::current_exe().unwrap());
        process.args(["--exact", "a_process_that_saves", "--ignored"]).env(FOLDER, &self.0);
        process.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
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
    timeout(PATIENCE, waiting).await.expect("in time");
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
    until(|| one.stats().disk_saved + two.stats().disk_saved > 0).await;
    for port in 400..440 {
        register(&registry, port).await;
        let view = scratch.view(&lost);
        assert!(timeout(PATIENCE, view.ready()).await.unwrap());
        assert!((400..=440).contains(&view.load().entries().len()));
        assert_eq!(view.stats().disk_rejected, 0);
        sleep(Duration::from_millis(5)).await;
    }
    until(|| one.stats().disk_saved > 1 && two.stats().disk_saved > 1).await;
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
    let options = DirectoryOptions::new().with_disk(eager(DiskOptions::new(folder, "test")));
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
    let mut processes = [scratch.process_that_saves(), scratch.process_that_saves()];
    let away = MemoryRegistry::new();
    away.controls().outage();
    until(|| scratch.names().iter().any(|name| name.ends_with(".view"))).await;
    let mut starts = 0;
    while processes.iter_mut().any(|process| process.try_wait().unwrap().is_none()) {
        let view = scratch.view(&away);
        assert!(timeout(PATIENCE, view.ready()).await.unwrap());
        assert!((300..=320).contains(&view.load().entries().len()), "{}", view.load().entries().len());
        assert_eq!(view.stats().disk_rejected, 0);
        starts += 1;
    }
    assert!(processes.iter_mut().all(|process| process.wait().unwrap().success()));
    assert!(starts > 10, "{starts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_leaves_that_is_killed_while_it_saves_is_whole() {
    let scratch = Scratch::new("killed");
    let away = MemoryRegistry::new();
    away.controls().outage();
    let unfinished = || scratch.names().into_iter().filter(|name| name.ends_with(".tmp")).collect::<Vec<_>>();
    let (mut killed, mut halves) = (0, 0);
    // At times it is done before it is dead.
    while halves < 3 {
        assert!(killed < 100, "hardly any is killed in the middle: {halves} of {killed}");
        let mut process = scratch.process_that_saves();
        until(|| scratch.names().iter().any(|name| name.ends_with(".view"))).await;
        while unfinished().is_empty() && process.try_wait().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        process.kill().unwrap();
        process.wait().unwrap();
        killed += 1;
        halves += unfinished().len();
        let view = scratch.view(&away);
        assert!(timeout(PATIENCE, view.ready()).await.unwrap());
        assert!((300..=320).contains(&view.load().entries().len()), "{}", view.load().entries().len());
        assert_eq!(view.stats().disk_rejected, 0);
        unfinished().iter().for_each(|name| std::fs::remove_file(scratch.0.join(name)).unwrap());
    }
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
        assert!(timeout(PATIENCE, view.ready()).await.unwrap());
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
        until(|| view.stats().disk_saved > 0).await;
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
    timeout(PATIENCE, failed).await.unwrap();
    std::fs::remove_file(&scratch.0).unwrap();
    assert!(scratch.names().is_empty());
}
