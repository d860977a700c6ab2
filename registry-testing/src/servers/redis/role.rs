//! What a server is among others.

use std::net::SocketAddr;

use super::super::ports::Port;
use super::Persistence;

/// What a server is started with beside the options.
#[derive(Debug)]
pub(crate) struct Role {
    /// For errors and logs.
    pub(in super::super) name: String,
    /// Where it listens.
    pub(in super::super) port: Port,
    /// Where it listens to the other nodes of a cluster. Named among `args`, and held with the other.
    pub(in super::super) bus: Option<Port>,
    /// What clients are told, if it is not the port.
    pub(in super::super) announced: Option<SocketAddr>,
    /// A sentinel has no data to keep.
    pub(in super::super) is_sentinel: bool,
    /// Its own arguments, before those of the user.
    pub(in super::super) args: Vec<String>,
    /// What its configuration file says at first. It rewrites that itself; what the arguments say wins at each start.
    pub(in super::super) config: Option<String>,
}

impl Role {
    /// Of one that knows no others.
    pub(in super::super) fn alone(port: Port) -> Self {
        let (bus, announced, config) = (None, None, None);
        Self { name: "redis".to_owned(), port, bus, announced, is_sentinel: false, args: Vec::new(), config }
    }

    /// All arguments after the configuration file and before those of the user, for a server that binds `bind`.
    pub(in super::super) fn args(&self, bind: &str, port: u16, data: &str, kept: Persistence) -> Vec<String> {
        let port = port.to_string();
        let sentinel = self.is_sentinel.then_some("--sentinel");
        let place = ["--bind", bind, "--port", &port, "--dir", data];
        let kept = (!self.is_sentinel).then(|| kept.args());
        let words = sentinel.into_iter().chain(place).chain(kept.into_iter().flatten());
        words.map(str::to_owned).chain(self.args.iter().cloned()).collect()
    }
}
