//! What the tests share: instances, clients, waiting, and a record of everything that a watch told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use registry_core::{
    Change, Cursor, Instance, RegisterOptions, Registrar, RegistrarOptions, Registry, ResetCause, Revision,
    ServiceName, Snapshot, Ttl, WatchEvent, fold,
};
use registry_etcd::{EtcdOptions, EtcdRegistry, Layout};
use registry_testing::servers::etcd::{Etcd, EtcdOptions as ServerOptions};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// How long a condition may take, where no promise says less.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn user() -> ServiceName {
    ServiceName::new("user.rpc").unwrap()
}

pub(crate) fn instance(n: usize) -> Instance {
    let endpoint = format!("10.{}.{}.{}:8080", n / 62_500, n / 250 % 250, n % 250 + 1);
    Instance::builder(user()).endpoint(endpoint).build().unwrap()
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
    if let Some(program) = std::env::var_os("REGISTRY_TEST_ETCD") {
        options.program = program.into();
    }
    options
}

/// A key as it lies in etcd.
#[derive(Debug)]
pub(crate) struct RawKey {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) lease: i64,
}

/// All keys that begin with `prefix`.
pub(crate) async fn raw_keys(etcd: &Etcd, prefix: &str) -> Vec<RawKey> {
    let end = match prefix.as_bytes().split_last() {
        Some((last, rest)) => [rest, &[last + 1]].concat(),
        None => vec![0],
    };
    let start = if prefix.is_empty() { &[0][..] } else { prefix.as_bytes() };
    let body = json!({ "key": STANDARD.encode(start), "range_end": STANDARD.encode(end) });
    let answer = etcd.ask("/v3/kv/range", body).await.unwrap();
    let text = |field: &Value| {
        String::from_utf8_lossy(&STANDARD.decode(field.as_str().unwrap_or_default()).unwrap()).into_owned()
    };
    let key = |kv: &Value| RawKey {
        key: text(&kv["key"]),
        value: text(&kv["value"]),
        lease: kv["lease"].as_str().map_or(0, |lease| lease.parse().unwrap()),
    };
    answer["kvs"].as_array().map(|kvs| kvs.iter().map(key).collect()).unwrap_or_default()
}

pub(crate) fn registry_in(layout: Layout, endpoints: impl IntoIterator<Item = String>) -> EtcdRegistry {
    EtcdRegistry::new(EtcdOptions::new(endpoints).with_layout(layout)).unwrap()
}

/// A client that asks the first of `endpoints` first.
pub(crate) fn registry(endpoints: impl IntoIterator<Item = String>) -> EtcdRegistry {
    EtcdRegistry::new(EtcdOptions::new(endpoints).with_first_member(0)).unwrap()
}

pub(crate) fn registrar(registry: &EtcdRegistry, n: usize, secs: u64) -> Registrar {
    let options = RegistrarOptions::default().with_ttl(ttl(secs));
    Registrar::start(Arc::new(registry.clone()), instance(n), options)
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
    pub(crate) view: Option<Snapshot>,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) stale: bool,
}

impl Record {
    pub(crate) async fn start(registry: &EtcdRegistry) -> Self {
        let record = Self::begin(registry);
        eventually("the first snapshot", PATIENCE, async || {
            record.told(|told| told.view.is_some().then_some(()))
        })
        .await;
        record
    }

    pub(crate) fn begin(registry: &EtcdRegistry) -> Self {
        let mut watch = registry.watch(&user(), None);
        let told = Arc::new(Mutex::new(Told::default()));
        let shared = Arc::clone(&told);
        let task = tokio::spawn(async move {
            while let Some(event) = watch.next().await {
                let mut told = shared.lock().unwrap();
                match &event {
                    WatchEvent::Reset { cause, .. } => told.resets.push(*cause),
                    WatchEvent::Changes(batch) => {
                        let at = batch.cursor.revision();
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
                fold(&mut told.view, &event);
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
