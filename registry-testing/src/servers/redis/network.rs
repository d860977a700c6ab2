//! Proxies in front of the servers of a group.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::super::ServerError;
use super::super::proxy::{Faults, Flow, Proxy};

/// All must be told the same address of a server, so each server has one entrance for all. There those who belong to the group are told by the
/// address of the loopback network that they connect from (`bind-source-addr`), and their connection goes on through the proxy of that pair;
/// whoever else connects is a client.
#[derive(Debug)]
pub(super) struct Network {
    /// By callee, as `clients`.
    entrances: Vec<Proxy>,
    clients: Vec<Proxy>,
    /// By caller, then by callee.
    pairs: Vec<Vec<Option<Proxy>>>,
}

/// What stands in front of the servers of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fronts {
    /// A proxy for clients.
    pub(super) clients: bool,
    /// One for each ordered pair.
    pub(super) pairs: bool,
}

impl Network {
    /// In front of `servers`, each of which calls the others. Further callers come after them. None if nothing is wanted.
    pub(super) fn start(
        servers: &[SocketAddr],
        callers: usize,
        fronts: Fronts,
    ) -> Result<Option<Self>, ServerError> {
        if !fronts.clients && !fronts.pairs {
            return Ok(None);
        }
        let clients = if fronts.clients { servers } else { &[] };
        let clients = clients.iter().map(|server| Proxy::start(*server)).collect::<Result<Vec<_>, _>>()?;
        let row = |from: usize| {
            let pair = |(to, server): (usize, &SocketAddr)| {
                (fronts.pairs && from != to).then(|| Proxy::start(*server)).transpose()
            };
            servers.iter().enumerate().map(pair).collect::<Result<Vec<_>, _>>()
        };
        let pairs = (0..callers).map(row).collect::<Result<Vec<_>, _>>()?;
        let entrance = |(to, server): (usize, &SocketAddr)| {
            let way = |pair: Option<&Proxy>| pair.map_or(*server, Proxy::address);
            let ways = pairs.iter().map(|row| way(row[to].as_ref())).collect::<Vec<_>>();
            let of_clients = way(clients.get(to));
            Proxy::start_routed(move |caller, _| {
                let member = (0..ways.len()).find(|member| caller.ip() == IpAddr::V4(source(*member)));
                member.map_or(of_clients, |member| ways[member])
            })
        };
        let entrances = servers.iter().enumerate().map(entrance).collect::<Result<_, _>>()?;
        Ok(Some(Self { entrances, clients, pairs }))
    }

    /// What all are told of a server.
    pub(super) fn address(&self, server: usize) -> SocketAddr {
        self.entrances[server].address()
    }

    pub(super) fn clients(&self) -> &[Proxy] {
        &self.clients
    }

    pub(super) fn callers(&self) -> usize {
        self.pairs.len()
    }

    /// Both on the connections that `from` made and on those that it accepted. False if there are no proxies between them.
    pub(super) fn block(&self, from: usize, to: usize) -> bool {
        let pair = |from: usize, to: usize| self.pairs.get(from)?.get(to)?.as_ref();
        let (made, accepted) = (pair(from, to), pair(to, from));
        if let Some(made) = made {
            made.modify(|faults| faults.to_server.flow = Flow::BlackHole);
        }
        if let Some(accepted) = accepted {
            accepted.modify(|faults| faults.to_client.flow = Flow::BlackHole);
        }
        made.or(accepted).is_some()
    }

    pub(super) fn heal(&self) {
        self.between().for_each(|proxy| proxy.modify(|faults| *faults = Faults::default()));
    }

    pub(super) fn swallowed(&self) -> u64 {
        let swallowed = self.between().map(Proxy::counters);
        swallowed.map(|counters| counters.to_server.swallowed + counters.to_client.swallowed).sum()
    }

    fn between(&self) -> impl Iterator<Item = &Proxy> {
        self.pairs.iter().flatten().flatten()
    }
}

/// Where a caller connects from.
fn source(caller: usize) -> Ipv4Addr {
    let host = u8::try_from(caller + 2).unwrap_or(u8::MAX);
    Ipv4Addr::new(127, 0, 0, host)
}

/// The arguments of a caller by which entrances tell it.
pub(super) fn source_args(caller: usize) -> [String; 4] {
    // To those that it calls directly it does not come from 127.0.0.1.
    [
        "--bind-source-addr".to_owned(),
        source(caller).to_string(),
        "--protected-mode".to_owned(),
        "no".to_owned(),
    ]
}
