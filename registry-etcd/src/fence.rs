//! Whether leases still hold what they were given: asked with every heartbeat, because etcd renews a lease whether or not its key still belongs to
//! it. Those that ask at the same time share a request.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{Client, KeyValue, Txn, TxnOp};
use registry_core::{ErrorKind, Operation, Result};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

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
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    questions: VecDeque<Question>,
    /// How many keys they are about.
    reads: usize,
    rounds: usize,
    /// When the last transaction began.
    asked: Option<Instant>,
}

impl Queue {
    /// Whether another transaction is to begin. Two small ones are more work for both sides than one.
    fn is_worth_a_round(&self) -> bool {
        let slow = || self.asked.is_some_and(|asked| asked.elapsed() >= SLOW);
        self.rounds == 0 || self.rounds < ROUNDS && (self.reads >= READS || slow())
    }

    fn begin_round(&mut self) {
        self.rounds += 1;
        self.asked = Some(Instant::now());
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
}

impl Fences {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self { shared: Arc::new(Shared { connection, queue: Mutex::default() }) }
    }

    /// Whether all of it is true, if it is known before `deadline`. Linearizable. Asked for at once while no request is under way, together with
    /// others otherwise.
    pub(crate) async fn hold(&self, keys: Vec<Held>, deadline: Instant) -> Result<bool> {
        let (answer, asked) = oneshot::channel();
        let start = {
            let mut queue = self.lock();
            queue.push(Question { keys, answer });
            let start = queue.is_worth_a_round();
            if start {
                queue.begin_round();
            }
            start
        };
        if start {
            // A task of its own: whoever gives up waiting must not leave the others without an answer.
            let round = Round { fences: self.clone(), counted: true };
            tokio::spawn(round.run());
        }
        match timeout_at(deadline, asked).await {
            Ok(Ok(held)) => held,
            // The task that asked ended with its runtime; the next one asks again.
            Ok(Err(_)) => {
                Err(failure(ErrorKind::Unavailable, Operation::Keepalive, "the question was not put"))
            }
            Err(_) => Err(failure(
                ErrorKind::Timeout,
                Operation::Keepalive,
                "the owner of the entry was not told in time",
            )),
        }
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

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that asks until nobody waits.
struct Round {
    fences: Fences,
    /// Whether it counts among those under way.
    counted: bool,
}

impl Round {
    async fn run(mut self) {
        while let Some(questions) = self.next() {
            let keys: Vec<_> = questions.iter().flat_map(|question| &question.keys).collect();
            match self.fences.ask(&keys).await {
                Ok(held) => {
                    let mut held = held.into_iter();
                    for question in questions {
                        // All are taken, also after the first that is not held.
                        let answers: Vec<bool> = held.by_ref().take(question.keys.len()).collect();
                        let whole = answers.len() == question.keys.len() && answers.iter().all(|held| *held);
                        let _ = question.answer.send(Ok(whole));
                    }
                }
                Err(error) => {
                    for question in questions {
                        let _ = question.answer.send(Err(error.clone()));
                    }
                }
            }
        }
    }

    /// Those that wait, as many as fit. Where there are none it ends, under the lock, so that whoever asks next starts another.
    fn next(&mut self) -> Option<Vec<Question>> {
        let mut queue = self.fences.lock();
        let (mut questions, mut reads) = (Vec::new(), 0);
        while reads < READS
            && let Some(question) = queue.pop()
        {
            if !question.answer.is_closed() {
                reads += question.keys.len();
                questions.push(question);
            }
        }
        if questions.is_empty() {
            queue.rounds -= 1;
            self.counted = false;
            return None;
        }
        queue.asked = Some(Instant::now());
        Some(questions)
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        // The runtime ended under it: another one must be able to start.
        if self.counted {
            self.fences.lock().rounds -= 1;
        }
    }
}

impl std::fmt::Debug for Fences {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fences").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(queue: &mut Queue, keys: usize) {
        let held = |number| Held { key: format!("/registry/user.rpc/{number}"), lease: 1, modified: None };
        queue.push(Question { keys: (0..keys).map(held).collect(), answer: oneshot::channel().0 });
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_while_a_transaction_is_under_way_shares_the_next_one() {
        let mut queue = Queue::default();
        ask(&mut queue, 1);
        assert!(queue.is_worth_a_round(), "who is alone need not wait");
        queue.begin_round();
        assert_eq!(queue.pop().map(|question| question.keys.len()), Some(1));
        ask(&mut queue, READS - 1);
        assert!(!queue.is_worth_a_round());
        ask(&mut queue, 1);
        assert!(queue.is_worth_a_round(), "there is enough for one");
        queue.begin_round();
        while queue.pop().is_some() {}
        ask(&mut queue, 1);
        assert!(!queue.is_worth_a_round());
        tokio::time::advance(SLOW).await;
        assert!(queue.is_worth_a_round(), "those under way may never be answered");
        queue.begin_round();
        assert!(!queue.is_worth_a_round());
        ask(&mut queue, READS);
        while queue.rounds < ROUNDS {
            assert!(queue.is_worth_a_round());
            queue.begin_round();
        }
        tokio::time::advance(SLOW).await;
        assert!(!queue.is_worth_a_round(), "those are enough for any store");
    }
}
