//! A view by a `Directory`: what it shows, whenever that changes, and at least once a second.

use std::time::Duration;

use registry_core::{Directory, Freshness, ViewState};
use tokio::time::{MissedTickBehavior, interval};

use super::{Actor, Phase, Stage};
use crate::chaos::client::listed;
use crate::chaos::history::{Line, Viewed};

/// So often it is looked at when nothing changes.
const EVERY: Duration = Duration::from_secs(1);

/// Plays a view. A registry that has none is not viewed.
pub(super) async fn play(stage: Stage, actor: Actor) {
    let Some(registry) = stage.reader.registry() else { return };
    let mut view = Directory::new(registry.clone()).view(&stage.service);
    let mut looks = interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last: Option<Viewed> = None;
    loop {
        let anyhow = tokio::select! {
            biased;
            () = stage.comes(Phase::Over) => return,
            going_on = view.changed() => if going_on {
                false
            } else {
                return;
            },
            _ = looks.tick() => true,
        };
        let viewed = viewed(&stage, &actor, &view.load());
        let news =
            last.as_ref().is_none_or(|last| (last.live, &last.listed) != (viewed.live, &viewed.listed));
        if anyhow || news {
            looks.reset();
            stage.recorder.write(Line::Viewed(viewed.clone()));
            last = Some(viewed);
        }
    }
}

fn viewed(stage: &Stage, actor: &Actor, state: &ViewState) -> Viewed {
    let (live, proven) = match state.freshness() {
        Freshness::Live { proven } => (true, Some(*proven)),
        // Of one that was never told anything it is when the watch began.
        Freshness::Stale { since, .. } => (false, state.snapshot().map(|_| *since)),
        _ => (false, None),
    };
    Viewed {
        view: actor.name(),
        at: stage.recorder.now(),
        live,
        proven: proven.map(|proven| stage.recorder.clock().at(proven)),
        listed: state.snapshot().map(listed),
    }
}
