//! The witness: past all faults, it follows every change to the end, and reads last.
//!
//! What it takes for the truth is independent of this project's watches: the journal of a store in memory, a watch of etcd read raw, and the logs in Redis read raw
//! from every server, past all proxies. Of a registry that people write there is no log, and no truth but the last reads.

mod chains;
mod etcd;
mod journal;
mod ledger;
mod redis;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::{Client, Connected, Variant};
use super::history::{Final, Line};
use super::recorder::Recorder;
use super::stand::Place;
use crate::experiment::Trouble;
use ledger::Ledger;
use registry_core::{ServiceName, Ttl};
use registry_memory::MemoryRegistry;

/// Past all faults. Dropping it ends it.
pub struct Witness {
    client: Box<dyn Client>,
    recorder: Recorder,
    truth: Truth,
}

/// Where it sees every change.
enum Truth {
    Journal(MemoryRegistry, ServiceName),
    Followed { over: watch::Sender<bool>, follower: JoinHandle<()> },
    None,
}

impl Witness {
    /// It begins to follow every change of `service`.
    ///
    /// # Errors
    /// What is wrong with the place.
    pub async fn start(
        place: &Place,
        variant: Variant,
        service: &ServiceName,
        ttl: Ttl,
        recorder: &Recorder,
    ) -> Result<Self, Trouble> {
        let connected = Connected::to(place, variant).await?;
        let client = connected.client("witness", service, ttl, recorder);
        let (over, ended) = watch::channel(false);
        let follower = match place {
            Place::Memory(registry) => {
                registry.controls().keep_journal();
                let truth = Truth::Journal(registry.clone(), service.clone());
                return Ok(Self { client, recorder: recorder.clone(), truth });
            }
            Place::NaiveUrl(_) => {
                return Ok(Self { client, recorder: recorder.clone(), truth: Truth::None });
            }
            Place::Group { servers, .. } => {
                let servers = redis::servers(servers);
                tokio::spawn(redis::follow(servers, service.clone(), recorder.clone(), ended))
            }
            Place::Url(url) => {
                if let Some(members) = etcd::members(url) {
                    let ledger = Ledger::new(recorder.clone());
                    tokio::spawn(etcd::follow(members, service.clone(), ledger, ended))
                } else if let Some(server) = redis::server(url) {
                    tokio::spawn(redis::follow(vec![server], service.clone(), recorder.clone(), ended))
                } else {
                    return Err(Trouble::failed(format!(
                        "nobody can read past its clients what is behind {url}"
                    )));
                }
            }
        };
        Ok(Self { client, recorder: recorder.clone(), truth: Truth::Followed { over, follower } })
    }

    /// Reads all instances for good.
    ///
    /// # Errors
    /// That they cannot be read, although everything was healed.
    pub async fn read(&self) -> Result<Final, Trouble> {
        let invoked = self.recorder.now();
        let Some(Some(read)) = super::client::patient(self.client.list()).await else {
            return Err(Trouble::failed("the witness cannot read what is listed"));
        };
        let last = Final { invoked, position: read.position, listed: read.listed };
        self.recorder.write(Line::Final(last.clone()));
        Ok(last)
    }

    /// Follows what was changed until now to its end, and ends.
    pub async fn end(mut self) {
        match &mut self.truth {
            Truth::Journal(registry, service) => {
                journal::write(
                    &registry.controls().journal(),
                    service,
                    &mut Ledger::new(self.recorder.clone()),
                );
            }
            Truth::Followed { over, follower } => {
                over.send_replace(true);
                let _ = super::client::patient(follower).await;
            }
            Truth::None => {}
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        if let Truth::Followed { follower, .. } = &self.truth {
            follower.abort();
        }
    }
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness").finish_non_exhaustive()
    }
}
