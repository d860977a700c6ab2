//! The operations.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use registry_core::{
    Cursor, Guarantees, Instance, Lease, Operation, RegisterOptions, Registration, Registry, Result,
    Revision, ServiceName, Snapshot, Watch, resume,
};

use crate::BACKEND;
use crate::connection::Connection;
use crate::facts::Facts;
use crate::held::HeldLeases;
use crate::malformed::Malformed;
use crate::names::Touched;
use crate::options::RedisOptions;
use crate::store::Store;

/// A registry in Redis. Cheap to clone; clones share connections.
///
/// Must be used within a tokio runtime; its background tasks (one for each watch, one for each connection) end with what they serve. It may be
/// used on several runtimes and outlives each.
#[derive(Clone)]
pub struct RedisRegistry {
    shared: Arc<Shared>,
}

struct Shared {
    options: Arc<RedisOptions>,
    connection: Connection,
    store: Store,
    held: HeldLeases,
    malformed: Malformed,
    touched: Touched,
    /// What the servers have told last.
    facts: Mutex<Vec<Facts>>,
}

impl RedisRegistry {
    /// A client of the Redis at `options.deployment`. Waits for no server.
    ///
    /// # Errors
    /// [`InvalidInput`](registry_core::ErrorKind::InvalidInput) for options that cannot work.
    pub fn new(options: RedisOptions) -> Result<Self> {
        let checked = options.checked().map_err(|error| error.with_backend(BACKEND))?;
        let options = Arc::new(checked);
        let connection =
            Connection::new(Arc::clone(&options)).map_err(|error| error.with_backend(BACKEND))?;
        let shared = Shared {
            connection,
            store: Store::default(),
            held: HeldLeases::default(),
            malformed: Malformed::default(),
            touched: Touched::default(),
            facts: Mutex::default(),
            options,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Connects, and learns from the server what can be promised there: what [`guarantees`](Registry::guarantees) says from then on. Not needed
    /// for anything else: every operation connects by itself.
    ///
    /// # Errors
    /// Those of every operation.
    pub async fn inspect(&self) -> Result<Guarantees> {
        self.connection().connect().await?;
        Ok(self.guarantees())
    }

    pub(crate) fn options(&self) -> &RedisOptions {
        &self.shared.options
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.shared.connection
    }

    pub(crate) fn store(&self) -> &Store {
        &self.shared.store
    }

    pub(crate) fn held(&self) -> &HeldLeases {
        &self.shared.held
    }

    pub(crate) fn malformed(&self) -> &Malformed {
        &self.shared.malformed
    }

    pub(crate) fn touched(&self) -> &Touched {
        &self.shared.touched
    }
}

#[async_trait]
impl Registry for RedisRegistry {
    async fn register(&self, instance: &Instance, options: &RegisterOptions) -> Result<Registration> {
        self.write_new(instance, options).await
    }

    async fn keepalive(&self, lease: &Lease) -> Result<()> {
        self.renew(lease).await
    }

    async fn update(&self, lease: &Lease, instance: &Instance) -> Result<Revision> {
        lease.check(instance).map_err(|error| error.with_backend(BACKEND))?;
        self.rewrite(lease, instance).await
    }

    async fn deregister(&self, lease: &Lease) -> Result<()> {
        self.remove(lease).await
    }

    async fn lookup(&self, service: &ServiceName) -> Result<Snapshot> {
        self.load(service, Operation::Lookup).await
    }

    async fn services(&self, prefix: &str) -> Result<Vec<ServiceName>> {
        if !prefix.is_empty() && ServiceName::new(prefix).is_err() {
            // No name starts with what no name may hold.
            return Ok(Vec::new());
        }
        self.names(prefix).await
    }

    fn watch(&self, service: &ServiceName, from: Option<Cursor>) -> Watch {
        resume::watch(Arc::new(self.clone()), service.clone(), from, self.shared.options.resume.clone())
    }

    /// Of the server that is connected, or was last: until one was, the weakest there are.
    fn guarantees(&self) -> Guarantees {
        let topology = self.connection().topology();
        let mut facts = self.shared.facts.lock().unwrap_or_else(PoisonError::into_inner);
        let present = topology.present();
        if !present.is_empty() {
            *facts = present.iter().map(|link| link.facts()).collect();
        }
        let claims = |facts: &Facts| facts.guarantees(topology.fails_over(), self.options());
        let weakest =
            facts.iter().map(claims).min_by_key(|claim| (claim.durability, claim.linearizable_reads));
        weakest.unwrap_or_else(|| claims(&Facts::default()))
    }
}

impl fmt::Debug for RedisRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRegistry")
            .field("deployment", &self.shared.options.deployment)
            .finish_non_exhaustive()
    }
}
