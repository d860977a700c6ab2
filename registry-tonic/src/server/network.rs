//! Which of this machine's networks to advertise an address of: a pure choice over what is known.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use registry_core::{Error, Result};

use super::advertise::{NetworkInterface, rank};

const FIELD: &str = "advertise_from";

/// Where an address is to be from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Network {
    Interface(String),
    Cidr(IpNet),
}

impl Network {
    /// What has a `/` is a network in CIDR notation; anything else is the name of an interface.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let invalid = |reason: String| Err(Error::invalid(FIELD, reason));
        if text.is_empty() {
            return invalid(
                r#"is empty; write an interface, such as "eth0", or a network, such as "10.0.0.0/8""#.into(),
            );
        }
        if text.contains('/') {
            return match text.parse() {
                Ok(network) => Ok(Self::Cidr(network)),
                Err(_) => {
                    invalid(format!(r#"{text:?} is not a network, such as "10.0.0.0/8" or "fd00::/8""#))
                }
            };
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            let bits = if ip.is_ipv4() { 32 } else { 128 };
            return invalid(format!(
                "{text:?} is an address, not a network; advertise it, or write \"{ip}/{bits}\""
            ));
        }
        Ok(Self::Interface(text.into()))
    }

    /// The address of this network to advertise for a server that listens on `bound`: of those of interfaces that are up, and that
    /// the server listens on, the one that [`advertised_host`](super::advertised_host) would prefer. Loopback, and addresses that IPv4
    /// hosts gave themselves, only when there is no other.
    pub(super) fn host(&self, bound: SocketAddr, interfaces: &[NetworkInterface]) -> Result<IpAddr> {
        let listens_on = |ip: IpAddr| match bound.ip() {
            particular if !particular.is_unspecified() => particular.to_canonical() == ip,
            every => ip.is_ipv4() || every.is_ipv6(),
        };
        let usable = interfaces
            .iter()
            .filter(|interface| interface.up && self.has(interface) && listens_on(interface.ip));
        let ranked = usable.filter_map(|interface| match (rank(interface), interface.ip) {
            (Some(rank), _) => Some((0, Some(rank), interface.ip)),
            (None, ip) if ip.is_loopback() => Some((2, None, ip)),
            (None, IpAddr::V4(ip)) if ip.is_link_local() => Some((1, None, ip.into())),
            // Nobody else can call it.
            (None, _) => None,
        });
        match ranked.min_by_key(|(last, rank, ip)| (*last, *rank, ip.is_ipv6())) {
            Some((_, _, ip)) => Ok(ip),
            None => {
                let reason = format!(
                    "{self} has no address at which a server that listens on {bound} can be called; this machine has {}",
                    listing(interfaces)
                );
                Err(Error::invalid(FIELD, reason))
            }
        }
    }

    fn has(&self, interface: &NetworkInterface) -> bool {
        match self {
            Self::Interface(name) => interface.name == *name,
            Self::Cidr(network) => network.contains(&interface.ip),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(name) => write!(f, "interface {name:?}"),
            Self::Cidr(network) => write!(f, "network {network}"),
        }
    }
}

fn listing(interfaces: &[NetworkInterface]) -> String {
    if interfaces.is_empty() {
        return "no interfaces that could be listed".into();
    }
    let one = |interface: &NetworkInterface| {
        let down = if interface.up { "" } else { " (down)" };
        format!("{} {}{down}", interface.name, interface.ip)
    };
    interfaces.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interfaces() -> Vec<NetworkInterface> {
        let list = [
            ("lo", "127.0.0.1"),
            ("lo", "::1"),
            ("docker0", "172.17.0.1"),
            ("eth0", "fe80::7"),
            ("eth0", "203.0.113.8"),
            ("eth0", "10.1.0.7"),
            ("eth1", "fd00::5"),
            ("eth1", "10.2.0.7"),
            ("zt0", "169.254.3.4"),
            ("eth9", "10.9.0.9"),
        ];
        let interface = |(name, ip): (&str, &str)| NetworkInterface {
            name: name.into(),
            ip: ip.parse().unwrap(),
            up: name != "eth9",
        };
        list.into_iter().map(interface).collect()
    }

    fn host(network: &str, bound: &str) -> Result<String> {
        let host = Network::parse(network)?.host(bound.parse().unwrap(), &interfaces())?;
        Ok(host.to_string())
    }

    #[test]
    fn an_interface_gives_its_best_address() {
        for (name, expected) in [
            ("eth0", "10.1.0.7"),
            (" eth1 ", "10.2.0.7"),
            ("docker0", "172.17.0.1"),
            ("lo", "127.0.0.1"),
            ("zt0", "169.254.3.4"),
        ] {
            assert_eq!(host(name, "[::]:80").unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn a_network_gives_the_address_in_it() {
        for (cidr, expected) in [
            ("10.2.0.0/16", "10.2.0.7"),
            ("10.2.3.4/16", "10.2.0.7"),
            ("10.0.0.0/8", "10.1.0.7"),
            ("203.0.113.8/32", "203.0.113.8"),
            ("172.16.0.0/12", "172.17.0.1"),
            ("0.0.0.0/0", "10.1.0.7"),
            ("fd00::/8", "fd00::5"),
            ("::1/128", "::1"),
            ("::/0", "fd00::5"),
        ] {
            assert_eq!(host(cidr, "[::]:80").unwrap(), expected, "{cidr}");
        }
    }

    #[test]
    fn only_an_address_that_is_listened_on_is_advertised() {
        assert_eq!(host("10.2.0.0/16", "10.2.0.7:80").unwrap(), "10.2.0.7");
        for (network, bound) in [
            ("10.1.0.0/16", "10.2.0.7:80"),
            ("fd00::/8", "0.0.0.0:80"),
            ("eth9", "0.0.0.0:80"),
            ("fe80::/10", "[::]:80"),
        ] {
            assert_eq!(host(network, bound).unwrap_err().field(), Some(FIELD), "{network} {bound}");
        }
    }

    #[test]
    fn what_does_not_match_is_told_with_all_that_there_is() {
        let error = host("eth7", "0.0.0.0:80").unwrap_err();
        let expected = "interface \"eth7\" has no address at which a server that listens on 0.0.0.0:80 can be called; \
            this machine has lo 127.0.0.1, lo ::1, docker0 172.17.0.1, eth0 fe80::7, eth0 203.0.113.8, eth0 10.1.0.7, \
            eth1 fd00::5, eth1 10.2.0.7, zt0 169.254.3.4, eth9 10.9.0.9 (down)";
        assert_eq!(error.message(), expected);
    }

    #[test]
    fn what_is_neither_interface_nor_network_is_refused() {
        for bad in ["", " ", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "eth0/24", "/", "10.0.0.7", "fd00::7"] {
            assert_eq!(Network::parse(bad).unwrap_err().field(), Some(FIELD), "{bad:?}");
        }
    }
}
