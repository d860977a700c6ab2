//! When gathered changes are to be shown: a pure function of when they came.

use std::time::Duration;

use tokio::time::Instant;

use crate::time::later;

/// How long changes are gathered before a view shows them: until none came for a while, and never longer than a bound.
///
/// The first list, the first instances after none, and news of how fresh the view is, are never held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debounce {
    quiet: Duration,
    most: Duration,
}

impl Debounce {
    /// Shows changes once none came for `quiet`, and each at most `most` after it came.
    #[must_use]
    pub fn new(quiet: Duration, most: Duration) -> Self {
        Self { quiet, most }
    }

    /// For how long there must be no change.
    #[must_use]
    pub fn quiet(&self) -> Duration {
        self.quiet
    }

    /// The bound of the delay.
    #[must_use]
    pub fn most(&self) -> Duration {
        self.most
    }
}

/// Changes that are gathered.
#[derive(Debug)]
pub(super) struct Gathered {
    options: Debounce,
    first: Option<Instant>,
    due: Option<Instant>,
}

impl Gathered {
    pub(super) fn new(options: Debounce) -> Self {
        Self { options, first: None, due: None }
    }

    /// A change came.
    pub(super) fn add(&mut self, now: Instant) {
        let first = *self.first.get_or_insert(now);
        self.due = Some(later(now, self.options.quiet).min(later(first, self.options.most)));
    }

    /// When they are to be shown; `None` while there are none.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// They are shown.
    pub(super) fn clear(&mut self) {
        (self.first, self.due) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_wait_for_quiet_and_never_longer_than_the_bound() {
        let ms = Duration::from_millis;
        let start = Instant::now();
        let mut gathered = Gathered::new(Debounce::new(ms(100), ms(250)));
        assert_eq!(gathered.due(), None);
        for (came, due) in [(0, 100), (50, 150), (140, 240), (230, 250), (249, 250)] {
            gathered.add(start + ms(came));
            assert_eq!(gathered.due(), Some(start + ms(due)), "{came}");
        }
        gathered.clear();
        gathered.add(start + ms(300));
        assert_eq!(gathered.due(), Some(start + ms(400)));
    }
}
