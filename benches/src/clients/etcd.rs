//! etcd by its client library: the requests of `registry-etcd`, on one connection to one member.

use std::fmt;
use std::hint::black_box;

use comparisons::experiment::Trouble;
use etcd_client::proto::PbTxnOpResponse;
use etcd_client::{
    Compare, CompareOp, GetOptions, GetResponse, KeyValue, KvClient, LeaseClient, LeaseGrantOptions,
    LeaseKeepAliveStream, LeaseKeeper, PutOptions, ResponseHeader, Txn, TxnOp, TxnResponse,
};
use registry_core::{Incarnation, Instance, OwnerToken};

use super::{Client, Entry, Owner, ttl};

/// The identity of the store, which the registry's transactions read, and write where it is not there.
const STORE: &str = "/registry/~store";
const PAGE: i64 = 1_000;

/// One member of etcd.
pub struct RawEtcd {
    // The library's own client holds six more, which are not needed and are copied with it.
    kv: KvClient,
    leases: LeaseClient,
    /// A stream of heartbeats for each clone: then an answer is that to the last request, and nothing has to tell answers apart.
    heartbeats: Option<(LeaseKeeper, LeaseKeepAliveStream)>,
    decodes: bool,
}

/// A lease of etcd's and what was written last under it.
#[derive(Clone, Debug)]
pub struct RawEtcdLease {
    /// The key of the entry.
    pub key: String,
    /// etcd's number of the lease.
    pub id: i64,
    /// The revision of the last write.
    pub modified: i64,
    goodbye: String,
    registered: i64,
    incarnation: u64,
    token: String,
}

impl RawEtcdLease {
    /// As updates are written.
    fn owner(&self) -> Owner<'_> {
        let registered = u64::try_from(self.registered).ok();
        Owner { token: &self.token, incarnation: self.incarnation, registered }
    }

    /// Whether what is under its key is what was written last.
    #[must_use]
    pub fn holds(&self, found: Option<&KeyValue>) -> bool {
        found.is_some_and(|kv| kv.lease() == self.id && kv.mod_revision() == self.modified)
    }
}

impl RawEtcd {
    /// Connects to the member at `endpoint`.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn connect(endpoint: &str) -> Result<Self, Trouble> {
        let client = etcd_client::Client::connect([endpoint], None).await?;
        Ok(Self::of(&client))
    }

    /// On the connection of `client`.
    #[must_use]
    pub fn of(client: &etcd_client::Client) -> Self {
        Self { kv: client.kv_client(), leases: client.lease_client(), heartbeats: None, decodes: true }
    }

    /// The same, which gives what it looks up as the bytes that it got.
    #[must_use]
    pub fn without_decoding(mut self) -> Self {
        self.decodes = false;
        self
    }

    /// The library's client of keys.
    #[must_use]
    pub fn kv(&self) -> KvClient {
        self.kv.clone()
    }

    /// The library's client of leases.
    #[must_use]
    pub fn leases(&self) -> LeaseClient {
        self.leases.clone()
    }

    /// The key of an instance.
    #[must_use]
    pub fn key(service: &str, id: &str) -> String {
        format!("/registry/{service}/{id}")
    }

    /// The keys of a service: the first, and the end.
    #[must_use]
    pub fn range(service: &str) -> (String, String) {
        (format!("/registry/{service}/"), format!("/registry/{service}0"))
    }

    /// Writes the instance by a plain `put`, whatever is there.
    ///
    /// # Errors
    /// What etcd refuses.
    pub async fn put(&mut self, lease: &mut RawEtcdLease, published: &Entry) -> Result<(), Trouble> {
        let options = PutOptions::new().with_lease(lease.id);
        let value = encoded(published, lease.owner())?;
        let answer = self.kv.put(lease.key.as_str(), value, Some(options)).await?;
        lease.modified = answer.header().map_or(0, ResponseHeader::revision);
        Ok(())
    }

    async fn beat(
        heartbeats: &mut Option<(LeaseKeeper, LeaseKeepAliveStream)>,
        leases: &mut LeaseClient,
        lease: i64,
    ) -> Result<(), Trouble> {
        let Some((keeper, answers)) = heartbeats else {
            // Opening a stream is a heartbeat.
            *heartbeats = Some(leases.keep_alive(lease).await?);
            return Ok(());
        };
        keeper.id = lease;
        keeper.keep_alive().await?;
        match answers.message().await? {
            Some(answer) if answer.id() == lease && answer.ttl() > 0 => Ok(()),
            _ => Err(Trouble::failed("etcd does not know the lease")),
        }
    }
}

impl Client for RawEtcd {
    type Published = Entry;
    type Lease = RawEtcdLease;

    fn publish(&self, instance: &Instance) -> Entry {
        Entry::of(instance)
    }

    async fn register(&mut self, published: &Entry) -> Result<RawEtcdLease, Trouble> {
        let seconds = i64::try_from(ttl().get().as_secs()).unwrap_or(i64::MAX);
        // Its own number, so that to ask again after a lost answer would not make another lease.
        let id = (OwnerToken::random().as_u128() as u64 >> 1).max(1) as i64;
        self.leases.grant(seconds, Some(LeaseGrantOptions::new().with_id(id))).await?;
        let (token, incarnation) = (token(), Incarnation::now().get());
        let owner = Owner { token: &token, incarnation, registered: None };
        let key = Self::key(&published.service, &published.id);
        let identity = format!("{:016x}", OwnerToken::random().as_u128() as u64);
        let identifying = Txn::new()
            .when([Compare::version(STORE, CompareOp::Equal, 0)])
            .and_then([TxnOp::put(STORE, identity, None)]);
        let put =
            TxnOp::put(key.as_str(), encoded(published, owner)?, Some(PutOptions::new().with_lease(id)));
        let txn = Txn::new()
            .when([Compare::mod_revision(key.as_str(), CompareOp::Equal, 0)])
            .and_then([put, TxnOp::txn(identifying)])
            .or_else([TxnOp::get(key.as_str(), None)]);
        let modified = done(&self.kv.txn(txn).await?)?;
        let goodbye = format!("/registry/{}/~gone/{}", published.service, published.id);
        Ok(RawEtcdLease { key, goodbye, id, modified, registered: modified, incarnation, token })
    }

    async fn keepalive(&mut self, lease: &RawEtcdLease) -> Result<(), Trouble> {
        // etcd renews a lease whether or not its key still belongs to it.
        let read = TxnOp::get(lease.key.as_str(), Some(GetOptions::new().with_keys_only()));
        let txn = Txn::new().and_then([read]);
        let beat = Self::beat(&mut self.heartbeats, &mut self.leases, lease.id);
        let (beaten, read) = tokio::join!(beat, self.kv.txn(txn));
        beaten?;
        match reads(read?).next() {
            Some(found) if lease.holds(found.kvs().first()) => Ok(()),
            _ => Err(Trouble::failed("the lease does not hold its key")),
        }
    }

    async fn update(&mut self, lease: &mut RawEtcdLease, published: &Entry) -> Result<(), Trouble> {
        let key = lease.key.as_str();
        let put =
            TxnOp::put(key, encoded(published, lease.owner())?, Some(PutOptions::new().with_lease(lease.id)));
        let unchanged = [
            Compare::mod_revision(key, CompareOp::Equal, lease.modified),
            Compare::lease(key, CompareOp::Equal, lease.id),
        ];
        let txn = Txn::new().when(unchanged).and_then([put]).or_else([TxnOp::get(key, None)]);
        lease.modified = done(&self.kv.txn(txn).await?)?;
        Ok(())
    }

    async fn deregister(&mut self, lease: RawEtcdLease) -> Result<(), Trouble> {
        let key = lease.key.as_str();
        let unchanged = [
            Compare::mod_revision(key, CompareOp::Equal, lease.modified),
            Compare::lease(key, CompareOp::Equal, lease.id),
        ];
        let goodbye = TxnOp::put(lease.goodbye, "", Some(PutOptions::new().with_lease(lease.id)));
        let then = [TxnOp::delete(key, None), goodbye];
        let txn = Txn::new().when(unchanged).and_then(then).or_else([TxnOp::get(key, None)]);
        done(&self.kv.txn(txn).await?)?;
        self.leases.revoke(lease.id).await?;
        Ok(())
    }

    async fn lookup(&mut self, service: &str) -> Result<usize, Trouble> {
        let (mut start, end) = Self::range(service);
        let (mut at, mut count) = (0, 0);
        loop {
            let options = GetOptions::new().with_range(end.as_str()).with_limit(PAGE).with_revision(at);
            let ops = [TxnOp::get(start.as_str(), Some(options)), TxnOp::get(STORE, None)];
            let answer = self.kv.txn(Txn::new().and_then(ops)).await?;
            let header = answer.header().map_or(0, ResponseHeader::revision);
            let Some(page) = reads(answer).next() else {
                return Err(Trouble::failed("etcd answered something else than was asked"));
            };
            if self.decodes {
                let entries: Result<Vec<Entry>, _> =
                    page.kvs().iter().map(|kv| Entry::decode(kv.value())).collect();
                count += black_box(entries.map_err(unreadable)?).len();
            } else {
                count += black_box(page.kvs()).len();
            }
            at = if at == 0 { header } else { at };
            match page.kvs().last().filter(|_| page.more()) {
                // The first key after the last one.
                Some(last) => start = format!("{}\0", last.key_str()?),
                None => return Ok(count),
            }
        }
    }
}

impl Clone for RawEtcd {
    fn clone(&self) -> Self {
        Self { kv: self.kv.clone(), leases: self.leases.clone(), heartbeats: None, decodes: self.decodes }
    }
}

impl fmt::Debug for RawEtcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawEtcd").field("decodes", &self.decodes).finish_non_exhaustive()
    }
}

/// What a transaction has read, in its order, without the copies that the library would make.
pub(crate) fn reads(answer: TxnResponse) -> impl Iterator<Item = GetResponse> {
    answer.0.responses.into_iter().filter_map(|part| match part.response {
        Some(PbTxnOpResponse::ResponseRange(range)) => Some(GetResponse(range)),
        _ => None,
    })
}

/// The revision at which a transaction was done.
fn done(answer: &TxnResponse) -> Result<i64, Trouble> {
    match answer.header() {
        Some(header) if answer.succeeded() => Ok(header.revision()),
        _ => Err(Trouble::failed("the key is not as it was written last")),
    }
}

fn token() -> String {
    format!("{:032x}", OwnerToken::random().as_u128())
}

fn encoded(published: &Entry, owner: Owner<'_>) -> Result<Vec<u8>, Trouble> {
    published.encode_for(owner).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> Trouble {
    Trouble::Failed(Box::new(error))
}
