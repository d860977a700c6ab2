//! Names, parsed once at the edge, so that no name can be ambiguous in any store.

use std::fmt;
use std::str::FromStr;

use smol_str::SmolStr;

use crate::endpoint::Endpoint;
use crate::error::{Error, Result};

/// The rule that a kind of name follows.
struct Rule {
    field: &'static str,
    max: usize,
    /// Punctuation allowed beside ASCII letters and digits.
    punctuation: &'static str,
    /// What of it is allowed as the first character.
    leading: &'static str,
    /// Whether a byte is allowed after the first.
    allowed: [bool; 256],
}

static SERVICE: Rule = Rule::new("service name", ServiceName::MAX_LEN, ".-_", "");
static INSTANCE: Rule = Rule::new("instance id", InstanceId::MAX_LEN, ".-_:", ":");
static ZONE: Rule = Rule::new("zone", Zone::MAX_LEN, ".-_", "");
static VERSION: Rule = Rule::new("version", Version::MAX_LEN, ".-_+", "");

impl Rule {
    const fn new(field: &'static str, max: usize, punctuation: &'static str, leading: &'static str) -> Self {
        let mut allowed = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            allowed[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let mut at = 0;
        while at < punctuation.len() {
            allowed[punctuation.as_bytes()[at] as usize] = true;
            at += 1;
        }
        Self { field, max, punctuation, leading, allowed }
    }

    fn check(&self, text: &str) -> Result<()> {
        let bytes = text.as_bytes();
        let Some(first) = bytes.first() else {
            return Err(Error::invalid(self.field, "is empty"));
        };
        if bytes.len() > self.max {
            let reason = format!("has {} bytes, at most {} are allowed", bytes.len(), self.max);
            return Err(Error::invalid(self.field, reason));
        }
        let begins = first.is_ascii_alphanumeric() || self.leading.as_bytes().contains(first);
        if begins && bytes.iter().all(|byte| self.allowed[usize::from(*byte)]) {
            return Ok(());
        }
        Err(self.refusal(text))
    }

    /// What is wrong with the characters.
    #[cold]
    fn refusal(&self, text: &str) -> Error {
        let allowed = |at: usize, c: char| {
            c.is_ascii_alphanumeric()
                || if at == 0 { self.leading.contains(c) } else { self.punctuation.contains(c) }
        };
        let (at, c) = text.char_indices().find(|(at, c)| !allowed(*at, *c)).unwrap_or_default();
        let place = if at == 0 { "as its first character" } else { "in it" };
        let reason = format!(
            "{c:?} is not allowed {place} (byte {at}): ASCII letters, digits and {:?} are, starting with a letter or digit",
            self.punctuation
        );
        Error::invalid(self.field, reason)
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $rule:ident, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(SmolStr);

        impl $name {
            /// The greatest length, in bytes.
            pub const MAX_LEN: usize = $max;

            /// Parses `text`.
            ///
            /// # Errors
            /// [`InvalidInput`](crate::ErrorKind::InvalidInput), with the field and the reason.
            pub fn new(text: impl AsRef<str>) -> Result<Self> {
                let text = text.as_ref();
                $rule.check(text)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = Error;

            fn try_from(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<&$name> for $name {
            type Error = Error;

            fn try_from(name: &$name) -> Result<Self> {
                Ok(name.clone())
            }
        }
    };
}

name_type! {
    /// The name of a service, such as `user.rpc`.
    ///
    /// 1 to 253 bytes: ASCII letters, digits, `.`, `-` and `_`, starting with a letter or digit. So a
    /// name holds no separator, no glob character and no control character in any store, is never `.`
    /// or `..`, and cannot reach outside its own prefix. Names are compared byte by byte.
    ServiceName, SERVICE, 253
}

name_type! {
    /// The id of one running copy of a service, unique within the service.
    ///
    /// 1 to 264 bytes: as [`ServiceName`], and `:` as well, also in front. By default it is derived from the
    /// advertised endpoint ([`InstanceId::from_endpoint`]), so that a restarted process replaces its own old
    /// entry at once.
    InstanceId, INSTANCE, 264
}

name_type! {
    /// Where an instance runs, such as `eu-central-1a`; for preferring what is near.
    ///
    /// 1 to 64 bytes: ASCII letters, digits, `.`, `-` and `_`, starting with a letter or digit.
    Zone, ZONE, 64
}

name_type! {
    /// The version of the software an instance runs, such as `1.4.2` or `1.5.0-rc.1+5`.
    ///
    /// 1 to 64 bytes: ASCII letters, digits, `.`, `-`, `_` and `+`, starting with a letter or digit.
    Version, VERSION, 64
}

impl InstanceId {
    /// The default id: the endpoint's `host:port`, an IPv6 host without its brackets. The port is always
    /// there, so two addresses never share an id; two protocols at one address do.
    #[must_use]
    pub fn from_endpoint(endpoint: &Endpoint) -> Self {
        let host = endpoint.host();
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        Self(format!("{host}:{}", endpoint.port()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused_and_the_field_is_named() {
        let long = "a".repeat(254);
        for bad in [
            "", ".", "..", "../x", "a/b", "/a", "a b", "a\0b", "a\nb", "a*", "a?", "[a]", "{a}", "a:b", "-a",
            "_a", "é", "a~meta", "a,b", "a\\b", "a^", &long,
        ] {
            let error = ServiceName::new(bad).expect_err(bad);
            assert_eq!(error.field(), Some("service name"), "{bad:?}: {error}");
        }
        for bad in ["", "a/b", "a*", "a b", "..", &"a".repeat(265)] {
            assert_eq!(InstanceId::new(bad).expect_err(bad).field(), Some("instance id"));
        }
    }

    #[test]
    fn ordinary_names_are_accepted() {
        for good in ["user.rpc", "a", "A-1_b.c", &"a".repeat(253)] {
            assert_eq!(ServiceName::new(good).unwrap().as_str(), good);
        }
        for good in ["10.0.0.7:8080", "::1:8080", "node-1", "7587860139302948609"] {
            assert_eq!(InstanceId::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn every_endpoint_gives_a_valid_id_of_its_own() {
        let of = |text: &str| InstanceId::from_endpoint(&text.parse().unwrap());
        assert_eq!(of("10.0.0.7:8080").as_str(), "10.0.0.7:8080");
        assert_eq!(of("[fd00::1]:8080").as_str(), "fd00::1:8080");
        for id in [of("[::1]:80"), of("[fd00::1]:80"), of("host-1.local:65535")] {
            assert_eq!(InstanceId::new(id.as_str()).unwrap(), id);
        }
    }
}
