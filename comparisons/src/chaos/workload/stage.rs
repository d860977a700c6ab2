//! What an actor plays on: the registry, the clock, and how far the play is.

use registry_core::{ServiceName, Ttl};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::Actor;
use crate::chaos::client::{Client, Connected};
use crate::chaos::history::At;
use crate::chaos::recorder::Recorder;

/// How far the play is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Everybody does what the table says.
    Changing,
    /// Nobody changes anything any more, on purpose: who is registered goes on renewing, who watches goes on watching.
    Still,
    /// Everybody stops, without a word.
    Over,
}

/// What an actor plays on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Where lines go.
    pub recorder: Recorder,
    /// When the play began.
    pub starts: At,
    /// The service.
    pub service: ServiceName,
    /// For how long instances are registered.
    pub ttl: Ttl,
    /// The registry as those who read find it, and those who write.
    pub reader: Connected,
    /// The same for those who write.
    pub writer: Connected,
    /// How far the play is.
    pub phase: watch::Receiver<Phase>,
}

impl Stage {
    /// Waits until `phase` has come, or until whoever directs the play is gone.
    pub(super) async fn comes(&self, phase: Phase) {
        let _ = self.phase.clone().wait_for(|now| *now >= phase).await;
    }

    /// Milliseconds since the play began.
    pub(super) fn now_ms(&self) -> u64 {
        self.recorder.now().ms_since(self.starts)
    }

    /// Waits until so many milliseconds since the play began.
    pub(super) async fn until(&self, ms: u64) {
        self.recorder.clock().until(self.starts.plus_ms(ms)).await;
    }

    /// Waits until so many milliseconds since the play began; `false` if changes end before that.
    pub(super) async fn until_change(&self, ms: u64) -> bool {
        tokio::select! {
            biased;
            () = self.comes(Phase::Still) => false,
            () = self.until(ms) => true,
        }
    }

    pub(super) fn read_client(&self, actor: &Actor) -> Box<dyn Client> {
        self.reader.client(&actor.name(), &self.service, self.ttl, &self.recorder)
    }

    /// Of an owner: the one or the other.
    pub(super) fn of_owner(&self, by_links: bool) -> &Connected {
        if by_links { &self.reader } else { &self.writer }
    }
}
