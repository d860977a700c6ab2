//! What a registrar is asked to publish: the newest takes the place of what nobody has looked at yet, so that changes which come faster than the registry
//! takes them cost no more than one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::cursor::Revision;
use crate::error::{Error, Operation, Result};
use crate::instance::Instance;
use crate::name::{InstanceId, ServiceName};

type Reply = oneshot::Sender<Result<Revision>>;

/// An instance to publish, and who waits until it, or a newer one, is published.
pub(super) struct Wanted {
    pub(super) instance: Instance,
    pub(super) waiting: Vec<Reply>,
}

#[derive(Default)]
struct Shared {
    place: Mutex<Place>,
    offered: Notify,
}

#[derive(Default)]
enum Place {
    #[default]
    Empty,
    Taken(Wanted),
    /// Nobody looks any more.
    Closed,
}

/// Where changes of one instance are offered.
pub(super) struct Offers {
    shared: Arc<Shared>,
    service: ServiceName,
    id: InstanceId,
}

/// Where the newest of them is taken. Dropping it refuses all.
pub(super) struct Newest {
    shared: Arc<Shared>,
}

/// For changes of `instance`.
pub(super) fn newest(instance: &Instance) -> (Offers, Newest) {
    let shared = Arc::<Shared>::default();
    let (service, id) = (instance.service().clone(), instance.id().clone());
    (Offers { shared: Arc::clone(&shared), service, id }, Newest { shared })
}

impl Offers {
    /// Offers `instance` in place of what was not taken yet, and gives where the answer comes; it is dropped once nobody looks any more. `None` when nobody
    /// does.
    ///
    /// # Errors
    /// When it is a change of another instance.
    pub(super) fn offer(&self, instance: Instance) -> Result<Option<oneshot::Receiver<Result<Revision>>>> {
        let mut place = self.shared.place();
        if matches!(*place, Place::Closed) {
            return Ok(None);
        }
        for (field, differs) in [
            ("service name", *instance.service() != self.service),
            ("instance id", *instance.id() != self.id),
        ] {
            if differs {
                let error =
                    Error::invalid(field, "is not the one registered; start another registrar for it");
                return Err(error.with_operation(Operation::Update));
            }
        }
        let (reply, answer) = oneshot::channel();
        let mut waiting = match std::mem::take(&mut *place) {
            Place::Taken(older) => older.waiting,
            _ => Vec::new(),
        };
        // Those who gave up waiting must not pile up.
        waiting.retain(|waiting| !waiting.is_closed());
        waiting.push(reply);
        *place = Place::Taken(Wanted { instance, waiting });
        self.shared.offered.notify_one();
        Ok(Some(answer))
    }
}

impl Newest {
    /// What was offered since it was taken last.
    pub(super) fn take(&self) -> Option<Wanted> {
        match std::mem::take(&mut *self.shared.place()) {
            Place::Taken(wanted) => Some(wanted),
            Place::Empty | Place::Closed => None,
        }
    }

    /// Completes when there may be something to take.
    pub(super) async fn offered(&self) {
        self.shared.offered.notified().await;
    }
}

impl Drop for Newest {
    fn drop(&mut self) {
        *self.shared.place() = Place::Closed;
    }
}

impl Shared {
    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
