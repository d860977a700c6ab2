//! A channel's pick, and the completion of its call, by themselves: for the benchmarks of this repository. Not a part of the interface.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use registry_core::pick::Draw;
use registry_core::{Endpoint, InstanceId, Status};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Policy;
use super::connect::{Connect, Stream};
use super::connection::Connection;
use super::lineup::{Candidate, LeftOut, Lineup, Member, Rules, Wanted};
use super::outcome::Outcome;
use super::peer::{InFlight, Link, Peer, Up};
use super::pick::Picker;
use super::pool::Board;

/// Endpoints that can be called, published as a channel publishes them. Each has answered once, some slower than others, and no newcomer is among
/// them. Each has a connection of its own, on which nothing is sent; beyond a thousand, several share one.
pub struct Picking {
    board: Arc<Board>,
    picker: Picker,
    answered: Instant,
    _servers: Vec<DuplexStream>,
}

/// So many connections are open at most: their tasks and buffers take memory, and those of a thousand are in no cache either.
const CONNECTIONS: usize = 1_000;

/// Who was picked.
#[derive(Debug)]
pub struct Picked(#[expect(dead_code, reason = "whoever picks holds it")] Arc<Candidate>);

impl Picking {
    /// So many endpoints; `weight` tells the weight of each by its number. Works as long as the runtime on which it is made.
    ///
    /// # Errors
    /// None but where the library does not know its own words.
    pub async fn new(
        size: usize,
        policy: Policy,
        weight: impl Fn(usize) -> u32,
        seed: u64,
    ) -> Result<Self, String> {
        let (mut connections, mut servers) = (Vec::new(), Vec::new());
        for number in 0..size.min(CONNECTIONS) {
            let (connection, server) = connect(number).await?;
            connections.push(connection);
            servers.push(server);
        }
        let (draw, answered) = (Draw::with_seed(seed), Instant::now());
        let member = |number: usize| {
            let id: InstanceId = format!("i{number:06}").parse().map_err(|error| format!("{error}"))?;
            let peer = Peer::new((id, endpoint(number)?), Duration::from_millis(1), Some(5));
            peer.load.started();
            let took = Duration::from_millis(1) + Duration::from_nanos(draw.below(1_000_000) as u64);
            peer.load.finished(Some(took), answered);
            let connection = connections[number % CONNECTIONS].beside();
            peer.show(Link::Up(Up { connection, since: answered, unwell: None, silent: false }));
            Ok(Member { peer: Arc::new(peer), weight: weight(number), status: Status::Up, near: true })
        };
        let members: Result<Vec<Member>, String> = (0..size).map(member).collect();
        let (board, rules) = (Board::new(), Rules { zone: None, slow_start: Duration::ZERO });
        board.publish(Lineup::new(members?, &rules, LeftOut::default()));
        Ok(Self { board, picker: Picker::new(policy, draw), answered, _servers: servers })
    }

    /// A pick alone, at the moment at which all have answered. A call looks at the clock anyway, and picks with what that said.
    pub fn pick(&self, key: u64) -> Option<Picked> {
        let wanted = Wanted { key: Some(key), tried: &[] };
        self.board.load().pick(&self.picker, wanted, self.answered).map(Picked)
    }

    /// Picks, lets `work` be done, and tells that the call was answered and is over.
    pub fn call<T>(&self, key: u64, work: impl FnOnce() -> T) -> Option<T> {
        let (wanted, now) = (Wanted { key: Some(key), tried: &[] }, Instant::now());
        let picked = self.board.load().pick(&self.picker, wanted, now)?;
        let mut in_flight = InFlight::new(Arc::clone(&picked.peer), now);
        let done = work();
        in_flight.answered(Instant::now());
        in_flight.ended(Outcome::Answered(tonic::Code::Ok));
        Some(done)
    }

    /// How many calls each endpoint has had, and how many are under way on it.
    pub fn calls(&self) -> Vec<(u64, u32)> {
        let of = |member: &Member| {
            (
                member.peer.counts.calls.load(std::sync::atomic::Ordering::Relaxed),
                member.peer.load.in_flight(),
            )
        };
        self.board.load().members.iter().map(of).collect()
    }
}

impl fmt::Debug for Picking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Picking").field("policy", &self.picker.policy).finish_non_exhaustive()
    }
}

/// A connection to a server that says nothing but that it is one.
async fn connect(number: usize) -> Result<(Connection, DuplexStream), String> {
    let (stream, mut server) = tokio::io::duplex(1 << 10);
    // An empty SETTINGS frame is all that a server has to say (RFC 9113, 3.4 and 6.5).
    server.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.map_err(|error| error.to_string())?;
    let dial = Given(Mutex::new(Some(stream)));
    let (connection, _) = Connection::open(&endpoint(number)?, &dial).await?;
    Ok((connection, server))
}

/// Connects once, to what was given.
struct Given(Mutex<Option<DuplexStream>>);

#[tonic::async_trait]
impl Connect for Given {
    async fn connect(&self, _: &Endpoint) -> io::Result<Box<dyn Stream>> {
        let stream = self.0.lock().await.take().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Box::new(stream))
    }
}

fn endpoint(number: usize) -> Result<Endpoint, String> {
    let [_, a, b, c] = u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
    format!("10.{a}.{b}.{c}:8080").parse().map_err(|error| format!("{error}"))
}
