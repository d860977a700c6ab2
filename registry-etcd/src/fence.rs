//! Whether leases still hold what they were given: asked with every heartbeat, because etcd renews a lease whether or not its key still belongs to
//! it. Those that ask at the same time share a request.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use etcd_client::{Client, KeyValue, Txn, TxnOp};
use registry_core::{ErrorKind, Operation, Result};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::connection::Connection;
use crate::error::failure;
use crate::store::reads;

/// Reads in one transaction; etcd takes 128 by default (`--max-txn-ops`).
const READS: usize = 100;
/// How many transactions are under way at once.
const ROUNDS: usize = 2;

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
    rounds: usize,
}

impl Fences {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self { shared: Arc::new(Shared { connection, queue: Mutex::default() }) }
    }

    /// Whether all of it is true, if it is known before `deadline`. Linearizable. Asked for at once while few requests are under way, together with
    /// others otherwise.
    pub(crate) async fn hold(&self, keys: Vec<Held>, deadline: Instant) -> Result<bool> {
        let (answer, asked) = oneshot::channel();
        let start = {
            let mut queue = self.lock();
            queue.questions.push_back(Question { keys, answer });
            let start = queue.rounds < ROUNDS;
            queue.rounds += usize::from(start);
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
        let ask = |mut client: Client| {
            let txn = Txn::new().and_then(keys.iter().map(read).collect::<Vec<_>>());
            async move { client.txn(txn).await }
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
            && let Some(question) = queue.questions.pop_front()
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
