//! A change, and many subscribers of one process that read it.
//!
//! In every way a task follows the same kind of registry, folds the change, and publishes a new version; they differ by what they publish it with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use registry_core::{
    Directory, Folded, Instance, Lease, RegisterOptions, Registry, Result, Revision, Snapshot, Ttl, View,
    Watch, fold,
};
use registry_memory::MemoryRegistry;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// By what subscribers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a [`View`].
    View,
    /// By [`tokio::sync::watch`], whose reader sees the last version.
    Watch,
    /// By [`tokio::sync::broadcast`], whose reader gets every version.
    Broadcast,
}

/// A registry with some instances, and subscribers.
#[derive(Debug)]
pub struct Delivery {
    registry: MemoryRegistry,
    lease: Lease,
    versions: [Instance; 2],
    subscribers: u64,
    changes: u64,
    reading: Arc<Reading>,
    /// Ends with this.
    _tasks: JoinSet<()>,
}

/// How many have read.
#[derive(Debug, Default)]
struct Reading {
    done: AtomicU64,
    wanted: AtomicU64,
    all: Notify,
}

/// One who reads what it has not seen yet.
#[derive(Clone, Debug)]
struct Subscriber {
    reading: Arc<Reading>,
    seen: Revision,
}

impl Subscriber {
    fn read(&mut self, snapshot: &Snapshot) {
        if snapshot.revision() == self.seen {
            return;
        }
        self.seen = snapshot.revision();
        let done = self.reading.done.fetch_add(1, Ordering::SeqCst) + 1;
        if done == self.reading.wanted.load(Ordering::SeqCst) {
            self.reading.all.notify_one();
        }
    }

    async fn of_view(mut self, mut view: View) {
        while view.changed().await {
            view.load().snapshot().into_iter().for_each(|snapshot| self.read(snapshot));
        }
    }

    async fn of_watch(mut self, mut published: watch::Receiver<Snapshot>) {
        while published.changed().await.is_ok() {
            self.read(&published.borrow_and_update());
        }
    }

    async fn of_broadcast(mut self, mut published: broadcast::Receiver<Snapshot>) {
        while let Ok(snapshot) = published.recv().await {
            self.read(&snapshot);
        }
    }
}

const INSTANCES: usize = 100;

impl Delivery {
    /// A registry of its own, and so many subscribers, all of whom have seen what is there.
    ///
    /// # Errors
    /// What the registry refuses.
    pub async fn start(way: Way, subscribers: usize) -> Result<Self> {
        let registry = MemoryRegistry::new();
        let options = RegisterOptions::new().with_ttl(Ttl::MAX);
        let instance = |number: usize| {
            Instance::builder("user.rpc").id(format!("i{number}")).endpoint("10.0.0.7:80").build()
        };
        for number in 1..INSTANCES {
            registry.register(&instance(number)?, &options).await?;
        }
        let one = instance(0)?;
        let other = one.to_builder().metadata("version", "2").build()?;
        let lease = registry.register(&one, &options).await?.lease;
        let snapshot = registry.lookup(one.service()).await?;

        let reading = Arc::new(Reading::default());
        let subscriber = Subscriber { reading: Arc::clone(&reading), seen: snapshot.revision() };
        let mut tasks = JoinSet::new();
        match way {
            Way::View => {
                let view = Directory::new(Arc::new(registry.clone())).view(one.service());
                view.ready().await;
                for _ in 0..subscribers {
                    tasks.spawn(subscriber.clone().of_view(view.clone()));
                }
            }
            Way::Watch => {
                let (publisher, published) = watch::channel(snapshot);
                for _ in 0..subscribers {
                    tasks.spawn(subscriber.clone().of_watch(published.clone()));
                }
                let publish = move |snapshot| drop(publisher.send(snapshot));
                tasks.spawn(follow(registry.watch(one.service(), None), publish));
            }
            Way::Broadcast => {
                let (publisher, _) = broadcast::channel(16);
                for _ in 0..subscribers {
                    tasks.spawn(subscriber.clone().of_broadcast(publisher.subscribe()));
                }
                let publish = move |snapshot| drop(publisher.send(snapshot));
                tasks.spawn(follow(registry.watch(one.service(), None), publish));
            }
        }
        let versions = [one, other];
        let subscribers = subscribers as u64;
        Ok(Self { registry, lease, versions, subscribers, changes: 0, reading, _tasks: tasks })
    }

    /// How long it takes until all have read so many changes, the next one being made when all have read the one before.
    ///
    /// # Errors
    /// What the registry refuses.
    pub async fn deliver(&mut self, changes: u32) -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..changes {
            self.changes += 1;
            self.reading.wanted.store(self.changes * self.subscribers, Ordering::SeqCst);
            let [one, other] = &self.versions;
            let version = if self.changes.is_multiple_of(2) { one } else { other };
            self.registry.update(&self.lease, version).await?;
            self.reading.all.notified().await;
        }
        Ok(start.elapsed())
    }
}

/// Folds what is watched, and publishes each version.
async fn follow(mut watch: Watch, publish: impl Fn(Snapshot)) {
    let mut live = None;
    while let Some(event) = watch.next().await {
        if fold(&mut live, &event) == Folded::Changed {
            live.iter().cloned().for_each(&publish);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_subscriber_reads_every_change_once() {
        for way in [Way::View, Way::Watch, Way::Broadcast] {
            for subscribers in [1, 100] {
                let mut delivery = Delivery::start(way, subscribers).await.unwrap();
                delivery.deliver(20).await.unwrap();
                let done = delivery.reading.done.load(Ordering::SeqCst);
                assert_eq!(done, 20 * subscribers as u64, "{way:?}");
            }
        }
    }
}
