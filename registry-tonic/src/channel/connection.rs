//! One HTTP/2 connection to one endpoint.
//!
//! On hyper rather than on tonic's channel, because a balancer must know two things that tonic's hides: that a connection is dead before
//! the next call finds out, and that a request was never sent, together with the request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use registry_core::Endpoint;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::text::chain;

/// What requests carry.
pub(crate) type Body = tonic::body::Body;

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("registry-tonic/", env!("CARGO_PKG_VERSION")));

/// The kernel asks an idle peer whether it is there: after this long, and then as often until it gives up. Not HTTP/2 pings,
/// which gRPC servers punish when they come more often than every five minutes.
const TCP_KEEPALIVE: Duration = Duration::from_secs(10);
const TCP_KEEPALIVE_PROBES: u32 = 3;

/// How long what was sent may remain unacknowledged by the peer's kernel.
#[cfg(any(target_os = "linux", target_os = "android"))]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);

/// The sending side; the connection closes once all its clones are gone and its calls have ended.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Body>,
    authority: Authority,
}

/// A request that got no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// It was never sent, and here it is.
    NeverSent(Box<Request<Body>>),
    /// It may have been sent.
    Failed(hyper::Error),
}

impl Connection {
    /// Connects, and waits until the other side has spoken HTTP/2. The task ends with the connection.
    pub(crate) async fn open(endpoint: &Endpoint) -> Result<(Self, JoinHandle<hyper::Result<()>>), String> {
        let authority = Authority::try_from(endpoint.authority())
            .map_err(|error| format!("not an authority: {error}"))?;
        let stream = dial(endpoint).await.map_err(|error| chain(&error))?;
        let (greet, greeted) = oneshot::channel();
        let io = TokioIo::new(Greeted { stream, greet: Some(greet) });
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .handshake(io)
            .await
            .map_err(|error| chain(&error))?;
        let mut task = tokio::spawn(connection);
        // A port that accepts is not a server that works: a stopped process accepts as well.
        tokio::select! {
            biased;
            Ok(()) = greeted => Ok((Self { sender, authority }, task)),
            ended = &mut task => Err(match ended {
                Ok(Err(error)) => chain(&error),
                _ => "closed by the other side before it said anything".into(),
            }),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(crate) async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>, Unanswered> {
        self.address(&mut request);
        let answer = self.sender.clone().try_send_request(request);
        answer.await.map_err(|mut error| match error.take_message() {
            Some(request) => Unanswered::NeverSent(Box::new(request)),
            None => Unanswered::Failed(error.into_error()),
        })
    }

    /// Directs the request to this endpoint, whoever it was meant for before.
    fn address(&self, request: &mut Request<Body>) {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query =
            Some(request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
        // With all three parts there, it is always a URI.
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        request.headers_mut().entry(header::USER_AGENT).or_insert(USER_AGENT);
    }
}

async fn dial(endpoint: &Endpoint) -> io::Result<TcpStream> {
    let host = endpoint.host();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let stream = TcpStream::connect((host, endpoint.port())).await?;
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

/// A stream that tells when the other side has said something.
struct Greeted {
    stream: TcpStream,
    greet: Option<oneshot::Sender<()>>,
}

impl AsyncRead for Greeted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before
            && let Some(greet) = self.greet.take()
        {
            let _ = greet.send(());
        }
        polled
    }
}

impl AsyncWrite for Greeted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
