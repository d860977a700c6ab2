//! Whether every call was answered that should have been. Pure, but for printing.

use std::ops::RangeInclusive;
use std::time::Duration;

use service_registry::core::Endpoint;
use tokio::time::Instant;

use crate::orders::{Count, Failed};

/// What is to be said of all calls.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Failures that may be: in flight on the killed server when it died.
    in_flight: usize,
    /// All others, in words.
    wrong: Vec<String>,
}

impl Verdict {
    /// Of `count`, the calls made for `called_for`, one in every `period`; `victim` was killed when `death` began, which was noticed when it ended.
    pub(crate) fn new(
        count: &Count,
        death: RangeInclusive<Instant>,
        victim: &Endpoint,
        called_for: Duration,
        period: Duration,
    ) -> Self {
        let allowed = |failed: &&Failed| {
            failed.began <= *death.end()
                && failed.at >= *death.start()
                && failed.may_have_been_sent
                && failed.why.contains(&victim.authority())
        };
        let in_flight = count.failures.iter().filter(allowed).count();
        let mut wrong: Vec<_> = count
            .failures
            .iter()
            .filter(|failed| !allowed(failed))
            .map(|failed| failed.why.clone())
            .collect();
        let answered: u64 = count.answers.values().map(|answers| u64::from(answers.total)).sum();
        let ended = answered + count.failures.len() as u64;
        if count.lost > 0 || ended != count.begun {
            wrong.push(format!("of {} calls begun {ended} ended", count.begun));
        }
        // Half, because a busy machine is late.
        let expected = (called_for.as_secs_f64() / period.as_secs_f64() / 2.0) as u64;
        if count.begun < expected {
            wrong.push(format!("only {} calls were made, at least {expected} should have been", count.begun));
        }
        Self { in_flight, wrong }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.wrong.is_empty()
    }

    pub(crate) fn print(&self) {
        println!("Calls failed");
        println!("  {:<48} {:>6}", "in flight on user-3 when it was killed", self.in_flight);
        println!("  {:<48} {:>6}", "any other", self.wrong.len());
        for why in self.wrong.iter().take(10) {
            println!("    {why}");
        }
        println!();
        if self.is_good() {
            println!("No call failed that should not have.");
        } else {
            println!("Calls failed that should not have.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::Answers;

    const PERIOD: Duration = Duration::from_millis(5);
    type Plant = fn(&mut Count);

    const CALLED_FOR: Duration = Duration::from_secs(1);
    const UNNOTICED: Duration = Duration::from_millis(4);

    fn counted(killed: Instant, change: impl FnOnce(&mut Count)) -> Verdict {
        let mut count = Count { begun: 200, ..Count::default() };
        count.answers.insert("user-1".into(), Answers { total: 199, fresh: 0, first: killed });
        let why = "Unavailable: 127.0.0.1:7: connection reset".to_owned();
        let began = killed - Duration::from_millis(9);
        count.failures.push(Failed { began, at: killed + PERIOD, may_have_been_sent: true, why });
        change(&mut count);
        Verdict::new(&count, killed..=killed + UNNOTICED, &"127.0.0.1:7".parse().unwrap(), CALLED_FOR, PERIOD)
    }

    #[test]
    fn only_what_was_in_flight_on_the_killed_server_may_fail() {
        let killed = Instant::now() + Duration::from_secs(1);
        assert!(counted(killed, |_| {}).is_good());
        let before_it_was_noticed = |count: &mut Count| count.failures[0].began += Duration::from_millis(13);
        assert!(counted(killed, before_it_was_noticed).is_good());
        let planted: [(&str, Plant); 8] = [
            ("begun after the death was noticed", |count| {
                count.failures[0].began += Duration::from_millis(14)
            }),
            ("failed before the death", |count| count.failures[0].at -= Duration::from_millis(6)),
            ("never sent", |count| count.failures[0].may_have_been_sent = false),
            ("on another server", |count| count.failures[0].why = "Unavailable: 127.0.0.1:8: reset".into()),
            ("a call that panicked", |count| count.lost = 1),
            ("a call without an end", |count| count.begun = 201),
            ("no calls at all", |count| *count = Count::default()),
            ("calls that stopped half-way", |count| {
                count.begun = 90;
                count.answers.values_mut().for_each(|answers| answers.total = 89);
            }),
        ];
        for (what, plant) in planted {
            assert!(!counted(killed, plant).is_good(), "{what}");
        }
    }
}
