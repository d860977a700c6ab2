//! A process that is an instance, for as long as it lives.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use registry_core::{Registrar, RegistrarOptions, RegistrarState, Registry};

use super::{Actor, End, Owner, Phase, Stage};
use crate::chaos::client::{Answer, How, Recorded, Values, kind, patient};
use crate::chaos::history::{Line, Owner as Said, Step};
use crate::contestants::instance;

/// What a naive owner waits before it tries to register again.
const AGAIN: Duration = Duration::from_millis(100);

/// Plays an owner.
pub(super) async fn play(stage: Stage, actor: Actor, owner: Owner) {
    if !stage.until_change(owner.starts_ms).await {
        return;
    }
    let diary = Diary { stage: &stage, id: owner.id.clone(), name: actor.name(), last: None };
    match stage.of_owner(owner.by_links).registry().cloned() {
        Some(registry) => by_registrar(diary, registry, &actor, &owner).await,
        None => by_hand(diary, &actor, &owner).await,
    }
}

/// Writes down what an owner does and learns.
struct Diary<'a> {
    stage: &'a Stage,
    id: String,
    name: String,
    last: Option<Step>,
}

impl Diary<'_> {
    /// The same twice is one step.
    fn step(&mut self, step: Step) {
        if self.last != Some(step) {
            self.last = Some(step);
            let (id, owner, at) = (self.id.clone(), self.name.clone(), self.stage.recorder.now());
            self.stage.recorder.write(Line::Owner(Said { id, owner, at, step }));
        }
    }

    fn learns(&mut self, state: &RegistrarState) {
        match state {
            RegistrarState::Registered { .. } => self.step(Step::Registered),
            RegistrarState::Recovering { .. } => self.step(Step::Recovering),
            RegistrarState::Fenced { .. } => self.step(Step::Fenced),
            RegistrarState::Closed { error: Some(error) } => {
                let what = format!("registrar {} closed: {}", self.name, kind(error.kind()));
                self.stage.recorder.note(what, None);
            }
            _ => {}
        }
    }
}

/// What an owner does next.
enum Next {
    Update,
    End(End),
}

/// When and what it does after it has done `done` updates.
fn next(owner: &Owner, done: usize) -> Option<(u64, Next)> {
    match (owner.updates_ms.get(done), owner.ends) {
        (Some(at), _) => Some((*at, Next::Update)),
        (None, Some((at, end))) => Some((at, Next::End(end))),
        (None, None) => None,
    }
}

/// Waits for what an owner does next; for ever, when changes have ended.
async fn planned(stage: &Stage, plan: Option<(u64, Next)>) -> Next {
    if let Some((at, next)) = plan
        && stage.until_change(at).await
    {
        return next;
    }
    std::future::pending().await
}

async fn by_registrar(mut diary: Diary<'_>, registry: Arc<dyn Registry>, actor: &Actor, owner: &Owner) {
    let stage = diary.stage;
    let Ok(instance) = instance(stage.service.as_str(), &owner.id, 0) else { return };
    let registry = Recorded::new(registry, &diary.name, stage.recorder.clone());
    let registry = Arc::new(registry.stamping(Values::of(actor.number)));
    let options = RegistrarOptions::new().with_ttl(stage.ttl).with_seed(u64::from(actor.number));
    diary.step(Step::Starts);
    let registrar = Registrar::start(registry, instance.clone(), options);
    let mut states = registrar.states();
    let mut updates = 0;
    let mut closed = false;
    let end = loop {
        tokio::select! {
            biased;
            () = stage.comes(Phase::Over) => break None,
            state = states.changed(), if !closed => {
                // It is told again and again.
                closed = matches!(*state, RegistrarState::Closed { .. });
                diary.learns(&state);
            }
            next = planned(stage, next(owner, updates)) => match next {
                Next::Update => {
                    updates += 1;
                    let changed = instance.to_builder().metadata("update", updates.to_string()).build();
                    // It is asked for now, and published as soon as the registry takes it.
                    let _ = changed.map(|changed| registrar.update(changed).now_or_never());
                }
                Next::End(end) => break Some(end),
            },
        }
    };
    match end {
        None => registrar.abandon(),
        Some(End::Crashes) => {
            registrar.abandon();
            diary.step(Step::Crashes);
        }
        Some(End::Leaves(grace)) => {
            diary.step(Step::Leaves);
            tokio::select! {
                () = stage.comes(Phase::Over) => {}
                left = registrar.drain(Duration::from_millis(grace)) => if left.is_ok() {
                    diary.step(Step::Left);
                },
            }
        }
    }
}

/// What people write instead: register until it works, then renew; what a heartbeat could not do the next will.
async fn by_hand(mut diary: Diary<'_>, actor: &Actor, owner: &Owner) {
    let stage = diary.stage;
    let connected = stage.of_owner(owner.by_links);
    let client = connected.client(&diary.name, &stage.service, stage.ttl, &stage.recorder);
    let values = Values::of(actor.number);
    diary.step(Step::Starts);
    let mut updates = 0;
    let beats = stage.ttl.get() / 3;
    let end = loop {
        let registering = patient(client.register(&owner.id, values.next(), How::TakeOver));
        let held = tokio::select! {
            biased;
            () = stage.comes(Phase::Over) => break None,
            held = registering => held.flatten(),
        };
        let Some(held) = held else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        diary.step(Step::Registered);
        let mut beat = tokio::time::interval(beats);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        break loop {
            tokio::select! {
                biased;
                () = stage.comes(Phase::Over) => break None,
                _ = beat.tick() => {
                    let renewed = patient(held.renew()).await;
                    let done = renewed == Some(Answer::Done);
                    diary.step(if done { Step::Registered } else { Step::Recovering });
                }
                next = planned(stage, next(owner, updates)) => match next {
                    Next::Update => {
                        updates += 1;
                        patient(held.set(values.next())).await;
                    }
                    Next::End(End::Leaves(_)) => {
                        diary.step(Step::Leaves);
                        if patient(held.leave()).await == Some(Answer::Done) {
                            diary.step(Step::Left);
                        }
                        break None;
                    }
                    Next::End(End::Crashes) => break Some(Step::Crashes),
                },
            }
        };
    };
    if let Some(end) = end {
        diary.step(end);
    }
}
