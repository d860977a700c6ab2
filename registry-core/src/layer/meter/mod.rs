//! Metrics, told to whatever recorder the program has installed by the facade of the crate [`metrics`].
//!
//! ```
//! # use std::sync::Arc;
//! # use registry_core::{Directory, Instance, Registrar, RegistrarOptions, Registry, RegistryExt, layer::Meter};
//! # async fn example(registry: Arc<dyn Registry>, instance: Instance) {
//! // First the exporter of your choice, such as metrics-exporter-prometheus: what is made before it is not heard.
//! let meter = Meter::new();
//! let registry = registry.metered(&meter).shared();
//!
//! // Operations and watches are metered now. What is built on them is observed.
//! let options = RegistrarOptions::default().with_meter(&meter);
//! let registrar = Registrar::start(registry.clone(), instance.clone(), options);
//! let view = Directory::new(registry).view(instance.service());
//! let observed = meter.observe_view(&view);
//! # }
//! ```
//!
//! Labels are few: operations, outcomes, causes, states and names of services; never an instance. All are bounded but the names of services: a recorder
//! forgets nothing, so whoever watches names that others choose, such as a gateway those in its requests, must bound them first.
//!
//! # The page
//!
//! What `metrics-exporter-prometheus` serves of two gRPC servers and a client, after a short outage of their registry
//! (`cargo run -p registry-examples --features metrics --example metrics` plays it). A test holds names, labels and counts against what is served. Metrics of channels
//! are those of `registry-tonic`.
//!
#![doc = concat!("```text\n", include_str!("page.prom"), "```")]
//!
//! What to be woken for: `registry_view_age_seconds > 30` (clients work with an old list), `registry_registrars{state!="registered"} > 0` for minutes
//! (a server is not listed), a rise of `registry_watch_resets_total{cause!="first"}` (changes could not be told one by one),
//! `registry_view_held_instances > 0` (a guard holds what the registry has lost: for three TTLs somebody can find out which of them is wrong), a rise of
//! `registry_view_holds_total{state="premature"}` (it gave up who lived: its TTL may be smaller than that of registrations), and a rise of
//! `registry_view_disk_total{outcome=~"failed|rejected"}` (a start without the registry would have nothing to begin with).

mod names;
mod operation;
mod registrar;
mod view;
mod watch;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::StreamExt;
use metrics::{Label, SharedString};

use self::operation::Operations;
pub(crate) use self::registrar::RegistrarMetrics;
pub use self::view::Observed;
use self::view::ViewMetrics;
use self::watch::WatchMetrics;
use super::{Answer, Call, Layer};
use crate::directory::{Stats, View, ViewStats};
use crate::error::Result;
use crate::name::ServiceName;
use crate::registrar::RegistrarStates;
use crate::registry::Watch;

/// Metrics of a registry and of what is built on it. Cheap to clone; clones count together.
#[derive(Clone)]
pub struct Meter {
    shared: Arc<Shared>,
}

struct Shared {
    registry: Option<SharedString>,
    operations: Operations,
    reported: Mutex<Vec<(Weak<Stats>, Reported)>>,
    /// How many views of a service are observed.
    observers: Mutex<HashMap<ServiceName, usize>>,
}

/// What was told last of the numbers of a view, whoever observed it.
type Reported = Arc<Mutex<ViewStats>>;

impl Meter {
    /// A meter that tells the recorder which is installed now. One that is installed later hears little of it.
    #[must_use]
    pub fn new() -> Self {
        Self::build(None)
    }

    /// As [`new`](Self::new), for a program that has several registries: all its metrics have the label `registry` with this name.
    #[must_use]
    pub fn named(registry: impl Into<String>) -> Self {
        Self::build(Some(registry.into().into()))
    }

    fn build(registry: Option<SharedString>) -> Self {
        names::describe();
        let operations = Operations::new(&registry);
        let (reported, observers) = (Mutex::default(), Mutex::default());
        Self { shared: Arc::new(Shared { registry, operations, reported, observers }) }
    }

    /// Keeps the metrics of `view` for as long as what is returned is kept, and keeps the view open for as long.
    ///
    /// What happened to a view is counted once, however often it is observed; of two views of a service that have different instances, the one that tells last is
    /// seen. A channel with a meter (`ChannelBuilder::metered`) observes its own. Must be called within a tokio runtime.
    pub fn observe_view(&self, view: &View) -> Observed {
        Observed::start(ViewMetrics::new(self, view.clone()))
    }

    /// Keeps the metrics of a registrar of an instance of `service`, until it ends. States that follow each other faster than a task is woken are not all
    /// counted; [`RegistrarOptions::with_meter`](crate::RegistrarOptions::with_meter) counts each, from the start. Must be called within a tokio runtime.
    pub fn observe_registrar(&self, service: &ServiceName, states: RegistrarStates) {
        tokio::spawn(RegistrarMetrics::new(self, service).follow(states));
    }

    /// For metrics of what is built on this: `labels`, and the one that names the registry.
    #[must_use]
    pub fn labels<const N: usize>(&self, labels: [(&'static str, SharedString); N]) -> Vec<Label> {
        with_registry(&self.shared.registry, labels)
    }

    /// Changes how many views of `service` are observed.
    fn observers(&self, service: &ServiceName, change: impl FnOnce(&mut usize)) {
        let mut observers = self.shared.observers.lock().unwrap_or_else(PoisonError::into_inner);
        let of_service = observers.entry(service.clone()).or_default();
        change(of_service);
        if *of_service == 0 {
            observers.remove(service);
        }
    }

    fn reported(&self, view: &View) -> Reported {
        let mut all = self.shared.reported.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(stats, _)| stats.strong_count() > 0);
        let known = all.iter().find(|(stats, _)| stats.as_ptr() == Arc::as_ptr(view.counts()));
        if let Some((_, reported)) = known {
            return Arc::clone(reported);
        }
        let reported = Reported::default();
        all.push((Arc::downgrade(view.counts()), Arc::clone(&reported)));
        reported
    }

    fn of_service(&self, service: &ServiceName) -> Vec<Label> {
        self.labels([("service", text(service))])
    }

    fn of_service_and(&self, service: &ServiceName, key: &'static str, value: &'static str) -> Vec<Label> {
        self.labels([("service", text(service)), (key, value.into())])
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

impl Layer for Meter {
    async fn around<T: Answer>(
        &self,
        call: Call<'_>,
        answer: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let started = self.shared.operations.start(call.operation(), &self.shared.registry);
        let result = answer.await;
        started.end(&result);
        result
    }

    fn watch(&self, service: &ServiceName, watch: Watch) -> Watch {
        let mut metrics = WatchMetrics::new(self, service);
        Watch::new(watch.inspect(move |event| metrics.on(event)))
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("registry", &self.shared.registry).finish_non_exhaustive()
    }
}

fn with_registry<const N: usize>(
    registry: &Option<SharedString>,
    labels: [(&'static str, SharedString); N],
) -> Vec<Label> {
    let labels = labels.into_iter().map(|(key, value)| Label::new(key, value));
    labels.chain(registry.clone().map(|registry| Label::new("registry", registry))).collect()
}

fn text(service: &ServiceName) -> SharedString {
    service.as_str().to_owned().into()
}
