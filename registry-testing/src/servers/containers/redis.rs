//! A stand-alone Redis in a container.

use futures_util::FutureExt;

use super::super::ServerError;
use super::super::ports::Port;
use super::super::redis::{self, Persistence, Reply};
use super::ContainerOptions;
use super::container::{Container, DATA, Server};

/// The port in the container.
const PORT: u16 = 6379;

/// One Redis in a container. See [`Container`] for what becomes of it in the end.
#[derive(Debug)]
pub struct RedisContainer {
    container: Container,
}

impl RedisContainer {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// As [`EtcdContainer::start`](super::EtcdContainer::start).
    pub async fn start(options: ContainerOptions, persistence: Persistence) -> Result<Self, ServerError> {
        let port = Port::free()?;
        let address = port.address();
        let own = ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--dir", DATA];
        let server = Server {
            name: "redis",
            command: own.into_iter().chain(persistence.args()).map(str::to_owned).collect(),
            env: Vec::new(),
            port: PORT,
            ready: Box::new(move || redis::answers(address).boxed()),
        };
        Ok(Self { container: Container::start(server, options, port).await? })
    }

    /// The address for clients as a URL, `redis://…`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.container.address())
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
