//! What a channel shows of its endpoints.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use registry_core::{Endpoint, InstanceId, Status};
use tokio::time::Instant;

use super::lineup::Member;
use super::peer::{Link, Up};

/// Whether a [`Channel`](crate::Channel) can call an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connectivity {
    /// It can be called.
    Ready,
    /// It is being connected.
    Connecting {
        /// What the last attempt, or the last connection, ended with.
        error: Option<Arc<str>>,
    },
    /// Connected, and nothing is heard although answers are due: it is being looked after, and called only if there is no other.
    Silent,
    /// Connected, and it has not said that it serves ([`ChannelBuilder::watch_health`](crate::ChannelBuilder::watch_health)).
    NotServing {
        /// What it says instead, or why it cannot be asked.
        reason: Arc<str>,
    },
    /// Its calls failed; it is tried again after a while.
    Ejected {
        /// Why.
        reason: Arc<str>,
    },
}

/// One endpoint of a [`Channel`](crate::Channel) at one moment, with its metrics. Counts begin when the endpoint appears.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointStatus {
    /// The instance.
    pub id: InstanceId,
    /// Where it is called.
    pub endpoint: Endpoint,
    /// The share of calls it wants.
    pub weight: u32,
    /// Whether it wants calls at all.
    pub status: Status,
    /// Whether it can be called.
    pub connectivity: Connectivity,
    /// Calls that were sent to it and whose answers have not ended.
    pub in_flight: u32,
    /// How long it is expected to take to answer.
    pub latency: Duration,
    /// Calls that were sent to it, each attempt by itself.
    pub calls: u64,
    /// Those that ended with another status than `OK`, or without one. Calls that the caller dropped are in neither.
    pub errors: u64,
    /// How often it was ejected, or found silent and out of reach.
    pub ejections: u64,
}

impl EndpointStatus {
    pub(super) fn of(member: &Member, now: Instant) -> Self {
        let peer = &member.peer;
        let connectivity = match peer.link() {
            Link::Connecting { error } => Connectivity::Connecting { error },
            Link::Ejected { reason } => Connectivity::Ejected { reason },
            Link::Up(up) if up.connection.is_closed() => Connectivity::Connecting { error: None },
            Link::Up(Up { unwell: Some(reason), .. }) => Connectivity::NotServing { reason },
            Link::Up(Up { silent: true, .. }) => Connectivity::Silent,
            Link::Up(_) => Connectivity::Ready,
            Link::Removed => Connectivity::Connecting { error: None },
        };
        Self {
            id: peer.id().clone(),
            endpoint: peer.endpoint().clone(),
            weight: member.weight,
            status: member.status,
            connectivity,
            in_flight: peer.load.in_flight(),
            latency: peer.load.latency(now),
            calls: peer.counts.calls.load(Ordering::Relaxed),
            errors: peer.counts.errors.load(Ordering::Relaxed),
            ejections: peer.counts.ejections.load(Ordering::Relaxed),
        }
    }

    /// Whether it can be called.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.connectivity == Connectivity::Ready
    }
}
