//! What the metrics say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "support/recorder.rs"]
mod recorder;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use recorder::Recorded;
use registry_core::layer::{Layer, Meter, Timeouts};
use registry_core::{
    Cursor, Directory, DirectoryOptions, DiskOptions, Epoch, Error, ErrorKind, Guarantees, GuardOptions,
    Incarnation, Instance, Lease, OnConflict, Operation, RegisterOptions, Registrar, RegistrarOptions,
    Registration, Registry, RegistryExt, Result, Revision, ServiceName, Shelf, Snapshot, Ttl, Watch,
    WatchEvent,
};
use registry_memory::MemoryRegistry;
use tokio::time::{Instant, advance, sleep, timeout};

const SOON: Duration = Duration::from_secs(30);

fn service() -> ServiceName {
    ServiceName::new("user.rpc").unwrap()
}

fn instance(port: u16) -> Instance {
    Instance::builder(service()).endpoint(format!("10.0.0.7:{port}")).build().unwrap()
}

/// Plays on a paused clock, with a recorder that only this thread tells.
fn recorded<F: Future<Output = ()>>(play: impl FnOnce(Recorded) -> F) {
    let recorded = Recorded::default();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&recorded, || runtime.block_on(play(recorded.clone())));
}

/// Waits for what is told by a task.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

#[test]
fn operations_are_counted_by_outcome_and_timed() {
    recorded(async |recorded| {
        let memory = MemoryRegistry::new();
        memory.controls().set_latency(Duration::from_millis(100));
        let registry = memory.clone().metered(&Meter::new());
        let lease = registry.register(&instance(1), &RegisterOptions::new()).await.unwrap().lease;
        registry.lookup(&service()).await.unwrap();
        registry.deregister(&lease).await.unwrap();
        registry.keepalive(&lease).await.unwrap_err();
        let operations = |labels: &str| recorded.counter(&format!("registry_operations_total{{{labels}}}"));
        assert_eq!(operations("operation=register,outcome=ok"), 1);
        assert_eq!(operations("operation=lookup,outcome=ok"), 1);
        assert_eq!(operations("operation=keepalive,outcome=ok"), 0);
        assert_eq!(operations("operation=keepalive,outcome=lease_lost"), 1);
        let took = recorded.samples("registry_operation_duration_seconds{operation=keepalive}");
        assert!(took.len() == 1 && (0.1..0.3).contains(&took[0]), "{took:?}");
        assert!(recorded.all_are_described());
    });
}

#[test]
fn what_is_under_way_is_in_flight_and_what_is_dropped_is_counted_as_that() {
    recorded(async |recorded| {
        let memory = MemoryRegistry::new();
        memory.controls().black_hole();
        let registry = memory.clone().metered(&Meter::new());
        let service = service();
        let mut lookup = Box::pin(registry.lookup(&service));
        assert!((&mut lookup).now_or_never().is_none());
        let in_flight = || recorded.gauge("registry_operations_in_flight{operation=lookup}");
        assert_eq!(in_flight(), 1.0);
        drop(lookup);
        assert_eq!(in_flight(), 0.0);
        assert_eq!(recorded.counter("registry_operations_total{operation=lookup,outcome=dropped}"), 1);
        assert!(recorded.samples("registry_operation_duration_seconds{operation=lookup}").is_empty());
    });
}

#[test]
fn a_deadline_within_a_meter_is_an_outcome() {
    recorded(async |recorded| {
        let memory = MemoryRegistry::new();
        memory.controls().black_hole();
        let registry = memory.with_timeouts(Timeouts::all(SOON)).metered(&Meter::named("eu"));
        registry.lookup(&service()).await.unwrap_err();
        let timeouts = "registry_operations_total{operation=lookup,outcome=timeout,registry=eu}";
        assert_eq!(recorded.counter(timeouts), 1);
    });
}

#[test]
fn watches_tell_resets_by_cause_changes_by_kind_and_how_long_they_were_stale() {
    recorded(async |recorded| {
        let memory = MemoryRegistry::new();
        let registry = memory.clone().metered(&Meter::new());
        let mut watch = registry.watch(&service(), None);
        let mut until = async |wanted: fn(&WatchEvent) -> bool| {
            timeout(SOON, async {
                while !Watch::next(&mut watch).await.is_some_and(|event| wanted(&event)) {}
            })
            .await
            .expect("it comes")
        };
        let value = |name: &str| recorded.gauge(&format!("registry_{name}{{service=user.rpc}}"));
        let resets = |cause: &str| {
            recorded.counter(&format!("registry_watch_resets_total{{cause={cause},service=user.rpc}}"))
        };
        let changes = |change: &str| {
            recorded.counter(&format!("registry_watch_changes_total{{change={change},service=user.rpc}}"))
        };
        until(|event| matches!(event, WatchEvent::Reset { .. })).await;
        assert_eq!(
            (resets("first"), resets("wiped"), value("watches"), value("watches_stale")),
            (1, 0, 1.0, 0.0)
        );

        let one_change = |event: &WatchEvent| matches!(event, WatchEvent::Changes(_));
        let short = RegisterOptions::new().with_ttl(Ttl::MIN);
        registry.register(&instance(1), &short).await.unwrap();
        until(one_change).await;
        until(one_change).await;
        let lease = registry.register(&instance(2), &RegisterOptions::new()).await.unwrap().lease;
        until(one_change).await;
        registry.deregister(&lease).await.unwrap();
        until(one_change).await;
        assert_eq!(
            (changes("put"), changes("expired"), changes("deregistered"), changes("gone")),
            (2, 1, 1, 0)
        );

        memory.controls().outage();
        until(|event| matches!(event, WatchEvent::Stale { .. })).await;
        assert_eq!(value("watches_stale"), 1.0);
        advance(Duration::from_secs(60)).await;
        memory.controls().wipe();
        memory.controls().heal();
        until(|event| matches!(event, WatchEvent::Reset { .. })).await;
        assert_eq!((resets("first"), resets("wiped"), value("watches_stale")), (1, 1, 0.0));
        let stale = recorded.samples("registry_watch_stale_seconds{service=user.rpc}");
        assert!(stale.len() == 1 && (60.0..80.0).contains(&stale[0]), "{stale:?}");

        memory.controls().outage();
        until(|event| matches!(event, WatchEvent::Stale { .. })).await;
        drop(watch);
        assert_eq!((value("watches"), value("watches_stale")), (0.0, 0.0));
        assert!(recorded.all_are_described());
    });
}

/// A registry that can be asked what there is, and finds three entries that it cannot read.
#[derive(Debug)]
struct Littered(MemoryRegistry);

impl Littered {
    fn litter(event: WatchEvent) -> WatchEvent {
        match event {
            WatchEvent::Reset { snapshot, cause } => {
                WatchEvent::Reset { snapshot: snapshot.with_skipped(3), cause }
            }
            other => other,
        }
    }
}

#[async_trait::async_trait]
impl Registry for Littered {
    async fn register(&self, instance: &Instance, options: &RegisterOptions) -> Result<Registration> {
        self.0.register(instance, options).await
    }

    async fn keepalive(&self, lease: &Lease) -> Result<()> {
        self.0.keepalive(lease).await
    }

    async fn update(&self, lease: &Lease, instance: &Instance) -> Result<Revision> {
        self.0.update(lease, instance).await
    }

    async fn deregister(&self, lease: &Lease) -> Result<()> {
        self.0.deregister(lease).await
    }

    async fn lookup(&self, service: &ServiceName) -> Result<Snapshot> {
        Ok(self.0.lookup(service).await?.with_skipped(3))
    }

    async fn services(&self, prefix: &str) -> Result<Vec<ServiceName>> {
        self.0.services(prefix).await
    }

    fn watch(&self, service: &ServiceName, from: Option<Cursor>) -> Watch {
        Watch::new(self.0.watch(service, from).map(Self::litter))
    }

    fn guarantees(&self) -> Guarantees {
        self.0.guarantees()
    }
}

#[test]
fn what_could_not_be_read_is_counted_by_lookups_watches_and_views() {
    recorded(async |recorded| {
        let meter = Meter::new();
        let registry = Littered(MemoryRegistry::new()).metered(&meter).shared();
        let malformed = || recorded.counter("registry_malformed_entries_total{}");
        registry.lookup(&service()).await.unwrap();
        assert_eq!(malformed(), 3);
        let view = Directory::new(registry).view(&service());
        let _observed = meter.observe_view(&view);
        view.ready().await;
        assert_eq!(malformed(), 6);
        let now = || recorded.gauge("registry_view_malformed_entries{service=user.rpc}");
        eventually("the view tells it", || now() == 3.0).await;
    });
}

#[test]
fn a_watch_that_says_twice_that_it_is_stale_is_stale_once() {
    recorded(async |recorded| {
        let stale = |ago| WatchEvent::Stale {
            since: Instant::now() - Duration::from_secs(ago),
            error: Error::new(ErrorKind::Unavailable, Operation::Watch, "away"),
        };
        let live = WatchEvent::Live { cursor: Cursor::new(Epoch::new(1), Revision::new(1), 0) };
        advance(Duration::from_secs(60)).await;
        let events = futures_util::stream::iter([stale(10), stale(5), live.clone(), live]);
        let mut watch = Meter::new().watch(&service(), Watch::new(events));
        let present = || recorded.gauge("registry_watches_stale{service=user.rpc}");
        for expected in [1.0, 1.0, 0.0, 0.0] {
            Watch::next(&mut watch).await.unwrap();
            assert_eq!(present(), expected);
        }
        assert_eq!(recorded.samples("registry_watch_stale_seconds{service=user.rpc}"), [10.0]);
    });
}

#[test]
fn a_view_tells_its_instances_and_an_age_that_grows_through_an_outage() {
    recorded(async |recorded| {
        let memory = MemoryRegistry::new();
        memory.register(&instance(1), &RegisterOptions::new().with_ttl(Ttl::MAX)).await.unwrap();
        let meter = Meter::new();
        let view = Directory::new(Arc::new(memory.clone())).view(&service());
        let observed = meter.observe_view(&view);
        let value = |name: &str| recorded.gauge(&format!("registry_view_{name}{{service=user.rpc}}"));
        view.ready().await;
        eventually("its instances are told", || value("instances") == 1.0).await;
        assert_eq!((value("held_instances"), value("malformed_entries")), (0.0, 0.0));
        for _ in 0..60 {
            sleep(Duration::from_secs(1)).await;
            assert!(value("age_seconds") < 14.0, "{}", value("age_seconds"));
        }
        memory.controls().outage();
        sleep(Duration::from_secs(120)).await;
        assert!((115.0..135.0).contains(&value("age_seconds")), "{}", value("age_seconds"));
        assert_eq!(value("instances"), 1.0, "trouble is not data");
        memory.controls().heal();
        eventually("it is current again", || value("age_seconds") < 5.0).await;
        drop(observed);
        eventually("what is not observed any more is nothing", || value("instances") == 0.0).await;
    });
}

/// A shelf with a file that nobody can read, also after another one was saved.
#[derive(Debug)]
struct Litter;

#[async_trait::async_trait]
impl Shelf for Litter {
    async fn load(&self, _: &str) -> std::io::Result<Option<Vec<u8>>> {
        Ok(Some(b"litter".to_vec()))
    }

    async fn save(&self, _: &str, _: Vec<u8>) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_guards_and_files_did_is_counted_on_when_a_view_is_made_anew_and_once() {
    recorded(async |recorded| {
        let memory = MemoryRegistry::new();
        let register = async |port| {
            let lasting = RegisterOptions::new().with_ttl(Ttl::MAX);
            memory.register(&instance(port), &lasting).await.unwrap()
        };
        let meter = Meter::new();
        let clock = || 1_700_000_000_000;
        let disk = DiskOptions::on(Arc::new(Litter), "test").with_clock(clock);
        let disk = disk.with_delay(Duration::from_millis(10));
        let options = DirectoryOptions::new().with_guard(GuardOptions::new()).with_disk(disk);
        let directory = Directory::with_options(Arc::new(memory.clone()), options);
        let holds = |state: &str| {
            recorded.counter(&format!("registry_view_holds_total{{service=user.rpc,state={state}}}"))
        };
        let disk = |outcome: &str| {
            recorded.counter(&format!("registry_view_disk_total{{outcome={outcome},service=user.rpc}}"))
        };
        let held = || recorded.gauge("registry_view_held_instances{service=user.rpc}");
        let resets = |cause: &str| {
            recorded.counter(&format!("registry_view_resets_total{{cause={cause},service=user.rpc}}"))
        };
        for life in 1..=3 {
            for port in 1..=10 {
                register(port).await;
            }
            memory.controls().outage();
            let view = directory.view(&service());
            sleep(Duration::from_secs(1)).await;
            memory.controls().heal();
            let observed = meter.observe_view(&view);
            eventually("all are listed", || view.load().entries().len() == 10).await;
            sleep(Duration::from_secs(1)).await;
            memory.controls().wipe();
            eventually("all are held", || held() == 10.0).await;
            assert_eq!(holds("begun"), 10 * life);
            assert_eq!((resets("first"), resets("wiped"), resets("compacted")), (life, life, 0));
            // Seen by somebody else from here on.
            drop(observed);
            eventually("nobody looks", || held() == 0.0).await;
            let observed = [meter.observe_view(&view), meter.observe_view(&view)];
            register(1).await;
            eventually("one is back", || holds("ended") == life).await;
            assert_eq!(view.release().await, 9);
            eventually("the others are released", || holds("released") == 9 * life).await;
            // When the view began, and when what it had saved was read again.
            assert_eq!((holds("begun"), disk("rejected")), (10 * life, 2 * life));
            assert!(disk("saved") >= life);
            drop((view, observed));
            eventually("the view has ended", || directory.watched() == 0).await;
        }
        assert!(recorded.all_are_described());
    });
}

#[test]
fn what_was_held_and_did_not_come_back_is_counted_as_expired_and_as_premature_if_it_does_later() {
    recorded(async |recorded| {
        let memory = MemoryRegistry::new();
        let process = RegisterOptions::new().with_ttl(Ttl::MAX).with_claim(Incarnation::new(7));
        for port in 1..=10 {
            memory.register(&instance(port), &process).await.unwrap();
        }
        let options = DirectoryOptions::new().with_guard(GuardOptions::new());
        let view = Directory::with_options(Arc::new(memory.clone()), options).view(&service());
        let _observed = Meter::new().observe_view(&view);
        eventually("all are listed", || view.load().entries().len() == 10).await;
        memory.controls().wipe();
        let held = || recorded.gauge("registry_view_held_instances{service=user.rpc}");
        eventually("all are held", || held() == 10.0).await;
        let holds = |state: &str| {
            recorded.counter(&format!("registry_view_holds_total{{service=user.rpc,state={state}}}"))
        };
        assert_eq!(holds("expired"), 0);
        sleep(Duration::from_secs(35)).await;
        assert_eq!((held(), holds("expired"), holds("ended"), holds("released")), (0.0, 10, 0, 0));
        assert_eq!(holds("premature"), 0);
        memory.register(&instance(1), &process).await.unwrap();
        eventually("one had been alive", || holds("premature") == 1).await;
    });
}

#[test]
fn a_view_that_several_observe_is_told_until_the_last_of_them_ends() {
    recorded(async |recorded| {
        let memory = MemoryRegistry::new();
        memory.register(&instance(1), &RegisterOptions::new().with_ttl(Ttl::MAX)).await.unwrap();
        let (meter, view) = (Meter::new(), Directory::new(memory.shared()).view(&service()));
        let [one, other] = [meter.observe_view(&view), meter.observe_view(&view)];
        let instances = || recorded.gauge("registry_view_instances{service=user.rpc}");
        eventually("it is told", || instances() == 1.0).await;
        drop(one);
        for _ in 0..100 {
            sleep(Duration::from_millis(10)).await;
            assert_eq!(instances(), 1.0, "the other still looks");
        }
        drop(other);
        eventually("nobody looks", || instances() == 0.0).await;
    });
}

#[test]
fn a_view_that_has_heard_nothing_yet_grows_older() {
    recorded(async |recorded| {
        let memory = MemoryRegistry::new();
        memory.controls().outage();
        let view = Directory::new(Arc::new(memory)).view(&service());
        let _observed = Meter::new().observe_view(&view);
        sleep(Duration::from_secs(60)).await;
        let age = recorded.gauge("registry_view_age_seconds{service=user.rpc}");
        assert!((58.0..62.0).contains(&age), "{age}");
    });
}

#[test]
fn registrars_are_counted_by_state_and_not_after_their_end() {
    recorded(async |recorded| {
        let memory = MemoryRegistry::new();
        let meter = Meter::new();
        let start = |port: u16| {
            let options = RegistrarOptions::new().with_seed(port.into()).with_meter(&meter);
            Registrar::start(memory.clone().shared(), instance(port), options)
        };
        let label = |name: &str, state: &str| format!("registry_{name}{{service=user.rpc,state={state}}}");
        let present = |state: &str| recorded.gauge(&label("registrars", state));
        let entered = |state: &str| recorded.counter(&label("registrar_transitions_total", state));
        let registrars = [start(1), start(2)];
        eventually("both are registered", || present("registered") == 2.0).await;
        // Heartbeats change nothing.
        sleep(Duration::from_secs(60)).await;
        assert_eq!((present("registered"), present("recovering"), entered("registered")), (2.0, 0.0, 2));
        // Nor do heartbeats that fail, as long as the lease may stand.
        memory.controls().outage();
        sleep(Duration::from_secs(5)).await;
        memory.controls().heal();
        sleep(Duration::from_secs(5)).await;
        assert_eq!((present("registered"), entered("recovering"), entered("registered")), (2.0, 0, 2));

        let other = RegisterOptions::new().with_on_conflict(OnConflict::TakeOver);
        memory.register(&instance(1), &other).await.unwrap();
        eventually("one is fenced", || present("fenced") == 1.0).await;
        assert_eq!(present("registered"), 1.0);
        for registrar in registrars {
            registrar.shutdown().await.unwrap();
        }
        let all = ["starting", "registered", "recovering", "fenced", "paused", "draining", "closed"];
        eventually("none is left", || all.iter().all(|state| present(state) == 0.0)).await;
        assert_eq!(entered("closed"), 2);
        assert!(recorded.all_are_described());
    });
}

/// Whoever reads the state from another task sees the last of several that come at once.
#[test]
fn each_state_of_a_registrar_is_counted_however_soon_it_is_left() {
    recorded(async |recorded| {
        let memory = MemoryRegistry::new();
        let meter = Meter::new();
        let options = RegistrarOptions::new().with_meter(&meter);
        for port in 1..=10 {
            let registrar = Registrar::start(memory.clone().shared(), instance(port), options.clone());
            registrar.registered().await.unwrap();
            registrar.abandon();
        }
        let state = |name: &str, state: &str| format!("registry_{name}{{service=user.rpc,state={state}}}");
        let entered = |name: &str| recorded.counter(&state("registrar_transitions_total", name));
        eventually("all are closed", || entered("closed") == 10).await;
        assert_eq!((entered("starting"), entered("registered")), (10, 10));
        assert_eq!(recorded.gauge(&state("registrars", "closed")), 0.0);
    });
}

#[test]
fn no_metric_names_an_instance() {
    recorded(async |recorded| {
        let memory = MemoryRegistry::new();
        let meter = Meter::new();
        let registry = memory.clone().metered(&meter).shared();
        let registrar = Registrar::start(registry.clone(), instance(1), RegistrarOptions::new());
        meter.observe_registrar(&service(), registrar.states());
        let view = Directory::new(registry).view(&service());
        let _observed = meter.observe_view(&view);
        registrar.registered().await.unwrap();
        view.ready().await;
        eventually("all is told", || recorded.keys().iter().any(|key| key.starts_with("registry_view")))
            .await;
        let known = ["operation", "outcome", "service", "cause", "change", "state"];
        for key in recorded.keys() {
            let labels = key.split(['{', '}']).nth(1).unwrap().split(',').filter(|label| !label.is_empty());
            let mut names = labels.map(|label| label.split('=').next().unwrap());
            assert!(names.all(|name| known.contains(&name)), "{key}");
            assert!(!key.contains("10.0.0.7"), "{key}");
        }
    });
}
