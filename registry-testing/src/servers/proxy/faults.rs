//! What a proxy does, as values.

use std::num::NonZeroU64;
use std::time::Duration;

/// What a [`Proxy`](super::Proxy) does to its connections; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Faults {
    /// From client to server.
    pub to_server: Way,
    /// From server to client.
    pub to_client: Way,
    /// Between accepting a connection and connecting to the server. The client can write meanwhile.
    pub slow_open: Duration,
    /// Do not listen: new connections get `ECONNREFUSED`. Open ones live on.
    pub refuse: bool,
}

/// What is done to one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Way {
    /// Every byte arrives so much later. It delays; it does not limit how much is on its way (up to 1 MiB).
    pub latency: Duration,
    /// How many bytes pass in a second.
    pub bytes_per_second: Option<NonZeroU64>,
    /// Whether anything passes.
    pub flow: Flow,
}

/// Whether bytes pass. Where they do not in one direction, none of the two ends learns of the other's close there either, and no new
/// connection is opened to the server, since that takes both directions: the client, whom the system has told that it is connected, waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// They do.
    #[default]
    Open,
    /// They are kept, and delivered afterwards, as when the network is back before TCP gives up.
    Stalled,
    /// They are accepted and thrown away. A connection that has lost some is reset when that ends.
    BlackHole,
}

impl Faults {
    /// With this latency each way, so that a round trip takes twice as long.
    #[must_use]
    pub fn with_latency(mut self, each_way: Duration) -> Self {
        self.to_server.latency = each_way;
        self.to_client.latency = each_way;
        self
    }

    /// With so many bytes per second each way; 0 is taken as 1.
    #[must_use]
    pub fn with_throttle(mut self, bytes_per_second: u64) -> Self {
        let rate = Some(NonZeroU64::new(bytes_per_second).unwrap_or(NonZeroU64::MIN));
        self.to_server.bytes_per_second = rate;
        self.to_client.bytes_per_second = rate;
        self
    }

    /// With this flow each way.
    #[must_use]
    pub fn with_flow(mut self, flow: Flow) -> Self {
        self.to_server.flow = flow;
        self.to_client.flow = flow;
        self
    }

    /// With so long between accepting and connecting.
    #[must_use]
    pub fn with_slow_open(mut self, delay: Duration) -> Self {
        self.slow_open = delay;
        self
    }

    /// Nothing passes either way.
    #[must_use]
    pub fn black_hole() -> Self {
        Self::default().with_flow(Flow::BlackHole)
    }

    /// What the client sends is lost; what the server sends arrives.
    #[must_use]
    pub fn black_hole_to_server() -> Self {
        let mut faults = Self::default();
        faults.to_server.flow = Flow::BlackHole;
        faults
    }

    /// What the server sends is lost; what the client sends arrives.
    #[must_use]
    pub fn black_hole_to_client() -> Self {
        let mut faults = Self::default();
        faults.to_client.flow = Flow::BlackHole;
        faults
    }

    /// Everything is held back.
    #[must_use]
    pub fn stalled() -> Self {
        Self::default().with_flow(Flow::Stalled)
    }

    /// New connections are refused.
    #[must_use]
    pub fn refusing() -> Self {
        Self { refuse: true, ..Self::default() }
    }

    pub(super) fn can_open(&self) -> bool {
        self.to_server.flow == Flow::Open && self.to_client.flow == Flow::Open
    }
}
