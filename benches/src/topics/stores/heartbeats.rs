//! What it costs a client to keep ten thousand leases alive: processor time of this process alone, the servers' not counted.
//!
//! The leases are renewed once each, spread evenly over 3 s, about a third of the usual TTL, so that no server is at its limit. What is due at the same
//! time is sent together, but by the arm that tells what that spares. What the harness takes, which is measured beside them, is taken off both sides of the bar. A heartbeat here is what it is in the registry: on etcd it renews the lease and looks whether that still
//! holds its key; on Redis it is one script.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use comparisons::experiment::Trouble;
use comparisons::lab::Lab;
use etcd_client::{GetOptions, KvClient, LeaseKeepAliveStream, LeaseKeeper, Txn, TxnOp};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::{Value, pipe};
use registry_core::{Lease, Registry};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval};

use super::{OURS, RAW, Server, Store};
use crate::bars::{Bar, Bound};
use crate::clients::{
    Client, Ours, RawEtcd, RawEtcdLease, RawRedis, RawRedisLease, answer, instance, reads, register_all,
};
use crate::contest::{Arm, Arms, Contest, PREPARED, Topic};

/// Of this process, in seconds.
pub const CPU: &str = "cpu_s";
const ELAPSED: &str = "elapsed_s";

/// As many as the bar is about.
const LEASES: usize = 10_000;
/// So many are due at once.
const BATCH: usize = 10;
const EVERY: Duration = Duration::from_millis(3);
/// On either store.
const ARMS: u32 = 5;

/// A raw client that renews leases and does not look whether they hold anything.
const UNFENCED: &str = "raw, leases alone";
/// A raw client of Redis that sends each heartbeat by itself, as the trait's are called.
const APART: &str = "raw, each by itself";
/// The same ticks and tasks, and nothing is sent: how much of the others' time is that of the measuring.
const HARNESS: &str = "harness alone";

const MOST: Bound = Bound::AtMost(1.2);

/// Heartbeats on a store.
#[derive(Debug)]
pub struct Heartbeats {
    store: Store,
    leases: usize,
}

/// The topic of heartbeats on `store`.
#[must_use]
pub fn topic(store: Store) -> Box<dyn Topic> {
    Box::new(Heartbeats::new(store))
}

impl Heartbeats {
    /// On `store`, of as many leases as its bars are about.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, leases: LEASES }
    }

    /// Of so many leases, as often for each: to see it work, since the bars are about 10,000.
    #[must_use]
    pub fn with_leases(mut self, leases: usize) -> Self {
        self.leases = leases;
        self
    }
}

#[async_trait]
impl Topic for Heartbeats {
    fn name(&self) -> &'static str {
        match self.store {
            Store::Etcd => "heartbeats-etcd",
            Store::Redis => "heartbeats-redis",
        }
    }

    fn bars(&self) -> &'static [Bar] {
        match self.store {
            Store::Etcd => {
                const {
                    &[
                        Bar {
                            less: Some(HARNESS),
                            ..Bar::new(
                                "10,000 heartbeats on etcd, client CPU / raw pipelined client",
                                CPU,
                                MOST,
                            )
                        },
                        Bar::told(
                            "the same on etcd with what the harness takes, which is in both",
                            CPU,
                            "ours",
                            "raw",
                        ),
                        Bar::told(
                            "10,000 heartbeats on etcd, client CPU / renewing the leases alone, with the harness",
                            CPU,
                            "ours",
                            UNFENCED,
                        ),
                        Bar::told("the harness alone on etcd / raw pipelined client", CPU, HARNESS, "raw"),
                    ]
                }
            }
            Store::Redis => {
                const {
                    &[
                        Bar {
                            less: Some(HARNESS),
                            ..Bar::new(
                                "10,000 heartbeats on Redis, client CPU / raw pipelined client",
                                CPU,
                                MOST,
                            )
                        },
                        Bar::told(
                            "the same on Redis with what the harness takes, which is in both",
                            CPU,
                            "ours",
                            "raw",
                        ),
                        Bar {
                            less: Some(HARNESS),
                            ..Bar::told(
                                "10,000 heartbeats on Redis, client CPU / raw client that sends each by itself",
                                CPU,
                                "ours",
                                APART,
                            )
                        },
                        Bar {
                            less: Some(HARNESS),
                            ..Bar::told(
                                "10,000 heartbeats on Redis, client CPU of a raw client, each sent by itself / pipelined",
                                CPU,
                                APART,
                                "raw",
                            )
                        },
                        Bar::told("the harness alone on Redis / raw pipelined client", CPU, HARNESS, "raw"),
                    ]
                }
            }
        }
    }

    /// Each arm takes as long as it takes until all leases were due.
    fn round(&self) -> Duration {
        EVERY * u32::try_from(self.leases.div_ceil(BATCH)).unwrap_or(u32::MAX) * ARMS
    }

    async fn prepare(&self, lab: &Lab) -> Result<Contest, Trouble> {
        let server = Server::start(self.store, lab).await?;
        let leases = self.leases;
        let ours = OurBeats::prepare(Ours::new(server.registry()?), leases);
        let arms = Arms::default().with("ours", Beating::of(ours, &server));
        let arms = match self.store {
            Store::Etcd => {
                let raw = |service, fenced| EtcdBeats::prepare(server.url(), service, leases, fenced);
                arms.with("raw", Beating::of(raw(RAW[0], true), &server))
                    .with("raw again", Beating::of(raw(RAW[1], true), &server))
                    .with(UNFENCED, Beating::of(raw(RAW[2], false), &server))
            }
            Store::Redis => {
                let raw = |service, sent| RedisBeats::prepare(server.url(), service, leases, sent);
                arms.with("raw", Beating::of(raw(RAW[0], Sent::Together), &server))
                    .with("raw again", Beating::of(raw(RAW[1], Sent::Together), &server))
                    .with(APART, Beating::of(raw(RAW[2], Sent::Apart), &server))
            }
        };
        let nothing = async move { Ok(Nothing { leases }) };
        arms.with(HARNESS, Beating::of(nothing, &server)).make(&mut lab.random(PREPARED)).await
    }
}

/// Many leases, and who keeps them.
trait Beats: Clone + Send + Sync + 'static {
    /// How many there are.
    fn leases(&self) -> usize;

    /// One heartbeat for each of some leases that are due together.
    fn beat(&self, due: Range<usize>) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// What goes on beside that until all are answered.
    fn follow(&self) -> impl Future<Output = Result<(), Trouble>> + Send {
        std::future::ready(Ok(()))
    }
}

/// Sends what is due at its time, whether or not those before have been answered, and waits for all answers.
async fn beat_all(beats: impl Beats) -> Result<(), Trouble> {
    let sending = async {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut under_way = FuturesUnordered::new();
        let leases = beats.leases();
        for first in (0..leases).step_by(BATCH) {
            loop {
                tokio::select! {
                    biased;
                    _ = ticks.tick() => break,
                    Some(beaten) = under_way.next() => beaten?,
                }
            }
            under_way.push(beats.beat(first..(first + BATCH).min(leases)));
        }
        while let Some(beaten) = under_way.next().await {
            beaten?;
        }
        Ok(())
    };
    tokio::try_join!(sending, beats.follow()).map(drop)
}

/// An arm.
struct Beating<B> {
    beats: B,
    _server: Arc<Server>,
}

impl<B: Beats> Beating<B> {
    fn of(
        preparing: impl Future<Output = Result<B, Trouble>> + Send + 'static,
        server: &Arc<Server>,
    ) -> impl Future<Output = Result<Self, Trouble>> + Send + 'static {
        let server = Arc::clone(server);
        async move { Ok(Self { beats: preparing.await?, _server: server }) }
    }
}

#[async_trait]
impl<B: Beats> Arm for Beating<B> {
    async fn play(&mut self) -> Result<Vec<(&'static str, f64)>, Trouble> {
        let (begun, before) = (tokio::time::Instant::now(), cpu_time());
        let beating = tokio::spawn(beat_all(self.beats.clone()));
        beating.await.map_err(|error| Trouble::Failed(Box::new(error)))??;
        let cpu = cpu_time().saturating_sub(before);
        Ok(vec![(CPU, cpu.as_secs_f64()), (ELAPSED, begun.elapsed().as_secs_f64())])
    }
}

/// What all threads of this process have used.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Through the trait, as a registrar renews its lease.
#[derive(Clone)]
struct OurBeats {
    registry: Arc<dyn Registry>,
    leases: Arc<[Lease]>,
}

impl OurBeats {
    async fn prepare(client: Ours, count: usize) -> Result<Self, Trouble> {
        let leases = leases(&client, OURS, count).await?.into();
        Ok(Self { registry: Arc::clone(client.registry()), leases })
    }
}

impl Beats for OurBeats {
    fn leases(&self) -> usize {
        self.leases.len()
    }

    async fn beat(&self, due: Range<usize>) -> Result<(), Trouble> {
        // Each is a call of its own: that they go together is up to the registry. They share a task, where registrars have one each.
        all(self.leases[due]
            .iter()
            .map(async |lease| self.registry.keepalive(lease).await.map_err(Trouble::from)))
        .await
    }
}

/// One stream of heartbeats, and one transaction for all keys that are due together, which are always ten. There is rarely more to put into one: what is
/// due 3 ms later finds that these have been answered.
#[derive(Clone)]
struct EtcdBeats {
    kv: KvClient,
    leases: Arc<[RawEtcdLease]>,
    keeper: Arc<Mutex<LeaseKeeper>>,
    answers: Arc<Mutex<LeaseKeepAliveStream>>,
    fenced: bool,
}

impl EtcdBeats {
    async fn prepare(
        url: String,
        service: &'static str,
        count: usize,
        fenced: bool,
    ) -> Result<Self, Trouble> {
        let raw = RawEtcd::connect(&url).await?;
        let leases: Arc<[RawEtcdLease]> = leases(&raw, service, count).await?.into();
        let first = leases.first().ok_or_else(|| Trouble::failed("there are no leases"))?;
        let (keeper, answers) = raw.leases().keep_alive(first.id).await?;
        let (keeper, answers) = (Arc::new(Mutex::new(keeper)), Arc::new(Mutex::new(answers)));
        Ok(Self { kv: raw.kv(), leases, keeper, answers, fenced })
    }

    async fn look(&self, due: &[RawEtcdLease]) -> Result<(), Trouble> {
        let keys_only = || Some(GetOptions::new().with_keys_only());
        let gets: Vec<_> = due.iter().map(|lease| TxnOp::get(lease.key.as_str(), keys_only())).collect();
        let answer = self.kv.clone().txn(Txn::new().and_then(gets)).await?;
        let held = reads(answer).zip(due).filter(|(found, lease)| lease.holds(found.kvs().first()));
        if held.count() == due.len() { Ok(()) } else { Err(Trouble::failed("a lease does not hold its key")) }
    }
}

impl Beats for EtcdBeats {
    fn leases(&self) -> usize {
        self.leases.len()
    }

    async fn beat(&self, due: Range<usize>) -> Result<(), Trouble> {
        let due = &self.leases[due];
        let renew = async {
            let mut keeper = self.keeper.lock().await;
            for lease in due {
                keeper.id = lease.id;
                keeper.keep_alive().await?;
            }
            Ok(())
        };
        if self.fenced {
            return tokio::try_join!(renew, self.look(due)).map(drop);
        }
        renew.await
    }

    async fn follow(&self) -> Result<(), Trouble> {
        let mut answers = self.answers.lock().await;
        for _ in 0..self.leases.len() {
            if !matches!(answers.message().await?, Some(answer) if answer.ttl() > 0) {
                return Err(Trouble::failed("a lease is lost"));
            }
        }
        Ok(())
    }
}

/// How a raw client of Redis sends what is due together.
#[derive(Clone, Copy)]
enum Sent {
    /// By one pipeline, whose answers come at once.
    Together,
    /// Each as a request of its own, which is answered to who made it.
    Apart,
}

/// What is due together, by one connection.
#[derive(Clone)]
struct RedisBeats {
    client: RawRedis,
    leases: Arc<[RawRedisLease]>,
    sent: Sent,
}

impl RedisBeats {
    async fn prepare(url: String, service: &'static str, count: usize, sent: Sent) -> Result<Self, Trouble> {
        let client = RawRedis::connect(&url).await?;
        let leases = leases(&client, service, count).await?.into();
        Ok(Self { client, leases, sent })
    }

    async fn together(&self, due: &[RawRedisLease]) -> Result<(), Trouble> {
        let mut beats = pipe();
        for lease in due {
            beats.add_command(self.client.heartbeat(lease));
        }
        let answers: Vec<Value> = beats.query_async(&mut self.client.connection()).await?;
        answers.into_iter().try_for_each(|beaten| answer(beaten).map(drop))
    }

    async fn apart(&self, due: &[RawRedisLease]) -> Result<(), Trouble> {
        let beat = async |lease| {
            let beaten = self.client.heartbeat(lease).query_async(&mut self.client.connection()).await?;
            answer(beaten).map(drop)
        };
        all(due.iter().map(beat)).await
    }
}

/// Waits for all of some heartbeats, each of which is a future of its own.
async fn all(beats: impl Iterator<Item = impl Future<Output = Result<(), Trouble>>>) -> Result<(), Trouble> {
    let mut beats: FuturesUnordered<_> = beats.collect();
    while let Some(beaten) = beats.next().await {
        beaten?;
    }
    Ok(())
}

impl Beats for RedisBeats {
    fn leases(&self) -> usize {
        self.leases.len()
    }

    async fn beat(&self, due: Range<usize>) -> Result<(), Trouble> {
        match self.sent {
            Sent::Together => self.together(&self.leases[due]).await,
            Sent::Apart => self.apart(&self.leases[due]).await,
        }
    }
}

/// The harness alone.
#[derive(Clone)]
struct Nothing {
    leases: usize,
}

impl Beats for Nothing {
    fn leases(&self) -> usize {
        self.leases
    }

    async fn beat(&self, _: Range<usize>) -> Result<(), Trouble> {
        // As if there was an answer to wait for.
        tokio::task::yield_now().await;
        Ok(())
    }
}

async fn leases<C: Client>(client: &C, service: &str, count: usize) -> Result<Vec<C::Lease>, Trouble> {
    let published = (0..count).map(|number| Ok(client.publish(&instance(service, number, 100)?)));
    register_all(client, published.collect::<registry_core::Result<_>>()?).await
}
