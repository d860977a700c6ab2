//! One connection of a server, which ends so that its client learns what was not done.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::connections::Counted;

/// How long the other side has to close, once this side has.
const LINGER: Duration = Duration::from_secs(1);

/// So much is read at a time of what comes too late.
const TOO_LATE: usize = 4096;

/// A connection that is counted for as long as it is open.
pub(super) struct Connection {
    stream: TcpStream,
    /// As long as nothing was heard on it: completes when it is to end for that.
    silent: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Once this side has closed it: until when the other side has time.
    closing: Option<Pin<Box<Sleep>>>,
    _counted: Counted,
}

impl Connection {
    /// It ends when `hung_up` completes before anything was heard on it.
    pub(super) fn new(
        stream: TcpStream,
        hung_up: impl Future<Output = ()> + Send + 'static,
        counted: Counted,
    ) -> Self {
        Self { stream, silent: Some(Box::pin(hung_up)), closing: None, _counted: counted }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            self.silent = None;
        }
        match &mut self.silent {
            // As if the other side had closed it.
            Some(silent) => silent.as_mut().poll(cx).map(Ok),
            None => read,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Closes this side, and reads until the other side has closed as well. Requests that were sent before their client knew of the GOAWAY would
    /// otherwise be answered by the system with a reset, which can overtake the GOAWAY: they would count as lost, instead of as never looked at.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.closing.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        let closing = this.closing.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        if closing.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut room = [0; TOO_LATE];
            let mut too_late = ReadBuf::new(&mut room);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut too_late)) {
                Ok(()) if !too_late.filled().is_empty() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}
