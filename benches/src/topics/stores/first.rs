//! The first change after a watch was opened. A watch that follows a list begins at the list's revision, so that nothing falls between the two; etcd
//! serves what begins in the past every 100 ms only, and tells such a watch of what is new when it has caught up.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use comparisons::contestants::{Contestant, Member, Ours, value};
use comparisons::experiment::Trouble;
use comparisons::lab::Lab;
use registry_core::{Directory, Registry, ServiceName};
use tokio::time::Instant;

use super::{OURS, RAW, Server, Store};
use crate::bars::{Bar, Bound};
use crate::clients::ttl;
use crate::contest::{Arm, Arms, Contest, PREPARED, Topic};
use crate::lanes::{histogram, note};
use crate::watchers::PutAndWatch;

const P50: &str = "p50_us";
const MAX: &str = "max_us";
/// So many watches are opened in a block, one after the other.
const WATCHES: u32 = 8;
const SERVICES: [&str; 3] = [OURS, RAW[0], RAW[1]];

/// The first change on etcd.
#[derive(Debug, Default)]
pub struct First {}

/// The topic.
#[must_use]
pub fn topic() -> Box<dyn Topic> {
    Box::new(First::default())
}

#[async_trait]
impl Topic for First {
    fn name(&self) -> &'static str {
        "watch-first-etcd"
    }

    fn bars(&self) -> &'static [Bar] {
        const {
            &[
                Bar::new(
                    "first change after a watch was opened on etcd / raw watch from now on, median",
                    P50,
                    Bound::Told,
                ),
                Bar::new("the same, longest of 8", MAX, Bound::Told),
            ]
        }
    }

    async fn prepare(&self, lab: &Lab) -> Result<Contest, Trouble> {
        let server = Server::start(Store::Etcd, lab).await?;
        let [ours, raw, again] = SERVICES;
        let registry = server.registry()?;
        let opening = |service| {
            let server = Arc::clone(&server);
            async move {
                let raw = PutAndWatch::connect(&server.url()).await?;
                let member = raw.register(service, "i", 0, ttl().get()).await?;
                Ok(Opening { opener: Opener::Raw(Box::new(raw)), service, member, last: 0, _server: server })
            }
        };
        let of_ours = {
            let server = Arc::clone(&server);
            async move {
                let member = Ours::of(Arc::clone(&registry)).register(ours, "i", 0, ttl().get()).await?;
                Ok(Opening {
                    opener: Opener::Ours(registry),
                    service: ours,
                    member,
                    last: 0,
                    _server: server,
                })
            }
        };
        let arms = Arms::default();
        let arms = arms.with("ours", of_ours).with("raw", opening(raw)).with("raw again", opening(again));
        arms.make(&mut lab.random(PREPARED)).await
    }
}

/// Who opens watches.
enum Opener {
    /// As a consumer's view.
    Ours(Arc<dyn Registry>),
    /// From now on.
    Raw(Box<PutAndWatch>),
}

/// An arm.
struct Opening {
    opener: Opener,
    service: &'static str,
    member: Box<dyn Member>,
    last: u64,
    _server: Arc<Server>,
}

impl Opening {
    /// Opens a watch, and gives how long it takes until it has told of `value`, which it is changed to once the watch is there.
    async fn first(&self, value: u64) -> Result<Duration, Trouble> {
        match &self.opener {
            Opener::Ours(registry) => {
                let mut view = Directory::new(Arc::clone(registry)).view(&ServiceName::new(self.service)?);
                view.ready().await;
                let shown = async {
                    while view.changed().await {
                        let state = view.load();
                        if state.entries().iter().any(|entry| self::value(entry.instance()) == value) {
                            return Ok(());
                        }
                    }
                    Err(Trouble::failed("the view has ended"))
                };
                self.change(value, shown).await
            }
            Opener::Raw(raw) => {
                let mut watch = raw.open(self.service).await?;
                raw.list(self.service).await?;
                let shown = async {
                    while let Some(answer) = watch.message().await? {
                        let mut values = answer.events().iter().filter_map(PutAndWatch::values);
                        if values.any(|(_, put)| put == Some(value)) {
                            return Ok(());
                        }
                    }
                    Err(Trouble::failed("the watch has ended"))
                };
                self.change(value, shown).await
            }
        }
    }

    /// Makes the change, and gives after how long it was `shown`.
    async fn change(
        &self,
        value: u64,
        shown: impl Future<Output = Result<(), Trouble>>,
    ) -> Result<Duration, Trouble> {
        let begun = Instant::now();
        let shown = async {
            shown.await?;
            Ok(begun.elapsed())
        };
        let ((), elapsed) = tokio::try_join!(self.member.set(value), shown)?;
        Ok(elapsed)
    }
}

#[async_trait]
impl Arm for Opening {
    async fn play(&mut self) -> Result<Vec<(&'static str, f64)>, Trouble> {
        let mut latencies = histogram();
        for _ in 0..WATCHES {
            self.last += 1;
            note(&mut latencies, self.first(self.last).await?);
        }
        let micros = |share| latencies.value_at_quantile(share) as f64 / 1e3;
        Ok(vec![(P50, micros(0.5)), (MAX, micros(1.0))])
    }
}
