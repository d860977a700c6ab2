//! Who registers by itself: one lease at a time, and now and then an old one that goes on after a newer one took its id.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::{Actor, Life, LifeEnd, Phase, Stage, Writer};
use crate::chaos::client::{Answer, Client, Held, Values, patient};

/// Between what an old incarnation does.
const PAUSE: Duration = Duration::from_millis(60);

/// Plays a writer.
pub(super) async fn play(stage: Stage, actor: Actor, writer: Writer) {
    let second = Actor { number: writer.second, ..actor.clone() };
    let client =
        |actor: &Actor| stage.writer.client(&actor.name(), &stage.service, stage.ttl, &stage.recorder);
    let clients = [client(&actor), client(&second)];
    let values = Values::of(actor.number);
    let mut old: Option<Box<dyn Held>> = None;
    for (life, client) in writer.lives.iter().zip(clients.iter().cycle()) {
        if !stage.until_change(life.starts_ms).await {
            return;
        }
        if stage.now_ms() >= life.ends_ms {
            old = None;
            continue;
        }
        old = tokio::select! {
            biased;
            () = stage.comes(Phase::Over) => return,
            old = live(&stage, client.as_ref(), &values, life, old.take()) => old,
        };
    }
}

/// Lives a life, while the `old` incarnation goes on. Gives what goes on after it.
async fn live(
    stage: &Stage,
    client: &dyn Client,
    values: &Values,
    life: &Life,
    old: Option<Box<dyn Held>>,
) -> Option<Box<dyn Held>> {
    let held = patient(client.register(&life.id, values.next(), life.how)).await.flatten();
    let goes_on = async {
        if let Some(old) = old {
            haunt(old.as_ref(), values).await;
        }
    };
    let lives = async {
        let held = held?;
        hold(stage, held.as_ref(), values, life).await.then_some(held)
    };
    let (held, ()) = tokio::join!(lives, goes_on);
    held.filter(|_| life.end == LifeEnd::GoesOn)
}

/// What an old incarnation does that has not heard of the newer one.
async fn haunt(old: &dyn Held, values: &Values) {
    sleep(PAUSE).await;
    patient(old.renew()).await;
    sleep(PAUSE).await;
    patient(old.set(values.next())).await;
    sleep(PAUSE).await;
    patient(old.leave()).await;
}

/// Renews and updates until the life ends, and ends it. Whether the instance is still held then, as far as its owner knows.
async fn hold(stage: &Stage, held: &dyn Held, values: &Values, life: &Life) -> bool {
    let ticks = |every: Duration| {
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let mut beats = ticks(stage.ttl.get() / 3);
    let mut updates = ticks(Duration::from_millis(life.every_ms.max(1)));
    loop {
        let answer = tokio::select! {
            biased;
            _ = beats.tick() => patient(held.renew()).await,
            ends = stage.until_change(life.ends_ms) => if ends {
                break;
            } else {
                return still(held, &mut beats).await;
            },
            _ = updates.tick() => patient(held.set(values.next())).await,
        };
        if answer == Some(Answer::Lost) {
            return false;
        }
    }
    if life.end == LifeEnd::Leaves {
        patient(held.leave()).await;
    }
    true
}

/// Only renews, until it is dropped or the lease is lost.
async fn still(held: &dyn Held, beats: &mut tokio::time::Interval) -> bool {
    while patient(held.renew()).await != Some(Answer::Lost) {
        beats.tick().await;
    }
    false
}
