//! What the log is told of guards and of files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "support/spans.rs"]
mod spans;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use registry_core::{
    Directory, DirectoryOptions, DiskOptions, GuardOptions, Instance, Lease, RegisterOptions, Registrar,
    RegistrarOptions, Registry, ServiceName, Shelf, Ttl, View,
};
use registry_memory::MemoryRegistry;
use spans::{Fields, told};
use tokio::time::{sleep, timeout};

const HELD: &str = "too many instances vanished at once: they are held";
const RELEASED: &str = "held instances were released";
const OVER: &str = "no instance is held any more: all have come back, or were given up";
const GONE: &str = "held instances have not come back in time, and are gone";

fn service() -> ServiceName {
    ServiceName::new("user.rpc").unwrap()
}

async fn register(registry: &MemoryRegistry, port: u16, secs: u64) -> Lease {
    let instance = Instance::builder(service()).endpoint(format!("10.0.0.1:{port}")).build().unwrap();
    let options = RegisterOptions::new().with_ttl(Ttl::from_secs(secs).unwrap());
    registry.register(&instance, &options).await.unwrap().lease
}

async fn until(view: &View, holds: impl Fn(&View) -> bool) {
    let mut view = view.clone();
    let waiting = async {
        while !holds(&view) {
            assert!(view.changed().await);
        }
    };
    timeout(Duration::from_secs(60), waiting).await.expect("in time");
}

fn sum(events: &[Fields], field: &str) -> usize {
    events.iter().map(|fields| fields[field].parse::<usize>().unwrap()).sum()
}

#[test]
fn a_hold_is_told_at_once_and_then_once_a_second_with_totals() {
    told(async |told| {
        let registry = MemoryRegistry::new();
        for port in 1..=300 {
            // One after the other, within three seconds.
            sleep(Duration::from_millis(10)).await;
            register(&registry, port, 8).await;
        }
        let options = DirectoryOptions::new().with_guard(GuardOptions::new().with_share(0.1));
        let view = Directory::with_options(Arc::new(registry.clone()), options).view(&service());
        until(&view, |view| view.stats().holds_begun > 0).await;
        let held = told.events(HELD);
        assert_eq!((held.len(), held[0]["level"].as_str()), (1, "WARN"), "at once");
        until(&view, |view| view.load().held_len() == 300).await;
        sleep(Duration::from_secs(2)).await;
        let held = told.events(HELD);
        assert!((2..=5).contains(&held.len()), "{held:?}");
        assert_eq!(
            (sum(&held, "begun"), held.last().unwrap()["live"].as_str()),
            (300, "0"),
            "and none is left out"
        );
        until(&view, |view| view.load().entries().is_empty()).await;
        sleep(Duration::from_secs(2)).await;
        let gone = told.events(GONE);
        assert!((2..=5).contains(&gone.len()), "{gone:?}");
        assert_eq!(sum(&gone, "expired"), 300);
    });
}

/// Those who live notice the wipe after a third of their TTL, which is longer than the guard holds anybody.
#[test]
fn a_guard_whose_ttl_is_too_small_tells_that_it_has_given_up_who_lived() {
    const PREMATURE: &str = "instances came back that had been given up: they register with a greater TTL than the guard's, or could not reach the registry for three of these";
    for (ttl, premature) in [(5, 20), (60, 0)] {
        told(async |told| {
            let registry = MemoryRegistry::new();
            let start = |port: u16| {
                let options = RegistrarOptions::new().with_ttl(Ttl::from_secs(60).unwrap());
                let instance = Instance::builder(service()).endpoint(format!("10.0.0.1:{port}"));
                let options = options.with_seed(port.into());
                Registrar::start(Arc::new(registry.clone()), instance.build().unwrap(), options)
            };
            let _registrars: Vec<_> = (1..=20).map(start).collect();
            let guard = GuardOptions::new().with_ttl(Ttl::from_secs(ttl).unwrap());
            let options = DirectoryOptions::new().with_guard(guard);
            let view = Directory::with_options(Arc::new(registry.clone()), options).view(&service());
            until(&view, |view| view.load().entries().len() == 20).await;
            // No heartbeat is due within what the smaller guard bears.
            registry.controls().wipe();
            until(&view, |view| view.load().held_len() == 20).await;
            until(&view, |view| view.load().entries().len() == 20 && view.load().held_len() == 0).await;
            sleep(Duration::from_secs(2)).await;
            let lines = told.events(PREMATURE);
            assert_eq!(sum(&lines, "premature"), premature, "{lines:?}");
            assert_eq!(view.stats().holds_premature, premature as u64);
            let warned = |line: &Fields| line["level"] == "WARN" && line["guard_ttl"] == "5s";
            assert!(
                (1..=20).contains(&lines.len()) == (premature > 0) && lines.iter().all(warned),
                "{lines:?}"
            );
        });
    }
}

/// A shelf with a file, or with none.
#[derive(Debug)]
struct Only(Option<&'static [u8]>);

#[async_trait::async_trait]
impl Shelf for Only {
    async fn load(&self, _: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.map(<[u8]>::to_vec))
    }

    async fn save(&self, _: &str, _: Vec<u8>) -> io::Result<()> {
        Ok(())
    }
}

/// A shelf that is full.
#[derive(Debug)]
struct Full;

#[async_trait::async_trait]
impl Shelf for Full {
    async fn load(&self, _: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    async fn save(&self, _: &str, _: Vec<u8>) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn saves_that_fail_are_told_once_a_minute_for_all_services_with_their_number() {
    told(async |told| {
        let disk = DiskOptions::on(Arc::new(Full), "test");
        let options = DirectoryOptions::new().with_disk(disk);
        let directory = Directory::with_options(Arc::new(MemoryRegistry::new()), options);
        let view = |n: u8| directory.view(&ServiceName::new(format!("service-{n}")).unwrap());
        let views: Vec<_> = (0..20).map(view).collect();
        sleep(Duration::from_secs(190)).await;
        let failed: u64 = views.iter().map(|view| view.stats().disk_failed).sum();
        assert!(failed > 500, "each is tried again after seconds: {failed}");
        let lines = told.events("views cannot be saved");
        assert!((3..=4).contains(&lines.len()), "{lines:?}");
        assert_eq!((lines[0]["level"].as_str(), lines[0]["failed"].as_str()), ("WARN", "1"), "at once");
        // What came after the last line is not told yet.
        let told = u64::try_from(sum(&lines, "failed")).unwrap();
        assert!(told <= failed && told >= failed / 2, "{told} of {failed}");
    });
}

/// A shelf that gives back something else than it was given, or nothing.
#[derive(Debug)]
struct Careless(Option<&'static [u8]>, std::sync::atomic::AtomicBool);

#[async_trait::async_trait]
impl Shelf for Careless {
    async fn load(&self, _: &str) -> io::Result<Option<Vec<u8>>> {
        let saved = self.1.load(std::sync::atomic::Ordering::Relaxed);
        Ok(self.0.filter(|_| saved).map(<[u8]>::to_vec))
    }

    async fn save(&self, _: &str, _: Vec<u8>) -> io::Result<()> {
        self.1.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn what_was_saved_first_and_would_not_be_used_is_told_at_once_and_once() {
    for (file, why) in [(Some(&b"litter"[..]), "damaged"), (None, "is not there")] {
        told(async |told| {
            let disk = DiskOptions::on(Arc::new(Careless(file, false.into())), "test");
            let disk = disk.with_clock(|| 1_700_000_000_000);
            let registry = MemoryRegistry::new();
            let options = DirectoryOptions::new().with_disk(disk);
            let view = Directory::with_options(Arc::new(registry.clone()), options).view(&service());
            for port in 1..=3 {
                register(&registry, port, 600).await;
                sleep(Duration::from_secs(2)).await;
            }
            assert!(view.stats().disk_saved >= 3, "{:?}", view.stats());
            let rejected = told.events("a saved view is not used");
            assert_eq!((rejected.len(), view.stats().disk_rejected), (1, 1), "{rejected:?}");
            assert!(rejected[0]["why"].contains(why), "{rejected:?}");
        });
    }
}

/// A shelf for one file, whatever its name.
#[derive(Debug, Default)]
struct Nail(Mutex<Option<Vec<u8>>>);

#[async_trait::async_trait]
impl Shelf for Nail {
    async fn load(&self, _: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn save(&self, _: &str, bytes: Vec<u8>) -> io::Result<()> {
        *self.0.lock().unwrap() = Some(bytes);
        Ok(())
    }
}

#[test]
fn why_a_file_is_rejected_is_told() {
    const SAVED: u64 = 1_700_000_000_000;
    for (store, name, now, expected) in [
        ("test", "user.rpc", SAVED + 3_600_000, "too old: 3601s"),
        ("test", "user.rpc", SAVED - 3_600_000, "of the future: 3599s"),
        ("other", "user.rpc", SAVED, "foreign: of the store \"test"),
        ("test", "user", SAVED, "foreign: of the service \"user.rpc"),
    ] {
        told(async |told| {
            let registry = MemoryRegistry::new();
            register(&registry, 1, 600).await;
            let nail = Arc::<Nail>::default();
            let open = |store: &str, name: &str, now: u64| {
                let disk = DiskOptions::on(nail.clone(), store).with_clock(move || now);
                let disk = disk.with_max_age(Duration::from_secs(60));
                let options = DirectoryOptions::new().with_disk(disk);
                let directory = Directory::with_options(Arc::new(registry.clone()), options);
                directory.view(&ServiceName::new(name).unwrap())
            };
            let before = open("test", "user.rpc", SAVED);
            sleep(Duration::from_secs(2)).await;
            assert_eq!(before.stats().disk_saved, 1);
            registry.controls().outage();
            drop(before);
            let view = open(store, name, now);
            sleep(Duration::from_secs(1)).await;
            assert!(view.load().snapshot().is_none());
            let rejected = told.events("a saved view is not used");
            assert_eq!(rejected.len(), 1, "{rejected:?}");
            assert!(
                rejected[0]["level"] == "WARN" && rejected[0]["why"].starts_with(expected),
                "{rejected:?}"
            );
            assert_eq!(rejected[0]["service"], name);
        });
    }
}

#[test]
fn the_end_of_a_hold_is_told_whether_it_was_released_or_all_came_back() {
    told(async |told| {
        let registry = MemoryRegistry::new();
        let options = DirectoryOptions::new().with_guard(GuardOptions::new());
        let view = Directory::with_options(Arc::new(registry.clone()), options).view(&service());
        let all = async || {
            for port in 1..=10 {
                register(&registry, port, 600).await;
            }
            until(&view, |view| view.load().entries().len() == 10 && view.load().held_len() == 0).await;
        };
        let lost = async || {
            registry.controls().wipe();
            until(&view, |view| view.load().held_len() == 10).await;
        };
        let levels = |message: &str| -> Vec<String> {
            told.events(message).iter().map(|fields| fields["level"].clone()).collect()
        };
        all().await;
        lost().await;
        assert_eq!(view.release().await, 10);
        assert_eq!(levels(RELEASED), ["INFO"]);
        assert_eq!(sum(&told.events(RELEASED), "released"), 10);
        assert!(levels(OVER).is_empty() && view.release().await == 0);
        all().await;
        lost().await;
        all().await;
        assert_eq!((levels(OVER), levels(RELEASED)), (vec!["INFO".to_owned()], vec!["INFO".to_owned()]));
        assert!(levels(GONE).is_empty());
    });
}

#[test]
fn a_file_that_is_rejected_is_told_and_none_is_no_news() {
    for (file, warnings) in [(Some(&b"litter"[..]), 1), (None, 0)] {
        told(async |told| {
            let disk = DiskOptions::on(Arc::new(Only(file)), "test").with_clock(|| 1_700_000_000_000);
            let options = DirectoryOptions::new().with_disk(disk);
            let registry = MemoryRegistry::new();
            registry.controls().outage();
            let _view = Directory::with_options(Arc::new(registry), options).view(&service());
            sleep(Duration::from_secs(1)).await;
            let rejected = told.events("a saved view is not used");
            assert_eq!(rejected.len(), warnings);
            assert!(
                rejected.iter().all(|fields| fields["level"] == "WARN" && fields["why"].contains("damaged"))
            );
        });
    }
}
