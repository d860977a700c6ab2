//! Loading a service of a hundred thousand instances, and what that takes of memory.

mod fill;

use std::hint::black_box;
use std::process::Stdio;
use std::sync::Arc;

use async_trait::async_trait;
use comparisons::experiment::Trouble;
use comparisons::lab::Lab;
use etcd_client::GetOptions;
use redis::{Value, cmd};
use registry_core::{Directory, Registry, ServiceName};
use tokio::process::Command;
use tokio::time::Instant;

use super::{Arms, Preparations, Server, Store};
use crate::bars::{Bar, Bound};
use crate::clients::{Keys, RawEtcd, RawRedis};
use crate::contest::{Arm, Contest, Topic};
use crate::load_once;

/// How long loading takes, in seconds.
pub const LOAD: &str = "load_s";
const PEAK: &str = "peak_ratio";

/// As many as the bar is about.
const INSTANCES: usize = 100_000;
const SERVICE: &str = "load.rpc";
/// As the registry does by default.
const PAGE: usize = 1_000;

/// The first snapshot of a view.
pub const VIEW: &str = "ours, a view";
/// In a process of its own, whose memory is looked at.
const MEMORY: &str = "ours, its memory";

const MOST_TIME: Bound = Bound::AtMost(1.5);
const MOST_MEMORY: Bound = Bound::AtMost(3.0);

macro_rules! bars {
    ($store:literal, $raw:literal) => {
        const {
            &[
                Bar::new(concat!("load of 100,000 instances from ", $store, " / ", $raw), LOAD, MOST_TIME),
                Bar::told(
                    concat!("first snapshot of a view of them on ", $store, " / ", $raw),
                    LOAD,
                    VIEW,
                    "raw",
                ),
                Bar::alone(
                    concat!("peak memory of loading them from ", $store, " / the data"),
                    PEAK,
                    MEMORY,
                    MOST_MEMORY,
                ),
            ]
        }
    };
}

/// Loading from a store.
#[derive(Debug)]
pub struct Loads {
    store: Store,
    preparations: Preparations,
}

/// The topic of loading from `store`.
#[must_use]
pub fn topic(store: Store) -> Box<dyn Topic> {
    Box::new(Loads { store, preparations: Preparations::default() })
}

#[async_trait]
impl Topic for Loads {
    fn name(&self) -> &'static str {
        match self.store {
            Store::Etcd => "load-etcd",
            Store::Redis => "load-redis",
        }
    }

    fn bars(&self) -> &'static [Bar] {
        match self.store {
            Store::Etcd => bars!("etcd", "raw paged range, undecoded"),
            Store::Redis => bars!("Redis", "raw HSCAN, undecoded"),
        }
    }

    async fn prepare(&self, lab: &Lab) -> Result<Contest, Trouble> {
        let server = Server::start(self.store, lab).await?;
        let bytes = fill::fill(&server, SERVICE, INSTANCES).await?;
        let arm = |loader| Loading { loader, _server: Arc::clone(&server) };
        let lookup = arm(Loader::Lookup(server.registry()?));
        let view = arm(Loader::View(server.registry()?));
        let memory = arm(Loader::Elsewhere { url: server.url(), bytes });
        let raw = || {
            let (store, server) = (self.store, Arc::clone(&server));
            async move {
                let loader = match store {
                    Store::Etcd => Loader::Etcd(Box::new(RawEtcd::connect(&server.url()).await?)),
                    Store::Redis => Loader::Redis(RawRedis::connect(&server.url()).await?),
                };
                Ok(Loading { loader, _server: server })
            }
        };
        let arms = Arms::default()
            .with("ours", async { Ok(lookup) })
            .with("raw", raw())
            .with("raw again", raw())
            .with(VIEW, async { Ok(view) })
            .with(MEMORY, async { Ok(memory) });
        self.preparations.make(arms).await
    }

    fn rounds(&self, lab: &Lab) -> u32 {
        lab.by_scale(4, 16)
    }
}

/// How it is loaded.
enum Loader {
    /// By a lookup through the trait.
    Lookup(Arc<dyn Registry>),
    /// By a view that is opened for it.
    View(Arc<dyn Registry>),
    /// Page by page at one revision.
    Etcd(Box<RawEtcd>),
    /// By `HSCAN`.
    Redis(RawRedis),
    /// By a lookup in another process.
    Elsewhere { url: String, bytes: u64 },
}

/// An arm.
struct Loading {
    loader: Loader,
    _server: Arc<Server>,
}

#[async_trait]
impl Arm for Loading {
    async fn play(&mut self) -> Result<Vec<(&'static str, f64)>, Trouble> {
        let service = ServiceName::new(SERVICE)?;
        let begun = Instant::now();
        // What was loaded is given back only after the clock was read: giving it back is no part of loading.
        let (found, elapsed) = match &self.loader {
            Loader::Lookup(registry) => {
                let registry = Arc::clone(registry);
                let snapshot = in_a_task(async move { Ok(registry.lookup(&service).await?) }).await?;
                (snapshot.len(), begun.elapsed())
            }
            Loader::View(registry) => {
                let view = Directory::new(Arc::clone(registry)).view(&service);
                view.ready().await;
                (view.load().snapshot().map_or(0, |snapshot| snapshot.len()), begun.elapsed())
            }
            Loader::Etcd(raw) => {
                let raw = raw.clone();
                (in_a_task(async move { range(&raw).await }).await?, begun.elapsed())
            }
            Loader::Redis(raw) => {
                let raw = raw.clone();
                (in_a_task(async move { scan(&raw).await }).await?, begun.elapsed())
            }
            Loader::Elsewhere { url, bytes } => {
                let peak = peak(url).await?;
                return Ok(vec![("peak_bytes", peak), (PEAK, peak / *bytes as f64)]);
            }
        };
        if found != INSTANCES {
            return Err(Trouble::failed(format!("{found} of {INSTANCES} instances were loaded")));
        }
        Ok(vec![(LOAD, elapsed.as_secs_f64())])
    }
}

async fn in_a_task<T: Send + 'static>(
    work: impl Future<Output = Result<T, Trouble>> + Send + 'static,
) -> Result<T, Trouble> {
    tokio::spawn(work).await.map_err(|error| Trouble::Failed(Box::new(error)))?
}

async fn range(raw: &RawEtcd) -> Result<usize, Trouble> {
    let mut kv = raw.kv();
    let (start, end) = RawEtcd::range(SERVICE);
    let (mut start, mut at, mut found) = (start.into_bytes(), 0, 0);
    loop {
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let options = GetOptions::new().with_range(end.as_str()).with_limit(limit).with_revision(at);
        let page = kv.get(start, Some(options)).await?;
        if at == 0 {
            at = page.header().map_or(0, |header| header.revision());
        }
        found += black_box(page.kvs()).len();
        match page.kvs().last().filter(|_| page.more()) {
            // The first key after the last one.
            Some(last) => start = [last.key(), &[0]].concat(),
            None => return Ok(found),
        }
    }
}

async fn scan(raw: &RawRedis) -> Result<usize, Trouble> {
    let (mut connection, keys) = (raw.connection(), Keys::of(SERVICE));
    let (mut cursor, mut found) = ("0".to_owned(), 0);
    loop {
        let mut scan = cmd("HSCAN");
        scan.arg(&keys.instances).arg(&cursor).arg("COUNT").arg(PAGE);
        let (next, page): (String, Vec<Value>) = scan.query_async(&mut connection).await?;
        found += black_box(page).len() / 2;
        if next == "0" {
            return Ok(found);
        }
        cursor = next;
    }
}

/// By how much the memory of a process that loads it once grows at most, in bytes.
async fn peak(url: &str) -> Result<f64, Trouble> {
    let program = std::env::current_exe()?;
    let mut command = Command::new(program);
    command.args(load_once::arguments(url, SERVICE)).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await?;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match load_once::parse(&text) {
        Some((peak, INSTANCES)) if output.status.success() => Ok(peak),
        _ => Err(Trouble::failed(format!("the process that loads says {text:?}, {errors:?}"))),
    }
}
