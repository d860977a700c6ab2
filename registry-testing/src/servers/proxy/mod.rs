//! A TCP proxy that injects faults.
//!
//! [`Proxy`] listens on 127.0.0.1 and carries each connection to one address. What it does to them is a value, [`Faults`], that can be set at
//! any time and holds for open connections too; [`Proxy::cut`] and [`Proxy::reset`] end those that are open. [`Proxy::counters`] proves that a
//! fault bit.

mod connection;
mod counters;
mod faults;
mod link;
mod listener;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

pub use counters::{Counters, WayCounters};
pub use faults::{Faults, Flow, Way};

use self::connection::Ending;
use self::counters::Tally;
use super::ServerError;
use super::ports::Port;

/// A TCP proxy in front of an address.
///
/// It runs on a thread of its own, so a test that blocks its runtime, or pauses its clock, does not stop the network. Dropping it closes
/// everything.
///
/// ```no_run
/// # async fn example(server: std::net::SocketAddr) -> Result<(), registry_testing::servers::ServerError> {
/// use registry_testing::servers::proxy::{Faults, Proxy};
/// use std::time::Duration;
///
/// let proxy = Proxy::start(server)?;
/// let clients_connect_to = proxy.address();
/// proxy.set(Faults::default().with_latency(Duration::from_millis(50))).await; // each way
/// proxy.set(Faults::black_hole_to_server()).await;
/// assert!(proxy.counters().to_server.swallowed == 0, "nobody has sent anything yet");
/// proxy.heal().await;
/// proxy.reset().await;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// What the proxy's thread and its owner have in common.
#[derive(Debug)]
struct Shared {
    port: Port,
    faults: watch::Sender<Faults>,
    /// Counts what was asked for; connections that were open then end.
    endings: watch::Sender<(u64, Ending)>,
    open: watch::Sender<BTreeSet<u64>>,
    next_connection: AtomicU64,
    listening: watch::Sender<bool>,
    tally: Tally,
}

/// What a [flap](Proxy::flap) does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outage {
    /// Ends what is open and refuses what is new, as when a process dies.
    Refuse,
    /// Swallows everything, as when a machine dies.
    BlackHole,
    /// Holds everything back, and delivers it afterwards, as when a cable is out for a moment.
    Stall,
}

impl Proxy {
    /// A proxy without faults in front of `server`, which need not be there yet.
    ///
    /// # Errors
    /// [`ServerError::Io`] if no port or thread is to be had.
    pub fn start(server: SocketAddr) -> Result<Self, ServerError> {
        Self::start_routed(move |_, _| server)
    }

    /// A proxy that chooses the server by the client's address, and by its own, to which the client has connected. What it carries waits for the choice.
    ///
    /// # Errors
    /// [`ServerError::Io`] if no port or thread is to be had.
    pub fn start_routed(
        route: impl Fn(SocketAddr, SocketAddr) -> SocketAddr + Send + Sync + 'static,
    ) -> Result<Self, ServerError> {
        let port = Port::free()?;
        let start = || {
            let listener = TcpListener::bind(port.address())?;
            listener.set_nonblocking(true)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let shared = Arc::new(Shared {
                port,
                faults: watch::Sender::new(Faults::default()),
                endings: watch::Sender::new((0, Ending::Cut)),
                open: watch::Sender::default(),
                next_connection: AtomicU64::new(0),
                listening: watch::Sender::new(true),
                tally: Tally::default(),
            });
            let (stop, stopped) = watch::channel(false);
            let theirs = Arc::clone(&shared);
            let run = move || runtime.block_on(listener::run(listener, theirs, Arc::new(route), stopped));
            let thread = std::thread::Builder::new().name("fault-proxy".to_owned()).spawn(run)?;
            Ok(Self { shared, stop, thread: Some(thread) })
        };
        start().map_err(ServerError::io("starting a proxy"))
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.port.address()
    }

    /// What is done now.
    #[must_use]
    pub fn faults(&self) -> Faults {
        *self.shared.faults.borrow()
    }

    /// Does this from now on, to open connections too. Returns when it holds: what is sent or opened afterwards meets these faults.
    ///
    /// Dropping the future leaves the faults set.
    pub async fn set(&self, faults: Faults) {
        self.modify(|current| *current = faults);
        let mut listening = self.shared.listening.subscribe();
        let _ = listening.wait_for(|listening| *listening != faults.refuse).await;
    }

    /// Does no harm any more. Connections that have lost bytes in a black hole are reset, since what follows would make no sense.
    pub async fn heal(&self) {
        self.set(Faults::default()).await;
    }

    /// Changes some faults, without waiting for a change of [`Faults::refuse`] to hold.
    pub fn modify(&self, change: impl FnOnce(&mut Faults)) {
        self.shared.faults.send_modify(change);
    }

    /// Ends every open connection in good order: both sides read what was delivered, and then the end. New ones are carried.
    pub async fn cut(&self) {
        self.end(Ending::Cut).await;
    }

    /// Ends every open connection with a reset: both sides get `ECONNRESET`. New ones are carried.
    pub async fn reset(&self) {
        self.end(Ending::Reset).await;
    }

    /// Fails and recovers `times` times: an outage for `down`, then what was before for `up`. Dropping the future leaves things as they are.
    pub async fn flap(&self, outage: Outage, times: usize, down: Duration, up: Duration) {
        let before = self.faults();
        for _ in 0..times {
            match outage {
                Outage::Refuse => {
                    self.set(Faults { refuse: true, ..before }).await;
                    self.cut().await;
                }
                Outage::BlackHole => self.set(before.with_flow(Flow::BlackHole)).await,
                Outage::Stall => self.set(before.with_flow(Flow::Stalled)).await,
            }
            sleep(down).await;
            self.set(before).await;
            sleep(up).await;
        }
    }

    /// What has passed and what has not.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.tally.read(self.shared.open.borrow().len())
    }

    async fn end(&self, how: Ending) {
        let before = self.shared.next_connection.load(std::sync::atomic::Ordering::SeqCst);
        self.shared.endings.send_modify(|(count, ending)| {
            *count += 1;
            *ending = how;
        });
        let mut open = self.shared.open.subscribe();
        let _ = open.wait_for(|open| open.first().is_none_or(|oldest| *oldest >= before)).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
