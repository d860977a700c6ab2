//! What became of the changes of a block: pure functions of their times.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::Load;
use super::numbers::median;

/// One change. All times are since the start of the block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// When it was to be sent.
    pub intended: Duration,
    /// When the request was begun; none if it never was.
    pub begun: Option<Duration>,
    /// When the registry said that it was done; none if it refused or did not answer.
    pub acknowledged: Option<Duration>,
    /// When the watcher was told; none if it was not, until it was too late or something later had arrived.
    pub received: Option<Duration>,
}

/// A distribution in a few figures, in microseconds. What never happened took longer than all that did: a figure that falls upon it is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tail {
    /// The median.
    pub p50: Option<f64>,
    /// Exceeded by one in a hundred.
    pub p99: Option<f64>,
    /// Exceeded by one in a thousand.
    pub p999: Option<f64>,
}

/// The events of a block, or of several, in figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// How many there are.
    pub events: usize,
    /// How many were acknowledged and not received.
    pub unseen: usize,
    /// How many were not acknowledged.
    pub failed: usize,
    /// From the intended time until the request was begun: how well the sender kept to its schedule.
    pub slip: Tail,
    /// From the intended time until the watcher was told, of all events: those that it was not told of are in it as never received.
    pub received: Tail,
    /// From the intended time until the registry said that it was done, of all events: those that failed are in it as never acknowledged.
    pub acknowledged: Tail,
    /// The median from the one to the other, of all that were acknowledged, in microseconds. Negative where watchers are told first.
    pub acknowledged_to_received: Option<f64>,
}

/// Sends later than this, at the 99th percentile, are not those that were to be measured.
pub const MOST_SLIP: Duration = Duration::from_micros(200);
/// On a machine that is busier than this share, what is measured is how long things wait for a processor.
pub const MOST_BUSY: f64 = 0.7;

impl Tail {
    /// Of durations, each of which is none if its end never came. Without figures if there are none.
    #[must_use]
    pub fn of(durations: impl IntoIterator<Item = Option<Duration>>) -> Self {
        // Grows with what it is given; not so by `saturating_record`.
        let Ok(mut histogram) = Histogram::<u64>::new(3) else { return Self::default() };
        let mut all = 0_u64;
        for duration in durations {
            all += 1;
            // Longer than 584 years is as good as never.
            let nanos = duration.and_then(|duration| u64::try_from(duration.as_nanos()).ok());
            let _ = nanos.map(|nanos| histogram.record(nanos));
        }
        let ended = histogram.len() as f64;
        let micros = |quantile: f64| {
            let rank = (quantile * all as f64).ceil();
            // The middle of the rank's part of all that ended, so that rounding does not lead to its neighbour's.
            let of_ended = || histogram.value_at_quantile((rank - 0.5) / ended) as f64 / 1e3;
            (1.0..=ended).contains(&rank).then(of_ended)
        };
        Self { p50: micros(0.5), p99: micros(0.99), p999: micros(0.999) }
    }
}

impl Event {
    /// From the intended time until the watcher was told.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        Some(self.received?.saturating_sub(self.intended))
    }

    /// Infinite for what was acknowledged and never received.
    fn acknowledged_to_received(&self) -> Option<f64> {
        let acknowledged = self.acknowledged?.as_secs_f64();
        Some(self.received.map_or(f64::INFINITY, |received| (received.as_secs_f64() - acknowledged) * 1e6))
    }
}

impl Summary {
    /// Of events.
    #[must_use]
    pub fn of(events: &[Event]) -> Self {
        let since_intended =
            |event: &Event, time: Option<Duration>| Some(time?.saturating_sub(event.intended));
        let tail = |time: fn(&Event) -> Option<Duration>| {
            Tail::of(events.iter().map(|event| since_intended(event, time(event))))
        };
        // What was never sent is the fault of whoever was to send it, and says nothing of when.
        let begun = events.iter().map(|event| since_intended(event, event.begun)).filter(Option::is_some);
        let unseen = |event: &&Event| event.acknowledged.is_some() && event.received.is_none();
        let gaps: Vec<f64> = events.iter().filter_map(Event::acknowledged_to_received).collect();
        Self {
            events: events.len(),
            unseen: events.iter().filter(unseen).count(),
            failed: events.iter().filter(|event| event.acknowledged.is_none()).count(),
            slip: Tail::of(begun),
            received: tail(|event| event.received),
            acknowledged: tail(|event| event.acknowledged),
            acknowledged_to_received: median(&gaps).filter(|gap| gap.is_finite()),
        }
    }
}

/// Why a block is to be thrown away; none if it counts. Only what disturbs the measuring is a reason. Events that failed or were not seen are none:
/// they are what is to be found, and a contestant must not get rid of its worst blocks by failing in them.
#[must_use]
pub fn fault(summary: &Summary, load: Option<Load>) -> Option<String> {
    let most = MOST_SLIP.as_secs_f64() * 1e6;
    match (summary.slip.p99, load) {
        (None, _) => Some("nothing was sent".to_owned()),
        (Some(slip), _) if slip > most => {
            Some(format!("sends slipped: by {slip:.0} µs at the 99th percentile, {most:.0} µs at most"))
        }
        (_, None) => Some("the load of the machine is not known".to_owned()),
        (_, Some(load)) if load.busy > MOST_BUSY => {
            let (busy, most) = (load.busy * 100.0, MOST_BUSY * 100.0);
            Some(format!("the machine was busy: {busy:.0} %, {most:.0} % at most"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Event, Load, Summary, Tail, fault};

    /// One every millisecond.
    fn events(count: u64, [begun, acknowledged, received]: [u64; 3]) -> Vec<Event> {
        let event = |number: u64| {
            let after = |micros| Some(Duration::from_micros(number * 1_000 + micros));
            Event {
                intended: Duration::from_millis(number),
                begun: after(begun),
                acknowledged: after(acknowledged),
                received: after(received),
            }
        };
        (0..count).map(event).collect()
    }

    fn near(figure: Option<f64>, expected: f64) -> bool {
        figure.is_some_and(|figure| (figure - expected).abs() <= expected.abs() / 500.0)
    }

    const IDLE: Option<Load> = Some(Load { busy: 0.1, steal: 0.0 });

    #[test]
    fn latency_counts_from_the_intended_time() {
        // Begun 5 ms late: whoever held it up is charged with that.
        let summary = Summary::of(&events(100, [5_000, 5_400, 5_300]));
        assert!(near(summary.received.p50, 5_300.0), "{summary:?}");
        assert!(near(summary.acknowledged.p99, 5_400.0), "{summary:?}");
        assert!(near(summary.slip.p50, 5_000.0), "{summary:?}");
        assert!(near(summary.acknowledged_to_received, -100.0), "the watcher was told first: {summary:?}");
    }

    #[test]
    fn a_delay_of_2_ms_is_found_as_2_ms() {
        let (plain, delayed) = (events(100, [10, 300, 250]), events(100, [10, 300, 2_250]));
        let p50 = |events: &[Event]| Summary::of(events).received.p50.unwrap();
        assert!(near(Some(p50(&delayed) - p50(&plain)), 2_000.0));
    }

    #[test]
    fn what_was_acknowledged_and_never_arrived_is_counted_and_the_block_is_kept() {
        let mut events = events(100, [10, 300, 250]);
        events[3].received = None;
        events[97].received = None;
        let summary = Summary::of(&events);
        assert_eq!((summary.events, summary.unseen, summary.failed), (100, 2, 0));
        assert_eq!(fault(&summary, IDLE), None);
    }

    #[test]
    fn a_change_that_was_refused_is_not_lost_and_its_block_counts() {
        let mut events = events(100, [10, 300, 250]);
        (events[3].acknowledged, events[3].received) = (None, None);
        let summary = Summary::of(&events);
        assert_eq!((summary.unseen, summary.failed), (0, 1));
        assert_eq!(fault(&summary, IDLE), None);
    }

    #[test]
    fn what_never_came_took_longer_than_all_that_did() {
        let lost = |unseen: usize, failed: usize| {
            let mut events = events(100, [10, 300, 250]);
            events[..unseen].iter_mut().for_each(|event| event.received = None);
            events[..failed].iter_mut().for_each(|event| event.acknowledged = None);
            Summary::of(&events)
        };
        let one = lost(1, 1);
        assert!(near(one.received.p99, 250.0) && near(one.acknowledged.p99, 300.0), "{one:?}");
        let two = lost(2, 0);
        assert_eq!(two.received.p99, None);
        assert!(near(two.received.p50, 250.0) && near(two.acknowledged.p99, 300.0), "{two:?}");
        assert_eq!(lost(0, 2).acknowledged.p99, None);
        assert!(near(lost(50, 0).received.p50, 250.0));
        let most = lost(51, 0);
        assert_eq!((most.received.p50, most.acknowledged_to_received), (None, None));
        assert!(near(lost(0, 50).acknowledged.p50, 300.0));
        assert_eq!(lost(0, 51).acknowledged.p50, None);
    }

    #[test]
    fn a_contestant_that_loses_its_slow_changes_is_not_quicker_for_it() {
        let mut slow = events(100, [10, 300, 250]);
        slow[40..]
            .iter_mut()
            .for_each(|event| event.received = Some(event.intended + Duration::from_secs(1)));
        let mut lost = slow.clone();
        lost[40..].iter_mut().for_each(|event| event.received = None);
        assert!(near(Summary::of(&slow).received.p50, 1_000_000.0));
        assert_eq!(Summary::of(&lost).received.p50, None);
    }

    #[test]
    fn a_block_whose_sends_slipped_is_thrown_away() {
        let slipped = |late: usize| {
            let mut events = events(1_000, [150, 300, 250]);
            events[..late]
                .iter_mut()
                .for_each(|event| event.begun = Some(event.intended + Duration::from_millis(1)));
            fault(&Summary::of(&events), IDLE)
        };
        assert_eq!(slipped(10), None, "1 % may be late");
        assert!(slipped(11).unwrap().contains("sends slipped: by 1000 µs"));
    }

    #[test]
    fn a_block_on_a_busy_machine_is_thrown_away() {
        let summary = Summary::of(&events(100, [10, 300, 250]));
        let at = |busy| fault(&summary, Some(Load { busy, steal: 0.0 }));
        assert_eq!(at(0.70), None);
        assert_eq!(at(0.71).unwrap(), "the machine was busy: 71 %, 70 % at most");
        assert_eq!(fault(&summary, None).unwrap(), "the load of the machine is not known");
    }

    #[test]
    fn each_rank_is_that_of_all_and_nothing_has_no_figures() {
        let tail = |ended: u64, never: usize| {
            Tail::of((1..=ended).map(Duration::from_micros).map(Some).chain(vec![None; never]))
        };
        for ended in 1_u64..=1_000 {
            let tail = tail(ended, 0);
            let rank = |per_mille: u64| (per_mille * ended).div_ceil(1_000) as f64;
            let all = [(tail.p50, rank(500)), (tail.p99, rank(990)), (tail.p999, rank(999))];
            assert!(all.iter().all(|(figure, rank)| near(*figure, *rank)), "{ended}: {tail:?}");
        }
        assert!(near(tail(500, 500).p50, 500.0));
        assert_eq!(tail(499, 501), Tail::default());
        assert_eq!(tail(0, 0), Tail::default());
    }

    #[test]
    fn nothing_is_no_measurement() {
        assert_eq!(fault(&Summary::of(&[]), IDLE).unwrap(), "nothing was sent");
    }
}
