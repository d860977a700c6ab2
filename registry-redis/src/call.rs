//! A call of a script: what the script is told beside its own arguments, and the wait for replicas.

use std::time::Duration;

use redis::{Cmd, ErrorKind as Kind, RedisError, RedisResult, ServerErrorKind, Value};
use registry_core::{Error, ErrorKind, Incarnation, Operation};
use tokio::time::Instant;

use crate::answer::is_done;
use crate::connection::{Connection, Request};
use crate::error::{classify, failure};
use crate::hex;
use crate::layout::Keys;
use crate::link::Link;
use crate::options::Wait;
use crate::script::Script;

/// Why a service could not be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// There was no answer: it may be our own network.
    Unanswered,
    /// The server said that it writes nothing for anybody.
    Refused,
}

/// The log of a service holds at most so many bytes.
const LOG_BYTES: usize = 16 << 20;

/// Adds a script's own arguments to a call, which may be sent more than once.
pub(crate) type Args<'a> = &'a (dyn Fn(&mut Cmd) + Send + Sync);

/// A call of a script.
pub(crate) struct Call<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) keys: &'a Keys,
    pub(crate) script: &'static Script,
    /// Adds the script's own arguments.
    pub(crate) args: Args<'a>,
    pub(crate) deadline: Instant,
    /// Everything that can be known about refused writes is known.
    pub(crate) sure: bool,
    /// What has happened to writes to this service since the last that succeeded.
    pub(crate) trouble: Option<Trouble>,
    /// How often it came too late already.
    pub(crate) tries: u32,
    /// It is acknowledged only when replicas have it.
    pub(crate) waits: bool,
}

impl Call<'_> {
    /// For how long it may be done after it was sent; longer each time it was too late.
    fn patience(&self, stall_after: Duration) -> Duration {
        stall_after.saturating_mul(1 << self.tries)
    }

    /// The call, sent now: what the scripts expect before their own arguments (see `scripts/common.lua`), and those.
    fn with_args(&self, mut call: Cmd, link: &Link, now: Instant) -> Cmd {
        let options = &self.connection.options();
        // A copy that may be sent again on another connection must not be done after that one.
        let patience = self.deadline.saturating_duration_since(now);
        let (arrival, patience) = link.arrival(now, patience.min(self.patience(options.stall_after)));
        let flags = match (self.sure, self.trouble) {
            (false, None) => "",
            (false, Some(Trouble::Refused)) => "g",
            (false, Some(Trouble::Unanswered)) => "u",
            (true, None) => "s",
            (true, Some(Trouble::Refused)) => "sg",
            (true, Some(Trouble::Unanswered)) => "su",
        };
        let watched = link.watched();
        call.arg(arrival).arg(patience).arg(&link.run).arg(link.started).arg(link.refused());
        call.arg(Incarnation::now().get()).arg(flags);
        call.arg(&hex::digits(self.connection.draw()));
        call.arg(options.history).arg(LOG_BYTES).arg(watched.since).arg(watched.forward);
        (self.args)(&mut call);
        call
    }

    async fn once(&self, link: &Link, asking: bool) -> RedisResult<Value> {
        let keys = self.keys.all();
        let sent = Instant::now();
        let answer = self.with_args(self.script.call(&keys), link, sent).send(link, asking).await;
        let answer = match answer {
            Err(error) if matches!(error.kind(), Kind::Server(ServerErrorKind::NoScript)) => {
                let call = self.with_args(self.script.call_with_text(&keys), link, Instant::now());
                Box::pin(call.send(link, asking)).await
            }
            answer => answer,
        }?;
        if let Some(Value::Int(now)) = answer.as_sequence().and_then(|parts| parts.get(1)) {
            link.tell_time(sent, *now);
        }
        Ok(answer)
    }
}

impl Request for Call<'_> {
    async fn send(&self, link: &Link, asking: bool) -> RedisResult<Value> {
        let Some(wait) = self.connection.options().wait.filter(|_| self.waits) else {
            return self.once(link, asking).await;
        };
        // Who does not wait need not make room for it.
        Box::pin(self.send_and_wait(link, asking, wait)).await
    }

    fn stall(&self, stall_after: Duration) -> Duration {
        let wait = self.connection.options().wait.filter(|_| self.waits);
        let patience = self.patience(stall_after);
        // Others may have just begun to wait. Not for all of a long one, so that there is time left for another connection.
        let waits =
            wait.map_or(Duration::ZERO, |wait| wait.timeout.saturating_add(wait.timeout.min(patience)));
        patience.saturating_add(waits)
    }
}

impl Call<'_> {
    async fn send_and_wait(&self, link: &Link, asking: bool, wait: Wait) -> RedisResult<Value> {
        let member = self.connection.topology().node_at(&link.address);
        let (group, written) = loop {
            let group =
                member.waited().await.map_err(|error| RedisError::from(std::io::Error::other(error)))?;
            if let Some(written) = group.write(self.once(&group.link, asking)).await {
                break (group, written);
            }
        };
        let (answer, mark) = written?;
        // Every change that is answered so has written something (`commit` in `scripts/common.lua`), also one that was made before.
        if !is_done(&answer) {
            return Ok(answer);
        }
        let count = group.replicas(mark, wait).await?;
        if count >= wait.replicas {
            return Ok(answer);
        }
        let reason = format!("{count} of {} replicas have it after {:?}", wait.replicas, wait.timeout);
        Err(redis::make_extension_error(UNMET.into(), Some(reason)))
    }
}

/// The code of an error that no server raises: `WAIT` was not met.
const UNMET: &str = "UNMET";

/// The same as [`classify`], for what calls of scripts give.
pub(crate) fn classify_call(operation: Operation, error: RedisError) -> Error {
    if error.code() == Some(UNMET) {
        let message = format!("written, but only {}", error.detail().unwrap_or("too few replicas have it"));
        return failure(ErrorKind::Timeout, operation, message);
    }
    classify(operation, error)
}
