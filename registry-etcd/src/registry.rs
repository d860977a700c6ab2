//! The operations.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use registry_core::{
    AfterDisruption, Cursor, DeleteCauses, Durability, Error, GapDetection, Guarantees, Instance, Lease,
    Operation, RegisterOptions, Registration, Registry, Result, Revision, RevisionScope, ServiceName,
    Snapshot, Ttl, Watch, resume,
};

use crate::BACKEND;
use crate::connection::Connection;
use crate::fence::Fences;
use crate::heartbeat::Heartbeats;
use crate::held::HeldLeases;
use crate::layout::{Codec, codec};
use crate::load::Loader;
use crate::malformed::Malformed;
use crate::options::EtcdOptions;
use crate::store::Store;
use crate::write::MIN_TTL_SECS;

/// So many members keep what is acknowledged although one of them is lost.
const MAJORITY_OF: usize = 3;

/// A registry in etcd. Cheap to clone; clones share connections and heartbeats.
///
/// Must be used within a tokio runtime; its background tasks (one for each watch, one for all heartbeats, one for each member in use) end with what
/// they serve. It may be used on several runtimes and outlives each; a request made on one while another, on which the connection was made, is being
/// shut down may wait until its deadline.
#[derive(Clone)]
pub struct EtcdRegistry {
    shared: Arc<Shared>,
}

struct Shared {
    options: EtcdOptions,
    connection: Arc<Connection>,
    codec: Arc<dyn Codec>,
    store: Store,
    heartbeats: Heartbeats,
    fences: Fences,
    held: HeldLeases,
    malformed: Malformed,
}

impl EtcdRegistry {
    /// A client of the etcd at `options.endpoints`. Waits for no server.
    ///
    /// # Errors
    /// [`InvalidInput`](registry_core::ErrorKind::InvalidInput) for options that cannot work.
    pub fn new(options: EtcdOptions) -> Result<Self> {
        let codec = codec(options.layout, &options.prefix)?;
        let connection = Arc::new(Connection::new(&options, &codec.store())?);
        let shared = Shared {
            store: Store::new(codec.store(), Arc::clone(&connection)),
            heartbeats: Heartbeats::new(Arc::clone(&connection), &options),
            fences: Fences::new(Arc::clone(&connection)),
            held: HeldLeases::default(),
            malformed: Malformed::default(),
            options,
            connection,
            codec,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.shared.connection
    }

    pub(crate) fn codec(&self) -> &dyn Codec {
        &*self.shared.codec
    }

    pub(crate) fn store(&self) -> &Store {
        &self.shared.store
    }

    pub(crate) fn heartbeats(&self) -> &Heartbeats {
        &self.shared.heartbeats
    }

    pub(crate) fn fences(&self) -> &Fences {
        &self.shared.fences
    }

    pub(crate) fn held(&self) -> &HeldLeases {
        &self.shared.held
    }

    pub(crate) fn malformed(&self) -> &Malformed {
        &self.shared.malformed
    }

    pub(crate) async fn load(&self, service: &ServiceName, operation: Operation) -> Result<Snapshot> {
        let loader = Loader {
            connection: self.connection(),
            codec: self.codec(),
            store: self.store(),
            malformed: self.malformed(),
            page: self.shared.options.page,
        };
        loader.load(service, operation).await
    }
}

#[async_trait]
impl Registry for EtcdRegistry {
    async fn register(&self, instance: &Instance, options: &RegisterOptions) -> Result<Registration> {
        if !self.codec().allows(instance.id()) {
            let error =
                Error::invalid("instance id", "is one that this layout keeps for what others publish");
            return Err(error.with_operation(Operation::Register).with_backend(BACKEND));
        }
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

    fn guarantees(&self) -> Guarantees {
        let members = self.connection().size();
        let durability = if members >= MAJORITY_OF { Durability::MinorityLoss } else { Durability::PowerCut };
        // A leader that stood still may end leases that its successor has renewed: etcd-io/etcd#12528, #15247.
        let after_disruption = if members > 1 {
            AfterDisruption::MayExpireEarly
        } else {
            AfterDisruption::ExtendedByAtMostOneTtl
        };
        Guarantees::weakest()
            .with_revision_scope(RevisionScope::Store)
            .with_linearizable_reads(true)
            .with_expiry_bound(Duration::from_millis(1_500))
            .with_after_disruption(after_disruption)
            .with_min_ttl(Ttl::from_secs(MIN_TTL_SECS).unwrap_or(Ttl::MIN))
            .with_durability(durability)
            .with_convergence(Duration::from_secs(4))
            .with_gap_detection(GapDetection::Always)
            .with_delete_causes(DeleteCauses::Deregistered)
    }
}

impl fmt::Debug for EtcdRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdRegistry").field("connection", &self.shared.connection).finish_non_exhaustive()
    }
}
