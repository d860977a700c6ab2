//! The set of peers: follows the view and the peers' links, and publishes who can be called.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use registry_core::pick::Draw;
use registry_core::{Endpoint, Incarnation, Instance, Status, View};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::connection::Connection;
use super::peer::{Connecting, Link, Peer, PeerHandle, PeerKey};
use super::pick::Shares;

/// Everything about a pool that a call needs, at one moment.
#[derive(Debug, Default)]
pub(crate) struct Lineup {
    /// Who can be called now.
    pub(crate) candidates: Box<[Candidate]>,
    /// Their weights.
    shares: Shares,
    /// Every peer, ordered by instance id.
    pub(crate) members: Box<[Member]>,
    /// How many instances want no calls, because of their weight.
    pub(crate) weightless: usize,
    /// How many instances have no endpoint that speaks gRPC.
    pub(crate) speechless: usize,
}

/// A peer as listed.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) peer: Arc<Peer>,
    pub(crate) weight: u32,
    pub(crate) status: Status,
}

/// A peer that can be called.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) peer: Arc<Peer>,
    pub(crate) connection: Connection,
    pub(crate) weight: u32,
}

impl Lineup {
    /// One that can be called: the less costly of two.
    pub(crate) fn pick(&self, draw: &Draw, now: Instant) -> Option<&Candidate> {
        let cost = |at: usize| self.candidates[at].cost(&self.shares, now);
        let picked = &self.candidates[self.shares.pick(cost, draw)?];
        if !picked.connection.is_closed() {
            return Some(picked);
        }
        // Its connection died a moment ago and the pool has yet to notice.
        let open: Vec<&Candidate> =
            self.candidates.iter().filter(|candidate| !candidate.connection.is_closed()).collect();
        let shares = Shares::new(open.iter().map(|candidate| candidate.weight));
        shares.pick(|at| open[at].cost(&shares, now), draw).map(|at| open[at])
    }

    fn of(members: Vec<Member>, weightless: usize, speechless: usize) -> Self {
        let connected = |wanted: fn(Status) -> bool| -> Box<[Candidate]> {
            let of_status = members.iter().filter(|member| wanted(member.status));
            of_status.filter_map(Member::candidate).collect()
        };
        let mut candidates = connected(|status| status != Status::Draining);
        if candidates.is_empty() {
            // One that is about to leave is better than none.
            candidates = connected(|status| status == Status::Draining);
        }
        let shares = Shares::new(candidates.iter().map(|candidate| candidate.weight));
        Self { candidates, shares, members: members.into(), weightless, speechless }
    }
}

impl Candidate {
    /// What one more call would cost: the latency expected, times the calls in flight for its weight and the one to come.
    fn cost(&self, shares: &Shares, now: Instant) -> f64 {
        self.peer.load.cost(shares.relative(self.weight), now)
    }
}

impl Member {
    fn candidate(&self) -> Option<Candidate> {
        match self.peer.link() {
            Link::Up(connection) if !connection.is_closed() => {
                Some(Candidate { peer: Arc::clone(&self.peer), connection, weight: self.weight })
            }
            _ => None,
        }
    }
}

/// Where calls find the line-up.
#[derive(Debug)]
pub(crate) struct Board {
    lineup: ArcSwap<Lineup>,
    changed: watch::Sender<()>,
}

impl Board {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { lineup: ArcSwap::default(), changed: watch::Sender::new(()) })
    }

    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<Lineup>> {
        self.lineup.load()
    }

    /// Waits for what is published from this call on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn publish(&self, lineup: Lineup) {
        self.lineup.store(Arc::new(lineup));
        self.changed.send_replace(());
    }
}

/// The task behind a channel.
#[derive(Debug)]
pub(crate) struct Pool {
    view: View,
    board: Arc<Board>,
    connecting: Connecting,
    seeds: Draw,
    nudge: Arc<Notify>,
    peers: BTreeMap<PeerKey, Seat>,
    weightless: usize,
    speechless: usize,
}

#[derive(Debug)]
struct Seat {
    handle: PeerHandle,
    incarnation: Incarnation,
    weight: u32,
    status: Status,
}

impl Pool {
    pub(crate) fn new(view: View, board: Arc<Board>, connecting: Connecting, seeds: Draw) -> Self {
        Self {
            view,
            board,
            connecting,
            seeds,
            nudge: Arc::new(Notify::new()),
            peers: BTreeMap::new(),
            weightless: 0,
            speechless: 0,
        }
    }

    /// Runs until it is aborted.
    pub(crate) async fn run(mut self) {
        let nudge = Arc::clone(&self.nudge);
        let mut follows = true;
        loop {
            tokio::select! {
                // Whose view has ended keeps what it knew last: trouble is not data.
                open = self.view.changed(), if follows => {
                    follows = open;
                    self.apply();
                }
                () = nudge.notified() => {}
            }
            self.publish();
        }
    }

    /// Makes the peers those of the view.
    fn apply(&mut self) {
        let state = self.view.state();
        // Before the first answer nothing is known, which is not the same as none.
        if state.snapshot().is_none() {
            return;
        }
        let mut before = std::mem::take(&mut self.peers);
        (self.weightless, self.speechless) = (0, 0);
        for entry in state.entries() {
            let instance = entry.instance();
            let weight = instance.weight().get();
            let Some(endpoint) = grpc_endpoint(instance) else {
                self.speechless += 1;
                continue;
            };
            if weight == 0 {
                self.weightless += 1;
                continue;
            }
            let key = (entry.id().clone(), endpoint.clone());
            let handle = match before.remove(&key) {
                Some(seat) => {
                    if seat.incarnation != entry.incarnation() {
                        seat.handle.try_now();
                    }
                    seat.handle
                }
                None => {
                    let nudge = Arc::clone(&self.nudge);
                    PeerHandle::start(key.clone(), self.connecting.clone(), self.seeds.next(), nudge)
                }
            };
            let seat = Seat { handle, incarnation: entry.incarnation(), weight, status: instance.status() };
            self.peers.insert(key, seat);
        }
    }

    fn publish(&self) {
        let member = |seat: &Seat| Member {
            peer: Arc::clone(&seat.handle.peer),
            weight: seat.weight,
            status: seat.status,
        };
        let members = self.peers.values().map(member).collect();
        self.board.publish(Lineup::of(members, self.weightless, self.speechless));
    }
}

/// The endpoint to call: the first that is said to speak gRPC, otherwise the first that says nothing.
fn grpc_endpoint(instance: &Instance) -> Option<&Endpoint> {
    let speaks = |protocol| instance.endpoints().iter().find(|endpoint| endpoint.protocol() == protocol);
    speaks(Some("grpc")).or_else(|| speaks(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_that_speaks_grpc_is_called() {
        let called = |endpoints: &[&str]| {
            let instance = endpoints.iter().fold(Instance::builder("a"), |builder, e| builder.endpoint(*e));
            grpc_endpoint(&instance.build().unwrap()).map(Endpoint::authority)
        };
        assert_eq!(called(&["http://h:1", "h:2", "grpc://h:3"]).as_deref(), Some("h:3"));
        assert_eq!(called(&["http://h:1", "h:2"]).as_deref(), Some("h:2"));
        assert_eq!(called(&["http://h:1"]), None);
    }
}
