//! Registering, renewing, changing and removing: transactions that compare what they are about to replace.

use etcd_client::{
    Client, Compare, CompareOp, KeyValue, LeaseGrantOptions, PutOptions, Txn, TxnOp, TxnOpResponse,
    TxnResponse,
};
use registry_core::codec::Stored;
use registry_core::{
    Error, ErrorKind, Incarnation, Instance, Lease, OnConflict, Operation, OwnerToken, RegisterOptions,
    Registration, Result, Revision, Ttl,
};
use tokio::time::Instant;

use crate::connection::Begun;
use crate::error::{failure, is_granted_already};
use crate::fence::Held;
use crate::held::{Known, Written};
use crate::layout::revision;
use crate::registry::EtcdRegistry;
use crate::store::header_revision;

/// etcd raises a lesser TTL to this: one and a half election timeouts, rounded up, at its default settings.
pub(crate) const MIN_TTL_SECS: u64 = 2;
/// How often a write that others interfere with is tried.
const ATTEMPTS: usize = 16;

/// What was found under a guard.
#[derive(Clone, Debug)]
struct Found {
    /// The entry; `None` when it cannot be read.
    stored: Option<Box<Stored>>,
    modified: i64,
    lease: i64,
}

impl Found {
    fn new(kv: &KeyValue) -> Self {
        Self {
            stored: Stored::decode(kv.value()).ok().map(Box::new),
            modified: kv.mod_revision(),
            lease: kv.lease(),
        }
    }

    /// The incarnation; the lowest for what a foreign writer put there.
    fn incarnation(&self) -> Incarnation {
        self.stored.as_ref().map(|stored| stored.incarnation).unwrap_or_default()
    }

    /// When it is ours. Somebody else may have put it without our lease.
    fn owned_by(&self, token: OwnerToken) -> Option<&Stored> {
        self.stored.as_deref().filter(|stored| stored.token == token)
    }
}

/// What became of a write.
enum Outcome {
    /// It was done, at this revision.
    Done(i64),
    /// The guard is not as it was expected, but like this.
    Otherwise(Option<Found>),
}

/// What a write replaces.
#[derive(Default)]
struct Before {
    /// The guard's revision; 0: it is not there.
    modified: i64,
    /// The lease that must hold all of it, where one must.
    lease: Option<i64>,
    beside: Option<String>,
}

impl EtcdRegistry {
    pub(crate) async fn write_new(
        &self,
        instance: &Instance,
        options: &RegisterOptions,
    ) -> Result<Registration> {
        let begun = self.connection().begin(Operation::Register);
        let guard = self.codec().guard(instance.service(), instance.id());
        // Most ids are free, and whoever takes over may assume so. Others must not write before they have looked.
        let mut found = match options.on_conflict {
            OnConflict::TakeOver => None,
            _ => self.find(begun, &guard).await?,
        };
        let mut granted = None;
        for _ in 0..ATTEMPTS {
            let own = found.as_ref().and_then(|found| Some((found, found.owned_by(options.token)?)));
            if let Some((present, stored)) = own {
                let again = self.write_again(begun, &guard, present, stored, instance).await;
                if granted.is_some_and(|(lease, _)| lease != present.lease) {
                    self.discard(granted.take());
                }
                match again? {
                    Again::Registered(registration) => return Ok(registration),
                    Again::Otherwise(now) => {
                        found = now;
                        continue;
                    }
                    // It has no lease, or one that is over: it gets another.
                    Again::Over => {}
                }
            } else if let Some(found) = &found
                && !options.on_conflict.may_replace(options.claim, found.incarnation())
            {
                self.discard(granted);
                let (service, id) = (instance.service(), instance.id());
                let message = format!("{service} {id} is held by incarnation {}", found.incarnation());
                return Err(failure(ErrorKind::AlreadyRegistered, Operation::Register, message));
            }
            let incarnation = options.claim.succeeding(found.as_ref().map(Found::incarnation));
            let (lease, ttl) = match granted {
                Some(granted) => granted,
                None => *granted.insert(self.grant(begun, options.ttl).await?),
            };
            let stored = Stored::new(instance.clone(), incarnation, options.token);
            let before = self.before(found.as_ref());
            // What is not begun cannot stand.
            let unused = (Instant::now() >= begun.end).then_some(granted).flatten();
            match self.put(begun, &guard, &before, &stored, lease).await {
                Ok(Outcome::Done(modified)) => {
                    let stored = stored.with_registered(revision(modified));
                    return Ok(self.registered(&stored, lease, modified, ttl));
                }
                Ok(Outcome::Otherwise(now)) => found = now,
                // It ran out before it was used.
                Err(error) if error.kind() == ErrorKind::LeaseLost => granted = None,
                Err(error) => {
                    // The answer may be lost: the lease must not be revoked under an entry that may stand.
                    let may_stand = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout);
                    self.discard(if may_stand { unused } else { granted });
                    return Err(error);
                }
            }
        }
        self.discard(granted);
        Err(failure(ErrorKind::Unavailable, Operation::Register, "others kept changing the entry"))
    }

    /// The entry is there with our token: the same attempt again.
    async fn write_again(
        &self,
        begun: Begun,
        guard: &str,
        present: &Found,
        stored: &Stored,
        instance: &Instance,
    ) -> Result<Again> {
        let lease = present.lease;
        if lease == 0 {
            return Ok(Again::Over);
        }
        let ttl = match self.heartbeats().beat(lease, begun.end).await {
            Ok(ttl) => granted_ttl(ttl)?,
            Err(error) if error.kind() == ErrorKind::LeaseLost => return Ok(Again::Over),
            Err(error) => return Err(error.with_operation(Operation::Register)),
        };
        let registered = stored.registered.unwrap_or(revision(present.modified));
        let next =
            Stored::new(instance.clone(), stored.incarnation, stored.token).with_registered(registered);
        let whole = match self.codec().beside(stored, lease) {
            None => true,
            Some((key, _)) => {
                let held = self.fences().hold(vec![Held { key, lease, modified: None }], begun.end).await;
                held.map_err(|error| error.with_operation(Operation::Register))?
            }
        };
        if stored.instance == *instance && whole {
            return Ok(Again::Registered(self.registered(&next, lease, present.modified, ttl)));
        }
        let before = self.before(Some(present));
        let write = self.held().begin_write(lease);
        Ok(match self.put(begun, guard, &before, &next, lease).await {
            Ok(Outcome::Done(modified)) => {
                write.acknowledged(self.written(&next, lease, modified, ttl));
                Again::Registered(self.registered(&next, lease, modified, ttl))
            }
            Ok(Outcome::Otherwise(now)) => Again::Otherwise(now),
            Err(error) if error.kind() == ErrorKind::LeaseLost => Again::Over,
            Err(error) => return Err(error),
        })
    }

    /// Remembers what was written, and tells it.
    fn registered(&self, stored: &Stored, lease: i64, modified: i64, ttl: Ttl) -> Registration {
        self.held().learn(lease, self.written(stored, lease, modified, ttl));
        let (service, id) = (stored.instance.service().clone(), stored.instance.id().clone());
        Registration::new(
            Lease::new(service, id, stored.incarnation, lease_key(lease)),
            revision(modified),
            ttl,
        )
    }

    fn written(&self, stored: &Stored, lease: i64, modified: i64, ttl: Ttl) -> Written {
        Written {
            modified,
            incarnation: stored.incarnation,
            token: stored.token,
            registered: stored.registered.unwrap_or(revision(modified)),
            beside: self.codec().beside(stored, lease).map(|(key, _)| key),
            ttl,
        }
    }

    pub(crate) async fn renew(&self, lease: &Lease) -> Result<()> {
        let begun = self.connection().begin(Operation::Keepalive);
        let id = lease_id(lease);
        let guard = || self.codec().guard(lease.service(), lease.id());
        let lost = || {
            self.held().lose(id);
            Err(lease_lost(lease, Operation::Keepalive))
        };
        // Seldom, so they do not make every heartbeat's future larger.
        let find = || Box::pin(async { self.find(begun, &guard()).await });
        for _ in 0..ATTEMPTS {
            let (mut known, mut version) = self.held().known(id);
            if matches!(known, Known::Nothing) {
                let found = find().await?;
                let Some(written) = found.and_then(|found| self.as_written(&found, lease)) else {
                    return lost();
                };
                self.held().learn(id, written);
                (known, version) = self.held().known(id);
            }
            let mut keys = Vec::with_capacity(2);
            let mut owned = None;
            match known {
                Known::Lost => return lost(),
                Known::Written(written) => {
                    owned = Some((written.modified, written.token));
                    keys.push(Held { key: guard(), lease: id, modified: Some(written.modified) });
                    keys.extend(written.beside.map(|key| Held { key, lease: id, modified: None }));
                }
                // While we write, only the lease tells.
                Known::Changing | Known::Nothing => {
                    keys.push(Held { key: guard(), lease: id, modified: None });
                }
            }
            let (beat, held) =
                tokio::join!(self.heartbeats().beat(id, begun.end), self.fences().hold(keys, begun.end));
            if matches!(&beat, Err(error) if error.kind() == ErrorKind::LeaseLost) {
                return lost();
            }
            if held? {
                return beat.map(drop);
            }
            if self.held().known(id).1 == version {
                // A write of our own whose caller has gone may have been done only now.
                let found = find().await?;
                let later = found.and_then(|found| self.as_written(&found, lease)).filter(|later| {
                    owned.is_some_and(|(modified, token)| later.modified > modified && later.token == token)
                });
                let Some(later) = later else { return lost() };
                self.held().learn(id, later);
            }
            // What was asked for was out of date: a write of our own came between.
        }
        Err(failure(ErrorKind::Unavailable, Operation::Keepalive, "the entry is changed all the time"))
    }

    pub(crate) async fn rewrite(&self, lease: &Lease, instance: &Instance) -> Result<Revision> {
        let begun = self.connection().begin(Operation::Update);
        let id = lease_id(lease);
        let guard = self.codec().guard(lease.service(), lease.id());
        let lost = || {
            self.held().lose(id);
            Err(lease_lost(lease, Operation::Update))
        };
        let mut known = self.held().known(id).0;
        for _ in 0..ATTEMPTS {
            let base = match std::mem::replace(&mut known, Known::Nothing) {
                Known::Written(written) => written,
                Known::Lost => return lost(),
                Known::Nothing | Known::Changing => {
                    let found = self.find(begun, &guard).await?;
                    let Some(base) = found.and_then(|found| self.as_written(&found, lease)) else {
                        return lost();
                    };
                    base
                }
            };
            let stored = base.with(instance);
            let before = Before { modified: base.modified, lease: Some(id), beside: base.beside.clone() };
            let write = self.held().begin_write(id);
            let modified = match self.put(begun, &guard, &before, &stored, id).await? {
                Outcome::Done(modified) => modified,
                Outcome::Otherwise(Some(found)) if found.lease == id => match &found.stored {
                    // Our own write, whose first answer was slower than the second's.
                    Some(present) if **present == stored => found.modified,
                    // An earlier update whose answer was lost; whoever holds the lease may go on from there.
                    Some(present) if present.token == base.token && found.modified != before.modified => {
                        continue;
                    }
                    _ => return lost(),
                },
                Outcome::Otherwise(_) => return lost(),
            };
            let beside = self.codec().beside(&stored, id).map(|(key, _)| key);
            write.acknowledged(Written { modified, beside, ..base });
            return Ok(revision(modified));
        }
        Err(failure(ErrorKind::Unavailable, Operation::Update, "others kept changing the entry"))
    }

    /// What `lease` holds, as if we had just written it; `None` when it holds nothing that can be read, or another incarnation's.
    fn as_written(&self, found: &Found, lease: &Lease) -> Option<Written> {
        let id = lease_id(lease);
        let ours = |stored: &&Stored| found.lease == id && stored.incarnation == lease.incarnation();
        let stored = found.stored.as_deref().filter(ours)?;
        Some(self.written(stored, id, found.modified, Ttl::MAX))
    }

    /// Takes the entry off with a goodbye, if this lease still holds it, and ends the lease with all that it holds and nothing else.
    pub(crate) async fn remove(&self, lease: &Lease) -> Result<()> {
        let begun = self.connection().begin(Operation::Deregister);
        let id = lease_id(lease);
        match self.say_goodbye(begun, lease, id).await {
            // It fails for the other as well, and is to be tried again as a whole.
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) => {
                return Err(error);
            }
            // A full store takes no goodbye; watches are not told why, then.
            Err(error) => {
                let (service, instance) = (lease.service(), lease.id());
                tracing::warn!(%service, %instance, %error, "an instance leaves without a goodbye: to those who watch it looks as if it had died");
            }
            // It need not be said again if the rest fails.
            Ok(()) => self.held().lose(id),
        }
        match self.revoke(begun, id).await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::LeaseLost => {}
            Err(error) => return Err(error),
        }
        self.held().forget(id);
        Ok(())
    }

    /// In one revision: the entry goes, and its owner says that it has left. Without that, the end of a lease looks the same whether it was
    /// given up or ran out.
    async fn say_goodbye(&self, begun: Begun, lease: &Lease, id: i64) -> Result<()> {
        let guard = self.codec().guard(lease.service(), lease.id());
        let goodbye = self.codec().goodbye(lease.service(), lease.id());
        let mut written = match self.held().known(id).0 {
            Known::Written(written) => Some(written),
            Known::Lost => return Ok(()),
            Known::Nothing | Known::Changing => {
                let found = self.find(begun, &guard).await?;
                found.and_then(|found| self.as_written(&found, lease))
            }
        };
        for _ in 0..ATTEMPTS {
            let Some(last) = written else { return Ok(()) };
            let mut then = vec![TxnOp::delete(guard.clone(), None)];
            then.extend(last.beside.map(|key| TxnOp::delete(key, None)));
            then.push(TxnOp::put(goodbye.clone(), "", Some(PutOptions::new().with_lease(id))));
            // As it was written last: of a later write, it is not known what is beside it.
            let when = [
                Compare::mod_revision(guard.clone(), CompareOp::Equal, last.modified),
                Compare::lease(guard.clone(), CompareOp::Equal, id),
            ];
            let txn = Txn::new().when(when).and_then(then).or_else([TxnOp::get(guard.clone(), None)]);
            let write = |client: &Client| {
                let (mut kv, txn) = (client.kv_client(), txn.clone());
                async move { kv.txn(txn).await }
            };
            let answer = self.connection().call_for(begun, write).await?;
            if answer.succeeded() {
                return Ok(());
            }
            // An update came between, by another client with this lease or one of our own whose caller has gone.
            written = found_in(&answer).and_then(|found| self.as_written(&found, lease));
        }
        Err(failure(ErrorKind::Unavailable, Operation::Deregister, "others kept changing the entry"))
    }

    async fn find(&self, begun: Begun, guard: &str) -> Result<Option<Found>> {
        let read = |client: &Client| {
            let mut kv = client.kv_client();
            async move { kv.get(guard, None).await }
        };
        let answer = self.connection().call_for(begun, read).await?;
        Ok(answer.kvs().first().map(Found::new))
    }

    fn before(&self, found: Option<&Found>) -> Before {
        let Some(found) = found else { return Before::default() };
        let beside = found.stored.as_ref().and_then(|stored| self.codec().beside(stored, found.lease));
        Before { modified: found.modified, lease: None, beside: beside.map(|(key, _)| key) }
    }

    /// Puts `stored` under `lease` in place of `before`, with what belongs beside it.
    async fn put(
        &self,
        begun: Begun,
        guard: &str,
        before: &Before,
        stored: &Stored,
        lease: i64,
    ) -> Result<Outcome> {
        let mut when = vec![Compare::mod_revision(guard, CompareOp::Equal, before.modified)];
        if let Some(held_by) = before.lease {
            when.push(Compare::lease(guard, CompareOp::Equal, held_by));
            let beside = before.beside.as_ref();
            when.extend(beside.map(|key| Compare::lease(key.clone(), CompareOp::Equal, held_by)));
        }
        let put =
            |key: &str, value: Vec<u8>| TxnOp::put(key, value, Some(PutOptions::new().with_lease(lease)));
        let mut then = vec![put(guard, stored.encode())];
        let beside = self.codec().beside(stored, lease);
        if let Some((key, value)) = &beside {
            then.push(put(key, value.clone().into_bytes()));
        }
        if let Some(old) = &before.beside
            && beside.as_ref().is_none_or(|(key, _)| key != old)
        {
            then.push(TxnOp::delete(old.clone(), None));
        }
        if begun.operation == Operation::Register {
            // So that a store in which nobody has looked yet can be read when it is full.
            then.push(TxnOp::txn(self.store().identifying()));
        }
        let txn = Txn::new().when(when).and_then(then).or_else([TxnOp::get(guard, None)]);
        let write = |client: &Client| {
            let (mut kv, txn) = (client.kv_client(), txn.clone());
            async move { kv.txn(txn).await }
        };
        let answer = self.connection().call_for(begun, write).await?;
        if answer.succeeded() {
            return Ok(Outcome::Done(i64::try_from(header_revision(answer.header())).unwrap_or(i64::MAX)));
        }
        Ok(Outcome::Otherwise(found_in(&answer)))
    }

    /// A new lease, and its TTL. The id is drawn here, so that asking twice grants one.
    async fn grant(&self, begun: Begun, ttl: Ttl) -> Result<(i64, Ttl)> {
        let id = ((OwnerToken::random().as_u128() as u64 >> 1).max(1)) as i64;
        let secs = whole_secs(ttl);
        let grant = |client: &Client| {
            let mut leases = client.lease_client();
            async move { leases.grant(secs, Some(LeaseGrantOptions::new().with_id(id))).await }
        };
        let granted = match self.connection().call_for(begun, grant).await {
            Err(error) if is_granted_already(&error) => {
                let ask = |client: &Client| {
                    let mut leases = client.lease_client();
                    async move { leases.time_to_live(id, None).await }
                };
                self.connection().call_for(begun, ask).await.map(|answer| answer.granted_ttl())
            }
            answer => answer.map(|granted| granted.ttl()),
        };
        let granted = granted.and_then(|secs| Ok((id, granted_ttl(secs)?)));
        if granted.is_err() {
            // It may be there, and nothing is under it.
            self.discard(Some((id, ttl)));
        }
        granted
    }

    async fn revoke(&self, begun: Begun, lease: i64) -> Result<()> {
        let revoke = |client: &Client| {
            let mut leases = client.lease_client();
            async move { leases.revoke(lease).await }
        };
        self.connection().call_for(begun, revoke).await.map(drop)
    }

    /// Ends a lease that is not needed, in the background. When that fails it ends by itself.
    fn discard(&self, granted: Option<(i64, Ttl)>) {
        let Some((lease, _)) = granted else { return };
        let this = self.clone();
        tokio::spawn(async move {
            if let Err(error) = this.revoke(this.connection().begin(Operation::Register), lease).await {
                tracing::debug!(%error, "a lease was left to run out");
            }
        });
    }
}

/// What a transaction that was refused has read instead.
fn found_in(answer: &TxnResponse) -> Option<Found> {
    answer.op_responses().into_iter().find_map(|part| match part {
        TxnOpResponse::Get(found) => found.kvs().first().map(Found::new),
        _ => None,
    })
}

/// What became of the same attempt again.
enum Again {
    Registered(Registration),
    /// The guard is like this now.
    Otherwise(Option<Found>),
    /// The lease is over.
    Over,
}

/// etcd counts in whole seconds.
fn whole_secs(ttl: Ttl) -> i64 {
    let secs = ttl.get().as_secs() + u64::from(ttl.get().subsec_nanos() > 0);
    i64::try_from(secs.max(MIN_TTL_SECS)).unwrap_or(i64::MAX)
}

fn granted_ttl(secs: i64) -> Result<Ttl> {
    let ttl = Ttl::from_secs(u64::try_from(secs).unwrap_or_default());
    ttl.map_err(|_| {
        // Granted, and over before we could ask for how long.
        failure(ErrorKind::Unavailable, Operation::Register, format!("etcd granted a lease of {secs} s"))
    })
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
