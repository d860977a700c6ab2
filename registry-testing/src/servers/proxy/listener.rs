//! Accepts connections, or refuses them.

use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use super::Shared;
use super::connection;
use super::counters::add;

pub(super) type Route = dyn Fn(SocketAddr, SocketAddr) -> SocketAddr + Send + Sync;

/// Where the system refuses to accept or to listen, another try comes so much later.
const AGAIN: Duration = Duration::from_millis(10);

pub(super) async fn run(
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    route: Arc<Route>,
    mut stopped: watch::Receiver<bool>,
) {
    tokio::select! {
        _ = stopped.wait_for(|stopped| *stopped) => {}
        () = listen(listener, &shared, &route) => {}
    }
}

/// A listener that has stopped listening once it is dropped.
///
/// Closing it alone would not do: a child process that is being started by another thread holds a copy until it runs its program, and for so
/// long connections would still be accepted.
struct Listening(TcpListener);

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = SockRef::from(&self.0).shutdown(Shutdown::Both);
    }
}

async fn listen(first: std::net::TcpListener, shared: &Arc<Shared>, route: &Arc<Route>) {
    let mut faults = shared.faults.subscribe();
    let mut listener = TcpListener::from_std(first).ok().map(Listening);
    loop {
        let Some(Listening(open)) = &listener else {
            if faults.wait_for(|faults| !faults.refuse).await.is_err() {
                return;
            }
            match TcpListener::bind(shared.port.address()).await {
                Ok(again) => listener = Some(Listening(again)),
                Err(_) => sleep(AGAIN).await,
            }
            shared.listening.send_replace(listener.is_some());
            continue;
        };
        let accepted = tokio::select! {
            biased;
            closed = faults.wait_for(|faults| faults.refuse) => {
                if closed.is_err() {
                    return;
                }
                None
            }
            accepted = open.accept() => Some(accepted),
        };
        match accepted {
            None => {
                listener = None;
                shared.listening.send_replace(false);
            }
            Some(Ok((client, address))) => begin(client, address, shared, route),
            Some(Err(_)) => sleep(AGAIN).await,
        }
    }
}

fn begin(client: TcpStream, address: SocketAddr, shared: &Arc<Shared>, route: &Arc<Route>) {
    // In this order: an ending that is asked for in between takes this connection too.
    let endings = shared.endings.subscribe();
    let number = shared.next_connection.fetch_add(1, Ordering::SeqCst);
    shared.open.send_modify(|open| {
        open.insert(number);
    });
    add(&shared.tally.accepted, 1);
    let server = route(address, shared.port.address());
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        connection::carry(client, server, &shared, endings).await;
        shared.open.send_modify(|open| {
            open.remove(&number);
        });
    });
}
