//! Who watches a service, as the measuring of latencies in `comparisons` takes them: the consumer's snapshot of the registry, and raw clients.

mod etcd;
mod redis;
mod snapshot;

pub use self::etcd::PutAndWatch;
pub use self::redis::ScriptAndStream;
pub use self::snapshot::Snapshots;

/// Under which name an instance carries the value that tells one change from another.
const VALUE: &str = "value";

/// The value in a stored entry, found without reading the rest of it.
fn value_in(stored: &[u8]) -> Option<u64> {
    const MARK: &[u8] = br#""value":""#;
    let begin = stored.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let digits = stored[begin..].iter().take_while(|byte| byte.is_ascii_digit());
    let end = begin + digits.count();
    std::str::from_utf8(&stored[begin..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use comparisons::contestants::instance;

    use super::value_in;
    use crate::clients::Entry;

    #[test]
    fn the_value_is_found_in_what_is_stored() {
        let entry = Entry::of(&instance("user.rpc", "a", 4711).unwrap());
        assert_eq!(value_in(&entry.encode().unwrap()), Some(4711));
        assert_eq!(value_in(b"{}"), None);
    }
}
