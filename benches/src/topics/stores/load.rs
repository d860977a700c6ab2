//! Loading a service of a hundred thousand instances, and what that takes of memory.

mod fill;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use async_trait::async_trait;
use comparisons::experiment::Trouble;
use comparisons::lab::Lab;
use etcd_client::{GetOptions, GetResponse};
use redis::{Value, cmd};
use registry_core::{Directory, Registry, ServiceName};
use tokio::process::Command;
use tokio::time::Instant;

use super::{Server, Store};
use crate::bars::{Bar, Bound};
use crate::clients::{Keys, Ours, RawEtcd, RawRedis};
use crate::contest::{Arm, Arms, Contest, PREPARED, Topic};
use crate::{load_once, step};

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
const VIEW_MEMORY: &str = "ours, a view's memory";

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
                Bar::alone(
                    concat!("peak memory of a view's first snapshot of them on ", $store, " / the data"),
                    PEAK,
                    VIEW_MEMORY,
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
    instances: usize,
    program: Option<PathBuf>,
}

/// The topic of loading from `store`.
#[must_use]
pub fn topic(store: Store) -> Box<dyn Topic> {
    Box::new(Loads::new(store))
}

impl Loads {
    /// From `store`, of as many instances as its bars are about.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, instances: INSTANCES, program: None }
    }

    /// Of so many instances, at least one: to see it work, since the bars are about 100,000.
    #[must_use]
    pub fn with_instances(mut self, instances: usize) -> Self {
        self.instances = instances;
        self
    }

    /// Where the program of this crate is, of which a process loads alone. This process is one by default.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }
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
        let bytes = fill::fill(&server, SERVICE, self.instances).await?;
        let program = match &self.program {
            Some(program) => program.clone(),
            None => step::this_program()?,
        };
        let instances = self.instances;
        // A connection is made with the arm, as the raw client's is.
        let connected = |loader: fn(Arc<dyn Registry>) -> Loader| {
            let (ours, server) = (server.registry().map(Ours::new), Arc::clone(&server));
            async move {
                let loader = loader(Arc::clone(ours?.connected().await?.registry()));
                Ok(Loading { loader, instances, _server: server })
            }
        };
        let memory = |view| {
            let loader = Loader::Elsewhere { program: program.clone(), url: server.url(), bytes, view };
            Loading { loader, instances, _server: Arc::clone(&server) }
        };
        let (by_lookup, by_view) = (memory(false), memory(true));
        let raw = || {
            let (store, server) = (self.store, Arc::clone(&server));
            async move {
                let loader = match store {
                    Store::Etcd => Loader::Etcd(Box::new(RawEtcd::connect(&server.url()).await?)),
                    Store::Redis => Loader::Redis(RawRedis::connect(&server.url()).await?),
                };
                Ok(Loading { loader, instances, _server: server })
            }
        };
        let arms = Arms::default()
            .with("ours", connected(Loader::Lookup))
            .with("raw", raw())
            .with("raw again", raw())
            .with(VIEW, connected(Loader::View))
            .with(MEMORY, async { Ok(by_lookup) })
            .with(VIEW_MEMORY, async { Ok(by_view) });
        arms.make(&mut lab.random(PREPARED)).await
    }

    fn rounds(&self, lab: &Lab) -> u32 {
        lab.by_scale(3, 8)
    }

    // It takes long to fill a store.
    fn steps(&self, lab: &Lab) -> u32 {
        lab.by_scale(3, 6)
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
    /// In another process, by a lookup or by a view.
    Elsewhere { program: PathBuf, url: String, bytes: u64, view: bool },
}

/// An arm.
struct Loading {
    loader: Loader,
    instances: usize,
    _server: Arc<Server>,
}

#[async_trait]
impl Arm for Loading {
    async fn play(&mut self) -> Result<Vec<(&'static str, f64)>, Trouble> {
        let service = ServiceName::new(SERVICE)?;
        let begun = Instant::now();
        // What was loaded, decoded or not, is given back only after the clock was read: giving it back is no part of loading.
        let (found, elapsed) = match &self.loader {
            Loader::Lookup(registry) => {
                let registry = Arc::clone(registry);
                let snapshot = in_a_task(async move { Ok(registry.lookup(&service).await?) }).await?;
                let elapsed = begun.elapsed();
                (snapshot.len(), elapsed)
            }
            Loader::View(registry) => {
                let view = Directory::new(Arc::clone(registry)).view(&service);
                view.ready().await;
                let elapsed = begun.elapsed();
                (view.load().snapshot().map_or(0, |snapshot| snapshot.len()), elapsed)
            }
            Loader::Etcd(raw) => {
                let raw = raw.clone();
                let pages = in_a_task(async move { range(&raw).await }).await?;
                let elapsed = begun.elapsed();
                (pages.iter().map(|page| page.kvs().len()).sum(), elapsed)
            }
            Loader::Redis(raw) => {
                let raw = raw.clone();
                let pages = in_a_task(async move { scan(&raw).await }).await?;
                let elapsed = begun.elapsed();
                (pages.iter().map(|page| page.len() / 2).sum(), elapsed)
            }
            Loader::Elsewhere { program, url, bytes, view } => {
                let peak = peak(program, url, *view, self.instances).await?;
                return Ok(vec![("peak_bytes", peak), (PEAK, peak / *bytes as f64)]);
            }
        };
        if found != self.instances {
            let instances = self.instances;
            return Err(Trouble::failed(format!("{found} of {instances} instances were loaded")));
        }
        Ok(vec![(LOAD, elapsed.as_secs_f64())])
    }
}

async fn in_a_task<T: Send + 'static>(
    work: impl Future<Output = Result<T, Trouble>> + Send + 'static,
) -> Result<T, Trouble> {
    tokio::spawn(work).await.map_err(|error| Trouble::Failed(Box::new(error)))?
}

/// All pages, as they came.
async fn range(raw: &RawEtcd) -> Result<Vec<GetResponse>, Trouble> {
    let mut kv = raw.kv();
    let (start, end) = RawEtcd::range(SERVICE);
    let (mut start, mut at, mut pages) = (start.into_bytes(), 0, Vec::new());
    loop {
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let options = GetOptions::new().with_range(end.as_str()).with_limit(limit).with_revision(at);
        let page = kv.get(start, Some(options)).await?;
        if at == 0 {
            at = page.header().map_or(0, |header| header.revision());
        }
        // The first key after the last one.
        let next = page.kvs().last().filter(|_| page.more()).map(|last| [last.key(), &[0]].concat());
        pages.push(black_box(page));
        match next {
            Some(next) => start = next,
            None => return Ok(pages),
        }
    }
}

/// All pages, as they came.
async fn scan(raw: &RawRedis) -> Result<Vec<Vec<Value>>, Trouble> {
    let (mut connection, keys) = (raw.connection(), Keys::of(SERVICE));
    let (mut cursor, mut pages) = ("0".to_owned(), Vec::new());
    loop {
        let mut scan = cmd("HSCAN");
        scan.arg(&keys.instances).arg(&cursor).arg("COUNT").arg(PAGE);
        let (next, page): (String, Vec<Value>) = scan.query_async(&mut connection).await?;
        pages.push(black_box(page));
        if next == "0" {
            return Ok(pages);
        }
        cursor = next;
    }
}

/// By how much the memory of a process that loads it once grows at most, in bytes.
async fn peak(program: &Path, url: &str, view: bool, instances: usize) -> Result<f64, Trouble> {
    let mut command = Command::new(program);
    command.args(load_once::arguments(url, SERVICE, view)).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await?;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match load_once::parse(&text) {
        Some((peak, found)) if found == instances && output.status.success() => Ok(peak),
        _ => Err(Trouble::failed(format!("the process that loads says {text:?}, {errors:?}"))),
    }
}
