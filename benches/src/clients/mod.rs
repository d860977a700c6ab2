//! Who uses a store: the registry, through its trait, and raw clients that send it the same requests.
//!
//! A raw client is what a careful user of the client library would write by hand for this one purpose. It has one connection, which it keeps; it knows its scripts;
//! it asks the store for the very transactions and scripts that the registry asks for, with the same keys and the same values, to which `tests/wire` holds it. What it leaves
//! out is everything that a registry adds on the way: other members, deadlines, retries, classified errors, checks of what was read.

mod entry;
mod etcd;
mod map;
mod ours;
mod redis;

use std::future::Future;

use comparisons::experiment::Trouble;
use registry_core::{Instance, Ttl};

pub use self::entry::{Entry, Owner};
pub(crate) use self::etcd::reads;
pub use self::etcd::{RawEtcd, RawEtcdLease};
pub use self::map::{InMap, InMapLease};
pub use self::ours::Ours;
pub use self::redis::{Keys, Published, RawRedis, RawRedisLease, Sent};
pub(crate) use self::redis::{answer, connection};

/// The operations of a registry, as one of its users does them: one after the other. A clone uses the same connection.
pub trait Client: Clone + Send + Sync + 'static {
    /// An instance, as this client wants to be given it.
    type Published: Send + Sync + 'static;
    /// What a registration gives: the right to change it.
    type Lease: Send + Sync + 'static;

    /// Puts `instance` into the form in which it is given to this client.
    fn publish(&self, instance: &Instance) -> Self::Published;

    /// Lists an instance, under a lease of [`ttl`].
    fn register(
        &mut self,
        published: &Self::Published,
    ) -> impl Future<Output = Result<Self::Lease, Trouble>> + Send;

    /// Renews the lease, and learns whether it still holds the entry.
    fn keepalive(&mut self, lease: &Self::Lease) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Replaces the instance.
    fn update(
        &mut self,
        lease: &mut Self::Lease,
        published: &Self::Published,
    ) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Takes the instance off, and says that its owner did.
    fn deregister(&mut self, lease: Self::Lease) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// All instances of a service; gives how many there are.
    fn lookup(&mut self, service: &str) -> impl Future<Output = Result<usize, Trouble>> + Send;
}

/// Longer than anything measured here, so that nothing ends by itself.
#[must_use]
pub fn ttl() -> Ttl {
    Ttl::from_secs(60 * 60).unwrap_or(Ttl::MAX)
}

/// An instance of usual size: some 250 bytes as stored.
///
/// # Errors
/// For what is no name of a service.
pub fn instance(service: &str, number: usize, weight: u32) -> registry_core::Result<Instance> {
    Instance::builder(service)
        .id(format!("i-{number:06}"))
        .endpoint(format!("10.{}.{}.{}:8080", number >> 16 & 255, number >> 8 & 255, number & 255))
        .version("1.4.2")
        .zone("eu-central-1a")
        .weight(weight)
        .metadata("commit", "8f3c1d27")
        .build()
}

/// How many registrations are under way at once where many are made that nobody measures.
const AT_ONCE: usize = 32;

/// Registers many, several at a time; the leases are in the order of the instances.
///
/// # Errors
/// What the store refuses.
pub async fn register_all<C: Client>(
    client: &C,
    published: Vec<C::Published>,
) -> Result<Vec<C::Lease>, Trouble> {
    use futures_util::{StreamExt, TryStreamExt, stream};

    let registering = published.into_iter().map(|published| {
        let mut client = client.clone();
        async move { client.register(&published).await }
    });
    stream::iter(registering).buffered(AT_ONCE).try_collect().await
}
