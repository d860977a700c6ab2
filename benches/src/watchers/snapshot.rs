//! The snapshot that a consumer of the registry reads.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use comparisons::contestants::{Contestant, Listed, Member, Ours, Seen, Watching, value};
use comparisons::experiment::Trouble;
use futures_util::{StreamExt, stream};
use registry_core::{Difference, Directory, Registry, ServiceName, Snapshot, View, diff};

/// A registry whose watcher reads views: a change has arrived when [`View::load`] shows it.
#[derive(Clone, Debug)]
pub struct Snapshots {
    ours: Ours,
}

impl Snapshots {
    /// Of `registry`.
    #[must_use]
    pub fn of(registry: Arc<dyn Registry>) -> Self {
        Self { ours: Ours::of(registry) }
    }
}

/// A view, and what of it was seen already.
struct Reader {
    view: View,
    seen: Option<Snapshot>,
}

impl Reader {
    async fn next(mut self) -> Option<(Vec<Seen>, Self)> {
        if !self.view.changed().await {
            return None;
        }
        let snapshot = self.view.load().snapshot().cloned();
        let Some(snapshot) = snapshot else { return Some((Vec::new(), self)) };
        let changes = diff(self.seen.as_ref(), &snapshot).into_iter().map(seen).collect();
        self.seen = Some(snapshot);
        Some((changes, self))
    }
}

fn seen(difference: Difference) -> Seen {
    match difference {
        Difference::Added(entry) | Difference::Changed { new: entry, .. } => {
            Seen::Change { id: entry.id().to_string(), value: Some(value(entry.instance())) }
        }
        Difference::Removed(entry) => Seen::Change { id: entry.id().to_string(), value: None },
        other => Seen::Trouble(format!("an unknown difference: {other:?}")),
    }
}

#[async_trait]
impl Contestant for Snapshots {
    async fn register(
        &self,
        service: &str,
        id: &str,
        value: u64,
        ttl: Duration,
    ) -> Result<Box<dyn Member>, Trouble> {
        self.ours.register(service, id, value, ttl).await
    }

    fn watch(&self, service: &str) -> Watching {
        match ServiceName::new(service) {
            Ok(service) => {
                let view = Directory::new(Arc::clone(self.ours.registry())).view(&service);
                let reader = Reader { view, seen: None };
                Box::pin(stream::unfold(reader, Reader::next).flat_map(stream::iter))
            }
            Err(error) => Box::pin(stream::iter([Seen::Trouble(error.to_string())])),
        }
    }

    async fn list(&self, service: &str) -> Result<Listed, Trouble> {
        self.ours.list(service).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use comparisons::contestants::{Contestant, Seen};
    use futures_util::StreamExt;
    use registry_memory::MemoryRegistry;

    use super::Snapshots;

    #[tokio::test]
    async fn every_change_that_a_snapshot_shows_is_told_once() {
        let contestant = Snapshots::of(Arc::new(MemoryRegistry::new()));
        let mut watching = contestant.watch("user.rpc");
        let change = |value| Seen::Change { id: "a".to_owned(), value };
        let member = contestant.register("user.rpc", "a", 1, Duration::from_secs(60)).await.unwrap();
        assert_eq!(watching.next().await, Some(change(Some(1))));
        member.set(2).await.unwrap();
        assert_eq!(watching.next().await, Some(change(Some(2))));
        member.leave().await.unwrap();
        assert_eq!(watching.next().await, Some(change(None)));
    }
}
