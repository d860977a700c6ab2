//! Whether leases still hold what they were given: asked with every heartbeat, because etcd renews a lease whether or not its key still belongs to
//! it. Those that ask at the same time share a transaction.
//!
//! Transactions are asked by tasks of their own, each until nobody waits. Clients are shared between runtimes, which end or stand still: a task asks for those
//! on its own alone. It may hang with its request, or behind something else on its thread: so who waits looks again, from time to time, whether another is
//! to be started.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{Client, KeyValue, Txn, TxnOp};
use registry_core::time::{Timers, later};
use registry_core::{Error, ErrorKind, Operation, Result};
use tokio::runtime::{Handle, Id};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::error::failure;
use crate::store::reads;

/// Reads in one transaction; etcd takes 128 by default (`--max-txn-ops`).
const READS: usize = 100;
/// How many transactions are under way at once, at most.
const ROUNDS: usize = 8;
/// After so long those who ask do not wait any longer for the transaction under way, to go together in the next one.
const SLOW: Duration = Duration::from_millis(50);

/// What must be true of a key.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) key: String,
    pub(crate) lease: i64,
    /// The revision of the last write, where it is known.
    pub(crate) modified: Option<i64>,
}

impl Held {
    fn by(&self, found: Option<&KeyValue>) -> bool {
        found.is_some_and(|kv| {
            kv.key() == self.key.as_bytes()
                && kv.lease() == self.lease
                && self.modified.is_none_or(|modified| kv.mod_revision() == modified)
        })
    }
}

struct Question {
    keys: Vec<Held>,
    answer: oneshot::Sender<Result<bool>>,
}

#[derive(Clone)]
pub(crate) struct Fences {
    shared: Arc<Shared>,
}

struct Shared {
    connection: Arc<Connection>,
    /// Of each runtime on which somebody waits.
    queues: Mutex<HashMap<Id, Queue>>,
    timers: Timers,
}

#[derive(Default)]
struct Queue {
    questions: VecDeque<Question>,
    /// How many keys they are about.
    reads: usize,
    rounds: usize,
    /// When a round began that has taken no question yet.
    starting: Option<Instant>,
    /// When the last transaction began.
    asked: Option<Instant>,
}

impl Queue {
    /// Whether another round is to begin. Two small transactions are more work for both sides than one.
    fn is_worth_a_round(&self) -> bool {
        let slow = |since: Option<Instant>| since.is_none_or(|since| since.elapsed() >= SLOW);
        let due = || slow(self.starting) && (self.reads >= READS || slow(self.asked));
        !self.questions.is_empty() && (self.rounds == 0 || self.rounds < ROUNDS && due())
    }

    fn begin_round(&mut self) {
        self.rounds += 1;
        self.starting = Some(Instant::now());
    }

    fn push(&mut self, question: Question) {
        self.reads += question.keys.len();
        self.questions.push_back(question);
    }

    fn pop(&mut self) -> Option<Question> {
        let question = self.questions.pop_front()?;
        self.reads -= question.keys.len();
        Some(question)
    }

    /// Those that still wait, as many as fit into a transaction.
    fn take(&mut self) -> Vec<Question> {
        let (mut questions, mut reads) = (Vec::new(), 0);
        while reads < READS
            && let Some(question) = self.pop()
        {
            if !question.answer.is_closed() {
                reads += question.keys.len();
                questions.push(question);
            }
        }
        if !questions.is_empty() {
            self.asked = Some(Instant::now());
        }
        questions
    }
}

impl Fences {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        let shared = Shared { connection, queues: Mutex::default(), timers: Timers::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Whether all of it is true, if it is known before `deadline`. Linearizable. Asked for at once while no request is under way, together with
    /// others otherwise.
    pub(crate) async fn hold(&self, keys: Vec<Held>, deadline: Instant) -> Result<bool> {
        let (answer, mut asked) = oneshot::channel();
        let runtime = Handle::current().id();
        self.lock().entry(runtime).or_default().push(Question { keys, answer });
        let mut patience = SLOW;
        let mut look = later(Instant::now(), patience);
        let mut timer = self.shared.timers.at(look.min(deadline));
        loop {
            self.start_a_round_where_worth(runtime);
            tokio::select! {
                biased;
                answer = &mut asked => return answer.unwrap_or_else(|_| {
                    let message = "the runtime shuts down";
                    Err(failure(ErrorKind::Unavailable, Operation::Keepalive, message))
                }),
                () = &mut timer => {
                    if look >= deadline {
                        let message = "the owner of the entry was not told in time";
                        return Err(failure(ErrorKind::Timeout, Operation::Keepalive, message));
                    }
                    patience = patience.saturating_mul(2);
                    look = later(Instant::now(), patience);
                    timer.reset(look.min(deadline));
                }
            }
        }
    }

    /// Begins one on this runtime, whose queue is told.
    fn start_a_round_where_worth(&self, runtime: Id) {
        {
            let mut queues = self.lock();
            let Some(queue) = queues.get_mut(&runtime).filter(|queue| queue.is_worth_a_round()) else {
                return;
            };
            queue.begin_round();
        }
        // A task of its own: whoever gives up waiting must not leave the others without an answer.
        tokio::spawn(Round { fences: self.clone(), runtime, starts: true, counted: true }.run());
    }

    async fn ask(&self, keys: &[&Held]) -> Result<Vec<bool>> {
        let read = |held: &&Held| {
            TxnOp::get(held.key.as_str(), Some(etcd_client::GetOptions::new().with_keys_only()))
        };
        let ask = |client: &Client| {
            let mut kv = client.kv_client();
            let txn = Txn::new().and_then(keys.iter().map(read).collect::<Vec<_>>());
            async move { kv.txn(txn).await }
        };
        let answer = self.shared.connection.call(Operation::Keepalive, ask).await?;
        Ok(reads(answer).zip(keys).map(|(found, held)| held.by(found.kvs().first())).collect())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Queue>> {
        self.shared.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that asks until nobody waits.
struct Round {
    fences: Fences,
    runtime: Id,
    /// Whether it has taken no question yet.
    starts: bool,
    /// Whether it counts among those under way.
    counted: bool,
}

impl Round {
    async fn run(mut self) {
        while let Some(mut questions) = self.next() {
            // Those of a service together, since it is services that may not be read.
            questions.sort_by(|one, other| {
                one.keys.iter().map(|held| &held.key).cmp(other.keys.iter().map(|held| &held.key))
            });
            let mut parts = VecDeque::from([questions]);
            while let Some(mut part) = parts.pop_front() {
                part.retain(|question| !question.answer.is_closed());
                if part.is_empty() {
                    continue;
                }
                let keys: Vec<_> = part.iter().flat_map(|question| &question.keys).collect();
                match self.fences.ask(&keys).await {
                    Ok(held) => tell(part, held),
                    // etcd refuses a transaction as a whole for one key that may not be read: the others must not have to do with it.
                    Err(error) if part.len() > 1 && is_refused(&error) => {
                        let rest = part.split_off(part.len() / 2);
                        parts.extend([part, rest]);
                    }
                    Err(error) => {
                        for question in part {
                            let _ = question.answer.send(Err(error.clone()));
                        }
                    }
                }
            }
        }
    }

    /// Those that wait, as many as fit. Where there are none it ends, under the lock, so that whoever asks next starts another.
    fn next(&mut self) -> Option<Vec<Question>> {
        let mut queues = self.fences.lock();
        let queue = queues.entry(self.runtime).or_default();
        if std::mem::take(&mut self.starts) {
            queue.starting = None;
        }
        let questions = queue.take();
        if questions.is_empty() {
            self.counted = false;
            end_round(&mut queues, self.runtime);
            return None;
        }
        drop(queues);
        // There may be enough for another one.
        self.fences.start_a_round_where_worth(self.runtime);
        Some(questions)
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        // The runtime has ended under it.
        if self.counted {
            let mut queues = self.fences.lock();
            let over = end_round(&mut queues, self.runtime);
            drop(queues);
            // Behind the lock: those who still wait are told.
            drop(over);
        }
    }
}

/// With the last round goes the queue, and with that who still waits.
fn end_round(queues: &mut HashMap<Id, Queue>, runtime: Id) -> Option<Queue> {
    let queue = queues.get_mut(&runtime)?;
    queue.rounds = queue.rounds.saturating_sub(1);
    if queue.rounds == 0 { queues.remove(&runtime) } else { None }
}

/// Tells each whether all of its keys are held, of answers in the order of the keys.
fn tell(questions: Vec<Question>, held: Vec<bool>) {
    let mut held = held.into_iter();
    for question in questions {
        // All are taken, also after the first that is not held.
        let answers: Vec<bool> = held.by_ref().take(question.keys.len()).collect();
        let whole = answers.len() == question.keys.len() && answers.iter().all(|held| *held);
        let _ = question.answer.send(Ok(whole));
    }
}

/// Whether it is about what was asked for.
fn is_refused(error: &Error) -> bool {
    let others = [ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::Unauthenticated, ErrorKind::Closed];
    !others.contains(&error.kind())
}

impl std::fmt::Debug for Fences {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fences").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(queue: &mut Queue, keys: usize) -> oneshot::Receiver<Result<bool>> {
        let held = |number| Held { key: format!("/registry/user.rpc/{number}"), lease: 1, modified: None };
        let (answer, asked) = oneshot::channel();
        queue.push(Question { keys: (0..keys).map(held).collect(), answer });
        asked
    }

    /// A round begins, and takes what it can.
    fn round(queue: &mut Queue) -> usize {
        queue.begin_round();
        queue.starting = None;
        queue.take().len()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_while_a_transaction_is_under_way_shares_the_next_one() {
        let mut queue = Queue::default();
        assert!(!queue.is_worth_a_round());
        let _one = ask(&mut queue, 1);
        assert!(queue.is_worth_a_round(), "who is alone need not wait");
        assert_eq!(round(&mut queue), 1);
        let _more = ask(&mut queue, READS - 1);
        assert!(!queue.is_worth_a_round());
        let _enough = ask(&mut queue, 1);
        assert!(queue.is_worth_a_round(), "there is enough for one");
        queue.begin_round();
        assert!(!queue.is_worth_a_round(), "that which is about to begin takes them");
        tokio::time::advance(SLOW).await;
        assert!(queue.is_worth_a_round(), "its thread may be busy with something else");
        assert_eq!(round(&mut queue), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_one_that_may_never_be_answered_gets_another_and_not_too_many() {
        let mut queue = Queue::default();
        let mut waiting = vec![ask(&mut queue, 1)];
        round(&mut queue);
        for _ in 1..ROUNDS {
            waiting.push(ask(&mut queue, 1));
            assert!(!queue.is_worth_a_round());
            tokio::time::advance(SLOW).await;
            assert!(queue.is_worth_a_round());
            round(&mut queue);
        }
        waiting.push(ask(&mut queue, READS));
        tokio::time::advance(SLOW).await;
        assert!(!queue.is_worth_a_round(), "those are enough for any store");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_gone_is_not_asked_for() {
        let mut queue = Queue::default();
        drop(ask(&mut queue, 7));
        let _waits = ask(&mut queue, 2);
        assert_eq!(round(&mut queue), 1);
        assert_eq!((queue.reads, queue.questions.len()), (0, 0));
    }
}
