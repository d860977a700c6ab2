//! How a channel behaves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use registry_core::backoff::Backoff;
use registry_core::pick::Draw;
use registry_core::{View, Zone};

use super::connect::{Connect, Tcp};
use super::eject::Ejection;
use super::keeper::{Keeping, Shared};
use super::lineup::Rules;
#[cfg(feature = "metrics")]
use super::metered::{Metering, follow};
use super::pick::{Picker, Policy};
use super::pool::{Board, Pool};
use super::retry::Retry;
use super::{Channel, Inner};

/// Collects how a [`Channel`] behaves.
#[must_use]
pub struct ChannelBuilder {
    view: View,
    wait_for_ready: Duration,
    keeping: Keeping,
    rules: Rules,
    policy: Policy,
    retry: Option<Retry>,
    draw: Draw,
    #[cfg(feature = "metrics")]
    metering: Option<Metering>,
}

impl ChannelBuilder {
    pub(super) fn new(view: View) -> Self {
        Self {
            view,
            wait_for_ready: Duration::from_secs(2),
            keeping: Keeping {
                connect: Arc::new(Tcp),
                timeout: Duration::from_secs(1),
                backoff: Backoff::default(),
                ejection: Some(Ejection::default()),
                silent_after: Duration::from_millis(500),
                health: None,
            },
            rules: Rules { zone: None, slow_start: Duration::from_secs(10) },
            policy: Policy::default(),
            retry: None,
            draw: Draw::from_entropy(),
            #[cfg(feature = "metrics")]
            metering: None,
        }
    }

    /// How long a call waits for an endpoint before it fails; zero: not at all. [`WaitForReady`](crate::WaitForReady) changes it for one call.
    /// Default: 2 s.
    pub fn wait_for_ready(mut self, wait: Duration) -> Self {
        self.wait_for_ready = wait;
        self
    }

    /// How long an endpoint may take to accept a connection and say hello. Default: 1 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.keeping.timeout = timeout;
        self
    }

    /// The waits between attempts to connect to an endpoint. Default: 50 ms to 1 s.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.keeping.backoff = backoff;
        self
    }

    /// How endpoints are reached. Default: TCP.
    pub fn connector(mut self, connect: impl Connect) -> Self {
        self.keeping.connect = Arc::new(connect);
        self
    }

    /// Speaks TLS to all endpoints. Certificates and keys are read anew for connections, at most once a second. What cannot be used, or not be read in
    /// time, is logged, and what was read last goes on; where nothing was read yet, that is why an endpoint cannot be connected to.
    #[cfg(feature = "tls")]
    pub fn tls(self, tls: registry_core::Tls) -> Self {
        self.connector(super::tls::OverTls::new(tls))
    }

    /// Which of the endpoints a call goes to. Default: [`Policy::PeakEwma`].
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Prefers the endpoints in `zone`: others are called while none there can be, and, by [`Policy::PeakEwma`], when a call would cost more
    /// than four times as much there and 20 ms more. Default: none is preferred.
    pub fn prefer_zone(mut self, zone: Zone) -> Self {
        self.rules.zone = Some(zone);
        self
    }

    /// How long an endpoint that can be called anew takes to get its whole share, by [`Policy::PeakEwma`]: it gets a tenth at first. Where all are
    /// new, all get the same. Zero: at once. Default: 10 s.
    pub fn slow_start(mut self, window: Duration) -> Self {
        self.rules.slow_start = window;
        self
    }

    /// When an endpoint whose calls fail is ejected; `None`: never. Default: [`Ejection::default`].
    pub fn ejection(mut self, ejection: impl Into<Option<Ejection>>) -> Self {
        self.keeping.ejection = ejection.into();
        self
    }

    /// How long nothing may be heard of an endpoint while answers are due. Then it gets no calls, as long as there are others, until it could be
    /// connected to anew within the [connect timeout](Self::connect_timeout); calls in flight go on. Each time that it could, it is
    /// trusted twice as long, and half as long again for each minute without such an alarm. It is looked for at most twice this time after a call was sent. At least 1 ms. Default: 500 ms.
    pub fn silent_after(mut self, silent: Duration) -> Self {
        // Less than that would be found in who has just been connected to.
        self.keeping.silent_after = silent.max(Duration::from_millis(1));
        self
    }

    /// Follows what each server says about the health of `service` (the empty name stands for the server as a whole), and calls only who says
    /// that it serves. A server without the standard health service counts as one that does. Default: not followed.
    pub fn watch_health(mut self, service: impl Into<String>) -> Self {
        self.keeping.health = Some(service.into().into());
        self
    }

    /// Sends calls again that failed. Default: it does not.
    pub fn retry(mut self, retry: impl Into<Option<Retry>>) -> Self {
        self.retry = retry.into();
        self
    }

    /// The seed of what is drawn: picks and jitter. Default: from the operating system.
    pub fn seed(mut self, seed: u64) -> Self {
        self.draw = Draw::with_seed(seed);
        self
    }

    /// Tells metrics of all endpoints together, once a second: calls, errors, ejections, calls in flight, the latency of the one in the middle, and
    /// how many endpoints can be called; and the [view](Channel::view), by [`Meter::observe_view`](registry_core::layer::Meter::observe_view), as long as the channel
    /// is there. Two channels to one service with the same meter add up what they count, but what happened to a view that they share is counted once; of the rest the
    /// last one is seen. Default: it does not.
    #[cfg(feature = "metrics")]
    pub fn metered(mut self, meter: &registry_core::layer::Meter) -> Self {
        self.metering = Some(Metering { meter: meter.clone(), by_endpoint: false });
        self
    }

    /// As [`metered`](Self::metered), for each endpoint by itself, with its `host:port` as the label `endpoint`. A recorder keeps the metrics of those that have
    /// left: where addresses change all the time, let it forget what is idle (`metrics-exporter-prometheus`: `idle_timeout`).
    #[cfg(feature = "metrics")]
    pub fn metered_by_endpoint(mut self, meter: &registry_core::layer::Meter) -> Self {
        self.metering = Some(Metering { meter: meter.clone(), by_endpoint: true });
        self
    }

    /// The channel. Connects in the background.
    ///
    /// Must be called within a tokio runtime, whose tasks keep the channel up to date.
    #[must_use]
    pub fn build(self) -> Channel {
        #[cfg(feature = "metrics")]
        let metering = self.metering;
        let Self { view, wait_for_ready, keeping, rules, policy, retry, draw, .. } = self;
        let board = Board::new();
        let seeds = Draw::with_seed(draw.next());
        let shared = Shared::new(keeping);
        let pool = Pool::new(view.clone(), Arc::clone(&board), shared, rules, seeds);
        let pool = tokio::spawn(pool.run()).abort_handle();
        let picker = Picker::new(policy, draw);
        #[cfg(feature = "metrics")]
        let observed = metering.as_ref().map(|metering| metering.meter.observe_view(&view));
        let inner = Arc::new(Inner {
            view,
            board,
            picker,
            wait_for_ready,
            retry,
            pool,
            #[cfg(feature = "metrics")]
            _observed: observed,
        });
        #[cfg(feature = "metrics")]
        if let Some(metering) = metering {
            tokio::spawn(follow(metering, inner.view.service().clone(), Arc::downgrade(&inner.board)));
        }
        Channel { inner }
    }
}

impl fmt::Debug for ChannelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelBuilder")
            .field("service", self.view.service())
            .field("wait_for_ready", &self.wait_for_ready)
            .field("keeping", &self.keeping)
            .field("rules", &self.rules)
            .field("policy", &self.policy)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}
