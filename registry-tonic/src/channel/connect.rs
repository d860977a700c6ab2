//! How endpoints are reached: a stream of bytes to each.

use std::collections::VecDeque;
use std::io;
use std::iter::from_fn;
use std::mem::swap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::uri::Scheme;
use registry_core::Endpoint;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::blocking::blocking;

/// A connection, as a stream of bytes in both directions. What it takes to be written it must not send before it is asked to, nor after it was dropped.
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

/// So many names are resolved at a time, of all channels. The threads that may block are those of the whole program.
static NAMES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(64)));

async fn addresses(endpoint: &Endpoint) -> io::Result<Vec<SocketAddr>> {
    let (host, port) = (bare_host(endpoint), endpoint.port());
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![(ip, port).into()]);
    }
    let host = host.to_owned();
    blocking(&NAMES, move || Ok((host, port).to_socket_addrs()?.collect())).await
}

/// After so long the next address is tried as well (RFC 8305, 5: "Connection Attempt Delay").
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// The addresses in the order in which they are tried: as the resolver has ordered them, but the two kinds in turn (RFC 8305, 4), since often one of them
/// as a whole does not work.
fn in_turn(addresses: Vec<SocketAddr>) -> impl Iterator<Item = SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    from_fn(move || {
        let next = first.pop_front();
        swap(&mut first, &mut second);
        next.or_else(|| second.pop_front().or_else(|| first.pop_front()))
    })
}

/// The first connection there is. Each address is tried once those before it have failed, or have had some time: one that swallows everything must not
/// keep the others from being tried.
async fn race<T, F: Future<Output = io::Result<T>>>(
    addresses: impl Iterator<Item = SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    let (mut addresses, mut attempts) = (addresses.peekable(), FuturesUnordered::new());
    let mut error = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    loop {
        attempts.extend(addresses.next().map(&connect));
        tokio::select! {
            biased;
            ended = attempts.next() => match ended {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err(its)) => error = its,
                None => return Err(error),
            },
            () = sleep(NEXT_ADDRESS), if addresses.peek().is_some() => {}
        }
    }
}

pub(super) async fn dial(endpoint: &Endpoint) -> io::Result<TcpStream> {
    let stream = race(in_turn(addresses(endpoint).await?), TcpStream::connect).await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    #[tokio::test]
    async fn names_and_addresses_are_dialled() {
        for host in ["localhost", "127.0.0.1", "[::1]"] {
            let endpoint: Endpoint = format!("{host}:80").parse().unwrap();
            assert!(addresses(&endpoint).await.unwrap().iter().all(|at| at.ip().is_loopback()), "{host}");
        }
    }

    #[test]
    fn the_two_kinds_of_addresses_are_tried_in_turn() {
        let of = |hosts: &[&str]| -> Vec<SocketAddr> {
            hosts.iter().map(|host| format!("{host}:1").parse().unwrap()).collect()
        };
        for (resolved, tried) in [
            (&["[::1]", "[::2]", "[::3]", "10.0.0.1"][..], &["[::1]", "10.0.0.1", "[::2]", "[::3]"][..]),
            (&["10.0.0.1", "[::1]", "10.0.0.2"], &["10.0.0.1", "[::1]", "10.0.0.2"]),
            (&["10.0.0.1", "10.0.0.2"], &["10.0.0.1", "10.0.0.2"]),
            (&["[::1]", "10.0.0.1", "10.0.0.2"], &["[::1]", "10.0.0.1", "10.0.0.2"]),
            (&[], &[]),
        ] {
            assert_eq!(in_turn(of(resolved)).collect::<Vec<_>>(), of(tried));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_swallows_everything_does_not_keep_the_next_from_being_tried() {
        let addresses = |last: u8| (1..=last).map(|last| SocketAddr::from(([127, 0, 0, last], 1)));
        let began = tokio::time::Instant::now();
        let connect = async |to: SocketAddr| match to.ip().to_string().as_str() {
            "127.0.0.1" => std::future::pending().await,
            "127.0.0.2" => Err(io::Error::other("refused")),
            _ => Ok(to),
        };
        let connected = timeout(Duration::from_secs(1), race(addresses(4), connect)).await.unwrap().unwrap();
        assert_eq!(connected.ip().to_string(), "127.0.0.3");
        assert_eq!(began.elapsed(), NEXT_ADDRESS, "one that refuses takes no time");
        let refuses = async |_| Err::<(), _>(io::Error::other("refused"));
        assert_eq!(race(addresses(2), refuses).await.unwrap_err().to_string(), "refused");
        assert_eq!(race(addresses(0), refuses).await.unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    }

    /// A port that takes no more connections drops what is sent there.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_host_with_a_dead_address_is_reached_at_the_other() {
        use socket2::{Domain, Socket, Type};
        let hole = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        hole.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
        hole.listen(0).unwrap();
        let dead = hole.local_addr().unwrap().as_socket().unwrap();
        let mut queued = Vec::new();
        let wait = Duration::from_millis(100);
        while let Ok(stream) = timeout(wait, TcpStream::connect(dead)).await {
            queued.push(stream.unwrap());
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap();
        let connecting = race([dead, alive].into_iter(), TcpStream::connect);
        let stream = timeout(Duration::from_secs(1), connecting).await.unwrap().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
    }
}
