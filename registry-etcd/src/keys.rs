//! Where things lie. Pure.

use registry_core::{Error, InstanceId, Result, ServiceName};

/// The keys under one prefix.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Result<Self> {
        let prefix = prefix.trim_end_matches('/');
        if prefix.len() > 256 || prefix.chars().any(|c| c.is_control() || c == '~') {
            let reason = format!("{prefix:?}: at most 256 bytes, without control characters and '~'");
            return Err(Error::invalid("prefix", reason));
        }
        Ok(Self { prefix: prefix.to_owned() })
    }

    pub(crate) fn entry(&self, service: &ServiceName, id: &InstanceId) -> String {
        format!("{}/{service}/{id}", self.prefix)
    }

    /// The range of all entries of `service`.
    pub(crate) fn service(&self, service: &ServiceName) -> (String, String) {
        // '0' follows '/'.
        (format!("{}/{service}/", self.prefix), format!("{}/{service}0", self.prefix))
    }

    /// The range of all entries of services whose names start with `prefix`.
    pub(crate) fn services(&self, prefix: &str) -> (String, String) {
        let start = format!("{}/{prefix}", self.prefix);
        // '~' is above every character of a name, and below the key of the store's identity.
        let end = format!("{start}~");
        (start, end)
    }

    /// The range of everything, the identity of the store included.
    pub(crate) fn all(&self) -> (String, String) {
        (format!("{}/", self.prefix), format!("{}0", self.prefix))
    }

    pub(crate) fn store(&self) -> String {
        format!("{}/~store", self.prefix)
    }

    /// The service and the instance that a key is of; `None` for a key that is none of ours.
    pub(crate) fn parse(&self, key: &[u8]) -> Option<(ServiceName, InstanceId)> {
        let key = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?.strip_prefix('/')?;
        let (service, id) = key.split_once('/')?;
        Some((ServiceName::new(service).ok()?, InstanceId::new(id).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_service_lies_in_the_range_of_another() {
        let keys = Keys::new("/registry/").unwrap();
        let names =
            ["user", "user.rpc", "user-2", "user0", "user_"].map(|name| ServiceName::new(name).unwrap());
        for owner in &names {
            let key = keys.entry(owner, &InstanceId::new("10.0.0.7:80").unwrap());
            for other in &names {
                let (start, end) = keys.service(other);
                assert_eq!(start <= key && key < end, owner == other, "{key} in {start}..{end}");
            }
            assert_eq!(keys.parse(key.as_bytes()).unwrap().0, *owner);
        }
    }

    #[test]
    fn a_prefix_selects_names_and_never_the_identity_of_the_store() {
        let keys = Keys::new("/registry").unwrap();
        let key = |name: &str| keys.entry(&ServiceName::new(name).unwrap(), &InstanceId::new("a").unwrap());
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
        let keys = Keys::new("/registry").unwrap();
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
