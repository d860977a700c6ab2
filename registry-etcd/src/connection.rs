//! The way to the members: the one that answered last is asked first, the next one when it is slow or fails, a deadline on everything.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::Client;
use futures_util::future::Either;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use registry_core::time::{Timers, later};
use registry_core::{Error, ErrorKind, Operation, OwnerToken, Result};
use tokio::time::Instant;

use crate::error::{failure, is_granted_already};
use crate::login::Login;
use crate::member::Member;
use crate::options::EtcdOptions;

/// An operation that has begun, and when it must have ended, however many requests it makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    pub(crate) operation: Operation,
    pub(crate) end: Instant,
}

#[derive(Debug)]
pub(crate) struct Connection {
    members: Vec<Arc<Member>>,
    /// The member to ask first.
    current: AtomicUsize,
    request_timeout: Duration,
    hedge_after: Duration,
    /// Further members that are asked although the first has not failed.
    hedges: AtomicUsize,
    timers: Timers,
}

/// A watch proves itself with what the probe says, and must not be silent for 10 s.
const MAX_PROBE: Duration = Duration::from_secs(5);

/// So many may be under way: a store that is slow as a whole must not get every request several times.
const HEDGES: usize = 16;

impl Connection {
    /// `store` is the key that members are asked for to see whether they are there.
    pub(crate) fn new(options: &EtcdOptions, store: &str) -> Result<Self> {
        if options.endpoints.is_empty() {
            return Err(Error::invalid("endpoints", "is empty; etcd has at least one member"));
        }
        for (field, duration) in [
            ("connect timeout", options.connect_timeout),
            ("request timeout", options.request_timeout),
            ("probe interval", options.probe_interval),
        ] {
            if duration < Duration::from_millis(1) {
                return Err(Error::invalid(field, format!("is {duration:?}, at least 1 ms is needed")));
            }
        }
        if options.probe_interval > MAX_PROBE {
            let reason = format!(
                "is {:?}, at most {MAX_PROBE:?}: watches tell that they are current more often than every 10 s",
                options.probe_interval
            );
            return Err(Error::invalid("probe interval", reason));
        }
        let drawn = || OwnerToken::random().as_u128() as usize;
        let first = options.first_member.unwrap_or_else(drawn) % options.endpoints.len();
        let login = Arc::new(Login::new(options));
        let member = |url: &String| Member::new(url, options, store, &login).map(Arc::new);
        Ok(Self {
            members: options.endpoints.iter().map(member).collect::<Result<_>>()?,
            current: AtomicUsize::new(first),
            request_timeout: options.request_timeout,
            // A timer cannot be due sooner.
            hedge_after: options.hedge_after.max(Duration::from_millis(1)),
            hedges: AtomicUsize::new(0),
            timers: Timers::default(),
        })
    }

    /// How many members are known.
    pub(crate) fn size(&self) -> usize {
        self.members.len()
    }

    /// From now on the next member is asked first, unless another than `member` already is.
    pub(crate) fn leave(&self, member: &Arc<Member>) {
        let Some(at) = self.members.iter().position(|known| Arc::ptr_eq(known, member)) else { return };
        self.move_from(at);
    }

    fn move_from(&self, at: usize) {
        let next = (at + 1) % self.members.len();
        let _ = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn begin(&self, operation: Operation) -> Begun {
        Begun { operation, end: later(Instant::now(), self.request_timeout) }
    }

    /// The answer to a request that has all the time there is for it; see [`ask`](Self::ask).
    pub(crate) async fn call<T, F>(&self, operation: Operation, request: impl Fn(&Client) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.call_for(self.begin(operation), request).await
    }

    /// The answer to one of the requests of an operation.
    pub(crate) async fn call_for<T, F>(&self, begun: Begun, request: impl Fn(&Client) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.ask(begun, request).await.map(|(_, answer)| answer)
    }

    /// Makes a request of the members in turn and gives the first answer, with the member that gave it. The next one is asked when one fails,
    /// or says nothing for a while; then both may answer, so a request must do no harm when it is made twice.
    pub(crate) async fn ask<T, F>(
        &self,
        begun: Begun,
        request: impl Fn(&Client) -> F,
    ) -> Result<(Arc<Member>, T)>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let Begun { operation, end } = begun;
        let now = Instant::now();
        if now >= end {
            return Err(self.too_late(operation));
        }
        let mut hedge_at = later(now, self.hedge_after);
        let due = |hedge_at: Instant, waits: bool| if waits { hedge_at.min(end) } else { end };
        let mut timer = self.timers.at(due(hedge_at, self.members.len() > 1));
        let first = self.current.load(Ordering::Relaxed) % self.members.len();
        let mut alone = pin!(self.members[first].request(operation, &request));
        // Nearly always this is all. What follows takes memory from the heap as large as a request.
        let answer = tokio::select! {
            biased;
            answer = &mut alone => Some(answer),
            () = &mut timer => None,
        };
        let (mut failed, silent) = match answer {
            Some(answer) => match self.settle(first, answer) {
                ControlFlow::Break(settled) => return settled,
                ControlFlow::Continue(error) => (Some(error), None),
            },
            None => (None, Some(Either::Left(alone.map(|answer| (first, answer))))),
        };
        let mut attempts: FuturesUnordered<_> = silent.into_iter().collect();
        let mut waiting = self.turn(first).into_iter().skip(1);
        // Whoever takes the place of one that has failed is no further member that is asked.
        let mut replaces = failed.is_some();
        loop {
            let now = Instant::now();
            if attempts.is_empty() && waiting.len() == 0 {
                let unknown = || failure(ErrorKind::Unavailable, operation, "no member");
                return Err(failed.unwrap_or_else(unknown));
            }
            if now >= end {
                self.move_from(first);
                let asked = self.members.len() - waiting.len();
                self.turn(first).into_iter().take(asked).for_each(|at| self.members[at].went_unanswered());
                let error = self.too_late(operation);
                return Err(match failed {
                    Some(failed) => error.with_source(failed),
                    None => error,
                });
            }
            if replaces || now >= hedge_at {
                hedge_at = later(now, self.hedge_after);
                let many = !replaces && self.hedges.load(Ordering::Relaxed) >= HEDGES;
                if let Some(at) = (!many).then(|| waiting.next()).flatten() {
                    // Whoever asks next need not wait as long.
                    self.move_from(first);
                    self.members[first].went_unanswered();
                    let hedge = (!attempts.is_empty()).then(|| Hedge::count(&self.hedges));
                    let attempt = self.members[at].request(operation, &request);
                    attempts.push(Either::Right(async move {
                        let answer = (at, attempt.await);
                        drop(hedge);
                        answer
                    }));
                }
                replaces = false;
            }
            timer.reset(due(hedge_at, waiting.len() > 0));
            tokio::select! {
                biased;
                Some((at, answer)) = attempts.next() => match self.settle(at, answer) {
                    ControlFlow::Break(settled) => return settled,
                    ControlFlow::Continue(error) => {
                        failed = Some(more_telling(failed, error));
                        replaces = true;
                    }
                },
                () = &mut timer => {}
            }
        }
    }

    /// What the member `at` answered, unless another may answer better.
    fn settle<T>(&self, at: usize, answer: Result<T>) -> ControlFlow<Result<(Arc<Member>, T)>, Error> {
        match answer {
            Ok(answer) => {
                self.current.store(at, Ordering::Relaxed);
                ControlFlow::Break(Ok((Arc::clone(&self.members[at]), answer)))
            }
            Err(error) if may_be_the_members(&error) => {
                tracing::debug!(member = %self.members[at].url(), %error, "member failed");
                self.move_from(at);
                ControlFlow::Continue(error)
            }
            Err(error) => ControlFlow::Break(Err(error)),
        }
    }

    fn too_late(&self, operation: Operation) -> Error {
        let (members, within) = (self.members.len(), self.request_timeout);
        let message =
            format!("no member of {members} answered in time; there are {within:?} for an operation");
        failure(ErrorKind::Timeout, operation, message)
    }

    /// All members, beginning with `first`.
    fn turn(&self, first: usize) -> Vec<usize> {
        let count = self.members.len();
        (first..first + count).map(|at| at % count).collect()
    }
}

/// Counts while it lives.
struct Hedge<'a>(&'a AtomicUsize);

impl<'a> Hedge<'a> {
    fn count(hedges: &'a AtomicUsize) -> Self {
        hedges.fetch_add(1, Ordering::Relaxed);
        Self(hedges)
    }
}

impl Drop for Hedge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether another member may answer better.
fn may_be_the_members(error: &Error) -> bool {
    let kinds = [ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::Unauthenticated];
    kinds.contains(&error.kind()) && !is_granted_already(error)
}

/// Of two failures the one that says what to mend.
fn more_telling(before: Option<Error>, now: Error) -> Error {
    match before {
        Some(before) if before.kind() == ErrorKind::Unauthenticated => before,
        _ => now,
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::AtomicUsize;

    use tokio::time::sleep;
    use tonic::Status;

    use super::*;

    const MILLIS: Duration = Duration::from_millis(1);

    /// To three members, the first of which is asked first. None is there, which requests that do not use their client do not learn.
    fn connection(request_timeout: Duration) -> Connection {
        connection_to(&["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"], request_timeout)
    }

    fn connection_to(urls: &[&str], request_timeout: Duration) -> Connection {
        let mut options = EtcdOptions::new(urls.iter().copied()).with_first_member(0);
        options.request_timeout = request_timeout;
        Connection::new(&options, "store").unwrap()
    }

    /// What a member does that is asked: after how long it answers, if at all, and whether well.
    #[derive(Clone, Copy)]
    enum Does {
        Answer,
        AnswerAfter(u32),
        Fail(u32),
        Nothing,
    }

    /// Asks members of which the first one asked does the first thing, and so on, and gives what became of it and after how long. Also how many were asked.
    async fn ask(connection: &Connection, members: [Does; 3]) -> (Result<()>, Duration, usize) {
        let (asked, began) = (AtomicUsize::new(0), Instant::now());
        let request = |_: &Client| {
            let does = members[asked.fetch_add(1, Ordering::Relaxed)];
            async move {
                match does {
                    Does::Answer => Ok(()),
                    Does::AnswerAfter(after) => {
                        sleep(after * MILLIS).await;
                        Ok(())
                    }
                    Does::Fail(after) => {
                        sleep(after * MILLIS).await;
                        Err(etcd_client::Error::GRpcStatus(Status::unavailable("it has gone")))
                    }
                    Does::Nothing => pending().await,
                }
            }
        };
        let answer = connection.call(Operation::Lookup, request).await;
        (answer, began.elapsed(), asked.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn another_member_is_asked_when_one_fails_and_when_one_is_silent_for_a_while() {
        for (first, after) in [(Does::Fail(0), 0), (Does::Fail(30), 30), (Does::Nothing, 500)] {
            let connection = connection(5_000 * MILLIS);
            let (answer, took, asked) = ask(&connection, [first, Does::Answer, Does::Answer]).await;
            answer.unwrap();
            assert_eq!((took, asked), (after * MILLIS, 2));
            assert_eq!(connection.current.load(Ordering::Relaxed), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_further_member_is_asked_while_very_many_are_but_one_that_fails_is_replaced_at_once() {
        let connection = connection(5_000 * MILLIS);
        let asking = ask(&connection, [Does::Fail(700), Does::Nothing, Does::Answer]);
        let crowd = async {
            sleep(600 * MILLIS).await;
            assert_eq!(connection.hedges.fetch_add(HEDGES, Ordering::Relaxed), 1);
        };
        let ((answer, took, asked), ()) = tokio::join!(asking, crowd);
        answer.unwrap();
        assert_eq!((took, asked), (700 * MILLIS, 3));
        assert_eq!(connection.hedges.load(Ordering::Relaxed), HEDGES, "its own are over");
        let (answer, took, asked) = ask(&connection, [Does::Nothing, Does::Answer, Does::Answer]).await;
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!((took, asked), (5_000 * MILLIS, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_time_is_over_the_error_tells_what_failed_and_the_next_one_is_asked_first() {
        let connection = connection(400 * MILLIS);
        let (answer, took, asked) = ask(&connection, [Does::Nothing; 3]).await;
        assert_eq!((answer.unwrap_err().kind(), took, asked), (ErrorKind::Timeout, 400 * MILLIS, 1));
        assert_eq!(connection.current.load(Ordering::Relaxed), 1);
        let (answer, _, asked) = ask(&connection, [Does::Fail(10), Does::Nothing, Does::Nothing]).await;
        let error = answer.unwrap_err();
        assert_eq!((error.kind(), asked), (ErrorKind::Timeout, 2));
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("it has gone"), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_have_failed_it_is_told_at_once() {
        let connection = connection(5_000 * MILLIS);
        let (answer, took, asked) = ask(&connection, [Does::Fail(1), Does::Fail(2), Does::Fail(3)]).await;
        assert_eq!((answer.unwrap_err().kind(), took, asked), (ErrorKind::Unavailable, 6 * MILLIS, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_lost_a_hedge_long_ago_is_not_given_up_when_it_is_slow() {
        let connection = connection(5_000 * MILLIS);
        let (answer, took, _) =
            ask(&connection, [Does::Nothing, Does::AnswerAfter(100), Does::Nothing]).await;
        answer.unwrap();
        assert_eq!(took, 600 * MILLIS);
        sleep(60_000 * MILLIS).await;
        connection.current.store(0, Ordering::Relaxed);
        let (answer, took, asked) =
            ask(&connection, [Does::AnswerAfter(501), Does::Nothing, Does::Nothing]).await;
        answer.unwrap();
        assert_eq!((took, asked), (501 * MILLIS, 2));
        assert!(connection.members[0].is_connected());
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_is_always_asked_second_is_not_given_up_for_what_another_answered() {
        let connection = connection(5_000 * MILLIS);
        for _ in 0..200 {
            let (answer, took, _) =
                ask(&connection, [Does::AnswerAfter(550), Does::Nothing, Does::Nothing]).await;
            answer.unwrap();
            assert_eq!(took, 550 * MILLIS);
        }
        connection.leave(&connection.members[0]);
        let (answer, took, _) =
            ask(&connection, [Does::AnswerAfter(550), Does::Nothing, Does::Nothing]).await;
        answer.unwrap();
        assert_eq!((took, connection.current.load(Ordering::Relaxed)), (550 * MILLIS, 1));
        assert!(connection.members[1].is_connected());
    }

    #[tokio::test(start_paused = true)]
    async fn members_that_swallow_everything_are_given_up_although_each_operation_ends_sooner() {
        let urls = ["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"];
        // Of three, each waits for its turn for a part of the time.
        for (members, pause, expected) in
            [(1, 0, [1, 1, 0, 0]), (1, 60_000, [1, 1, 0, 0]), (3, 0, [3, 3, 3, 0])]
        {
            let connection = connection_to(&urls[..members], 2_000 * MILLIS);
            let swallowed = |_: &Client| pending::<Result<(), etcd_client::Error>>();
            let mut connected = [0; 4];
            for left in &mut connected {
                let answer = connection.call(Operation::Lookup, swallowed).await;
                assert_eq!(answer.unwrap_err().kind(), ErrorKind::Timeout);
                *left = connection.members.iter().filter(|member| member.is_connected()).count();
                if *left == 0 {
                    break;
                }
                sleep(pause * MILLIS).await;
            }
            assert_eq!(connected, expected, "{members} members, {pause} ms between operations");
        }
    }
}
