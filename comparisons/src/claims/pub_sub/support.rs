//! What the experiments on this claim share: the names of the arms, contestants, and what several runs show.

use std::net::SocketAddr;

use registry_etcd::{EtcdOptions, EtcdRegistry};
use registry_memory::MemoryRegistry;
use registry_redis::{RedisOptions, RedisRegistry};

use crate::contestants::Ours;
use crate::experiment::Trouble;
use crate::record::Records;

pub(super) const MEMORY: &str = "memory";
pub(super) const ETCD: &str = "etcd 1 node";
pub(super) const ETCD_3: &str = "etcd 3 nodes";
pub(super) const REDIS: &str = "redis";
pub(super) const HASH: &str = "redis-naive hash";
pub(super) const RELOADING: &str = "redis-naive hash, reloading";
pub(super) const KEY: &str = "redis-naive key";

/// A registry in the memory of this process.
pub(super) fn memory() -> Ours {
    Ours::new(MemoryRegistry::new())
}

/// A client of an etcd.
pub(super) fn etcd(endpoints: impl IntoIterator<Item = String>) -> Result<Ours, Trouble> {
    Ok(Ours::new(EtcdRegistry::new(EtcdOptions::new(endpoints))?))
}

/// A client of one Redis.
pub(super) fn redis(address: SocketAddr) -> Result<Ours, Trouble> {
    Ok(Ours::new(RedisRegistry::new(RedisOptions::standalone(address.to_string()))?))
}

/// Whether an arm shows something: some run that counts has a figure above `most`. None if no run tells.
pub(super) fn any_above(records: &Records, arm: &str, figure: &str, most: f64) -> Option<bool> {
    records.max(arm, figure).map(|value| value > most)
}

/// Why nothing is decided if one of these arms broke off.
pub(super) fn broken_off(records: &Records, arms: &[&str]) -> Option<String> {
    let mut broken = records.all().filter(|record| record.is_broken_off());
    let record =
        broken.find(|record| arms.contains(&record.arm.as_str()) || arms.contains(&record.step.as_str()))?;
    Some(format!("a run of {} broke off", record.arm))
}

/// Of several arms of one kind: shown if one shows it, not known if none does and one is not known.
pub(super) fn either(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{broken_off, either};
    use crate::record::{Outcome, Record, Records};

    #[test]
    fn what_broke_off_decides_nothing_if_it_was_to_decide() {
        let broken = Record { outcome: Outcome::Failed { why: "no port".to_owned() }, ..Record::new("a", 0) };
        let records = Records::from_iter([Record::new("b", 0), broken]);
        assert_eq!(broken_off(&records, &["a", "b"]).as_deref(), Some("a run of a broke off"));
        assert_eq!(broken_off(&records, &["b"]), None);
    }

    #[test]
    fn one_of_two_ways_is_enough_to_show_it_and_both_are_needed_to_show_that_it_is_not_there() {
        assert_eq!(either(None, Some(true)), Some(true));
        assert_eq!(either(Some(false), None), None);
        assert_eq!(either(Some(false), Some(false)), Some(false));
    }
}
