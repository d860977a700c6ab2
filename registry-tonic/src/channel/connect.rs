//! How endpoints are reached: a stream of bytes to each.

use std::io;
use std::time::Duration;

use http::uri::Scheme;
use registry_core::Endpoint;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A connection, as a stream of bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// Connects to the endpoints of a [`Channel`](crate::Channel): for a network of one's own, such as Unix sockets or a tunnel, or another TLS. By
/// default it is TCP, and TLS over it with [`ChannelBuilder::tls`](crate::ChannelBuilder::tls).
#[tonic::async_trait]
pub trait Connect: Send + Sync + 'static {
    /// Connects to `endpoint`. HTTP/2 begins on the stream at once. It is called anew for each attempt, and dropped at the
    /// [connect timeout](crate::ChannelBuilder::connect_timeout).
    ///
    /// # Errors
    /// What went wrong; it is tried again after a back-off, and shown where someone waits for an endpoint.
    async fn connect(&self, endpoint: &Endpoint) -> io::Result<Box<dyn Stream>>;

    /// Whether the other side has proven who it is and nobody else can listen: requests are then `https`, and endpoints that say `grpcs` are
    /// called. Default: no.
    fn is_secure(&self) -> bool {
        false
    }
}

pub(super) fn scheme(connect: &dyn Connect) -> Scheme {
    if connect.is_secure() { Scheme::HTTPS } else { Scheme::HTTP }
}

/// The kernel asks an idle peer whether it is there: after this long, and then as often until it gives up. Not HTTP/2 pings,
/// which gRPC servers punish when they come more often than every five minutes.
const TCP_KEEPALIVE: Duration = Duration::from_secs(10);
const TCP_KEEPALIVE_PROBES: u32 = 3;

/// How long what was sent may remain unacknowledged by the peer's kernel.
#[cfg(any(target_os = "linux", target_os = "android"))]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);

/// Plain TCP.
#[derive(Debug)]
pub(super) struct Tcp;

#[tonic::async_trait]
impl Connect for Tcp {
    async fn connect(&self, endpoint: &Endpoint) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(dial(endpoint).await?))
    }
}

/// The host without the brackets of an IPv6 address.
pub(super) fn bare_host(endpoint: &Endpoint) -> &str {
    let host = endpoint.host();
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

pub(super) async fn dial(endpoint: &Endpoint) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((bare_host(endpoint), endpoint.port())).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    let keepalive = TcpKeepalive::new().with_time(TCP_KEEPALIVE).with_interval(TCP_KEEPALIVE);
    #[cfg(not(target_os = "openbsd"))]
    let keepalive = keepalive.with_retries(TCP_KEEPALIVE_PROBES);
    // Without these a silent death is noticed later, or by the registry; that is no reason not to connect.
    if let Err(error) = socket.set_tcp_keepalive(&keepalive) {
        tracing::debug!(%endpoint, %error, "no TCP keepalive");
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Err(error) = socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT)) {
        tracing::debug!(%endpoint, %error, "no TCP user timeout");
    }
    Ok(stream)
}
