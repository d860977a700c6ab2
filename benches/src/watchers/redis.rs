//! Redis by its client library: the registry's own script, and `XREAD` of the log that it writes.

use std::time::Duration;

use async_trait::async_trait;
use comparisons::contestants::{Contestant, Listed, Member, Seen, Watching, instance};
use comparisons::experiment::Trouble;
use futures_util::{StreamExt, stream};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, cmd};
use tokio::sync::Mutex;

use super::{VALUE, value_in};
use crate::clients::{Client, Keys, Published, RawRedis, RawRedisLease, connection};

/// The script of an update, and a blocking read of the log on a connection of its own.
#[derive(Clone, Debug)]
pub struct ScriptAndStream {
    url: String,
    writer: RawRedis,
}

/// How many entries are read at once.
const PAGE: usize = 1_000;

impl ScriptAndStream {
    /// On the server at `url`.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn connect(url: &str) -> Result<Self, Trouble> {
        Ok(Self { url: url.to_owned(), writer: RawRedis::connect(url).await? })
    }
}

/// Fields and values of an entry, one after the other.
type Entries = Vec<(String, Vec<Vec<u8>>)>;

struct Reader {
    connection: MultiplexedConnection,
    log: String,
    last: String,
}

impl Reader {
    async fn next(mut self) -> Option<(Vec<Seen>, Self)> {
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(PAGE).arg("BLOCK").arg(0).arg("STREAMS").arg(&self.log).arg(&self.last);
        let read: Vec<(String, Entries)> = read.query_async(&mut self.connection).await.ok()?;
        let mut seen = Vec::new();
        for (at, fields) in read.into_iter().flat_map(|(_, entries)| entries) {
            let field = |name: &[u8]| {
                fields.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| pair[1].as_slice())
            };
            let id = String::from_utf8_lossy(field(b"id")?).into_owned();
            seen.push(Seen::Change { id, value: field(b"value").and_then(value_in) });
            self.last = at;
        }
        Some((seen, self))
    }
}

#[async_trait]
impl Contestant for ScriptAndStream {
    async fn register(
        &self,
        service: &str,
        id: &str,
        value: u64,
        _: Duration,
    ) -> Result<Box<dyn Member>, Trouble> {
        let instance = instance(service, id, value)?;
        let mut client = self.writer.clone();
        let published = client.publish(&instance);
        let lease = client.register(&published).await?;
        Ok(Box::new(Caller { published, state: Mutex::new((client, lease)) }))
    }

    fn watch(&self, service: &str) -> Watching {
        let (url, log) = (self.url.clone(), Keys::of(service).log);
        let events = async move {
            // A blocked answer is waited for as long as it takes.
            match connection(&url, AsyncConnectionConfig::new().set_response_timeout(None)).await {
                Ok(connection) => {
                    let reader = Reader { connection, log, last: "0".to_owned() };
                    stream::unfold(reader, Reader::next).flat_map(stream::iter).left_stream()
                }
                Err(trouble) => stream::iter([Seen::Trouble(trouble.to_string())]).right_stream(),
            }
        };
        Box::pin(stream::once(events).flatten())
    }

    async fn list(&self, service: &str) -> Result<Listed, Trouble> {
        let mut connection = self.writer.connection();
        let all: Vec<(String, Vec<u8>)> =
            cmd("HGETALL").arg(Keys::of(service).instances).query_async(&mut connection).await?;
        Ok(all.into_iter().filter_map(|(id, stored)| Some((id, value_in(&stored)?))).collect())
    }
}

struct Caller {
    published: Published,
    /// Each update tells what the one before was answered.
    state: Mutex<(RawRedis, RawRedisLease)>,
}

#[async_trait]
impl Member for Caller {
    async fn renew(&self) -> Result<(), Trouble> {
        Err(Trouble::failed("leases last longer than what is measured"))
    }

    async fn set(&self, value: u64) -> Result<(), Trouble> {
        let mut published = self.published.clone();
        published.entry.metadata.insert(VALUE.to_owned(), value.to_string());
        let (client, lease) = &mut *self.state.lock().await;
        client.update(lease, &published).await
    }

    async fn leave(&self) -> Result<(), Trouble> {
        let (client, lease) = &mut *self.state.lock().await;
        client.deregister(lease.clone()).await
    }
}
