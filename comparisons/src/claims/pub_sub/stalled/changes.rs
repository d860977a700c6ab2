//! The changes that are made while nobody reads.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};
use registry_core::{Instance, Lease, RegisterOptions, Registration, Ttl};
use tokio::time::Instant;

use crate::claims::pub_sub::watcher::Acknowledged;
use crate::contestants::{Contestant, Member, Ours, instance};
use crate::experiment::Trouble;

/// Watched by the subscriber.
pub(super) const SERVICE: &str = "stalled.rpc";
/// Changed side by side, each in its own order.
const MEMBERS: u64 = 16;
/// What no test outlives.
const TTL: Duration = Duration::from_secs(3_600);

/// Changes that were acknowledged, and changes that were refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) acknowledged: Vec<Acknowledged>,
    pub(super) refused: u64,
    /// How long all of them took.
    pub(super) took: Duration,
}

/// Instances that can be changed, each of some size.
#[async_trait]
trait Changed: Send + Sync {
    async fn set(&self, value: u64) -> Result<(), Trouble>;
}

/// Who makes the changes.
pub(super) struct Writers {
    changed: Vec<Box<dyn Changed>>,
    /// Of each member.
    changes: u64,
    /// Of each change, as good as.
    bytes: u64,
}

/// Of the naive registries: as large as its id is long, since nothing else of it can be.
struct LongId(Box<dyn Member>);

const NAIVE_CHANGES: u64 = 60_000;
const ID_BYTES: usize = 1_000;

#[async_trait]
impl Changed for LongId {
    async fn set(&self, value: u64) -> Result<(), Trouble> {
        self.0.set(value).await
    }
}

/// Of ours: as large as its metadata.
struct Large {
    ours: Ours,
    instance: Instance,
    lease: Lease,
    pairs: usize,
}

const OUR_CHANGES: u64 = 3_200;
/// Pairs of metadata where a connection is to be filled, and where there is none.
pub(super) const LARGE: usize = 4;
pub(super) const SMALL: usize = 0;
const METADATA_BYTES: usize = 3_750;

fn padded(id: &str, value: u64, pairs: usize) -> registry_core::Result<Instance> {
    let small = instance(SERVICE, id, value)?;
    let metadata = (0..pairs).map(|at| (format!("padding-{at}"), "x".repeat(METADATA_BYTES)));
    metadata.fold(small.to_builder(), |builder, (name, padding)| builder.metadata(name, padding)).build()
}

#[async_trait]
impl Changed for Large {
    async fn set(&self, value: u64) -> Result<(), Trouble> {
        let instance = padded(self.instance.id().as_str(), value, self.pairs)?;
        self.ours.registry().update(&self.lease, &instance).await?;
        Ok(())
    }
}

impl Writers {
    /// Registers the instances of a naive registry.
    pub(super) async fn naive(contestant: &dyn Contestant) -> Result<Self, Trouble> {
        let register = |at: u64| async move {
            let id = format!("{at:0>ID_BYTES$}");
            let member = contestant.register(SERVICE, &id, at, TTL).await?;
            Ok::<_, Trouble>(Box::new(LongId(member)) as Box<dyn Changed>)
        };
        let changed = try_join_all((0..MEMBERS).map(register)).await?;
        Ok(Self { changed, changes: NAIVE_CHANGES / MEMBERS, bytes: ID_BYTES as u64 })
    }

    /// Registers the instances of one of ours, with so many pairs of metadata.
    pub(super) async fn ours(ours: &Ours, pairs: usize) -> Result<Self, Trouble> {
        let options = RegisterOptions::new().with_ttl(Ttl::new(TTL)?);
        let options = &options;
        let register = |at: u64| async move {
            let instance = padded(&format!("i-{at}"), at, pairs)?;
            let Registration { lease, .. } = ours.registry().register(&instance, options).await?;
            Ok::<_, Trouble>(
                Box::new(Large { ours: ours.clone(), instance, lease, pairs }) as Box<dyn Changed>
            )
        };
        let changed = try_join_all((0..MEMBERS).map(register)).await?;
        Ok(Self { changed, changes: OUR_CHANGES / MEMBERS, bytes: (pairs * METADATA_BYTES) as u64 })
    }

    /// How large a change is, as good as.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes all changes, as fast as they are acknowledged.
    pub(super) async fn write(&self) -> Made {
        let begun = Instant::now();
        let write = self.changed.iter().zip(1..).map(|(changed, at)| {
            // Every change has a value of its own.
            let first = at * NAIVE_CHANGES;
            write(&**changed, first..first + self.changes)
        });
        let made = join_all(write).await;
        let refused = made.iter().map(|made| made.refused).sum();
        let acknowledged = made.into_iter().flat_map(|made| made.acknowledged).collect();
        Made { acknowledged, refused, took: begun.elapsed() }
    }
}

async fn write(changed: &dyn Changed, values: Range<u64>) -> Made {
    let mut made = Made::default();
    for value in values {
        match changed.set(value).await {
            Ok(()) => made.acknowledged.push(Acknowledged::now(value)),
            Err(_) => made.refused += 1,
        }
    }
    made
}
