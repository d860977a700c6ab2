//! From a change to whoever watches: to the consumer's snapshot, and to a raw client that watches the store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use comparisons::contestants::Contestant;
use comparisons::experiment::Trouble;
use comparisons::lab::Lab;
use comparisons::measure::{Block, BlockPlan, Event, Subject};
use hdrhistogram::Histogram;

use super::{OURS, RAW, Server, Store};
use crate::bars::{Bar, Bound};
use crate::clients::ttl;
use crate::contest::{Arm, Arms, Contest, DISTURBED, PREPARED, Topic};
use crate::lanes::{histogram, note};
use crate::watchers::{PutAndWatch, ScriptAndStream, Snapshots};
use crate::work::pooled::Pooled;

/// A raw client that writes by the transaction of the registry's updates, and not by a plain `put`.
const FENCED: &str = "raw, fenced";

/// The median, in microseconds.
pub const P50: &str = "p50_us";
const P99: &str = "p99_us";

/// Changes a second: so few that nothing queues.
const RATE: u32 = 200;
/// Of one service, changed in turn.
const INSTANCES: u32 = 50;
const GRACE: Duration = Duration::from_secs(3);
const WARM_UP: u32 = 10;

/// A watch on a store.
#[derive(Debug)]
pub struct Watches {
    store: Store,
}

/// The topic of watches on `store`.
#[must_use]
pub fn topic(store: Store) -> Box<dyn Topic> {
    Box::new(Watches::new(store))
}

impl Watches {
    /// On `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

#[async_trait]
impl Topic for Watches {
    fn name(&self) -> &'static str {
        match self.store {
            Store::Etcd => "watch-etcd",
            Store::Redis => "watch-redis",
        }
    }

    fn bars(&self) -> &'static [Bar] {
        match self.store {
            Store::Etcd => {
                const {
                    &[
                        Bar::new(
                            "change to consumer's snapshot on etcd / raw put to raw watch, median",
                            P50,
                            Bound::AtMost(1.08),
                        ),
                        Bar::new("the same on etcd, 99th percentile", P99, Bound::Told),
                        Bar::told(
                            "change to consumer's snapshot on etcd / the same transaction to raw watch, median",
                            P50,
                            "ours",
                            FENCED,
                        ),
                        Bar::told(
                            "that transaction to raw watch on etcd / raw put to raw watch, median",
                            P50,
                            FENCED,
                            "raw",
                        ),
                    ]
                }
            }
            Store::Redis => {
                const {
                    &[
                        Bar::new(
                            "change to consumer's snapshot on Redis / the same script to XREAD, median",
                            P50,
                            Bound::AtMost(1.15),
                        ),
                        Bar::new("the same on Redis, 99th percentile", P99, Bound::Told),
                    ]
                }
            }
        }
    }

    // What the bar leaves on etcd is 8 %: of 30 rounds the interval was 17 % wide.
    fn rounds(&self, lab: &Lab) -> u32 {
        lab.by_scale(2, 8)
    }

    async fn prepare(&self, lab: &Lab) -> Result<Contest, Trouble> {
        let server = Server::start(self.store, lab).await?;
        let plan = BlockPlan { rate: RATE, warm_up: WARM_UP, events: lab.by_scale(50, 100), grace: GRACE };
        let ours = Snapshots::of(server.registry()?);
        let ours = Watched::prepare(Box::new(ours), OURS, plan, Arc::clone(&server));
        let arms = Arms::default().with("ours", ours);
        let raw = |service, fenced| {
            let (store, server) = (self.store, Arc::clone(&server));
            async move {
                let contestant: Box<dyn Contestant> = match store {
                    Store::Etcd if fenced => Box::new(PutAndWatch::connect(&server.url()).await?.fenced()),
                    Store::Etcd => Box::new(PutAndWatch::connect(&server.url()).await?),
                    Store::Redis => Box::new(ScriptAndStream::connect(&server.url()).await?),
                };
                Watched::prepare(contestant, service, plan, server).await
            }
        };
        let mut arms = arms.with("raw", raw(RAW[0], false)).with("raw again", raw(RAW[1], false));
        if self.store == Store::Etcd {
            arms = arms.with(FENCED, raw(RAW[2], true));
        }
        arms.make(&mut lab.random(PREPARED)).await
    }
}

/// An arm.
struct Watched {
    subject: Subject,
    plan: BlockPlan,
    pooled: Pooled,
    _server: Arc<Server>,
}

impl Watched {
    async fn prepare(
        contestant: Box<dyn Contestant>,
        service: &'static str,
        plan: BlockPlan,
        server: Arc<Server>,
    ) -> Result<Self, Trouble> {
        let subject = Subject::prepare(&*contestant, service, INSTANCES, ttl().get()).await?;
        Ok(Self { subject, plan, pooled: Pooled::default(), _server: server })
    }
}

#[async_trait]
impl Arm for Watched {
    async fn play(&mut self) -> Result<Vec<(&'static str, f64)>, Trouble> {
        let block = self.subject.run(&self.plan).await?;
        let summary = block.summary();
        let (unseen, failed) = (summary.unseen, summary.failed);
        if unseen + failed > 0 {
            let why = block.refused.unwrap_or_default();
            let missing = format!("{unseen} changes were never seen, {failed} were refused {why}");
            return Err(Trouble::failed(missing));
        }
        let latencies = latencies(&block.events);
        self.pooled.add(&latencies, 0);
        Ok(figures(&block, &latencies))
    }

    fn series(&self) -> Vec<(&'static str, Vec<[f64; 2]>)> {
        self.pooled.series()
    }
}

/// Of a block that was disturbed as well: who keeps the machine busy, or has sends slip, must not be rid of its worst blocks by it.
fn figures(block: &Block, latencies: &Histogram<u64>) -> Vec<(&'static str, f64)> {
    let micros = |share| latencies.value_at_quantile(share) as f64 / 1e3;
    vec![
        (P50, micros(0.5)),
        ("p90_us", micros(0.9)),
        (P99, micros(0.99)),
        ("max_us", micros(1.0)),
        ("slip_p99_us", block.summary().slip.p99.unwrap_or(f64::NAN)),
        ("cpu", block.load.map_or(f64::NAN, |load| load.busy)),
        (DISTURBED, if block.fault().is_some() { 1.0 } else { 0.0 }),
    ]
}

fn latencies(events: &[Event]) -> Histogram<u64> {
    let mut latencies = histogram();
    events.iter().filter_map(Event::latency).for_each(|latency| note(&mut latencies, latency));
    latencies
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use comparisons::measure::{Block, Event, Load};

    use super::{P50, figures, latencies};
    use crate::contest::DISTURBED;

    #[test]
    fn a_block_that_was_disturbed_counts_like_any_other_and_says_so() {
        let block = |slip: u64, busy: f64| {
            let event = |number: u64| {
                let intended = Duration::from_millis(5 * number);
                let after = |micros| Some(intended + Duration::from_micros(micros));
                let (begun, acknowledged, received) = (after(slip), after(slip + 200), after(slip + 300));
                Event { intended, begun, acknowledged, received }
            };
            let load = Some(Load { busy, steal: 0.0 });
            let block = Block { events: (0..100).map(event).collect(), load, refused: None };
            figures(&block, &latencies(&block.events))
        };
        let of = |figures: &[(&str, f64)], name: &str| {
            figures.iter().find(|(there, _)| *there == name).map(|(_, value)| *value)
        };
        for (slip, busy, disturbed) in [(10, 0.2, 0.0), (900, 0.2, 1.0), (10, 0.9, 1.0)] {
            let told = block(slip, busy);
            assert_eq!(of(&told, DISTURBED), Some(disturbed), "{told:?}");
            assert!(of(&told, P50).is_some_and(|p50| (p50 - 300.0 - slip as f64).abs() < 2.0), "{told:?}");
            assert_eq!(of(&told, "cpu"), Some(busy));
        }
    }
}
