//! Servers in memory, so that nothing but the clock of a test takes time.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::stream::poll_fn;
use registry_core::{Endpoint, InstanceBuilder};
use registry_tonic::{Connect, Stream};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tonic::transport::server::Router;

use super::listed::instance_at;

type Accepts = mpsc::Sender<io::Result<DuplexStream>>;

/// Connects to them. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct InMemory {
    /// By port.
    servers: Arc<Mutex<HashMap<u16, Accepts>>>,
    connections: Arc<AtomicUsize>,
}

impl InMemory {
    /// Serves, and gives what is to be listed.
    pub(crate) fn serve(&self, router: Router) -> InstanceBuilder {
        let (accepts, mut accepted) = mpsc::channel(16);
        let accepted = poll_fn(move |cx| accepted.poll_recv(cx));
        tokio::spawn(async move { router.serve_with_incoming(accepted).await.unwrap() });
        let mut servers = self.servers.lock().unwrap();
        let port = u16::try_from(servers.len() + 1).unwrap();
        servers.insert(port, accepts);
        instance_at(([127, 0, 0, 1], port).into())
    }

    /// How often any of them was connected to.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

#[tonic::async_trait]
impl Connect for InMemory {
    async fn connect(&self, endpoint: &Endpoint) -> io::Result<Box<dyn Stream>> {
        let accepts = self.servers.lock().unwrap()[&endpoint.port()].clone();
        let (ours, theirs) = duplex(1 << 16);
        accepts.send(Ok(theirs)).await.map_err(io::Error::other)?;
        self.connections.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(ours))
    }
}
