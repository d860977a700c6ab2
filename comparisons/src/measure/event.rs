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

/// A distribution in a few figures, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tail {
    /// The median.
    pub p50: f64,
    /// Exceeded by one in a hundred.
    pub p99: f64,
    /// Exceeded by one in a thousand; only of 10,000 or more, else it is an accident of a few.
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
    pub slip: Option<Tail>,
    /// From the intended time until the watcher was told.
    pub received: Option<Tail>,
    /// From the intended time until the registry said that it was done.
    pub acknowledged: Option<Tail>,
    /// The median from the one to the other, in microseconds. Negative where watchers are told first.
    pub acknowledged_to_received: Option<f64>,
}

/// Sends later than this, at the 99th percentile, are not those that were to be measured.
pub const MOST_SLIP: Duration = Duration::from_micros(200);
/// On a machine that is busier than this share, what is measured is how long things wait for a processor.
pub const MOST_BUSY: f64 = 0.7;

/// From how many events on there is a 99.9th percentile.
const MANY: u64 = 10_000;

impl Tail {
    /// Of durations; none if there are none.
    #[must_use]
    pub fn of(durations: impl IntoIterator<Item = Duration>) -> Option<Self> {
        // Grows with what it is given; not so by `saturating_record`.
        let mut histogram = Histogram::<u64>::new(3).ok()?;
        for duration in durations {
            histogram.record(u64::try_from(duration.as_nanos()).ok()?).ok()?;
        }
        if histogram.is_empty() {
            return None;
        }
        let micros = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        let p999 = (histogram.len() >= MANY).then(|| micros(0.999));
        Some(Self { p50: micros(0.5), p99: micros(0.99), p999 })
    }
}

impl Event {
    /// From the intended time until the watcher was told.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        Some(self.received?.saturating_sub(self.intended))
    }

    fn acknowledged_to_received(&self) -> Option<f64> {
        Some((self.received?.as_secs_f64() - self.acknowledged?.as_secs_f64()) * 1e6)
    }
}

impl Summary {
    /// Of events.
    #[must_use]
    pub fn of(events: &[Event]) -> Self {
        let since_intended = |time: fn(&Event) -> Option<Duration>| {
            Tail::of(events.iter().filter_map(|event| Some(time(event)?.saturating_sub(event.intended))))
        };
        let unseen = |event: &&Event| event.acknowledged.is_some() && event.received.is_none();
        let gaps: Vec<f64> = events.iter().filter_map(Event::acknowledged_to_received).collect();
        Self {
            events: events.len(),
            unseen: events.iter().filter(unseen).count(),
            failed: events.iter().filter(|event| event.acknowledged.is_none()).count(),
            slip: since_intended(|event| event.begun),
            received: since_intended(|event| event.received),
            acknowledged: since_intended(|event| event.acknowledged),
            acknowledged_to_received: median(&gaps),
        }
    }
}

/// Why a block is to be thrown away; none if it counts. Events that were not seen are no reason: they are what is to be found.
#[must_use]
pub fn fault(summary: &Summary, load: Option<Load>) -> Option<String> {
    let most = MOST_SLIP.as_secs_f64() * 1e6;
    let slipped = summary.slip.filter(|slip| slip.p99 > most);
    let busy = load.filter(|load| load.busy > MOST_BUSY);
    match (summary, slipped, busy) {
        (_, Some(slip), _) => {
            Some(format!("sends slipped: by {:.0} µs at the 99th percentile, {most:.0} µs at most", slip.p99))
        }
        (_, _, Some(load)) => {
            let (busy, most) = (load.busy * 100.0, MOST_BUSY * 100.0);
            Some(format!("the machine was busy: {busy:.0} %, {most:.0} % at most"))
        }
        (summary, ..) if summary.failed > 0 => {
            Some(format!("{} of {} changes were not acknowledged", summary.failed, summary.events))
        }
        (summary, ..) if summary.slip.is_none() => Some("nothing was sent".to_owned()),
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
        assert!(near(summary.received.map(|tail| tail.p50), 5_300.0), "{summary:?}");
        assert!(near(summary.acknowledged.map(|tail| tail.p99), 5_400.0), "{summary:?}");
        assert!(near(summary.slip.map(|tail| tail.p50), 5_000.0), "{summary:?}");
        assert!(near(summary.acknowledged_to_received, -100.0), "the watcher was told first: {summary:?}");
    }

    #[test]
    fn a_delay_of_2_ms_is_found_as_2_ms() {
        let (plain, delayed) = (events(100, [10, 300, 250]), events(100, [10, 300, 2_250]));
        let p50 = |events: &[Event]| Summary::of(events).received.unwrap().p50;
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
    fn a_change_that_was_refused_is_not_lost_but_the_block_does_not_count() {
        let mut events = events(100, [10, 300, 250]);
        (events[3].acknowledged, events[3].received) = (None, None);
        let summary = Summary::of(&events);
        assert_eq!((summary.unseen, summary.failed), (0, 1));
        assert!(fault(&summary, IDLE).unwrap().starts_with("1 of 100"));
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
        assert_eq!(fault(&summary, None), None, "where it is not known");
    }

    #[test]
    fn the_far_tail_is_only_told_of_many_events() {
        let tail = |count| Tail::of((0..count).map(Duration::from_micros)).unwrap();
        assert_eq!(tail(9_999).p999, None);
        assert!(near(tail(10_000).p999, 9_990.0));
        assert_eq!(Tail::of([]), None);
    }

    #[test]
    fn nothing_is_no_measurement() {
        assert_eq!(fault(&Summary::of(&[]), IDLE).unwrap(), "nothing was sent");
    }
}
