//! Metrics of a channel: what its endpoints count anyway, told to the recorder once a second.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use metrics::{Counter, Gauge, SharedString, Unit, counter, describe_counter, describe_gauge, gauge};
use registry_core::ServiceName;
use registry_core::layer::Meter;
use tokio::time::{Instant, sleep, timeout};

use super::lineup::Member;
use super::peer::Peer;
use super::pool::Board;
use super::status::{Connectivity, EndpointStatus};

const INTERVAL: Duration = Duration::from_secs(1);

/// Calls, errors and ejections: name and description.
const COUNTS: [(&str, &str); 3] = [
    ("registry_channel_calls_total", "Calls that were sent to an endpoint, each attempt by itself."),
    ("registry_channel_errors_total", "Those that ended with another status than OK, or without one."),
    (
        "registry_channel_ejections_total",
        "How often an endpoint was ejected, or found silent and out of reach.",
    ),
];
const IN_FLIGHT: &str = "registry_channel_calls_in_flight";
const LATENCY: &str = "registry_channel_latency_seconds";
const ENDPOINTS: &str = "registry_channel_endpoints";

/// The labels of endpoints, by [`word`].
const CONNECTIVITIES: [&str; 5] = ["ready", "connecting", "silent", "not_serving", "ejected"];

/// Where the metrics of a channel are told.
#[derive(Clone, Debug)]
pub(super) struct Metering {
    pub(super) meter: Meter,
    /// Whether each endpoint tells its own, with a label.
    pub(super) by_endpoint: bool,
}

/// The metrics of a channel, or of one endpoint of it.
struct Handles {
    counts: [Counter; COUNTS.len()],
    in_flight: Gauge,
    latency: Gauge,
}

struct Told {
    metering: Metering,
    service: SharedString,
    /// Of all endpoints, unless each tells its own.
    all: Option<Handles>,
    endpoints: [Gauge; CONNECTIVITIES.len()],
    /// By address of the peer, which is kept, so that it is no other's.
    seen: HashMap<usize, Seen>,
}

/// A peer, and what of its counts was told.
struct Seen {
    peer: Arc<Peer>,
    told: [u64; COUNTS.len()],
    own: Option<Handles>,
    listed: bool,
}

/// Tells the metrics of a channel until it is gone and its last call has ended: once a second, and whenever endpoints come or go, so that none is
/// missed. Holds no connection meanwhile.
pub(super) async fn follow(metering: Metering, service: ServiceName, board: Weak<Board>) {
    let Some(mut changed) = board.upgrade().map(|board| board.subscribe()) else { return };
    describe();
    let mut told = Told::new(metering, service.as_str().to_owned().into());
    loop {
        let now = Instant::now();
        let latency = board.upgrade().and_then(|board| board.load().usual_latency(now));
        let members = Arc::clone(&changed.borrow_and_update());
        told.tell(&members, latency, now);
        drop(members);
        if let Ok(Err(_)) = timeout(INTERVAL, changed.changed()).await {
            break;
        }
    }
    // Those that came last may never have been told of.
    let members = Arc::clone(&changed.borrow());
    told.tell(&members, None, Instant::now());
    drop(members);
    loop {
        told.tell(&[], None, Instant::now());
        if told.seen.is_empty() {
            return;
        }
        sleep(INTERVAL).await;
    }
}

fn describe() {
    for (name, help) in COUNTS {
        describe_counter!(name, Unit::Count, help);
    }
    describe_gauge!(IN_FLIGHT, Unit::Count, "Calls that were sent and whose answers have not ended.");
    describe_gauge!(
        LATENCY,
        Unit::Seconds,
        "How long the endpoint is expected to take to answer; of a whole channel, the one in the middle."
    );
    describe_gauge!(ENDPOINTS, Unit::Count, "Endpoints, by whether they can be called.");
}

impl Told {
    fn new(metering: Metering, service: SharedString) -> Self {
        let meter = metering.meter.clone();
        let endpoints = CONNECTIVITIES.map(|word| {
            gauge!(ENDPOINTS, meter.labels([("service", service.clone()), ("connectivity", word.into())]))
        });
        let all = (!metering.by_endpoint).then(|| Handles::new(&meter, &service, None));
        Self { metering, service, all, endpoints, seen: HashMap::new() }
    }

    fn tell(&mut self, members: &[Member], latency: Option<Duration>, now: Instant) {
        self.seen.values_mut().for_each(|seen| seen.listed = false);
        let mut endpoints = [0_u32; CONNECTIVITIES.len()];
        for member in members {
            self.see(&member.peer);
            let word = word(&EndpointStatus::of(member, now).connectivity);
            endpoints.iter_mut().zip(CONNECTIVITIES).filter(|(_, of)| *of == word).for_each(|(n, _)| *n += 1);
        }
        self.endpoints.iter().zip(endpoints).for_each(|(gauge, n)| gauge.set(n));

        let mut in_flight = 0;
        for seen in self.seen.values_mut() {
            let handles = seen.own.as_ref().or(self.all.as_ref());
            for ((told, now), at) in seen.told.iter_mut().zip(counts(&seen.peer)).zip(0..) {
                // A call that turns out to have been none is taken back.
                let more = now.saturating_sub(*told);
                *told += more;
                handles
                    .and_then(|handles| handles.counts.get(at))
                    .inspect(|count: &&Counter| count.increment(more));
            }
            let busy = seen.peer.load.in_flight();
            in_flight += busy;
            if let Some(own) = &seen.own {
                let latency = if seen.listed { seen.peer.load.latency(now) } else { Duration::ZERO };
                own.set(busy, latency);
            }
        }
        if let Some(all) = &self.all {
            all.set(in_flight, latency.unwrap_or_default());
        }
        // The calls of one that has left are counted until the last one has ended.
        self.seen.retain(|_, seen| seen.listed || seen.peer.load.in_flight() > 0);
    }

    fn see(&mut self, peer: &Arc<Peer>) {
        let own = || {
            let endpoint = SharedString::from(peer.endpoint().authority());
            self.metering
                .by_endpoint
                .then(|| Handles::new(&self.metering.meter, &self.service, Some(&endpoint)))
        };
        let new = || Seen { peer: Arc::clone(peer), told: [0; COUNTS.len()], own: own(), listed: true };
        self.seen.entry(Arc::as_ptr(peer) as usize).or_insert_with(new).listed = true;
    }
}

impl Handles {
    fn new(meter: &Meter, service: &SharedString, endpoint: Option<&SharedString>) -> Self {
        let labels = || {
            let service = ("service", service.clone());
            match endpoint {
                Some(endpoint) => meter.labels([service, ("endpoint", endpoint.clone())]),
                None => meter.labels([service]),
            }
        };
        Self {
            counts: COUNTS.map(|(name, _)| counter!(name, labels())),
            in_flight: gauge!(IN_FLIGHT, labels()),
            latency: gauge!(LATENCY, labels()),
        }
    }

    fn set(&self, in_flight: u32, latency: Duration) {
        self.in_flight.set(in_flight);
        self.latency.set(latency);
    }
}

/// In the order of [`COUNTS`].
fn counts(peer: &Peer) -> [u64; COUNTS.len()] {
    let counts = &peer.counts;
    [&counts.calls, &counts.errors, &counts.ejections].map(|count: &AtomicU64| count.load(Ordering::Relaxed))
}

fn word(connectivity: &Connectivity) -> &'static str {
    match connectivity {
        Connectivity::Ready => "ready",
        Connectivity::Connecting { .. } => "connecting",
        Connectivity::Silent => "silent",
        Connectivity::NotServing { .. } => "not_serving",
        Connectivity::Ejected { .. } => "ejected",
    }
}
