//! The forms of a target, told apart and taken to pieces. Every error is the reason, without what was written.

use registry_core::ServiceName;

use super::go_zero::{self, Key};
use super::url::decode;
use super::{RegistryUrl, Target, endpoints};

/// What the URLs of registries begin with.
const REGISTRIES: [&str; 9] = [
    "memory",
    "etcd",
    "etcds",
    "redis",
    "rediss",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
];

pub(super) fn parse(text: &str) -> Result<Target, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("has no scheme; {}", there_are()));
    };
    let scheme = scheme.to_ascii_lowercase();
    if scheme == "direct" {
        return direct(rest);
    }
    let known = scheme == "discov" || REGISTRIES.contains(&scheme.as_str());
    if !known {
        // What is no scheme may hold a password, and is not repeated.
        let of_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        let what = if scheme.is_empty() || !scheme.chars().all(of_scheme) {
            "has no scheme".to_owned()
        } else {
            format!("has the scheme {scheme}, which is not known here")
        };
        return Err(format!("{what}; {}", there_are()));
    }
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = before.split_at(before.find('/').unwrap_or(before.len()));
    if path.contains('@') || query.contains('@') {
        return Err(
            "has an '@' after its hosts; in a user or password '/' and '?' are written %2F and %3F, elsewhere '@' is written %40"
                .into(),
        );
    }
    match scheme.as_str() {
        "discov" => discov(authority, path, query),
        "etcd" if authority.is_empty() => etcd_path(path, query),
        _ => registry(&scheme, before, authority, query),
    }
}

fn there_are() -> String {
    let registries = REGISTRIES.map(|scheme| format!("{scheme}://")).join(", ");
    format!(
        "there are direct:///host:port,…, discov://host,…/key, etcd:///host,…?key=…, and with service=NAME the URLs of registries: {registries}"
    )
}

fn direct(rest: &str) -> Result<Target, String> {
    let Some(path) = rest.strip_prefix('/') else {
        return Err(
            "has its endpoints in the wrong place; they come after three slashes: direct:///host:port,…"
                .into(),
        );
    };
    if path.contains(['?', '#', '@']) {
        return Err("has more than endpoints; direct:///host:port,… takes nothing else".into());
    }
    endpoints(path.trim_matches('/').split(',')).map(Target::Direct)
}

fn discov(authority: &str, path: &str, query: &str) -> Result<Target, String> {
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (format!("{login}@"), hosts),
        None => (String::new(), authority),
    };
    let hosts = go_zero::hosts(hosts.split(','))?;
    let key = decode(path.trim_matches('/'), "key")?;
    if key.is_empty() {
        return Err("has no key; it is written after the hosts: discov://host:port/key".into());
    }
    go_zero(&login, &hosts, &key, query)
}

fn etcd_path(path: &str, query: &str) -> Result<Target, String> {
    let (key, others) = take(query, "key")?;
    if take(query, "service")?.0.is_some() {
        return Err(
            "has a service, and its hosts after three slashes; that is etcd://host,…?service=NAME, or with go-zero's key etcd:///host,…?key=KEY"
                .into(),
        );
    }
    let hosts = go_zero::hosts(path.trim_matches('/').split(','))?;
    let Some(key) = key.filter(|key| !key.is_empty()) else {
        return Err("has no key; it is written etcd:///host,…?key=KEY".into());
    };
    go_zero("", &hosts, &decode(&key.replace('+', " "), "key")?, &others)
}

fn go_zero(login: &str, hosts: &str, key: &str, parameters: &str) -> Result<Target, String> {
    let Key { prefix, service } = Key::parse(key).map_err(|why| format!("has a key that {why}"))?;
    Ok(Target::Registry { url: go_zero::url(false, login, hosts, prefix, parameters), service })
}

fn registry(scheme: &str, before: &str, authority: &str, query: &str) -> Result<Target, String> {
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    if scheme == "memory" && before.trim_end_matches('/').is_empty() {
        return Err(
            "has no name, and a store without one is shared with nobody: memory://name?service=NAME".into()
        );
    }
    if hosts.is_empty() {
        return Err(format!("has no host; it is written {scheme}://host:port"));
    }
    let (service, others) = take(query, "service")?;
    if scheme == "etcd" && take(query, "key")?.0.is_some() {
        return Err(
            "has a key, and its hosts after two slashes; that is etcd:///host,…?key=KEY, or discov://host,…/KEY".into(),
        );
    }
    let Some(service) = service.filter(|service| !service.is_empty()) else {
        let key = if scheme == "etcd" { "; with go-zero's key it is discov://host,…/KEY" } else { "" };
        return Err(format!("has no service; it is a parameter: service=NAME{key}"));
    };
    let service = ServiceName::new(decode(&service, "service")?)
        .map_err(|error| format!("has a service that is no service name: {}", error.message()))?;
    let separator = if others.is_empty() { "" } else { "?" };
    let url = RegistryUrl::new(format!("{scheme}://{before}{separator}{others}"));
    Ok(Target::Registry { url, service })
}

/// The parameter `name`, if it is there, and the others as they were.
fn take(query: &str, name: &str) -> Result<(Option<String>, String), String> {
    let mut found = None;
    let mut others = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (other, value) = part.split_once('=').unwrap_or((part, ""));
        if other != name {
            others.push(part);
        } else if found.replace(value.to_owned()).is_some() {
            return Err(format!("has the parameter {name} more than once"));
        }
    }
    Ok((found, others.join("&")))
}
