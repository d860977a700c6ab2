//! Plays one seed: starts processes, writers, watchers and views, lets the nemesis strike, heals, and has everything checked.

use std::sync::{Arc, Mutex};

use registry_core::fault::FaultPlan;
use registry_core::{
    Cursor, Directory, Folded, Freshness, Incarnation, Instance, InstanceId, Lease, OnConflict, OwnerToken,
    RegisterOptions, Registrar, RegistrarOptions, RegistrarState, Registry, ServiceName, Snapshot, Ttl, View,
    WhenFenced, fold,
};
use registry_memory::{Checkpoint, MemoryOptions, MemoryRegistry};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, timeout};

use super::client::Client;
use super::guarded::Guarded;
use super::history::{History, Record, Seen};
use super::mutant::{Memory, Mutant};
use super::process::{Intent, Life, Order, Process, lock, obey};
use super::{Report, Violation, check};

const CLIENTS: usize = 5;
const STEPS: usize = 220;
/// Long enough after healing for everything to have recovered: a TTL, the silence of a stalled feed, and retries.
const HEALED: Duration = Duration::from_secs(25);

/// Plays `seed`, with a planted defect when one is given.
#[must_use]
pub fn run(seed: u64, mutant: Option<Mutant>) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without input and output always builds");
    runtime.block_on(async {
        let mut world = World::new(seed, mutant);
        for step in 0..STEPS {
            world.step(step).await;
        }
        world.finish().await
    })
}

struct World {
    seed: u64,
    rng: fastrand::Rng,
    history: History,
    store: MemoryRegistry,
    clients: Vec<Client>,
    directories: Vec<Directory>,
    guarded: Guarded,
    services: Vec<ServiceName>,
    processes: Vec<Process>,
    tasks: JoinSet<()>,
    leases: Arc<Mutex<Vec<Lease>>>,
    views: Vec<View>,
    watchers: Vec<Watcher>,
    next_watcher: usize,
    checkpoint: Option<Checkpoint>,
    /// Which steps the nemesis strikes at.
    strikes: Vec<usize>,
    faults: usize,
    /// Tells slow watchers to read as they come.
    calm: Arc<std::sync::atomic::AtomicBool>,
}

/// A watcher, and what it has folded together.
struct Watcher {
    service: ServiceName,
    stop: tokio::task::AbortHandle,
    folded: Arc<Mutex<Folding>>,
}

#[derive(Debug, Default)]
struct Folding {
    snapshot: Option<Snapshot>,
    cursor: Option<Cursor>,
    last: Option<Instant>,
    refused: usize,
}

impl World {
    fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let history = History::new();
        let options = MemoryOptions::default()
            .with_seed(rng.u64(..))
            .with_history(rng.usize(8..64))
            .with_expiry_lag(Mutant::expiry_lag(mutant));
        let store = MemoryRegistry::with_options(options);
        store.controls().keep_journal();
        let memory = Arc::new(Memory::default());
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| Client::new(n, &store, mutant, Arc::clone(&memory), &history, rng.u64(..)))
            .collect();
        let directories = clients.iter().map(|client| Directory::new(Arc::clone(&client.registry))).collect();
        let services =
            ["user.rpc", "user", "order.rpc"].map(|name| ServiceName::new(name).expect("a good name"));
        let guarded = Guarded::new(seed, &store, mutant, &history, services[0].clone());
        // At least three, and a few more.
        let mut steps: Vec<usize> = (10..STEPS - 10).collect();
        rng.shuffle(&mut steps);
        steps.truncate(rng.usize(3..9));
        let mut world = Self {
            seed,
            history,
            store,
            clients,
            directories,
            guarded,
            services: services.to_vec(),
            processes: Vec::new(),
            tasks: JoinSet::new(),
            leases: Arc::default(),
            views: Vec::new(),
            watchers: Vec::new(),
            next_watcher: 0,
            checkpoint: None,
            strikes: steps,
            faults: 0,
            calm: Arc::default(),
            rng,
        };
        for client in 0..2 {
            world.open_view(client, client);
            world.open_watcher(client, client % 2, None);
        }
        world
    }

    async fn step(&mut self, step: usize) {
        if self.rng.bool() {
            sleep(Duration::from_millis(self.rng.u64(0..600))).await;
        }
        if self.strikes.contains(&step) {
            self.faults += 1;
            self.strike();
        }
        match self.rng.u32(0..100) {
            0..8 => self.start_process(step),
            8..22 => self.order(),
            22..58 => self.write(),
            58..72 => self.look_up(),
            72..77 => self.watch(),
            77..80 => self.stop_watching(),
            80..82 => self.open_some_view(),
            _ => self.look_at_views(),
        }
        self.guarded.step(&mut self.tasks).await;
    }

    fn some_service(&mut self) -> usize {
        // Two thirds on one service, so that things meet.
        if self.rng.u32(0..3) < 2 { 0 } else { self.rng.usize(0..self.services.len()) }
    }

    fn some_name(&mut self) -> ServiceName {
        let at = self.some_service();
        self.services[at].clone()
    }

    fn start_process(&mut self, step: usize) {
        let service = self.some_name();
        let id = InstanceId::new(format!("p{}", self.rng.u32(0..3))).expect("a good id");
        let instance = Instance::builder(&service)
            .id(&id)
            .endpoint(format!("127.0.0.1:{}", 1000 + step))
            .build()
            .expect("a good instance");
        let client = self.rng.usize(0..CLIENTS);
        let when_fenced =
            if self.rng.u32(0..3) == 0 { WhenFenced::ReturnWhenAbsent } else { WhenFenced::Stop };
        let token = OwnerToken::from_u128(u128::from(self.rng.u64(..)));
        let register = RegisterOptions::new()
            .with_ttl(Ttl::from_secs(self.rng.u64(2..6)).expect("a good TTL"))
            .with_token(token)
            .with_claim(Incarnation::new(1_000 + step as u64 * 1_000));
        let options = RegistrarOptions::new()
            .with_register(register)
            .with_when_fenced(when_fenced)
            .with_seed(self.rng.u64(..));
        let registrar =
            Registrar::start(Arc::clone(&self.clients[client].registry), instance.clone(), options);
        let states = registrar.states();
        let (orders, receiver) = mpsc::unbounded_channel();
        let intent = Arc::new(Mutex::new(Intent { life: Life::Running, instance }));
        self.history.note(format!("process {step} starts {service} {id} on client {client}"));
        self.tasks.spawn(obey(registrar, receiver, Arc::clone(&intent), self.history.clone()));
        self.processes.push(Process { service, id, token, when_fenced, orders, states, intent });
    }

    fn order(&mut self) {
        if self.processes.is_empty() {
            return;
        }
        let at = self.rng.usize(0..self.processes.len());
        let order = match self.rng.u32(0..10) {
            0..4 => Order::Update(self.rng.u32(1..1000)),
            4 => Order::Pause,
            5 | 6 => Order::Resume,
            7 => Order::Drain,
            8 => Order::Shutdown,
            _ => Order::Crash,
        };
        let process = &self.processes[at];
        self.history.note(format!("process {at} ({} {}) is told: {order:?}", process.service, process.id));
        let _ = process.orders.send(order);
    }

    /// One operation of a writer that uses the trait without a registrar.
    fn write(&mut self) {
        let registry = Arc::clone(&self.clients[self.rng.usize(0..CLIENTS)].registry);
        let leases = Arc::clone(&self.leases);
        let held = lock(&leases).clone();
        let lease = (!held.is_empty()).then(|| held[self.rng.usize(0..held.len())].clone());
        match (lease, self.rng.u32(0..10)) {
            (Some(lease), 0..4) => {
                self.tasks.spawn(async move {
                    let _ = timeout(Duration::from_secs(2), registry.keepalive(&lease)).await;
                });
            }
            (Some(lease), 4) => {
                self.tasks.spawn(async move {
                    let _ = timeout(Duration::from_secs(2), registry.deregister(&lease)).await;
                });
            }
            (Some(lease), 5 | 6) => {
                let instance = self.writers_instance(lease.service(), lease.id());
                self.tasks.spawn(async move {
                    let _ = timeout(Duration::from_secs(2), registry.update(&lease, &instance)).await;
                });
            }
            _ => {
                let service = self.some_name();
                let first = InstanceId::new(format!("w{}", self.rng.u32(0..3))).expect("a good id");
                let on_conflict = [OnConflict::TakeOver, OnConflict::Refuse, OnConflict::Reclaim];
                let options = RegisterOptions::new()
                    .with_ttl(Ttl::from_secs(self.rng.u64(1..4)).expect("a good TTL"))
                    .with_on_conflict(on_conflict[self.rng.usize(0..3)])
                    .with_token(OwnerToken::from_u128(u128::from(self.rng.u64(..))))
                    .with_claim(Incarnation::new(self.rng.u64(1..1000)));
                let again = self.rng.bool();
                // Two that are registered, and fall due, at one moment.
                let twin = InstanceId::new(format!("t{}", self.rng.u32(0..3))).expect("a good id");
                for id in [first, twin] {
                    let instance = self.writers_instance(&service, &id);
                    let (registry, leases, options) =
                        (Arc::clone(&registry), Arc::clone(&leases), options.clone());
                    self.tasks.spawn(async move {
                        // Tried twice with one token when the first answer is lost; at times although it was not.
                        for attempt in 0..2 {
                            let answer =
                                timeout(Duration::from_secs(2), registry.register(&instance, &options)).await;
                            if let Ok(Ok(registration)) = answer {
                                lock(&leases).push(registration.lease);
                                if attempt == 0 && again {
                                    continue;
                                }
                                return;
                            }
                        }
                    });
                }
            }
        }
    }

    fn writers_instance(&mut self, service: &ServiceName, id: &InstanceId) -> Instance {
        let weight = self.rng.u32(0..10_000);
        let built = Instance::builder(service).id(id).endpoint("127.0.0.1:9").weight(weight).build();
        built.expect("a good instance")
    }

    fn look_up(&mut self) {
        let registry = Arc::clone(&self.clients[self.rng.usize(0..CLIENTS)].registry);
        let service = self.some_name();
        let all = self.rng.u32(0..5) == 0;
        self.tasks.spawn(async move {
            if all {
                let _ = timeout(Duration::from_secs(2), registry.services("user")).await;
            }
            let _ = timeout(Duration::from_secs(2), registry.lookup(&service)).await;
        });
    }

    fn open_some_view(&mut self) {
        let (client, service) = (self.rng.usize(0..CLIENTS), self.some_service());
        if self.views.len() < 8 {
            self.open_view(client, service);
        }
    }

    fn open_view(&mut self, client: usize, service: usize) {
        self.views.push(self.directories[client].view(&self.services[service]));
    }

    fn look_at_views(&mut self) {
        for (number, view) in self.views.iter().enumerate() {
            let state = view.state();
            let proven = match state.freshness() {
                Freshness::Live { proven } => Some(*proven),
                _ => None,
            };
            self.history.push(Record::Viewed {
                view: number,
                service: view.service().clone(),
                at: Instant::now(),
                snapshot: state.snapshot().cloned(),
                proven,
            });
        }
    }

    fn watch(&mut self) {
        let (client, service) = (self.rng.usize(0..CLIENTS), self.some_service());
        if self.watchers.len() < 6 {
            self.open_watcher(client, service, None);
        }
    }

    fn open_watcher(&mut self, client: usize, service: usize, from: Option<Cursor>) {
        let number = self.next_watcher;
        self.next_watcher += 1;
        let service = self.services[service].clone();
        let folded = Arc::new(Mutex::new(Folding { cursor: from, ..Folding::default() }));
        let mut watch = self.clients[client].registry.watch(&service, from);
        let mut rng = fastrand::Rng::with_seed(self.rng.u64(..));
        let lazy = self.rng.bool();
        let (history, calm) = (self.history.clone(), Arc::clone(&self.calm));
        let (watched, folding) = (service.clone(), Arc::clone(&folded));
        self.history.note(format!("watcher {number} of {service} starts on client {client}"));
        let stop = self.tasks.spawn(async move {
            while let Some(event) = watch.next().await {
                {
                    let mut folding = lock(&folding);
                    folding.cursor = event.cursor().or(folding.cursor);
                    folding.last = Some(Instant::now());
                    let started = folding.snapshot.is_some() || from.is_none();
                    let refused = fold(&mut folding.snapshot, &event) == Folded::Refused;
                    folding.refused += usize::from(refused && started);
                }
                history.push(Record::Saw {
                    watcher: number,
                    service: watched.clone(),
                    from,
                    at: Instant::now(),
                    seen: Seen::from(event),
                });
                if lazy && rng.u32(0..8) == 0 && !calm.load(std::sync::atomic::Ordering::Relaxed) {
                    // A consumer that is slow: the thing itself.
                    sleep(Duration::from_millis(rng.u64(0..9_000))).await;
                }
            }
        });
        self.watchers.push(Watcher { service, stop, folded });
    }

    /// Stops a watcher; half the time another one goes on from where it was.
    fn stop_watching(&mut self) {
        if self.watchers.is_empty() {
            return;
        }
        let watcher = self.watchers.swap_remove(self.rng.usize(0..self.watchers.len()));
        watcher.stop.abort();
        let cursor = lock(&watcher.folded).cursor;
        if let Some(cursor) = cursor.filter(|_| self.rng.bool()) {
            let client = self.rng.usize(0..CLIENTS);
            let service = self.services.iter().position(|service| *service == watcher.service).unwrap_or(0);
            self.open_watcher(client, service, Some(cursor));
        }
    }

    /// The nemesis.
    fn strike(&mut self) {
        let controls = self.store.controls();
        let at = self.rng.usize(0..CLIENTS);
        let client = self.clients[at].clone();
        let lasting = Duration::from_millis(self.rng.u64(50..15_000));
        let service = self.some_name();
        let id = InstanceId::new(format!("p{}", self.rng.u32(0..3))).expect("a good id");
        let fault = match self.rng.u32(0..13) {
            0 | 1 => {
                client.store.controls().outage();
                self.tasks.spawn(async move {
                    sleep(lasting).await;
                    client.store.controls().heal();
                });
                format!("outage of client {at} for {lasting:?}")
            }
            2 => {
                client.store.controls().black_hole();
                self.tasks.spawn(async move {
                    sleep(lasting).await;
                    client.store.controls().heal();
                });
                format!("black hole at client {at} for {lasting:?}")
            }
            3..6 => {
                client.faults.set_plan(FaultPlan::stormy());
                self.tasks.spawn(async move {
                    sleep(lasting).await;
                    client.faults.set_plan(FaultPlan::default());
                });
                format!("storm at client {at} for {lasting:?}")
            }
            6 => {
                client.store.controls().set_latency(Duration::from_millis(self.rng.u64(1..400)));
                format!("latency at client {at}")
            }
            7 | 8 => {
                // Cut off, so that what is forgotten is missed.
                for client in &self.clients {
                    client.store.controls().outage();
                }
                let (clients, controls) = (self.clients.clone(), controls.clone());
                self.tasks.spawn(async move {
                    sleep(lasting).await;
                    controls.compact();
                    clients.iter().for_each(|client| client.store.controls().heal());
                });
                format!("compaction during an outage of all for {lasting:?}")
            }
            9 => {
                controls.wipe();
                "wipe".into()
            }
            10 => match self.checkpoint.take() {
                Some(checkpoint) => {
                    controls.restore(&checkpoint);
                    "restore".into()
                }
                None => {
                    self.checkpoint = Some(controls.checkpoint());
                    "backup".into()
                }
            },
            11 => format!("operator deletes {service} {id}: {}", controls.delete(&service, &id)),
            _ => {
                let foreign = Instance::builder(&service).id(&id).endpoint("127.0.0.1:7").build();
                controls.overwrite(&foreign.expect("a good instance"));
                format!("foreign writer overwrites {service} {id}")
            }
        };
        self.history.note(format!("NEMESIS {fault}"));
    }

    async fn finish(mut self) -> Report {
        self.calm.store(true, std::sync::atomic::Ordering::Relaxed);
        self.history.note("HEAL");
        for client in &self.clients {
            client.store.controls().heal();
            client.store.controls().set_latency(Duration::ZERO);
            client.faults.set_on(false);
        }
        self.guarded.heal();
        sleep(HEALED).await;
        self.look_at_views();
        self.guarded.look();
        let mut violations = self.converged().await;
        self.recovered(&mut violations).await;

        let views = std::mem::take(&mut self.views);
        drop((views, std::mem::take(&mut self.directories), std::mem::take(&mut self.processes)));
        drop(self.guarded);
        self.tasks.shutdown().await;
        sleep(Duration::from_secs(6)).await;
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let feeds = self.store.controls().watchers();
        if tasks + feeds > 0 {
            let what = format!("{tasks} tasks and {feeds} feeds are left when all is dropped");
            violations.push(Violation { invariant: "nothing leaks", what });
        }

        let records = self.history.take();
        violations.extend(check::check(&records, &self.store.controls().journal()));
        let operations = records.iter().filter(|record| matches!(record, Record::Asked(_))).count();
        let trace = self.history.render(&records);
        Report { seed: self.seed, operations, faults: self.faults, violations, trace }
    }

    /// I8: every watcher and every view has what a lookup gives.
    async fn converged(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let truth = super::truth::Truth::new(&self.store.controls().journal());
        let now = Instant::now();
        for service in &self.services {
            let Ok(list) = self.store.lookup(service).await else { continue };
            let same = |snapshot: Option<&Snapshot>| {
                snapshot.is_some_and(|snapshot| snapshot.iter().eq(list.iter()))
            };
            for (number, view) in self.views.iter().enumerate().filter(|(_, view)| view.service() == service)
            {
                let state = view.state();
                if !same(state.snapshot()) || !matches!(state.freshness(), Freshness::Live { .. }) {
                    let what = format!("view {number} of {service} is {state:?}, the list is {list:?}");
                    found.push(Violation { invariant: "I8 convergence", what });
                }
            }
            if service == self.guarded.service() {
                let unlike = self.guarded.unlike(&list);
                found.extend(unlike.into_iter().map(|what| Violation { invariant: "I8 convergence", what }));
            }
            for watcher in self.watchers.iter().filter(|watcher| watcher.service == *service) {
                let folding = lock(&watcher.folded);
                // One that resumed from a cursor has only the changes since: it must be where the store is.
                let caught_up = match &folding.snapshot {
                    Some(snapshot) => same(Some(snapshot)),
                    None => folding
                        .cursor
                        .is_some_and(|cursor| truth.missing(service, cursor, list.cursor()) == 0),
                };
                let silent = folding.last.is_none_or(|last| now > last + check::PROOF);
                if folding.refused > 0 || !caught_up || silent {
                    let what = format!("a watcher of {service} folded {folding:?}, the list is {list:?}");
                    found.push(Violation { invariant: "I8 convergence", what });
                }
            }
        }
        found
    }

    /// I11, I12 and I14: of the processes of an id the newest one that runs is registered, with what it wants to publish; every older
    /// one is fenced; and nobody is listed who should not be.
    async fn recovered(&self, found: &mut Vec<Violation>) {
        let incarnations = self.history.registered();
        for service in &self.services {
            let Ok(list) = self.store.lookup(service).await else { continue };
            for number in 0..3 {
                let id = InstanceId::new(format!("p{number}")).expect("a good id");
                let of_id = |process: &&Process| process.service == *service && process.id == id;
                let all: Vec<_> = self.processes.iter().filter(of_id).collect();
                let running: Vec<_> =
                    all.iter().filter(|process| lock(&process.intent).life == Life::Running).collect();
                let registered: Vec<_> =
                    running.iter().filter(|process| process.states.get().is_registered()).collect();
                let listed = list.get(&id).filter(|entry| entry.incarnation().get() > 0);
                let mut tell = |invariant, what: String| found.push(Violation { invariant, what });
                if registered.len() > 1 {
                    tell(
                        "I12 fencing",
                        format!("{} processes think that they hold {service} {id}", registered.len()),
                    );
                }
                match (registered.first(), listed) {
                    (Some(process), Some(entry)) => {
                        let wanted = &lock(&process.intent).instance;
                        if entry.instance() != wanted {
                            tell("I14 self-heal", format!("{entry:?} is listed, {wanted:?} should be"));
                        }
                    }
                    (Some(_), None) => {
                        tell("I11 acknowledged kept", format!("{service} {id} is registered and not listed"))
                    }
                    (None, Some(entry)) => {
                        tell("I9 no ghost", format!("{entry:?} is listed, and nobody holds it"))
                    }
                    (None, None) => {}
                }
                // The highest incarnation of an id wins it; a lower one has been fenced, and returns if it was told to.
                let rank = |process: &&&Process| incarnations.get(&process.token.as_u128()).copied();
                let highest = all.iter().max_by_key(rank);
                let newest_runs = highest.is_some_and(|process| lock(&process.intent).life == Life::Running);
                let may_return =
                    running.iter().any(|process| process.when_fenced == WhenFenced::ReturnWhenAbsent);
                if registered.is_empty() && (newest_runs || may_return) {
                    let states: Vec<_> = running.iter().map(|process| process.states.get()).collect();
                    tell(
                        "I14 self-heal",
                        format!("{service} {id} has processes and none is registered: {states:?}"),
                    );
                }
                for process in &running {
                    let state = process.states.get();
                    if !matches!(*state, RegistrarState::Registered { .. } | RegistrarState::Fenced { .. }) {
                        tell("I14 self-heal", format!("a process of {service} {id} is {state:?}"));
                    }
                }
            }
        }
    }
}
