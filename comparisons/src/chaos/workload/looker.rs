//! Who lists all instances, again and again.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::{Actor, Phase, Stage};
use crate::chaos::client::patient;

/// Plays a looker.
pub(super) async fn play(stage: Stage, actor: Actor, every: Duration) {
    let client = stage.read_client(&actor);
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut skipped = 0;
    loop {
        tokio::select! {
            biased;
            () = stage.comes(Phase::Over) => return,
            _ = ticks.tick() => {}
        }
        let read = tokio::select! {
            biased;
            () = stage.comes(Phase::Over) => return,
            read = patient(client.list()) => read.flatten(),
        };
        if let Some(read) = read
            && read.skipped != skipped
        {
            skipped = read.skipped;
            stage.recorder.note("skipped", u32::try_from(skipped).ok().map(f64::from));
        }
    }
}
