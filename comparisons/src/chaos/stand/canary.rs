//! A connection through a link, opened before a fault, by which the fault is felt.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use registry_testing::servers::proxy::Proxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::site::{Deployment, Site};

/// How long an answer may take where nothing is wrong, and one that is held back a little.
const SOON: Duration = Duration::from_secs(3);

/// What a server answers to that is asked nothing in particular.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hello {
    Etcd,
    Redis,
}

impl Hello {
    pub(super) fn of(site: &Site) -> Self {
        match site.deployment {
            Deployment::Etcd(_) | Deployment::EtcdCluster(_) => Self::Etcd,
            _ => Self::Redis,
        }
    }

    /// A request of about so many bytes at least.
    fn bytes(self, size: usize) -> Vec<u8> {
        let padding = "x".repeat(size.max(1));
        match self {
            Self::Etcd => {
                format!("GET /version HTTP/1.1\r\nHost: canary\r\nX-Padding: {padding}\r\n\r\n").into_bytes()
            }
            Self::Redis => format!("*2\r\n$4\r\nPING\r\n${}\r\n{padding}\r\n", padding.len()).into_bytes(),
        }
    }
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// An answer began after this time.
    After(Duration),
    /// Nothing.
    Nothing,
    /// The connection is over, or was refused.
    Broken,
}

/// A connection through a link.
#[derive(Debug)]
pub(super) struct Canary {
    stream: Option<TcpStream>,
    hello: Hello,
}

impl Canary {
    /// One through each of the links, in order. One that cannot be opened hears that it is broken.
    pub(super) async fn through(links: &[&Proxy], hello: Hello) -> Vec<Self> {
        let mut canaries = Vec::new();
        for link in links {
            let mut canary = Self { stream: connect(link.address()).await.ok(), hello };
            // So that the connection goes all the way.
            if !matches!(canary.ask(1, SOON).await, Heard::After(_)) {
                canary.stream = None;
            }
            canaries.push(canary);
        }
        canaries
    }

    /// Whether it was opened, and answered.
    pub(super) fn is_well(&self) -> bool {
        self.stream.is_some()
    }

    /// Asks, with a request of `size` bytes.
    pub(super) async fn ask(&mut self, size: usize, within: Duration) -> Heard {
        let Some(stream) = &mut self.stream else { return Heard::Broken };
        let asked = Instant::now();
        let request = self.hello.bytes(size);
        let exchange = async {
            stream.write_all(&request).await?;
            stream.read(&mut [0; 4096]).await
        };
        match timeout(within, exchange).await {
            Err(_) => Heard::Nothing,
            Ok(Ok(1..)) => Heard::After(asked.elapsed()),
            Ok(_) => Heard::Broken,
        }
    }
}

/// Asks on a new connection.
pub(super) async fn knock(address: SocketAddr, hello: Hello, within: Duration) -> Heard {
    let knock = async {
        match connect(address).await {
            Ok(stream) => Canary { stream: Some(stream), hello }.ask(1, within).await,
            Err(_) => Heard::Broken,
        }
    };
    timeout(within, knock).await.unwrap_or(Heard::Nothing)
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    timeout(SOON, TcpStream::connect(address)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
