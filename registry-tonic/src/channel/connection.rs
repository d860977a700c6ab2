//! One HTTP/2 connection to one endpoint.
//!
//! On hyper rather than on tonic's channel, because a balancer must know three things that tonic's hides: that a connection is dead before
//! the next call finds out, that nothing is heard on it any more, and that a request was never sent, together with the request.

use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use registry_core::Endpoint;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::connect::{Connect, Stream, scheme};
use super::outcome::of_h2;
use super::replay::{Kept, Read};
use super::silence::Silence;
use crate::text::chain;

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("registry-tonic/", env!("CARGO_PKG_VERSION")));

/// How much may be on its way on one connection and not be read yet: as much as HTTP/2 can say, so that answers that nobody reads do not keep the
/// others from coming. Each of them is bounded by the window of its own stream.
const WINDOW: u32 = (1 << 31) - 1;

/// The sending side; the connection closes once all its clones are gone and its calls have ended.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Kept>,
    authority: Authority,
    scheme: Scheme,
    silence: Arc<Silence>,
}

/// The task of a connection, which ends with it.
pub(crate) type Held = JoinHandle<hyper::Result<()>>;

/// A request that got no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// It was never sent, and here it is.
    NeverSent(Box<Request<Kept>>),
    /// No server has looked at it: it says so, or it cannot have got anything to look at.
    NeverTaken(hyper::Error),
    /// It may have been done.
    Failed(hyper::Error),
}

/// Whether the connection broke. Of that, hyper gives the error itself, and not what HTTP/2 makes of it.
pub(super) fn is_io(error: &hyper::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<io::Error>())
}

/// Whether the server says so: a stream that is refused, or one beyond those that it will still answer when it goes away. h2 gives the
/// error of a GOAWAY to no other streams. See RFC 9113, 6.8 and 8.7, and "Transparent Retries" in gRFC A6.
fn was_never_taken(error: &hyper::Error) -> bool {
    of_h2(error).is_some_and(|h2| {
        h2.is_remote()
            && (h2.is_go_away() || h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// Whether the connection ended while the request waited for its turn on it: hyper keeps one that exceeds what the server takes at a time (RFC
/// 9113, 5.1.2), and drops it with its task. Nothing was read of its body then, so there is no message that a server could have acted on.
fn was_never_written(error: &hyper::Error, body: Option<&Read>) -> bool {
    // An error of the stream or of the connection comes after its head was sent, when a handler of a stream may have begun.
    error.is_user() && of_h2(error).is_none() && body.is_some_and(|body| !body.has_begun())
}

impl Connection {
    /// Connects, and waits until the other side has spoken HTTP/2.
    pub(crate) async fn open(endpoint: &Endpoint, connect: &dyn Connect) -> Result<(Self, Held), String> {
        let authority = Authority::try_from(endpoint.authority())
            .map_err(|error| format!("not an authority: {error}"))?;
        let stream = connect.connect(endpoint).await.map_err(|error| chain(&error))?;
        let (greet, greeted) = oneshot::channel();
        let silence = Silence::new(Instant::now());
        let heard = Heard { stream, ended: false, greet: Some(greet), silence: Arc::clone(&silence) };
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_connection_window_size(WINDOW)
            .handshake(TokioIo::new(heard))
            .await
            .map_err(|error| chain(&error))?;
        let mut task = tokio::spawn(connection);
        // A port that accepts is not a server that works: a stopped process accepts as well.
        tokio::select! {
            biased;
            Ok(()) = greeted => Ok((Self { sender, authority, scheme: scheme(connect), silence }, task)),
            ended = &mut task => Err(match ended {
                Ok(Err(error)) => chain(&error),
                _ => "closed by the other side before it said anything".into(),
            }),
        }
    }

    /// Another one as far as is noted of it, on the same stream.
    #[cfg(feature = "internals")]
    pub(super) fn beside(&self) -> Self {
        Self { silence: Silence::new(Instant::now()), ..self.clone() }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// What is known of how long nothing was heard on it.
    pub(crate) fn silence(&self) -> &Arc<Silence> {
        &self.silence
    }

    /// Hands the request over at once; what is given waits for the answer. An async function would keep room for the request until then, too.
    pub(crate) fn send(
        &self,
        mut request: Request<Kept>,
        now: Instant,
    ) -> impl Future<Output = Result<Response<Incoming>, Unanswered>> + Send + use<> {
        self.address(&mut request);
        let due = self.silence.due(now);
        let body = request.body_mut().read();
        let answer = self.sender.clone().try_send_request(request);
        answer.map(move |answer| {
            let answer = answer.inspect(|_| due.answered());
            answer.map_err(|mut error| match error.take_message() {
                Some(request) => Unanswered::NeverSent(Box::new(request)),
                None => {
                    let error = error.into_error();
                    // A server that has died is often called once more before its connection is seen to have ended.
                    let broke_before = is_io(&error) && !due.has_been_written();
                    if was_never_taken(&error) || was_never_written(&error, body.as_ref()) || broke_before {
                        Unanswered::NeverTaken(error)
                    } else {
                        Unanswered::Failed(error)
                    }
                }
            })
        })
    }

    /// Directs the request to this endpoint, whoever it was meant for before.
    fn address(&self, request: &mut Request<Kept>) {
        let mut parts = mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
        // With all three parts there, it is always a URI.
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        request.headers_mut().entry(header::USER_AGENT).or_insert(USER_AGENT);
    }
}

/// A stream that tells when something was said on it, by either side.
struct Heard {
    stream: Box<dyn Stream>,
    /// The other side says nothing more. Then nothing is written any more either: of what is still to be written, its callers are told that it never was.
    ended: bool,
    /// Of the first time.
    greet: Option<oneshot::Sender<()>>,
    silence: Arc<Silence>,
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let room = buffer.remaining() > 0;
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.ended |= match &read {
            Poll::Ready(Ok(())) => room && buffer.filled().len() == before,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if buffer.filled().len() > before {
            self.silence.broken(Instant::now());
            if let Some(greet) = self.greet.take() {
                let _ = greet.send(());
            }
        }
        read
    }
}

impl Heard {
    /// Something is about to be written. Also what fails may have left in part, as where it is wrapped on its way.
    fn writes(&self) -> io::Result<()> {
        if self.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.silence.written();
        Ok(())
    }
}

impl AsyncWrite for Heard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.writes()?;
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
        self.writes()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
