//! A hash for each service, and a message or an entry of a stream for each change.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, AsyncConnectionConfig, Client, RedisError, cmd, pipe};
use tokio::sync::mpsc::UnboundedSender;

use super::{padded, parse};
use crate::contestants::naive::watching;
use crate::contestants::{Contestant, Listed, Member, Place, Seen, Watching};
use crate::experiment::Trouble;

/// How a change is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announce {
    /// `PUBLISH`.
    Message,
    /// `XADD`, read by `XREAD BLOCK`.
    Stream,
}

/// `HSET` and the announcement in one `MULTI`, and `WAIT` behind it if wanted: one round trip.
#[derive(Clone, Debug)]
pub struct RawRedis {
    client: Client,
    connection: MultiplexedConnection,
    announce: Announce,
    replicas: Option<u32>,
}

/// How many changes a stream keeps, about.
const HISTORY: usize = 10_000;
/// How many entries are read at once.
const PAGE: usize = 1_000;
/// How long replicas may take; then the write counts as failed.
const PATIENCE: Duration = Duration::from_secs(1);

impl RawRedis {
    /// On the server, or the primary, at `place`; with `replicas`, each change waits until so many have it.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn connect(
        place: &Place,
        announce: Announce,
        replicas: Option<u32>,
    ) -> Result<Self, RedisError> {
        let client = Client::open(place.url().await?)?;
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE * 2));
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Self { client, connection, announce, replicas })
    }

    /// Stores a value, or its absence, and announces it, all in one write to the connection.
    async fn change(&self, service: &str, id: &str, value: Option<u64>) -> Result<(), Trouble> {
        let mut change = pipe();
        let stored = value.map_or_else(String::new, padded);
        change.cmd("MULTI").ignore();
        match value {
            Some(_) => change.hset(hash(service), id, &stored).ignore(),
            None => change.hdel(hash(service), id).ignore(),
        };
        match self.announce {
            Announce::Message => change.publish(hash(service), format!("{id} {stored}")).ignore(),
            Announce::Stream => {
                let mut add = cmd("XADD");
                add.arg(log(service)).arg("MAXLEN").arg("~").arg(HISTORY).arg("*").arg(id).arg(&stored);
                change.add_command(add).ignore()
            }
        };
        change.cmd("EXEC").ignore();
        let mut connection = self.connection.clone();
        let Some(replicas) = self.replicas else {
            return Ok(change.query_async(&mut connection).await?);
        };
        // Behind the transaction, since it does not wait inside.
        change.cmd("WAIT").arg(replicas).arg(u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX));
        let (reached,): (u32,) = change.query_async(&mut connection).await?;
        if reached < replicas {
            return Err(Trouble::failed(format!("{reached} of {replicas} replicas have it")));
        }
        Ok(())
    }

    async fn follow(&self, service: &str, told: &UnboundedSender<Seen>) -> Result<(), Trouble> {
        match self.announce {
            Announce::Message => self.follow_messages(service, told).await,
            Announce::Stream => self.follow_stream(service, told).await,
        }
    }

    async fn follow_messages(&self, service: &str, told: &UnboundedSender<Seen>) -> Result<(), Trouble> {
        let mut subscription = self.client.get_async_pubsub().await?;
        subscription.subscribe(hash(service)).await?;
        let _ = told.send(Seen::List { listed: self.list(service).await?, gap: false });
        let mut messages = subscription.on_message();
        while let Some(message) = messages.next().await {
            let text: String = message.get_payload()?;
            if let Some((id, stored)) = text.split_once(' ') {
                let _ = told.send(Seen::Change { id: id.to_owned(), value: parse(stored) });
            }
        }
        Err(Trouble::failed("the subscription ended"))
    }

    async fn follow_stream(&self, service: &str, told: &UnboundedSender<Seen>) -> Result<(), Trouble> {
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut newest = cmd("XREVRANGE");
        newest.arg(log(service)).arg("+").arg("-").arg("COUNT").arg(1);
        let newest: Entries = newest.query_async(&mut connection).await?;
        let mut last = newest.into_iter().next().map_or_else(|| "0".to_owned(), |(id, _)| id);
        // Later than the id, so that nothing is left out; some may come twice.
        let _ = told.send(Seen::List { listed: self.list(service).await?, gap: false });
        loop {
            let mut read = cmd("XREAD");
            read.arg("COUNT").arg(PAGE).arg("BLOCK").arg(0).arg("STREAMS").arg(log(service)).arg(&last);
            let read: Vec<(String, Entries)> = read.query_async(&mut connection).await?;
            for (entry, fields) in read.into_iter().flat_map(|(_, entries)| entries) {
                for (id, stored) in fields {
                    let _ = told.send(Seen::Change { id, value: parse(&stored) });
                }
                last = entry;
            }
        }
    }
}

/// Entries of a stream: ids, and pairs of a field and its value.
type Entries = Vec<(String, Vec<(String, String)>)>;

fn hash(service: &str) -> String {
    format!("{{{service}}}")
}

fn log(service: &str) -> String {
    format!("{{{service}}}:log")
}

#[async_trait]
impl Contestant for RawRedis {
    async fn register(
        &self,
        service: &str,
        id: &str,
        value: u64,
        ttl: Duration,
    ) -> Result<Box<dyn Member>, Trouble> {
        let member = RawMember { on: self.clone(), service: service.to_owned(), id: id.to_owned(), ttl };
        member.set(value).await?;
        member.renew().await?;
        Ok(Box::new(member))
    }

    fn watch(&self, service: &str) -> Watching {
        let (told, telling) = tokio::sync::mpsc::unbounded_channel();
        let (on, service) = (self.clone(), service.to_owned());
        let task = tokio::spawn(async move {
            if let Err(trouble) = on.follow(&service, &told).await {
                let _ = told.send(Seen::Trouble(trouble.to_string()));
            }
        });
        watching(telling, task)
    }

    async fn list(&self, service: &str) -> Result<Listed, Trouble> {
        let stored: Vec<(String, String)> = self.connection.clone().hgetall(hash(service)).await?;
        Ok(stored.into_iter().filter_map(|(id, stored)| Some((id, parse(&stored)?))).collect())
    }
}

struct RawMember {
    on: RawRedis,
    service: String,
    id: String,
    ttl: Duration,
}

#[async_trait]
impl Member for RawMember {
    async fn renew(&self) -> Result<(), Trouble> {
        let millis = i64::try_from(self.ttl.as_millis()).unwrap_or(i64::MAX);
        let mut renewal = pipe();
        renewal.pexpire(hash(&self.service), millis).ignore().pexpire(log(&self.service), millis).ignore();
        let () = renewal.query_async(&mut self.on.connection.clone()).await?;
        Ok(())
    }

    async fn set(&self, value: u64) -> Result<(), Trouble> {
        self.on.change(&self.service, &self.id, Some(value)).await
    }

    async fn leave(&self) -> Result<(), Trouble> {
        self.on.change(&self.service, &self.id, None).await
    }
}
