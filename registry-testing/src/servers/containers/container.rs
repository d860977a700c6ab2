//! A server in a container.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use testcontainers::bollard::models::{HostConfig, Mount, MountType, PortBinding};
use testcontainers::core::{ContainerPort, ImageExt};
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage};
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::super::ports::Port;
use super::super::{ServerError, until};
use super::ContainerOptions;
use super::engine::{self, Removed, failed};

/// Where a server keeps its data: a volume without a name, which goes with the container.
pub(super) const DATA: &str = "/data";
/// How long a signal may take to show.
const SOON: Duration = Duration::from_secs(10);
/// How often the engine is asked whether a server that starts has ended instead.
const EXIT_POLL: Duration = Duration::from_millis(100);

/// What differs between servers.
pub(super) struct Server {
    /// For names and errors.
    pub(super) name: &'static str,
    /// Program and arguments, before those of the options.
    pub(super) command: Vec<String>,
    pub(super) env: Vec<(&'static str, &'static str)>,
    /// Files that are there before it starts, with what they say.
    pub(super) files: Vec<(&'static str, String)>,
    pub(super) place: Place,
    /// Whether it serves, on the port of this machine.
    pub(super) ready: Box<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>,
}

/// Where a server listens.
pub(super) enum Place {
    /// On this port in the container, which is published on this machine.
    Published(u16),
    /// In the network of this machine: for one that tells others its address, and that they must not reach by another.
    Machine,
}

/// A server in a container, with one port of 127.0.0.1.
///
/// Dropping it removes the container with its data, also when the test panics; then the last lines of the log are printed first. When the test
/// process itself ends without dropping it, even by `kill -9`, the container goes as well if there is a `docker` in `PATH`.
///
/// A control whose future is dropped may or may not have been carried out.
pub struct Container {
    server: Server,
    options: ContainerOptions,
    port: Port,
    life: Mutex<Option<Removed>>,
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { options, port, .. } = self;
        f.debug_struct("Container")
            .field("name", &self.name())
            .field("options", options)
            .field("port", port)
            .finish_non_exhaustive()
    }
}

impl Container {
    /// Starts it, and waits until it is ready.
    pub(super) async fn start(
        server: Server,
        options: ContainerOptions,
        port: Port,
    ) -> Result<Self, ServerError> {
        let container = Self { server, options, port, life: Mutex::default() };
        container.wipe().await?;
        Ok(container)
    }

    /// Its name, by which `docker ps` lists it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("registry-test-{}-{}-{}", self.server.name, std::process::id(), self.port.number())
    }

    /// The address for clients.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// SIGKILL, also for a paused one; returns when it is gone. Nothing happens if it does not run.
    ///
    /// # Errors
    /// [`ServerError::Io`] if the engine refuses; [`ServerError::Timeout`] if it does not end.
    pub async fn kill(&self) -> Result<(), ServerError> {
        let life = self.life.lock().await;
        match &*life {
            Some(life) => self.end(life).await,
            None => Ok(()),
        }
    }

    /// Freezes it; returns when it stands still. Its port goes on accepting.
    ///
    /// # Errors
    /// [`ServerError::Io`] if the engine refuses, as when it does not run.
    pub async fn pause(&self) -> Result<(), ServerError> {
        let life = self.life.lock().await;
        self.started(life.as_ref())?.pause().await.map_err(failed(self.doing("pausing")))
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// [`ServerError::Io`] if the engine refuses, as when it is not paused.
    pub async fn resume(&self) -> Result<(), ServerError> {
        let life = self.life.lock().await;
        self.started(life.as_ref())?.unpause().await.map_err(failed(self.doing("resuming")))
    }

    /// Starts it with the same data on the same port, after a SIGKILL if it runs, and waits until it is ready.
    ///
    /// # Errors
    /// [`ServerError::Io`] if the engine refuses; [`ServerError::Exited`]; [`ServerError::Timeout`].
    pub async fn restart(&self) -> Result<(), ServerError> {
        let life = self.life.lock().await;
        let container = self.started(life.as_ref())?;
        if let Some(life) = &*life {
            self.end(life).await?;
        }
        container.start().await.map_err(failed(self.doing("starting")))?;
        self.wait_ready(life.as_ref()).await
    }

    /// Removes the container and starts a new one, with no data, on the same port.
    ///
    /// # Errors
    /// [`ServerError::Missing`] for the engine or the image; else as [`restart`](Self::restart).
    pub async fn wipe(&self) -> Result<(), ServerError> {
        let mut life = self.life.lock().await;
        if let Some(old) = life.take() {
            old.remove().await?;
        }
        let docker = engine::with_image(&self.options.image).await?;
        let new = life.insert(Removed::new(docker, self.name()));
        new.start(self.request()).await?;
        self.wait_ready(Some(&*new)).await
    }

    /// Whether it runs; a paused one does.
    pub(super) async fn is_running(&self) -> bool {
        let life = self.life.lock().await;
        match life.as_ref().and_then(Removed::container) {
            Some(container) => container.is_running().await.unwrap_or(false),
            None => false,
        }
    }

    /// Removes the container with its data. Only a wipe brings it back.
    pub(super) async fn discard(&self) -> Result<(), ServerError> {
        match self.life.lock().await.take() {
            Some(life) => life.remove().await,
            None => Ok(()),
        }
    }

    /// The last lines that it printed since it was last wiped.
    pub async fn log_tail(&self) -> String {
        match &*self.life.lock().await {
            Some(life) => engine::log_tail(life.docker(), &life.name).await,
            None => String::new(),
        }
    }

    fn request(&self) -> ContainerRequest<GenericImage> {
        let (image, tag) = split(&self.options.image);
        let published = match self.server.place {
            Place::Published(port) => Some(ContainerPort::Tcp(port)),
            Place::Machine => None,
        };
        let outside = self.port.address();
        let host = move |config: &mut HostConfig| {
            config.publish_all_ports = Some(false);
            match published {
                Some(inside) => {
                    let binding = PortBinding {
                        host_ip: Some(outside.ip().to_string()),
                        host_port: Some(outside.port().to_string()),
                    };
                    config.port_bindings = Some(HashMap::from([(inside.to_string(), Some(vec![binding]))]));
                }
                None => config.network_mode = Some("host".to_owned()),
            }
            let data =
                Mount { target: Some(DATA.to_owned()), typ: Some(MountType::VOLUME), ..Default::default() };
            config.mounts = Some(vec![data]);
        };
        let image = GenericImage::new(image, tag);
        let image = published.into_iter().fold(image, GenericImage::with_exposed_port);
        let command = self.server.command.iter().chain(&self.options.args);
        let request =
            image.with_container_name(self.name()).with_cmd(command).with_host_config_modifier(host);
        let request = request.with_startup_timeout(self.options.patience);
        let copy = |request: ContainerRequest<_>, (file, text): &(&'static str, String)| {
            request.with_copy_to(*file, text.clone().into_bytes())
        };
        let request = self.server.files.iter().fold(request, copy);
        self.server.env.iter().fold(request, |request, (name, value)| request.with_env_var(*name, *value))
    }

    async fn wait_ready(&self, life: Option<&Removed>) -> Result<(), ServerError> {
        let container = self.started(life)?;
        let what = format!("{} is ready", self.server.name);
        let ready =
            until(&what, self.options.patience, || async { (self.server.ready)().await.then_some(()) });
        let outcome = tokio::select! {
            ready = ready => ready,
            error = self.ended(container) => Err(error),
        };
        let Err(mut error) = outcome else { return Ok(()) };
        if let (Some(life), ServerError::Exited { log, .. } | ServerError::Timeout { log, .. }) =
            (life, &mut error)
        {
            *log = engine::log_tail(life.docker(), &life.name).await;
        }
        Err(error)
    }

    /// Waits until it no longer runs. The engine is asked less often than the server, since its answer costs more.
    async fn ended(&self, container: &ContainerAsync<GenericImage>) -> ServerError {
        loop {
            sleep(EXIT_POLL).await;
            match container.exit_code().await {
                Ok(None) => {}
                Ok(Some(code)) => return self.exited(format!("exit code {code}")),
                Err(error) => return failed(self.doing("looking after"))(error),
            }
        }
    }

    async fn end(&self, life: &Removed) -> Result<(), ServerError> {
        let container = self.started(Some(life))?;
        let runs = || async { container.is_running().await.map_err(failed(self.doing("looking after"))) };
        if !runs().await? {
            return Ok(());
        }
        let killed = engine::kill(life.docker(), &life.name).await;
        // It may have ended by itself just before.
        if killed.is_err() && !runs().await? {
            return Ok(());
        }
        killed.map_err(failed(self.doing("killing")))?;
        let what = format!("{} is gone", self.server.name);
        let gone = until(&what, SOON, || async {
            match runs().await {
                Ok(true) => None,
                Ok(false) => Some(Ok(())),
                Err(error) => Some(Err(error)),
            }
        });
        gone.await?
    }

    fn started<'a>(
        &self,
        life: Option<&'a Removed>,
    ) -> Result<&'a ContainerAsync<GenericImage>, ServerError> {
        let container = life.and_then(Removed::container);
        container.ok_or_else(|| self.exited("not started".to_owned()))
    }

    fn exited(&self, status: String) -> ServerError {
        ServerError::Exited { name: self.server.name.to_owned(), status, log: String::new() }
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} the container of {}", self.server.name)
    }
}

/// Name and tag.
fn split(image: &str) -> (&str, &str) {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn an_image_is_a_name_and_a_tag() {
        assert_eq!(split("registry-test/etcd:3.5"), ("registry-test/etcd", "3.5"));
        assert_eq!(split("redis"), ("redis", "latest"));
        assert_eq!(split("localhost:5000/etcd"), ("localhost:5000/etcd", "latest"));
        assert_eq!(split("localhost:5000/etcd:v3"), ("localhost:5000/etcd", "v3"));
        assert_eq!(split("etcd@sha256:abc"), ("etcd@sha256", "abc"));
    }
}
