//! go-zero's layout: `<Key>/<number>` holds `host:port`, and what go-zero has no place for lies beside it.
//!
//! | key | value | lease |
//! | --- | --- | --- |
//! | `<Key>/<number>` | `host:port` of the first endpoint, raw: what go-zero's clients read; absent while draining | of its owner |
//! | `<Key>.~meta/<id>` | the entry, as [`registry_core::codec`] writes it: the guard | the same |
//! | `<Key>.~meta/~gone/<id>` | nothing: the owner's goodbye, gone with its lease a moment later | the same |
//! | `~registry/store` | the identity of the store | none |
//!
//! go-zero writes the lease's id, or a configured one, as `<number>`, and never parses it. Ours has 20 digits, the first of which is 0: a
//! decimal 64-bit integer like any other, and one that go-zero never writes, so that a key alone tells whose it is. It is derived from lease and
//! address: another address is another key. What go-zero servers publish is listed as `go-zero:<number>`, an id that nobody else can have here.
//!
//! Nothing but addresses may lie under `<Key>/`, because every go-zero client would call it. Names end before `~`, so
//! `[<Key>.~meta/, <Key>0)` holds both kinds of keys of one service and none of another.

use etcd_client::KeyValue;
use registry_core::codec::Stored;
use registry_core::{Endpoint, Entry, Error, Incarnation, Instance, InstanceId, Result, ServiceName, Status};

use super::{Codec, GOODBYE, Key, revision};
use crate::proof::fnv;

/// In front of a guard's id.
const META: &str = ".~meta/";
/// In front of the ids of what go-zero servers publish.
const FOREIGN: &str = "go-zero:";

#[derive(Debug)]
pub(crate) struct GoZero {
    /// What go-zero's `Key` has in front of the service's name: nothing, or something that ends with `/`.
    prefix: String,
}

impl GoZero {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") } }
    }
}

/// The number in the key of an address of ours.
fn number(lease: i64, address: &str) -> String {
    // 63 bits have at most 19 digits, so the first of 20 is 0.
    let number = fnv(&[&lease.to_be_bytes(), address.as_bytes()]) & (u64::MAX >> 1);
    format!("{:020}", number.max(1))
}

fn is_ours(number: &str) -> bool {
    number.len() == 20 && number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit())
}

impl Codec for GoZero {
    fn range(&self, service: &ServiceName) -> (String, String) {
        // '0' follows '/'.
        (format!("{}{service}{META}", self.prefix), format!("{}{service}0", self.prefix))
    }

    fn services(&self, prefix: &str) -> (String, String) {
        let all = format!("{}{prefix}", self.prefix);
        // Names begin with a letter or a digit, and etcd takes no empty key for a start.
        let start = if prefix.is_empty() { format!("{all}0") } else { all.clone() };
        (start, format!("{all}~"))
    }

    fn store(&self) -> String {
        // Under no prefix: whatever lies under a `Key` is an address to go-zero.
        "~registry/store".to_owned()
    }

    fn guard(&self, service: &ServiceName, id: &InstanceId) -> String {
        format!("{}{service}{META}{id}", self.prefix)
    }

    fn beside(&self, stored: &Stored, lease: i64) -> Option<(String, String)> {
        let instance = &stored.instance;
        if instance.status() != Status::Up {
            return None;
        }
        let address = instance.endpoint().authority();
        Some((format!("{}{}/{}", self.prefix, instance.service(), number(lease, &address)), address))
    }

    fn goodbye(&self, service: &ServiceName, id: &InstanceId) -> String {
        format!("{}{service}{META}{GOODBYE}{id}", self.prefix)
    }

    fn goodbye_of(&self, key: &[u8]) -> Option<(ServiceName, InstanceId)> {
        let key = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?;
        let (service, id) = key.split_once(META)?;
        Some((ServiceName::new(service).ok()?, InstanceId::new(id.strip_prefix(GOODBYE)?).ok()?))
    }

    fn allows(&self, id: &InstanceId) -> bool {
        !id.as_str().starts_with(FOREIGN)
    }

    fn parse(&self, key: &[u8]) -> Option<Key> {
        let key = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?;
        let (service, suffix) = key.rsplit_once('/').filter(|(_, suffix)| !suffix.is_empty())?;
        if let Some(service) = service.strip_suffix(META.trim_end_matches('/')) {
            let id = InstanceId::new(suffix).ok().filter(|id| self.allows(id))?;
            return Some(Key::Guard(ServiceName::new(service).ok()?, id));
        }
        let service = ServiceName::new(service).ok()?;
        Some(if is_ours(suffix) {
            Key::Beside(service)
        } else {
            Key::Foreign(service, InstanceId::new(format!("{FOREIGN}{suffix}")).ok()?)
        })
    }

    fn foreign(&self, service: &ServiceName, id: &InstanceId, kv: &KeyValue) -> Result<Entry> {
        let address =
            std::str::from_utf8(kv.value()).map_err(|_| Error::invalid("endpoint", "is not UTF-8"))?;
        let endpoint: Endpoint = address.parse()?;
        if endpoint.protocol().is_some() {
            return Err(Error::invalid("endpoint", format!("{address:?} is not host:port")));
        }
        let instance = Instance::builder(service).id(id).endpoint(endpoint).build()?;
        let created = revision(kv.create_revision());
        Ok(Entry::new(instance, Incarnation::default(), created, revision(kv.mod_revision())))
    }
}

#[cfg(test)]
mod tests {
    use registry_core::OwnerToken;

    use super::*;

    fn stored(status: Status) -> Stored {
        let instance = Instance::builder("user.rpc")
            .id("node-1")
            .endpoint("10.0.0.7:8080")
            .endpoint("10.0.0.7:9090")
            .status(status)
            .build()
            .unwrap();
        Stored::new(instance, Incarnation::new(1), OwnerToken::from_u128(2))
    }

    #[test]
    fn an_address_lies_where_go_zero_looks_and_nothing_else_does() {
        let keys = GoZero::new("");
        let (key, value) = keys.beside(&stored(Status::Up), 7_587_860_139_302_948_609).unwrap();
        assert_eq!(value, "10.0.0.7:8080");
        let number = key.strip_prefix("user.rpc/").unwrap();
        assert!(number.parse::<i64>().unwrap() > 0 && is_ours(number), "{number}");
        let guard = keys.guard(&ServiceName::new("user.rpc").unwrap(), &InstanceId::new("node-1").unwrap());
        assert_eq!(guard, "user.rpc.~meta/node-1");
        assert!(!guard.starts_with("user.rpc/") && !keys.store().starts_with("user.rpc/"));
    }

    #[test]
    fn a_goodbye_is_in_the_range_of_its_service_no_entry_and_nothing_that_go_zero_reads() {
        let (service, id) = (ServiceName::new("user.rpc").unwrap(), InstanceId::new("10.0.0.7:80").unwrap());
        for prefix in ["", "team"] {
            let keys = GoZero::new(prefix);
            let key = keys.goodbye(&service, &id);
            let (start, end) = keys.range(&service);
            assert!(start <= key && key < end && !key.contains("user.rpc/"));
            assert_eq!(keys.parse(key.as_bytes()), None);
            assert_eq!(keys.goodbye_of(key.as_bytes()), Some((service.clone(), id.clone())));
            assert_eq!(keys.goodbye_of(keys.guard(&service, &id).as_bytes()), None);
        }
    }

    #[test]
    fn one_who_drains_has_no_address_and_another_address_is_another_key() {
        let keys = GoZero::new("");
        assert_eq!(keys.beside(&stored(Status::Draining), 7), None);
        assert_ne!(number(7, "10.0.0.7:8080"), number(7, "10.0.0.8:8080"));
        assert_ne!(number(7, "10.0.0.7:8080"), number(8, "10.0.0.7:8080"));
        for lease in 0..10_000 {
            assert!(is_ours(&number(lease, "10.0.0.7:8080")));
        }
    }

    #[test]
    fn a_key_alone_tells_whose_it_is() {
        let keys = GoZero::new("team");
        let user = || ServiceName::new("user.rpc").unwrap();
        let id = |id: &str| InstanceId::new(id).unwrap();
        for (key, means) in [
            (
                "team/user.rpc/7587860139302948609",
                Some(Key::Foreign(user(), id("go-zero:7587860139302948609"))),
            ),
            ("team/user.rpc/42", Some(Key::Foreign(user(), id("go-zero:42")))),
            ("team/user.rpc/07587860139302948609", Some(Key::Beside(user()))),
            ("team/user.rpc.~meta/10.0.0.7:8080", Some(Key::Guard(user(), id("10.0.0.7:8080")))),
            ("team/user.rpc.~meta/42", Some(Key::Guard(user(), id("42")))),
            ("team/user.rpc.~meta/go-zero:42", None),
            ("team/user.rpc/", None),
            ("team/user.rpc", None),
            ("user.rpc/42", None),
            ("team/a/user.rpc/42", None),
            ("~registry/store", None),
        ] {
            assert_eq!(keys.parse(key.as_bytes()), means, "{key}");
        }
    }

    #[test]
    fn no_service_lies_in_the_range_of_another() {
        let keys = GoZero::new("");
        let names = ["user", "user.rpc", "user-2", "user0", "user_", "user.~"]
            .into_iter()
            .filter_map(|name| ServiceName::new(name).ok())
            .collect::<Vec<_>>();
        for owner in &names {
            let guard = keys.guard(owner, &InstanceId::new("10.0.0.7:80").unwrap());
            for key in [guard, format!("{owner}/42"), format!("{owner}/{}", number(1, "a:1"))] {
                for other in &names {
                    let (start, end) = keys.range(other);
                    assert_eq!(start <= key && key < end, owner == other, "{key} in {start}..{end}");
                }
            }
        }
    }
}
