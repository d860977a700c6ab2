//! What a registry's URL asks for: parsed, nothing opened.

use registry_core::{Error, Operation, Result};

/// A kind of registry, and what its URLs look like.
pub(crate) struct Scheme {
    pub(crate) name: &'static str,
    pub(crate) backend: Backend,
}

/// What serves a scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Memory,
    Etcd,
    Redis,
}

pub(crate) const SCHEMES: [Scheme; 9] = [
    Scheme { name: "memory", backend: Backend::Memory },
    Scheme { name: "etcd", backend: Backend::Etcd },
    Scheme { name: "etcds", backend: Backend::Etcd },
    Scheme { name: "redis", backend: Backend::Redis },
    Scheme { name: "rediss", backend: Backend::Redis },
    Scheme { name: "redis+sentinel", backend: Backend::Redis },
    Scheme { name: "rediss+sentinel", backend: Backend::Redis },
    Scheme { name: "redis+cluster", backend: Backend::Redis },
    Scheme { name: "rediss+cluster", backend: Backend::Redis },
];

/// A registry's URL in parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address<'a> {
    pub(crate) scheme: &'static str,
    pub(crate) backend: Backend,
    /// All after `://`.
    pub(crate) rest: &'a str,
}

impl<'a> Address<'a> {
    /// Errors never repeat what comes after the scheme: it may hold a password.
    pub(crate) fn parse(url: &'a str) -> Result<Self> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(invalid(format!("has no scheme; it starts with one of {}", known())));
        };
        // RFC 3986: schemes are compared without regard to case.
        let found = SCHEMES.iter().find(|known| known.name.eq_ignore_ascii_case(scheme));
        let Some(&Scheme { name, backend }) = found else {
            // What is no scheme may hold a password, and is not repeated.
            let of_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
            if !scheme.chars().all(of_scheme) {
                return Err(invalid(format!("has no scheme; it starts with one of {}", known())));
            }
            return Err(invalid(format!(
                "has the unknown scheme {scheme:?}; it starts with one of {}",
                known()
            )));
        };
        Ok(Self { scheme: name, backend, rest })
    }

    /// For `memory://name`: the name of the store; `None` for a store of its own.
    pub(crate) fn store_name(&self) -> Result<Option<&'a str>> {
        const MAX: usize = 64;
        let name = self.rest.strip_suffix('/').unwrap_or(self.rest);
        if name.is_empty() {
            return Ok(None);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if name.len() > MAX || !name.chars().all(allowed) {
            return Err(invalid(format!(
                "is not memory:// or memory://name, where a name has at most {MAX} ASCII letters, digits, '.', '-' and '_'"
            )));
        }
        Ok(Some(name))
    }
}

fn invalid(reason: String) -> Error {
    Error::invalid("url", reason).with_operation(Operation::Connect)
}

fn known() -> String {
    SCHEMES.map(|scheme| format!("{}://", scheme.name)).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_scheme_is_recognised_in_any_case() {
        for Scheme { name, backend } in SCHEMES {
            let url = format!("{name}://rest");
            assert_eq!(Address::parse(&url).unwrap(), Address { scheme: name, backend, rest: "rest" });
            assert_eq!(Address::parse(&url.to_uppercase()).unwrap().scheme, name);
        }
    }

    #[test]
    fn a_store_has_a_name_or_none() {
        let name = |url| Address::parse(url).unwrap().store_name().map(|name| name.map(str::to_owned));
        assert_eq!(name("memory://").unwrap(), None);
        assert_eq!(name("memory:///").unwrap(), None);
        assert_eq!(name("memory://orders-1").unwrap().as_deref(), Some("orders-1"));
        assert_eq!(name("memory://orders-1/").unwrap().as_deref(), Some("orders-1"));
        for bad in [
            "memory://a/b",
            "memory://a:80",
            "memory://user@a",
            "memory://a?ttl=1",
            "memory://a b",
            "memory://ü",
        ] {
            assert_eq!(name(bad).unwrap_err().field(), Some("url"), "{bad}");
        }
        assert!(name(&format!("memory://{}", "a".repeat(65))).is_err());
    }
}
