//! What the experiments on this claim share: the names of the arms, contestants, and how numbers are written.

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

/// Of several arms of one kind: shown if one shows it, not known if none does and one is not known.
pub(super) fn either(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}

/// A whole number in groups of three digits.
pub(super) fn count(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in s, or below a second in ms.
pub(super) fn seconds(time: f64) -> String {
    if time.abs() < 0.9995 { format!("{:.0} ms", time * 1_000.0) } else { format!("{time:.1} s") }
}

#[cfg(test)]
mod tests {
    use super::{count, either, seconds};

    #[test]
    fn numbers_are_written_to_be_read() {
        assert_eq!([count(0.0), count(999.0), count(56_153.0)], ["0", "999", "56,153"]);
        assert_eq!(count(1_000_000.0), "1,000,000");
        assert_eq!([seconds(0.0204), seconds(0.9996), seconds(21.72)], ["20 ms", "1.0 s", "21.7 s"]);
    }

    #[test]
    fn one_of_two_ways_is_enough_to_show_it_and_both_are_needed_to_show_that_it_is_not_there() {
        assert_eq!(either(None, Some(true)), Some(true));
        assert_eq!(either(Some(false), None), None);
        assert_eq!(either(Some(false), Some(false)), Some(false));
    }
}
