//! One etcd in a container.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;

use super::super::ServerError;
use super::super::etcd::{EtcdControl, EtcdOptions};
use super::super::ports::Port;
use super::ContainerOptions;
use super::container::{Container, DATA, Place, Server};

/// The port of clients in the container.
const CLIENTS: u16 = 2379;

/// One etcd in a container. See [`Container`] for what becomes of it in the end.
///
/// ```no_run
/// # async fn example() -> Result<(), registry_testing::servers::ServerError> {
/// use registry_testing::servers::containers::{ContainerOptions, EtcdContainer};
///
/// let etcd = EtcdContainer::start(ContainerOptions::etcd()).await?;
/// let clients_connect_to = etcd.endpoint();
/// etcd.control().put("key", "value").await?;
/// etcd.container().kill().await?;
/// etcd.container().restart().await?; // the same address, the same data
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct EtcdContainer {
    container: Container,
    control: Arc<EtcdControl>,
}

impl EtcdContainer {
    /// Starts it and waits until it serves. Its timing is that of a lone node of [`EtcdOptions`], and it skips fsync if it can.
    ///
    /// # Errors
    /// [`ServerError::Missing`] if no Docker engine answers or the image is not there; [`ServerError::Exited`]; [`ServerError::Timeout`];
    /// [`ServerError::Io`] if the engine refuses.
    pub async fn start(options: ContainerOptions) -> Result<Self, ServerError> {
        let port = Port::free()?;
        let control = Arc::new(EtcdControl::new(port.address()));
        let own = [
            "etcd".to_owned(),
            "--name=one".to_owned(),
            format!("--data-dir={DATA}/etcd"),
            format!("--listen-client-urls=http://0.0.0.0:{CLIENTS}"),
            format!("--advertise-client-urls=http://{}", port.address()),
        ];
        let probed = Arc::clone(&control);
        let server = Server {
            name: "etcd",
            command: own.into_iter().chain(EtcdOptions::default().timing_flags(1)).collect(),
            // As a variable, since 3.4 ignores one that it does not know, and refuses a flag.
            env: vec![("ETCD_UNSAFE_NO_FSYNC", "true")],
            files: Vec::new(),
            place: Place::Published(CLIENTS),
            ready: Box::new(move || {
                let control = Arc::clone(&probed);
                async move { control.serves().await }.boxed()
            }),
        };
        Ok(Self { container: Container::start(server, options, port).await?, control })
    }

    /// The URL for clients.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The address for clients.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.container.address()
    }

    /// The container: to kill, pause, start again and wipe.
    #[must_use]
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// A test's own reads and writes. They go the way of the clients: there is no other port.
    #[must_use]
    pub fn control(&self) -> &EtcdControl {
        &self.control
    }
}
