//! The server is killed, stopped, paused or put back to a backup, under a registrar, a watch and writes: nothing is missed without a word, the
//! registrar is back within its TTL, and the view is right within 3 s.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use registry_core::{ErrorKind, Registrar, Registry, ResetCause, Revision};
use registry_redis::RedisRegistry;
use registry_testing::servers::proxy::{Faults, Proxy};
use registry_testing::servers::redis::{Persistence, Redis};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{
    PATIENCE, Record, eventually, instance, lasting, registrar, registry, server, user, weighing,
};

/// The registrar's TTL.
const TTL: u64 = 5;
/// How soon after the server is there all must be right.
const RIGHT: Duration = Duration::from_secs(3);
const MODES: [Persistence; 4] =
    [Persistence::None, Persistence::Snapshots, Persistence::EveryWrite, Persistence::EverySecond];

/// Updates an instance without end, and registers it again when its lease is lost.
struct Writer {
    acknowledged: Arc<Mutex<Vec<(Revision, Instant)>>>,
    task: JoinHandle<()>,
}

impl Writer {
    async fn start(registry: RedisRegistry) -> Self {
        let mut lease = registry.register(&instance(2), &lasting()).await.unwrap().lease;
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&acknowledged);
        let task = tokio::spawn(async move {
            for weight in (1..=100).cycle() {
                match registry.update(&lease, &weighing(2, weight)).await {
                    Ok(revision) => shared.lock().unwrap().push((revision, Instant::now())),
                    Err(error) if error.kind() == ErrorKind::LeaseLost => {
                        if let Ok(again) = registry.register(&instance(2), &lasting()).await {
                            lease = again.lease;
                        }
                    }
                    // An outage must not become a storm.
                    Err(_) => sleep(Duration::from_millis(10)).await,
                }
                sleep(Duration::from_millis(2)).await;
            }
        });
        Self { acknowledged, task }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    async fn until_more(&self, more: usize) {
        let wanted = self.count() + more;
        eventually("writes go on", RIGHT, async || (self.count() >= wanted).then_some(())).await;
    }

    /// What was acknowledged, after the last write, and for how long nothing was.
    async fn finish(self) -> (Vec<Revision>, Duration) {
        self.task.abort();
        let _ = self.task.await;
        let acknowledged = std::mem::take(&mut *self.acknowledged.lock().unwrap());
        let silences = acknowledged.windows(2).map(|pair| pair[1].1 - pair[0].1);
        (acknowledged.iter().map(|(revision, _)| *revision).collect(), silences.max().unwrap_or_default())
    }
}

async fn back(serving: &Registrar, direct: &RedisRegistry, deadline: Instant) {
    eventually("the registrar is back", deadline - Instant::now(), async || {
        let listed = direct.lookup(&user()).await.ok()?;
        (serving.state().is_registered() && listed.get(instance(1).id()).is_some()).then_some(())
    })
    .await;
}

async fn survive(mode: Persistence, fault: impl AsyncFn(&Redis)) {
    let redis = Redis::start(server().with_persistence(mode)).await.unwrap();
    let (client, direct) = (registry(redis.address()), registry(redis.address()));
    let serving = registrar(&client, 1, TTL);
    timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let record = Record::start(&client).await;
    let writer = Writer::start(registry(redis.address())).await;
    writer.until_more(20).await;
    if mode == Persistence::Snapshots {
        redis.command(&["SAVE"]).await.unwrap();
        writer.until_more(20).await;
    }
    let run = run_id(&redis).await;
    fault(&redis).await;
    let up = Instant::now();
    let same_process = run_id(&redis).await == run;
    writer.until_more(20).await;
    let (acknowledged, silence) = writer.finish().await;
    assert!(!same_process || silence > Duration::from_secs(2), "{mode:?}: the fault did not bite");
    record.until_equal(&direct, up + RIGHT).await;
    eprintln!("{mode:?}: right {:?} after the server was there", up.elapsed());
    back(&serving, &direct, up + Duration::from_secs(TTL)).await;
    eprintln!("{mode:?}: the registrar is back {:?} after the server was there", up.elapsed());
    record.until_equal(&direct, Instant::now() + RIGHT).await;
    match mode {
        Persistence::None if !same_process => require_resets(&record, ResetCause::Wiped),
        Persistence::Snapshots if !same_process => require_resets(&record, ResetCause::Diverged),
        _ => record.require_whole(&acknowledged),
    }
    // It stays.
    sleep(Duration::from_secs(TTL + 1)).await;
    assert!(direct.lookup(&user()).await.unwrap().get(instance(1).id()).is_some(), "{mode:?}");
}

async fn run_id(redis: &Redis) -> String {
    let info = redis.command(&["INFO", "server"]).await.unwrap().text();
    info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap().to_owned()
}

fn require_resets(record: &Record, cause: ResetCause) {
    record.told(|told| assert_eq!(told.resets, [ResetCause::First, cause]));
}

/// In all modes at the same time.
async fn survive_in_all_modes(fault: impl AsyncFn(&Redis)) {
    join_all(MODES.map(|mode| survive(mode, &fault))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_and_a_restart_nothing_is_missed_without_a_word() {
    survive_in_all_modes(async |redis: &Redis| redis.restart().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_clean_stop_and_a_restart_nothing_is_missed_without_a_word() {
    survive_in_all_modes(async |redis: &Redis| {
        redis.stop().await.unwrap();
        redis.restart().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_pause_of_3_seconds_nothing_is_missed() {
    survive_in_all_modes(async |redis: &Redis| {
        redis.pause().await.unwrap();
        sleep(Duration::from_secs(3)).await;
        redis.resume().await.unwrap();
    })
    .await;
}

/// Puts back an older backup while the client is cut off, and writes `later` changes before it is back.
async fn put_back(mode: Persistence, later: usize) {
    const LOST: u32 = 20;
    let redis = Redis::start(server().with_persistence(mode)).await.unwrap();
    let proxy = Proxy::start(redis.address()).unwrap();
    let (client, direct) = (registry(proxy.address()), registry(redis.address()));
    let serving = registrar(&client, 1, TTL);
    timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let record = Record::start(&client).await;
    let old = redis.save().await.unwrap();
    let mut at = Revision::ZERO;
    for weight in 0..LOST {
        at = serving.update(weighing(1, weight)).await.unwrap();
    }
    record.until_revision(at, PATIENCE).await;

    proxy.set(Faults::refusing()).await;
    proxy.cut().await;
    redis.restore(&old).await.unwrap();
    let up = Instant::now();
    let other = registry(redis.address());
    for n in 0..later {
        other.register(&instance(10 + n), &lasting()).await.unwrap();
    }
    let revision = other.lookup(&user()).await.unwrap().revision();
    assert_eq!(
        revision > at,
        later > LOST as usize,
        "the other history is to be longer or shorter: {revision}"
    );
    proxy.heal().await;

    let value = async || {
        let listed = direct.lookup(&user()).await.unwrap();
        let there =
            listed.get(instance(1).id()).is_some_and(|entry| entry.instance().weight().get() == LOST - 1);
        (there && serving.state().is_registered()).then_some(())
    };
    let ttl = Duration::from_secs(TTL);
    eventually("the registrar is back, and not with its older value", ttl, value).await;
    eprintln!("{mode:?}: the registrar is back {:?} after the backup was", up.elapsed());
    record.until_equal(&direct, Instant::now() + RIGHT).await;
    require_resets(&record, ResetCause::Diverged);
    record.told(|told| assert_eq!(told.view.as_ref().unwrap().len(), 1 + later));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_backup_is_told_and_the_registrar_does_not_take_its_older_value_for_its_own() {
    for mode in [Persistence::Snapshots, Persistence::EveryWrite] {
        put_back(mode, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_backup_that_was_written_to_more_than_before_is_told_as_well() {
    for mode in [Persistence::Snapshots, Persistence::EveryWrite] {
        put_back(mode, 60).await;
    }
}
