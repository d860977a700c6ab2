//! Heartbeats of all leases of a client over one stream.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use etcd_client::{Client, LeaseKeepAliveStream, LeaseKeeper};
use registry_core::time::{Timers, later};
use registry_core::{Error, ErrorKind, Operation, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use crate::connection::Connection;
use crate::error::{classify, failure};
use crate::member::Member;
use crate::options::EtcdOptions;

/// A stream that nobody used for so long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// So many heartbeats are sent before it is looked for answers again.
const AT_ONCE: usize = 16;
/// To which timers are exact.
const MOMENT: Duration = Duration::from_millis(1);

/// What etcd answers: the TTL in force, in seconds.
type Waiter = oneshot::Sender<Result<i64>>;

#[derive(Debug)]
pub(crate) struct Heartbeats {
    connection: Arc<Connection>,
    stream: Mutex<Option<Arc<Stream>>>,
    /// Held while a stream is opened, so that many heartbeats open one.
    opening: tokio::sync::Mutex<()>,
    /// After how long without an answer a stream to one of several members is left.
    patience: Duration,
    timers: Timers,
}

#[derive(Debug)]
struct Stream {
    requests: mpsc::UnboundedSender<(i64, Waiter)>,
    member: Arc<Member>,
    /// The oldest heartbeat since the last answer.
    waiting_since: Mutex<Option<Instant>>,
}

impl Stream {
    fn asked(&self) {
        self.lock().get_or_insert_with(Instant::now);
    }

    /// `more`: whether others still wait.
    fn answered(&self, more: bool) {
        *self.lock() = more.then(Instant::now);
    }

    fn waiting_since(&self) -> Option<Instant> {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.waiting_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a heartbeat has no answer.
enum Failure {
    /// Its time is over.
    Late,
    /// The stream says nothing.
    Slow(Error),
    /// The stream ended.
    Ended(Error),
    /// Asking anew would not help.
    Refused(Error),
}

impl Failure {
    /// What the task of a stream says.
    fn of_stream(error: Error) -> Self {
        if error.kind() == ErrorKind::Unavailable { Self::Ended(error) } else { Self::Refused(error) }
    }
}

impl Heartbeats {
    pub(crate) fn new(connection: Arc<Connection>, options: &EtcdOptions) -> Self {
        let patience = if connection.size() > 1 { options.hedge_after } else { options.request_timeout };
        let opening = tokio::sync::Mutex::default();
        Self { connection, stream: Mutex::default(), opening, patience, timers: Timers::default() }
    }

    /// Renews `lease` before `deadline`; gives its TTL in seconds.
    pub(crate) async fn beat(&self, lease: i64, deadline: Instant) -> Result<i64> {
        let (mut failed, mut ended) = (None, false);
        loop {
            match self.try_beat(lease, deadline).await {
                Ok(ttl) => return Ok(ttl),
                // It had its time.
                Err(Failure::Slow(error)) => failed = Some(error),
                // A stream that was open may have broken long ago; the second one is new.
                Err(Failure::Ended(error)) if !ended => (ended, failed) = (true, Some(error)),
                Err(Failure::Ended(error) | Failure::Refused(error)) => return Err(error),
                Err(Failure::Late) => {
                    let error =
                        failure(ErrorKind::Timeout, Operation::Keepalive, "a heartbeat was not answered");
                    return Err(match failed {
                        Some(failed) => error.with_source(failed),
                        None => error,
                    });
                }
            }
        }
    }

    async fn try_beat(&self, lease: i64, deadline: Instant) -> Result<i64, Failure> {
        let stream = match self.present() {
            Some(stream) => stream,
            // Seldom, so it does not make every heartbeat's future larger.
            None => match timeout_at(deadline, Box::pin(self.open(lease))).await {
                Ok(Ok(Opened::By(stream))) => stream,
                // Opening a stream is a heartbeat already.
                Ok(Ok(Opened::Now(ttl))) => return Ok(ttl),
                Ok(Err(error)) => return Err(Failure::Refused(error)),
                Err(_) => return Err(Failure::Late),
            },
        };
        let (waiter, mut answer) = oneshot::channel();
        let ended = || {
            self.leave(&stream);
            let message = "the stream of heartbeats ended";
            Err(Failure::Ended(failure(ErrorKind::Unavailable, Operation::Keepalive, message)))
        };
        stream.asked();
        if stream.requests.send((lease, waiter)).is_err() {
            return ended();
        }
        // One that answers others is slow, not gone.
        let since = || stream.waiting_since().unwrap_or_else(Instant::now);
        let mut waited_since = since();
        let mut slow = later(waited_since, self.patience);
        let mut timer = self.timers.at(slow.min(deadline));
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => match answer {
                    Ok(result) => return result.map_err(Failure::of_stream),
                    Err(_) => return ended(),
                },
                () = &mut timer => {}
            }
            if slow > later(deadline, MOMENT) {
                return Err(Failure::Late);
            }
            if stream.waiting_since() == Some(waited_since) {
                break;
            }
            waited_since = since();
            slow = later(waited_since, self.patience);
            timer.reset(slow.min(deadline));
        }
        self.leave(&stream);
        self.connection.leave(&stream.member);
        let message = "a heartbeat was not answered in time";
        Err(Failure::Slow(failure(ErrorKind::Timeout, Operation::Keepalive, message)))
    }

    async fn open(&self, lease: i64) -> Result<Opened> {
        let opening = self.opening.lock().await;
        if let Some(stream) = self.present() {
            return Ok(Opened::By(stream));
        }
        let open = |client: &Client| {
            let mut leases = client.lease_client();
            async move { leases.keep_alive(lease).await }
        };
        let (member, (keeper, responses)) =
            self.connection.ask(self.connection.begin(Operation::Keepalive), open).await?;
        let (requests, receiver) = mpsc::unbounded_channel();
        let (waiter, answer) = oneshot::channel();
        // The library keeps the first answer's TTL to itself; the second one tells it.
        let _ = requests.send((lease, waiter));
        let stream = Arc::new(Stream { requests, member, waiting_since: Mutex::default() });
        self.slot(|slot| *slot = Some(Arc::clone(&stream)));
        tokio::spawn(pump(Arc::downgrade(&stream), keeper, responses, receiver));
        drop(opening);
        match answer.await {
            Ok(ttl) => ttl.map(Opened::Now),
            Err(_) => Ok(Opened::By(stream)),
        }
    }

    fn present(&self) -> Option<Arc<Stream>> {
        self.slot(|slot| slot.as_ref().filter(|stream| !stream.requests.is_closed()).map(Arc::clone))
    }

    fn leave(&self, stream: &Arc<Stream>) {
        self.slot(|slot| {
            slot.take_if(|present| Arc::ptr_eq(present, stream));
        });
    }

    fn slot<T>(&self, act: impl FnOnce(&mut Option<Arc<Stream>>) -> T) -> T {
        act(&mut self.stream.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

enum Opened {
    /// Somebody else opened it meanwhile.
    By(Arc<Stream>),
    /// We did, and the lease was renewed.
    Now(i64),
}

/// Sends heartbeats and hands out the answers, until the stream breaks or nobody needs it.
async fn pump(
    stream: Weak<Stream>,
    mut keeper: LeaseKeeper,
    mut responses: LeaseKeepAliveStream,
    mut requests: mpsc::UnboundedReceiver<(i64, Waiter)>,
) {
    // In the order in which they were sent, which is that of etcd's answers; a proxy may have another.
    let mut waiting: VecDeque<(i64, Waiter)> = VecDeque::new();
    let mut due = Vec::new();
    let mut used = Instant::now();
    let mut idle = pin!(sleep(IDLE));
    let mut open = true;
    while open || !waiting.is_empty() {
        tokio::select! {
            biased;
            response = responses.message() => {
                let error = match response {
                    Ok(Some(response)) => {
                        let answer = renewed(response.ttl());
                        // One answer for each heartbeat: also for those whose callers have gone.
                        let at = waiting.iter().position(|(lease, _)| *lease == response.id());
                        if let Some((_, waiter)) = at.and_then(|at| waiting.remove(at)) {
                            let _ = waiter.send(answer);
                        }
                        if let Some(stream) = stream.upgrade() {
                            stream.answered(!waiting.is_empty());
                        }
                        continue;
                    }
                    Ok(None) => failure(ErrorKind::Unavailable, Operation::Keepalive, "etcd ended the stream of heartbeats"),
                    Err(error) => classify(Operation::Keepalive, error),
                };
                requests.close();
                while let Ok((_, waiter)) = requests.try_recv() {
                    let _ = waiter.send(Err(error.clone()));
                }
                for (_, waiter) in waiting {
                    let _ = waiter.send(Err(error.clone()));
                }
                return;
            }
            count = requests.recv_many(&mut due, AT_ONCE), if open => {
                open = count > 0;
                used = Instant::now();
                for (lease, waiter) in due.drain(..) {
                    waiting.push_back((lease, waiter));
                    keeper.id = lease;
                    if keeper.keep_alive().await.is_err() {
                        // The responses tell why, or end.
                        requests.close();
                    }
                }
            }
            () = &mut idle, if open => {
                let until = later(used, IDLE);
                if until <= Instant::now() {
                    requests.close();
                } else {
                    idle.as_mut().reset(until);
                }
            }
        }
    }
}

fn renewed(ttl: i64) -> Result<i64, Error> {
    if ttl > 0 {
        Ok(ttl)
    } else {
        Err(failure(ErrorKind::LeaseLost, Operation::Keepalive, "the lease is not known to etcd"))
    }
}
