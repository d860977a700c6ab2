//! `order`: calls `user.rpc` at a steady rate, and keeps count of who answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use registry_examples::user::FindRequest;
use registry_examples::user::users_client::UsersClient;
use service_registry::tonic::Channel;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

/// What became of the calls.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(crate) answers: BTreeMap<String, Answers>,
    pub(crate) failures: Vec<Failed>,
    /// Of the failures, those since the last line.
    pub(crate) fresh_failures: u32,
}

/// The answers of one server.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    pub(crate) total: u32,
    /// Since the last line.
    pub(crate) fresh: u32,
    pub(crate) first: Instant,
}

#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) at: Instant,
    pub(crate) why: String,
}

/// The consumer. Calls until it is stopped.
pub(crate) struct Orders {
    count: Arc<Mutex<Count>>,
    task: tokio::task::JoinHandle<()>,
    stop: tokio::sync::oneshot::Sender<()>,
}

impl Orders {
    /// Calls once in every `period`, whether the calls before have been answered or not.
    pub(crate) fn start(channel: &Channel, period: Duration) -> Self {
        let count = Arc::new(Mutex::new(Count::default()));
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let (channel, counted) = (channel.clone(), Arc::clone(&count));
        let task = tokio::spawn(async move {
            let mut calls = JoinSet::new();
            let mut ticks = tokio::time::interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for id in 0.. {
                tokio::select! {
                    _ = ticks.tick() => {}
                    _ = &mut stopped => break,
                }
                calls.spawn(call(channel.clone(), id, Arc::clone(&counted)));
                while calls.try_join_next().is_some() {}
            }
            calls.join_all().await;
        });
        Self { count, task, stop }
    }

    pub(crate) fn count(&self) -> MutexGuard<'_, Count> {
        lock(&self.count)
    }

    /// Stops calling, and waits for the calls in flight.
    pub(crate) async fn stop(self) -> Count {
        let _ = self.stop.send(());
        let _ = self.task.await;
        std::mem::take(&mut *lock(&self.count))
    }
}

async fn call(channel: Channel, id: u64, count: Arc<Mutex<Count>>) {
    let answer = UsersClient::new(channel).find(FindRequest { id }).await;
    let now = Instant::now();
    let mut count = lock(&count);
    match answer {
        Ok(reply) => {
            let server = reply.into_inner().served_by;
            let answers = count.answers.entry(server).or_insert(Answers { total: 0, fresh: 0, first: now });
            answers.total += 1;
            answers.fresh += 1;
        }
        Err(status) => {
            count.fresh_failures += 1;
            let why = format!("{:?}: {}", status.code(), status.message());
            count.failures.push(Failed { at: now, why });
        }
    }
}

fn lock(count: &Mutex<Count>) -> MutexGuard<'_, Count> {
    count.lock().unwrap_or_else(PoisonError::into_inner)
}
