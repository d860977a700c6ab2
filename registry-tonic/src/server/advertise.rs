//! Which address to advertise: a pure choice over what is known.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use registry_core::{Endpoint, Error, Result};

use super::network::Network;

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) enum Advertise {
    /// What can be found out.
    Found,
    /// A host, or `host:port`.
    Address(String),
    /// An address of this interface or network.
    From(String),
}

/// One address of one network interface of this machine, as [`advertised_host`] needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkInterface {
    /// The interface's name, such as `eth0`.
    pub name: String,
    /// The address.
    pub ip: IpAddr,
    /// Whether the interface works.
    pub up: bool,
}

/// The host to advertise for a server that listens on `bound`.
///
/// The first of these that there is:
/// 1. the address it listens on, when that is a particular one: nothing else would reach it, so this holds for loopback as well;
/// 2. `pod_ip`, which Kubernetes can put into the environment;
/// 3. a private address (IPv4: RFC 1918 and 6598; IPv6: unique local) of an interface that is up, IPv4 before IPv6;
/// 4. a public address, likewise;
/// 5. an address of a bridge of containers or virtual machines, told by its name, in the same order;
/// 6. loopback, on a machine without a network.
///
/// Addresses of a kind that `bound` does not listen on are left out: `0.0.0.0` is IPv4, `[::]` is both.
///
/// # Errors
/// [`InvalidInput`](registry_core::ErrorKind::InvalidInput) when `pod_ip` is not an address, or not of a kind listened on.
pub fn advertised_host(
    bound: SocketAddr,
    pod_ip: Option<&str>,
    interfaces: &[NetworkInterface],
) -> Result<IpAddr> {
    let bound = bound.ip();
    if !bound.is_unspecified() {
        return Ok(bound.to_canonical());
    }
    let listens_on = |ip: IpAddr| ip.is_ipv4() || bound.is_ipv6();
    if let Some(pod_ip) = pod_ip.map(str::trim).filter(|text| !text.is_empty()) {
        let Ok(ip) = pod_ip.parse::<IpAddr>() else {
            return Err(Error::invalid("POD_IP", format!("{pod_ip:?} is not an IP address")));
        };
        if ip.is_unspecified() || !listens_on(ip) {
            let reason = format!("{ip} cannot be reached at a server that listens on {bound}");
            return Err(Error::invalid("POD_IP", reason));
        }
        return Ok(ip);
    }
    let usable = interfaces.iter().filter(|interface| interface.up && listens_on(interface.ip));
    let ranked = usable.filter_map(|interface| rank(interface).map(|rank| (rank, interface.ip)));
    // Of equal rank the first one stays.
    let best = ranked.reduce(|best, next| if next.0 < best.0 { next } else { best });
    Ok(best.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |(_, ip)| ip))
}

/// The lower the better: (behind a bridge, public, IPv6). `None` for what nobody else can call.
pub(super) fn rank(interface: &NetworkInterface) -> Option<(bool, bool, bool)> {
    const BRIDGES: [&str; 9] = ["docker", "br-", "veth", "virbr", "cni", "flannel", "podman", "lxc", "vmnet"];
    let bridge = BRIDGES.iter().any(|prefix| interface.name.starts_with(prefix));
    let public = match interface.ip {
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() => return None,
        IpAddr::V6(ip) if ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified() => {
            return None;
        }
        IpAddr::V4(ip) => !(ip.is_private() || is_shared(ip)),
        IpAddr::V6(ip) => !is_unique_local(ip),
    };
    Some((bridge, public, interface.ip.is_ipv6()))
}

/// 100.64.0.0/10 (RFC 6598).
fn is_shared(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    a == 100 && (64..128).contains(&b)
}

/// fc00::/7 (RFC 4193).
fn is_unique_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xfe00 == 0xfc00
}

/// The endpoint to advertise for a server that listens on `bound`; the port is that of `bound` unless another was asked for.
pub(super) fn endpoint(bound: SocketAddr, advertise: &Advertise) -> Result<Endpoint> {
    let host = match advertise {
        Advertise::Address(address) => return explicit(bound, address),
        Advertise::From(network) => Network::parse(network)?.host(bound, &interfaces())?,
        Advertise::Found => {
            let pod_ip = std::env::var("POD_IP").ok();
            let host = advertised_host(bound, pod_ip.as_deref(), &interfaces())?;
            if host.is_loopback() && bound.ip().is_unspecified() {
                tracing::warn!(%bound, %host, "no network address found; only this machine can call what is advertised");
            }
            host
        }
    };
    Endpoint::new(&host.to_string(), bound.port())
}

fn explicit(bound: SocketAddr, address: &str) -> Result<Endpoint> {
    let is_host = !address.contains(':') || address.parse::<Ipv6Addr>().is_ok() || address.ends_with(']');
    if is_host { Endpoint::new(address, bound.port()) } else { address.parse() }
}

fn interfaces() -> Vec<NetworkInterface> {
    use if_addrs::IfOperStatus::{Down, LowerLayerDown, NotPresent};
    let listed = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "the network interfaces cannot be listed");
        Vec::new()
    });
    let convert = |interface: if_addrs::Interface| NetworkInterface {
        up: !matches!(interface.oper_status, Down | LowerLayerDown | NotPresent),
        ip: interface.ip(),
        name: interface.name,
    };
    listed.into_iter().map(convert).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, ip: &str) -> NetworkInterface {
        NetworkInterface { name: name.into(), ip: ip.parse().unwrap(), up: true }
    }

    fn down(name: &str, ip: &str) -> NetworkInterface {
        NetworkInterface { up: false, ..interface(name, ip) }
    }

    fn advertised(bound: &str, pod_ip: Option<&str>, interfaces: &[NetworkInterface]) -> String {
        advertised_host(bound.parse().unwrap(), pod_ip, interfaces).unwrap().to_string()
    }

    #[test]
    fn a_particular_address_is_advertised_as_it_is() {
        let interfaces = [interface("eth0", "10.0.0.7")];
        for (bound, expected) in [
            ("192.168.1.5:80", "192.168.1.5"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]:80", "::1"),
            ("[fd00::5]:80", "fd00::5"),
            ("[::ffff:10.0.0.9]:80", "10.0.0.9"),
        ] {
            assert_eq!(advertised(bound, Some("10.9.9.9"), &interfaces), expected);
        }
    }

    #[test]
    fn the_pods_address_goes_before_those_of_interfaces() {
        let interfaces = [interface("eth0", "10.0.0.7")];
        assert_eq!(advertised("0.0.0.0:80", Some("10.9.9.9"), &interfaces), "10.9.9.9");
        assert_eq!(advertised("[::]:80", Some("fd00::9"), &interfaces), "fd00::9");
        assert_eq!(advertised("0.0.0.0:80", Some(" "), &interfaces), "10.0.0.7");
    }

    #[test]
    fn a_pods_address_that_cannot_be_called_is_refused_and_named() {
        for (bound, pod_ip) in [("0.0.0.0:80", "pod-1"), ("0.0.0.0:80", "0.0.0.0"), ("0.0.0.0:80", "fd00::9")]
        {
            let error = advertised_host(bound.parse().unwrap(), Some(pod_ip), &[]).unwrap_err();
            assert_eq!(error.field(), Some("POD_IP"), "{error}");
        }
    }

    #[test]
    fn the_first_private_address_that_is_up_is_advertised() {
        let interfaces = [
            interface("lo", "127.0.0.1"),
            down("eth9", "10.0.0.1"),
            interface("eth0", "169.254.3.4"),
            interface("eth1", "203.0.113.8"),
            interface("docker0", "172.17.0.1"),
            interface("eth2", "fd00::7"),
            interface("eth2", "192.168.1.5"),
            interface("eth3", "10.0.0.2"),
        ];
        assert_eq!(advertised("0.0.0.0:80", None, &interfaces), "192.168.1.5");
        assert_eq!(advertised("[::]:80", None, &interfaces), "192.168.1.5");
    }

    #[test]
    fn without_a_private_address_the_next_best_is_advertised() {
        let public = interface("eth0", "203.0.113.8");
        let shared = interface("eth1", "100.64.0.8");
        let unique_local = interface("eth1", "fd00::8");
        let bridge = interface("docker0", "172.17.0.1");
        let loopback = interface("lo", "127.0.0.1");
        let link_local = interface("eth0", "fe80::1");
        assert_eq!(advertised("0.0.0.0:80", None, &[public.clone(), shared]), "100.64.0.8");
        assert_eq!(advertised("[::]:80", None, &[public.clone(), unique_local.clone()]), "fd00::8");
        assert_eq!(advertised("0.0.0.0:80", None, &[unique_local, public.clone()]), "203.0.113.8");
        assert_eq!(advertised("0.0.0.0:80", None, &[bridge.clone(), public]), "203.0.113.8");
        assert_eq!(advertised("0.0.0.0:80", None, &[bridge]), "172.17.0.1");
        assert_eq!(advertised("[::]:80", None, &[loopback, link_local]), "127.0.0.1");
        assert_eq!(advertised("[::]:80", None, &[]), "127.0.0.1");
    }

    #[test]
    fn what_is_asked_for_is_advertised() {
        let bound = "0.0.0.0:8080".parse().unwrap();
        for (asked, expected) in [
            ("user-1.internal", "user-1.internal:8080"),
            ("10.0.0.7", "10.0.0.7:8080"),
            ("10.0.0.7:443", "10.0.0.7:443"),
            ("fd00::7", "[fd00::7]:8080"),
            ("[fd00::7]", "[fd00::7]:8080"),
            ("[fd00::7]:443", "[fd00::7]:443"),
        ] {
            assert_eq!(explicit(bound, asked).unwrap().to_string(), expected);
        }
        for bad in ["", "0.0.0.0", "[::]", "h:0", "a b"] {
            assert_eq!(explicit(bound, bad).unwrap_err().field(), Some("endpoint"), "{bad:?}");
        }
    }
}
