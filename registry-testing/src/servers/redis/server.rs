//! One Redis: alone, or a member of a group.

use std::net::SocketAddr;
use std::path::Path;

use super::super::ports::Port;
use super::super::process::Process;
use super::super::proxy::Proxy;
use super::super::{ServerError, until};
use super::clock::Clock;
use super::reply::{answers, ask};
use super::role::Role;
use super::{Persistence, RedisOptions, Reply};

/// How often a start is tried with another port.
const TRIES: usize = 5;

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
    /// What clients are told, if it is neither the port nor that proxy.
    announced: Option<SocketAddr>,
    clock: Option<Clock>,
    options: RedisOptions,
    // What it must hold on to while it is down.
    _bus: Option<Port>,
}

impl Redis {
    /// Starts it, on a port of its own, and waits until it answers.
    ///
    /// # Errors
    /// [`ServerError::Missing`] if Redis is not installed, and what [`Process::start`] gives.
    pub async fn start(options: RedisOptions) -> Result<Self, ServerError> {
        for last in (0..TRIES).map(|tried| tried + 1 == TRIES) {
            let redis = Self::new(&options).await?;
            match redis.start_process().await {
                Err(ServerError::AddressInUse { .. }) if !last => {}
                outcome => return outcome.map(|()| redis),
            }
        }
        unreachable!("the last try returns")
    }

    async fn new(options: &RedisOptions) -> Result<Self, ServerError> {
        let port = Port::free()?;
        let client_proxy = options.client_proxy.then(|| Proxy::start(port.address())).transpose()?;
        let redis = Self::with_role(options, Role::alone(port)).await?;
        Ok(Self { client_proxy, ..redis })
    }

    /// One that does not run yet.
    pub(super) async fn with_role(options: &RedisOptions, role: Role) -> Result<Self, ServerError> {
        let folder = options.folder().await?;
        let mut program = options.server().with_name(&role.name);
        if let Some(config) = &role.config {
            // Not among the data: it survives the loss of them.
            let file = folder.path().join("redis.conf");
            std::fs::write(&file, config).map_err(ServerError::io(format!("writing {}", file.display())))?;
            program = program.with_args([file]);
        }
        let clock = if options.clock { Some(Clock::new(folder.path()).await?) } else { None };
        if let Some(clock) = &clock {
            program = clock.set_for(program);
        }
        let data = folder.data().display().to_string();
        let program =
            program.with_args(role.args("127.0.0.1", role.port.number(), &data, options.persistence));
        Ok(Self {
            process: Process::new(program.with_args(&options.args), folder),
            port: role.port,
            client_proxy: None,
            announced: role.announced,
            clock,
            options: options.clone(),
            _bus: role.bus,
        })
    }

    /// The address for clients: that of a proxy, if there is one.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let behind = self.announced.unwrap_or(self.port.address());
        self.client_proxy.as_ref().map_or(behind, Proxy::address)
    }

    /// The same as a URL, `redis://…`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// The proxy in front of the port, with [`RedisOptions::client_proxy`], of one that is alone; that of a group's knows the group.
    #[must_use]
    pub fn client_proxy(&self) -> Option<&Proxy> {
        self.client_proxy.as_ref()
    }

    /// The process: its pid, log and folder.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    pub(super) fn persistence(&self) -> Persistence {
        self.options.persistence
    }

    pub(super) fn data_in(&self) -> Option<&Path> {
        self.options.data_in.as_deref()
    }

    pub(super) fn clock(&self) -> Option<&Clock> {
        self.clock.as_ref()
    }

    /// SIGKILL; returns when it is gone.
    ///
    /// # Errors
    /// See [`Process::kill`].
    pub async fn kill(&self) -> Result<(), ServerError> {
        self.process.kill().await
    }

    /// SIGTERM, upon which it brings to disk what an append-only file has not synced yet; returns when it is gone. It does not `SAVE`. One
    /// with replicas first waits for those that lag, up to 10 s.
    ///
    /// # Errors
    /// See [`Process::terminate`].
    pub async fn stop(&self) -> Result<(), ServerError> {
        self.process.terminate(self.options.patience).await
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
        self.start_again().await
    }

    /// Cuts its power and starts it again, on the same port, with what was on its disk. See [`Process::power_cut`].
    ///
    /// # Errors
    /// [`ServerError::Refused`] without [`RedisOptions::disk`]; see [`Process::power_cut`] and [`Process::start`].
    pub async fn power_cut(&self) -> Result<(), ServerError> {
        self.process.power_cut().await?;
        self.start_again().await
    }

    /// The same as [`restart`](Self::restart) with nothing.
    ///
    /// # Errors
    /// See [`Process::start`].
    pub async fn wipe(&self) -> Result<(), ServerError> {
        self.discard().await?;
        self.start_again().await
    }

    /// Kills it and removes its data.
    pub(super) async fn discard(&self) -> Result<(), ServerError> {
        self.kill().await?;
        self.process.remove_data()
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

    pub(super) async fn start_process(&self) -> Result<(), ServerError> {
        let data = self.process.folder().data();
        std::fs::create_dir_all(&data).map_err(ServerError::io(format!("making {}", data.display())))?;
        self.process.start(self.options.patience, || answers(self.port.address())).await?;
        self.clock.as_ref().map_or(Ok(()), |clock| clock.must_be_used_by(&self.process))
    }

    /// The same when the port is fixed: whatever sits on it is waited out.
    async fn start_again(&self) -> Result<(), ServerError> {
        let what = format!("a port of {} becomes free", self.process.name());
        let started = until(&what, self.options.patience * 2, || async {
            match self.start_process().await {
                Err(ServerError::AddressInUse { .. }) => None,
                outcome => Some(outcome),
            }
        });
        started.await?
    }
}
