//! A key with a time to live for each instance, and keyspace events for every change.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::select_all;
use redis::{RedisError, cmd};
use tokio::sync::mpsc::UnboundedSender;

use super::place::{Connection, subscriber};
use super::{Follow, Place, ended};
use crate::contestants::{Contestant, Listed, Member, Seen, Watching};
use crate::experiment::Trouble;

/// The key `{service}:id` holds the value; a heartbeat is `SET` with `PX`; watchers subscribe to `__keyspace@*__:{service}:*` and read the key when
/// they are told of a `set`, and take `del` and `expired` for the end.
///
/// A heartbeat is told as a change to the same value, since it is a `SET`. Of two changes in quick succession a watcher may be told the second twice, since
/// it reads the key only after the event.
///
/// The server must send events: `notify-keyspace-events KA`.
#[derive(Clone, Debug)]
pub struct NaiveKey {
    connection: Arc<Connection>,
    place: Place,
}

impl NaiveKey {
    /// What a server must be started with.
    pub const ARGS: [&str; 2] = ["--notify-keyspace-events", "KA"];

    /// A registry at a place.
    #[must_use]
    pub fn new(place: Place) -> Self {
        Self { connection: Arc::new(Connection::new(place.clone())), place }
    }
}

#[async_trait]
impl Follow for NaiveKey {
    fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Of a cluster, one connection for each primary; ends with the first of them.
    async fn subscribed(
        &self,
        service: &str,
        told: &UnboundedSender<Seen>,
        loaded: &mut bool,
    ) -> Result<Infallible, RedisError> {
        let prefix = prefix(service);
        let mut sources = Vec::new();
        for url in self.place.event_sources().await? {
            let mut subscription = subscriber(&url).await?;
            subscription.psubscribe(format!("__keyspace@*__:{prefix}*")).await?;
            let ended = futures_util::stream::iter([None]);
            sources.push(Box::pin(subscription.into_on_message().map(Some).chain(ended)));
        }
        if !*loaded {
            let _ = told.send(Seen::List { listed: load(&self.connection, service).await?, gap: false });
            *loaded = true;
        }
        let mut events = select_all(sources);
        while let Some(Some(event)) = events.next().await {
            let Some((_, key)) = event.get_channel_name().split_once(':') else { continue };
            let Some(id) = key.strip_prefix(&prefix) else { continue };
            let what: String = event.get_payload()?;
            let value = match what.as_str() {
                "set" => self.connection.call(&cmd("GET").arg(key).to_owned()).await?,
                "del" | "expired" | "evicted" => None,
                _ => continue,
            };
            let _ = told.send(Seen::Change { id: id.to_owned(), value });
        }
        Err(ended())
    }
}

/// In braces, so that a cluster keeps a service on one node.
fn prefix(service: &str) -> String {
    format!("{{{service}}}:")
}

async fn load(connection: &Connection, service: &str) -> Result<Listed, RedisError> {
    let prefix = prefix(service);
    let mut listed = Listed::new();
    let mut cursor = 0_u64;
    loop {
        // By a script with a key, so that a cluster sends it where the service is.
        let mut scan = cmd("EVAL");
        scan.arg("return redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', 1000)").arg(1).arg(&prefix);
        scan.arg(cursor).arg(format!("{prefix}*"));
        let (next, keys): (u64, Vec<String>) = connection.call(&scan).await?;
        if !keys.is_empty() {
            let values: Vec<Option<u64>> = connection.call(&cmd("MGET").arg(&keys).to_owned()).await?;
            let found = keys.iter().zip(values);
            listed.extend(
                found.filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?.to_owned(), value?))),
            );
        }
        if next == 0 {
            return Ok(listed);
        }
        cursor = next;
    }
}

#[async_trait]
impl Contestant for NaiveKey {
    async fn register(
        &self,
        service: &str,
        id: &str,
        value: u64,
        ttl: Duration,
    ) -> Result<Box<dyn Member>, Trouble> {
        let member = KeyMember {
            connection: Arc::clone(&self.connection),
            key: format!("{}{id}", prefix(service)),
            value: AtomicU64::new(value),
            ttl,
        };
        member.renew().await?;
        Ok(Box::new(member))
    }

    fn watch(&self, service: &str) -> Watching {
        super::follow(self.clone(), service)
    }

    async fn list(&self, service: &str) -> Result<Listed, Trouble> {
        Ok(load(&self.connection, service).await?)
    }
}

struct KeyMember {
    connection: Arc<Connection>,
    key: String,
    value: AtomicU64,
    ttl: Duration,
}

#[async_trait]
impl Member for KeyMember {
    async fn renew(&self) -> Result<(), Trouble> {
        let millis = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        let mut set = cmd("SET");
        set.arg(&self.key).arg(self.value.load(Ordering::SeqCst)).arg("PX").arg(millis);
        Ok(self.connection.call(&set).await?)
    }

    async fn set(&self, value: u64) -> Result<(), Trouble> {
        self.value.store(value, Ordering::SeqCst);
        self.renew().await
    }

    async fn leave(&self) -> Result<(), Trouble> {
        Ok(self.connection.call(&cmd("DEL").arg(&self.key).to_owned()).await?)
    }
}
