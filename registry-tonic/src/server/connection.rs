//! One connection of a server, which ends so that its client learns what was not done.

use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tonic::transport::server::Connected;

use super::calls::Calls;
use super::connections::Counted;

/// How long the other side has to close, once this side has.
const LINGER: Duration = Duration::from_secs(1);

/// So much is read at a time of what comes too late.
const TOO_LATE: usize = 4096;

/// How long a client has to answer the goodbye, if it has no calls under way; after that it is taken to be gone.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long a client has to say something once it is accepted: what it says first may be on its way, and it may have been greeted and send a call
/// along with it.
const GREETING: Duration = Duration::from_secs(1);

/// A connection that is counted for as long as it is open.
pub(super) struct Connection<S> {
    stream: S,
    calls: Calls,
    accepted: Instant,
    hearing: Hearing,
    /// Whether anything was ever heard on it.
    heard: bool,
    /// Who waits to hear something.
    listener: Option<Waker>,
    /// Once this side has closed it: until when the other side has time.
    closing: Option<Pin<Box<Sleep>>>,
    _counted: Counted,
}

/// How long it is listened to.
enum Hearing {
    /// Until this completes.
    Until(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// Until this, at least, and for as long as calls are under way. Where nothing was ever heard, until this at the latest.
    Goodbye(Pin<Box<Sleep>>),
    /// No more, as if the other side had closed it.
    Over,
}

impl<S> Connection<S> {
    /// Once `hung_up` completes, it ends after a while in which nothing is heard and no call is under way; if nothing was ever heard on it, once it has
    /// been there for a while.
    pub(super) fn new(
        stream: S,
        hung_up: impl Future<Output = ()> + Send + 'static,
        counted: Counted,
    ) -> Self {
        Self {
            stream,
            calls: Calls::new(),
            accepted: Instant::now(),
            hearing: Hearing::Until(Box::pin(hung_up)),
            heard: false,
            listener: None,
            closing: None,
            _counted: counted,
        }
    }

    /// Nothing is heard: whether that is to be taken for the end.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Hearing::Until(hung_up) = &mut self.hearing {
            ready!(hung_up.as_mut().poll(cx));
            let now = Instant::now();
            let until = if self.heard { now + GOODBYE } else { self.accepted + GREETING };
            self.hearing = Hearing::Goodbye(Box::pin(sleep_until(until)));
        }
        if let Hearing::Goodbye(goodbye) = &mut self.hearing {
            self.listener = Some(cx.waker().clone());
            ready!(goodbye.as_mut().poll(cx));
            if self.heard && !self.calls.are_none() {
                return Poll::Pending;
            }
            self.hearing = Hearing::Over;
        }
        Poll::Ready(())
    }

    /// So much of the buffers was sent.
    fn written<'a>(&mut self, sent: &Poll<io::Result<usize>>, buffers: impl Iterator<Item = &'a [u8]>) {
        let Poll::Ready(Ok(sent)) = sent else { return };
        let mut left = *sent;
        for buffer in buffers {
            let (sent, _) = buffer.split_at(left.min(buffer.len()));
            self.calls.written(sent);
            left -= sent.len();
        }
        if self.calls.are_none()
            && let Some(listener) = self.listener.take()
        {
            listener.wake();
        }
    }
}

impl<S: Connected> Connected for Connection<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> S::ConnectInfo {
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if matches!(this.hearing, Hearing::Over) {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if read.is_pending() {
            return this.poll_over(cx).map(Ok);
        }
        if !mem::replace(&mut this.heard, true) && matches!(this.hearing, Hearing::Goodbye(_)) {
            this.hearing = Hearing::Goodbye(Box::pin(sleep(GOODBYE)));
        }
        this.calls.read(buf.filled().split_at(before).1);
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(&sent, [buf].into_iter());
        sent
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(&sent, bufs.iter().map(|buf| &**buf));
        sent
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::connections::Connections;
    use std::future::{pending, ready};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    async fn pair(hung_up: impl Future<Output = ()> + Send + 'static) -> (TcpStream, Connection<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (client, Connection::new(server, hung_up, Connections::default().one()))
    }

    /// As who takes the end for HTTP/1 does.
    #[tokio::test]
    async fn the_end_is_read_as_often_as_it_is_asked_for() {
        let (mut client, mut connection) = pair(ready(())).await;
        for _ in 0..3 {
            assert_eq!(connection.read(&mut [0; 8]).await.unwrap(), 0);
        }
        client.write_all(b"too late").await.unwrap();
        client.flush().await.unwrap();
        assert_eq!(connection.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn who_has_said_something_has_a_while_to_answer_the_goodbye() {
        let (mut client, mut connection) = pair(ready(())).await;
        client.write_all(b"PRI").await.unwrap();
        let began = Instant::now();
        assert_eq!(connection.read(&mut [0; 8]).await.unwrap(), 3);
        assert_eq!(connection.read(&mut [0; 8]).await.unwrap(), 0);
        assert!(began.elapsed() >= GOODBYE);
    }

    #[tokio::test]
    async fn who_has_just_been_accepted_has_a_while_to_say_something() {
        let (mut client, mut connection) = pair(ready(())).await;
        let (said, began) = (async { client.write_all(b"PRI").await.unwrap() }, Instant::now());
        let heard = async {
            // As where it is on its way.
            timeout(GREETING / 4, connection.read(&mut [0; 8])).await.unwrap_err();
            said.await;
            assert_eq!(connection.read(&mut [0; 8]).await.unwrap(), 3);
            assert_eq!(connection.read(&mut [0; 8]).await.unwrap(), 0);
        };
        heard.await;
        assert!(began.elapsed() >= GREETING / 4 + GOODBYE, "then it has as long as anybody else to answer");
    }

    #[tokio::test]
    async fn nobody_is_hung_up_on_before_it_is_time() {
        let (_client, mut connection) = pair(pending()).await;
        timeout(GOODBYE / 4, connection.read(&mut [0; 8])).await.unwrap_err();
    }
}
