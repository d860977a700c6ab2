//! Moments that cannot overflow.

use std::time::Duration;

use tokio::time::Instant;

/// As good as never; an [`Instant`] has no greatest value to ask for.
const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

/// The moment `after` from `now`; for what is as good as for ever, a moment that is as good as never.
#[must_use]
pub fn later(now: Instant, after: Duration) -> Instant {
    now.checked_add(after.min(NEVER)).unwrap_or(now)
}
