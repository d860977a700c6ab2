//! A layer over any registry that writes down what it is asked.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use registry_core::{
    Cursor, Guarantees, Instance, Lease, RegisterOptions, Registration, Registry, Result, Revision,
    ServiceName, Snapshot, Watch,
};

use super::words::{done, failed, listed, position};
use super::{Asked, Values};
use crate::chaos::history::{Outcome, Verb};
use crate::chaos::recorder::Recorder;
use crate::contestants::value;

/// A registry that writes down every operation of one client, also those that are given up.
#[derive(Debug)]
pub struct Recorded {
    inner: Arc<dyn Registry>,
    client: String,
    recorder: Recorder,
    stamps: Option<Values>,
}

impl Recorded {
    /// What `client` asks of `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Registry>, client: &str, recorder: Recorder) -> Self {
        Self { inner, client: client.to_owned(), recorder, stamps: None }
    }

    /// The same, and whatever is registered or updated gets a value of its own: under a [`Registrar`](registry_core::Registrar), which repeats what it has
    /// published when it must register again, so that each time can be told from the others.
    #[must_use]
    pub fn stamping(mut self, values: Values) -> Self {
        self.stamps = Some(values);
        self
    }

    fn stamped(&self, instance: &Instance) -> Result<Instance> {
        match &self.stamps {
            Some(values) => instance.to_builder().metadata("value", values.next().to_string()).build(),
            None => Ok(instance.clone()),
        }
    }

    fn asked(&self, verb: Verb) -> Asked<'_> {
        Asked::new(&self.recorder, &self.client, verb)
    }

    fn of_lease(&self, verb: Verb, lease: &Lease, value: Option<u64>) -> Asked<'_> {
        self.asked(verb).about(lease.id().as_str(), Some(lease.incarnation().get()), value)
    }

    /// Writes the answer down, and passes it on.
    fn answered<T>(
        &self,
        asked: Asked<'_>,
        verb: Verb,
        result: Result<T>,
        of: impl FnOnce(&T) -> Outcome,
    ) -> Result<T> {
        let micros = self.recorder.now().0.saturating_sub(asked.invoked().0);
        asked.answered(match &result {
            Ok(what) => of(what),
            Err(error) => failed(verb, error, Duration::from_micros(micros)),
        });
        result
    }
}

#[async_trait]
impl Registry for Recorded {
    async fn register(&self, instance: &Instance, options: &RegisterOptions) -> Result<Registration> {
        let instance = self.stamped(instance)?;
        let asked = self.asked(Verb::Register).about(instance.id().as_str(), None, Some(value(&instance)));
        let result = self.inner.register(&instance, options).await;
        self.answered(asked, Verb::Register, result, |registered| {
            done(Some(registered.revision.get()), Some(registered.lease.incarnation().get()))
        })
    }

    async fn keepalive(&self, lease: &Lease) -> Result<()> {
        let asked = self.of_lease(Verb::Keepalive, lease, None);
        let result = self.inner.keepalive(lease).await;
        self.answered(asked, Verb::Keepalive, result, |()| done(None, None))
    }

    async fn update(&self, lease: &Lease, instance: &Instance) -> Result<Revision> {
        let instance = self.stamped(instance)?;
        let asked = self.of_lease(Verb::Update, lease, Some(value(&instance)));
        let result = self.inner.update(lease, &instance).await;
        self.answered(asked, Verb::Update, result, |revision| done(Some(revision.get()), None))
    }

    async fn deregister(&self, lease: &Lease) -> Result<()> {
        let asked = self.of_lease(Verb::Deregister, lease, None);
        let result = self.inner.deregister(lease).await;
        self.answered(asked, Verb::Deregister, result, |()| done(None, None))
    }

    async fn lookup(&self, service: &ServiceName) -> Result<Snapshot> {
        let asked = self.asked(Verb::Lookup);
        let result = self.inner.lookup(service).await;
        self.answered(asked, Verb::Lookup, result, |snapshot| Outcome::Ok {
            revision: None,
            incarnation: None,
            position: Some(position(snapshot.cursor())),
            listed: Some(listed(snapshot)),
        })
    }

    async fn services(&self, prefix: &str) -> Result<Vec<ServiceName>> {
        self.inner.services(prefix).await
    }

    fn watch(&self, service: &ServiceName, from: Option<Cursor>) -> Watch {
        self.inner.watch(service, from)
    }

    fn guarantees(&self) -> Guarantees {
        self.inner.guarantees()
    }
}
