//! A process that is one instance: it registers and sends heartbeats, until it is killed or whoever started it ends.

use std::io::{Read, stdin};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use registry_core::{Registrar, RegistrarOptions, Ttl};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use crate::contestants::{Contestant, NaiveHash, NaiveKey, Ours, Place, instance};
use crate::experiment::Trouble;

/// How often heartbeats are sent within one TTL, as users do and as registrars do.
const BEATS: u32 = 3;

/// Which registry an instance uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// `registry-etcd` or `registry-redis`, by the URL.
    Ours,
    /// `redis-naive hash`.
    NaiveHash,
    /// `redis-naive key`.
    NaiveKey,
}

/// The URL of the servers is handed over by this variable, since it may hold a password, and arguments are seen by all.
pub const AT: &str = "COMPARISONS_INSTANCE_AT";

/// Options of `instance`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Which registry
    #[arg(long)]
    pub kind: Kind,
    /// The URL of its servers
    #[arg(long, env = AT, hide_env_values = true)]
    pub at: String,
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

/// A client of the registry at a URL.
///
/// # Errors
/// What is wrong with the URL.
pub async fn client(kind: Kind, at: &str) -> Result<Arc<dyn Contestant>, Trouble> {
    Ok(match kind {
        Kind::Ours => Arc::new(Ours::of(service_registry::connect(at).await?)),
        Kind::NaiveHash => Arc::new(NaiveHash::new(Place::Url(at.to_owned()))),
        Kind::NaiveKey => Arc::new(NaiveKey::new(Place::Url(at.to_owned()))),
    })
}

/// Is the instance until standard input ends.
///
/// # Errors
/// If it cannot be registered.
pub async fn run(options: &Options) -> Result<(), Trouble> {
    let ttl = Duration::from_millis(options.ttl_ms);
    match options.kind {
        Kind::Ours => {
            let registry = service_registry::connect(&options.at).await?;
            let instance = instance(&options.service, &options.id, 1)?;
            let registrar_options =
                RegistrarOptions::default().with_ttl(Ttl::new(ttl)?).with_seed(options.seed);
            let registrar = Registrar::start(registry, instance, registrar_options);
            closed().await?;
            registrar.abandon();
            Ok(())
        }
        Kind::NaiveHash | Kind::NaiveKey => {
            let client = client(options.kind, &options.at).await?;
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
