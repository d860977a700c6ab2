//! What a backend brings to be tested.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use registry_core::{Instance, InstanceId, Registry, ServiceName};

/// A backend under test: one fresh store, and what tests can do to it.
///
/// Only [`client`](Self::client) is needed. Every other method is a [`Control`]; implement those that the backend has, and list
/// them in [`conformance!`](crate::conformance!). One that is listed and not implemented fails its tests.
///
/// A control returns when what it does has happened.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync {
    /// A new client of this store, with a connection of its own. The first client finds the store empty.
    async fn client(&self) -> Arc<dyn Registry>;

    /// More changes than a watch holds for a consumer that does not read: so many unread ones must become one `Reset`. Half of
    /// it may well be held, and 1,000 must be, because the suite has bursts of that many.
    fn overflow(&self) -> usize {
        4096
    }

    /// [`Control::Link`]: as [`client`](Self::client), with a connection that the test can take away.
    async fn linked_client(&self) -> (Arc<dyn Registry>, Arc<dyn Link>) {
        lacks(Control::Link)
    }

    /// [`Control::Pause`]: takes the store away from all clients, without a word, and without losing anything. The store may stand
    /// still meanwhile.
    async fn pause(&self) {
        lacks(Control::Pause)
    }

    /// [`Control::Pause`]: gives the store back.
    async fn resume(&self) {
        lacks(Control::Pause)
    }

    /// [`Control::Compact`]: makes the store forget its history.
    async fn compact(&self) {
        lacks(Control::Compact)
    }

    /// [`Control::Wipe`]: empties the store.
    async fn wipe(&self) {
        lacks(Control::Wipe)
    }

    /// [`Control::Restart`]: kills the process that holds the store, as `kill -9` does, and starts it again.
    async fn restart(&self) {
        lacks(Control::Restart)
    }

    /// [`Control::PowerCut`]: loses what was not on disk, and starts the store again.
    async fn power_cut(&self) {
        lacks(Control::PowerCut)
    }

    /// [`Control::LoseMinority`]: destroys a minority of the servers, the leading one among them, with their data.
    async fn lose_minority(&self) {
        lacks(Control::LoseMinority)
    }

    /// [`Control::Restore`]: keeps the present state aside.
    async fn checkpoint(&self) {
        lacks(Control::Restore)
    }

    /// [`Control::Restore`]: puts back what was kept aside, as an operator restores a backup.
    async fn restore(&self) {
        lacks(Control::Restore)
    }

    /// [`Control::Operator`]: deletes an entry behind its owner's back.
    async fn delete(&self, service: &ServiceName, id: &InstanceId) {
        let _ = (service, id);
        lacks(Control::Operator)
    }

    /// [`Control::Operator`]: writes an entry behind its owner's back, which readers can read.
    async fn overwrite(&self, instance: &Instance) {
        let _ = instance;
        lacks(Control::Operator)
    }

    /// [`Control::Malformed`]: writes `bytes` where the entry of `id` is or would be.
    async fn put_bytes(&self, service: &ServiceName, id: &InstanceId, bytes: &[u8]) {
        let _ = (service, id, bytes);
        lacks(Control::Malformed)
    }

    /// [`Control::Expire`]: ends the lease of an entry now, as if its TTL were over.
    async fn expire(&self, service: &ServiceName, id: &InstanceId) {
        let _ = (service, id);
        lacks(Control::Expire)
    }

    /// [`Control::Capacity`]: makes the store refuse what is not there yet.
    async fn fill(&self) {
        lacks(Control::Capacity)
    }

    /// [`Control::Capacity`]: makes room again.
    async fn unfill(&self) {
        lacks(Control::Capacity)
    }
}

/// The connection of one client.
#[async_trait]
pub trait Link: fmt::Debug + Send + Sync {
    /// Breaks the connection: what is open fails, and connecting is refused.
    async fn cut(&self);
    /// Swallows everything both ways, without a word.
    async fn black_hole(&self);
    /// Mends it.
    async fn heal(&self);
}

/// Something that tests can do to a store. A backend has all, some or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Control {
    /// Taking one client's connection away: [`Backend::linked_client`]. In the macro: `link`.
    Link,
    /// Taking the store away from everybody: [`Backend::pause`]. In the macro: `pause`.
    Pause,
    /// Forgetting history: [`Backend::compact`]. In the macro: `compact`.
    Compact,
    /// Losing everything: [`Backend::wipe`]. In the macro: `wipe`.
    Wipe,
    /// Killing and starting the store: [`Backend::restart`]. In the macro: `restart`.
    Restart,
    /// Cutting the store's power: [`Backend::power_cut`]. In the macro: `power_cut`.
    PowerCut,
    /// Destroying a minority of the servers: [`Backend::lose_minority`]. In the macro: `lose_minority`.
    LoseMinority,
    /// Going back to an older state: [`Backend::restore`]. In the macro: `restore`.
    Restore,
    /// Deleting and overwriting entries: [`Backend::delete`], [`Backend::overwrite`]. In the macro: `operator`.
    Operator,
    /// Writing entries that cannot be read: [`Backend::put_bytes`]. In the macro: `malformed`.
    Malformed,
    /// Ending a lease: [`Backend::expire`]. In the macro: `expire`.
    Expire,
    /// Filling the store up: [`Backend::fill`]. In the macro: `capacity`.
    Capacity,
}

fn lacks(control: Control) -> ! {
    panic!("the harness says that it has the control {control:?}, and does not implement it")
}
