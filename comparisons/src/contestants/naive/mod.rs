//! The registries on Redis that people write, as they write them: what they get wrong is what is to be seen, so nothing here is to be mended.

mod hash;
mod key;
mod place;

pub use hash::NaiveHash;
pub use key::NaiveKey;
pub use place::Place;

use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::time::Duration;

use async_trait::async_trait;
use fastrand::Rng;
use futures_util::stream;
use redis::RedisError;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use place::Connection;

use super::{Seen, Watching};

/// How long a client waits before it connects again, in ms: not all of them at once.
const AGAIN: RangeInclusive<u64> = 50..=100;

/// How long a watcher of a service waits each time before it connects again. The same for the same service.
struct Pauses(Rng);

impl Pauses {
    fn of(service: &str) -> Self {
        let seed =
            service.bytes().fold(0_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
        Self(Rng::with_seed(seed))
    }

    fn next(&mut self) -> Duration {
        Duration::from_millis(self.0.u64(AGAIN))
    }
}

/// How a watcher of each kind listens.
#[async_trait]
trait Follow: Send + Sync + 'static {
    /// The connection it reads with.
    fn connection(&self) -> &Connection;

    /// Subscribes to `service` and passes on what it is told, until the subscription ends. `loaded` is whether it has read what there is before.
    async fn subscribed(
        &self,
        service: &str,
        told: &UnboundedSender<Seen>,
        loaded: &mut bool,
    ) -> Result<Infallible, RedisError>;
}

/// That the server, or the network, ended a subscription.
fn ended() -> RedisError {
    place::io("the subscription ended")
}

/// What a watcher of `service` tells: it subscribes again whenever it must.
fn follow(watcher: impl Follow, service: &str) -> Watching {
    let (told, telling) = mpsc::unbounded_channel();
    let service = service.to_owned();
    let follower = tokio::spawn(async move {
        let (mut loaded, mut pauses) = (false, Pauses::of(&service));
        while !told.is_closed() {
            let Err(error) = watcher.subscribed(&service, &told, &mut loaded).await;
            let _ = told.send(Seen::Trouble(error.to_string()));
            sleep(pauses.next()).await;
            // A server that ended the subscription has most likely ended this, too, and who connects again connects both.
            watcher.connection().close().await;
        }
    });
    watching(telling, follower)
}

/// What the task `follower` tells, for as long as someone listens.
pub(super) fn watching(telling: UnboundedReceiver<Seen>, follower: JoinHandle<()>) -> Watching {
    let follower = Follower(follower);
    Box::pin(stream::unfold((telling, follower), |(mut telling, follower)| async move {
        telling.recv().await.map(|seen| (seen, (telling, follower)))
    }))
}

/// Ends with its owner.
struct Follower(JoinHandle<()>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::{AGAIN, Pauses};

    #[test]
    fn pauses_differ_within_their_range_and_are_the_same_for_the_same_service() {
        let pauses = |service: &str| {
            let mut pauses = Pauses::of(service);
            [(); 20].map(|()| u64::try_from(pauses.next().as_millis()).unwrap())
        };
        let some = pauses("users");
        assert!(some.iter().all(|millis| AGAIN.contains(millis)), "{some:?}");
        assert!(some.iter().any(|millis| *millis != some[0]), "{some:?}");
        assert_eq!(some, pauses("users"));
        assert_ne!(some, pauses("orders"));
    }
}
