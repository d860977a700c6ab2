//! Picking one of many endpoints, calling it, and telling that the call is over; what is called answers at once. How a channel does it is
//! [`Picking`], of the channel's own crate; the others are here.
//!
//! All of them can be shared by threads but for [`TowerP2c`], which belongs to one, as tower's balancer does: whoever shares it puts a queue before it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arc_swap::ArcSwap;
use comparisons::experiment::Trouble;
use registry_core::pick::{Draw, Moment, PeakEwma, p2c};
use registry_tonic::Policy;
pub use registry_tonic::internals::Picking;
use tokio::time::Instant;
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{self, CompleteOnResponse};
use tower::{BoxError, Service};

/// Expected of an endpoint that has not answered yet.
const EXPECTED: Duration = Duration::from_millis(1);
/// How fast the past is forgotten.
const DECAY: Duration = Duration::from_secs(10);

/// How long endpoints take to answer: from the time expected to twice of it, in no order, so that no processor foresees which of two is slower.
fn latencies() -> impl Iterator<Item = Duration> {
    let draw = Draw::with_seed(1);
    std::iter::repeat_with(move || EXPECTED + Duration::from_nanos(draw.below(1_000_000) as u64))
}

/// What every endpoint does.
fn answer(request: u64) -> u64 {
    black_box(request)
}

/// What a channel picks from; some bear twice as much as others, where they are to be picked by weight.
///
/// # Errors
/// None but where the library does not know its own words.
pub async fn channel(size: usize, policy: Policy, by_weight: bool, seed: u64) -> Result<Picking, Trouble> {
    let weight = |number: usize| if by_weight && number.is_multiple_of(4) { 200 } else { 100 };
    Picking::new(size, policy, weight, seed).await.map_err(Trouble::failed)
}

/// By the core of the library, as who has connections of his own does it: endpoints that are published, [`p2c`] over the [`PeakEwma`] of each, and a
/// guard that tells how long the call took.
#[derive(Debug)]
pub struct Published {
    endpoints: ArcSwap<Vec<Arc<PeakEwma>>>,
    draw: Draw,
}

/// A call under way. Dropped when it is over.
struct InFlight {
    endpoint: Arc<PeakEwma>,
    began: Moment,
}

impl InFlight {
    fn new(endpoint: Arc<PeakEwma>, began: Moment) -> Self {
        endpoint.started();
        Self { endpoint, began }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let now = Moment::now();
        self.endpoint.finished(Some(Duration::from_nanos(now.nanos_since(self.began))), now);
    }
}

impl Published {
    /// So many endpoints.
    #[must_use]
    pub fn new(size: usize, seed: u64) -> Self {
        let now = Moment::now();
        let endpoints = (0..size).map(|_| Arc::new(PeakEwma::new(EXPECTED, DECAY, now))).collect();
        Self { endpoints: ArcSwap::from_pointee(endpoints), draw: Draw::with_seed(seed) }
    }

    /// So many endpoints, each of which has answered once, some slower than others.
    #[must_use]
    pub fn after_answers(size: usize, seed: u64) -> Self {
        let published = Self::new(size, seed);
        let answered = Instant::now();
        for (endpoint, took) in published.endpoints.load().iter().zip(latencies()) {
            endpoint.started();
            endpoint.finished(Some(took), answered.into());
        }
        published
    }

    /// A pick alone.
    pub fn pick(&self) -> Option<usize> {
        p2c(&self.endpoints.load(), |endpoint| endpoint.rank(), &self.draw)
    }

    /// Picks, calls, and tells that the call is over.
    pub fn call(&self, request: u64) -> Option<u64> {
        let now = Moment::now();
        let endpoint = {
            let endpoints = self.endpoints.load();
            let at = p2c(&endpoints, |endpoint| endpoint.rank(), &self.draw)?;
            Arc::clone(&endpoints[at])
        };
        let in_flight = InFlight::new(endpoint, now);
        let answer = answer(request);
        drop(in_flight);
        Some(answer)
    }
}

/// The floor of a pick: endpoints are published, two are drawn, and of each is read what a load consists of. Nothing is worked out but the product.
#[derive(Debug)]
pub struct Floor {
    endpoints: ArcSwap<Vec<Arc<Gauge>>>,
    draw: Draw,
}

#[derive(Debug)]
struct Gauge {
    latency: AtomicU64,
    in_flight: AtomicU32,
}

impl Gauge {
    fn load(&self) -> f64 {
        let latency = f64::from_bits(self.latency.load(Ordering::Relaxed));
        latency * (f64::from(self.in_flight.load(Ordering::Relaxed)) + 1.0)
    }
}

impl Floor {
    /// So many endpoints, two at least, with the latencies of [`Published::after_answers`].
    #[must_use]
    pub fn new(size: usize, seed: u64) -> Self {
        let gauge = |latency: Duration| Gauge {
            latency: AtomicU64::new((latency.as_nanos() as f64).to_bits()),
            in_flight: AtomicU32::new(0),
        };
        let endpoints = latencies().take(size.max(2)).map(|latency| Arc::new(gauge(latency))).collect();
        Self { endpoints: ArcSwap::from_pointee(endpoints), draw: Draw::with_seed(seed) }
    }

    /// The loads of any two.
    pub fn loads_of_two(&self) -> (f64, f64) {
        let endpoints = self.endpoints.load();
        let (first, second) = self.draw.two_below(endpoints.len()).unwrap_or_default();
        (endpoints[first].load(), endpoints[second].load())
    }
}

/// By tower: its balancer of two choices over services whose load is their peak-sensitive average, by tower too, until they respond.
#[derive(Debug)]
pub struct TowerP2c {
    balance: Balance<ServiceList<Vec<load::PeakEwma<Echo>>>, u64>,
}

/// A service that answers at once.
#[derive(Clone, Copy, Debug)]
pub struct Echo;

impl Service<u64> for Echo {
    type Response = u64;
    type Error = Infallible;
    type Future = Ready<Result<u64, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(Ok(answer(request)))
    }
}

impl TowerP2c {
    /// So many services, all of them ready.
    #[must_use]
    pub fn new(size: usize) -> Self {
        let decay = DECAY.as_nanos() as f64;
        let service = |_| load::PeakEwma::new(Echo, EXPECTED, decay, CompleteOnResponse::default());
        let balance = Balance::new(ServiceList::new::<u64>((0..size).map(service).collect()));
        Self { balance }
    }

    /// Gets ready, which is where it picks, calls, and has the answer.
    ///
    /// # Errors
    /// What tower says.
    pub fn call(&mut self, request: u64) -> Result<Option<u64>, BoxError> {
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(is_ready) = Service::<u64>::poll_ready(&mut self.balance, &mut cx) else {
            return Ok(None);
        };
        is_ready?;
        let answer = pin!(self.balance.call(request));
        match answer.poll(&mut cx) {
            Poll::Ready(answer) => answer.map(Some),
            Poll::Pending => Ok(None),
        }
    }
}

/// As it is often written: addresses by service behind one lock, called in turn.
#[derive(Debug)]
pub struct MapInTurn {
    services: Mutex<HashMap<String, (Vec<String>, usize)>>,
}

impl MapInTurn {
    /// So many endpoints of one service.
    #[must_use]
    pub fn new(size: usize) -> Self {
        let addresses = (0..size).map(address).collect();
        Self { services: Mutex::new(HashMap::from([(SERVICE.to_owned(), (addresses, 0))])) }
    }

    /// Picks and calls; there is nothing to tell afterwards.
    pub fn call(&self, request: u64) -> Option<u64> {
        let address = {
            let mut services = lock(&self.services);
            let (addresses, turn) = services.get_mut(black_box(SERVICE))?;
            *turn = turn.wrapping_add(1);
            addresses.get(*turn % addresses.len().max(1))?.clone()
        };
        black_box(address);
        Some(answer(request))
    }
}

/// As it is often written where load matters: calls in flight by address behind one lock, and the least of all is looked for.
#[derive(Debug)]
pub struct MapLeastLoaded {
    in_flight: Mutex<HashMap<String, u32>>,
}

impl MapLeastLoaded {
    /// So many endpoints.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self { in_flight: Mutex::new((0..size).map(|number| (address(number), 0)).collect()) }
    }

    /// Picks, calls, and tells that the call is over.
    pub fn call(&self, request: u64) -> Option<u64> {
        let address = {
            let mut in_flight = lock(&self.in_flight);
            let (address, count) = in_flight.iter_mut().min_by_key(|(_, count)| **count)?;
            *count += 1;
            address.clone()
        };
        let answer = answer(request);
        if let Some(count) = lock(&self.in_flight).get_mut(&address) {
            *count -= 1;
        }
        Some(answer)
    }
}

const SERVICE: &str = "user.rpc";

fn address(number: usize) -> String {
    let [_, a, b, c] = u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
    format!("10.{a}.{b}.{c}:8080")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_them_call_and_are_at_rest_afterwards() {
        for size in [1, 2, 100] {
            let ours = Published::new(size, 1);
            let (mut tower, in_turn, least) =
                (TowerP2c::new(size), MapInTurn::new(size), MapLeastLoaded::new(size));
            for request in 0..1_000 {
                assert_eq!([ours.call(request), in_turn.call(request)], [Some(request); 2]);
                assert_eq!(tower.call(request).unwrap(), Some(request));
                assert_eq!(least.call(request), Some(request));
            }
            assert!(ours.endpoints.load().iter().all(|endpoint| endpoint.in_flight() == 0));
            assert!(lock(&least.in_flight).values().all(|count| *count == 0));
        }
    }

    #[tokio::test]
    async fn a_channels_endpoints_share_calls_and_are_at_rest_afterwards_whatever_the_policy() {
        for policy in [Policy::PeakEwma, Policy::RoundRobin, Policy::ConsistentHash("x-key".parse().unwrap())]
        {
            for heavy in [100, 300] {
                let weight = |number| if number == 0 { heavy } else { 100 };
                let channel = Picking::new(10, policy.clone(), weight, 1).await.unwrap();
                let keys = Draw::with_seed(2);
                for request in 0..12_000 {
                    assert_eq!(channel.call(keys.next(), || answer(request)), Some(request));
                }
                // Apart from the calls, since who picks in turn takes a turn.
                assert!((0..100).all(|key| channel.pick(key).is_some()));
                let calls = channel.calls();
                assert!(calls.iter().all(|(_, in_flight)| *in_flight == 0));
                // How fast they answer counts as well by the first policy, and here that depends on what else the machine does.
                if policy != Policy::PeakEwma {
                    let due = f64::from(12_000 * heavy) / f64::from(900 + heavy);
                    let off = (calls[0].0 as f64 / due - 1.0).abs();
                    assert!(off < 0.2, "{policy:?}, {heavy}: {calls:?}");
                }
                assert_eq!(calls.iter().map(|(calls, _)| calls).sum::<u64>(), 12_000);
            }
        }
    }

    #[test]
    fn every_endpoint_gets_calls() {
        let ours = Published::new(10, 1);
        let fresh = ours.endpoints.load()[0].latency_ns(Moment::now());
        assert!((0..1_000).all(|request| ours.call(request).is_some()));
        let now = Moment::now();
        // Who answered faster than expected is expected to be faster.
        assert!(ours.endpoints.load().iter().all(|endpoint| endpoint.latency_ns(now) < fresh));
    }

    #[test]
    fn the_less_loaded_is_picked_of_those_that_have_answered() {
        let (ours, now) = (Published::after_answers(2, 1), Moment::now());
        let endpoints = ours.endpoints.load();
        let faster = usize::from(endpoints[1].load(now) < endpoints[0].load(now));
        assert!((0..100).all(|_| ours.pick() == Some(faster)));
        assert!(endpoints[0].load(now) != endpoints[1].load(now));
    }

    #[test]
    fn the_floor_reads_what_those_have_that_are_picked_from() {
        let (ours, now) = (Published::after_answers(100, 1), Moment::now());
        let latest = ours.endpoints.load().iter().map(|endpoint| endpoint.latency_ns(now)).sum::<f64>();
        let floor: f64 = Floor::new(100, 1).endpoints.load().iter().map(|gauge| gauge.load()).sum();
        assert!((latest / floor - 1.0).abs() < 0.01, "{latest} and {floor}");
    }

    #[test]
    fn whose_turn_it_is_goes_around() {
        let in_turn = MapInTurn::new(3);
        assert!((0..7).all(|request| in_turn.call(request).is_some()));
        assert_eq!(lock(&in_turn.services)[SERVICE].1, 7);
    }
}
