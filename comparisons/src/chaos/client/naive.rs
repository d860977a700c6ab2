//! The registries on Redis that people write: they know neither revisions nor incarnations, and refuse nobody.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use redis::RedisError;
use registry_core::Cursor;

use super::words::done;
use super::{Answer, Asked, Client, Heard, Hearing, Held, How, Read};
use crate::chaos::history::{Change, Item, Listed, Outcome, Verb};
use crate::chaos::recorder::Recorder;
use crate::contestants::{Contestant, Listed as Values, Member, Seen};
use crate::experiment::Trouble;

/// A registry that people write.
pub struct Naive {
    contestant: Arc<dyn Contestant>,
    name: String,
    service: String,
    ttl: Duration,
    recorder: Recorder,
}

impl Naive {
    /// A client called `name`, of `service`, who registers for `ttl`.
    #[must_use]
    pub fn new(
        contestant: Arc<dyn Contestant>,
        name: String,
        service: String,
        ttl: Duration,
        recorder: Recorder,
    ) -> Self {
        Self { contestant, name, service, ttl, recorder }
    }

    fn asked(&self, verb: Verb) -> Asked<'_> {
        Asked::new(&self.recorder, &self.name, verb)
    }
}

impl fmt::Debug for Naive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Naive").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The kind of error in one word. No error is certain: what is asked is more than one command, and the first may have been done.
fn unknown(trouble: &Trouble) -> Outcome {
    let error = match trouble {
        Trouble::Failed(error) => error.downcast_ref::<RedisError>(),
        Trouble::NotRun(_) => None,
    };
    let kind = match error {
        Some(error) if error.is_timeout() => "timeout".to_owned(),
        Some(error) => error.code().map_or("unavailable".to_owned(), str::to_lowercase),
        None => "unavailable".to_owned(),
    };
    Outcome::Unknown { kind }
}

fn listed(values: Values) -> Vec<Listed> {
    let one = |(id, value)| Listed { id, value, incarnation: None, modified: None };
    values.into_iter().map(one).collect()
}

fn heard(seen: Seen) -> Item {
    match seen {
        Seen::List { listed: values, gap } => {
            Item::Reset { position: None, gap: gap.then(|| "unknown".to_owned()), listed: listed(values) }
        }
        Seen::Change { id, value: Some(value) } => {
            let one = Listed { id, value, incarnation: None, modified: None };
            Item::Changes { position: None, changes: vec![Change::Put(one)] }
        }
        Seen::Change { id, value: None } => {
            Item::Changes { position: None, changes: vec![Change::Delete { id, cause: None }] }
        }
        Seen::Trouble(_) => Item::Stale { error: "unavailable".to_owned() },
        Seen::Recovered => Item::Live { position: None },
    }
}

#[async_trait]
impl Client for Naive {
    async fn register(&self, id: &str, value: u64, _: How) -> Option<Box<dyn Held>> {
        let asked = self.asked(Verb::Register).about(id, None, Some(value));
        match self.contestant.register(&self.service, id, value, self.ttl).await {
            Ok(member) => {
                asked.answered(done(None, None));
                let (name, id) = (self.name.clone(), id.to_owned());
                Some(Box::new(NaiveHeld { member, name, id, recorder: self.recorder.clone() }))
            }
            Err(trouble) => {
                asked.answered(unknown(&trouble));
                None
            }
        }
    }

    async fn list(&self) -> Option<Read> {
        let asked = self.asked(Verb::Lookup);
        match self.contestant.list(&self.service).await {
            Ok(values) => {
                let listed = listed(values);
                asked.answered(Outcome::Ok {
                    revision: None,
                    incarnation: None,
                    position: None,
                    listed: Some(listed.clone()),
                });
                Some(Read { position: None, listed, skipped: 0 })
            }
            Err(trouble) => {
                asked.answered(unknown(&trouble));
                None
            }
        }
    }

    fn watch(&self, _: Option<Cursor>) -> Hearing {
        let told = self.contestant.watch(&self.service);
        Box::pin(told.map(|seen| Heard { item: heard(seen), cursor: None }))
    }
}

struct NaiveHeld {
    member: Box<dyn Member>,
    name: String,
    id: String,
    recorder: Recorder,
}

impl NaiveHeld {
    fn asked(&self, verb: Verb, value: Option<u64>) -> Asked<'_> {
        Asked::new(&self.recorder, &self.name, verb).about(&self.id, None, value)
    }
}

fn answered(asked: Asked<'_>, result: Result<(), Trouble>) -> Answer {
    match result {
        Ok(()) => {
            asked.answered(done(None, None));
            Answer::Done
        }
        Err(trouble) => {
            asked.answered(unknown(&trouble));
            Answer::Error
        }
    }
}

#[async_trait]
impl Held for NaiveHeld {
    async fn renew(&self) -> Answer {
        answered(self.asked(Verb::Keepalive, None), self.member.renew().await)
    }

    async fn set(&self, value: u64) -> Answer {
        answered(self.asked(Verb::Update, Some(value)), self.member.set(value).await)
    }

    async fn leave(&self) -> Answer {
        answered(self.asked(Verb::Deregister, None), self.member.leave().await)
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Trouble, unknown};

    #[test]
    fn what_a_naive_registry_fails_at_may_have_been_done() {
        let refused = Trouble::failed("refused");
        assert_eq!(unknown(&refused), Outcome::Unknown { kind: "unavailable".to_owned() });
    }
}
