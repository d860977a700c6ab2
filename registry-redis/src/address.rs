//! Where a server listens. Pure.

use std::fmt;

use registry_core::{Error, Result};

/// A host, by name or by number, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    /// Reads `host:port`, `[v6]:port`, or a host alone.
    pub(crate) fn parse(text: &str, default_port: u16) -> Result<Self> {
        let bad = |reason| Error::invalid("server", format!("{text:?}: {reason}"));
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(|| bad("the bracket is not closed"))?;
            (host, rest.strip_prefix(':').or(rest.is_empty().then_some("")))
        } else {
            match text.rsplit_once(':') {
                Some((host, port)) if !host.contains(':') => (host, Some(port)),
                _ => (text, Some("")),
            }
        };
        let port = match port {
            Some("") => default_port,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| bad("the port is no number of 1 to 65535"))?,
            None => return Err(bad("something follows the bracket")),
        };
        if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c.is_control() || "/@?#".contains(c))
        {
            return Err(bad("is not host:port"));
        }
        Ok(Self { host: host.to_owned(), port })
    }

    /// Reads what servers announce: `host:port`, where the host may be a v6 address without brackets.
    pub(crate) fn announced(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some(Self { host: host.to_owned(), port: port.parse().ok()? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for (text, host, port) in [
            ("a", "a", 6379),
            ("a:1", "a", 1),
            ("10.0.0.1:6380", "10.0.0.1", 6380),
            ("[::1]:7", "::1", 7),
            ("[fd00::1]", "fd00::1", 6379),
            ("::1", "::1", 6379),
        ] {
            assert_eq!(Address::parse(text, 6379).unwrap(), Address { host: host.into(), port }, "{text}");
        }
        for bad in ["", ":1", "a:0", "a:x", "a:70000", "[::1", "[::1]x", "a b:1", "redis://a:1"] {
            assert!(Address::parse(bad, 6379).is_err(), "{bad}");
        }
        assert_eq!(Address::announced("fd00::1:7000").unwrap().to_string(), "[fd00::1]:7000");
    }
}
