//! What the tests share: instances, clients, waiting, and a record of everything that a watch told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use registry_core::{
    Change, Cursor, Instance, InstanceId, RegisterOptions, Registrar, RegistrarOptions, Registry, ResetCause,
    Revision, ServiceName, Snapshot, Ttl, Watch, WatchEvent, fold,
};
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::servers::redis::{Redis, RedisOptions as ServerOptions, Reply};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// How long a condition may take, where no promise says less.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn user() -> ServiceName {
    ServiceName::new("user.rpc").unwrap()
}

pub(crate) fn instance(n: usize) -> Instance {
    instance_of(&user(), n)
}

pub(crate) fn instance_of(service: &ServiceName, n: usize) -> Instance {
    let endpoint = format!("10.{}.{}.{}:8080", n / 62_500, n / 250 % 250, n % 250 + 1);
    Instance::builder(service.clone()).endpoint(endpoint).build().unwrap()
}

pub(crate) fn weighing(n: usize, weight: u32) -> Instance {
    instance(n).to_builder().weight(weight).build().unwrap()
}

pub(crate) fn ttl(secs: u64) -> Ttl {
    Ttl::from_secs(secs).unwrap()
}

/// Options for what no test outlives.
pub(crate) fn lasting() -> RegisterOptions {
    RegisterOptions::new().with_ttl(ttl(3600))
}

/// Held by tests that need much of the machine, or measure time: one at a time.
pub(crate) static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// How the servers of these tests are started.
pub(crate) fn server() -> ServerOptions {
    let mut options = ServerOptions::default();
    if let Some(program) = std::env::var_os("REGISTRY_TEST_REDIS") {
        options.program = program.into();
    }
    options
}

/// A key of a service, as it lies in Redis.
pub(crate) fn key(service: &ServiceName, part: &str) -> String {
    format!("registry:{{{service}}}:{part}")
}

/// A number of `INFO`; 0 where there is none.
pub(crate) async fn info(redis: &Redis, name: &str) -> u64 {
    let info = redis.command(&["INFO", "everything"]).await.unwrap().text();
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

/// A command of the operator.
pub(crate) async fn admin(redis: &Redis, words: &str) -> Reply {
    redis.command(&words.split_whitespace().collect::<Vec<_>>()).await.unwrap()
}

/// A client of the server at an address.
pub(crate) fn registry(address: SocketAddr) -> RedisRegistry {
    RedisRegistry::new(RedisOptions::standalone(address.to_string())).unwrap()
}

pub(crate) fn registrar(registry: &RedisRegistry, n: usize, secs: u64) -> Registrar {
    registrar_of(registry, instance(n), secs)
}

pub(crate) fn registrar_of(registry: &RedisRegistry, instance: Instance, secs: u64) -> Registrar {
    let options = RegistrarOptions::default().with_ttl(ttl(secs));
    Registrar::start(Arc::new(registry.clone()), instance, options)
}

/// Waits until `check` gives something.
pub(crate) async fn eventually<T>(
    what: &str,
    within: Duration,
    mut check: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        let last = Instant::now() >= deadline;
        if let Some(value) = check().await {
            return value;
        }
        assert!(!last, "not within {within:?}: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Everything that a watch told, and when.
pub(crate) struct Record {
    told: Arc<Mutex<Told>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
pub(crate) struct Told {
    pub(crate) resets: Vec<ResetCause>,
    /// Revision and id of every change, in order.
    pub(crate) changes: Vec<(Revision, String)>,
    /// How many were deletions.
    pub(crate) deletions: usize,
    /// Ids that left the view, by a change or a `Reset`, and when.
    pub(crate) gone: Vec<(String, Instant)>,
    /// Revisions that were left out before these changes: each change has a revision of its own, so that is a silent gap.
    pub(crate) holes: Vec<Revision>,
    pub(crate) view: Option<Snapshot>,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) stale: bool,
}

impl Told {
    /// What has left since `before`. Of a change that is a look at what it is about: the service may be large.
    fn note_gone(&mut self, event: &WatchEvent, before: Option<&Snapshot>) {
        let (Some(before), Some(view)) = (before, &self.view) else { return };
        let now = Instant::now();
        let left = |id: &InstanceId| before.get(id).is_some() && view.get(id).is_none();
        match event {
            WatchEvent::Changes(batch) => {
                let ids = batch.changes.iter().map(Change::id).filter(|id| left(id));
                self.gone.extend(ids.map(|id| (id.to_string(), now)));
            }
            WatchEvent::Reset { .. } => {
                let ids = before.iter().map(|entry| entry.id()).filter(|id| left(id));
                self.gone.extend(ids.map(|id| (id.to_string(), now)));
            }
            _ => {}
        }
    }
}

impl Record {
    pub(crate) async fn start(registry: &RedisRegistry) -> Self {
        Self::begin(registry).with_view().await
    }

    /// Of any service.
    pub(crate) async fn of(registry: &RedisRegistry, service: &ServiceName) -> Self {
        Self::watching(registry.watch(service, None), None).with_view().await
    }

    async fn with_view(self) -> Self {
        eventually("the first snapshot", PATIENCE, async || {
            self.told(|told| told.view.is_some().then_some(()))
        })
        .await;
        self
    }

    pub(crate) fn begin(registry: &RedisRegistry) -> Self {
        Self::watching(registry.watch(&user(), None), None)
    }

    /// Goes on from what an earlier watch or a lookup has told.
    pub(crate) fn resume(registry: &RedisRegistry, from: Snapshot) -> Self {
        Self::watching(registry.watch(from.service(), Some(from.cursor())), Some(from))
    }

    fn watching(mut watch: Watch, from: Option<Snapshot>) -> Self {
        // What is resumed is stale until it is proven current.
        let told = Told {
            cursor: from.as_ref().map(Snapshot::cursor),
            stale: from.is_some(),
            view: from,
            ..Told::default()
        };
        let told = Arc::new(Mutex::new(told));
        let shared = Arc::clone(&told);
        let task = tokio::spawn(async move {
            while let Some(event) = watch.next().await {
                let mut told = shared.lock().unwrap();
                match &event {
                    WatchEvent::Reset { cause, .. } => {
                        told.stale = false;
                        told.resets.push(*cause);
                    }
                    WatchEvent::Changes(batch) => {
                        let at = batch.cursor.revision();
                        if told.cursor.is_some_and(|last| last.revision().get() + 1 != at.get()) {
                            told.holes.push(at);
                        }
                        for change in &batch.changes {
                            told.deletions += usize::from(matches!(change, Change::Delete { .. }));
                            let id = match change {
                                Change::Put(entry) => entry.id(),
                                Change::Delete { id, .. } => id,
                                other => panic!("{other:?}"),
                            };
                            told.changes.push((at, id.to_string()));
                        }
                    }
                    WatchEvent::Stale { .. } => told.stale = true,
                    WatchEvent::Live { .. } => told.stale = false,
                    _ => {}
                }
                told.cursor = event.cursor().or(told.cursor);
                let before = told.view.clone();
                fold(&mut told.view, &event);
                told.note_gone(&event, before.as_ref());
            }
        });
        Self { told, task }
    }

    pub(crate) fn told<T>(&self, look: impl FnOnce(&Told) -> T) -> T {
        look(&self.told.lock().unwrap())
    }

    /// Waits until the view has come to `revision`.
    pub(crate) async fn until_revision(&self, revision: Revision, within: Duration) {
        let what = format!("revision {revision} in a view");
        let there = async || {
            self.told(|told| told.view.as_ref().is_some_and(|view| view.revision() >= revision).then_some(()))
        };
        eventually(&what, within, there).await;
    }

    /// Waits until the view is what a lookup gives, and is current.
    pub(crate) async fn until_equal(&self, direct: &RedisRegistry, deadline: Instant) {
        eventually("the view is what is there", deadline - Instant::now(), async || {
            let listed = direct.lookup(&user()).await.ok()?;
            let same = |told: &Told| {
                let view = told.view.as_ref()?;
                (!told.stale && view.iter().eq(listed.iter())).then_some(())
            };
            self.told(same)
        })
        .await;
        self.told(|told| assert!(told.holes.is_empty(), "left out without a word: {:?}", told.holes));
    }

    /// Requires that every change acknowledged was told, none twice, in order, without a `Reset` after the first.
    pub(crate) fn require_whole(&self, acknowledged: &[Revision]) {
        self.told(|told| {
            assert_eq!(told.resets, [ResetCause::First], "nothing made a Reset necessary");
            let order: Vec<_> = told.changes.iter().map(|(at, _)| *at).collect();
            assert!(order.is_sorted_by(|a, b| a < b), "each once and in order: {order:?}");
            let missing: Vec<_> = acknowledged.iter().filter(|at| !order.contains(at)).collect();
            assert!(missing.is_empty(), "acknowledged and not told: {missing:?}");
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.task.abort();
    }
}
