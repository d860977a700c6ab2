//! Processes that keep their instances listed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use registry_core::{Error, ErrorKind, Registrar, RegistrarOptions, Ttl};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::subjects::Client;
use crate::contestants::{Contestant, instance};
use crate::experiment::Trouble;

/// How many heartbeats were sent and acknowledged while they were counted.
#[derive(Debug, Default)]
pub(super) struct Beats {
    counting: AtomicBool,
    sent: AtomicU64,
    acknowledged: AtomicU64,
}

impl Beats {
    /// Whether those that begin from now on count.
    pub(super) fn count(&self, counting: bool) {
        self.counting.store(counting, Ordering::SeqCst);
    }

    /// The share that was acknowledged; none if none was sent.
    pub(super) fn acknowledged(&self) -> f64 {
        let number = |counter: &AtomicU64| counter.load(Ordering::SeqCst) as f64;
        number(&self.acknowledged) / number(&self.sent)
    }
}

/// A process that keeps one instance listed: one that beats every third of its TTL, and registers again when it learns that its lease is lost. Ends
/// when dropped, without leaving.
#[derive(Debug)]
pub(super) struct Owner {
    task: JoinHandle<()>,
}

impl Owner {
    /// Lists it, and begins to beat.
    pub(super) async fn start(
        contestant: Arc<dyn Contestant>,
        service: &str,
        id: String,
        ttl: Duration,
        beats: Arc<Beats>,
    ) -> Result<Self, Trouble> {
        let service = service.to_owned();
        let mut member = contestant.register(&service, &id, 1, ttl).await?;
        let task = tokio::spawn(async move {
            let mut next = Instant::now();
            loop {
                next = (next + ttl / 3).max(Instant::now());
                sleep_until(next).await;
                let counts = beats.counting.load(Ordering::SeqCst);
                let beaten = timeout_at(next + ttl / 3, member.renew()).await;
                beats.sent.fetch_add(u64::from(counts), Ordering::SeqCst);
                match beaten {
                    Ok(Ok(())) => drop(beats.acknowledged.fetch_add(u64::from(counts), Ordering::SeqCst)),
                    Ok(Err(trouble)) if is_lease_lost(&trouble) => {
                        if let Ok(again) = contestant.register(&service, &id, 1, ttl).await {
                            member = again;
                        }
                    }
                    Ok(Err(_)) | Err(_) => {}
                }
            }
        });
        Ok(Self { task })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn is_lease_lost(trouble: &Trouble) -> bool {
    let Trouble::Failed(error) = trouble else { return false };
    error.downcast_ref::<Error>().is_some_and(|error| error.kind() == ErrorKind::LeaseLost)
}

/// A process as a user of either writes it.
#[derive(Debug)]
pub(super) enum Process {
    /// What this project offers for it.
    Registrar(#[expect(dead_code, reason = "held for its drop")] Registrar),
    /// A loop of heartbeats.
    Loop(#[expect(dead_code, reason = "held for its drop")] Owner),
}

impl Process {
    /// Begins to list it.
    pub(super) async fn start(
        client: &Client,
        service: &str,
        id: String,
        ttl: Duration,
        seed: u64,
    ) -> Result<Self, Trouble> {
        let Some(registry) = &client.registry else {
            let contestant = Arc::clone(&client.contestant);
            return Ok(Self::Loop(Owner::start(contestant, service, id, ttl, Arc::default()).await?));
        };
        let options = RegistrarOptions::default().with_ttl(Ttl::new(ttl)?).with_seed(seed);
        let registrar = Registrar::start(Arc::clone(registry), instance(service, &id, 1)?, options);
        registrar.registered().await?;
        Ok(Self::Registrar(registrar))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use registry_memory::MemoryRegistry;
    use tokio::time::sleep;

    use super::{Beats, Owner};
    use crate::claims::persistence::subjects::Client;

    #[tokio::test(start_paused = true)]
    async fn an_owner_keeps_its_instance_listed_and_brings_it_back() {
        let registry = MemoryRegistry::new();
        let client = Client::of(registry.clone());
        let (ttl, beats) = (Duration::from_secs(3), Arc::new(Beats::default()));
        beats.count(true);
        let contestant = Arc::clone(&client.contestant);
        let _owner = Owner::start(contestant, "s", "a".to_owned(), ttl, Arc::clone(&beats)).await.unwrap();
        sleep(ttl * 4).await;
        assert_eq!(client.listed("s").await.unwrap().len(), 1);
        assert!((beats.acknowledged() - 1.0).abs() < f64::EPSILON);
        registry.controls().wipe();
        assert_eq!(client.listed("s").await.unwrap().len(), 0);
        sleep(ttl).await;
        assert_eq!(client.listed("s").await.unwrap().len(), 1);
        assert!(beats.acknowledged() < 1.0);
    }
}
