//! A hash for each service, `EXPIRE` on the whole of it, `PUBLISH` for every change.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use redis::{Cmd, RedisError, cmd};
use tokio::sync::mpsc::UnboundedSender;

use super::place::Connection;
use super::{Follow, Place, ended};
use crate::contestants::{Contestant, Listed, Member, Seen, Watching};
use crate::experiment::Trouble;

/// The hash `service` holds `id -> value`; a heartbeat is `HSET` and `EXPIRE`; a change is `HSET` and `PUBLISH service`.
///
/// Redis has no time to live of a field before 7.4, so `EXPIRE` is on the hash: as long as one instance beats, all are listed.
/// Nobody is told when it expires, neither whoever watches nor whoever is listed. A watcher whose connection ends says so, and subscribes again after a pause of 50 to 100 ms; that it may have missed something, it does not say.
#[derive(Clone, Debug)]
pub struct NaiveHash {
    connection: Arc<Connection>,
    place: Place,
    reloads: bool,
}

impl NaiveHash {
    /// Whose watchers subscribe again after a lost connection, as client libraries do, and go on.
    #[must_use]
    pub fn new(place: Place) -> Self {
        Self { connection: Arc::new(Connection::new(place.clone())), place, reloads: false }
    }

    /// Whose watchers also load the hash after each subscription: the careful variant.
    #[must_use]
    pub fn reloading(place: Place) -> Self {
        Self { reloads: true, ..Self::new(place) }
    }
}

/// What is published. The value of one that is gone is `-`.
fn message(id: &str, value: Option<u64>) -> String {
    format!("{id} {}", value.map_or("-".to_owned(), |value| value.to_string()))
}

fn seen(message: &str) -> Option<Seen> {
    let (id, value) = message.rsplit_once(' ')?;
    let value = if value == "-" { None } else { Some(value.parse().ok()?) };
    Some(Seen::Change { id: id.to_owned(), value })
}

async fn load(connection: &Connection, service: &str) -> Result<Listed, RedisError> {
    connection.call(&cmd("HGETALL").arg(service).to_owned()).await
}

#[async_trait]
impl Contestant for NaiveHash {
    async fn register(
        &self,
        service: &str,
        id: &str,
        value: u64,
        ttl: Duration,
    ) -> Result<Box<dyn Member>, Trouble> {
        let member = HashMember {
            connection: Arc::clone(&self.connection),
            service: service.to_owned(),
            id: id.to_owned(),
            value: AtomicU64::new(value),
            ttl,
        };
        member.write(value).await?;
        member.expire().await?;
        Ok(Box::new(member))
    }

    fn watch(&self, service: &str) -> Watching {
        super::follow(self.clone(), service)
    }

    async fn list(&self, service: &str) -> Result<Listed, Trouble> {
        Ok(load(&self.connection, service).await?)
    }
}

#[async_trait]
impl Follow for NaiveHash {
    fn connection(&self) -> &Connection {
        &self.connection
    }

    async fn subscribed(
        &self,
        service: &str,
        told: &UnboundedSender<Seen>,
        loaded: &mut bool,
    ) -> Result<Infallible, RedisError> {
        let mut subscription = self.place.subscriber().await?;
        subscription.subscribe(service).await?;
        if !*loaded || self.reloads {
            let listed = load(&self.connection, service).await?;
            let _ = told.send(Seen::List { listed, gap: *loaded });
            *loaded = true;
        }
        let mut messages = subscription.on_message();
        while let Some(message) = messages.next().await {
            let text: String = message.get_payload()?;
            if let Some(seen) = seen(&text) {
                let _ = told.send(seen);
            }
        }
        Err(ended())
    }
}

struct HashMember {
    connection: Arc<Connection>,
    service: String,
    id: String,
    value: AtomicU64,
    ttl: Duration,
}

impl HashMember {
    fn hset(&self, value: u64) -> Cmd {
        cmd("HSET").arg(&self.service).arg(&self.id).arg(value).to_owned()
    }

    async fn publish(&self, value: Option<u64>) -> Result<(), RedisError> {
        self.connection
            .call(&cmd("PUBLISH").arg(&self.service).arg(message(&self.id, value)).to_owned())
            .await
    }

    async fn write(&self, value: u64) -> Result<(), RedisError> {
        let () = self.connection.call(&self.hset(value)).await?;
        self.publish(Some(value)).await
    }

    async fn expire(&self) -> Result<(), RedisError> {
        let millis = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        self.connection.call(&cmd("PEXPIRE").arg(&self.service).arg(millis).to_owned()).await
    }
}

#[async_trait]
impl Member for HashMember {
    async fn renew(&self) -> Result<(), Trouble> {
        let value = self.value.load(Ordering::SeqCst);
        let () = self.connection.call(&self.hset(value)).await?;
        Ok(self.expire().await?)
    }

    async fn set(&self, value: u64) -> Result<(), Trouble> {
        self.value.store(value, Ordering::SeqCst);
        Ok(self.write(value).await?)
    }

    async fn leave(&self) -> Result<(), Trouble> {
        let () = self.connection.call(&cmd("HDEL").arg(&self.service).arg(&self.id).to_owned()).await?;
        Ok(self.publish(None).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::{Seen, message, seen};

    #[test]
    fn what_is_published_is_understood() {
        for value in [Some(7), None] {
            let change = Seen::Change { id: "a b".to_owned(), value };
            assert_eq!(seen(&message("a b", value)), Some(change));
        }
        assert_eq!(seen("nonsense"), None);
    }
}
