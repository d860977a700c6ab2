//! Wires to a registry on servers of its own: a proxy in front of each, so that they can be cut without stopping what belongs to others.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use registry_testing::servers::proxy::{Faults, Proxy};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::Failure;

/// Where hosts listen unless the URL says so.
const ETCD_PORT: u16 = 2379;
const REDIS_PORT: u16 = 6379;

pub(crate) struct Wires(Vec<Proxy>);

impl Wires {
    /// Lays one to each host of a URL that the facade has accepted, and gives the URL that leads through them. `None` where servers could
    /// not be told apart from the wires: over TLS, when their certificates are for names that differ; or where they name other servers, to which
    /// no wire leads.
    pub(crate) async fn lay(url: &str) -> Result<Option<(Self, String)>, Failure> {
        let parts = Parts::of(url);
        let (Some(port), Some(name)) = (parts.port(), parts.server_name()) else { return Ok(None) };
        let mut proxies = Vec::new();
        for host in &parts.hosts {
            proxies.push(Proxy::start(address_of(host, port).await?)?);
        }
        let hosts: Vec<_> = proxies.iter().map(|proxy| proxy.address().to_string()).collect();
        let url = format!("{}{}{}{name}", parts.before, hosts.join(","), parts.after);
        Ok(Some((Self(proxies), url)))
    }

    /// Ends what is open and refuses what is new, as when the servers die.
    pub(crate) async fn cut(&self) {
        for proxy in &self.0 {
            proxy.set(Faults::refusing()).await;
            proxy.reset().await;
        }
    }

    pub(crate) async fn mend(&self) {
        for proxy in &self.0 {
            proxy.heal().await;
        }
    }
}

/// A URL, and where the hosts are in it.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    before: &'a str,
    hosts: Vec<&'a str>,
    after: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Self {
        let start = url.find("://").map_or(0, |at| at + 3);
        let end = url[start..].find(['/', '?']).map_or(url.len(), |at| start + at);
        let start = url[start..end].rfind('@').map_or(start, |at| start + at + 1);
        Self { before: &url[..start], hosts: url[start..end].split(',').collect(), after: &url[end..] }
    }

    fn scheme(&self) -> String {
        self.before.split_once("://").map_or(self.before, |(scheme, _)| scheme).to_ascii_lowercase()
    }

    /// Where hosts listen that have no port; `None` if they only tell where the registry is.
    fn port(&self) -> Option<u16> {
        match self.scheme().as_str() {
            "etcd" | "etcds" => Some(ETCD_PORT),
            "redis" | "rediss" => Some(REDIS_PORT),
            _ => None,
        }
    }

    /// What is to be added to the URL so that certificates are still checked for the servers' name; `None` if they have several.
    fn server_name(&self) -> Option<String> {
        let tls = matches!(self.scheme().as_str(), "etcds" | "rediss");
        if !tls || self.after.contains("?server-name=") || self.after.contains("&server-name=") {
            return Some(String::new());
        }
        let names: BTreeSet<_> = self.hosts.iter().map(|host| name_of(host)).collect();
        let joint = if self.after.contains('?') { '&' } else { '?' };
        let name = names.first().filter(|_| names.len() == 1)?;
        Some(format!("{joint}server-name={name}"))
    }
}

/// A host without its port, and without the brackets of IPv6.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    }
}

/// The address that answers, of those that a host has, or the first.
async fn address_of(host: &str, port: u16) -> Result<SocketAddr, Failure> {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let host = if has_port { host.to_owned() } else { format!("{host}:{port}") };
    let found = lookup_host(&host).await.map_err(|error| format!("{host} has no address: {error}"))?;
    let mut first = None;
    for address in found {
        if matches!(timeout(Duration::from_secs(1), TcpStream::connect(address)).await, Ok(Ok(_))) {
            return Ok(address);
        }
        first.get_or_insert(address);
    }
    first.ok_or_else(|| format!("{host} has no address").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hosts_of_a_url_are_replaced() {
        for (url, before, hosts, after) in [
            ("etcd://h", "etcd://", &["h"][..], ""),
            ("etcd://u:p%40,q@h:1,[::1]:2/p?page=1", "etcd://u:p%40,q@", &["h:1", "[::1]:2"], "/p?page=1"),
            ("etcds://h?ca=/x", "etcds://", &["h"], "?ca=/x"),
        ] {
            let (hosts, found) = (hosts.to_vec(), Parts::of(url));
            assert_eq!(found, Parts { before, hosts, after }, "{url}");
        }
    }

    #[test]
    fn certificates_are_checked_for_the_name_that_the_url_had() {
        for (url, added) in [
            ("etcd://h,i", Some("")),
            ("etcds://h,i?server-name=n", Some("")),
            ("etcds://h:1,h:2", Some("?server-name=h")),
            ("etcds://[::1]/p?ca=x", Some("&server-name=::1")),
            ("etcds://h,i?ca=x", None),
            ("redis://h/1", Some("")),
            ("REDISS://h/1?ca=x", Some("&server-name=h")),
        ] {
            assert_eq!(Parts::of(url).server_name().as_deref(), added, "{url}");
        }
    }

    #[test]
    fn there_are_no_wires_to_servers_that_only_name_others() {
        for (url, port) in [
            ("etcd://h", Some(2379)),
            ("Etcds://h", Some(2379)),
            ("redis://h", Some(6379)),
            ("rediss://h", Some(6379)),
            ("redis+sentinel://h/m", None),
            ("rediss+cluster://h", None),
        ] {
            assert_eq!(Parts::of(url).port(), port, "{url}");
        }
    }

    #[tokio::test]
    async fn a_host_without_a_port_has_the_usual_one() {
        for (host, address) in
            [("127.0.0.1", "127.0.0.1:2379"), ("127.0.0.1:1", "127.0.0.1:1"), ("[::1]", "[::1]:2379")]
        {
            assert_eq!(address_of(host, ETCD_PORT).await.unwrap().to_string(), address);
        }
    }
}
