//! One Redis in a container.

use std::net::SocketAddr;

use futures_util::FutureExt;

use super::super::ServerError;
use super::super::ports::Port;
use super::super::redis::{self, Persistence, Reply, Role};
use super::ContainerOptions;
use super::container::{Container, DATA, Place, Server};

/// The port in the container.
const PORT: u16 = 6379;
/// A configuration file that it may rewrite.
const CONFIG: &str = "/etc/redis.conf";

/// One Redis in a container. See [`Container`] for what becomes of it in the end.
#[derive(Debug)]
pub struct RedisContainer {
    container: Container,
    /// What clients are told, if it is not the port.
    announced: Option<SocketAddr>,
    // What it must hold on to while it is down.
    _bus: Option<Port>,
}

impl RedisContainer {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// As [`EtcdContainer::start`](super::EtcdContainer::start).
    pub async fn start(options: ContainerOptions, persistence: Persistence) -> Result<Self, ServerError> {
        let mut role = Role::alone(Port::free()?);
        role.args = ["--protected-mode", "no"].map(str::to_owned).to_vec();
        let own = role.args("0.0.0.0", PORT, DATA, persistence);
        Self::with_role(options, role, Place::Published(PORT), own).await
    }

    /// In the network of this machine, as the members of a group must be.
    pub(super) async fn in_group(
        options: ContainerOptions,
        role: Role,
        persistence: Persistence,
    ) -> Result<Self, ServerError> {
        let own = role.args(&role.port.address().ip().to_string(), role.port.number(), DATA, persistence);
        Self::with_role(options, role, Place::Machine, own).await
    }

    async fn with_role(
        options: ContainerOptions,
        role: Role,
        place: Place,
        own: Vec<String>,
    ) -> Result<Self, ServerError> {
        let address = role.port.address();
        let files: Vec<_> = role.config.into_iter().map(|config| (CONFIG, config)).collect();
        let first =
            ["redis-server"].into_iter().chain(files.iter().map(|(file, _)| *file)).map(str::to_owned);
        let server = Server {
            name: "redis",
            command: first.chain(own).collect(),
            env: Vec::new(),
            files,
            place,
            ready: Box::new(move || redis::answers(address).boxed()),
        };
        let container = Container::start(server, options, role.port).await?;
        Ok(Self { container, announced: role.announced, _bus: role.bus })
    }

    /// The address for clients.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.announced.unwrap_or(self.container.address())
    }

    /// The address for clients as a URL, `redis://…`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// The container: to kill, pause, start again and wipe.
    #[must_use]
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// As [`Redis::command`](redis::Redis::command), on the port of the clients.
    ///
    /// # Errors
    /// As there.
    pub async fn command(&self, words: &[impl AsRef<[u8]>]) -> Result<Reply, ServerError> {
        redis::ask(self.container.address(), words).await
    }
}
