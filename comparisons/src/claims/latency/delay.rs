//! Whether nodes are as far apart as they are meant to be.

use std::time::Duration;

use tokio::time::Instant;

use super::arms::TTL;
use crate::contestants::Contestant;
use crate::experiment::Trouble;

/// How long the fastest acknowledgement took before and after nodes were moved apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delay {
    /// The way there and back that was put between them.
    pub(super) wanted: Duration,
    pub(super) near: Duration,
    pub(super) apart: Duration,
}

/// So much of the way must be found again: fastest times vary a little.
const FOUND: f64 = 0.8;

impl Delay {
    /// Whether acknowledgements have to wait for it.
    pub(super) fn took_hold(&self) -> bool {
        self.apart.saturating_sub(self.near) >= self.wanted.mul_f64(FOUND)
    }

    /// What shows it.
    pub(super) fn proof(&self) -> String {
        let micros = |duration: Duration| duration.as_micros();
        let (near, apart, wanted) = (micros(self.near), micros(self.apart), micros(self.wanted));
        format!(
            "the fastest of {CHANGES} changes took {near} µs before the nodes were {wanted} µs apart, and {apart} µs after"
        )
    }
}

const CHANGES: u64 = 20;

/// How long the fastest of a few changes takes until it is acknowledged, one after the other.
pub(super) async fn fastest(contestant: &impl Contestant) -> Result<Duration, Trouble> {
    // As long as that of the arms: a bare etcd client has one lease, that of who registers first.
    let member = contestant.register("probe", "probe", 0, TTL).await?;
    let mut fastest = Duration::MAX;
    for value in 1..=CHANGES {
        let begun = Instant::now();
        member.set(value).await?;
        fastest = fastest.min(begun.elapsed());
    }
    member.leave().await?;
    Ok(fastest)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Delay;

    #[test]
    fn a_link_that_did_not_delay_is_no_delayed_link() {
        let delay = |near, apart| {
            let (near, apart) = (Duration::from_micros(near), Duration::from_micros(apart));
            Delay { wanted: Duration::from_millis(1), near, apart }
        };
        assert!(delay(900, 1_700).took_hold());
        assert!(!delay(900, 1_699).took_hold());
        assert!(!delay(2_000, 900).took_hold());
    }
}
