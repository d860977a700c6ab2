//! Who registers one instance after the other at a steady rate, whatever becomes of them, and what is to be said of that afterwards.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::contestants::{Contestant, Listed, Member};

/// Between two registrations: 100 in a second.
pub(super) const EVERY: Duration = Duration::from_millis(10);
/// The same of a client that waits for a replica, on one connection, for one registration after the other.
pub(super) const EVERY_WAITING: Duration = Duration::from_millis(20);
/// Nothing expires while it is looked at.
pub(super) const TTL: Duration = Duration::from_secs(3600);
/// How long the last ones may take to be answered or given up; every client gives up in less.
const OUTCOME: Duration = Duration::from_secs(15);

/// A registration that was sent. Each has an id of its own, so that none hides the loss of another.
pub(super) struct Written {
    pub(super) id: String,
    pub(super) value: u64,
    pub(super) invoked: Instant,
    /// When it was acknowledged, if it was.
    pub(super) acknowledged: Option<Instant>,
    /// What its owner holds since.
    pub(super) member: Option<Box<dyn Member>>,
}

/// Someone who registers instances. Nobody waits for an answer before the next is sent.
pub(super) struct Writer {
    written: Arc<Mutex<Vec<Written>>>,
    halt: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Writer {
    /// Begins, with ids that begin with `name`, one each `every`.
    pub(super) fn start(
        contestant: &Arc<dyn Contestant>,
        service: &str,
        name: &str,
        every: Duration,
    ) -> Self {
        let written = Arc::<Mutex<Vec<Written>>>::default();
        let (halt, halted) = watch::channel(false);
        let (contestant, service, name) = (Arc::clone(contestant), service.to_owned(), name.to_owned());
        let task = tokio::spawn(write(contestant, (service, name), every, Arc::clone(&written), halted));
        Self { written, halt, task }
    }

    /// How many were sent since.
    pub(super) fn sent_since(&self, since: Instant) -> usize {
        self.count(|written| written.invoked >= since)
    }

    /// How many were acknowledged since.
    pub(super) fn acknowledged_since(&self, since: Instant) -> usize {
        self.count(|written| written.acknowledged.is_some_and(|acknowledged| acknowledged >= since))
    }

    fn count(&self, which: impl Fn(&Written) -> bool) -> usize {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.iter().filter(|written| which(written)).count()
    }

    /// Sends no more.
    pub(super) fn halt(&self) {
        self.halt.send_replace(true);
    }

    /// Sends no more, waits until all are answered or given up, and gives what became of them.
    pub(super) async fn outcome(mut self) -> Vec<Written> {
        self.halt();
        if timeout(OUTCOME, &mut self.task).await.is_err() {
            self.task.abort();
        }
        std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn write(
    contestant: Arc<dyn Contestant>,
    (service, name): (String, String),
    every: Duration,
    written: Arc<Mutex<Vec<Written>>>,
    mut halted: watch::Receiver<bool>,
) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut sent = JoinSet::new();
    for value in 0_u64.. {
        tokio::select! {
            _ = halted.wait_for(|halted| *halted) => break,
            _ = ticks.tick() => {}
        }
        let id = format!("{name}-{value}");
        let index = {
            let mut all = written.lock().unwrap_or_else(PoisonError::into_inner);
            let invoked = Instant::now();
            all.push(Written { id: id.clone(), value, invoked, acknowledged: None, member: None });
            all.len() - 1
        };
        let (contestant, service, written) = (Arc::clone(&contestant), service.clone(), Arc::clone(&written));
        sent.spawn(async move {
            if let Ok(member) = contestant.register(&service, &id, value, TTL).await {
                let acknowledged = Some(Instant::now());
                let mut all = written.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(one) = all.get_mut(index) {
                    (one.acknowledged, one.member) = (acknowledged, Some(member));
                }
            }
        });
    }
    while sent.join_next().await.is_some() {}
}

/// What was acknowledged and is not in the list.
pub(super) fn lost<'a>(
    written: &'a [Written],
    list: &'a Listed,
) -> impl Iterator<Item = &'a Written> + Send + 'a {
    let acknowledged = written.iter().filter(|written| written.acknowledged.is_some());
    acknowledged.filter(|written| list.get(&written.id) != Some(&written.value))
}

/// The longest time without an acknowledgement that ends after `from`; the time after the last ends with `end`.
pub(super) fn gap(written: &[Written], from: Instant, end: Instant) -> Duration {
    let mut times: Vec<Instant> = written.iter().filter_map(|written| written.acknowledged).collect();
    times.push(end);
    times.sort();
    let pairs = times.windows(2).filter(|pair| pair[1] > from);
    pairs.map(|pair| pair[1] - pair[0]).max().unwrap_or(end.saturating_duration_since(from))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Written, gap, lost};

    fn written(value: u64, acknowledged: Option<Instant>) -> Written {
        Written { id: value.to_string(), value, invoked: Instant::now(), acknowledged, member: None }
    }

    #[test]
    fn only_what_was_acknowledged_can_be_lost() {
        let now = Some(Instant::now());
        let all = [written(0, now), written(1, None), written(2, now), written(3, now)];
        let list = [("0".to_owned(), 0), ("3".to_owned(), 7)].into();
        assert_eq!(lost(&all, &list).map(|one| one.value).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_gap_before_the_fault_does_not_count_and_one_until_the_end_does() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let all: Vec<_> = [0, 900, 1000, 1300].map(|millis| written(millis, Some(at(millis)))).into();
        assert_eq!(gap(&all, at(950), at(1310)), Duration::from_millis(300));
        assert_eq!(gap(&all, at(950), at(2000)), Duration::from_millis(700));
        assert_eq!(gap(&[], at(950), at(2000)), Duration::from_millis(1050));
    }
}
