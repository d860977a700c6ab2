//! Redis by its client library: the scripts of `registry-redis`, on one connection that all clones share.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use comparisons::experiment::Trouble;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Cmd, IntoConnectionInfo, Value, cmd, pipe};
use registry_core::{Incarnation, Instance, OwnerToken};

use super::{Client, Entry, Owner, ttl};

/// What the registry's options are by default: how long a log is, and after how many milliseconds another connection is tried, so that what comes
/// later must not be done.
const HISTORY: usize = 10_000;
const LOG_BYTES: usize = 16 << 20;
const PATIENCE: u32 = 1_000;
const PAGE: usize = 1_000;

macro_rules! script {
    ($name:literal) => {
        include_str!(concat!("../../../registry-redis/src/scripts/", $name, ".lua"))
    };
}

/// What all scripts have in common stands after the first line of each.
const COMMON: &str = script!("common");

/// The keys of a service.
#[derive(Debug)]
pub struct Keys {
    /// Where its history is.
    pub head: String,
    /// The instances, by id.
    pub instances: String,
    /// When their leases end.
    pub deadlines: String,
    /// What has changed.
    pub log: String,
}

impl Keys {
    /// Of `service`.
    #[must_use]
    pub fn of(service: &str) -> Self {
        let key = |part: &str| format!("registry:{{{service}}}:{part}");
        Self { head: key("head"), instances: key("instances"), deadlines: key("deadlines"), log: key("log") }
    }
}

/// An instance, and the keys of its service, which a client that has one service need not make anew each time.
#[derive(Clone, Debug)]
pub struct Published {
    /// The instance.
    pub entry: Entry,
    keys: Arc<Keys>,
}

/// The names under which the server keeps the scripts.
#[derive(Debug)]
struct Scripts {
    register: String,
    keepalive: String,
    update: String,
    deregister: String,
    read: String,
}

/// How the two requests of a registration are sent: the name of the service is added to an index, which in a cluster is on another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Both at once.
    Pipelined,
    /// The second when the first was answered.
    InTurn,
}

/// One Redis.
#[derive(Clone, Debug)]
pub struct RawRedis {
    connection: MultiplexedConnection,
    scripts: Arc<Scripts>,
    /// Which process the server is, and when it was started.
    run: String,
    started: u64,
    connected: u64,
    writer: String,
    /// Of randomness that no other client has; what is counted makes each call's own.
    seed: u64,
    calls: Arc<AtomicU64>,
    sent: Sent,
    decodes: bool,
    /// The services that were looked up, each as it was found last.
    found: HashMap<String, Found>,
}

/// A service, and where its history was: epoch, revision and nonce, as they are sent back with the next lookup.
#[derive(Clone, Debug)]
struct Found {
    keys: Arc<Keys>,
    epoch: Vec<u8>,
    revision: u64,
    nonce: Vec<u8>,
}

impl Found {
    /// `service`, which was not looked up yet.
    fn not_yet(service: &str) -> Self {
        let unknown = || b"0000000000000000".to_vec();
        Self { keys: Arc::new(Keys::of(service)), epoch: unknown(), revision: 0, nonce: unknown() }
    }
}

/// Who owns an entry, and what was acknowledged last.
#[derive(Clone, Debug)]
pub struct RawRedisLease {
    keys: Arc<Keys>,
    id: String,
    token: String,
    incarnation: u64,
    acknowledged: u64,
    sequence: u64,
}

impl RawRedis {
    /// Connects to the server at `url`, and tells it the scripts.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn connect(url: &str) -> Result<Self, Trouble> {
        // A deadline of the connection's own would be a new timer for every request.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let mut connection = connection(url, config).await?;
        let scripts = Scripts {
            register: load(&mut connection, script!("register")).await?,
            keepalive: load(&mut connection, script!("keepalive")).await?,
            update: load(&mut connection, script!("update")).await?,
            deregister: load(&mut connection, script!("deregister")).await?,
            read: load(&mut connection, script!("read")).await?,
        };
        let info: String = cmd("INFO").arg("server").query_async(&mut connection).await?;
        let of_server = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let up = of_server("uptime_in_seconds").and_then(|up| up.trim().parse::<u64>().ok());
        let seed = OwnerToken::random().as_u128() as u64;
        let now = Incarnation::now().get();
        Ok(Self {
            connection,
            scripts: Arc::new(scripts),
            run: of_server("run_id").unwrap_or_default().trim().to_owned(),
            started: now - up.unwrap_or_default() * 1_000,
            connected: now,
            writer: format!("{:x}", seed >> 16),
            seed,
            calls: Arc::default(),
            sent: Sent::Pipelined,
            decodes: true,
            found: HashMap::new(),
        })
    }

    /// The same, which sends the requests of a registration so.
    #[must_use]
    pub fn sending(mut self, sent: Sent) -> Self {
        self.sent = sent;
        self
    }

    /// The same, which gives what it looks up as the bytes that it got.
    #[must_use]
    pub fn without_decoding(mut self) -> Self {
        self.decodes = false;
        self
    }

    /// The connection.
    #[must_use]
    pub fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// One heartbeat, to be sent with others.
    #[must_use]
    pub fn heartbeat(&self, lease: &RawRedisLease) -> Cmd {
        let mut call = self.call(&self.scripts.keepalive, &lease.keys);
        call.arg(&lease.id).arg(&lease.token).arg(lease.incarnation).arg(lease.acknowledged);
        call
    }

    /// A call of a script with what each is told.
    fn call(&self, script: &str, keys: &Keys) -> Cmd {
        let now = Incarnation::now().get();
        let mut call = cmd("EVALSHA");
        call.arg(script).arg(4).arg(&keys.head).arg(&keys.instances).arg(&keys.deadlines).arg(&keys.log);
        call.arg(now).arg(PATIENCE).arg(&self.run).arg(self.started).arg(0).arg(now).arg("");
        call.arg(format!("{:016x}", self.draw()));
        call.arg(HISTORY).arg(LOG_BYTES).arg(self.connected).arg(0);
        call
    }

    fn draw(&self) -> u64 {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        fastrand::Rng::with_seed(self.seed.wrapping_add(call.wrapping_mul(0x9e37_79b9_7f4a_7c15))).u64(..)
    }

    async fn ask(&mut self, call: &Cmd) -> Result<Vec<Value>, Trouble> {
        answer(call.query_async(&mut self.connection).await?)
    }
}

impl Client for RawRedis {
    type Published = Published;
    type Lease = RawRedisLease;

    fn publish(&self, instance: &Instance) -> Published {
        Published { entry: Entry::of(instance), keys: Arc::new(Keys::of(instance.service().as_str())) }
    }

    async fn register(&mut self, published: &Published) -> Result<RawRedisLease, Trouble> {
        let incarnation = Incarnation::now().get();
        let token = format!("{:032x}", OwnerToken::random().as_u128());
        let (entry, owner) = (&published.entry, Owner { token: &token, incarnation, registered: None });
        let millis = u64::try_from(ttl().get().as_millis()).unwrap_or(u64::MAX);
        let mut enlist = cmd("ZADD");
        enlist.arg("registry:services").arg(incarnation).arg(&entry.service);
        let mut register = self.call(&self.scripts.register, &published.keys);
        register.arg(&entry.id).arg(&token).arg(incarnation).arg(incarnation).arg("take over").arg(millis);
        register.arg(&self.writer).arg(1).arg(encoded(entry, owner)?);
        let answer = match self.sent {
            Sent::Pipelined => {
                let mut both = pipe();
                both.add_command(enlist).ignore().add_command(register);
                let (registered,): (Value,) = both.query_async(&mut self.connection).await?;
                answer(registered)?
            }
            Sent::InTurn => {
                let () = enlist.query_async(&mut self.connection).await?;
                self.ask(&register).await?
            }
        };
        let acknowledged = number(answer.get(2))?;
        let keys = Arc::clone(&published.keys);
        Ok(RawRedisLease { keys, id: entry.id.clone(), token, incarnation, acknowledged, sequence: 1 })
    }

    async fn keepalive(&mut self, lease: &RawRedisLease) -> Result<(), Trouble> {
        let call = self.heartbeat(lease);
        self.ask(&call).await.map(drop)
    }

    async fn update(&mut self, lease: &mut RawRedisLease, published: &Published) -> Result<(), Trouble> {
        let owner = Owner { token: &lease.token, incarnation: lease.incarnation, registered: None };
        let mut update = self.call(&self.scripts.update, &lease.keys);
        update.arg(&lease.id).arg(&lease.token).arg(lease.incarnation).arg(lease.acknowledged);
        update.arg(&self.writer).arg(lease.sequence + 1).arg(encoded(&published.entry, owner)?);
        let answer = self.ask(&update).await?;
        lease.acknowledged = number(answer.get(2))?;
        lease.sequence = number(answer.get(3))?;
        Ok(())
    }

    async fn deregister(&mut self, lease: RawRedisLease) -> Result<(), Trouble> {
        let mut deregister = self.call(&self.scripts.deregister, &lease.keys);
        deregister.arg(&lease.id).arg(&lease.token).arg(lease.incarnation);
        self.ask(&deregister).await.map(drop)
    }

    async fn lookup(&mut self, service: &str) -> Result<usize, Trouble> {
        if !self.found.contains_key(service) {
            self.found.insert(service.to_owned(), Found::not_yet(service));
        }
        let found = &self.found[service];
        let mut read = self.call(&self.scripts.read, &found.keys);
        read.arg(PAGE).arg(&found.epoch).arg(found.revision).arg(&found.nonce);
        let mut answer = self.ask(&read).await?;
        let (
            Some(Value::Array(listed)),
            [_, _, Value::BulkString(epoch), Value::Int(revision), Value::BulkString(nonce), ..],
        ) = (answer.pop(), answer.as_mut_slice())
        else {
            return Err(Trouble::failed("Redis answered something else than was asked"));
        };
        if let Some(found) = self.found.get_mut(service).filter(|_| !epoch.is_empty()) {
            (found.epoch, found.nonce) = (std::mem::take(epoch), std::mem::take(nonce));
            found.revision = u64::try_from(*revision).unwrap_or_default();
        }
        if !self.decodes {
            return Ok(black_box(&listed).len() / 2);
        }
        let entries: Result<Vec<Entry>, Trouble> =
            listed.chunks_exact(2).map(|pair| read_entry(&pair[1])).collect();
        Ok(black_box(entries?).len())
    }
}

/// A connection of its own, without delays of the system's.
pub(crate) async fn connection(
    url: &str,
    config: AsyncConnectionConfig,
) -> Result<MultiplexedConnection, Trouble> {
    let info = url.into_connection_info()?.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    Ok(redis::Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await?)
}

async fn load(connection: &mut MultiplexedConnection, script: &str) -> Result<String, Trouble> {
    let (first, rest) = script.split_once('\n').unwrap_or((script, ""));
    let text = format!("{first}\n{COMMON}\n{rest}");
    Ok(cmd("SCRIPT").arg("LOAD").arg(text).query_async(connection).await?)
}

/// The parts of an answer, if its first says that it was done.
pub(crate) fn answer(answer: Value) -> Result<Vec<Value>, Trouble> {
    match answer {
        Value::Array(parts) if matches!(parts.first(), Some(Value::BulkString(word)) if word == b"OK") => {
            Ok(parts)
        }
        other => Err(Trouble::failed(format!("a script answered {other:?}"))),
    }
}

fn number(part: Option<&Value>) -> Result<u64, Trouble> {
    match part {
        Some(Value::Int(number)) => u64::try_from(*number).map_err(|_| Trouble::failed("a negative number")),
        other => Err(Trouble::failed(format!("{other:?} is no number"))),
    }
}

/// After the line about its owner.
fn read_entry(value: &Value) -> Result<Entry, Trouble> {
    let Value::BulkString(bytes) = value else { return Err(Trouble::failed("a value is no text")) };
    let end = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    Entry::decode(&bytes[end..]).map_err(|error| Trouble::Failed(Box::new(error)))
}

fn encoded(published: &Entry, owner: Owner<'_>) -> Result<Vec<u8>, Trouble> {
    published.encode_for(owner).map_err(|error| Trouble::Failed(Box::new(error)))
}
