//! The least that stores a change and announces it, by the client libraries alone: what the stores themselves can do, to tell it from what a
//! registry on top of them adds. Values are as large as those of a registry, and no arm does anything that another does not. They never connect
//! again, so they are for servers that are sound.

mod etcd;
mod redis;

pub use etcd::RawEtcd;
pub use redis::{Announce, RawRedis};

/// About what an instance of a registry takes, in bytes.
const SIZE: usize = 200;

/// What is stored: the value, padded.
fn padded(value: u64) -> String {
    format!("{value:<SIZE$}")
}

fn parse(stored: &str) -> Option<u64> {
    stored.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{SIZE, padded, parse};

    #[test]
    fn what_is_stored_is_understood_and_as_large_as_in_a_registry() {
        assert_eq!((padded(7).len(), parse(&padded(7))), (SIZE, Some(7)));
        assert_eq!(parse("nonsense"), None);
    }
}
