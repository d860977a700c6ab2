//! A cluster of three loses a member: what was registered stays, watches go on, all within two election timeouts + 1 s of there being a quorum.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use registry_core::{AfterDisruption, ErrorKind, RegistrarState, Registry, Revision};
use registry_etcd::EtcdRegistry;
use registry_testing::servers::etcd::{EtcdCluster, EtcdOptions};
use registry_testing::servers::ports::Port;
use registry_testing::servers::proxy::{Faults, Proxy};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{
    ALONE, PATIENCE, Record, eventually, instance, lasting, registrar, registry, server, user, weighing,
};

/// etcd's own timing.
const HEARTBEAT: Duration = Duration::from_millis(100);
const ELECTION: Duration = Duration::from_secs(1);
/// Of the registrars, in seconds.
const TTL: u64 = 5;
/// Two election timeouts + 1 s.
const RECOVERY: Duration = Duration::from_secs(3);

fn timed() -> EtcdOptions {
    server().with_timing(HEARTBEAT, ELECTION).with_peer_proxies()
}

/// Which member is broken; all clients use it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Leader,
    Follower,
}

/// Changes instance 0 all the time; gives what was acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<Revision>>,
}

impl Writer {
    fn start(registry: EtcdRegistry) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let registration = registry.register(&instance(0), &lasting()).await.unwrap();
            let mut acknowledged = vec![registration.revision];
            let mut weight = 0;
            while !stopped.load(Ordering::Relaxed) {
                weight = (weight + 1) % 10_000;
                match registry.update(&registration.lease, &weighing(0, weight)).await {
                    Ok(revision) => acknowledged.push(revision),
                    // Unanswered while there is no quorum; that is all that may happen.
                    Err(error) => assert!(
                        matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
                        "{error:?}"
                    ),
                }
                // The pace of the load.
                sleep(Duration::from_millis(20)).await;
            }
            acknowledged
        });
        Self { stop, task }
    }

    async fn end(self) -> Vec<Revision> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// Runs registrars, a writer and a watch; breaks a member; requires that all goes on. `mend` is called when it does.
async fn survive(
    options: EtcdOptions,
    victim: Victim,
    break_it: impl AsyncFn(&EtcdCluster, usize),
    mend: impl AsyncFn(&EtcdCluster, usize),
) {
    let _alone = ALONE.lock().await;
    let cluster = EtcdCluster::start(3, options).await.unwrap();
    let leader = cluster.leader().await.unwrap();
    let broken_one = match victim {
        Victim::Leader => leader,
        Victim::Follower => (leader + 1) % 3,
    };
    // The victim first, so that every client is connected to it.
    let mut endpoints = cluster.endpoints();
    endpoints.swap(0, broken_one);
    let client = || registry(endpoints.clone());

    let watching = client();
    let record = Record::start(&watching).await;
    let writer = Writer::start(client());
    let serving = client();
    let registrars: Vec<_> = (1..=3).map(|n| registrar(&serving, n, TTL)).collect();
    for registrar in &registrars {
        timeout(PATIENCE, registrar.registered()).await.unwrap().unwrap();
    }
    let all_four = async || record.told(|told| (told.view.as_ref()?.len() == 4).then_some(()));
    eventually("four instances", PATIENCE, all_four).await;

    let broken = Instant::now();
    break_it(&cluster, broken_one).await;
    if victim == Victim::Leader {
        cluster.wait_new_leader(leader).await.unwrap();
    }
    let quorum = Instant::now();
    let probing = client();
    let registration = timeout(RECOVERY, async {
        loop {
            if let Ok(registration) = probing.register(&instance(9), &lasting()).await {
                return registration;
            }
        }
    });
    let registration = registration.await.expect("a registration within the time of recovery");
    record.until_revision(registration.revision, RECOVERY - quorum.elapsed()).await;
    eprintln!(
        "quorum after {:?}, a registration seen by the watch {:?} later",
        quorum - broken,
        quorum.elapsed()
    );

    // Longer than the TTL of those that beat: none was lost on the way.
    sleep(Duration::from_secs(TTL + 1)).await;
    for registrar in &registrars {
        assert!(matches!(*registrar.state(), RegistrarState::Registered { .. }), "{:?}", registrar.state());
    }
    assert_eq!(watching.lookup(&user()).await.unwrap().len(), 5, "before it is mended");
    record.told(|told| assert_eq!(told.deletions, 0, "a registration was lost"));
    mend(&cluster, broken_one).await;
    // etcd-io/etcd#12528, #15247: a leader that stood still for longer than a TTL may, when it goes on, end leases that its successor
    // has renewed. Their owners put it right with their next heartbeat.
    let healed = async || (watching.lookup(&user()).await.ok()?.len() == 5).then_some(());
    sleep(Duration::from_secs(2)).await;
    eventually("all are registered", Duration::from_secs(TTL), healed).await;
    let acknowledged = writer.end().await;
    let later = acknowledged.iter().filter(|at| **at > registration.revision).count();
    eprintln!("{} updates acknowledged, {later} of them after the fail-over", acknowledged.len());
    assert!(later > 20, "{later} updates after the fail-over");
    record.until_revision(*acknowledged.last().unwrap(), PATIENCE).await;
    record.require_whole(&acknowledged);
    let lost = record.told(|told| told.deletions);
    if lost > 0 {
        eprintln!("etcd ended {lost} living leases when the member went on");
    }
    let may_expire_early = probing.guarantees().after_disruption == AfterDisruption::MayExpireEarly;
    assert!(
        lost == 0 || may_expire_early,
        "{lost} registrations were lost, and guarantees() says that none is"
    );
}

async fn kill(cluster: &EtcdCluster, member: usize) {
    cluster.member(member).kill().await.unwrap();
}

async fn start(cluster: &EtcdCluster, member: usize) {
    cluster.member(member).restart().await.unwrap();
}

async fn pause(cluster: &EtcdCluster, member: usize) {
    cluster.member(member).pause().await.unwrap();
}

async fn resume(cluster: &EtcdCluster, member: usize) {
    cluster.member(member).resume().await.unwrap();
}

async fn cut_off(cluster: &EtcdCluster, member: usize) {
    assert!(cluster.isolate(member));
}

async fn heal(cluster: &EtcdCluster, _: usize) {
    assert!(cluster.swallowed() > 0, "the partition did not bite");
    cluster.heal();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_costs_no_registration_and_no_event() {
    survive(timed(), Victim::Leader, kill, start).await;
}

/// As etcd 3.4 does by default.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_costs_no_registration_and_no_event_without_pre_vote() {
    survive(timed().with_pre_vote(false), Victim::Leader, kill, start).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_leader_costs_no_registration_and_no_event() {
    survive(timed(), Victim::Leader, pause, resume).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_cut_off_from_the_others_costs_no_registration_and_no_event() {
    survive(timed(), Victim::Leader, cut_off, heal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_cut_off_from_the_others_costs_its_clients_no_registration_and_no_event() {
    survive(timed(), Victim::Follower, cut_off, heal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn starting_works_with_one_dead_host_of_three_wherever_it_stands() {
    let _alone = ALONE.lock().await;
    let cluster = EtcdCluster::start(3, server()).await.unwrap();
    let nobody = Port::free().unwrap();
    let silent = Proxy::start(cluster.member(0).client_address()).unwrap();
    silent.set(Faults::black_hole()).await;
    let refusing = format!("http://{}", nobody.address());
    let swallowing = format!("http://{}", silent.address());
    for (n, dead) in [refusing, swallowing].into_iter().enumerate() {
        for at in 0..3 {
            let mut endpoints = cluster.endpoints();
            endpoints[at] = dead.clone();
            let begun = Instant::now();
            let client = registry(endpoints);
            let serving = registrar(&client, n * 3 + at, TTL);
            timeout(RECOVERY, serving.registered()).await.expect("registered in time").unwrap();
            let record = Record::start(&client).await;
            record.told(|told| assert_eq!(told.view.as_ref().unwrap().len(), 1, "{dead} at {at}"));
            assert!(begun.elapsed() < RECOVERY, "{dead} at {at}: {:?}", begun.elapsed());
            serving.shutdown().await.unwrap();
        }
    }
}
