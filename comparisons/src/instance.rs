//! A process that is one instance: it registers and sends heartbeats, until it is killed or whoever started it ends.

use std::io::{Read, stdin};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use registry_core::{Registrar, RegistrarOptions, Ttl};
use registry_etcd::{EtcdOptions, EtcdRegistry};
use registry_redis::{RedisOptions, RedisRegistry};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use crate::contestants::{Contestant, NaiveHash, NaiveKey, Ours, Place, instance};
use crate::experiment::Trouble;

/// How often heartbeats are sent within one TTL, as users do and as registrars do.
const BEATS: u32 = 3;

/// Which registry an instance uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// `registry-etcd`.
    Etcd,
    /// `registry-redis`, one server.
    Redis,
    /// `redis-naive hash`.
    NaiveHash,
    /// `redis-naive key`.
    NaiveKey,
}

/// Options of `instance`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Which registry
    #[arg(long)]
    pub kind: Kind,
    /// Where its servers are: URLs of etcd, or the address of a Redis
    #[arg(long, value_delimiter = ',')]
    pub at: Vec<String>,
    /// The service
    #[arg(long)]
    pub service: String,
    /// The instance
    #[arg(long)]
    pub id: String,
    /// Its time to live, in milliseconds
    #[arg(long)]
    pub ttl_ms: u64,
    /// What the jitter of its heartbeats comes from
    #[arg(long)]
    pub seed: u64,
}

/// A client of a registry.
///
/// # Errors
/// What is wrong with `at`.
pub fn client(kind: Kind, at: &[String]) -> Result<Arc<dyn Contestant>, Trouble> {
    Ok(match kind {
        Kind::Etcd | Kind::Redis => Arc::new(ours(kind, at)?),
        Kind::NaiveHash => Arc::new(NaiveHash::new(place(at)?)),
        Kind::NaiveKey => Arc::new(NaiveKey::new(place(at)?)),
    })
}

fn ours(kind: Kind, at: &[String]) -> Result<Ours, Trouble> {
    Ok(match kind {
        Kind::Etcd => Ours::new(EtcdRegistry::new(EtcdOptions::new(at.iter().cloned()))?),
        _ => {
            Ours::new(RedisRegistry::new(RedisOptions::standalone(at.first().cloned().unwrap_or_default()))?)
        }
    })
}

fn place(at: &[String]) -> Result<Place, Trouble> {
    let address = at.first().and_then(|at| at.parse().ok());
    Ok(Place::Server(address.ok_or_else(|| Trouble::failed(format!("no address of a Redis: {at:?}")))?))
}

/// Is the instance until standard input ends.
///
/// # Errors
/// If it cannot be registered.
pub async fn run(options: &Options) -> Result<(), Trouble> {
    let ttl = Duration::from_millis(options.ttl_ms);
    match options.kind {
        Kind::Etcd | Kind::Redis => {
            let registry = Arc::clone(ours(options.kind, &options.at)?.registry());
            let instance = instance(&options.service, &options.id, 1)?;
            let registrar_options =
                RegistrarOptions::default().with_ttl(Ttl::new(ttl)?).with_seed(options.seed);
            let registrar = Registrar::start(registry, instance, registrar_options);
            closed().await?;
            registrar.abandon();
            Ok(())
        }
        Kind::NaiveHash | Kind::NaiveKey => {
            let client = client(options.kind, &options.at)?;
            let member = client.register(&options.service, &options.id, 1, ttl).await?;
            let beat = async {
                let mut beats = interval(ttl / BEATS);
                beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    beats.tick().await;
                    // The next one mends what this one could not.
                    let _ = member.renew().await;
                }
            };
            tokio::select! {
                closed = closed() => closed,
                () = beat => Ok(()),
            }
        }
    }
}

/// Nothing is ever sent: it ends when whoever started this process has ended.
async fn closed() -> Result<(), Trouble> {
    let (end, ended) = oneshot::channel();
    // On a thread of its own, which ends with the process: a read cannot be given up.
    std::thread::Builder::new().name("standard input".to_owned()).spawn(move || {
        let read = stdin().read_to_end(&mut Vec::new());
        let _ = end.send(read.map(drop));
    })?;
    match ended.await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Ok(()),
    }
}
