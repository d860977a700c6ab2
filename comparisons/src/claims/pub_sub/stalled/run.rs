//! One run of one arm.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use registry_testing::servers::etcd::Etcd;
use registry_testing::servers::proxy::{Faults, Flow, Proxy};
use registry_testing::servers::redis::Redis;
use registry_testing::servers::until;
use tokio::time::Instant;

use super::changes::{LARGE, Made, SERVICE, SMALL, Writers};
use super::{AGAIN, ERRORS, GAPS, KILLED, LOST, PUBLISHED, RECEIVED, SILENT, TROUBLES, WRITING, WRONG};
use crate::claims::pub_sub::support::{ETCD, HASH, KEY, MEMORY, REDIS, RELOADING, etcd, memory, redis};
use crate::claims::pub_sub::watcher::{Told, Watcher, wrong};
use crate::contestants::{Contestant, Member, NaiveHash, NaiveKey, Place};
use crate::experiment::Trouble;
use crate::lab::Lab;
use crate::record::Record;

/// How long after it reads on the subscriber may take to be told of a change that is made then: less is not lost, only late.
const LATE: Duration = Duration::from_secs(60);
/// How often such a change is made.
const EACH: Duration = Duration::from_millis(200);
/// What the last change is of.
const LAST: &str = "last";
const LAST_TTL: Duration = Duration::from_secs(3_600);
/// Redis's default for subscribers.
const LIMIT: u64 = 32 << 20;

pub(super) async fn run(lab: &Lab, arm: &str, number: u32) -> Result<Record, Trouble> {
    let record = Record::new(arm, number);
    if arm == MEMORY {
        return in_memory(record).await;
    }
    if arm == ETCD {
        let server = Etcd::start(lab.etcd_options().with_client_proxies()).await?;
        let proxy = server.client_proxy().ok_or_else(|| Trouble::failed("no proxy in front of etcd"))?;
        let (writer, reader) = (etcd([server.direct_endpoint()])?, etcd([server.endpoint()])?);
        let writers = Writers::ours(&writer, LARGE).await?;
        let stall = stall(proxy, &writer, &reader, &writers).await?;
        let (held, proof) = stall.held();
        return Ok(stall.told.fill(record).if_bitten(held && stall.told.is_over(), proof));
    }
    let server = Redis::start(lab.redis_options().with_args(NaiveKey::ARGS)).await?;
    let proxy = Proxy::start(server.address())?;
    let place =
        |through_proxy: bool| Place::Server(if through_proxy { proxy.address() } else { server.address() });
    let stall = if arm == REDIS {
        let (writer, reader) = (redis(server.address())?, redis(proxy.address())?);
        let writers = Writers::ours(&writer, LARGE).await?;
        stall(&proxy, &writer, &reader, &writers).await?
    } else {
        let contestant = |place| -> Result<Box<dyn Contestant>, Trouble> {
            match arm {
                HASH => Ok(Box::new(NaiveHash::new(place))),
                RELOADING => Ok(Box::new(NaiveHash::reloading(place))),
                KEY => Ok(Box::new(NaiveKey::new(place))),
                _ => Err(Trouble::failed(format!("no arm {arm}"))),
            }
        };
        let (writer, reader) = (contestant(place(false))?, contestant(place(true))?);
        let writers = Writers::naive(&*writer).await?;
        stall(&proxy, &*writer, &*reader, &writers).await?
    };
    let killed = killed(&server).await?;
    let (_, held) = stall.held();
    let proof = format!("the server closed {killed} connections at its output buffer limit; {held}");
    Ok(stall.told.fill(record).with(KILLED, killed).if_bitten(killed > 0.0 && stall.told.is_over(), proof))
}

/// A consumer that does not ask for what comes next.
async fn in_memory(record: Record) -> Result<Record, Trouble> {
    let ours = memory();
    let writers = Writers::ours(&ours, SMALL).await?;
    let last = ours.register(SERVICE, LAST, 0, LAST_TTL).await?;
    let watcher = Watcher::start(&ours, SERVICE).await?;
    let count = || watcher.told().one_by_one.len();
    let (before, troubles) = (count(), watcher.told().troubles);
    watcher.set_reading(false);
    let made = writers.write().await;
    let read = count() - before;
    watcher.set_reading(true);
    let told = read_on(&watcher, &ours, &*last, made, troubles).await?;
    Ok(told
        .fill(record)
        .if_bitten(read == 0 && told.is_over(), format!("{read} changes were told meanwhile")))
}

/// What came of holding back what was sent to a subscriber.
struct Stall {
    told: Outcome,
    /// Bytes that the subscriber's proxy let pass meanwhile.
    passed: u64,
    /// Bytes that waited behind it, or were dropped.
    sent: u64,
}

impl Stall {
    /// Whether the subscriber did not read what was more than a server keeps for one.
    fn held(&self) -> (bool, String) {
        held(self.sent, self.passed)
    }
}

/// Whether of `sent` bytes, more than a server keeps for one, next to nothing `passed`, and by what that is known.
fn held(sent: u64, passed: u64) -> (bool, String) {
    let (megabytes, kilobytes) = (sent / 1_000_000, passed / 1_000);
    let proof = format!("of some {megabytes} MB of changes {kilobytes} kB reached the subscriber meanwhile");
    (sent > LIMIT && passed < sent / 100, proof)
}

/// What the subscriber was told, in the end.
struct Outcome {
    made: Made,
    /// Of the changes that were acknowledged, those that were not told one by one.
    lost: usize,
    /// Of these, those that were made after the last gap that was told.
    silent: usize,
    gaps: u64,
    /// Since it stopped to read.
    troubles: u64,
    wrong: usize,
    /// How long it took, from reading on, until it was told of a change that was made then; none if it never was.
    again: Option<Duration>,
}

impl Outcome {
    /// Whether it was told of the last change: what it was not told before, it never will be. Otherwise what is late cannot be told from what is lost.
    fn is_over(&self) -> bool {
        self.again.is_some()
    }

    fn fill(&self, record: Record) -> Record {
        let published = self.made.acknowledged.len();
        record
            .with(PUBLISHED, published as f64)
            .with(RECEIVED, (published - self.lost) as f64)
            .with(LOST, self.lost as f64)
            .with(SILENT, self.silent as f64)
            .with(GAPS, self.gaps as f64)
            .with(TROUBLES, self.troubles as f64)
            .with(ERRORS, self.made.refused as f64)
            .with(WRONG, self.wrong as f64)
            .with(AGAIN, self.again.unwrap_or(LATE).as_secs_f64())
            .with(WRITING, self.made.took.as_secs_f64())
    }
}

async fn stall(
    proxy: &Proxy,
    writer: &dyn Contestant,
    reader: &dyn Contestant,
    writers: &Writers,
) -> Result<Stall, Trouble> {
    let last = writer.register(SERVICE, LAST, 0, LAST_TTL).await?;
    let watcher = Watcher::start(reader, SERVICE).await?;
    let passed = || proxy.counters().to_client.delivered;
    let before = passed();
    let troubles = watcher.told().troubles;
    let mut stalled = Faults::default();
    stalled.to_client.flow = Flow::Stalled;
    proxy.set(stalled).await;
    let made = writers.write().await;
    let passed = passed() - before;
    proxy.heal().await;
    let sent = made.acknowledged.len() as u64 * writers.bytes();
    let told = read_on(&watcher, writer, &*last, made, troubles).await?;
    Ok(Stall { told, passed, sent })
}

/// Makes one more change until the subscriber is told of it: whatever it is still told of those before came before that. `troubles` were told to it before
/// it stopped to read.
async fn read_on(
    watcher: &Watcher,
    writer: &dyn Contestant,
    last: &dyn Member,
    made: Made,
    troubles: u64,
) -> Result<Outcome, Trouble> {
    let (value, begun) = (AtomicU64::new(0), Instant::now());
    let told = until("a change that is made now is told", LATE, async || {
        let value = value.fetch_add(1, Ordering::Relaxed) + 1;
        last.set(value).await.ok()?;
        let told = |told: &Told| told.value(LAST).is_some_and(|seen| seen >= value);
        watcher.until("this one", EACH, told).await.ok()
    });
    let again = told.await.ok().map(|()| begun.elapsed());
    let mut truth = writer.list(SERVICE).await?;
    // The last ones are no part of the question.
    truth.remove(LAST);
    let told = watcher.told();
    let lost: Vec<_> =
        made.acknowledged.iter().filter(|change| !told.one_by_one.contains(&change.value)).collect();
    let (silent, lost) = (told.not_covered(lost.iter().copied()), lost.len());
    let mut view = told.view.clone().unwrap_or_default();
    view.remove(LAST);
    Ok(Outcome {
        made,
        lost,
        silent,
        gaps: told.gaps,
        troubles: told.troubles - troubles,
        wrong: wrong(&view, &truth),
        again,
    })
}

/// Subscribers that the server closed at its output buffer limit since it started.
async fn killed(server: &Redis) -> Result<f64, Trouble> {
    let stats = server.command(&["INFO", "stats"]).await?.text();
    let line = stats.lines().find_map(|line| line.strip_prefix("client_output_buffer_limit_disconnections:"));
    line.and_then(|count| count.trim().parse().ok()).ok_or_else(|| {
        Trouble::failed("the server does not say how many connections it closed at their limit")
    })
}

#[cfg(test)]
mod tests {
    use super::{LIMIT, held};

    #[test]
    fn a_subscriber_was_held_if_more_than_its_limit_was_sent_and_not_a_hundredth_of_it_passed() {
        assert!(held(LIMIT + 1, 0).0);
        assert!(!held(LIMIT, 0).0, "the server may have kept all of it");
        assert!(held(50_000_000, 499_999).0);
        assert!(!held(50_000_000, 500_000).0, "it read");
        let (_, proof) = held(50_000_000, 12_000);
        assert_eq!(proof, "of some 50 MB of changes 12 kB reached the subscriber meanwhile");
    }
}
