//! A stand-alone Redis.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ports::Port;
use super::process::{Folder, Process, Program};
use super::proxy::Proxy;
use super::{ServerError, until};

/// How often a start is tried with another port.
const TRIES: usize = 5;
/// For one command.
const COMMAND: Duration = Duration::from_secs(5);

/// What of the data is still there after a SIGKILL and a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing.
    #[default]
    None,
    /// What was there at the last `SAVE` or `BGSAVE`.
    Snapshots,
    /// Everything that was acknowledged: an append-only file, synced before each answer.
    EveryWrite,
    /// The same, synced once a second; a SIGKILL loses nothing by it, a power cut would.
    EverySecond,
}

impl Persistence {
    pub(super) fn args(self) -> [&'static str; 6] {
        let (save, append, sync) = match self {
            Self::None | Self::Snapshots => ("", "no", "no"),
            Self::EveryWrite => ("", "yes", "always"),
            Self::EverySecond => ("", "yes", "everysec"),
        };
        ["--save", save, "--appendonly", append, "--appendfsync", sync]
    }
}

/// How a Redis is started.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RedisOptions {
    /// The program; `redis-server` by default, from `PATH`. A Valkey does as well.
    pub program: PathBuf,
    /// Where data folders are made; by default in memory if there is room.
    pub data_in: Option<PathBuf>,
    /// What survives.
    pub persistence: Persistence,
    /// Put a proxy in front of the port.
    pub client_proxy: bool,
    /// More arguments, last, so that they win.
    pub args: Vec<String>,
    /// How long a start may take; 30 s by default.
    pub patience: Duration,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            program: "redis-server".into(),
            data_in: None,
            persistence: Persistence::default(),
            client_proxy: false,
            args: Vec::new(),
            patience: Duration::from_secs(30),
        }
    }
}

impl RedisOptions {
    /// With what survives a SIGKILL.
    #[must_use]
    pub fn with_persistence(mut self, persistence: Persistence) -> Self {
        self.persistence = persistence;
        self
    }

    /// With a proxy in front of the port.
    #[must_use]
    pub fn with_client_proxy(mut self) -> Self {
        self.client_proxy = true;
        self
    }

    /// With more arguments, such as `["--maxmemory", "1mb"]`.
    #[must_use]
    pub fn with_args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }
}

/// One Redis server. See [`Process`] for what becomes of it in the end.
///
/// ```no_run
/// # async fn example() -> Result<(), registry_testing::servers::ServerError> {
/// use registry_testing::servers::redis::{Persistence, Redis, RedisOptions};
///
/// let redis = Redis::start(RedisOptions::default().with_persistence(Persistence::EveryWrite)).await?;
/// let clients_connect_to = redis.url();
/// redis.command(&["SET", "key", "value"]).await?;
/// redis.kill().await?;
/// redis.restart().await?; // the same address, the same data
/// redis.flush_all().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Redis {
    // Before the proxy, so that it is gone before it is.
    process: Process,
    port: Port,
    client_proxy: Option<Proxy>,
    patience: Duration,
}

/// What Redis answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing, as for a key that is not there.
    Nil,
    /// A number.
    Number(i64),
    /// A status, such as `OK`, or a value.
    Text(Vec<u8>),
    /// Several.
    List(Vec<Reply>),
}

impl Reply {
    /// As text; empty if it is none.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        }
    }
}

impl Redis {
    /// Starts it, on a port of its own, and waits until it answers.
    ///
    /// # Errors
    /// [`ServerError::Missing`] if Redis is not installed, and what [`Process::start`] gives.
    pub async fn start(options: RedisOptions) -> Result<Self, ServerError> {
        for last in (0..TRIES).map(|tried| tried + 1 == TRIES) {
            let redis = Self::new(&options)?;
            match redis.start_process().await {
                Err(ServerError::AddressInUse { .. }) if !last => {}
                outcome => return outcome.map(|()| redis),
            }
        }
        unreachable!("the last try returns")
    }

    fn new(options: &RedisOptions) -> Result<Self, ServerError> {
        let port = Port::free()?;
        let folder = Folder::new(options.data_in.as_deref())?;
        let client_proxy = options.client_proxy.then(|| Proxy::start(port.address())).transpose()?;
        let number = port.number().to_string();
        let data = folder.data().display().to_string();
        let args = ["--bind", "127.0.0.1", "--port", &number, "--dir", &data];
        let hint = "`apt-get install redis-server`, or put a redis-server into PATH";
        let program = Program::new(&options.program, hint).with_name("redis");
        let program = program.with_args(args).with_args(options.persistence.args()).with_args(&options.args);
        Ok(Self { process: Process::new(program, folder), port, client_proxy, patience: options.patience })
    }

    /// The address for clients: the proxy's, if there is one.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.client_proxy.as_ref().map_or(self.port.address(), Proxy::address)
    }

    /// The same as a URL, `redis://…`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// The proxy in front of the port, with [`RedisOptions::client_proxy`].
    #[must_use]
    pub fn client_proxy(&self) -> Option<&Proxy> {
        self.client_proxy.as_ref()
    }

    /// The process: its pid, log and folder.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// SIGKILL; returns when it is gone.
    ///
    /// # Errors
    /// See [`Process::kill`].
    pub async fn kill(&self) -> Result<(), ServerError> {
        self.process.kill().await
    }

    /// SIGSTOP; returns when it has stopped. Its port goes on accepting.
    ///
    /// # Errors
    /// See [`Process::pause`].
    pub async fn pause(&self) -> Result<(), ServerError> {
        self.process.pause().await
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// See [`Process::resume`].
    pub async fn resume(&self) -> Result<(), ServerError> {
        self.process.resume().await
    }

    /// Starts it on the same port with what [`Persistence`] has kept, after a SIGKILL if it runs.
    ///
    /// # Errors
    /// See [`Process::start`].
    pub async fn restart(&self) -> Result<(), ServerError> {
        self.kill().await?;
        let started = until("the port of redis becomes free", self.patience * 2, || async {
            match self.start_process().await {
                Err(ServerError::AddressInUse { .. }) => None,
                outcome => Some(outcome),
            }
        });
        started.await?
    }

    /// The same with nothing.
    ///
    /// # Errors
    /// See [`Process::start`].
    pub async fn wipe(&self) -> Result<(), ServerError> {
        self.kill().await?;
        self.process.remove_data()?;
        self.restart().await
    }

    /// Removes every key of the running server.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn flush_all(&self) -> Result<(), ServerError> {
        self.command(&["FLUSHALL"]).await.map(drop)
    }

    /// Any command that has one answer, on a connection of its own, past the proxy.
    ///
    /// # Errors
    /// [`ServerError::Refused`] with the server's error; [`ServerError::Timeout`] after 5 s; [`ServerError::Io`].
    pub async fn command(&self, words: &[impl AsRef<[u8]>]) -> Result<Reply, ServerError> {
        ask(self.port.address(), words).await
    }

    async fn start_process(&self) -> Result<(), ServerError> {
        let data = self.process.folder().data();
        std::fs::create_dir_all(&data).map_err(ServerError::io(format!("making {}", data.display())))?;
        self.process.start(self.patience, || answers(self.port.address())).await
    }
}

/// One command that has one answer, on a connection of its own.
pub(super) async fn ask(server: SocketAddr, words: &[impl AsRef<[u8]>]) -> Result<Reply, ServerError> {
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words.iter().map(AsRef::as_ref) {
        request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        request.extend_from_slice(word);
        request.extend_from_slice(b"\r\n");
    }
    let name =
        words.first().map(|word| String::from_utf8_lossy(word.as_ref()).into_owned()).unwrap_or_default();
    let exchange = async {
        let mut connection = TcpStream::connect(server).await?;
        connection.write_all(&request).await?;
        reply(&mut BufReader::new(connection)).await
    };
    let timed_out = |_| ServerError::Timeout { what: name.clone(), within: COMMAND, log: String::new() };
    let answer = timeout(COMMAND, exchange).await.map_err(timed_out)?;
    answer.map_err(ServerError::io(&name))?.map_err(|error| ServerError::refused(name, error))
}

/// Whether it serves. While it loads its data it answers with an error; with `requirepass` it does as well, but another.
pub(super) async fn answers(server: SocketAddr) -> bool {
    match ask(server, &["PING"]).await {
        Ok(_) => true,
        Err(ServerError::Refused { answer, .. }) => answer.starts_with("NOAUTH"),
        Err(_) => false,
    }
}

type Connection = BufReader<TcpStream>;

/// Reads one answer: the inner error is the server's.
async fn reply(from: &mut Connection) -> std::io::Result<Result<Reply, String>> {
    let line = line(from).await?;
    let (kind, rest) = line.split_at_checked(1).ok_or_else(|| strange(&line))?;
    let number = || rest.parse::<i64>().map_err(|_| strange(&line));
    Ok(Ok(match kind {
        "+" => Reply::Text(rest.as_bytes().to_vec()),
        "-" => return Ok(Err(rest.to_owned())),
        ":" => Reply::Number(number()?),
        "$" => match usize::try_from(number()?) {
            Err(_) => Reply::Nil,
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                from.read_exact(&mut bytes).await?;
                bytes.truncate(length);
                Reply::Text(bytes)
            }
        },
        "*" => match usize::try_from(number()?) {
            Err(_) => Reply::Nil,
            Ok(length) => {
                let mut list = Vec::new();
                for _ in 0..length {
                    match Box::pin(reply(from)).await? {
                        Ok(item) => list.push(item),
                        Err(error) => return Ok(Err(error)),
                    }
                }
                Reply::List(list)
            }
        },
        _ => return Err(strange(&line)),
    }))
}

async fn line(from: &mut Connection) -> std::io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line).await?;
    Ok(line.trim_end_matches("\r\n").to_owned())
}

fn strange(line: &str) -> std::io::Error {
    std::io::Error::other(format!("not an answer of Redis: {line:?}"))
}
