//! How a Redis is started.

use std::path::PathBuf;
use std::time::Duration;

use super::super::ServerError;
use super::super::process::{Folder, Program};

/// For the file system itself, and a few hundred MiB of data.
const DISK: u64 = 512 << 20;

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
    pub(in super::super) fn args(self) -> [&'static str; 6] {
        let (save, append, sync) = match self {
            Self::None | Self::Snapshots => ("", "no", "no"),
            Self::EveryWrite => ("", "yes", "always"),
            Self::EverySecond => ("", "yes", "everysec"),
        };
        ["--save", save, "--appendonly", append, "--appendfsync", sync]
    }

    /// Whether there is an append-only file.
    pub(super) fn appends(self) -> bool {
        matches!(self, Self::EveryWrite | Self::EverySecond)
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
    /// Put the data on a [`Disk`](super::super::disk::Disk) of their own, of so many bytes, for [`Redis::power_cut`](super::Redis::power_cut).
    /// Needs root.
    pub disk: Option<u64>,
    /// What survives.
    pub persistence: Persistence,
    /// Put a proxy in front of the port.
    pub client_proxy: bool,
    /// Give it a wall clock of its own, for [`Redis::step_clock`](super::Redis::step_clock). Linux only; takes a C compiler.
    pub clock: bool,
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
            disk: None,
            persistence: Persistence::default(),
            client_proxy: false,
            clock: false,
            args: Vec::new(),
            patience: Duration::from_secs(30),
        }
    }
}

impl RedisOptions {
    /// With another installation: the path of its server, such as [`redis_8`](super::redis_8) and [`valkey_8_1`](super::valkey_8_1) find it.
    #[must_use]
    pub fn with_program(mut self, server: impl Into<PathBuf>) -> Self {
        self.program = server.into();
        self
    }

    /// With data folders in `parent`.
    #[must_use]
    pub fn with_data_in(mut self, parent: impl Into<PathBuf>) -> Self {
        self.data_in = Some(parent.into());
        self
    }

    /// With data on a disk whose power can be cut, large enough for some 100 MiB of them.
    #[must_use]
    pub fn with_disk(mut self) -> Self {
        self.disk = Some(DISK);
        self
    }

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

    /// With a wall clock that can be stepped.
    #[must_use]
    pub fn with_clock(mut self) -> Self {
        self.clock = true;
        self
    }

    /// With more arguments, such as `["--maxmemory", "1mb"]`.
    #[must_use]
    pub fn with_args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(super) fn server(&self) -> Program {
        let hint = "`apt-get install redis-server`, or put a redis-server into PATH";
        Program::new(&self.program, hint)
    }

    /// For one server.
    pub(super) async fn folder(&self) -> Result<Folder, ServerError> {
        let parent = self.data_in.as_deref();
        match self.disk {
            Some(bytes) => Folder::with_disk(parent, bytes).await,
            None => Folder::new(parent),
        }
    }
}
