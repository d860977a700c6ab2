//! Whether a call that failed is sent again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use registry_core::backoff::Backoff;
use tonic::Code;
use tower::retry::budget::{Budget, TpsBudget};

/// How many bytes of a request are kept, in case that a server does not take it.
pub(super) const KEEP: usize = 64 << 10;

/// How many attempts a call may have at most, as gRPC limits them.
const MOST_ATTEMPTS: u32 = 5;

/// When a call that failed is sent again, to another endpoint where there is one. This repeats what may have been done already: only for
/// services whose methods can be repeated. What was never sent is sent elsewhere without it.
///
/// A call is sent again when its answer had not begun, its status is one of the codes, all of its request is known (streams of requests and
/// very large ones are not kept), its deadline has not passed, and the budget allows it. A server that says by `grpc-retry-pushback-ms` when to
/// come again, or not to, is obeyed. See gRFC A6, "gRPC Client Retries".
#[derive(Clone)]
#[non_exhaustive]
pub struct Retry {
    /// How often a call is sent in all, 1 to 5. Default: 3.
    pub attempts: u32,
    /// The status codes that are worth another attempt. Default: `UNAVAILABLE`.
    pub codes: Vec<Code>,
    /// The wait before another attempt. Default: 20 ms to 1 s.
    pub backoff: Backoff,
    /// How many bytes of a request are kept. Default: 64 KiB, as where calls are not sent again.
    pub keep: usize,
    budget: Arc<TpsBudget>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            codes: vec![Code::Unavailable],
            backoff: Backoff::new(Duration::from_millis(20), Duration::from_secs(1)),
            keep: KEEP,
            budget: budget(0.2, 10),
        }
    }
}

/// What calls of this time add to the budget is forgotten.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

fn budget(share: f32, per_second: u32) -> Arc<TpsBudget> {
    // What it does not take, it panics at.
    let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
    Arc::new(TpsBudget::new(BUDGET_WINDOW, per_second.min(1_000_000), share))
}

impl Retry {
    /// Sets how often a call is sent in all.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.clamp(1, MOST_ATTEMPTS);
        self
    }

    /// Sets which status codes are worth another attempt.
    #[must_use]
    pub fn with_codes(mut self, codes: impl IntoIterator<Item = Code>) -> Self {
        self.codes = codes.into_iter().collect();
        self
    }

    /// Sets the waits before other attempts.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets how many bytes of a request are kept.
    #[must_use]
    pub fn with_keep(mut self, bytes: usize) -> Self {
        self.keep = bytes;
        self
    }

    /// Sets the budget of all calls together that are made with this and its clones, of one channel or several: other attempts may be `share` (0.0 to 1.0) of the calls of the last 10 s, and
    /// `per_second` a second in any case. Where a service is down as a whole, this is what keeps its clients from burying it. Default: a fifth, and 10.
    #[must_use]
    pub fn with_budget(mut self, share: f32, per_second: u32) -> Self {
        self.budget = budget(share, per_second);
        self
    }

    /// A call begins.
    pub(super) fn begun(&self) {
        self.budget.deposit();
    }

    /// Takes one more attempt from the budget; whether there was one.
    pub(super) fn take(&self) -> bool {
        self.budget.withdraw()
    }

    /// After what wait the call may be sent again that failed with `code` in its attempt number `attempt`, from 1; none if it is not.
    pub(super) fn after(
        &self,
        attempt: u32,
        code: Code,
        headers: Option<&HeaderMap>,
        jitter: f64,
    ) -> Option<Duration> {
        if attempt >= self.attempts.min(MOST_ATTEMPTS) || !self.codes.contains(&code) {
            return None;
        }
        match headers.and_then(|headers| headers.get("grpc-retry-pushback-ms")) {
            // What is no number of milliseconds, in 32 bits and not negative, means: not again.
            Some(pushback) => {
                let milliseconds: i32 = pushback.to_str().ok()?.parse().ok()?;
                Some(Duration::from_millis(milliseconds.try_into().ok()?))
            }
            None => Some(self.backoff.delay(attempt - 1, jitter)),
        }
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("attempts", &self.attempts)
            .field("codes", &self.codes)
            .field("backoff", &self.backoff)
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(retry: &Retry, attempt: u32, code: Code) -> Option<Duration> {
        retry.after(attempt, code, None, 1.0)
    }

    #[tokio::test]
    async fn only_these_codes_and_so_often() {
        let retry = Retry::default().with_attempts(2);
        assert_eq!(after(&retry, 1, Code::Unavailable), Some(Duration::from_millis(20)));
        assert_eq!(after(&retry, 2, Code::Unavailable), None);
        assert_eq!(after(&retry, 1, Code::Internal), None);
        assert_eq!(after(&Retry::default().with_attempts(99), 5, Code::Unavailable), None);
    }

    #[tokio::test]
    async fn a_budget_that_is_used_up_ends_it() {
        let retry = Retry::default().with_budget(0.5, 0);
        assert!(!retry.take(), "nothing was called yet");
        (0..10).for_each(|_| retry.begun());
        assert_eq!((0..10).filter(|_| retry.take()).count(), 5);
    }

    #[tokio::test]
    async fn a_server_that_says_when_is_obeyed() {
        let retry = Retry::default();
        let told = |value: &'static str| {
            let headers =
                HeaderMap::from_iter([("grpc-retry-pushback-ms".parse().unwrap(), value.parse().unwrap())]);
            retry.after(1, Code::Unavailable, Some(&headers), 1.0)
        };
        assert_eq!(told("250"), Some(Duration::from_millis(250)));
        assert_eq!(told("-1"), None);
        assert_eq!(told("soon"), None);
        assert_eq!(told("2147483648"), None, "nobody waits for years");
    }
}
