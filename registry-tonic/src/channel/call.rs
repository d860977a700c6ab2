//! One call: pick, send, and pick again for as long as the request was never sent.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use registry_core::time::later;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::Inner;
use super::connection::{Body, Unanswered};
use super::error::{CallError, why_nobody};
use super::peer::InFlight;
use super::pool::Candidate;

type Answer = Result<Response<ResponseBody>, CallError>;

/// The answer to a call, to be awaited. Dropping it cancels the call.
#[must_use = "a call does nothing unless it is awaited"]
pub struct ResponseFuture {
    call: Pin<Box<dyn Future<Output = Answer> + Send>>,
}

impl ResponseFuture {
    pub(super) fn new(inner: Arc<Inner>, request: Request<Body>) -> Self {
        Self { call: Box::pin(call(inner, request)) }
    }
}

impl Future for ResponseFuture {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.call.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

async fn call(inner: Arc<Inner>, request: Request<Body>) -> Answer {
    let Some(allowed) = grpc_timeout(request.headers()) else {
        return send(&inner, request, None).await;
    };
    let deadline = Deadline { at: Instant::now() + allowed, allowed };
    match timeout_at(deadline.at, send(&inner, request, Some(deadline))).await {
        Ok(answer) => answer,
        Err(_) => Err(CallError::deadline(inner.view.service(), allowed)),
    }
}

#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    allowed: Duration,
}

async fn send(inner: &Inner, mut request: Request<Body>, deadline: Option<Deadline>) -> Answer {
    let patience = later(Instant::now(), inner.wait_for_ready);
    loop {
        let candidate = candidate(inner, patience).await?;
        let in_flight = InFlight::new(Arc::clone(&candidate.peer), Instant::now());
        match candidate.connection.send(request).await {
            Ok(response) => {
                let in_flight = in_flight.answered(Instant::now());
                return Ok(response.map(|body| ResponseBody::new(body, in_flight, deadline)));
            }
            // The connection has ended by then, so this loop meets it only once.
            Err(Unanswered::NeverSent(back)) => {
                in_flight.never_sent();
                request = *back;
            }
            Err(Unanswered::Failed(error)) => return Err(CallError::broken(&in_flight.who(), error)),
        }
    }
}

/// Picks an endpoint; waits for one until `patience` ends.
pub(super) async fn candidate(inner: &Inner, patience: Instant) -> Result<Candidate, CallError> {
    let pick = |now| inner.board.load().pick(&inner.draw, now).cloned();
    if let Some(candidate) = pick(Instant::now()) {
        return Ok(candidate);
    }
    let mut changed = inner.board.subscribe();
    loop {
        // Subscribed before looking, so that nothing is missed in between.
        if let Some(candidate) = pick(Instant::now()) {
            return Ok(candidate);
        }
        if timeout_at(patience, changed.changed()).await.is_err() {
            let now = Instant::now();
            let message = why_nobody(&inner.view.load(), &inner.board.load(), inner.wait_for_ready, now);
            return Err(CallError::no_endpoint(message));
        }
    }
}

/// The body of an answer. The call counts as in flight until it has ended or is dropped.
pub struct ResponseBody {
    body: Incoming,
    in_flight: Option<InFlight>,
    deadline: Option<(Pin<Box<Sleep>>, Duration)>,
}

impl ResponseBody {
    fn new(body: Incoming, in_flight: InFlight, deadline: Option<Deadline>) -> Self {
        let in_flight = (!http_body::Body::is_end_stream(&body)).then_some(in_flight);
        let deadline = deadline.map(|deadline| (Box::pin(sleep_until(deadline.at)), deadline.allowed));
        Self { body, in_flight, deadline }
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
            let Some(in_flight) = this.in_flight.take() else { return Poll::Ready(None) };
            return Poll::Ready(Some(Err(CallError::deadline(&in_flight.who(), *allowed))));
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match frame {
            Some(Ok(frame)) => {
                if frame.is_trailers() || this.body.is_end_stream() {
                    this.in_flight = None;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                let who = this.in_flight.take().map(|in_flight| in_flight.who()).unwrap_or_default();
                Poll::Ready(Some(Err(CallError::broken(&who, error))))
            }
            None => {
                this.in_flight = None;
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

/// How long the caller is willing to wait, from the header that gRPC has for it: at most eight digits and a unit.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_read_as_grpc_defines_it() {
        let read = |text: &'static str| {
            let header = ("grpc-timeout", text);
            let request = Request::builder().header(header.0, header.1).body(()).unwrap();
            grpc_timeout(request.headers())
        };
        for (text, expected) in
            [("1H", 3_600_000), ("2M", 120_000), ("3S", 3000), ("4m", 4), ("99999999m", 99_999_999)]
        {
            assert_eq!(read(text), Some(Duration::from_millis(expected)));
        }
        assert_eq!(read("5u"), Some(Duration::from_micros(5)));
        for bad in ["", "S", "1", "1s", "+1S", "123456789S", "1.5S"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
