//! `order`: calls `user.rpc` at a steady rate, and keeps count of who answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use registry_examples::user::FindRequest;
use registry_examples::user::users_client::UsersClient;
use service_registry::tonic::{CallError, Channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::Request;

/// What became of the calls.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(crate) answers: BTreeMap<String, Answers>,
    pub(crate) failures: Vec<Failed>,
    /// Calls begun.
    pub(crate) begun: u64,
    /// Calls that ended without an answer and without an error: their task panicked.
    pub(crate) lost: u64,
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

#[derive(Clone, Debug)]
pub(crate) struct Failed {
    /// When the call began.
    pub(crate) began: Instant,
    /// When it failed.
    pub(crate) at: Instant,
    /// Whether a server may have got it.
    pub(crate) may_have_been_sent: bool,
    pub(crate) why: String,
}

/// No call takes as long as this unless something is wrong.
const DEADLINE: Duration = Duration::from_secs(5);

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
                lock(&counted).begun += 1;
                calls.spawn(call(channel.clone(), id, Arc::clone(&counted)));
                while let Some(ended) = calls.try_join_next() {
                    lock(&counted).lost += u64::from(ended.is_err());
                }
            }
            while let Some(ended) = calls.join_next().await {
                lock(&counted).lost += u64::from(ended.is_err());
            }
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
    let began = Instant::now();
    let mut request = Request::new(FindRequest { id });
    request.set_timeout(DEADLINE);
    let answer = UsersClient::new(channel).find(request).await;
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
            let error =
                std::error::Error::source(&status).and_then(|source| source.downcast_ref::<CallError>());
            let may_have_been_sent = error.is_none_or(CallError::may_have_been_sent);
            count.failures.push(Failed { began, at: now, may_have_been_sent, why });
        }
    }
}

fn lock(count: &Mutex<Count>) -> MutexGuard<'_, Count> {
    count.lock().unwrap_or_else(PoisonError::into_inner)
}
