//! The registry in memory, and its controls.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use registry_core::{
    Cursor, Instance, RegisterOptions, Registry, ResetCause, Result, ServiceName, Ttl, WatchEvent,
};
use registry_memory::MemoryRegistry;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::links::{Background, over};
use super::struck::{Struck, Wounds};
use super::{Bite, Fault, Place, Role, Stand};
use crate::experiment::Trouble;

/// What nobody else registers.
const CANARY: &str = "chaos.canary";
/// Longer than any fault.
const CANARY_TTL: Duration = Duration::from_secs(600);
const LATENCY: Duration = Duration::from_millis(200);
/// Who is not answered within this is not answered.
const SILENT: Duration = Duration::from_millis(100);
/// How long a watch may take to begin.
const SOON: Duration = Duration::from_secs(5);
const FLAP: Duration = Duration::from_millis(300);

/// One store, with a client for each role.
pub(super) struct InMemory {
    clients: Arc<Clients>,
    wounds: Wounds,
}

struct Clients {
    reader: MemoryRegistry,
    writer: MemoryRegistry,
    witness: MemoryRegistry,
}

impl InMemory {
    pub(super) fn new() -> Self {
        let witness = MemoryRegistry::new();
        let clients = Clients { reader: witness.client(), writer: witness.client(), witness };
        Self { clients: Arc::new(clients), wounds: Wounds::default() }
    }
}

#[async_trait]
impl Stand for InMemory {
    fn place(&self, role: Role) -> Place {
        let client = match role {
            Role::Reader => &self.clients.reader,
            Role::Writer => &self.clients.writer,
            Role::Witness => &self.clients.witness,
        };
        Place::Memory(client.clone())
    }

    async fn strike(
        &self,
        fault: Fault,
        lasting: Duration,
        _random: &mut fastrand::Rng,
    ) -> std::result::Result<String, Trouble> {
        self.wounds.has(fault)?;
        let struck = self.clients.strike(fault, lasting).await?;
        Ok(self.wounds.add(fault, struck))
    }

    async fn heal(&self, fault: Fault) -> std::result::Result<Bite, Trouble> {
        let bite = self.wounds.take(fault)?.await?;
        // Nothing else may be wrong with it now than what another fault does to clients.
        self.clients.witness.lookup(&canary()?).await?;
        Ok(bite)
    }

    async fn end(&self) {
        self.wounds.forget();
        self.clients.all().for_each(|client| client.controls().heal());
    }
}

fn canary() -> Result<ServiceName> {
    ServiceName::new(CANARY)
}

/// How a client is cut off.
#[derive(Clone, Copy)]
enum Link {
    Down,
    Silent,
}

impl Link {
    fn set(self, client: &MemoryRegistry) {
        match self {
            Self::Down => client.controls().outage(),
            Self::Silent => client.controls().black_hole(),
        }
    }
}

/// Whether a client is answered.
async fn answers(client: &MemoryRegistry) -> bool {
    let Ok(service) = canary() else { return false };
    matches!(timeout(SILENT, client.lookup(&service)).await, Ok(Ok(_)))
}

impl Clients {
    fn all(&self) -> impl Iterator<Item = &MemoryRegistry> {
        [&self.reader, &self.writer, &self.witness].into_iter()
    }

    async fn strike(
        self: &Arc<Self>,
        fault: Fault,
        lasting: Duration,
    ) -> std::result::Result<Struck, Trouble> {
        match fault {
            Fault::None => Ok(Struck::nothing(true, "there is nothing to be proved")),
            Fault::LinkCut => Ok(self.cut(Link::Down).await),
            Fault::BlackHole | Fault::BlackHoleLong => Ok(self.cut(Link::Silent).await),
            Fault::Latency => Ok(self.delay().await),
            Fault::Flaps => Ok(self.flap(lasting)),
            Fault::PauseShort | Fault::Pause | Fault::PauseLong => Ok(self.pause(lasting).await),
            Fault::Compaction => self.compact().await,
            Fault::Wipe => self.wipe().await,
            Fault::Restore => self.restore().await,
            Fault::StoreFull => self.fill().await,
            Fault::SlowConsumer | Fault::ExpiryStorm | Fault::MassRejoin => {
                Ok(Struck::nothing(false, "the stand did nothing: what the clients did proves it"))
            }
            _ => Err(Trouble::failed(format!("{fault} does not apply to a registry in memory"))),
        }
    }

    /// Of readers.
    async fn cut(self: &Arc<Self>, link: Link) -> Struck {
        link.set(&self.reader);
        let at_first = !answers(&self.reader).await;
        let clients = Arc::clone(self);
        Struck::new("the client of readers is cut off", async move {
            let at_last = !answers(&clients.reader).await;
            clients.reader.controls().heal();
            let proof = format!("a lookup of the reader failed at first: {at_first}, at last: {at_last}");
            Ok(Bite::new(at_first && at_last, proof))
        })
    }

    async fn delay(self: &Arc<Self>) -> Struck {
        self.reader.controls().set_latency(LATENCY);
        let asked = Instant::now();
        if let Ok(service) = canary() {
            let _ = self.reader.lookup(&service).await;
        }
        let took = asked.elapsed();
        let clients = Arc::clone(self);
        Struck::new("every operation of the client of readers is late", async move {
            clients.reader.controls().set_latency(Duration::ZERO);
            Ok(Bite::new(took >= LATENCY, format!("a lookup took {} ms", took.as_millis())))
        })
    }

    fn flap(self: &Arc<Self>, lasting: Duration) -> Struck {
        let (tell, told) = tokio::sync::watch::channel((0_u32, 0_u32));
        let clients = Arc::clone(self);
        let flapping = Background::spawn(lasting, {
            let reader = self.reader.clone();
            async move {
                loop {
                    for link in [Link::Down, Link::Silent] {
                        link.set(&reader);
                        let down = answers(&reader).await;
                        sleep(FLAP).await;
                        reader.controls().heal();
                        let up = answers(&reader).await;
                        tell.send_modify(|(failed, answered)| {
                            *failed += u32::from(!down);
                            *answered += u32::from(up);
                        });
                        sleep(FLAP).await;
                    }
                }
            }
        });
        Struck::new("the client of readers is cut off again and again", async move {
            flapping.stop().await;
            clients.reader.controls().heal();
            let (failed, answered) = *told.borrow();
            let proof =
                format!("{failed} lookups failed while it was cut off, {answered} were answered otherwise");
            Ok(Bite::new(failed > 0 && answered > 0, proof))
        })
    }

    /// Of the store, as its clients see it.
    async fn pause(self: &Arc<Self>, lasting: Duration) -> Struck {
        self.all().for_each(|client| Link::Silent.set(client));
        let at_first = !answers(&self.writer).await;
        let clients = Arc::clone(self);
        let (stop, stopped) = oneshot::channel();
        let pausing = tokio::spawn(async move {
            over(lasting, stopped).await;
            let at_last = !answers(&clients.writer).await;
            clients.all().for_each(|client| client.controls().heal());
            at_last
        });
        Struck::new("all clients meet silence", async move {
            drop(stop);
            let at_last = pausing.await.unwrap_or(false);
            let proof = format!("a lookup of the writer hung at first: {at_first}, at last: {at_last}");
            Ok(Bite::new(at_first && at_last, proof))
        })
    }

    /// Where the history of each service is.
    async fn cursors(&self) -> Result<Vec<(ServiceName, Cursor)>> {
        let mut cursors = Vec::new();
        for service in self.witness.services("").await? {
            let cursor = self.witness.lookup(&service).await?.cursor();
            cursors.push((service, cursor));
        }
        Ok(cursors)
    }

    async fn compact(self: &Arc<Self>) -> std::result::Result<Struck, Trouble> {
        let Struck { what, heal } = self.cut(Link::Down).await;
        let (clients, before) = (Arc::clone(self), self.cursors().await?);
        Ok(Struck::new(format!("{what}; history is forgotten before it is back"), async move {
            clients.witness.controls().compact();
            let mut lost = 0;
            for (service, cursor) in &before {
                let mut watch = clients.witness.watch(service, Some(*cursor));
                let first = timeout(SOON, watch.next()).await.ok().flatten();
                let compacted = |event: &WatchEvent| {
                    matches!(event, WatchEvent::Reset { cause: ResetCause::Compacted, .. })
                };
                lost += usize::from(first.as_ref().is_some_and(compacted));
            }
            let cut = heal.await?;
            let proof = format!(
                "{lost} of {} cursors of when it was cut off can no longer be resumed; {}",
                before.len(),
                cut.proof
            );
            Ok(Bite::new(cut.bitten && lost > 0, proof))
        }))
    }

    /// Whether a canary is registered now.
    async fn sing(&self) -> Result<bool> {
        let instance = Instance::builder(CANARY).id("canary").endpoint("127.0.0.1:1").build()?;
        let options = RegisterOptions::default().with_ttl(Ttl::new(CANARY_TTL)?);
        self.witness.register(&instance, &options).await?;
        self.is_there().await
    }

    async fn is_there(&self) -> Result<bool> {
        Ok(!self.witness.lookup(&canary()?).await?.is_empty())
    }

    async fn wipe(self: &Arc<Self>) -> std::result::Result<Struck, Trouble> {
        let there = self.sing().await?;
        self.witness.controls().wipe();
        let gone = !self.is_there().await?;
        Ok(Struck::new("the store was emptied", async move {
            let proof = format!(
                "an instance that was registered just before was there: {there}, and then gone: {gone}"
            );
            Ok(Bite::new(there && gone, proof))
        }))
    }

    async fn restore(self: &Arc<Self>) -> std::result::Result<Struck, Trouble> {
        let checkpoint = self.witness.controls().checkpoint();
        let there = self.sing().await?;
        let clients = Arc::clone(self);
        Ok(Struck::new("a checkpoint was taken, which is put back in the end", async move {
            clients.witness.controls().restore(&checkpoint);
            let gone = !clients.is_there().await?;
            let proof = format!(
                "an instance that was registered after the checkpoint was there: {there}, and then gone: {gone}"
            );
            Ok(Bite::new(there && gone, proof))
        }))
    }

    async fn fill(self: &Arc<Self>) -> std::result::Result<Struck, Trouble> {
        self.witness.controls().set_capacity(0);
        let at_first = self.sing().await.is_err();
        let clients = Arc::clone(self);
        Ok(Struck::new("the store takes no new instance", async move {
            let at_last = clients.sing().await.is_err();
            clients.witness.controls().set_capacity(usize::MAX);
            let proof = format!("a registration was refused at first: {at_first}, at last: {at_last}");
            Ok(Bite::new(at_first && at_last, proof))
        }))
    }
}
