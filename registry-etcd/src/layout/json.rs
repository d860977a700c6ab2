//! Our own layout: `<prefix>/<service>/<id>` holds an entry as [`registry_core::codec`] writes it.

use etcd_client::KeyValue;
use registry_core::codec::Stored;
use registry_core::{Entry, Error, InstanceId, Result, ServiceName};

use super::{Codec, GOODBYE, Key};

#[derive(Debug)]
pub(crate) struct Json {
    prefix: String,
}

impl Json {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }
}

impl Codec for Json {
    fn range(&self, service: &ServiceName) -> (String, String) {
        // '0' follows '/'.
        (format!("{}/{service}/", self.prefix), format!("{}/{service}0", self.prefix))
    }

    fn services(&self, prefix: &str) -> (String, String) {
        let start = format!("{}/{prefix}", self.prefix);
        // '~' is above every character of a name, and below the key of the store's identity.
        let end = format!("{start}~");
        (start, end)
    }

    fn store(&self) -> String {
        format!("{}/~store", self.prefix)
    }

    fn guard(&self, service: &ServiceName, id: &InstanceId) -> String {
        format!("{}/{service}/{id}", self.prefix)
    }

    fn beside(&self, _: &Stored, _: i64) -> Option<(String, String)> {
        None
    }

    fn goodbye(&self, service: &ServiceName, id: &InstanceId) -> String {
        format!("{}/{service}/{GOODBYE}{id}", self.prefix)
    }

    fn goodbye_of(&self, key: &[u8]) -> Option<(ServiceName, InstanceId)> {
        let key = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?.strip_prefix('/')?;
        let (service, id) = key.split_once('/')?;
        Some((ServiceName::new(service).ok()?, InstanceId::new(id.strip_prefix(GOODBYE)?).ok()?))
    }

    fn allows(&self, _: &InstanceId) -> bool {
        true
    }

    fn parse(&self, key: &[u8]) -> Option<Key> {
        let key = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?.strip_prefix('/')?;
        let (service, id) = key.split_once('/')?;
        Some(Key::Guard(ServiceName::new(service).ok()?, InstanceId::new(id).ok()?))
    }

    fn foreign(&self, _: &ServiceName, _: &InstanceId, _: &KeyValue) -> Result<Entry> {
        Err(Error::invalid("key", "is no entry of this layout"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_service_lies_in_the_range_of_another() {
        let keys = Json::new("/registry");
        let names =
            ["user", "user.rpc", "user-2", "user0", "user_"].map(|name| ServiceName::new(name).unwrap());
        for owner in &names {
            let key = keys.guard(owner, &InstanceId::new("10.0.0.7:80").unwrap());
            for other in &names {
                let (start, end) = keys.range(other);
                assert_eq!(start <= key && key < end, owner == other, "{key} in {start}..{end}");
            }
            assert_eq!(keys.parse(key.as_bytes()).unwrap().service(), owner);
        }
    }

    #[test]
    fn a_goodbye_is_in_the_range_of_its_service_and_no_entry() {
        let keys = Json::new("/registry");
        let (service, id) = (ServiceName::new("user.rpc").unwrap(), InstanceId::new("10.0.0.7:80").unwrap());
        let key = keys.goodbye(&service, &id);
        let (start, end) = keys.range(&service);
        assert!(start <= key && key < end);
        assert_eq!(keys.parse(key.as_bytes()), None);
        assert_eq!(keys.goodbye_of(key.as_bytes()), Some((service.clone(), id.clone())));
        assert_eq!(keys.goodbye_of(keys.guard(&service, &id).as_bytes()), None);
    }

    #[test]
    fn a_prefix_selects_names_and_never_the_identity_of_the_store() {
        let keys = Json::new("/registry");
        let key = |name: &str| keys.guard(&ServiceName::new(name).unwrap(), &InstanceId::new("a").unwrap());
        for (prefix, name, selected) in [
            ("", "user", true),
            ("us", "user", true),
            ("user", "user.rpc", true),
            ("user.", "user", false),
            ("z", "user", false),
        ] {
            let (start, end) = keys.services(prefix);
            assert_eq!(start <= key(name) && key(name) < end, selected, "{prefix} {name}");
        }
        let (start, end) = keys.services("");
        assert!(!(start <= keys.store() && keys.store() < end));
    }

    #[test]
    fn foreign_keys_are_none_of_ours() {
        let keys = Json::new("/registry");
        for key in [
            "",
            "/registry",
            "/registry/user",
            "/registry/user/",
            "/registry/user/a/b",
            "/registry/~store",
            "/other/user/a",
        ] {
            assert_eq!(keys.parse(key.as_bytes()), None, "{key}");
        }
        assert_eq!(keys.parse(b"/registry/\xff/a"), None);
    }
}
