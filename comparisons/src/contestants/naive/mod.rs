//! The registries on Redis that people write, as they write them: what they get wrong is what is to be seen, so nothing here is to be mended.

mod hash;
mod key;
mod place;

pub use hash::NaiveHash;
pub use key::NaiveKey;
pub use place::Place;

use std::time::Duration;

use futures_util::stream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use super::{Seen, Watching};

/// How long a client waits before it connects again.
const AGAIN: Duration = Duration::from_millis(100);

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
