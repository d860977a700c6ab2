//! The operations, as transactions.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{
    Compare, CompareOp, GetOptions, GetResponse, PutOptions, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse,
};
use registry_core::codec::Stored;
use registry_core::{
    AfterDisruption, Cursor, Durability, Epoch, Error, ErrorKind, GapDetection, Guarantees, Instance, Lease,
    Operation, OwnerToken, RegisterOptions, Registration, Registry, Result, Revision, RevisionScope,
    ServiceName, Snapshot, Ttl, Watch, resume,
};

use crate::BACKEND;
use crate::connection::Connection;
use crate::entry::{Found, listed, revision};
use crate::error::failure;
use crate::heartbeat::Heartbeats;
use crate::keys::Keys;
use crate::options::EtcdOptions;
use crate::source::{hash, proof, proof_of_all};

/// etcd raises a lesser TTL to this: one and a half election timeouts, rounded up, at its default settings.
const MIN_TTL_SECS: u64 = 2;
/// How often a registration that others interfere with is tried.
const ATTEMPTS: usize = 16;

/// A registry in etcd. Cheap to clone; clones share connections and heartbeats.
#[derive(Clone)]
pub struct EtcdRegistry {
    shared: Arc<Shared>,
}

struct Shared {
    options: EtcdOptions,
    connection: Arc<Connection>,
    heartbeats: Heartbeats,
    keys: Keys,
    /// What this client wrote last under each lease: by it an overwrite, and a restored older value, are noticed.
    written: Mutex<BTreeMap<i64, Written>>,
}

/// The last write under a lease.
#[derive(Clone, Copy, Debug)]
struct Written {
    modified: i64,
}

impl EtcdRegistry {
    /// A client of the etcd at `options.endpoints`. Waits for no server.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for options that cannot work.
    pub fn new(options: EtcdOptions) -> Result<Self> {
        let keys = Keys::new(&options.prefix)?;
        let connection = Arc::new(Connection::new(&options)?);
        let heartbeats = Heartbeats::new(Arc::clone(&connection), options.request_timeout);
        let shared = Shared { options, connection, heartbeats, keys, written: Mutex::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.shared.connection
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    async fn txn(&self, operation: Operation, txn: Txn) -> Result<etcd_client::TxnResponse> {
        self.connection()
            .call(operation, |mut client| {
                let txn = txn.clone();
                async move { client.txn(txn).await }
            })
            .await
    }

    async fn grant(&self, ttl: Ttl) -> Result<(i64, Ttl)> {
        let secs = whole_secs(ttl);
        let granted = self
            .connection()
            .call(Operation::Register, |mut client| async move { client.lease_grant(secs, None).await })
            .await?;
        let ttl = Ttl::from_secs(u64::try_from(granted.ttl()).unwrap_or_default())
            .map_err(|error| error.with_operation(Operation::Register).with_backend(BACKEND))?;
        Ok((granted.id(), ttl))
    }

    /// Ends a lease that is not needed. When that fails it ends by itself.
    async fn revoke(&self, lease: i64) {
        let revoked = self
            .connection()
            .call(Operation::Register, |mut client| async move { client.lease_revoke(lease).await })
            .await;
        if let Err(error) = revoked {
            tracing::debug!(%error, "a lease was left to run out");
        }
    }

    async fn find(&self, key: &str) -> Result<Option<Found>> {
        let response: GetResponse = self
            .connection()
            .call(Operation::Register, |mut client| async move { client.get(key, None).await })
            .await?;
        Ok(response.kvs().first().map(Found::new))
    }

    fn written(&self, lease: i64) -> Option<Written> {
        self.with_written(|written| written.get(&lease).copied())
    }

    fn with_written<T>(&self, use_it: impl FnOnce(&mut BTreeMap<i64, Written>) -> T) -> T {
        use_it(&mut self.shared.written.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn forget(&self, lease: i64) {
        self.with_written(|written| written.remove(&lease));
    }

    /// What must be true of the key for `lease` to hold it.
    fn held(&self, key: &str, lease: i64) -> Vec<Compare> {
        let mut held = vec![Compare::lease(key, CompareOp::Equal, lease)];
        if let Some(written) = self.written(lease) {
            held.push(Compare::mod_revision(key, CompareOp::Equal, written.modified));
        }
        held
    }

    /// Puts `instance` under `lease` when the key is as it was found. Gives the revision; `None` when it is not.
    async fn put(
        &self,
        key: &str,
        found: Option<&Found>,
        stored: &Stored,
        lease: i64,
    ) -> Result<Option<i64>> {
        let unchanged = Compare::mod_revision(key, CompareOp::Equal, found.map_or(0, |found| found.modified));
        let put = TxnOp::put(key, stored.encode(), Some(PutOptions::new().with_lease(lease)));
        let response = self.txn(Operation::Register, Txn::new().when([unchanged]).and_then([put])).await?;
        Ok(response.succeeded().then(|| header_revision(response.header())))
    }

    async fn try_register(
        &self,
        instance: &Instance,
        options: &RegisterOptions,
    ) -> Result<Option<Registration>> {
        let (service, id) = (instance.service(), instance.id());
        let key = self.keys().entry(service, id);
        let found = self.find(&key).await?;
        let same = found.as_ref().filter(|found| found.is_owned_by(options.token) && found.lease != 0);
        if let Some(found) = same {
            return self.register_again(&key, found, instance, options).await;
        }
        if let Some(found) = &found
            && !options.on_conflict.may_replace(options.claim, found.incarnation())
        {
            let message = format!("{service} {id} is held by incarnation {}", found.incarnation());
            return Err(failure(ErrorKind::AlreadyRegistered, Operation::Register, message));
        }
        let incarnation = options.claim.succeeding(found.as_ref().map(Found::incarnation));
        let stored = Stored::new(instance.clone(), incarnation, options.token);
        let (lease, ttl) = self.grant(options.ttl).await?;
        let put = self.put(&key, found.as_ref(), &stored, lease).await;
        match put {
            Ok(Some(modified)) => {
                let written = Written { modified };
                self.with_written(|all| all.insert(lease, written));
                let lease = Lease::new(service.clone(), id.clone(), incarnation, lease_key(lease));
                Ok(Some(Registration::new(lease, revision(modified), ttl)))
            }
            Ok(None) => {
                self.revoke(lease).await;
                Ok(None)
            }
            Err(error) => {
                // The answer may be lost: the lease must not be revoked under an entry that may stand.
                if !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) {
                    self.revoke(lease).await;
                }
                Err(error)
            }
        }
    }

    /// The entry is there with our token: the same attempt again.
    async fn register_again(
        &self,
        key: &str,
        found: &Found,
        instance: &Instance,
        options: &RegisterOptions,
    ) -> Result<Option<Registration>> {
        let Some(stored) = &found.stored else { return Ok(None) };
        match self.shared.heartbeats.beat(found.lease).await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::LeaseLost => return Ok(None),
            Err(error) => return Err(error.with_operation(Operation::Register)),
        }
        let registered = stored.registered.unwrap_or(revision(found.modified));
        let mut modified = found.modified;
        if stored.instance != *instance {
            let next =
                Stored::new(instance.clone(), stored.incarnation, options.token).with_registered(registered);
            match self.put(key, Some(found), &next, found.lease).await? {
                Some(revision) => modified = revision,
                None => return Ok(None),
            }
        }
        let written = Written { modified };
        self.with_written(|all| all.insert(found.lease, written));
        let lease = Lease::new(
            instance.service().clone(),
            instance.id().clone(),
            stored.incarnation,
            lease_key(found.lease),
        );
        let ttl = Ttl::from_secs(u64::try_from(whole_secs(options.ttl)).unwrap_or(MIN_TTL_SECS))?;
        Ok(Some(Registration::new(lease, revision(modified), ttl)))
    }

    /// All instances at one revision, page by page, with the identity of the store. Linearizable.
    pub(crate) async fn load(&self, service: &ServiceName, operation: Operation) -> Result<Snapshot> {
        let (mut start, end) = self.keys().service(service);
        let store_key = self.keys().store();
        let (mut at, mut epoch, mut entries, mut skipped) = (0, None, Vec::new(), 0);
        let mut last = (0, 0);
        loop {
            let range = GetOptions::new()
                .with_range(end.clone())
                .with_limit(i64::try_from(self.shared.options.page).unwrap_or(i64::MAX))
                .with_revision(at);
            let ops = [TxnOp::get(start.clone(), Some(range)), TxnOp::get(store_key.clone(), None)];
            let response = self.txn(operation, Txn::new().and_then(ops)).await?;
            if at == 0 {
                at = header_revision(response.header());
            }
            let mut answers = response.op_responses().into_iter().filter_map(|answer| match answer {
                TxnOpResponse::Get(answer) => Some(answer),
                _ => None,
            });
            let (Some(page), Some(store)) = (answers.next(), answers.next()) else {
                return Err(failure(
                    ErrorKind::Corrupt,
                    operation,
                    "etcd answered something else than was asked",
                ));
            };
            let identity = store.kvs().first().and_then(|kv| identity(kv.value()));
            match (identity, epoch) {
                (None, _) => {
                    self.identify(operation).await?;
                    (at, entries, skipped) = (0, Vec::new(), 0);
                    (start, _) = self.keys().service(service);
                    continue;
                }
                (Some(identity), None) => epoch = Some(identity),
                (Some(identity), Some(epoch)) if identity == epoch => {}
                (Some(_), Some(_)) => {
                    return Err(failure(
                        ErrorKind::Unavailable,
                        operation,
                        "the store was replaced while it was read",
                    ));
                }
            }
            for kv in page.kvs() {
                if kv.mod_revision() > last.0 {
                    last = (kv.mod_revision(), hash(kv.mod_revision(), kv.key(), kv.value()));
                }
                match listed(self.keys(), kv) {
                    Some(entry) => entries.push(entry),
                    None => skipped += 1,
                }
            }
            match page.kvs().last().filter(|_| page.more()) {
                // The first key after the last one.
                Some(kv) => start = format!("{}\0", String::from_utf8_lossy(kv.key())),
                None => break,
            }
        }
        let epoch = epoch.unwrap_or_default();
        let proof = match last {
            (0, _) => self.latest(at, operation).await?.map_or(0, proof_of_all),
            (modified, hash) => proof(revision(at).get(), revision(modified).get(), hash),
        };
        let cursor = Cursor::new(epoch, revision(at), proof);
        Ok(Snapshot::new(service.clone(), cursor, entries).with_skipped(skipped))
    }

    /// The hash of the latest change under the whole prefix at a revision: what shows that a service which was empty then has the same
    /// history. etcd sorts all keys for it, so it is asked only for services without instances.
    pub(crate) async fn latest(&self, at: i64, operation: Operation) -> Result<Option<u32>> {
        let (start, end) = self.keys().all();
        let range = GetOptions::new()
            .with_range(end)
            .with_revision(at)
            .with_sort(SortTarget::Mod, SortOrder::Descend)
            .with_limit(1);
        let response: GetResponse = self
            .connection()
            .call(operation, |mut client| {
                let (start, range) = (start.clone(), range.clone());
                async move { client.get(start, Some(range)).await }
            })
            .await?;
        Ok(response.kvs().first().map(|kv| hash(kv.mod_revision(), kv.key(), kv.value())))
    }

    /// Gives the store another identity than `old`, because its history turned out to be another one: within one epoch revisions must
    /// never fall. The first client that notices does it for all.
    pub(crate) async fn begin_epoch(&self, old: Epoch) {
        let key = self.keys().store();
        let random = format!("{:016x}", OwnerToken::random().as_u128() as u64);
        let unchanged = Compare::value(key.clone(), CompareOp::Equal, format!("{:016x}", old.get()));
        let txn = Txn::new().when([unchanged]).and_then([TxnOp::put(key, random, None)]);
        if let Err(error) = self.txn(Operation::Watch, txn).await {
            tracing::warn!(%error, "the store's history is another one, and its identity could not be changed");
        }
    }

    /// Writes the identity of the store, unless another client was quicker.
    async fn identify(&self, operation: Operation) -> Result<()> {
        let key = self.keys().store();
        let random = format!("{:016x}", OwnerToken::random().as_u128() as u64);
        let absent = Compare::version(key.clone(), CompareOp::Equal, 0);
        let put = TxnOp::put(key, random, None);
        self.txn(operation, Txn::new().when([absent]).and_then([put])).await?;
        Ok(())
    }
}

/// The identity of a store, as written under its key.
pub(crate) fn identity(value: &[u8]) -> Option<Epoch> {
    let text = std::str::from_utf8(value).ok()?;
    u64::from_str_radix(text, 16).ok().map(Epoch::new)
}

pub(crate) fn header_revision(header: Option<&etcd_client::ResponseHeader>) -> i64 {
    header.map_or(0, etcd_client::ResponseHeader::revision)
}

/// etcd counts in whole seconds.
fn whole_secs(ttl: Ttl) -> i64 {
    let secs = ttl.get().as_secs() + u64::from(ttl.get().subsec_nanos() > 0);
    i64::try_from(secs.max(MIN_TTL_SECS)).unwrap_or(i64::MAX)
}

fn lease_key(lease: i64) -> u128 {
    u128::from(lease as u64)
}

fn lease_id(lease: &Lease) -> i64 {
    lease.key() as u64 as i64
}

fn lease_lost(lease: &Lease, operation: Operation) -> Error {
    let message = format!("{} {}: the lease does not hold it", lease.service(), lease.id());
    failure(ErrorKind::LeaseLost, operation, message)
}

#[async_trait]
impl Registry for EtcdRegistry {
    async fn register(&self, instance: &Instance, options: &RegisterOptions) -> Result<Registration> {
        for _ in 0..ATTEMPTS {
            if let Some(registration) = self.try_register(instance, options).await? {
                return Ok(registration);
            }
        }
        Err(failure(ErrorKind::Unavailable, Operation::Register, "others kept changing the entry"))
    }

    async fn keepalive(&self, lease: &Lease) -> Result<()> {
        let id = lease_id(lease);
        let key = self.keys().entry(lease.service(), lease.id());
        let check = self.txn(Operation::Keepalive, Txn::new().when(self.held(&key, id)));
        let (beat, check) = tokio::join!(self.shared.heartbeats.beat(id), check);
        let held = check?.succeeded();
        if !held || matches!(&beat, Err(error) if error.kind() == ErrorKind::LeaseLost) {
            self.forget(id);
            return Err(lease_lost(lease, Operation::Keepalive));
        }
        beat
    }

    async fn update(&self, lease: &Lease, instance: &Instance) -> Result<Revision> {
        let mismatch = |field| {
            let error = Error::invalid(field, "is not the one of the lease");
            Err(error.with_operation(Operation::Update).with_backend(BACKEND))
        };
        if instance.service() != lease.service() {
            return mismatch("service name");
        }
        if instance.id() != lease.id() {
            return mismatch("instance id");
        }
        let id = lease_id(lease);
        let key = self.keys().entry(lease.service(), lease.id());
        for _ in 0..ATTEMPTS {
            let found = self.find(&key).await.map_err(|error| error.with_operation(Operation::Update))?;
            let Some(found) = found.filter(|found| found.lease == id) else {
                self.forget(id);
                return Err(lease_lost(lease, Operation::Update));
            };
            let Some(before) = &found.stored else { return Err(lease_lost(lease, Operation::Update)) };
            let registered = before.registered.unwrap_or(revision(found.modified));
            let stored =
                Stored::new(instance.clone(), before.incarnation, before.token).with_registered(registered);
            let put = self.put(&key, Some(&found), &stored, id).await;
            if let Some(modified) = put.map_err(|error| error.with_operation(Operation::Update))? {
                let written = Written { modified };
                self.with_written(|all| all.insert(id, written));
                return Ok(revision(modified));
            }
        }
        Err(failure(ErrorKind::Unavailable, Operation::Update, "others kept changing the entry"))
    }

    async fn deregister(&self, lease: &Lease) -> Result<()> {
        let id = lease_id(lease);
        let key = self.keys().entry(lease.service(), lease.id());
        let held = Compare::lease(key.clone(), CompareOp::Equal, id);
        let txn = Txn::new().when([held]).and_then([TxnOp::delete(key, None)]);
        self.txn(Operation::Deregister, txn).await?;
        self.forget(id);
        self.revoke(id).await;
        Ok(())
    }

    async fn lookup(&self, service: &ServiceName) -> Result<Snapshot> {
        self.load(service, Operation::Lookup).await
    }

    async fn services(&self, prefix: &str) -> Result<Vec<ServiceName>> {
        if !prefix.is_empty() && ServiceName::new(prefix).is_err() {
            // No name starts with what no name may hold.
            return Ok(Vec::new());
        }
        let (mut start, end) = self.keys().services(prefix);
        let mut names = Vec::new();
        // One key for each service: the first, then the first after all of its own.
        loop {
            let range = GetOptions::new().with_range(end.clone()).with_limit(1).with_keys_only();
            let (from, options) = (start.clone(), range);
            let response: GetResponse = self
                .connection()
                .call(Operation::Services, |mut client| {
                    let (from, options) = (from.clone(), options.clone());
                    async move { client.get(from, Some(options)).await }
                })
                .await?;
            let Some(kv) = response.kvs().first() else {
                // The order of keys is not that of names: '-' and '.' come before '/'.
                names.sort_unstable();
                return Ok(names);
            };
            match self.keys().parse(kv.key()) {
                Some((name, _)) => {
                    (_, start) = self.keys().service(&name);
                    if !self.lookup(&name).await?.is_empty() {
                        names.push(name);
                    }
                }
                None => start = format!("{}\0", String::from_utf8_lossy(kv.key())),
            }
        }
    }

    fn watch(&self, service: &ServiceName, from: Option<Cursor>) -> Watch {
        resume::watch(Arc::new(self.clone()), service.clone(), from, self.shared.options.resume.clone())
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees::weakest()
            .with_revision_scope(RevisionScope::Store)
            .with_linearizable_reads(true)
            .with_expiry_bound(Duration::from_millis(1_500))
            .with_after_disruption(AfterDisruption::ExtendedByAtMostOneTtl)
            .with_min_ttl(Ttl::from_secs(MIN_TTL_SECS).unwrap_or(Ttl::MIN))
            .with_durability(Durability::PowerCut)
            .with_convergence(Duration::from_secs(4))
            .with_gap_detection(GapDetection::Always)
    }
}

impl fmt::Debug for EtcdRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdRegistry").field("connection", &self.shared.connection).finish_non_exhaustive()
    }
}
