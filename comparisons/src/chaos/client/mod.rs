//! Who asks: one small trait in the words of a [`history`](super::history), so that actors play on every registry alike. Whatever a client is asked, and what
//! it was told, it writes down by itself, also when its caller gives up.
//!
//! * [`Ours`]: anything behind the [`Registry`] trait, with revisions, incarnations and positions.
//! * [`Naive`]: the registries on Redis that people write, which have none of them.

mod asked;
mod naive;
mod ours;
mod recorded;
mod words;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::Stream;
use registry_core::{Cursor, Registry, ServiceName, Ttl};
use serde::{Deserialize, Serialize};

pub(crate) use asked::Asked;
pub use naive::Naive;
pub use ours::Ours;
pub use recorded::Recorded;
pub use words::{change, entry, kind, listed, position};

use super::history::{Change, Item, Listed, Position};
use super::recorder::Recorder;
use super::stand::Place;
use crate::contestants::{NaiveHash, NaiveKey, Place as RedisPlace};
use crate::experiment::Trouble;

/// What to do about an id that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Take it, as a restarted process does.
    TakeOver,
    /// Take it from a lower incarnation only, as an owner that recovers does. A registry without incarnations takes it all the same.
    Reclaim,
}

/// What a client was answered, as far as whoever asked acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// It does not hold the instance any more.
    Lost,
    /// Another error. Whether it was done is what the history says.
    Error,
}

/// All instances, as they were read.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// At which position, if the registry has positions.
    pub position: Option<Position>,
    /// The instances.
    pub listed: Vec<Listed>,
    /// How many entries were left out because they cannot be read.
    pub skipped: usize,
}

/// What a watcher is told, and where it can go on from after that.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// What.
    pub item: Item,
    /// Where it can go on from, if this moves it.
    pub cursor: Option<Cursor>,
}

/// What a watcher is told. Dropping it ends the watch.
pub type Hearing = Pin<Box<dyn Stream<Item = Heard> + Send>>;

/// A client of one service in a registry.
#[async_trait]
pub trait Client: Send + Sync {
    /// Lists `id` with `value`. None if that failed, or may have.
    async fn register(&self, id: &str, value: u64, how: How) -> Option<Box<dyn Held>>;

    /// All instances. None if they could not be read.
    async fn list(&self) -> Option<Read>;

    /// Watches from a cursor, or from a first list on.
    fn watch(&self, from: Option<Cursor>) -> Hearing;
}

/// An instance in the hands of whoever registered it.
#[async_trait]
pub trait Held: Send + Sync {
    /// One heartbeat.
    async fn renew(&self) -> Answer;

    /// Gives it another value.
    async fn set(&self, value: u64) -> Answer;

    /// Takes it off the list.
    async fn leave(&self) -> Answer;
}

/// Values that nobody else writes in a run: of the actor with this number.
#[derive(Debug)]
pub struct Values(AtomicU64);

impl Values {
    /// So many values has an actor. With 32 bits for the number of the actor they stay below 2^53, which every reader of JSON keeps exactly.
    const EACH: u64 = 1 << 20;

    /// Those of an actor.
    #[must_use]
    pub fn of(actor: u32) -> Self {
        Self(AtomicU64::new((u64::from(actor) + 1) * Self::EACH))
    }

    /// Another one.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Which of the registries on Redis that people write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// [`NaiveHash`]: what most people write, and works on every Redis.
    #[default]
    Hash,
    /// [`NaiveHash::reloading`].
    Reloading,
    /// [`NaiveKey`]: the server must be started with [`NaiveKey::ARGS`].
    Key,
}

/// A registry of the run: connected, and not yet asked anything.
#[derive(Clone, Debug)]
pub enum Connected {
    /// One of this project's.
    Ours(Arc<dyn Registry>),
    /// One that people write.
    Hash(NaiveHash),
    /// Another that people write.
    Key(NaiveKey),
}

impl Connected {
    /// The registry at a place. Waits for no server.
    ///
    /// # Errors
    /// What is wrong with a URL.
    pub async fn to(place: &Place, variant: Variant) -> Result<Self, Trouble> {
        Ok(match place {
            Place::Memory(registry) => Self::Ours(Arc::new(registry.clone())),
            Place::Url(url) | Place::Group { url, .. } => Self::Ours(service_registry::connect(url).await?),
            Place::NaiveUrl(url) => {
                let place = RedisPlace::Url(url.clone());
                match variant {
                    Variant::Hash => Self::Hash(NaiveHash::new(place)),
                    Variant::Reloading => Self::Hash(NaiveHash::reloading(place)),
                    Variant::Key => Self::Key(NaiveKey::new(place)),
                }
            }
        })
    }

    /// The registry, if it is one of this project's.
    #[must_use]
    pub fn registry(&self) -> Option<&Arc<dyn Registry>> {
        match self {
            Self::Ours(registry) => Some(registry),
            Self::Hash(_) | Self::Key(_) => None,
        }
    }

    /// A client called `name`, of `service`, who registers for `ttl`.
    #[must_use]
    pub fn client(
        &self,
        name: &str,
        service: &ServiceName,
        ttl: Ttl,
        recorder: &Recorder,
    ) -> Box<dyn Client> {
        let naive = |contestant| {
            let name = name.to_owned();
            Box::new(Naive::new(contestant, name, service.to_string(), ttl.get(), recorder.clone()))
        };
        match self {
            Self::Ours(registry) => {
                let registry = Recorded::new(Arc::clone(registry), name, recorder.clone());
                Box::new(Ours::new(registry, service.clone(), ttl))
            }
            Self::Hash(hash) => naive(Arc::new(hash.clone())),
            Self::Key(key) => naive(Arc::new(key.clone())),
        }
    }
}

/// The instances that changes leave, by id: what a watcher takes for the truth.
pub fn apply(listed: &mut BTreeMap<String, Listed>, item: &Item) {
    match item {
        Item::Reset { listed: all, .. } => {
            *listed = all.iter().map(|one| (one.id.clone(), one.clone())).collect();
        }
        Item::Changes { changes, .. } => {
            for change in changes {
                match change {
                    Change::Put(one) => drop(listed.insert(one.id.clone(), one.clone())),
                    Change::Delete { id, .. } => drop(listed.remove(id)),
                }
            }
        }
        _ => {}
    }
}

/// Nobody waits longer for an answer.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// What is asked, unless nobody answers in time: whoever asked then gives up, and it is written down that nobody knows what came of it.
pub(crate) async fn patient<T>(asking: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(PATIENCE, asking).await.ok()
}

#[cfg(test)]
mod tests {
    use super::Values;

    #[test]
    fn no_two_actors_write_the_same_value() {
        let (some, next) = (Values::of(0), Values::of(1));
        let some: Vec<u64> = (0..1000).map(|_| some.next()).collect();
        let next: Vec<u64> = (0..1000).map(|_| next.next()).collect();
        assert!(some.is_sorted_by(|one, other| one < other) && some.last() < next.first());
        assert!(Values::of(u32::MAX).next() + Values::EACH < 1 << 53);
    }
}
