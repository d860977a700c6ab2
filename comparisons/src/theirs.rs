//! Servers of the reader: what is done there lies under one prefix, and is removed in the end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, DeleteOptions, GetOptions, KeyValue};
use percent_encoding::percent_decode_str;
use redis::aio::MultiplexedConnection;
use redis::cmd;
use registry_core::Registry;
use tokio::time::timeout;

use crate::contestants::{Ours, Place};
use crate::experiment::Trouble;

/// An etcd and a Redis of the reader, and the prefix of all keys that are written there.
#[derive(Clone, Debug)]
pub struct Theirs {
    etcd: String,
    redis: String,
    prefix: String,
}

const LIMITS: &str = "name hosts, and a user and a password if need be: neither a path nor parameters, since a prefix is added, \
                      and no TLS, since the bare commands are compared too";

impl Theirs {
    /// Those at `etcd://[user:password@]host[:port][,…]` and `redis://[[user]:password@]host[:port]`.
    ///
    /// # Errors
    /// What the URLs may not hold.
    pub fn new(etcd: &str, redis: &str, prefix: impl Into<String>) -> Result<Self, String> {
        let check = |url: &str, scheme: &str| {
            let hosts = url
                .strip_prefix(scheme)
                .ok_or_else(|| format!("{} does not begin with {scheme}; {LIMITS}", shown(url)))?;
            let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
            if hosts.is_empty() || hosts.contains(['/', '?', '#']) {
                return Err(format!("{}: {LIMITS}", shown(url)));
            }
            Ok(format!("{scheme}{hosts}"))
        };
        Ok(Self { etcd: check(etcd, "etcd://")?, redis: check(redis, "redis://")?, prefix: prefix.into() })
    }

    /// What all keys that are written there begin with. A naive contestant, whose keys begin with the name of the service, gets it as part of that.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// That of a `registry-etcd` with the prefix.
    #[must_use]
    pub fn our_etcd_url(&self) -> String {
        format!("{}/{}", self.etcd, self.prefix)
    }

    /// That of a `registry-redis` with the prefix.
    #[must_use]
    pub fn our_redis_url(&self) -> String {
        format!("{}?prefix={}", self.redis, self.prefix)
    }

    /// That of the Redis, as it was given.
    #[must_use]
    pub fn redis_url(&self) -> &str {
        &self.redis
    }

    /// `registry-etcd` there.
    ///
    /// # Errors
    /// For a URL that it does not take.
    pub async fn our_etcd(&self) -> Result<Ours, Trouble> {
        self.ours(&self.our_etcd_url()).await
    }

    /// `registry-redis` there.
    ///
    /// # Errors
    /// For a URL that it does not take.
    pub async fn our_redis(&self) -> Result<Ours, Trouble> {
        self.ours(&self.our_redis_url()).await
    }

    async fn ours(&self, url: &str) -> Result<Ours, Trouble> {
        let registry: Arc<dyn Registry> = service_registry::connect(url).await?;
        Ok(Ours::of(registry))
    }

    /// For contestants that speak to Redis themselves.
    #[must_use]
    pub fn redis_place(&self) -> Place {
        Place::Url(self.redis.clone())
    }

    /// For contestants that speak to etcd themselves.
    ///
    /// # Errors
    /// If it is out of reach.
    pub async fn etcd_client(&self) -> Result<Client, Trouble> {
        let rest = self.etcd.trim_start_matches("etcd://");
        let (login, hosts) =
            rest.rsplit_once('@').map_or((None, rest), |(login, hosts)| (Some(login), hosts));
        let endpoints: Vec<String> =
            hosts.split(',').map(|host| format!("http://{}", with_port(host))).collect();
        let user = login.and_then(|login| login.split_once(':'));
        let options =
            user.map(|(name, password)| ConnectOptions::new().with_user(decoded(name), decoded(password)));
        Ok(Client::connect(endpoints, options).await?)
    }

    /// Which etcd and which Redis they are.
    ///
    /// # Errors
    /// If one is out of reach.
    pub async fn versions(&self) -> Result<(String, String), Trouble> {
        let etcd = async { Ok(self.etcd_client().await?.status().await?.version().to_owned()) };
        let redis = async {
            let info: String = cmd("INFO").arg("server").query_async(&mut self.redis_client().await?).await?;
            let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
            Ok(version.unwrap_or("unknown").trim().to_owned())
        };
        let of = |store: &'static str| {
            move |trouble: Trouble| Trouble::failed(format!("{store} of yours: {trouble}"))
        };
        let (etcd, redis) = tokio::join!(within(PATIENCE, etcd), within(PATIENCE, redis));
        Ok((etcd.map_err(of("the etcd"))?, redis.map_err(of("the Redis"))?))
    }

    async fn redis_client(&self) -> Result<MultiplexedConnection, Trouble> {
        Ok(redis::Client::open(self.redis.as_str())?.get_multiplexed_async_connection().await?)
    }

    /// Without passwords.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("{} and {}", shown(&self.etcd), shown(&self.redis))
    }

    /// Removes every key with the prefix, of each store, whether or not the other is within reach.
    ///
    /// # Errors
    /// If a server is out of reach, or is not done within 10 s (Redis, where all keys are gone through, 2 minutes). Then keys may be left; those
    /// of instances go with their leases, and leases without keys, of at most a minute, by themselves.
    pub async fn clean_up(&self) -> Result<(), Trouble> {
        let (etcd, redis) =
            tokio::join!(within(PATIENCE, self.clean_etcd()), within(SCAN_PATIENCE, self.clean_redis()));
        let failed = [("etcd", etcd), ("Redis", redis)].into_iter().filter_map(|(store, cleaned)| {
            Some(format!("removing the keys of {store} that begin with {}: {}", self.prefix, cleaned.err()?))
        });
        let failed: Vec<String> = failed.collect();
        if failed.is_empty() { Ok(()) } else { Err(Trouble::failed(failed.join("; "))) }
    }

    async fn clean_etcd(&self) -> Result<(), Trouble> {
        let mut etcd = self.etcd_client().await?;
        for begins in [self.prefix.clone(), format!("/{}", self.prefix)] {
            // Their leases end with them, and not when their time is over.
            let all = GetOptions::new().with_prefix().with_keys_only();
            let found = etcd.get(begins.clone(), Some(all)).await?;
            let leases: BTreeSet<i64> = found.kvs().iter().map(KeyValue::lease).collect();
            for lease in leases.into_iter().filter(|lease| *lease != 0) {
                // One that has ended by now is no trouble.
                let _ = etcd.lease_revoke(lease).await;
            }
            etcd.delete(begins, Some(DeleteOptions::new().with_prefix())).await?;
        }
        Ok(())
    }

    async fn clean_redis(&self) -> Result<(), Trouble> {
        let mut redis = self.redis_client().await?;
        // The naive ways put the name of a service first, or braces around it.
        let begins = [self.prefix.clone(), format!("{{{}", self.prefix)];
        let mut cursor = 0_u64;
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("*{}*", self.prefix)).arg("COUNT").arg(1000);
            let (next, found): (u64, Vec<String>) = scan.query_async(&mut redis).await?;
            let ours = found.into_iter().filter(|key| begins.iter().any(|begin| key.starts_with(begin)));
            let ours: Vec<String> = ours.collect();
            if !ours.is_empty() {
                let () = cmd("UNLINK").arg(ours).query_async(&mut redis).await?;
            }
            if next == 0 {
                break;
            }
            cursor = next;
        }
        Ok(())
    }
}

/// A URL without its password.
fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let hosts = rest.rsplit_once('@').map_or(rest, |(_, hosts)| hosts);
    if scheme.is_empty() { hosts.to_owned() } else { format!("{scheme}://{hosts}") }
}

/// What is percent-encoded in a URL, as it is meant.
fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

const PATIENCE: Duration = Duration::from_secs(10);

/// It goes through all keys, 1,000 at a time.
const SCAN_PATIENCE: Duration = Duration::from_secs(120);

async fn within<T>(
    patience: Duration,
    asked: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let answered = timeout(patience, asked).await;
    answered.unwrap_or_else(|_| Err(Trouble::failed(format!("not done within {} s", patience.as_secs()))))
}

fn with_port(host: &str) -> String {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { host.to_owned() } else { format!("{host}:2379") }
}

#[cfg(test)]
mod tests {
    use super::{Theirs, with_port};

    #[test]
    fn urls_with_what_cannot_be_kept_apart_are_refused() {
        let redis = "redis://10.0.0.2";
        for etcd in ["etcds://a", "etcd://a/team", "etcd://a?page=1", "etcd://", "http://a"] {
            assert!(Theirs::new(etcd, redis, "p").is_err(), "{etcd}");
        }
        assert!(Theirs::new("etcd://a,b:1/", "rediss://a", "p").is_err());
        assert!(Theirs::new("etcd://a,b:1/", redis, "p").is_ok());
        assert_eq!((with_port("a"), with_port("a:1")), ("a:2379".to_owned(), "a:1".to_owned()));
    }

    #[test]
    fn a_password_is_not_in_the_error_for_a_url_and_is_decoded_for_who_needs_it() {
        let error = Theirs::new("etcd://root:s3cret@a/x", "redis://b", "p").unwrap_err();
        assert!(error.contains("etcd://a/x") && !error.contains("s3cret"), "{error}");
        let error = Theirs::new("root:s3cret@a", "redis://b", "p").unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
        assert_eq!(super::decoded("p%40ss%2Fw%3Ard"), "p@ss/w:rd");
    }

    #[test]
    fn passwords_are_not_shown() {
        let theirs = Theirs::new("etcd://root:secret@a,b", "redis://:secret@c:7", "p").unwrap();
        assert_eq!(theirs.shown(), "etcd://a,b and redis://c:7");
    }
}
