//! From a URL to a registry.

use std::sync::Arc;

use registry_core::{Error, ErrorKind, Registry, Result};

use crate::address::{Address, Backend};

/// The registry at `url`. Waits for no server: a registry that cannot be reached shows in what its operations return.
///
/// | URL | registry |
/// | --- | --- |
/// | `memory://` | a new, empty store in this process |
/// | `memory://name` | the store of that name in this process: each call gives another client of it, and it lives as long as the process |
/// | `etcd://host`, `etcds://host` (TLS) | an etcd, with the feature `etcd`; see below |
/// | `redis://host`, `redis+sentinel://host/primary`, `redis+cluster://host`; with TLS `rediss…` | a Redis, with the feature `redis`; see below |
///
/// # etcd
/// `etcd://[user:password@]host[:port],…[/prefix][?name=value&…]`, such as `etcd://10.0.0.1,10.0.0.2,10.0.0.3` or
/// `etcds://root@etcd.internal/registry?password-file=/run/secrets/etcd&ca=/etc/ssl/etcd-ca.pem`.
///
/// - Hosts are the members of one etcd. The port is 2379 unless given; an IPv6 address is written in brackets: `[::1]:2379`.
/// - The prefix is what all keys begin with. Without one it is `/registry`, and nothing in the layout of go-zero. A prefix keeps its leading
///   slash, except in the layout of go-zero: there `etcd://host/team?layout=go-zero` has the service `user.rpc` where go-zero has the
///   `Key` `team/user.rpc`.
/// - In user, password, prefix and values, what has a meaning in URLs is percent-encoded (`@` as `%40`, `/` as `%2F`); `+` is a plus sign.
/// - A duration is a whole number with its unit, from `1ms` to `60m`: `500ms`, `2s`, `1m`.
///
/// | parameter | value | without it |
/// | --- | --- | --- |
/// | `layout` | `json`, or `go-zero` to find and be found by services of go-zero | `json` |
/// | `password-file` | a file with the password, instead of a password in the URL; read anew for each login | |
/// | `ca` | a PEM file with the certificate authorities to trust (`etcds://` only, as are the next three) | the system's |
/// | `cert`, `key` | PEM files with our own certificate and its key, both or none | none |
/// | `server-name` | the name that the servers' certificates must be for | the host |
/// | `connect-timeout` | how long one member may take to accept a connection | `1s` |
/// | `request-timeout` | how long a request may take, all members that are asked taken together | `5s` |
/// | `hedge-after` | after how long without an answer the next member is asked as well | `500ms` |
/// | `probe-interval` | how often a member in use is asked whether it is there | `1s` |
/// | `page` | how many keys a lookup asks for at a time | `1000` |
///
/// # Redis
/// | URL | what is there |
/// | --- | --- |
/// | `redis://[user:password@]host[:port][/database][?name=value&…]` | one server |
/// | `redis+sentinel://[user:password@]host[:port],…/primary[?name=value&…]` | the primary of that name; the hosts are Sentinels |
/// | `redis+cluster://[user:password@]host[:port],…[?name=value&…]` | Redis Cluster; the hosts are some of its nodes |
///
/// `rediss://`, `rediss+sentinel://` and `rediss+cluster://` are the same over TLS. Such as
/// `rediss://app@redis.internal/1?password-file=/run/secrets/redis&ca=/etc/ssl/redis-ca.pem` or
/// `redis+sentinel://10.0.0.1,10.0.0.2,10.0.0.3/mymaster?wait=1`.
///
/// - The port is 6379 unless given, and 26379 for Sentinels.
/// - User and password are those of Redis; a password without a user, as in `:password@`, is that of the user `default`, which is what
///   `requirepass` sets.
/// - What was said of percent-encoding and durations holds here too, and these parameters mean the same: `password-file`, `ca`, `cert`, `key`,
///   `server-name`, `request-timeout` (`5s`) and `page` (`1000`; `1` to `100000`).
///
/// | parameter | value | without it |
/// | --- | --- | --- |
/// | `prefix` | what all keys begin with | `registry` |
/// | `connect-timeout` | how long a connection may take to be ready, with TLS and log-in | `1s` |
/// | `stall-after` | after how long without an answer another connection is tried | `1s` |
/// | `check-interval` | how often a watch asks whether it is current, `10ms` to `1s` | `1s` |
/// | `history` | how many changes of a service a watch can resume over, `1` to `1000000` | `10000` |
/// | `wait` | how many replicas must have a write before it is acknowledged | none |
/// | `wait-timeout` | how long that may take | `1s` |
/// | `db` | the number of the database (`redis+sentinel://` only, as are the next two) | `0` |
/// | `sentinel-user` | who we are to the Sentinels | `default` |
/// | `sentinel-password-file` | a file with the password for the Sentinels | they demand none |
///
/// # Files
/// They are read when they are needed, so they may be replaced; one that cannot be read shows in what the operations return.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput), with the field `url`, for what is not such a URL: it says what is wrong and never repeats a
/// password. [`Unsupported`](ErrorKind::Unsupported) for a backend that this build does not have, with what to do about it.
// Async because other backends need a runtime when they are made, even though none of them waits.
#[allow(clippy::unused_async)]
pub async fn connect(url: &str) -> Result<Arc<dyn Registry>> {
    let address = Address::parse(url)?;
    match address.backend {
        Backend::Memory => memory(&address),
        Backend::Etcd => etcd(&address),
        Backend::Redis => redis(&address),
    }
}

#[cfg(not(all(feature = "memory", feature = "etcd", feature = "redis")))]
fn unsupported(address: &Address<'_>, why: &str) -> Error {
    let message = format!("{}:// is known, but {why}", address.scheme);
    Error::new(ErrorKind::Unsupported, registry_core::Operation::Connect, message)
}

#[cfg(feature = "memory")]
fn memory(address: &Address<'_>) -> Result<Arc<dyn Registry>> {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError};

    use registry_memory::MemoryRegistry;

    static STORES: Mutex<BTreeMap<String, MemoryRegistry>> = Mutex::new(BTreeMap::new());

    let Some(name) = address.store_name()? else { return Ok(Arc::new(MemoryRegistry::new())) };
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Arc::new(stores.entry(name.to_owned()).or_default().client()))
}

#[cfg(not(feature = "memory"))]
fn memory(address: &Address<'_>) -> Result<Arc<dyn Registry>> {
    address.store_name()?;
    Err(unsupported(
        address,
        "this build has no memory backend: enable the feature `memory` of the crate service-registry",
    ))
}

#[cfg(feature = "etcd")]
fn etcd(address: &Address<'_>) -> Result<Arc<dyn Registry>> {
    use registry_etcd::EtcdRegistry;

    use crate::etcd_url::EtcdUrl;

    let options = EtcdUrl::parse(address.rest, address.scheme == "etcds")?.into_options();
    Ok(Arc::new(EtcdRegistry::new(options).map_err(in_url)?))
}

#[cfg(not(feature = "etcd"))]
fn etcd(address: &Address<'_>) -> Result<Arc<dyn Registry>> {
    Err(unsupported(
        address,
        "this build has no etcd backend: enable the feature `etcd` of the crate service-registry",
    ))
}

#[cfg(feature = "redis")]
fn redis(address: &Address<'_>) -> Result<Arc<dyn Registry>> {
    use registry_redis::RedisRegistry;

    use crate::redis_url::RedisUrl;

    let options = RedisUrl::parse(address.scheme, address.rest)?.into_options();
    Ok(Arc::new(RedisRegistry::new(options).map_err(in_url)?))
}

#[cfg(not(feature = "redis"))]
fn redis(address: &Address<'_>) -> Result<Arc<dyn Registry>> {
    Err(unsupported(
        address,
        "this build has no Redis backend: enable the feature `redis` of the crate service-registry",
    ))
}

/// Who wrote a URL knows nothing of options.
#[cfg(any(feature = "etcd", feature = "redis"))]
fn in_url(error: Error) -> Error {
    if error.kind() != ErrorKind::InvalidInput {
        return error;
    }
    let field = error.field().unwrap_or("part");
    crate::url::invalid(format!("has an impossible {field}: {}", error.message()))
}
