//! The connections of a server: accepted, and counted.

use std::future::{Future, pending};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
#[cfg(feature = "tls")]
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
#[cfg(feature = "tls")]
use tokio_rustls::server::TlsStream;

use super::connection::Connection;
#[cfg(feature = "tls")]
use super::tls::Acceptor;

/// For so long nobody must have been connected before a server is taken to be left alone.
const DESERTED_AFTER: Duration = Duration::from_millis(500);

/// The pause after a failure to accept that is not the fault of one connection: no more file descriptors, no memory.
const PAUSE: Duration = Duration::from_millis(100);

/// The kernel asks an idle client whether it is there: after this long, and then as often until it gives up. One that died must
/// not stay connected for ever.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// The connections to a server. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    tally: Arc<watch::Sender<Tally>>,
    /// Whether those that have nothing to say are to end.
    hung_up: Arc<watch::Sender<bool>>,
}

#[derive(Debug, Default)]
struct Tally {
    open: usize,
    /// How many there have ever been.
    accepted: u64,
}

impl Connections {
    /// Completes when nobody has been connected for a while.
    pub(super) async fn deserted(&self) {
        let mut tally = self.tally.subscribe();
        loop {
            let before = match tally.wait_for(|tally| tally.open == 0).await {
                Ok(tally) => tally.accepted,
                // Never: the sender is in `self`.
                Err(_) => return,
            };
            let another = tally.wait_for(|tally| tally.accepted != before);
            if timeout(DESERTED_AFTER, another).await.is_err() {
                return;
            }
        }
    }

    /// Ends those that have never said anything, also those that come later, and those that say nothing any more and have no calls under way: there is
    /// nothing that could be waited for.
    pub(super) fn hang_up(&self) {
        self.hung_up.send_replace(true);
    }

    /// [`hang_up`](Self::hang_up), when what is given is dropped.
    pub(super) fn hang_up_at_the_end(&self) -> HangsUp {
        HangsUp(self.clone())
    }

    /// Completes when those that have nothing to say are to end.
    fn is_hung_up(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut hung_up = self.hung_up.subscribe();
        async move {
            if hung_up.wait_for(|hung_up| *hung_up).await.is_err() {
                pending::<()>().await;
            }
        }
    }

    pub(super) fn one(&self) -> Counted {
        self.tally.send_modify(|tally| {
            tally.open += 1;
            tally.accepted = tally.accepted.wrapping_add(1);
        });
        Counted(self.clone())
    }
}

/// One connection, for as long as it is there.
#[derive(Debug)]
pub(super) struct Counted(Connections);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.tally.send_modify(|tally| tally.open = tally.open.saturating_sub(1));
    }
}

/// Hangs up when it is dropped.
#[derive(Debug)]
pub(super) struct HangsUp(Connections);

impl Drop for HangsUp {
    fn drop(&mut self) {
        self.0.hang_up();
    }
}

/// What `listener` accepts, counted by `connections`. It does not end, and gives no errors: what is wrong is logged, and tried again.
pub(super) fn incoming(
    listener: TcpListener,
    connections: Connections,
) -> impl Stream<Item = io::Result<Connection<TcpStream>>> + Send {
    unfold((listener, connections), |(listener, connections)| async move {
        let stream = accept(&listener).await;
        let connection = Connection::new(stream, connections.is_hung_up(), connections.one());
        Some((Ok(connection), (listener, connections)))
    })
}

/// The same, of clients with whom `acceptor` has agreed to speak TLS. Those that take long do not keep the others waiting; all are given up with this.
#[cfg(feature = "tls")]
pub(super) fn secure_incoming(
    listener: TcpListener,
    connections: Connections,
    acceptor: Acceptor,
) -> impl Stream<Item = io::Result<Connection<TlsStream<TcpStream>>>> + Send {
    let (acceptor, agreeing) = (Arc::new(acceptor), JoinSet::new());
    unfold((listener, connections, agreeing), move |(listener, connections, mut agreeing)| {
        let acceptor = Arc::clone(&acceptor);
        async move {
            loop {
                tokio::select! {
                    stream = accept(&listener) => {
                        let (acceptor, counted) = (Arc::clone(&acceptor), connections.one());
                        agreeing.spawn(async move { (acceptor.accept(stream).await, counted) });
                    }
                    Some(agreed) = agreeing.join_next() => match agreed {
                        Ok((Ok(stream), counted)) => {
                            let connection = Connection::new(stream, connections.is_hung_up(), counted);
                            return Some((Ok(connection), (listener, connections, agreeing)));
                        }
                        Ok((Err(error), _)) => tracing::debug!(%error, "a client and TLS"),
                        Err(error) => tracing::debug!(%error, "a client and TLS"),
                    }
                }
            }
        }
    })
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                set_options(&stream);
                return stream;
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                sleep(PAUSE).await;
            }
        }
    }
}

fn set_options(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let set = stream.set_nodelay(true).and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = set {
        tracing::debug!(%error, "the options of a connection cannot be set");
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_server_is_deserted_when_nobody_has_been_connected_for_half_a_second() {
        let (connections, began) = (Connections::default(), Instant::now());
        connections.deserted().await;
        assert_eq!(began.elapsed(), DESERTED_AFTER);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_not_while_somebody_is_connected_or_has_just_been() {
        let connections = Connections::default();
        let began = Instant::now();
        let clients = tokio::spawn({
            let connections = connections.clone();
            async move {
                let (first, second) = (connections.one(), connections.one());
                sleep(Duration::from_secs(60)).await;
                drop(first);
                sleep(Duration::from_secs(60)).await;
                drop(second);
                sleep(DESERTED_AFTER / 2).await;
                drop(connections.one());
            }
        });
        connections.deserted().await;
        clients.await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(120) + DESERTED_AFTER / 2 + DESERTED_AFTER);
    }
}
