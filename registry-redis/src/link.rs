//! One connection to one server: how far its clock is from ours, which process it is, and what it says of itself.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind as Kind, Pipeline, ProtocolVersion, PushInfo, RedisConnectionInfo,
    RedisError, RedisResult, Value, cmd,
};
use registry_core::{Error, ErrorKind, Operation, Result, User};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use crate::address::Address;
use crate::error::{classify, failure};
use crate::facts::Facts;
use crate::options::RedisOptions;
use crate::transport;

/// A connection that many requests share.
pub(crate) struct Link {
    pub(crate) address: Address,
    connection: MultiplexedConnection,
    driver: AbortHandle,
    made: Instant,
    clock: Mutex<Clock>,
    /// When the process that answers was started, by its own clock; 0 where it does not tell.
    pub(crate) started: i64,
    refused: AtomicU64,
    /// What the server said of itself last.
    facts: Mutex<Facts>,
    /// When it said so.
    learnt: Mutex<Instant>,
    /// Which process answers.
    pub(crate) run: String,
    broken: AtomicBool,
}

/// The server's clock, as its answers tell. All in milliseconds.
#[derive(Debug, Default)]
struct Clock {
    /// From the milliseconds since the connection was made to the server's time.
    offset: i64,
    /// How far that may be wrong; nothing before the first answer.
    within: Option<i64>,
    /// How long the last answered request was on its way.
    delay: i64,
    watched: Watched,
}

/// Since when a clock has not stepped, in its time, and by how much it was put forward then; 0 where it was not, or where nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watched {
    pub(crate) since: i64,
    pub(crate) forward: i64,
}

impl Clock {
    /// It was `now` at some moment of the `round_trip` that has ended at `ended`.
    fn told(&mut self, ended: i64, round_trip: i64, now: i64) {
        let doubt = round_trip / 2 + 1;
        let offset = now - (ended - round_trip / 2);
        let step = offset - self.offset;
        let delay = (now - (ended - round_trip + self.offset)).max(0);
        self.delay = if self.within.is_some() { delay.min(round_trip) } else { round_trip / 2 };
        match self.within {
            None => self.watched = Watched { since: now, forward: 0 },
            Some(within) if step.abs() > doubt + within + DRIFT => {
                self.watched = Watched { since: now, forward: step.max(0) };
            }
            // A slow answer tells less than a quick one.
            Some(within) if doubt > within.max(DRIFT) => return,
            Some(_) => {}
        }
        (self.offset, self.within) = (offset, Some(doubt));
    }
}

/// So many milliseconds clocks may drift apart between two answers.
const DRIFT: i64 = 50;

/// What a server says of itself is asked for again after this time, while it is used.
const FRESH: Duration = Duration::from_secs(10);

/// What a link is for.
pub(crate) enum Use {
    /// Commands and scripts, on a primary.
    Requests,
    /// Being told of changes.
    Pushes(Box<dyn Fn(PushInfo) + Send + Sync>),
    /// Questions to a Sentinel.
    Sentinel,
    /// Questions to a node of a cluster, which may be a replica.
    Questions,
}

impl Link {
    /// Connects, logs in, and learns who is there, all within the options' `connect_timeout`.
    pub(crate) async fn connect(
        address: &Address,
        options: &RedisOptions,
        purpose: Use,
    ) -> Result<Arc<Self>> {
        let within = options.connect_timeout;
        match timeout(within, Self::try_connect(address, options, purpose)).await {
            Ok(connected) => connected.map(Arc::new),
            Err(_) => Err(failure(
                ErrorKind::Unavailable,
                Operation::Connect,
                format!("{address} did not answer within {within:?}"),
            )),
        }
    }

    async fn try_connect(address: &Address, options: &RedisOptions, purpose: Use) -> Result<Self> {
        let sentinel = matches!(purpose, Use::Sentinel);
        let user = if sentinel { &options.sentinel_user } else { &options.user };
        let mut info = RedisConnectionInfo::default().set_db(i64::from(options.database));
        if sentinel {
            info = info.set_db(0);
        }
        if let Some(user) = user {
            info = log_in(info, user).await?;
        }
        // A blocked or long answer is for the caller to give up on, never for the connection.
        let mut config = AsyncConnectionConfig::new().set_response_timeout(None);
        let requests = matches!(purpose, Use::Requests);
        if let Use::Pushes(told) = purpose {
            info = info.set_protocol(ProtocolVersion::RESP3);
            config = config.set_push_sender(move |push: PushInfo| {
                told(push);
                Ok::<(), ()>(())
            });
        }
        let stream = transport::connect(address, options.tls.as_ref()).await?;
        let connected = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (connection, driver) = connected.map_err(|error| refused_connection(address, error))?;
        let driver = tokio::spawn(driver).abort_handle();
        let mut link = Self {
            address: address.clone(),
            connection,
            driver,
            made: Instant::now(),
            clock: Mutex::default(),
            started: 0,
            refused: AtomicU64::new(0),
            facts: Mutex::default(),
            learnt: Mutex::new(Instant::now()),
            run: String::new(),
            broken: AtomicBool::new(false),
        };
        if requests {
            link.learn().await?;
        }
        Ok(link)
    }

    /// Asks who is there and what time it is.
    async fn learn(&mut self) -> Result<()> {
        let failed = |error| refused_connection(&self.address, error);
        let facts = self.ask_facts().await.map_err(failed)?;
        if !facts.role.is_empty() && facts.role != "master" {
            let message = format!("{} is no primary", self.address);
            return Err(failure(ErrorKind::Unavailable, Operation::Connect, message));
        }
        if facts.loading {
            let loading = redis::make_extension_error("LOADING".into(), Some("it reads its data".into()));
            let message = format!("{} is loading its data", self.address);
            return Err(failure(ErrorKind::Unavailable, Operation::Connect, message).with_source(loading));
        }
        facts.warn_of_eviction(&self.address);
        let sent = Instant::now();
        let time = self.send(cmd("TIME")).await.map_err(failed)?;
        if let Some(now) = millis(&time) {
            self.tell_time(sent, now);
            let up = facts.up.and_then(|up| i64::try_from(up.as_millis()).ok());
            self.started = up.map_or(0, |up| now - up);
        }
        self.run.clone_from(&facts.run);
        self.refused = AtomicU64::new(facts.refused);
        self.facts = Mutex::new(facts);
        Ok(())
    }

    async fn ask_facts(&self) -> RedisResult<Facts> {
        // Without the right to ask nothing is known, and little is claimed.
        let mut facts =
            text(&self.send(cmd("INFO")).await?).map(|info| Facts::of_info(&info)).unwrap_or_default();
        let mut config = cmd("CONFIG");
        config.arg("GET").arg("appendfsync").arg("no-appendfsync-on-rewrite").arg("save");
        facts.add_config(&self.send(config).await?);
        Ok(facts)
    }

    /// Whether what the server said of itself is so old that it is to be asked again; the first who asks is told so.
    pub(crate) fn is_to_learn(&self) -> bool {
        let mut learnt = self.learnt.lock().unwrap_or_else(PoisonError::into_inner);
        let old = learnt.elapsed() > FRESH;
        if old {
            *learnt = Instant::now();
        }
        old
    }

    /// Asks the server again what it is.
    pub(crate) async fn learn_again(&self) {
        if let Ok(facts) = self.ask_facts().await {
            self.refused.fetch_max(facts.refused, Ordering::Relaxed);
            *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = facts;
        }
    }

    /// What the server said of itself last.
    pub(crate) fn facts(&self) -> Facts {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One command; an error of the server is an error, save that what the server refuses to tell while connecting is `Nil`.
    async fn send(&self, command: Cmd) -> RedisResult<Value> {
        match self.request(&command).await {
            Err(error) if matches!(error.code(), Some("NOPERM" | "ERR")) => Ok(Value::Nil),
            outcome => outcome,
        }
    }

    /// One command. Dropping the future leaves the connection usable; the command may be done.
    pub(crate) async fn request(&self, command: &Cmd) -> RedisResult<Value> {
        let answer = self.connection.clone().send_packed_command(command).await;
        answer.and_then(Value::extract_error).inspect_err(|error| self.judge(error))
    }

    /// Several commands one after the other; the answer of the last.
    pub(crate) async fn pipeline(&self, commands: &Pipeline, count: usize) -> RedisResult<Value> {
        let answers = self.connection.clone().send_packed_commands(commands, count - 1, 1).await;
        let answers = answers.inspect_err(|error| self.judge(error))?;
        let answer = answers.into_iter().next_back().unwrap_or(Value::Nil);
        answer.extract_error().inspect_err(|error| self.judge(error))
    }

    fn judge(&self, error: &RedisError) {
        if crate::error::breaks_connection(error) {
            self.give_up();
        }
    }

    /// Nobody is to use it any more.
    pub(crate) fn give_up(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// When what is sent `now` should arrive, by the server's time in milliseconds since 1970, and for how long from then its caller, who waits for
    /// `patience` from now, surely still waits.
    pub(crate) fn arrival(&self, now: Instant, patience: Duration) -> (i64, i64) {
        let patience = i64::try_from(patience.as_millis()).unwrap_or(i64::MAX);
        let clock = self.clock();
        // What is cut off where it cannot be told exactly, and at both ends of a millisecond.
        let surely = patience - (clock.within.unwrap_or_default() + 1).min(patience / 2);
        let delay = clock.delay.min(surely);
        (self.since_made(now) + clock.offset + delay, surely - delay)
    }

    /// The server said that it was `now` in answer to what was asked at `sent`.
    pub(crate) fn tell_time(&self, sent: Instant, now: i64) {
        let ended = Instant::now();
        let round_trip = i64::try_from((ended - sent).as_millis()).unwrap_or(i64::MAX);
        self.clock().told(self.since_made(ended), round_trip, now);
    }

    /// Since when the server's clock was seen not to step.
    pub(crate) fn watched(&self) -> Watched {
        self.clock().watched
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since_made(&self, moment: Instant) -> i64 {
        i64::try_from((moment - self.made).as_millis()).unwrap_or(i64::MAX)
    }

    /// How many writes the server has refused, as far as is known.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Asks how many it has refused by now.
    pub(crate) async fn count_refused(&self) -> RedisResult<()> {
        let mut info = cmd("INFO");
        info.arg("errorstats");
        if let Some(text) = text(&self.send(info).await?) {
            self.refused.store(Facts::of_info(&text).refused, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("address", &self.address).field("run", &self.run).finish_non_exhaustive()
    }
}

async fn log_in(info: RedisConnectionInfo, user: &User) -> Result<RedisConnectionInfo> {
    let wanted = user.clone();
    let password = tokio::task::spawn_blocking(move || wanted.read_password()).await.map_err(|error| {
        failure(ErrorKind::Unavailable, Operation::Connect, "the runtime is shutting down").with_source(error)
    })?;
    let password = password.map_err(|error| error.with_backend(crate::BACKEND))?;
    Ok(info.set_username(&user.name).set_password(password))
}

fn refused_connection(address: &Address, error: RedisError) -> Error {
    // The library folds what the server said into its own kind.
    let denied = matches!(error.kind(), Kind::AuthenticationFailed)
        || error.to_string().contains("WRONGPASS")
        || error.to_string().contains("NOAUTH")
        // In TLS 1.3 a server says what it thinks of our certificate after the handshake.
        || error.to_string().contains("received fatal alert");
    let classified = classify(Operation::Connect, error);
    let kind = if denied { ErrorKind::Unauthenticated } else { classified.kind() };
    failure(kind, Operation::Connect, format!("{address}: {}", classified.message())).with_source(classified)
}

pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        Value::VerbatimString { text, .. } => Some(text.clone()),
        _ => None,
    }
}

/// The same of a value that nobody needs any more.
pub(crate) fn into_text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(
            String::from_utf8(bytes)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        ),
        other => text(&other),
    }
}

/// The answer of `TIME`.
fn millis(value: &Value) -> Option<i64> {
    let parts = value.as_sequence()?;
    let number = |at: usize| text(parts.get(at)?)?.parse::<i64>().ok();
    Some(number(0)? * 1_000 + number(1)? / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(answers: &[(i64, i64, i64)]) -> Clock {
        let mut clock = Clock::default();
        for (ended, round_trip, now) in answers {
            clock.told(*ended, *round_trip, *now);
        }
        clock
    }

    #[test]
    fn a_step_is_noticed_and_told_from_an_answer_that_was_slow() {
        let watched = |answers: &[_]| {
            let watched = told(answers).watched;
            (watched.since, watched.forward)
        };
        assert_eq!(watched(&[(10, 2, 1_009)]), (1_009, 0), "as of the first answer");
        assert_eq!(watched(&[(10, 2, 1_009), (20, 2, 1_019)]), (1_009, 0));
        assert_eq!(watched(&[(10, 2, 1_009), (20, 2, 6_319)]), (6_319, 5_300));
        assert_eq!(watched(&[(10, 2, 1_009), (20, 2, 519)]), (519, 0), "put back");
        for now in [1_012, 5_000, 9_012] {
            assert_eq!(
                watched(&[(10, 2, 1_009), (8_012, 8_000, now)]),
                (1_009, 0),
                "asked and answered between"
            );
        }
        assert_eq!(watched(&[(10, 2, 1_009), (8_012, 8_000, 20_000)]), (20_000, 14_988));
    }

    #[test]
    fn how_long_the_way_takes_is_what_it_took_last() {
        assert_eq!(told(&[(10, 2, 1_009)]).delay, 1);
        assert_eq!(told(&[(10, 2, 1_009), (2_000, 1_310, 3_000)]).delay, 1_310, "there");
        assert_eq!(told(&[(10, 2, 1_009), (2_000, 1_310, 1_691)]).delay, 1, "back");
        assert_eq!(told(&[(10, 2, 1_009), (2_000, 1_310, 3_000), (2_010, 2, 3_009)]).delay, 1);
        assert!(told(&[(10, 2, 1_009), (20, 2, 6_319)]).delay <= 2, "a step is no delay");
    }

    #[test]
    fn the_quickest_answer_tells_what_time_it_is() {
        assert_eq!(told(&[(10, 2, 1_009)]).offset, 1_000);
        assert_eq!(told(&[(1_000, 900, 1_950)]).offset, 1_400, "for want of a better one");
        assert_eq!(told(&[(1_000, 900, 1_950), (1_010, 2, 2_009)]).offset, 1_000);
        assert_eq!(told(&[(10, 2, 1_009), (1_000, 900, 1_950)]).offset, 1_000);
    }
}
