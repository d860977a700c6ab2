//! One connection through a proxy.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::counters::{WayTally, add};
use super::{Faults, Flow, Shared, Way};

/// How a connection ends that does not end by itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    Cut,
    Reset,
}

/// How many bytes are read at once, and how many such chunks can be on their way.
const CHUNK: usize = 16 << 10;
const CHUNKS: usize = 64;
/// How late a timer of the runtime may be.
const COARSE: Duration = Duration::from_millis(2);
/// How long the ends of a cut connection have to close it too. Closed at once, with bytes unread, it would be reset instead.
const LINGER: Duration = Duration::from_secs(1);

/// Carries a connection until it ends.
pub(super) async fn carry(
    mut client: TcpStream,
    server: SocketAddr,
    shared: &Shared,
    mut endings: watch::Receiver<(u64, Ending)>,
) {
    let mut upstream = None;
    let ending = tokio::select! {
        biased;
        _ = endings.changed() => Some(endings.borrow().1),
        ended = open_and_relay(&mut client, &mut upstream, server, shared) => ended.err().map(|Broken| Ending::Reset),
    };
    let ends = [Some(client), upstream].into_iter().flatten();
    match ending {
        None => {}
        Some(Ending::Reset) => {
            for end in ends {
                let _ = SockRef::from(&end).set_linger(Some(Duration::ZERO));
            }
            add(&shared.tally.reset, 1);
        }
        Some(Ending::Cut) => {
            for mut end in ends {
                let _ = end.shutdown().await;
                tokio::spawn(async move { timeout(LINGER, copy(&mut end, &mut sink())).await });
            }
            add(&shared.tally.cut, 1);
        }
    }
}

/// The connection is to be reset.
struct Broken;

async fn open_and_relay(
    client: &mut TcpStream,
    upstream: &mut Option<TcpStream>,
    server: SocketAddr,
    shared: &Shared,
) -> Result<(), Broken> {
    may_open(&mut shared.faults.subscribe()).await;
    let Ok(connected) = TcpStream::connect(server).await else {
        add(&shared.tally.unreachable, 1);
        return Err(Broken);
    };
    add(&shared.tally.connected, 1);
    let _ = (connected.set_nodelay(true), client.set_nodelay(true));
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = upstream.insert(connected).split();
    let there = Pipe {
        way: |faults| faults.to_server,
        back: |faults| faults.to_client,
        tally: &shared.tally.to_server,
    };
    let back = Pipe {
        way: |faults| faults.to_client,
        back: |faults| faults.to_server,
        tally: &shared.tally.to_client,
    };
    tokio::try_join!(there.run(from_client, to_server, shared), back.run(from_server, to_client, shared))
        .map(drop)
}

/// Waits for [`Faults::slow_open`], as it is at the time, and for both ways to be open.
async fn may_open(faults: &mut watch::Receiver<Faults>) {
    let accepted = Instant::now();
    loop {
        let now = *faults.borrow_and_update();
        let delay = accepted + now.slow_open;
        tokio::select! {
            () = sleep_until(delay), if now.can_open() => return,
            changed = faults.changed() => if changed.is_err() { return },
        }
    }
}

/// One direction.
struct Pipe<'a> {
    way: fn(&Faults) -> Way,
    back: fn(&Faults) -> Way,
    tally: &'a WayTally,
}

/// Something that is on its way, and when it arrives.
struct Parcel {
    due: Instant,
    what: Content,
}

enum Content {
    Bytes(Vec<u8>),
    End,
    Reset,
}

impl Pipe<'_> {
    async fn run(
        &self,
        from: impl AsyncRead + Unpin,
        to: impl AsyncWrite + Unpin,
        shared: &Shared,
    ) -> Result<(), Broken> {
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let collect = self.collect(from, sender, shared.faults.subscribe());
        let deliver = self.deliver(to, receiver, shared.faults.subscribe());
        let collect = async {
            collect.await;
            Ok(())
        };
        tokio::try_join!(collect, deliver).map(drop)
    }

    /// Reads as fast as the throttle lets, and stamps what was read with the time of its arrival.
    async fn collect(
        &self,
        mut from: impl AsyncRead + Unpin,
        parcels: mpsc::Sender<Parcel>,
        faults: watch::Receiver<Faults>,
    ) {
        let mut buffer = vec![0; CHUNK];
        let mut free = Instant::now();
        loop {
            let rate = (self.way)(&faults.borrow()).bytes_per_second;
            // Some 10 ms worth, so that a change is felt soon.
            let most =
                rate.map_or(CHUNK, |rate| usize::try_from(rate.get() / 100).unwrap_or(CHUNK).clamp(1, CHUNK));
            let read = from.read(&mut buffer[..most]).await;
            let way = (self.way)(&faults.borrow());
            let now = Instant::now();
            free = match (way.bytes_per_second, &read) {
                (Some(rate), Ok(count)) => free.max(now) + transmission(*count, rate.get()),
                _ => now,
            };
            let what = match read {
                Ok(0) => Content::End,
                Ok(count) => Content::Bytes(buffer[..count].to_vec()),
                Err(_) => Content::Reset,
            };
            let last = !matches!(what, Content::Bytes(_));
            if parcels.send(Parcel { due: free + way.latency, what }).await.is_err() || last {
                return;
            }
            sleep_until(free).await;
        }
    }

    /// Delivers, keeps or loses what arrives.
    async fn deliver(
        &self,
        mut to: impl AsyncWrite + Unpin,
        mut parcels: mpsc::Receiver<Parcel>,
        mut faults: watch::Receiver<Faults>,
    ) -> Result<(), Broken> {
        let mut lost = false;
        loop {
            let parcel = tokio::select! {
                biased;
                _ = faults.wait_for(|faults| (self.way)(faults).flow != Flow::BlackHole), if lost => return Err(Broken),
                parcel = parcels.recv() => parcel,
            };
            let Some(parcel) = parcel else {
                if lost {
                    // The end was lost as well; only the end of the black hole tells of it.
                    let _ = faults.wait_for(|faults| (self.way)(faults).flow != Flow::BlackHole).await;
                    return Err(Broken);
                }
                return Ok(());
            };
            sleep_exactly_until(parcel.due).await;
            let flow = faults.wait_for(|faults| (self.way)(faults).flow != Flow::Stalled).await;
            let flow = flow.map_or(Flow::Open, |faults| (self.way)(&faults).flow);
            match parcel.what {
                Content::Bytes(bytes) if flow == Flow::BlackHole => {
                    lost = true;
                    add(&self.tally.swallowed, bytes.len());
                }
                _ if flow == Flow::BlackHole => lost = true,
                _ if lost => return Err(Broken),
                Content::Bytes(bytes) => match write(&mut to, &bytes).await {
                    Ok(()) => add(&self.tally.delivered, bytes.len()),
                    Err(_) => {
                        // The receiver has gone. The sender learns of it if anything reaches it.
                        let _ = faults.wait_for(|faults| (self.back)(faults).flow == Flow::Open).await;
                        return Err(Broken);
                    }
                },
                Content::Reset => return Err(Broken),
                Content::End => {
                    let _ = to.shutdown().await;
                }
            }
        }
    }
}

/// The timers of the runtime are a millisecond late, which is much where a latency is less; a thread that sleeps is not.
async fn sleep_exactly_until(due: Instant) {
    let early = due.checked_sub(COARSE).filter(|early| *early > Instant::now());
    if let Some(early) = early {
        sleep_until(early).await;
    }
    let left = due.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        #[expect(clippy::disallowed_methods, reason = "on a thread for what blocks")]
        let _ = tokio::task::spawn_blocking(move || std::thread::sleep(left)).await;
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

fn transmission(bytes: usize, rate: u64) -> Duration {
    let nanos = u128::try_from(bytes).unwrap_or(u128::MAX).saturating_mul(1_000_000_000) / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
