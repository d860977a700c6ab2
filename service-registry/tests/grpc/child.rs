//! A server that is a process of its own: this program, run again.

use std::net::SocketAddr;

use registry_testing::servers::ports::Port;
use registry_testing::servers::process::{Folder, Process, Program};
use service_registry::tonic::{EndpointStatus, Server};
use service_registry::{Ttl, connect};
use tokio::net::TcpStream;

use super::stage::Stage;
use super::support::listed::{instance_at, list};
use super::support::{Named, PATIENCE, SERVICE};

/// What it is told by its environment.
const NAME: &str = "GRPC_SERVER_NAME";
const ADDRESS: &str = "GRPC_SERVER_ADDRESS";
const REGISTRY: &str = "GRPC_SERVER_REGISTRY";

/// Longer than any test looks at a dead server.
const TTL_SECS: u64 = 30;

/// A server in a process of its own, which registers itself.
pub(crate) struct Child {
    process: Process,
    port: Port,
}

impl Child {
    /// Starts one, and waits until it listens. The registry in memory is out of its reach, so there it is listed by this process.
    pub(crate) async fn start(stage: &Stage, name: &str) -> Self {
        let port = Port::free().unwrap();
        let program = Program::new(std::env::current_exe().unwrap(), "it is this program")
            .with_name(name)
            .with_args(["--exact", "child::serve", "--ignored", "--nocapture"])
            .with_env(NAME, name)
            .with_env(ADDRESS, port.address().to_string())
            .with_env(REGISTRY, stage.url());
        let process = Process::new(program, Folder::new(None).unwrap());
        let listens = || async { TcpStream::connect(port.address()).await.is_ok() };
        process.start(PATIENCE, listens).await.unwrap();
        if let Stage::Memory(registry) = stage {
            list(registry, instance_at(port.address())).await;
        }
        Self { process, port }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// What a channel knows of it.
    pub(crate) fn of<'a>(&self, all: &'a [EndpointStatus]) -> &'a EndpointStatus {
        let address = self.address().to_string();
        all.iter().find(|one| one.id.as_str() == address).expect("it is listed")
    }

    /// `kill -9`; returns when it is gone.
    pub(crate) async fn kill(&self) {
        self.process.kill().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "no test: what the processes do that tests start"]
async fn serve() {
    let told = |name: &str| std::env::var(name).expect("it is started by a test");
    let server = Server::builder(connect(&told(REGISTRY)).await.unwrap(), SERVICE)
        .listen(told(ADDRESS))
        .ttl(Ttl::from_secs(TTL_SECS).unwrap())
        .bind()
        .await
        .unwrap();
    server.serve(Named::new(told(NAME).leak()).router()).await.unwrap();
}
