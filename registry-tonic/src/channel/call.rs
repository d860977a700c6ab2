//! One call: pick, send, and pick again for as long as the request was never sent.

use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use registry_core::time::later;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tonic::body::Body;
use tracing::{Span, field};

use super::connection::{Unanswered, is_io};
use super::deadline::Deadline;
use super::error::{CallError, why_nobody};
use super::lineup::{Candidate, Wanted};
use super::outcome::{Outcome, early_status, status};
use super::peer::InFlight;
use super::pick::unit;
use super::replay::{Kept, Replay, keep};
use super::retry::{KEEP, Retry};
use super::{Inner, WaitForReady};

type Answer = Result<Response<ResponseBody>, CallError>;

/// The answer to a call, to be awaited. Dropping it cancels the call.
#[must_use = "a call does nothing unless it is awaited"]
pub struct ResponseFuture {
    call: Pin<Box<dyn Future<Output = Answer> + Send>>,
    span: Span,
}

impl ResponseFuture {
    pub(super) fn new(inner: Arc<Inner>, request: Request<Body>) -> Self {
        let now = Instant::now();
        let key = inner.picker.key(&request);
        // Before there is a span, since one that is made whole costs less than one that is added to.
        let first = inner.board.load().pick(&inner.picker, Wanted { key, tried: &[] }, now);
        let span = tracing::info_span!(
            "grpc.call",
            service = %inner.view.service(),
            method = request.uri().path(),
            peer = first.as_ref().map(|first| field::display(first.peer.endpoint())),
            attempt = first.as_ref().map(|_| 1_u32),
            code = field::Empty,
        );
        let call = call(inner, request.map(Kept::from), key, first, now, span.clone());
        Self { call: Box::pin(call), span }
    }
}

impl Future for ResponseFuture {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match ready!(this.span.in_scope(|| this.call.as_mut().poll(cx))) {
            Ok(response) => Poll::Ready(Ok(response.map(|body| body.within(this.span.clone())))),
            Err(error) => {
                this.span.record("code", error.code() as i32);
                Poll::Ready(Err(error))
            }
        }
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// What became of one attempt.
enum Attempt {
    Answered(Response<Incoming>, InFlight),
    /// It was never sent, and here it is.
    NeverSent(Box<Request<Kept>>),
    /// No server took it, and this is what it says of the endpoint if it cannot go to another one.
    NeverTaken(CallError, InFlight, Outcome),
    Failed(CallError),
}

/// So often a call is sent to another server since the one before did not take it.
const MOST_NEVER_TAKEN: u32 = 5;

/// `first` is who was picked when the call began, if there was anybody.
#[allow(clippy::manual_async_fn)] // That has room for its arguments twice.
fn call(
    inner: Arc<Inner>,
    mut request: Request<Kept>,
    key: Option<u64>,
    mut first: Option<Arc<Candidate>>,
    began: Instant,
    span: Span,
) -> impl Future<Output = Answer> + Send {
    async move {
        let inner = &*inner;
        let deadline = Deadline::of(request.headers(), began);
        let wait = request.extensions().get::<WaitForReady>().map_or(inner.wait_for_ready, |wait| wait.0);
        let mut patience = Patience { left: wait, wait, deadline };
        inner.retry.iter().for_each(Retry::begun);
        let limit = inner.retry.as_ref().map_or(KEEP, |retry| retry.keep);
        let replay =
            poll_fn(|cx| Poll::Ready(keep(&mut request, limit, cx))).await.map_err(CallError::unwritten)?;
        let (mut tried, mut attempt, mut never_taken) = (Vec::new(), 1, 0);
        // What was sent at once was sent when the call began; only what waited needs to look at the clock again.
        let mut now = began;
        loop {
            let candidate = match first.take() {
                Some(first) => first,
                None => {
                    // Few calls wait, so those that do not have no room for it.
                    let wanted = Wanted { key, tried: &tried };
                    let next = Box::pin(candidate(inner, wanted, &mut patience, &mut now)).await;
                    let next = next.map_err(|error| error.after_attempts(attempt - 1))?;
                    span.record("peer", field::display(next.peer.endpoint())).record("attempt", attempt);
                    next
                }
            };
            let again = match send(&candidate, mem::take(&mut request), deadline, began, now).await {
                Attempt::NeverSent(back) => {
                    request = *back;
                    now = Instant::now();
                    continue;
                }
                Attempt::NeverTaken(error, mut in_flight, outcome) => {
                    if let Some(replay) = replay.as_ref().filter(|_| never_taken < MOST_NEVER_TAKEN) {
                        in_flight.never_sent();
                        tell_again(&candidate, attempt, error.code(), error.message());
                        never_taken += 1;
                        tried.push(Arc::clone(&candidate.peer));
                        request = replay.again(attempt - 1);
                        now = Instant::now();
                        continue;
                    }
                    in_flight.ended(outcome);
                    match repeat(inner, replay.as_ref(), attempt, error.code(), None, deadline) {
                        Some(again) => {
                            tell_again(&candidate, attempt, error.code(), error.message());
                            again
                        }
                        None => return Err(error),
                    }
                }
                Attempt::Answered(response, mut in_flight) => {
                    let code = early_status(&response);
                    let headers = Some(response.headers());
                    let again = code.and_then(|code| {
                        let again = repeat(inner, replay.as_ref(), attempt, code, headers, deadline)?;
                        Some((code, again))
                    });
                    match again {
                        Some((code, again)) => {
                            in_flight.ended(Outcome::Answered(code));
                            tell_again(&candidate, attempt, code, code.description());
                            again
                        }
                        None => {
                            return Ok(
                                response.map(|body| ResponseBody::new(body, in_flight, code, deadline))
                            );
                        }
                    }
                }
                Attempt::Failed(error) => {
                    match repeat(inner, replay.as_ref(), attempt, error.code(), None, deadline) {
                        Some(again) => {
                            tell_again(&candidate, attempt, error.code(), error.message());
                            again
                        }
                        None if error.may_have_been_sent() => return Err(error),
                        None => return Err(error.after_attempts(attempt - 1)),
                    }
                }
            };
            sleep_until(again.at).await;
            request = again.replay.again(attempt);
            tried.push(Arc::clone(&candidate.peer));
            attempt += 1;
            now = Instant::now();
        }
    }
}

/// Tells of an attempt that is not the last one: the span of the call has the last one only.
fn tell_again(candidate: &Candidate, attempt: u32, code: tonic::Code, error: &str) {
    let (peer, code) = (candidate.peer.endpoint(), code as i32);
    tracing::info!(%peer, attempt, code, error, "sent again");
}

/// A call that is sent again.
struct Again<'a> {
    replay: &'a Replay,
    at: Instant,
}

fn repeat<'a>(
    inner: &Inner,
    replay: Option<&'a Replay>,
    attempt: u32,
    code: tonic::Code,
    headers: Option<&HeaderMap>,
    deadline: Option<Deadline>,
) -> Option<Again<'a>> {
    let (retry, replay) = (inner.retry.as_ref()?, replay?);
    let at = later(Instant::now(), retry.after(attempt, code, headers, unit(&inner.picker.draw))?);
    let in_time = deadline.is_none_or(|deadline| at < deadline.at);
    (in_time && retry.take()).then_some(Again { replay, at })
}

type Answering = Pin<Box<dyn Future<Output = Option<Result<Response<Incoming>, Unanswered>>> + Send>>;

/// Sends the request to one endpoint, at once; what is given waits for the answer.
fn send(
    candidate: &Candidate,
    mut request: Request<Kept>,
    deadline: Option<Deadline>,
    began: Instant,
    now: Instant,
) -> impl Future<Output = Attempt> + Send + use<> {
    let mut in_flight = InFlight::new(Arc::clone(&candidate.peer), now);
    let allowed = deadline.map_or(Duration::ZERO, |deadline| deadline.allowed);
    let answer: Option<Answering> = match deadline {
        None => Some(Box::pin(candidate.connection.send(request, now).map(Some))),
        // Nobody could be in time, so it is not sent, and speaks against nobody.
        Some(deadline) if deadline.at <= now => None,
        Some(deadline) => {
            if now > began {
                deadline.tell(request.headers_mut(), now);
            }
            let answer = candidate.connection.send(request, now);
            Some(Box::pin(timeout_at(deadline.at, answer).map(Result::ok)))
        }
    };
    async move {
        let Some(answer) = answer else {
            let error = CallError::deadline(&in_flight.who(), allowed).never_sent();
            in_flight.never_sent();
            return Attempt::Failed(error);
        };
        let Some(answer) = answer.await else {
            in_flight.ended(Outcome::TooLate);
            return Attempt::Failed(CallError::deadline(&in_flight.who(), allowed));
        };
        match answer {
            Ok(response) => {
                in_flight.answered(Instant::now());
                Attempt::Answered(response, in_flight)
            }
            // The connection has ended by then, so a call meets it only once.
            Err(Unanswered::NeverSent(back)) => {
                in_flight.never_sent();
                Attempt::NeverSent(back)
            }
            Err(Unanswered::NeverTaken(error)) => {
                let outcome = if is_io(&error) { Outcome::Broken } else { Outcome::Reset };
                Attempt::NeverTaken(CallError::broken(&in_flight.who(), error), in_flight, outcome)
            }
            Err(Unanswered::Failed(error)) => {
                let outcome = Outcome::of(&error);
                in_flight.ended(outcome);
                Attempt::Failed(CallError::broken(&in_flight.who(), error))
            }
        }
    }
}

/// How long an endpoint is waited for, in all; what attempts take is no wait.
pub(super) struct Patience {
    left: Duration,
    wait: Duration,
    deadline: Option<Deadline>,
}

impl Patience {
    pub(super) fn of(inner: &Inner) -> Self {
        let wait = inner.wait_for_ready;
        Self { left: wait, wait, deadline: None }
    }

    /// The deadline, if that ends a wait that has begun at `began`.
    fn deadline(&self, began: Instant) -> Option<Deadline> {
        self.deadline.filter(|deadline| deadline.at < later(began, self.left))
    }

    fn ended(&self, began: Instant, inner: &Inner) -> CallError {
        let why = |waited| why_nobody(&inner.view.load(), &inner.board.load(), waited, Instant::now());
        match self.deadline(began) {
            Some(deadline) => CallError::no_endpoint_in_time(why(deadline.allowed)),
            None => CallError::no_endpoint(why(self.wait)),
        }
    }
}

/// Picks an endpoint at `now`; waits for one until patience ends, and says then when it was picked.
pub(super) async fn candidate(
    inner: &Inner,
    wanted: Wanted<'_>,
    patience: &mut Patience,
    now: &mut Instant,
) -> Result<Arc<Candidate>, CallError> {
    let pick = |now| inner.board.load().pick(&inner.picker, wanted, now);
    if let Some(candidate) = pick(*now) {
        return Ok(candidate);
    }
    let began = Instant::now();
    let until = patience.deadline(began).map_or(later(began, patience.left), |deadline| deadline.at);
    let mut changed = inner.board.subscribe();
    loop {
        // Subscribed before looking, so that nothing is missed in between.
        *now = Instant::now();
        if let Some(candidate) = pick(*now) {
            patience.left = patience.left.saturating_sub(now.saturating_duration_since(began));
            return Ok(candidate);
        }
        if timeout_at(until, changed.changed()).await.is_err() {
            return Err(patience.ended(began, inner));
        }
    }
}

/// The body of an answer. The call counts as in flight until it has ended or is dropped.
pub struct ResponseBody {
    body: Incoming,
    in_flight: Option<InFlight>,
    deadline: Option<(Pin<Box<Sleep>>, Duration)>,
    /// The status, once it is known.
    code: Option<tonic::Code>,
    span: Span,
}

impl ResponseBody {
    /// `code` is the status, where the headers have it already.
    fn new(
        body: Incoming,
        in_flight: InFlight,
        code: Option<tonic::Code>,
        deadline: Option<Deadline>,
    ) -> Self {
        let ends = http_body::Body::is_end_stream(&body);
        let deadline = deadline.map(|deadline| (Box::pin(sleep_until(deadline.at)), deadline.allowed));
        let span = Span::none();
        let mut this = Self { body, in_flight: Some(in_flight), deadline, code, span };
        if let Some(code) = code {
            this.ended(Outcome::Answered(code), code);
        }
        if ends {
            this.over();
        }
        this
    }

    /// Goes on in the span of its call.
    fn within(mut self, span: Span) -> Self {
        if let Some(code) = self.code {
            span.record("code", code as i32);
        }
        self.span = span;
        self
    }

    fn ended(&mut self, outcome: Outcome, code: tonic::Code) {
        self.span.record("code", code as i32);
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.ended(outcome);
        }
    }

    /// There is no more of it. If there was no status until now, there is none: something cut it short.
    fn over(&mut self) {
        if self.in_flight.as_ref().is_some_and(InFlight::has_no_outcome) {
            self.ended(Outcome::Answered(tonic::Code::Unknown), tonic::Code::Unknown);
        }
        self.in_flight = None;
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        let this = &mut *self;
        // The deadline first: a stream whose consumer is slower than it always has another frame.
        if let Some((at, allowed)) = &mut this.deadline
            && at.as_mut().poll(cx).is_ready()
        {
            let Some(mut in_flight) = this.in_flight.take() else { return Poll::Ready(None) };
            // It has answered, and a stream may well be longer than its deadline: an error, and not the endpoint's.
            in_flight.ended(Outcome::Answered(tonic::Code::DeadlineExceeded));
            this.span.record("code", tonic::Code::DeadlineExceeded as i32);
            return Poll::Ready(Some(Err(CallError::deadline(&in_flight.who(), *allowed))));
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match frame {
            Some(Ok(frame)) => {
                if let Some(code) = frame.trailers_ref().and_then(status) {
                    this.ended(Outcome::Answered(code), code);
                }
                if frame.is_trailers() || this.body.is_end_stream() {
                    this.over();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                let outcome = Outcome::of(&error);
                let who = this.in_flight.as_ref().map(InFlight::who).unwrap_or_default();
                let error = CallError::broken(&who, error);
                this.ended(outcome, error.code());
                this.in_flight = None;
                Poll::Ready(Some(Err(error)))
            }
            None => {
                this.over();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use registry_core::{Directory, ServiceName};
    use registry_memory::MemoryRegistry;
    use tower_service::Service;

    use super::*;
    use crate::Channel;

    /// glibc keeps pieces up to this long at hand for each thread; what is longer costs each call several times as much.
    #[tokio::test]
    async fn what_a_call_is_kept_in_is_small() {
        let service = ServiceName::new("user.rpc").unwrap();
        let mut channel = Channel::new(&Directory::new(Arc::new(MemoryRegistry::new())), &service);
        let call = channel.call(Request::new(Body::empty()));
        assert!(size_of_val(&*call.call) <= 1032, "{}", size_of_val(&*call.call));
    }
}
