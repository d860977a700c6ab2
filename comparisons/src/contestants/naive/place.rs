//! Where the Redis is, and a connection to it that is opened again when it broke, which is what every client library offers.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::cluster_async::ClusterConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, Value};
use tokio::sync::Mutex;

/// As most clients are configured: an answer is waited for, but not for ever.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the Redis is.
#[derive(Clone, Debug)]
pub enum Place {
    /// One server.
    Server(SocketAddr),
    /// The primary that the first sentinel that answers names.
    Sentinel {
        /// The sentinels.
        sentinels: Vec<SocketAddr>,
        /// What they call the primary.
        name: String,
    },
    /// A cluster.
    Cluster(Vec<SocketAddr>),
    /// What a URL of the reader's says, one server.
    Url(String),
}

pub(super) fn io(what: &str) -> RedisError {
    RedisError::from(std::io::Error::other(what.to_owned()))
}

fn within(patience: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(patience)).set_response_timeout(Some(patience))
}

impl Place {
    /// Where writes go now; of a cluster, its first node.
    pub(in crate::contestants) async fn url(&self) -> Result<String, RedisError> {
        match self {
            Self::Server(address) => Ok(format!("redis://{address}")),
            Self::Url(url) => Ok(url.clone()),
            Self::Sentinel { sentinels, name } => {
                let mut last = io("no sentinel");
                for sentinel in sentinels {
                    match ask_sentinel(*sentinel, name).await {
                        Ok((host, port)) => return Ok(format!("redis://{host}:{port}")),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            Self::Cluster(nodes) => {
                nodes.first().map(|node| format!("redis://{node}")).ok_or_else(|| io("no node"))
            }
        }
    }

    /// A subscription where what is published is told: of a cluster, at the first node that is there, since each passes on to all.
    pub(super) async fn subscriber(&self) -> Result<PubSub, RedisError> {
        let Self::Cluster(nodes) = self else { return subscriber(&self.url().await?).await };
        let mut last = io("no node");
        for node in nodes {
            match subscriber(&format!("redis://{node}")).await {
                Ok(subscription) => return Ok(subscription),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Where keyspace events are told: on every primary of a cluster, for its own keys.
    pub(super) async fn event_sources(&self) -> Result<Vec<String>, RedisError> {
        let Self::Cluster(_) = self else { return Ok(vec![self.url().await?]) };
        let connection = Connection::new(self.clone());
        let slots: Vec<Vec<Value>> = connection.call(&redis::cmd("CLUSTER").arg("SLOTS").to_owned()).await?;
        let primary = |range: Vec<Value>| {
            let (host, port): (String, u16) = {
                let node: Vec<Value> = redis::from_redis_value(range.into_iter().nth(2)?).ok()?;
                let mut node = node.into_iter();
                (redis::from_redis_value(node.next()?).ok()?, redis::from_redis_value(node.next()?).ok()?)
            };
            Some(format!("redis://{host}:{port}"))
        };
        let mut sources: Vec<String> = slots.into_iter().filter_map(primary).collect();
        sources.sort();
        sources.dedup();
        Ok(sources)
    }
}

async fn ask_sentinel(sentinel: SocketAddr, name: &str) -> Result<(String, u16), RedisError> {
    let client = Client::open(format!("redis://{sentinel}"))?;
    let mut asked = client.get_multiplexed_async_connection_with_config(&within(PATIENCE)).await?;
    redis::cmd("SENTINEL").arg("get-master-addr-by-name").arg(name).query_async(&mut asked).await
}

/// A subscription of its own connection.
pub(super) async fn subscriber(url: &str) -> Result<PubSub, RedisError> {
    let client = Client::open(url)?;
    let opened = tokio::time::timeout(PATIENCE, client.get_async_pubsub()).await;
    opened.unwrap_or_else(|_| Err(io("connecting took too long")))
}

enum Open {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A connection that is opened when it is needed, and opened again after it failed.
pub(super) struct Connection {
    place: Place,
    /// With which of them it is, counted from the first.
    open: Arc<Mutex<(u64, Option<Open>)>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(place: Place) -> Self {
        Self { place, open: Arc::default() }
    }

    /// Sends a command once.
    pub(super) async fn call<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        let (number, opened) = self.opened().await?;
        let outcome = match opened {
            Open::One(mut connection) => command.query_async(&mut connection).await,
            Open::Cluster(mut connection) => command.query_async(&mut connection).await,
        };
        if let Err(error) = &outcome
            && !matches!(&self.place, Place::Cluster(_))
            && (error.is_io_error() || error.is_unrecoverable_error() || error.code() == Some("READONLY"))
        {
            let mut open = self.open.lock().await;
            // One that was opened since then has done nothing wrong.
            if open.0 == number {
                open.1 = None;
            }
        }
        outcome
    }

    /// Opens it anew when it is needed next. One to a cluster stays, since it replaces what broke by itself.
    pub(super) async fn close(&self) {
        if !matches!(&self.place, Place::Cluster(_)) {
            self.open.lock().await.1 = None;
        }
    }

    async fn opened(&self) -> Result<(u64, Open), RedisError> {
        let mut open = self.open.lock().await;
        if open.1.is_none() {
            let opened = match &self.place {
                Place::Cluster(nodes) => {
                    let nodes: Vec<String> = nodes.iter().map(|node| format!("redis://{node}")).collect();
                    let client = redis::cluster::ClusterClientBuilder::new(nodes)
                        .connection_timeout(PATIENCE)
                        .response_timeout(PATIENCE)
                        .build()?;
                    Open::Cluster(client.get_async_connection().await?)
                }
                place => {
                    let client = Client::open(place.url().await?)?;
                    let config = within(PATIENCE);
                    Open::One(client.get_multiplexed_async_connection_with_config(&config).await?)
                }
            };
            *open = (open.0 + 1, Some(opened));
        }
        match open.1.as_ref() {
            Some(Open::One(connection)) => Ok((open.0, Open::One(connection.clone()))),
            Some(Open::Cluster(connection)) => Ok((open.0, Open::Cluster(connection.clone()))),
            None => Err(io("not connected")),
        }
    }
}
