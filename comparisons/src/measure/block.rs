//! One block: changes are sent on a schedule, and a watcher notes when it is told.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Event, Load, Schedule, Summary, Ticks, fault};
use crate::contestants::{Contestant, Member, Seen, Watching};
use crate::experiment::Trouble;

/// What is sent in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPlan {
    /// Changes a second.
    pub rate: u32,
    /// How many are sent first and not counted: what lay idle for a while is slow at first.
    pub warm_up: u32,
    /// How many are sent then.
    pub events: u32,
    /// How long after the last send an answer, or what the watcher is told, is waited for.
    pub grace: Duration,
}

/// What a block gave.
#[derive(Clone, Debug)]
pub struct Block {
    /// What became of every change that counts, in the order of their intended times.
    pub events: Vec<Event>,
    /// How busy the machine was; none where that cannot be told.
    pub load: Option<Load>,
    /// Why a change was refused, for one of those that were.
    pub refused: Option<String>,
}

impl Block {
    /// In figures.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary::of(&self.events)
    }

    /// Why it is to be thrown away; none if it counts.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        fault(&self.summary(), self.load)
    }
}

/// Instances on a registry that are changed, and a watcher of their service.
pub struct Subject {
    members: Vec<Arc<dyn Member>>,
    arrivals: UnboundedReceiver<Arrival>,
    /// The value of the next change: each has one of its own.
    next: u64,
    _watcher: Watcher,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("next", &self.next).finish_non_exhaustive()
    }
}

/// The watcher was told of a value.
struct Arrival {
    value: u64,
    at: Instant,
}

/// What a change came to.
enum Progress {
    Begun {
        number: u32,
        at: Instant,
    },
    /// It was acknowledged, or refused.
    Ended {
        number: u32,
        at: Instant,
        refused: Option<String>,
    },
}

/// Ends with its owner.
struct Watcher(JoinHandle<()>);

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Between the order to start and the first send: what it takes to start a thread.
const LEAD: Duration = Duration::from_millis(5);
/// How long the watcher may take to see all instances, before anything is measured.
const READY: Duration = Duration::from_secs(15);

impl Subject {
    /// Registers so many instances of `service` and starts its watcher; done when that has seen all of them.
    ///
    /// # Errors
    /// What the registry refuses, and when the watcher does not see them within 15 s.
    pub async fn prepare(
        contestant: &dyn Contestant,
        service: &str,
        instances: u32,
        ttl: Duration,
    ) -> Result<Self, Trouble> {
        let (told, mut arrivals) = mpsc::unbounded_channel();
        let watcher = Watcher(tokio::spawn(note(contestant.watch(service), told)));
        let mut members: Vec<Arc<dyn Member>> = Vec::new();
        for value in 0..u64::from(instances.max(1)) {
            let member = contestant.register(service, &format!("i-{value}"), value, ttl).await?;
            members.push(Arc::from(member));
        }
        let next = members.len() as u64;
        let mut missing: std::collections::BTreeSet<u64> = (0..next).collect();
        let seen_all = async {
            while let Some(arrival) = arrivals.recv().await {
                missing.remove(&arrival.value);
                if missing.is_empty() {
                    break;
                }
            }
        };
        let in_time = timeout(READY, seen_all).await.is_ok();
        if !in_time || !missing.is_empty() {
            let (missing, instances) = (missing.len(), members.len());
            return Err(Trouble::failed(format!("{missing} of {instances} instances were never seen")));
        }
        Ok(Self { members, arrivals, next, _watcher: watcher })
    }

    /// Takes all instances off the list.
    ///
    /// # Errors
    /// What the registry refuses.
    pub async fn finish(self) -> Result<(), Trouble> {
        for member in &self.members {
            member.leave().await?;
        }
        Ok(())
    }

    /// Measures one block.
    ///
    /// # Errors
    /// When no thread is to be had.
    pub async fn run(&mut self, plan: &BlockPlan) -> Result<Block, Trouble> {
        while self.arrivals.try_recv().is_ok() {}
        let schedule = Schedule::new(plan.rate, plan.warm_up + plan.events);
        let (first, last) = (self.next, self.next + u64::from(schedule.sends));
        self.next = last + 1;
        let before = Ticks::now();
        let start = Instant::now() + LEAD;
        let (told, mut progresses) = mpsc::unbounded_channel();
        self.send(schedule, start, first, told)?;

        let mut noted = Noted::new(schedule, start, first);
        let deadline = start + schedule.length() + plan.grace;
        // What arrives until then waits in the channels, with its time: whoever reads it would only be in the way.
        sleep_until(start + schedule.length()).await;
        let mut asked_for_last = false;
        while !noted.is_complete() {
            if noted.answered == schedule.sends && !asked_for_last {
                // All is acknowledged and not all has arrived. What has not arrived when something has that was sent later never will.
                asked_for_last = true;
                let member = Arc::clone(&self.members[0]);
                tokio::spawn(async move { member.set(last).await });
            }
            tokio::select! {
                Some(progress) = progresses.recv() => noted.progress(progress),
                arrival = self.arrivals.recv() => match arrival {
                    Some(Arrival { value, .. }) if value == last => break,
                    Some(arrival) => noted.arrival(&arrival),
                    None => break,
                },
                () = sleep_until(deadline) => break,
            }
        }
        let load = Ticks::now().zip(before).and_then(|(after, before)| after.load_since(before));
        let events = noted.events.split_off(plan.warm_up as usize);
        Ok(Block { events, load, refused: noted.refused })
    }

    /// Lets a thread send everything.
    fn send(
        &self,
        schedule: Schedule,
        start: Instant,
        first: u64,
        told: UnboundedSender<Progress>,
    ) -> Result<(), Trouble> {
        let members = self.members.clone();
        let runtime = tokio::runtime::Handle::current();
        let send = move |number: u32| {
            if told.is_closed() {
                return ControlFlow::Break(());
            }
            let member = Arc::clone(&members[number as usize % members.len()]);
            let told = told.clone();
            let mut change = Box::pin(async move {
                // At once, so that a change that never ends is known to have been sent.
                let _ = told.send(Progress::Begun { number, at: Instant::now() });
                let refused =
                    member.set(first + u64::from(number)).await.err().map(|error| error.to_string());
                let _ = told.send(Progress::Ended { number, at: Instant::now(), refused });
            });
            // Begun here and now, not when a thread of the runtime has been woken for it.
            let _inside = runtime.enter();
            if change.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                runtime.spawn(change);
            }
            ControlFlow::Continue(())
        };
        let thread = std::thread::Builder::new().name("open-loop".to_owned());
        thread.spawn(move || schedule.keep(start, send))?;
        Ok(())
    }
}

/// Notes when the watcher is told of which value.
async fn note(mut watching: Watching, told: UnboundedSender<Arrival>) {
    while let Some(seen) = watching.next().await {
        let at = Instant::now();
        match seen {
            Seen::Change { value: Some(value), .. } => drop(told.send(Arrival { value, at })),
            Seen::List { listed, .. } => {
                listed.into_values().for_each(|value| drop(told.send(Arrival { value, at })));
            }
            Seen::Change { value: None, .. } | Seen::Trouble(_) | Seen::Recovered => {}
        }
    }
}

/// What is known of the changes of a block so far.
struct Noted {
    start: Instant,
    first: u64,
    events: Vec<Event>,
    answered: u32,
    arrived: u32,
    refused: Option<String>,
}

impl Noted {
    fn new(schedule: Schedule, start: Instant, first: u64) -> Self {
        let event = |number| Event { intended: schedule.due(number), ..Event::default() };
        let events = (0..schedule.sends).map(event).collect();
        Self { start, first, events, answered: 0, arrived: 0, refused: None }
    }

    /// Whether nothing more can come.
    fn is_complete(&self) -> bool {
        let all = self.events.len();
        self.answered as usize == all && self.arrived as usize == all
    }

    fn progress(&mut self, progress: Progress) {
        let since_start = |at: Instant| Some(at.saturating_duration_since(self.start));
        match progress {
            Progress::Begun { number, at } => self.events[number as usize].begun = since_start(at),
            Progress::Ended { number, at, refused } => {
                self.answered += 1;
                match refused {
                    None => self.events[number as usize].acknowledged = since_start(at),
                    Some(refused) => self.refused = Some(refused),
                }
            }
        }
    }

    fn arrival(&mut self, arrival: &Arrival) {
        let number = arrival.value.checked_sub(self.first).and_then(|number| usize::try_from(number).ok());
        // Others are from before.
        if let Some(event) = number.and_then(|number| self.events.get_mut(number))
            && event.received.is_none()
        {
            event.received = Some(arrival.at.saturating_duration_since(self.start));
            self.arrived += 1;
        }
    }
}
