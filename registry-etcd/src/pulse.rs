//! Whether a member in use is there, has a quorum, and holds the same store: asked at an interval, once for all who want to know.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::Client;
use registry_core::time::later;
use registry_core::{Epoch, Error, ErrorKind, Operation, OwnerToken, Result};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::error::failure;
use crate::member::Member;
use crate::store::{header_revision, identity};

/// What a linearizable read through a member told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The identity of the store; `None` when it has none.
    pub(crate) epoch: Option<Epoch>,
    /// The revision then.
    pub(crate) revision: u64,
    /// When it was asked for: what was delivered later may be newer.
    pub(crate) asked: Instant,
}

/// The latest that is known of a member.
#[derive(Clone, Debug)]
enum Beat {
    /// Nothing yet.
    Unknown,
    /// It answered.
    Head(Head),
    /// It did not, and is left.
    Lost(Error),
}

/// Runs while someone listens.
#[derive(Debug)]
pub(crate) struct Pulse {
    interval: Duration,
    store: Arc<str>,
    orderly: AtomicBool,
    /// What the task tells; `None` when none runs.
    running: Mutex<Option<watch::Receiver<Beat>>>,
}

/// What a member tells of itself.
#[derive(Clone, Debug)]
pub(crate) struct PulseReceiver {
    beats: watch::Receiver<Beat>,
}

impl PulseReceiver {
    /// The next answer.
    ///
    /// # Errors
    /// When the member is lost; then for ever.
    pub(crate) async fn head(&mut self) -> Result<Head> {
        loop {
            let changed = self.beats.changed().await;
            match &*self.beats.borrow_and_update() {
                Beat::Head(head) if changed.is_ok() => return Ok(*head),
                Beat::Lost(error) => return Err(error.clone()),
                // The task ends only after it has told that the member is lost, or with the runtime.
                _ if changed.is_err() => {
                    return Err(failure(ErrorKind::Closed, Operation::Watch, "the runtime shuts down"));
                }
                _ => {}
            }
        }
    }
}

impl Pulse {
    pub(crate) fn new(interval: Duration, store: &str) -> Self {
        Self { interval, store: store.into(), orderly: AtomicBool::new(false), running: Mutex::default() }
    }

    /// Whether the member says where a stream is only when it has sent everything up to there, as far as is known.
    pub(crate) fn is_orderly(&self) -> bool {
        self.orderly.load(Ordering::Relaxed)
    }

    pub(crate) fn subscribe(&self, member: &Arc<Member>) -> PulseReceiver {
        let mut running = self.lock();
        // A sender that is gone has told that the member is lost: what is learnt from now on is another life.
        if let Some(present) = running.as_ref().filter(|present| present.has_changed().is_ok()) {
            let mut beats = present.clone();
            beats.mark_unchanged();
            return PulseReceiver { beats };
        }
        let (sender, beats) = watch::channel(Beat::Unknown);
        *running = Some(beats.clone());
        tokio::spawn(run(Arc::clone(member), sender));
        PulseReceiver { beats }
    }

    /// Under the lock, so that nobody begins to listen to a task that is about to end.
    fn ends_unheard(&self, beats: &watch::Sender<Beat>) -> bool {
        let mut running = self.lock();
        // One receiver is the one kept here.
        let unheard = beats.receiver_count() <= 1;
        if unheard {
            *running = None;
        }
        unheard
    }

    fn lock(&self) -> MutexGuard<'_, Option<watch::Receiver<Beat>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(member: Arc<Member>, beats: watch::Sender<Beat>) {
    let pulse = member.pulse();
    let mut dice = fastrand::Rng::with_seed(OwnerToken::random().as_u128() as u64);
    let read = |client: &Client| {
        let (mut kv, store) = (client.kv_client(), Arc::clone(&pulse.store));
        async move { kv.get(&*store, None).await }
    };
    let status = |client: &Client| {
        let mut maintenance = client.maintenance_client();
        async move { maintenance.status().await }
    };
    // A user may not be allowed to ask: then nothing is assumed.
    if let Ok(status) = member.request_within(pulse.interval, Operation::Watch, &status).await {
        pulse.orderly.store(is_orderly(status.version()), Ordering::Relaxed);
    }
    while !pulse.ends_unheard(&beats) {
        let begun = Instant::now();
        match member.request_within(pulse.interval, Operation::Watch, &read).await {
            Ok(answer) => {
                let epoch = answer.kvs().first().and_then(|kv| identity(kv.value()));
                let revision = header_revision(answer.header());
                beats.send_replace(Beat::Head(Head { epoch, revision, asked: begun }));
            }
            Err(error) => {
                tracing::debug!(member = %member.url(), %error, "member lost");
                member.went_unanswered();
                beats.send_replace(Beat::Lost(error));
                return;
            }
        }
        // Less than the interval, by another part each time: clients that were disturbed together must not beat in step.
        let jitter = 0.8 + 0.2 * dice.f64();
        sleep_until(later(begun, pulse.interval.mul_f64(jitter))).await;
    }
}

/// Progress of a stream overtakes its events in releases before 3.4.25 and 3.5.8 (etcd-io/etcd#15220).
fn is_orderly(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map_while(|number| number.parse::<u64>().ok());
    let mut next = || numbers.next().unwrap_or_default();
    match (next(), next(), next()) {
        (3, 4, patch) => patch >= 25,
        (3, 5, patch) => patch >= 8,
        (major, minor, _) => (major, minor) > (3, 5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_releases_without_the_defect_are_trusted() {
        for (version, orderly) in [
            ("3.4.23", false),
            ("3.4.25", true),
            ("3.5.7", false),
            ("3.5.16", true),
            ("3.6.0-rc.1", true),
            ("4.0.0", true),
            ("3.3.27", false),
            ("", false),
            ("unknown", false),
        ] {
            assert_eq!(is_orderly(version), orderly, "{version}");
        }
    }
}
