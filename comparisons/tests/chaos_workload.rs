//! The workload of the chaos suite, played without faults: what was asked and told is written down, and everything fits together.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use comparisons::chaos::backend::Backend;
use comparisons::chaos::client::{Variant, apply};
use comparisons::chaos::fault::Fault;
use comparisons::chaos::history::{At, Final, Item, Line, Listed, Operation, Outcome, Step, Told, Verb};
use comparisons::chaos::lines;
use comparisons::chaos::playing::{Playing, RunInfo};
use comparisons::chaos::recorder::Clock;
use comparisons::chaos::stand::Place;
use comparisons::chaos::worker::{Address, COMMAND, Share};
use comparisons::chaos::workload::{Habit, Mass, Part, Shape, Workload};
use registry_core::Durability;
use registry_memory::MemoryRegistry;
use registry_testing::servers::etcd::{Etcd, EtcdOptions};
use registry_testing::servers::redis::{
    ClusterOptions, Redis, RedisCluster, RedisOptions, RedisSentinel, SentinelOptions,
};
use registry_testing::servers::until;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

const LENGTH: u64 = 5_000;
const PATIENCE: Duration = Duration::from_secs(20);

fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_comparisons").into()
}

fn workload(seed: u64) -> Workload {
    Workload::draw(seed, &Shape { length_ms: LENGTH, ..Shape::default() })
}

fn info(backend: Backend) -> RunInfo {
    RunInfo {
        backend,
        faults: vec![Fault::None],
        needs: Durability::None,
        variant: Variant::Hash,
        program: program(),
    }
}

/// Plays to the end, and waits until all that is not renewed any more has ended.
async fn played(workload: &Workload, place: Place, backend: Backend) -> Vec<Line> {
    let mut playing = Playing::start(workload, |_| place.clone(), info(backend)).await.unwrap();
    playing.until(LENGTH).await;
    playing.stop_changes().await;
    let run = playing.run();
    let ended = LENGTH + run.ttl_ms + run.expiry_bound_ms + 1_000;
    playing.until(ended).await;
    playing.finish().await
}

fn operations(history: &[Line]) -> impl Iterator<Item = &Operation> {
    history
        .iter()
        .filter_map(|line| if let Line::Operation(operation) = line { Some(operation) } else { None })
}

fn told<'a>(history: &'a [Line], watcher: &'a str) -> impl Iterator<Item = &'a Told> {
    history.iter().filter_map(move |line| match line {
        Line::Told(told) if told.watcher == watcher => Some(told),
        _ => None,
    })
}

fn finals(history: &[Line]) -> Vec<&Final> {
    history.iter().filter_map(|line| if let Line::Final(last) = line { Some(last) } else { None }).collect()
}

fn watchers(workload: &Workload, wanted: impl Fn(&Habit) -> bool) -> Vec<String> {
    let of =
        workload.actors.iter().filter(|actor| matches!(&actor.part, Part::Watcher(habit) if wanted(habit)));
    of.map(|actor| actor.name()).collect()
}

/// The history is written, and the same when it is read back.
fn survives_being_written(history: &[Line]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.jsonl");
    lines::write(&file, history).unwrap();
    let back = lines::read(&file).unwrap();
    assert_eq!(back.torn, None);
    assert!(back.lines == history, "it differs");
}

fn has_every_kind_of_line(history: &[Line], ours: bool) {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for line in history {
        let kind = match line {
            Line::Operation(operation) => format!("{:?}", operation.verb),
            Line::Owner(owner) => format!("{:?}", owner.step),
            line => serde_json::to_value(line).unwrap()["line"].as_str().unwrap().to_owned(),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    let mut wanted = vec!["run", "told", "final", "note"];
    wanted.extend(["Register", "Keepalive", "Update", "Deregister", "Lookup"]);
    wanted.extend(["Starts", "Registered", "Leaves", "Left", "Crashes"]);
    if ours {
        wanted.extend(["truth", "viewed", "Fenced"]);
    }
    for kind in wanted {
        assert!(kinds.contains_key(kind), "no {kind}: {kinds:?}");
    }
    assert!(matches!(history[0], Line::Run(_)), "{:?}", history[0]);
    let troubles = history.iter().filter(|line| match line {
        Line::Note(note) => note.what != "resident_kb",
        _ => false,
    });
    assert_eq!(troubles.collect::<Vec<_>>(), Vec::<&Line>::new());
    let late = history
        .windows(2)
        .any(|pair| lines::at(&pair[0]) > lines::at(&pair[1]) && lines::at(&pair[1]).is_some());
    assert!(!late, "lines are not by time");
}

/// Whatever was acknowledged to somebody who asked after a watcher had its first list, that watcher was told.
fn tells_what_was_acknowledged(history: &[Line], workload: &Workload) {
    let mut checked = 0;
    for watcher in watchers(workload, |habit| *habit == Habit::Through) {
        let mut values = BTreeSet::new();
        let mut first = None;
        for told in told(history, &watcher) {
            match &told.item {
                Item::Reset { gap, listed, .. } => {
                    assert_eq!(*gap, None, "{watcher}");
                    first = first.or(Some(told.at));
                    values.extend(listed.iter().map(|one| one.value));
                }
                Item::Changes { changes, .. } => {
                    values.extend(changes.iter().filter_map(|change| match change {
                        comparisons::chaos::history::Change::Put(one) => Some(one.value),
                        comparisons::chaos::history::Change::Delete { .. } => None,
                    }))
                }
                _ => {}
            }
        }
        let first = first.expect("a first list");
        for operation in operations(history) {
            let writes = matches!(operation.verb, Verb::Register | Verb::Update);
            if writes && matches!(operation.outcome, Outcome::Ok { .. }) && operation.invoked > first {
                checked += 1;
                assert!(
                    values.contains(&operation.value.unwrap()),
                    "{watcher} was not told of {operation:?}"
                );
            }
        }
    }
    assert!(checked > 100, "only {checked}");
}

/// What every watcher takes for the truth, and what the truth says, is what is listed in the end.
fn converges(history: &[Line], workload: &Workload) {
    let finals = finals(history);
    assert_eq!(finals.len(), 2);
    assert_eq!(finals[0].listed, finals[1].listed);
    let last = &finals[1].listed;
    assert!(last.len() >= 5, "{last:?}");
    for watcher in watchers(workload, |_| true) {
        let mut listed = BTreeMap::new();
        told(history, &watcher).for_each(|told| apply(&mut listed, &told.item));
        assert_eq!(listed.values().collect::<Vec<_>>(), last.iter().collect::<Vec<_>>(), "{watcher}");
    }
}

fn truth_is_what_is_listed_in_the_end(history: &[Line]) {
    let mut of = None;
    let mut listed: BTreeMap<String, Listed> = BTreeMap::new();
    let mut last = 0;
    for line in history {
        let Line::Truth(truth) = line else { continue };
        if of != Some((truth.position.epoch, truth.branch)) {
            listed.clear();
            last = 0;
        }
        of = Some((truth.position.epoch, truth.branch));
        assert!(truth.position.revision >= last, "{truth:?} after {last}");
        last = truth.position.revision;
        let changes = vec![truth.change.clone()];
        apply(&mut listed, &Item::Changes { position: None, changes });
    }
    let finals = finals(history);
    assert_eq!(listed.into_values().collect::<Vec<_>>(), finals[1].listed);
    assert_eq!(of.map(|(epoch, _)| epoch), finals[1].position.map(|position| position.epoch));
}

/// Values are unique, and old incarnations of writers were refused.
fn writes_are_told_apart_and_fenced(history: &[Line], workload: &Workload) {
    let mut values = BTreeSet::new();
    for value in operations(history).filter_map(|operation| operation.value) {
        assert!(values.insert(value), "{value} was written twice");
    }
    let of_writers = workload.actors.iter().filter_map(|actor| match &actor.part {
        Part::Writer(writer) => Some([actor.name(), format!("{}.{}", actor.process, writer.second)]),
        _ => None,
    });
    let writers: BTreeSet<String> = of_writers.flatten().collect();
    let refused = operations(history).filter(|operation| {
        operation.verb == Verb::Keepalive
            && writers.contains(&operation.client)
            && matches!(&operation.outcome, Outcome::Failed { kind } if kind == "lease_lost")
    });
    assert!(refused.count() > 0, "no old incarnation was refused");
}

fn is_whole(history: &[Line], workload: &Workload) {
    has_every_kind_of_line(history, true);
    survives_being_written(history);
    tells_what_was_acknowledged(history, workload);
    converges(history, workload);
    truth_is_what_is_listed_in_the_end(history);
    writes_are_told_apart_and_fenced(history, workload);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_play_over_memory_is_written_down_whole() {
    let workload = workload(1);
    let place = Place::Memory(MemoryRegistry::new());
    is_whole(&played(&workload, place, Backend::Memory).await, &workload);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_play_over_etcd_is_written_down_whole() {
    let etcd = Etcd::start(EtcdOptions::default()).await.unwrap();
    let workload = workload(2);
    let place = Place::Url(format!("etcd://{}", etcd.client_address()));
    is_whole(&played(&workload, place, Backend::Etcd).await, &workload);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_play_over_redis_is_written_down_whole() {
    let redis = Redis::start(RedisOptions::default()).await.unwrap();
    let workload = workload(3);
    is_whole(&played(&workload, Place::Url(redis.url()), Backend::Redis).await, &workload);
}

/// The truth is read from each server itself, and not by a watch.
#[tokio::test(flavor = "multi_thread")]
async fn a_play_under_sentinels_is_written_down_whole() {
    let group = RedisSentinel::start(SentinelOptions::default()).await.unwrap();
    let sentinels: Vec<String> = group.sentinel_addresses().iter().map(ToString::to_string).collect();
    let url = format!("redis+sentinel://{}/{}", sentinels.join(","), group.service_name());
    let workload = workload(5);
    let place = Place::Group { url, servers: group.direct_addresses() };
    is_whole(&played(&workload, place, Backend::RedisSentinel).await, &workload);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_play_over_a_cluster_of_redis_is_written_down_whole() {
    let cluster = RedisCluster::start(ClusterOptions::default()).await.unwrap();
    let seeds: Vec<String> = cluster.seeds().iter().map(ToString::to_string).collect();
    let url = format!("redis+cluster://{}", seeds.join(","));
    let workload = workload(6);
    let place = Place::Group { url, servers: cluster.direct_addresses() };
    is_whole(&played(&workload, place, Backend::RedisCluster).await, &workload);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_play_over_a_naive_registry_has_no_revisions_and_fences_nobody() {
    let redis = Redis::start(RedisOptions::default()).await.unwrap();
    let workload = workload(4);
    let history = played(&workload, Place::NaiveUrl(redis.url()), Backend::RedisNaive).await;
    has_every_kind_of_line(&history, false);
    survives_being_written(&history);
    tells_what_was_acknowledged(&history, &workload);
    let revision = |operation: &&Operation| {
        matches!(operation.outcome, Outcome::Ok { revision: Some(_), .. } | Outcome::Failed { .. })
    };
    assert_eq!(operations(&history).find(revision), None);
    assert!(!history.iter().any(|line| matches!(line, Line::Truth(_) | Line::Viewed(_))));
}

/// What a play has to show whose store was lost in the middle: the truth of both histories, and everybody there again.
fn is_whole_after_a_loss(history: &[Line], workload: &Workload) {
    let epochs = history.iter().filter_map(|line| match line {
        Line::Truth(truth) => Some(truth.position.epoch),
        _ => None,
    });
    let epochs: BTreeSet<u64> = epochs.collect();
    assert!(epochs.len() >= 2, "{epochs:?}");
    let gaps =
        history.iter().filter(|line| matches!(line, Line::Note(note) if note.what.starts_with("truth")));
    assert_eq!(gaps.collect::<Vec<_>>(), Vec::<&Line>::new());
    converges(history, workload);
    truth_is_what_is_listed_in_the_end(history);
    survives_being_written(history);
    let unsure = operations(history).any(|operation| matches!(operation.outcome, Outcome::Unknown { .. }));
    assert!(unsure, "nothing was asked while it was away");
    let lasting: BTreeSet<&str> = workload
        .actors
        .iter()
        .filter_map(|actor| match &actor.part {
            Part::Owner(owner) if owner.ends.is_none() => Some(owner.id.as_str()),
            _ => None,
        })
        .collect();
    let listed: BTreeSet<&str> = finals(history)[1].listed.iter().map(|one| one.id.as_str()).collect();
    assert!(lasting.is_subset(&listed), "{lasting:?} in {listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_witness_follows_an_etcd_through_a_restart_and_the_loss_of_its_data() {
    let etcd = Etcd::start(EtcdOptions::default()).await.unwrap();
    let workload = workload(9);
    let place = Place::Url(format!("etcd://{}", etcd.client_address()));
    let mut playing = Playing::start(&workload, |_| place.clone(), info(Backend::Etcd)).await.unwrap();
    playing.until(1_500).await;
    etcd.kill().await.unwrap();
    playing.until(1_800).await;
    etcd.restart().await.unwrap();
    playing.until(3_000).await;
    etcd.wipe().await.unwrap();
    playing.until(LENGTH).await;
    playing.stop_changes().await;
    let run = playing.run();
    let converged = LENGTH + run.convergence_ms + run.ttl_ms + run.expiry_bound_ms;
    playing.until(converged).await;
    is_whole_after_a_loss(&playing.finish().await, &workload);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_witness_follows_a_redis_through_a_flush_and_a_restart_that_loses_everything() {
    let redis = Redis::start(RedisOptions::default()).await.unwrap();
    let workload = workload(10);
    let place = Place::Url(redis.url());
    let mut playing = Playing::start(&workload, |_| place.clone(), info(Backend::Redis)).await.unwrap();
    playing.until(1_500).await;
    redis.flush_all().await.unwrap();
    playing.until(3_000).await;
    redis.kill().await.unwrap();
    playing.until(3_300).await;
    redis.restart().await.unwrap();
    playing.until(LENGTH).await;
    playing.stop_changes().await;
    let run = playing.run();
    let converged = LENGTH + run.convergence_ms + run.ttl_ms + run.expiry_bound_ms;
    playing.until(converged).await;
    is_whole_after_a_loss(&playing.finish().await, &workload);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_witness_tells_a_backup_that_was_put_back_from_what_it_took_the_place_of() {
    let redis = Redis::start(RedisOptions::default()).await.unwrap();
    let workload = workload(11);
    let place = Place::Url(redis.url());
    let mut playing = Playing::start(&workload, |_| place.clone(), info(Backend::Redis)).await.unwrap();
    playing.until(1_500).await;
    let backup = redis.save().await.unwrap();
    playing.until(3_000).await;
    redis.restore(&backup).await.unwrap();
    playing.until(LENGTH).await;
    playing.stop_changes().await;
    let run = playing.run();
    playing.until(LENGTH + run.convergence_ms + run.ttl_ms + run.expiry_bound_ms).await;
    let history = playing.finish().await;
    let mut histories: BTreeMap<(u64, u32), Vec<u64>> = BTreeMap::new();
    let mut changes: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for line in &history {
        let Line::Truth(truth) = line else { continue };
        let revision = truth.position.revision;
        histories.entry((truth.position.epoch, truth.branch)).or_default().push(revision);
        changes.entry(revision).or_default().insert(format!("{:?}", truth.change));
    }
    assert!(histories.len() >= 2, "{:?}", histories.keys());
    for (of, revisions) in &histories {
        assert_eq!(*revisions, (1..=revisions.len() as u64).collect::<Vec<_>>(), "{of:?} is not whole");
    }
    let twice = changes.values().filter(|changes| changes.len() > 1).count();
    assert!(changes[&1].len() == 1 && twice > 10, "{twice} revisions were used again");
    converges(&history, &workload);
    truth_is_what_is_listed_in_the_end(&history);
    survives_being_written(&history);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mass_joins_and_dies_together() {
    let mass = Mass { size: 100, joins_ms: 0, dies_ms: Some(2_500), rejoins_ms: None };
    let shape = Shape { length_ms: LENGTH, mass: Some(mass), owners: 1, writers: 0, ..Shape::default() };
    let workload = Workload::draw(5, &shape);
    let history = played(&workload, Place::Memory(MemoryRegistry::new()), Backend::Memory).await;
    let crashed = history.iter().filter_map(|line| match line {
        Line::Owner(owner) if owner.step == Step::Crashes && owner.id.starts_with("mass-") => Some(owner.at),
        _ => None,
    });
    let crashed: Vec<At> = crashed.collect();
    assert_eq!(crashed.len(), 100);
    let most = operations(&history).filter_map(|operation| match &operation.outcome {
        Outcome::Ok { listed: Some(listed), .. } => Some(listed.len()),
        _ => None,
    });
    assert_eq!(most.max(), Some(101));
    assert_eq!(finals(&history)[1].listed.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_process_says_nothing_and_goes_on_when_it_is_resumed() {
    let redis = Redis::start(RedisOptions::default()).await.unwrap();
    let place = Place::Url(redis.url());
    let playing = Playing::start(&workload(6), |_| place.clone(), info(Backend::Redis)).await.unwrap();
    assert_eq!(playing.processes(), 3);
    playing.until(1_000).await;
    playing.pause_process(1).await.unwrap();
    let paused = playing.recorder().now();
    playing.until(2_500).await;
    let resumed = playing.recorder().now();
    playing.resume(1).await.unwrap();
    playing.until(4_000).await;
    let history = playing.finish().await;
    let says = |process: &str, from: At, to: At| {
        let of = operations(&history).filter(|operation| operation.client.starts_with(process));
        of.filter(|operation| operation.returned > from && operation.returned < to).count()
    };
    assert!(says("1.", At(0), paused) > 0);
    assert_eq!(says("1.", paused, resumed), 0);
    assert!(says("0.", paused, resumed) > 0);
    assert!(says("1.", resumed, At(u64::MAX)) > 0);
}

#[tokio::test]
async fn a_store_in_memory_has_no_process_that_could_be_paused() {
    let place = Place::Memory(MemoryRegistry::new());
    let playing = Playing::start(&workload(7), |_| place.clone(), info(Backend::Memory)).await.unwrap();
    assert_eq!(playing.processes(), 0);
    let refused = playing.pause_process(0).await.unwrap_err();
    assert!(matches!(refused, comparisons::experiment::Trouble::NotRun(_)), "{refused}");
}

/// What a worker is told whose registry nobody serves.
fn share() -> String {
    let nowhere = Address::Url("redis://127.0.0.1:1".to_owned());
    let workload = workload(8);
    let share = Share {
        clock: Clock::start(),
        starts: At(0),
        service: workload.service.clone(),
        ttl_ms: workload.ttl_ms,
        reader: nowhere.clone(),
        writer: nowhere,
        variant: Variant::Hash,
        actors: workload.actors,
    };
    serde_json::to_string(&share).unwrap() + "\n"
}

#[tokio::test]
async fn a_worker_ends_when_its_standard_input_ends_and_has_written_whole_lines() {
    let mut worker = Command::new(program())
        .arg(COMMAND)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut told = worker.stdin.take().unwrap();
    let mut said = BufReader::new(worker.stdout.take().unwrap()).lines();
    told.write_all(share().as_bytes()).await.unwrap();
    let first = tokio::time::timeout(PATIENCE, said.next_line()).await.unwrap().unwrap().unwrap();
    serde_json::from_str::<Line>(&first).unwrap();
    drop(told);
    let rest = async {
        while let Some(line) = said.next_line().await.unwrap() {
            serde_json::from_str::<Line>(&line).unwrap();
        }
        worker.wait().await.unwrap()
    };
    assert!(tokio::time::timeout(PATIENCE, rest).await.unwrap().success());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_worker_that_is_stopped_dies_with_whoever_started_it() {
    let script = r#"exec 3<&0; "$0" "$1" <&3 >/dev/null & echo $!; wait"#;
    let mut parent = Command::new("sh")
        .args(["-c", script])
        .arg(program())
        .arg(COMMAND)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut told = parent.stdin.take().unwrap();
    let mut said = BufReader::new(parent.stdout.take().unwrap()).lines();
    let id: i32 = said.next_line().await.unwrap().unwrap().parse().unwrap();
    told.write_all(share().as_bytes()).await.unwrap();
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().and_then(|rest| rest.chars().next())
    };
    let threads = || std::fs::read_dir(format!("/proc/{id}/task")).map_or(0, Iterator::count);
    until("the worker plays", PATIENCE, || async { (threads() > 3).then_some(()) }).await.unwrap();
    kill_process(Pid::from_raw(id).unwrap(), Signal::STOP).unwrap();
    until("it is stopped", PATIENCE, || async { (state() == Some('T')).then_some(()) }).await.unwrap();
    parent.kill().await.unwrap();
    // Nobody may have waited for it.
    let dead = || async { matches!(state(), None | Some('Z' | 'X')).then_some(()) };
    until("it is dead", PATIENCE, dead).await.unwrap();
    drop(told);
}
