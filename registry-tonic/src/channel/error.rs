//! Why a call got no answer.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use registry_core::{Freshness, ViewState};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::lineup::{LeftOut, Lineup, Member};
use super::outcome::of_h2;
use super::peer::Link;
use crate::text::chain;

/// What kind of failure a [`CallError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallErrorKind {
    /// There was no endpoint to call. The request was not sent, unless attempts to another one had failed before
    /// ([`CallError::may_have_been_sent`]).
    NoEndpoint,
    /// The deadline of the call passed. The request may have been sent, unless that was before there was anybody to send it to, or before it was sent.
    DeadlineExceeded,
    /// The connection or the stream broke. The request may have been sent.
    Broken,
    /// Its caller failed to write the request, as where a message is longer than its client may send. The request was not sent.
    Unwritten,
}

/// A call that got no answer. Its source is the gRPC status that a generated client makes of it.
#[derive(Debug)]
pub struct CallError {
    kind: CallErrorKind,
    status: Status,
    sent: bool,
}

impl CallError {
    fn new(kind: CallErrorKind, status: Status) -> Self {
        let sent = matches!(kind, CallErrorKind::DeadlineExceeded | CallErrorKind::Broken);
        Self { kind, status, sent }
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> CallErrorKind {
        self.kind
    }

    /// The status code that the caller is told.
    #[must_use]
    pub fn code(&self) -> Code {
        self.status.code()
    }

    /// What happened, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        self.status.message()
    }

    /// Whether a server may have seen the request; if not, repeating the call is safe.
    #[must_use]
    pub fn may_have_been_sent(&self) -> bool {
        self.sent
    }

    /// After so many attempts that failed.
    pub(crate) fn after_attempts(self, attempts: u32) -> Self {
        if attempts == 0 {
            return self;
        }
        let message = format!("{}, after it was sent and failed", self.message());
        Self { status: Status::new(self.code(), message), sent: true, ..self }
    }

    pub(crate) fn no_endpoint(message: String) -> Self {
        Self::new(CallErrorKind::NoEndpoint, Status::unavailable(message))
    }

    /// The deadline of the call came before there was an endpoint.
    pub(crate) fn no_endpoint_in_time(message: String) -> Self {
        Self::new(CallErrorKind::NoEndpoint, Status::deadline_exceeded(message))
    }

    /// It was known before the request was sent.
    pub(crate) fn never_sent(self) -> Self {
        Self { sent: false, ..self }
    }

    /// What the body of the request failed with.
    pub(crate) fn unwritten(status: Status) -> Self {
        Self::new(CallErrorKind::Unwritten, status)
    }

    /// `who` is the endpoint that was called.
    pub(crate) fn deadline(who: &dyn fmt::Display, after: Duration) -> Self {
        let message = format!("{who}: no answer within the deadline of {after:?}");
        Self::new(CallErrorKind::DeadlineExceeded, Status::deadline_exceeded(message))
    }

    /// A stream or its connection broke.
    pub(crate) fn broken(who: &str, error: hyper::Error) -> Self {
        let message = format!("{who}: {}", chain(&error));
        let status = match code(&error) {
            Some(code) => Status::new(code, message),
            // The other side ended this stream, and gave a reason that tonic knows to translate.
            None => Status::new(Status::from_error(Box::new(error)).code(), message),
        };
        Self::new(CallErrorKind::Broken, status)
    }
}

/// The code where it does not follow from the reason the other side gave.
fn code(error: &hyper::Error) -> Option<Code> {
    match of_h2(error) {
        Some(h2) if h2.is_io() || h2.is_go_away() => Some(Code::Unavailable),
        Some(_) => None,
        // Of the connection, or of a task that it needs; also while the call still waited for its turn there.
        None => Some(Code::Unavailable),
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.status.message())
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.status)
    }
}

/// Why there is nobody to call, after `waited`: the service, what is wrong with its instances, and how old that knowledge is.
pub(crate) fn why_nobody(state: &ViewState, lineup: &Lineup, waited: Duration, now: Instant) -> String {
    format!(
        "{}: no endpoint to call after {}: {}",
        state.service(),
        seconds(waited),
        match state.snapshot() {
            None => never_reached(state.freshness(), now),
            Some(_) => format!("{} ({})", what_is_wrong(lineup), age(state.freshness(), now)),
        }
    )
}

fn never_reached(freshness: &Freshness, now: Instant) -> String {
    match freshness {
        Freshness::Stale { since, error } => {
            let tried = seconds(now.saturating_duration_since(*since));
            format!("the registry was never reached, tried for {tried}: {}", chain(error))
        }
        _ => "the registry has not answered yet".into(),
    }
}

fn age(freshness: &Freshness, now: Instant) -> String {
    match freshness {
        Freshness::Live { proven } => {
            format!("proven current {} ago", seconds(now.saturating_duration_since(*proven)))
        }
        Freshness::Stale { since, error } => {
            let since = seconds(now.saturating_duration_since(*since));
            format!("as of {since} ago, the registry cannot be reached since: {}", chain(error))
        }
        _ => "not proven current".into(),
    }
}

fn what_is_wrong(lineup: &Lineup) -> String {
    let mut reasons = Vec::new();
    let members = lineup.members.len();
    if members > 0 {
        let of =
            |member: &Member| Some(format!("{}: {}", member.peer.endpoint(), what_is_wrong_with(member)?));
        let failed = lineup.members.iter().find_map(of).unwrap_or_else(|| "still connecting".into());
        reasons.push(format!("none of {} can be called, {failed}", instances(members)));
    }
    let LeftOut { weightless, speechless, over_tls } = lineup.left_out;
    for (count, why) in [
        (weightless, "with weight 0"),
        (speechless, "without a gRPC endpoint"),
        (over_tls, "with gRPC over TLS alone, which this channel does not speak"),
    ] {
        if count > 0 {
            reasons.push(format!("{} {why}", instances(count)));
        }
    }
    if reasons.is_empty() { "no instances are registered".into() } else { reasons.join("; ") }
}

/// None where nothing is known to be wrong.
fn what_is_wrong_with(member: &Member) -> Option<String> {
    match member.peer.link() {
        Link::Connecting { error: Some(error) } => Some(error.to_string()),
        Link::Ejected { reason } => Some(format!("ejected, {reason}")),
        Link::Up(up) => up.unwell.as_deref().map(str::to_owned),
        _ => None,
    }
}

fn instances(count: usize) -> String {
    format!("{count} instance{}", if count == 1 { "" } else { "s" })
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
