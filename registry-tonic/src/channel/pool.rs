//! The set of peers: follows the view and the peers' links, and publishes who can be called.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use registry_core::pick::Draw;
use registry_core::{Endpoint, Incarnation, Instance, Status, View, Zone};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::keeper::{PeerHandle, Shared};
use super::lineup::{LeftOut, Lineup, Member, Rules};
use super::load::UNKNOWN;
use super::peer::PeerKey;

/// Where calls find the line-up.
#[derive(Debug)]
pub(crate) struct Board {
    lineup: ArcSwap<Lineup>,
    changed: watch::Sender<Arc<[Member]>>,
}

impl Board {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { lineup: ArcSwap::default(), changed: watch::Sender::default() })
    }

    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<Lineup>> {
        self.lineup.load()
    }

    /// Waits for what is published from this call on, which has these members.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<[Member]>> {
        self.changed.subscribe()
    }

    pub(super) fn publish(&self, lineup: Lineup) {
        let members = Arc::clone(&lineup.members);
        self.lineup.store(Arc::new(lineup));
        self.changed.send_replace(members);
    }
}

/// The task behind a channel.
#[derive(Debug)]
pub(crate) struct Pool {
    view: View,
    board: Arc<Board>,
    shared: Shared,
    rules: Rules,
    seeds: Draw,
    peers: BTreeMap<PeerKey, Seat>,
    left_out: LeftOut,
}

#[derive(Debug)]
struct Seat {
    handle: PeerHandle,
    incarnation: Incarnation,
    weight: u32,
    status: Status,
    zone: Option<Zone>,
}

impl Pool {
    pub(crate) fn new(view: View, board: Arc<Board>, shared: Shared, rules: Rules, seeds: Draw) -> Self {
        let (peers, left_out) = (BTreeMap::new(), LeftOut::default());
        Self { view, board, shared, rules, seeds, peers, left_out }
    }

    /// Runs until it is aborted.
    pub(crate) async fn run(mut self) {
        let changed = Arc::clone(&self.shared.changed);
        let mut follows = true;
        loop {
            tokio::select! {
                // Whose view has ended keeps what it knew last: trouble is not data.
                open = self.view.changed(), if follows => {
                    follows = open;
                    self.apply();
                }
                () = changed.notified() => {}
            }
            // Many peers that connect at once tell of it one by one; a line-up is made for all that have something to tell now.
            yield_now().await;
            let _ = changed.notified().now_or_never();
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
        let expected = self.board.load().usual_latency(Instant::now()).unwrap_or(UNKNOWN);
        let secure = self.shared.keeping.connect.is_secure();
        let mut before = std::mem::take(&mut self.peers);
        self.left_out = LeftOut::default();
        for entry in state.entries() {
            let instance = entry.instance();
            let weight = instance.weight().get();
            let Some(endpoint) = grpc_endpoint(instance, secure) else {
                let over_tls = instance.endpoints().iter().any(|one| one.protocol() == Some(OVER_TLS));
                *(if over_tls { &mut self.left_out.over_tls } else { &mut self.left_out.speechless }) += 1;
                continue;
            };
            if weight == 0 {
                self.left_out.weightless += 1;
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
                None => PeerHandle::start(key.clone(), expected, self.shared.clone(), self.seeds.next()),
            };
            let (status, zone) = (instance.status(), instance.zone().cloned());
            self.peers.insert(key, Seat { handle, incarnation: entry.incarnation(), weight, status, zone });
        }
    }

    fn publish(&self) {
        let member = |seat: &Seat| Member {
            peer: Arc::clone(&seat.handle.peer),
            weight: seat.weight,
            status: seat.status,
            near: self.rules.zone.as_ref().is_none_or(|zone| seat.zone.as_ref() == Some(zone)),
        };
        let members = self.peers.values().map(member).collect();
        let lineup = Lineup::new(members, &self.rules, self.left_out);
        self.shared.quota.set(lineup.members.len(), lineup.callable() + lineup.ejected);
        self.board.publish(lineup);
    }
}

/// The protocol of endpoints that speak gRPC over TLS.
const OVER_TLS: &str = "grpcs";

/// The endpoint to call: the first that is said to speak gRPC, otherwise the first that says nothing; where connections are secure, the first
/// that is said to speak gRPC over TLS goes before.
fn grpc_endpoint(instance: &Instance, secure: bool) -> Option<&Endpoint> {
    let speaks = |protocol| instance.endpoints().iter().find(|endpoint| endpoint.protocol() == protocol);
    let over_tls = if secure { speaks(Some(OVER_TLS)) } else { None };
    over_tls.or_else(|| speaks(Some("grpc"))).or_else(|| speaks(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(endpoints: &[&str], secure: bool) -> Option<String> {
        let instance = endpoints.iter().fold(Instance::builder("a"), |builder, e| builder.endpoint(*e));
        grpc_endpoint(&instance.build().unwrap(), secure).map(Endpoint::authority)
    }

    #[test]
    fn the_endpoint_that_speaks_grpc_is_called() {
        assert_eq!(called(&["http://h:1", "h:2", "grpc://h:3"], false).as_deref(), Some("h:3"));
        assert_eq!(called(&["http://h:1", "h:2"], false).as_deref(), Some("h:2"));
        assert_eq!(called(&["http://h:1"], false), None);
    }

    #[test]
    fn the_endpoint_that_speaks_grpc_over_tls_is_called_where_that_is_spoken() {
        let both = ["grpc://h:1", "grpcs://h:2"];
        assert_eq!(called(&both, true).as_deref(), Some("h:2"));
        assert_eq!(called(&both, false).as_deref(), Some("h:1"));
        assert_eq!(called(&["h:1"], true).as_deref(), Some("h:1"));
    }
}
