//! Proxies between the members of a cluster, one for each ordered pair.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::super::ServerError;
use super::super::ports::Port;
use super::super::proxy::{Faults, Flow, Proxy};
use super::caller::caller_of;

/// All members must be told the same URL of a member, so each member has one entrance for all others. There the caller is told by the socket
/// it connects from, and its connection goes on through the proxy of that pair. A connection whose caller is not found is reset, and
/// the member tries again: let through, it would leak out of a partition.
#[derive(Debug)]
pub(super) struct PeerNetwork {
    entrances: Vec<Proxy>,
    /// By caller, then by callee.
    pairs: Vec<Vec<Option<Proxy>>>,
    pids: Arc<OnceLock<Pids>>,
    /// Where nobody listens.
    _nowhere: Port,
}

type Pids = Vec<Arc<AtomicU32>>;

impl PeerNetwork {
    pub(super) fn start(members: &[SocketAddr]) -> Result<Self, ServerError> {
        let pids = Arc::new(OnceLock::<Pids>::new());
        let nobody = Port::free()?;
        let nowhere = nobody.address();
        let row = |from: usize| {
            let pair =
                |(to, member): (usize, &SocketAddr)| (from != to).then(|| Proxy::start(*member)).transpose();
            members.iter().enumerate().map(pair).collect::<Result<Vec<_>, _>>()
        };
        let pairs = (0..members.len()).map(row).collect::<Result<Vec<_>, _>>()?;
        let entrance = |(to, member): (usize, &SocketAddr)| {
            let pids = Arc::clone(&pids);
            let ways =
                pairs.iter().map(|row| row[to].as_ref().map_or(*member, Proxy::address)).collect::<Vec<_>>();
            Proxy::start_routed(move |caller, entrance| {
                let pids = pids.get().map(Vec::as_slice).unwrap_or_default();
                caller_of(caller, entrance, pids).map_or(nowhere, |from| ways[from])
            })
        };
        let entrances = members.iter().enumerate().map(entrance).collect::<Result<_, _>>()?;
        Ok(Self { entrances, pairs, pids, _nowhere: nobody })
    }

    /// The members' pids, in their order. Once, before they start.
    pub(super) fn introduce(&self, pids: Pids) {
        let _ = self.pids.set(pids);
    }

    /// What the members advertise.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.entrances.iter().map(Proxy::address).collect()
    }

    /// Both on the connections that `from` made and on those that it accepted.
    pub(super) fn block(&self, from: usize, to: usize) -> bool {
        let pair = |from: usize, to: usize| self.pairs.get(from)?.get(to)?.as_ref();
        let (Some(made), Some(accepted)) = (pair(from, to), pair(to, from)) else { return false };
        made.modify(|faults| faults.to_server.flow = Flow::BlackHole);
        accepted.modify(|faults| faults.to_client.flow = Flow::BlackHole);
        true
    }

    /// Everything between members takes so long each way.
    pub(super) fn delay(&self, latency: Duration) {
        self.all().for_each(|proxy| proxy.modify(|faults| *faults = faults.with_latency(latency)));
    }

    pub(super) fn heal(&self) {
        self.all().for_each(|proxy| proxy.modify(|faults| *faults = Faults::default()));
    }

    pub(super) fn swallowed(&self) -> u64 {
        let swallowed = self.all().map(Proxy::counters);
        swallowed.map(|counters| counters.to_server.swallowed + counters.to_client.swallowed).sum()
    }

    fn all(&self) -> impl Iterator<Item = &Proxy> {
        self.pairs.iter().flatten().flatten()
    }
}
