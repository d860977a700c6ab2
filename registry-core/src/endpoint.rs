//! Where an instance can be reached.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::str::FromStr;

use smol_str::{SmolStr, StrExt, format_smolstr};

use crate::error::{Error, Result};

const FIELD: &str = "endpoint";

/// One address of an instance: `host:port`, or `protocol://host:port` where an instance speaks several.
///
/// The host is an IPv4 address, an IPv6 address in brackets, or a DNS name (RFC 1123: at most 253 bytes,
/// labels of at most 63). The port is 1 to 65535. Unspecified addresses (`0.0.0.0`, `[::]`) are refused: nobody
/// can call them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    protocol: Option<SmolStr>,
    host: SmolStr,
    port: u16,
}

impl Endpoint {
    /// An endpoint from its parts. An IPv6 host may come with or without brackets.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for what the type's documentation excludes.
    pub fn new(host: &str, port: u16) -> Result<Self> {
        if port == 0 {
            return Err(Error::invalid(
                FIELD,
                "port 0 cannot be called; bind first and advertise the port given",
            ));
        }
        Ok(Self { protocol: None, host: parse_host(host)?, port })
    }

    /// The same endpoint, marked with the protocol spoken there, such as `grpc` or `http`.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) unless it is a URL scheme of at most 32 bytes
    /// (RFC 3986, lower case).
    pub fn with_protocol(mut self, protocol: &str) -> Result<Self> {
        let letter = protocol.starts_with(|c: char| c.is_ascii_lowercase());
        let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
        if !letter || protocol.len() > 32 || !protocol.chars().all(rest) {
            let reason = format!(
                "{protocol:?} is not a protocol: a lower-case letter, then letters, digits, '+', '-', '.'"
            );
            return Err(Error::invalid(FIELD, reason));
        }
        self.protocol = Some(protocol.into());
        Ok(self)
    }

    /// The protocol spoken there, where it was given.
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// The host: an IPv4 address, an IPv6 address in brackets, or a DNS name.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 1 to 65535.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, without the protocol.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

fn parse_host(host: &str) -> Result<SmolStr> {
    let invalid = |reason: &str| Err(Error::invalid(FIELD, format!("host {host:?} {reason}")));
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    if bare.is_some() || host.contains(':') {
        return match bare.unwrap_or(host).parse::<Ipv6Addr>() {
            Ok(ip) if ip.to_canonical().is_unspecified() => {
                invalid("is the unspecified address; advertise one that others can call")
            }
            Ok(ip) => Ok(format_smolstr!("[{ip}]")),
            Err(_) => invalid("is not an IPv6 address"),
        };
    }
    // Numbers in the last label mean an IPv4 address (WHATWG URL, host parsing), never a name.
    if host.rsplit('.').next().is_some_and(is_number) {
        return match host.parse::<Ipv4Addr>() {
            Ok(ip) if ip.is_unspecified() => {
                invalid("is the unspecified address; advertise one that others can call")
            }
            // There is only one way to write it.
            Ok(_) => Ok(host.into()),
            Err(_) => invalid("is not an IPv4 address"),
        };
    }
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if host.is_empty() {
        return invalid("is empty");
    }
    if host.len() > 253 || !host.split('.').all(label_ok) || host.starts_with('_') {
        return invalid("is not a DNS name");
    }
    Ok(host.to_ascii_lowercase_smolstr())
}

/// Decimal, or hexadecimal: what resolvers take for a part of an IPv4 address.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit()),
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // Most are of this form, which is told soonest as a whole.
        if let Ok(address) = text.parse::<SocketAddrV4>()
            && address.port() != 0
            && !address.ip().is_unspecified()
            && let Some((host, _)) = text.rsplit_once(':')
        {
            return Ok(Self { protocol: None, host: host.into(), port: address.port() });
        }
        // No protocol has a colon in it.
        let of_protocol =
            text.split_once(':').and_then(|(name, rest)| Some((name, rest.strip_prefix("//")?)));
        let (protocol, authority) = match of_protocol {
            Some((protocol, rest)) => (Some(protocol), rest),
            None => (None, text),
        };
        let Some((host, port)) = authority.rsplit_once(':') else {
            return Err(Error::invalid(FIELD, format!("{text:?} has no port; write host:port")));
        };
        if host.contains(':') && !host.starts_with('[') {
            return Err(Error::invalid(
                FIELD,
                format!("{text:?}: write an IPv6 host in brackets, as in [::1]:8080"),
            ));
        }
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let Some(port) = port.parse::<u16>().ok().filter(|_| digits) else {
            return Err(Error::invalid(FIELD, format!("{text:?}: {port:?} is not a port (1 to 65535)")));
        };
        let endpoint = Self::new(host, port)?;
        match protocol {
            Some(protocol) => endpoint.with_protocol(protocol),
            None => Ok(endpoint),
        }
    }
}

impl TryFrom<&str> for Endpoint {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<String> for Endpoint {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<SocketAddr> for Endpoint {
    type Error = Error;

    /// An address with a scope id is refused: the scope means nothing to other hosts.
    fn try_from(address: SocketAddr) -> Result<Self> {
        if matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0) {
            return Err(Error::invalid(
                FIELD,
                format!("{address} has a scope id, which means nothing to other hosts"),
            ));
        }
        Self::new(&address.ip().to_string(), address.port())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(protocol) = &self.protocol {
            write!(f, "{protocol}://")?;
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_endpoints_survive_a_round_trip() {
        for text in
            ["10.0.0.7:8080", "[::1]:80", "grpc://host-1.local:65535", "http://[fd00::1]:1", "a_b.svc:1"]
        {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!(Endpoint::new("fd00::1", 80).unwrap().to_string(), "[fd00::1]:80");
        assert_eq!("[FD00:0::1]:80".parse::<Endpoint>().unwrap().to_string(), "[fd00::1]:80");
        assert_eq!("10.0.0.7:0080".parse::<Endpoint>().unwrap().to_string(), "10.0.0.7:80");
    }

    #[test]
    fn malformed_endpoints_are_refused_and_the_field_is_named() {
        for bad in [
            "",
            ":",
            "host",
            "host:",
            ":80",
            "host:0",
            "host:65536",
            "host:+1",
            "host:-1",
            "host: 80",
            "ho st:80",
            "0.0.0.0:80",
            "[::]:80",
            "::1:80",
            "[::1:80",
            "[zz]:80",
            "256.0.0.1:80",
            "010.0.0.7:80",
            "10.0.0.7:0",
            "10.0.0.7:65536",
            "10.0.0.7:+1",
            "10.0.0.7:",
            "10.0.0.7:80 ",
            " 10.0.0.7:80",
            "1.2.3:80",
            "a..b:80",
            "-a:80",
            "GRPC://a:80",
            "://a:80",
            "a/b:80",
            "user@host:80",
            "a\n:80",
            "[::1%eth0]:80",
            "0x0:80",
            "0x7f000001:80",
            "a.0X1:80",
            "[::ffff:0.0.0.0]:80",
        ] {
            let error = bad.parse::<Endpoint>().expect_err(bad);
            assert_eq!(error.field(), Some("endpoint"), "{bad:?}: {error}");
        }
    }
}
