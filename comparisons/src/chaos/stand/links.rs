//! Faults of the links between readers and servers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use registry_testing::servers::proxy::{Counters, Faults, Flow, Proxy};
use tokio::sync::oneshot;
use tokio::time::{Instant, interval, sleep, timeout};

use super::canary::{Canary, Heard, Hello, knock};
use super::site::Site;
use super::struck::Struck;
use super::{Bite, Fault};
use crate::experiment::Trouble;

const LATENCY: Duration = Duration::from_millis(100);
const BYTES_PER_SECOND: u64 = 8 << 10;
/// What a canary sends through a throttled link, and how long that takes at least.
const LOAD: usize = 4 << 10;
const LOAD_TAKES: Duration = Duration::from_millis(400);
/// Who is not answered within this is not answered: a healthy link takes a hundredth of it.
const SILENT: Duration = Duration::from_millis(400);
/// For an answer that comes late.
const LATE: Duration = Duration::from_secs(5);
const RESETS_EVERY: Duration = Duration::from_secs(1);
const FLAP: Duration = Duration::from_millis(300);

/// Changes what the links do, and nothing that other faults have made of them.
async fn change(site: &Site, change: impl Fn(&mut Faults)) {
    let changed = site.links().into_iter().map(|link| {
        let mut faults = link.faults();
        change(&mut faults);
        link.set(faults)
    });
    join_all(changed).await;
}

fn set(fault: Fault, faults: &mut Faults) {
    match fault {
        Fault::LinkCut => faults.refuse = true,
        Fault::BlackHole | Fault::BlackHoleLong => *faults = faults.with_flow(Flow::BlackHole),
        Fault::BlackHoleToServer => faults.to_server.flow = Flow::BlackHole,
        Fault::BlackHoleToClient => faults.to_client.flow = Flow::BlackHole,
        Fault::Latency => *faults = faults.with_latency(LATENCY),
        Fault::Throttle => *faults = faults.with_throttle(BYTES_PER_SECOND),
        _ => {}
    }
}

fn unset(fault: Fault, faults: &mut Faults) {
    match fault {
        Fault::LinkCut => faults.refuse = false,
        Fault::Latency => *faults = faults.with_latency(Duration::ZERO),
        Fault::Throttle => {
            faults.to_server.bytes_per_second = None;
            faults.to_client.bytes_per_second = None;
        }
        _ => *faults = faults.with_flow(Flow::Open),
    }
}

/// Whether what a canary heard is what it hears under this fault alone.
fn feels(fault: Fault, heard: Heard) -> bool {
    match (fault, heard) {
        (Fault::LinkCut, heard) => heard == Heard::Broken,
        (Fault::Latency, Heard::After(late)) => late >= LATENCY.mul_f64(1.8),
        (Fault::Throttle, Heard::After(late)) => late >= LOAD_TAKES,
        (Fault::Latency | Fault::Throttle, _) => false,
        (_, heard) => heard == Heard::Nothing,
    }
}

/// What passed and what did not, over all links.
fn total(links: &[&Proxy]) -> [u64; 4] {
    links.iter().map(|link| link.counters()).fold([0; 4], |[cut, reset, lost, passed], counters: Counters| {
        let swallowed = counters.to_server.swallowed + counters.to_client.swallowed;
        let delivered = counters.to_server.delivered + counters.to_client.delivered;
        [cut + counters.cut, reset + counters.reset, lost + swallowed, passed + delivered]
    })
}

/// Cuts, swallows, delays or throttles.
pub(super) async fn strike(site: Arc<Site>, fault: Fault) -> Result<Struck, Trouble> {
    let hello = Hello::of(&site);
    let mut canaries = Canary::through(&site.links(), hello).await;
    let before = total(&site.links());
    let well = canaries.iter().filter(|canary| canary.is_well()).count();
    change(&site, |faults| set(fault, faults)).await;
    if fault == Fault::LinkCut {
        join_all(site.links().into_iter().map(Proxy::cut)).await;
    }
    let (size, within) = match fault {
        Fault::Throttle => (LOAD, LATE),
        Fault::Latency => (1, LATE),
        _ => (1, SILENT),
    };
    let links = canaries.len();
    let asked = canaries.iter_mut().filter(|canary| canary.is_well()).map(|canary| canary.ask(size, within));
    let felt = join_all(asked).await.into_iter().filter(|heard| feels(fault, *heard)).count();
    let what = format!("{fault} on {links} links");
    Ok(Struck::new(what, async move {
        let still = match fault {
            // Whoever asks through it waits, and was asked already: it is what was set.
            Fault::Latency | Fault::Throttle => None,
            // No new connection either, until the end.
            _ => {
                let knocks = site.links().into_iter().map(|link| knock(link.address(), hello, SILENT));
                let silent = |heard: &Heard| !matches!(heard, Heard::After(_));
                Some(join_all(knocks).await.iter().filter(|heard| silent(heard)).count())
            }
        };
        let after = total(&site.links());
        change(&site, |faults| unset(fault, faults)).await;
        let [cut, _, lost, passed] = std::array::from_fn(|at| after[at] - before[at]);
        let until_the_end = match still {
            Some(still) => format!("{still} of {links} links were so until the end"),
            None => "nothing was asked at the end".to_owned(),
        };
        let proof = format!(
            "of {well} connections that were well {felt} felt it, and {until_the_end}; {cut} connections were cut, {lost} bytes lost, {passed} passed"
        );
        Ok(Bite::new(well > 0 && felt == well && still.is_none_or(|still| still == links), proof))
    }))
}

/// Resets all connections at once, and then every second.
pub(super) async fn reset(site: Arc<Site>, lasting: Duration) -> Result<Struck, Trouble> {
    let mut canaries = Canary::through(&site.links(), Hello::of(&site)).await;
    let before = total(&site.links());
    join_all(site.links().into_iter().map(Proxy::reset)).await;
    let what = format!("resets on {} links", canaries.len());
    let asked = canaries.iter_mut().filter(|canary| canary.is_well()).map(|canary| canary.ask(1, SILENT));
    let felt = join_all(asked).await.into_iter().filter(|heard| *heard == Heard::Broken).count();
    let going_on = Background::spawn(lasting, {
        let site = Arc::clone(&site);
        async move {
            let mut ticks = interval(RESETS_EVERY);
            ticks.tick().await;
            loop {
                ticks.tick().await;
                join_all(site.links().into_iter().map(Proxy::reset)).await;
            }
        }
    });
    Ok(Struck::new(what, async move {
        going_on.stop().await;
        let [_, reset, ..] = total(&site.links());
        let reset = reset - before[1];
        let proof =
            format!("{reset} connections were reset, among them {felt} that were opened before for that");
        Ok(Bite::new(felt > 0 && reset > 0, proof))
    }))
}

/// Fails and recovers again and again, by refusal and by silence in turn.
pub(super) async fn flap(
    site: Arc<Site>,
    lasting: Duration,
    random: &mut fastrand::Rng,
) -> Result<Struck, Trouble> {
    let hello = Hello::of(&site);
    let before = total(&site.links());
    let mut random = random.fork();
    let (tell, told) = tokio::sync::watch::channel((0_u32, 0_u32));
    let going_on = Background::spawn(lasting, {
        let site = Arc::clone(&site);
        async move {
            loop {
                let fault = if random.bool() { Fault::LinkCut } else { Fault::BlackHole };
                change(&site, |faults| set(fault, faults)).await;
                if fault == Fault::LinkCut {
                    join_all(site.links().into_iter().map(Proxy::cut)).await;
                }
                let down = look(&site, hello).await;
                change(&site, |faults| unset(fault, faults)).await;
                let up = look(&site, hello).await;
                tell.send_modify(|(failed, answered)| {
                    *failed += u32::from(!down);
                    *answered += u32::from(up);
                });
            }
        }
    });
    let what = format!("flaps on {} links", site.links().len());
    Ok(Struck::new(what, async move {
        going_on.stop().await;
        change(&site, |faults| {
            unset(Fault::LinkCut, faults);
            unset(Fault::BlackHole, faults);
        })
        .await;
        let (failed, answered) = *told.borrow();
        let [cut, _, lost, _] = total(&site.links());
        let proof = format!(
            "{failed} times a new connection failed while the links were down, and {answered} times one was answered while they were up; {} connections were cut, {} bytes lost",
            cut - before[0],
            lost - before[2]
        );
        Ok(Bite::new(failed > 0 && answered > 0, proof))
    }))
}

/// Whether the first link answers; takes as long as a flap.
async fn look(site: &Site, hello: Hello) -> bool {
    let until = Instant::now() + FLAP;
    let answered = match site.links().first() {
        Some(link) => matches!(knock(link.address(), hello, FLAP).await, Heard::After(_)),
        None => false,
    };
    tokio::time::sleep_until(until).await;
    answered
}

/// What goes on beside for a time, until it is stopped. Dropping it stops it as well.
pub(super) struct Background<T = ()> {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Option<T>>,
}

impl<T: Send + 'static> Background<T> {
    /// Polls `work` until it ends, for `lasting` at most; then it is dropped where it waits.
    pub(super) fn spawn(lasting: Duration, work: impl Future<Output = T> + Send + 'static) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = stopped => None,
                done = timeout(lasting, work) => done.ok(),
            }
        });
        Self { stop, task }
    }

    /// Stops it, waits until it has stopped, and gives what it came to if it had ended.
    pub(super) async fn stop(self) -> Option<T> {
        drop(self.stop);
        self.task.await.ok().flatten()
    }
}

/// Until the time is over, or it is stopped.
pub(super) async fn over(lasting: Duration, stopped: oneshot::Receiver<()>) {
    tokio::select! {
        () = sleep(lasting) => {}
        _ = stopped => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Fault, Faults, Heard, feels, set, unset};

    #[test]
    fn a_fault_that_is_taken_back_leaves_what_another_has_made_of_the_link() {
        let links = [
            Fault::LinkCut,
            Fault::BlackHole,
            Fault::BlackHoleLong,
            Fault::BlackHoleToServer,
            Fault::BlackHoleToClient,
            Fault::Latency,
            Fault::Throttle,
        ];
        for fault in links {
            let mut faults = Faults::default();
            set(fault, &mut faults);
            assert_ne!(faults, Faults::default(), "{fault}");
            unset(fault, &mut faults);
            assert_eq!(faults, Faults::default(), "{fault}");
        }
        let mut both = Faults::default();
        set(Fault::Latency, &mut both);
        let late = both;
        set(Fault::BlackHole, &mut both);
        unset(Fault::BlackHole, &mut both);
        assert_eq!(both, late);
    }

    #[test]
    fn a_healthy_link_feels_like_none_of_the_faults() {
        let healthy = Heard::After(Duration::from_millis(1));
        for fault in [Fault::LinkCut, Fault::BlackHole, Fault::Latency, Fault::Throttle] {
            assert!(!feels(fault, healthy), "{fault}");
        }
        assert!(feels(Fault::LinkCut, Heard::Broken) && !feels(Fault::LinkCut, Heard::Nothing));
        assert!(feels(Fault::BlackHoleToClient, Heard::Nothing));
        assert!(feels(Fault::Latency, Heard::After(Duration::from_millis(200))));
    }
}
