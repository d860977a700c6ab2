//! Who can be called at one moment, and the choice among them. Pure.

use std::sync::Arc;
use std::time::Duration;

use registry_core::pick::{Moment, rendezvous};
use registry_core::{Status, Zone};
use tokio::time::Instant;

use super::connection::Connection;
use super::load::Cost;
use super::peer::{Link, Peer, Up};
use super::pick::{Picker, Policy, Shares};
use super::slow_start::part;

/// A call leaves the preferred zone when it would cost more than so many times as much there, and so many nanoseconds more: one slow answer is no
/// reason to.
const SPILL: f64 = 4.0;
const SPILL_NS: f64 = 20e6;

/// What a line-up is made by.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Whose endpoints are preferred.
    pub(crate) zone: Option<Zone>,
    /// How long newcomers take to get their share.
    pub(crate) slow_start: Duration,
}

/// Everything about a pool that a call needs, at one moment.
#[derive(Debug, Default)]
pub(crate) struct Lineup {
    /// Those who are preferred among those who can be called; all of them, if none is.
    near: Fleet,
    /// The others.
    far: Fleet,
    /// Every peer, ordered by instance id.
    pub(crate) members: Arc<[Member]>,
    /// How many of them are ejected.
    pub(crate) ejected: usize,
    /// How many instances are no members.
    pub(crate) left_out: LeftOut,
}

/// How many instances cannot be called, whatever their state, and why.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LeftOut {
    /// They want no calls, because of their weight.
    pub(crate) weightless: usize,
    /// They have no endpoint that speaks gRPC.
    pub(crate) speechless: usize,
    /// They speak gRPC over TLS alone, and we do not.
    pub(crate) over_tls: usize,
}

/// A peer as listed.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) peer: Arc<Peer>,
    pub(crate) weight: u32,
    pub(crate) status: Status,
    /// Whether it is in the preferred zone; all are, if none is preferred.
    pub(crate) near: bool,
}

/// A peer that can be called.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) peer: Arc<Peer>,
    pub(crate) connection: Connection,
    weight: u32,
    since: Instant,
    near: bool,
}

/// Candidates, and their weights.
#[derive(Debug, Default)]
struct Fleet {
    candidates: Box<[Arc<Candidate>]>,
    shares: Shares,
    /// Until when some of them are newcomers.
    new_until: Option<Instant>,
    slow_start: Duration,
}

/// For whom is picked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// The key of the request, where it is picked by a key.
    pub(crate) key: Option<u64>,
    /// Those who were tried already; one of them only if there is nobody else.
    pub(crate) tried: &'a [Arc<Peer>],
}

impl Lineup {
    pub(crate) fn new(members: Vec<Member>, rules: &Rules, left_out: LeftOut) -> Self {
        // Each is looked at once, so that it is counted once.
        let links: Vec<(&Member, Link)> = members.iter().map(|member| (member, member.peer.link())).collect();
        let ejected = links.iter().filter(|(_, link)| matches!(link, Link::Ejected { .. })).count();
        let candidates = candidates(links);
        let (near, far): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|candidate| candidate.near);
        let (near, far) = if near.is_empty() { (far, near) } else { (near, far) };
        let fleet = |candidates: Vec<Arc<Candidate>>| Fleet::new(candidates, rules.slow_start);
        Self { near: fleet(near), far: fleet(far), members: members.into(), ejected, left_out }
    }

    /// How many can be called.
    pub(crate) fn callable(&self) -> usize {
        self.near.candidates.len() + self.far.candidates.len()
    }

    /// How long those who can be called usually take to answer: the one in the middle.
    pub(crate) fn usual_latency(&self, now: Instant) -> Option<Duration> {
        let all = self.near.candidates.iter().chain(&self.far.candidates);
        let mut latencies: Vec<Duration> = all.map(|candidate| candidate.peer.load.latency(now)).collect();
        latencies.sort_unstable();
        latencies.get(latencies.len() / 2).copied()
    }

    /// One that can be called.
    pub(crate) fn pick(&self, picker: &Picker, wanted: Wanted<'_>, now: Instant) -> Option<Arc<Candidate>> {
        let picked = self.choose(picker, wanted, now)?;
        let fits = |candidate: &Candidate| {
            let tried = wanted.tried.iter().any(|peer| Arc::ptr_eq(peer, &candidate.peer));
            !candidate.connection.is_closed() && !tried
        };
        if fits(picked) {
            return Some(Arc::clone(picked));
        }
        // It was tried, or its connection died a moment ago and the pool has yet to notice.
        let rest = |fits: &dyn Fn(&Candidate) -> bool| {
            let all = self.near.candidates.iter().chain(&self.far.candidates);
            let rest = all.filter(|candidate| fits(candidate)).cloned().collect();
            let rest = Fleet::new(rest, self.near.slow_start);
            rest.pick(picker, wanted.key, now).cloned()
        };
        rest(&fits).or_else(|| rest(&|candidate| !candidate.connection.is_closed()))
    }

    fn choose(&self, picker: &Picker, wanted: Wanted<'_>, now: Instant) -> Option<&Arc<Candidate>> {
        let near = self.near.pick(picker, wanted.key, now)?;
        let far = match picker.policy {
            Policy::PeakEwma => self.far.pick(picker, wanted.key, now),
            _ => None,
        };
        match far {
            Some(far)
                if self.near.cost(near, now, now.into()).whole()
                    > SPILL * self.far.cost(far, now, now.into()).whole() + SPILL_NS =>
            {
                Some(far)
            }
            _ => Some(near),
        }
    }
}

/// The best of those who can be called: who wants calls; if there is none, who is about to leave; if there is none, who is silent.
fn candidates(links: Vec<(&Member, Link)>) -> Vec<Arc<Candidate>> {
    let up = |(member, link)| match link {
        Link::Up(up) if up.unwell.is_none() && !up.connection.is_closed() => Some((member, up)),
        _ => None,
    };
    let all: Vec<(&Member, Up)> = links.into_iter().filter_map(up).collect();
    let tiers: [fn(&Member, &Up) -> bool; 3] = [
        |member, up| !up.silent && member.status != Status::Draining,
        |member, up| !up.silent && member.status == Status::Draining,
        |_, up| up.silent,
    ];
    let of = |fits: fn(&Member, &Up) -> bool| -> Vec<Arc<Candidate>> {
        let of_tier = all.iter().filter(|(member, up)| fits(member, up));
        of_tier.map(|(member, up)| Arc::new(member.candidate(up))).collect()
    };
    tiers.into_iter().map(of).find(|tier| !tier.is_empty()).unwrap_or_default()
}

impl Fleet {
    fn new(candidates: Vec<Arc<Candidate>>, slow_start: Duration) -> Self {
        let shares = Shares::new(candidates.iter().map(|candidate| candidate.weight));
        let newest = candidates.iter().map(|candidate| candidate.since).max();
        let new_until = newest.and_then(|newest| newest.checked_add(slow_start));
        Self { candidates: candidates.into(), shares, new_until, slow_start }
    }

    fn pick(&self, picker: &Picker, key: Option<u64>, now: Instant) -> Option<&Arc<Candidate>> {
        // Of one or none there is nothing to choose.
        if let [] | [_] = &*self.candidates {
            return self.candidates.first();
        }
        let at = match (&picker.policy, key) {
            (Policy::ConsistentHash(_), Some(key)) => {
                rendezvous(&self.candidates, key, |candidate| (candidate.peer.identity, candidate.weight))
            }
            (Policy::RoundRobin, _) => self.shares.in_turn(picker),
            (Policy::PeakEwma | Policy::ConsistentHash(_), _) => {
                let moment = Moment::from(now);
                let cost = |at: usize| self.cost(&self.candidates[at], now, moment);
                let some_are_new = self.new_until.is_some_and(|until| now < until);
                let part = |at: usize| {
                    if !some_are_new {
                        return 1.0;
                    }
                    part(now.saturating_duration_since(self.candidates[at].since), self.slow_start)
                };
                self.shares.less_costly(cost, part, &picker.draw)
            }
        };
        self.candidates.get(at?)
    }

    /// What one more call would cost: the latency expected, times the calls in flight for its weight and the one to come.
    fn cost(&self, candidate: &Candidate, now: Instant, moment: Moment) -> Cost {
        let waited = candidate.connection.silence().lasting(now);
        candidate.peer.load.cost(self.shares.relative(candidate.weight), waited, moment)
    }
}

impl Member {
    fn candidate(&self, up: &Up) -> Candidate {
        let (peer, connection) = (Arc::clone(&self.peer), up.connection.clone());
        Candidate { peer, connection, weight: self.weight, since: up.since, near: self.near }
    }
}
