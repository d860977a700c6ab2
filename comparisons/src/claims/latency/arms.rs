//! Arms that take turns, and what is kept of their blocks.

use std::time::Duration;

use super::delay::Delay;
use crate::contestants::Contestant;
use crate::experiment::Trouble;
use crate::lab::Lab;
use crate::measure::{Block, BlockPlan, Event, Rounds, Subject, Summary, ecdf};
use crate::record::Record;

/// From the intended time until the watcher was told, the median, in µs.
pub(super) const P50: &str = "p50_us";
/// The same, the 99th percentile.
pub(super) const P99: &str = "p99_us";
/// From the intended time until the registry said that it was done, the median, in µs.
pub(super) const ACK_P50: &str = "ack_p50_us";
const ACK_P99: &str = "ack_p99_us";
pub(super) const ACK_TO_RECEIVED_P50: &str = "ack_to_received_p50_us";
pub(super) const SLIP_P99: &str = "slip_p99_us";
pub(super) const CPU: &str = "cpu";
const STEAL: &str = "steal";
pub(super) const EVENTS: &str = "events";
/// How many were acknowledged, and never seen by the watcher.
pub(super) const UNSEEN: &str = "unseen";
/// How many were not acknowledged.
pub(super) const FAILED: &str = "failed";
/// The series of all blocks of a step together: µs, and the share of all changes that took no longer.
pub(super) const ECDF: &str = "ecdf_us";

/// Changes a second.
pub(super) const RATE: u32 = 200;
/// Of one service, changed in turn.
const INSTANCES: u32 = 50;
/// Longer than a step, so that no heartbeat falls into a block.
pub(super) const TTL: Duration = Duration::from_secs(60 * 60);
const GRACE: Duration = Duration::from_secs(3);
const WARM_UP: u32 = 10;

/// So many changes in a block.
pub(super) fn plan(events: u32) -> BlockPlan {
    BlockPlan { rate: RATE, warm_up: WARM_UP, events, grace: GRACE }
}

/// How long a step of so many rounds takes, if few blocks are thrown away, in seconds.
pub(super) fn seconds(arms: usize, rounds: u32, plan: &BlockPlan, start: f64) -> f64 {
    let block = f64::from(plan.warm_up + plan.events) / f64::from(plan.rate) + 0.02;
    start + arms as f64 * f64::from(rounds) * block
}

struct Arm {
    name: &'static str,
    subject: Subject,
    /// Of the link that an acknowledgement has to cross, if there is any.
    delay: Option<Delay>,
    /// What became of the changes of blocks that count.
    events: Vec<Event>,
}

/// An arm that is not prepared yet.
struct Entry {
    name: &'static str,
    contestant: Box<dyn Contestant>,
    delay: Option<Delay>,
}

/// Arms, each with a service of its own.
pub(super) struct Arms {
    prefix: String,
    entries: Vec<Entry>,
}

impl Arms {
    /// None yet. The names of their services begin with `prefix`.
    pub(super) fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), entries: Vec::new() }
    }

    /// Another one.
    pub(super) fn add(&mut self, name: &'static str, contestant: impl Contestant + 'static) {
        self.entries.push(Entry { name, contestant: Box::new(contestant), delay: None });
    }

    /// One whose acknowledgements have to cross a link with this delay.
    pub(super) fn add_delayed(
        &mut self,
        name: &'static str,
        contestant: impl Contestant + 'static,
        delay: Delay,
    ) {
        self.entries.push(Entry { name, contestant: Box::new(contestant), delay: Some(delay) });
    }

    /// Prepares them, in an order that is drawn: who comes first on a server may have it easier for as long as that runs.
    async fn prepared(self, mut random: fastrand::Rng) -> Result<Vec<Arm>, Trouble> {
        let Self { prefix, mut entries } = self;
        random.shuffle(&mut entries);
        let mut arms = Vec::new();
        for (at, Entry { name, contestant, delay }) in entries.into_iter().enumerate() {
            let subject = Subject::prepare(&*contestant, &format!("{prefix}-{at}"), INSTANCES, TTL).await;
            let subject = subject.map_err(|trouble| Trouble::failed(format!("{name}: {trouble}")))?;
            arms.push(Arm { name, subject, delay, events: Vec::new() });
        }
        Ok(arms)
    }

    /// Lets them take turns in `rounds` rounds from the round `first` on, and keeps a record of each block, and of each arm one with the
    /// distribution over all of its blocks that count.
    pub(super) async fn measure(
        self,
        lab: &Lab,
        first: u32,
        rounds: u32,
        plan: &BlockPlan,
    ) -> Result<(), Trouble> {
        let mut arms = self.prepared(lab.random(&format!("order from round {first} on"))).await?;
        let mut turns = Rounds::new(arms.len(), first, rounds);
        while let Some(turn) = turns.next() {
            let arm = &mut arms[turn.arm];
            let block = arm.subject.run(plan).await?;
            let record = record(arm.name, turn.round, arm.delay, &block);
            turns.taken(record.is_valid());
            if record.is_valid() {
                arm.events.extend(&block.events);
            }
            lab.keep(record);
        }
        for arm in arms {
            if let Some(record) = distribution(arm.name, first, &arm.events) {
                lab.keep(record);
            }
            arm.subject.finish().await?;
        }
        Ok(())
    }
}

/// A block.
fn record(arm: &str, round: u32, delay: Option<Delay>, block: &Block) -> Record {
    let summary = block.summary();
    let record = figures(Record::new(arm, round), &summary, block).noted(block.refused.clone());
    if let Some(why) = block.fault() {
        return record.invalid(why);
    }
    match delay {
        Some(delay) => record.if_bitten(delay.took_hold(), delay.proof()),
        None => record,
    }
}

fn figures(record: Record, summary: &Summary, block: &Block) -> Record {
    let or_none = |figure: Option<f64>| figure.unwrap_or(f64::NAN);
    record
        .with(P50, or_none(summary.received.p50))
        .with(P99, or_none(summary.received.p99))
        .with(ACK_P50, or_none(summary.acknowledged.p50))
        .with(ACK_P99, or_none(summary.acknowledged.p99))
        .with(ACK_TO_RECEIVED_P50, or_none(summary.acknowledged_to_received))
        .with(SLIP_P99, or_none(summary.slip.p99))
        .with(CPU, block.load.map_or(f64::NAN, |load| load.busy))
        .with(STEAL, block.load.map_or(f64::NAN, |load| load.steal))
        .with(EVENTS, summary.events as f64)
        .with(UNSEEN, summary.unseen as f64)
        .with(FAILED, summary.failed as f64)
}

/// All blocks of an arm together, in one record without the figures of a block.
fn distribution(arm: &str, first: u32, events: &[Event]) -> Option<Record> {
    let micros = |event: &Event| Some(event.latency()?.as_secs_f64() * 1e6);
    let latencies: Vec<f64> = events.iter().filter_map(micros).collect();
    let line = ecdf(&latencies, events.len());
    (!line.is_empty()).then(|| Record::new(arm, first).with_series(ECDF, line))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ACK_P50, ECDF, FAILED, P50, P99, UNSEEN, distribution, record};
    use crate::measure::{Block, Event, Load};

    fn block(acknowledged: u64, received: u64) -> Block {
        let event = |number: u64| {
            let intended = Duration::from_millis(5 * number);
            let after = |micros| Some(intended + Duration::from_micros(micros));
            Event { intended, begun: after(20), acknowledged: after(acknowledged), received: after(received) }
        };
        let load = Some(Load { busy: 0.2, steal: 0.0 });
        Block { events: (0..100).map(event).collect(), load, refused: None }
    }

    #[test]
    fn a_block_becomes_a_record() {
        let record = record("a", 3, None, &block(300, 250));
        assert!(record.is_valid() && record.run == 3);
        assert!((record.figure(P50).unwrap() - 250.0).abs() < 1.0, "{record:?}");
        assert!((record.figure(ACK_P50).unwrap() - 300.0).abs() < 1.0, "{record:?}");
        assert_eq!(record.figure(UNSEEN), Some(0.0));
    }

    #[test]
    fn a_busy_machine_makes_no_record_that_counts() {
        let busy = Block { load: Some(Load { busy: 0.9, steal: 0.0 }), ..block(300, 250) };
        let record = record("a", 0, None, &busy);
        assert!(!record.is_valid() && record.figure(P50).is_some(), "the figures are kept all the same");
    }

    #[test]
    fn a_block_in_which_changes_failed_or_were_lost_counts_with_what_it_has() {
        let mut block = Block { refused: Some("too late".to_owned()), ..block(300, 250) };
        block.events[..3].iter_mut().for_each(|event| event.acknowledged = None);
        block.events[50..].iter_mut().for_each(|event| event.received = None);
        let record = record("a", 0, None, &block);
        assert!(record.is_valid(), "{record:?}");
        assert_eq!((record.figure(UNSEEN), record.figure(FAILED)), (Some(50.0), Some(3.0)));
        assert!(record.figure(P50).is_some() && record.figure(P99).is_none(), "{record:?}");
        assert_eq!(record.note.as_deref(), Some("too late"));
        let distribution = distribution("a", 0, &block.events).unwrap();
        assert_eq!(distribution.series[ECDF].last().unwrap()[1], 0.5, "of all, not of those that arrived");
    }

    #[test]
    fn a_distribution_is_no_block() {
        let record = distribution("a", 0, &block(300, 250).events).unwrap();
        assert!(record.figure(P50).is_none() && record.series.contains_key(ECDF));
        assert!(distribution("a", 0, &[]).is_none());
    }
}
