//! Fills a store with a large service, as fast as it takes it: not by registering, but with what registering would have left.

use comparisons::experiment::Trouble;
use etcd_client::{Txn, TxnOp};
use futures_util::{StreamExt, TryStreamExt, stream};
use redis::pipe;
use registry_core::{Incarnation, OwnerToken};
use sha1::{Digest, Sha1};

use super::super::{Process, Server};
use crate::clients::{Client, Entry, Keys, Ours, RawEtcd, RawRedis, instance};

/// Entries in one request; etcd takes 128 in a transaction by default.
const BATCH: usize = 100;
/// Requests under way at once.
const AT_ONCE: usize = 8;

/// Lists so many instances of `service`; gives how many bytes their keys and values are.
pub(super) async fn fill(server: &Server, service: &str, instances: usize) -> Result<u64, Trouble> {
    // The first one is registered, so that the service has its history.
    let mut ours = Ours::new(server.registry()?);
    ours.register(&instance(service, 0, 100)?).await?;
    let batches = (1..instances).step_by(BATCH).map(|first| first..(first + BATCH).min(instances));
    let entries = |numbers: std::ops::Range<usize>| {
        let entry = |number| Ok(Entry::of(&instance(service, number, 100)?).owned_by(&token(), claim()));
        numbers.map(entry).collect::<Result<Vec<Entry>, Trouble>>()
    };
    let written: Vec<u64> = match &server.process {
        Process::Etcd(etcd) => {
            let raw = RawEtcd::connect(&etcd.endpoint()).await?;
            let writing = batches.map(|numbers| put(&raw, entries(numbers)));
            stream::iter(writing).buffer_unordered(AT_ONCE).try_collect().await?
        }
        Process::Redis(redis) => {
            let raw = RawRedis::connect(&redis.url()).await?;
            let writing = batches.map(|numbers| set(&raw, service, entries(numbers)));
            stream::iter(writing).buffer_unordered(AT_ONCE).try_collect().await?
        }
    };
    // The first is as large as any.
    let bytes: u64 = written.iter().sum();
    Ok(bytes + bytes / (instances.max(2) as u64 - 1))
}

async fn put(raw: &RawEtcd, entries: Result<Vec<Entry>, Trouble>) -> Result<u64, Trouble> {
    let (mut puts, mut bytes) = (Vec::new(), 0);
    for entry in entries? {
        let (key, value) = (RawEtcd::key(&entry.service, &entry.id), encoded(&entry)?);
        bytes += key.len() + value.len();
        puts.push(TxnOp::put(key, value, None));
    }
    raw.kv().txn(Txn::new().and_then(puts)).await?;
    Ok(bytes as u64)
}

async fn set(raw: &RawRedis, service: &str, entries: Result<Vec<Entry>, Trouble>) -> Result<u64, Trouble> {
    let (keys, mut both, mut bytes) = (Keys::of(service), pipe(), 0);
    for entry in entries? {
        let json = encoded(&entry)?;
        let sum: String = Sha1::digest(&json).iter().map(|byte| format!("{byte:02x}")).collect();
        // What the scripts write before an entry, of the revision of the first one.
        let line = format!("1 1 {} {} {TTL_MILLIS} 1 1 {}\n", entry.incarnation, entry.token, &sum[..SUM]);
        let value = [line.as_bytes(), &json].concat();
        bytes += entry.id.len() + value.len();
        both.hset(&keys.instances, &entry.id, value).ignore();
        both.zadd(&keys.deadlines, &entry.id, "inf").ignore();
    }
    let () = both.query_async(&mut raw.connection()).await?;
    Ok(bytes as u64)
}

const TTL_MILLIS: u32 = 3_600_000;
/// Digits of the sum.
const SUM: usize = 16;

fn encoded(entry: &Entry) -> Result<Vec<u8>, Trouble> {
    entry.encode().map_err(|error| Trouble::Failed(Box::new(error)))
}

fn token() -> String {
    format!("{:032x}", OwnerToken::random().as_u128())
}

fn claim() -> u64 {
    Incarnation::now().get()
}
