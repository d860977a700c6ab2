//! go-zero's words for a place in etcd, in ours.

use registry_core::ServiceName;

use super::url::{RegistryUrl, encode_path};

/// go-zero's `Key`: what the keys of the service begin with, without the `/` behind it, and the service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Key<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) service: ServiceName,
}

impl<'a> Key<'a> {
    pub(crate) fn parse(key: &'a str) -> Result<Self, String> {
        let (prefix, service) = match key.rsplit_once('/') {
            None => ("", key),
            // In front of the service there would be another number of slashes than go-zero looks for.
            Some((prefix, _)) if prefix.is_empty() || prefix.ends_with('/') => {
                return Err("has nothing in front of its last '/'".into());
            }
            Some(split) => split,
        };
        if prefix.len() > 256 || prefix.chars().any(|c| c.is_control() || c == '~') {
            return Err("has more than 256 bytes, a control character or '~' in front of its last '/'".into());
        }
        let service = ServiceName::new(service)
            .map_err(|error| format!("has no service name after its last '/': {}", error.message()))?;
        Ok(Self { prefix, service })
    }
}

/// The hosts as a URL has them. Empty ones are skipped, as go-zero does; what could reach beyond its place in the URL is refused, and the
/// rest is judged when connecting.
pub(crate) fn hosts<'a>(hosts: impl Iterator<Item = &'a str>) -> Result<String, String> {
    let hosts: Vec<&str> = hosts.map(str::trim).filter(|host| !host.is_empty()).collect();
    if hosts.is_empty() {
        return Err("has no host, such as 127.0.0.1:2379".into());
    }
    let of_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if let Some(at) = hosts.iter().position(|host| !host.chars().all(of_host)) {
        return Err(format!("has a host with a character that no host has (host {})", at + 1));
    }
    Ok(hosts.join(","))
}

/// The registry where go-zero keeps what is under `prefix`. `login` is empty, or ends with `@`; `parameters` are empty, or written
/// `name=value&…`. All are encoded already, but for the prefix.
pub(crate) fn url(tls: bool, login: &str, hosts: &str, prefix: &str, parameters: &str) -> RegistryUrl {
    let scheme = if tls { "etcds" } else { "etcd" };
    let path = if prefix.is_empty() { "" } else { "/" };
    let separator = if parameters.is_empty() { "" } else { "&" };
    let prefix = encode_path(prefix);
    RegistryUrl::new(format!("{scheme}://{login}{hosts}{path}{prefix}?layout=go-zero{separator}{parameters}"))
}
