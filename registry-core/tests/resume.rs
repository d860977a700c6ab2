//! The resume machine over scripted feeds: what a backend can do, and what the consumer is told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream;
use registry_core::backoff::Backoff;
use registry_core::resume::{self, ResumeOptions};
use registry_core::{
    Batch, Change, Cursor, DeleteCause, Epoch, Error, ErrorKind, Feed, FeedItem, InstanceId, Operation,
    ResetCause, Result, Revision, ServiceName, Snapshot, Watch, WatchEvent, WatchSource,
};
use tokio::time::{Instant, timeout};

/// What opening a feed does.
enum Opening {
    /// Yields these items, then says nothing any more.
    Feed(Vec<Result<FeedItem>>),
    Fails(Error),
    Hangs,
}

type Opened = (Instant, Option<Cursor>);

/// Plays openings in order, and notes the cursors it was opened with.
#[derive(Clone, Default)]
struct Script {
    openings: Arc<Mutex<VecDeque<Opening>>>,
    opened: Arc<Mutex<Vec<Opened>>>,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Script")
    }
}

#[async_trait]
impl WatchSource for Script {
    async fn open(&self, _: &ServiceName, from: Option<Cursor>) -> Result<Feed> {
        self.opened.lock().unwrap().push((Instant::now(), from));
        let opening = self.openings.lock().unwrap().pop_front();
        match opening {
            Some(Opening::Feed(items)) => Ok(stream::iter(items).chain(stream::pending()).boxed()),
            Some(Opening::Fails(error)) => Err(error),
            Some(Opening::Hangs) => std::future::pending().await,
            None => Err(away()),
        }
    }
}

impl Script {
    fn new(openings: impl IntoIterator<Item = Opening>) -> Self {
        Self { openings: Arc::new(Mutex::new(openings.into_iter().collect())), ..Self::default() }
    }

    fn watch(&self, from: Option<Cursor>) -> Watch {
        let options = ResumeOptions::default().with_seed(1);
        resume::watch(Arc::new(self.clone()), service(), from, options)
    }

    fn cursors(&self) -> Vec<Option<Cursor>> {
        self.opened.lock().unwrap().iter().map(|(_, from)| *from).collect()
    }
}

fn service() -> ServiceName {
    ServiceName::new("user.rpc").unwrap()
}

fn away() -> Error {
    Error::new(ErrorKind::Unavailable, Operation::Watch, "away")
}

fn at(revision: u64) -> Cursor {
    in_epoch(1, revision)
}

fn in_epoch(epoch: u64, revision: u64) -> Cursor {
    Cursor::new(Epoch::new(epoch), Revision::new(revision), 0)
}

fn snapshot(cursor: Cursor) -> Result<FeedItem> {
    Ok(FeedItem::Snapshot(Snapshot::new(service(), cursor, [])))
}

fn change(cursor: Cursor) -> Result<FeedItem> {
    let gone = Change::Delete { id: InstanceId::new("a").unwrap(), cause: DeleteCause::Expired };
    Ok(FeedItem::Changes(Batch { cursor, changes: vec![gone] }))
}

fn progress(cursor: Cursor) -> Result<FeedItem> {
    Ok(FeedItem::Progress(cursor))
}

/// The next event in short.
async fn next(watch: &mut Watch) -> String {
    match timeout(Duration::from_secs(100), watch.next()).await.expect("an event").expect("never ends") {
        WatchEvent::Reset { snapshot, cause } => format!("reset {cause} {}", snapshot.revision()),
        WatchEvent::Changes(batch) => format!("changes {}", batch.cursor.revision()),
        WatchEvent::Progress { cursor } => format!("progress {}", cursor.revision()),
        WatchEvent::Stale { error, .. } => format!("stale {}", error.kind()),
        WatchEvent::Live { cursor } => format!("live {}", cursor.revision()),
        event => format!("{event:?}"),
    }
}

async fn expect(watch: &mut Watch, events: &[&str]) {
    for event in events {
        assert_eq!(next(watch).await, *event);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_feed_is_resumed_after_the_last_item_and_the_consumer_told() {
    let script = Script::new([
        Opening::Feed(vec![snapshot(at(1)), progress(at(1)), change(at(2)), Err(away())]),
        Opening::Feed(vec![change(at(3)), progress(at(5))]),
    ]);
    let mut watch = script.watch(None);
    expect(&mut watch, &["reset first 1", "progress 1", "changes 2", "stale registry unavailable"]).await;
    expect(&mut watch, &["changes 3", "live 5"]).await;
    assert_eq!(script.cursors(), [None, Some(at(2))]);
}

#[tokio::test(start_paused = true)]
async fn one_outage_is_told_once_however_many_attempts_it_takes() {
    let script = Script::new([
        Opening::Fails(away()),
        Opening::Fails(away()),
        Opening::Hangs,
        Opening::Feed(vec![snapshot(at(1))]),
    ]);
    let mut watch = script.watch(None);
    expect(&mut watch, &["stale registry unavailable", "reset first 1", "live 1"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_cursor_becomes_a_reset_with_its_cause_and_no_outage() {
    let lost = || Error::cursor_lost(ResetCause::Compacted, "");
    let script = Script::new([
        Opening::Feed(vec![snapshot(at(1)), Err(lost())]),
        Opening::Feed(vec![snapshot(at(9)), progress(at(9))]),
    ]);
    let mut watch = script.watch(None);
    expect(&mut watch, &["reset first 1", "reset compacted 9", "progress 9"]).await;
    assert_eq!(script.cursors(), [None, None]);
}

#[tokio::test(start_paused = true)]
async fn the_cause_is_remembered_across_failures_to_load() {
    let script = Script::new([
        Opening::Feed(vec![snapshot(at(5)), Err(Error::cursor_lost(ResetCause::Wiped, ""))]),
        Opening::Fails(away()),
        Opening::Feed(vec![snapshot(in_epoch(2, 1))]),
    ]);
    let mut watch = script.watch(None);
    expect(&mut watch, &["reset first 5", "stale registry unavailable", "reset wiped 1", "live 1"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_older_list_of_the_same_epoch_is_never_installed() {
    let script = Script::new([
        Opening::Feed(vec![snapshot(at(5)), Err(Error::cursor_lost(ResetCause::Overflow, ""))]),
        Opening::Feed(vec![snapshot(at(4))]),
        Opening::Feed(vec![snapshot(at(6))]),
    ]);
    let mut watch = script.watch(None);
    expect(&mut watch, &["reset first 5", "stale corrupt data", "reset overflow 6", "live 6"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_contradicts_itself_is_dropped_and_opened_anew() {
    for lie in
        [change(at(2)), change(at(1)), change(in_epoch(2, 3)), progress(at(1)), progress(in_epoch(2, 9))]
    {
        let script = Script::new([
            Opening::Feed(vec![snapshot(at(1)), change(at(2)), lie]),
            Opening::Feed(vec![progress(at(2))]),
        ]);
        let mut watch = script.watch(None);
        expect(&mut watch, &["reset first 1", "changes 2", "stale corrupt data", "live 2"]).await;
        assert_eq!(script.cursors(), [None, Some(at(2))]);
    }
}

#[tokio::test(start_paused = true)]
async fn changes_before_the_first_snapshot_are_not_believed() {
    let script = Script::new([Opening::Feed(vec![change(at(2))]), Opening::Feed(vec![snapshot(at(2))])]);
    expect(&mut script.watch(None), &["stale corrupt data", "reset first 2", "live 2"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_feed_counts_as_lost_after_ten_seconds() {
    let script = Script::new([
        Opening::Feed(vec![snapshot(at(1)), progress(at(1))]),
        Opening::Feed(vec![progress(at(1))]),
    ]);
    let mut watch = script.watch(None);
    expect(&mut watch, &["reset first 1", "progress 1"]).await;
    let before = Instant::now();
    expect(&mut watch, &["stale timed out"]).await;
    assert_eq!(before.elapsed().as_secs(), 10);
    expect(&mut watch, &["live 1"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_opening_is_told_after_three_seconds_and_given_up_after_ten() {
    let script = Script::new([Opening::Hangs, Opening::Feed(vec![snapshot(at(1))])]);
    let mut watch = script.watch(None);
    let before = Instant::now();
    expect(&mut watch, &["stale timed out"]).await;
    assert_eq!(before.elapsed().as_secs(), 3);
    expect(&mut watch, &["reset first 1", "live 1"]).await;
    assert_eq!(before.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn from_a_cursor_it_is_live_once_it_has_caught_up() {
    let script = Script::new([Opening::Feed(vec![change(at(8)), progress(at(8)), progress(at(8))])]);
    expect(&mut script.watch(Some(at(7))), &["changes 8", "live 8", "progress 8"]).await;
    assert_eq!(script.cursors(), [Some(at(7))]);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_from_a_store_that_is_gone_becomes_a_reset() {
    let script = Script::new([
        Opening::Fails(Error::cursor_lost(ResetCause::Wiped, "")),
        Opening::Feed(vec![snapshot(in_epoch(2, 1))]),
    ]);
    expect(&mut script.watch(Some(at(700))), &["reset wiped 1"]).await;
}

#[tokio::test(start_paused = true)]
async fn attempts_back_off_and_slower_where_only_credentials_help() {
    let denied = || Error::new(ErrorKind::PermissionDenied, Operation::Watch, "no");
    for (error, least) in [(away as fn() -> Error, 4), (denied, 25)] {
        let script = Script::new((0..10).map(|_| Opening::Fails(error())));
        let mut watch = script.watch(None);
        let _ = next(&mut watch).await;
        let _ = timeout(Duration::from_secs(60), watch.next()).await;
        let opened = script.opened.lock().unwrap();
        let tenth = opened[9].0 - opened[0].0;
        assert!(tenth.as_secs() >= least && tenth.as_secs() <= 45, "ten attempts within {tenth:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn snapshots_that_are_lost_as_fast_as_they_are_loaded_are_not_loaded_in_a_hot_loop() {
    let lost = || Error::cursor_lost(ResetCause::Compacted, "");
    let script = Script::new((1..200).map(|n| Opening::Feed(vec![snapshot(at(n)), Err(lost())])));
    let mut watch = script.watch(None);
    let _ = timeout(Duration::from_secs(30), async {
        loop {
            let _ = watch.next().await;
        }
    })
    .await;
    let loads = script.opened.lock().unwrap().len();
    assert!((20..60).contains(&loads), "{loads} loads in 30 s");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_of_next_loses_nothing() {
    let script = Script::new([
        Opening::Feed(vec![snapshot(at(1)), change(at(2)), Err(away())]),
        Opening::Feed(vec![change(at(3)), progress(at(3))]),
    ]);
    let options =
        ResumeOptions::default().with_backoff(Backoff::new(Duration::from_secs(1), Duration::from_secs(1)));
    let mut watch = resume::watch(Arc::new(script.clone()), service(), None, options);
    let mut seen = Vec::new();
    while seen.len() < 5 {
        // Polled once, then dropped, over and over.
        if let Ok(Some(event)) = timeout(Duration::from_millis(10), watch.next()).await {
            seen.push(event.cursor().map_or(0, |cursor| cursor.revision().get()));
        }
    }
    assert_eq!(seen, [1, 2, 0, 3, 3]);
    assert_eq!(script.cursors(), [None, Some(at(2))]);
}

#[tokio::test(start_paused = true)]
async fn a_position_lost_during_an_outage_is_made_good_at_once_when_it_ends() {
    let script = Script::new([
        Opening::Feed(vec![snapshot(at(1)), progress(at(1)), Err(away())]),
        Opening::Fails(away()),
        Opening::Fails(away()),
        Opening::Fails(away()),
        Opening::Fails(away()),
        Opening::Fails(away()),
        Opening::Fails(Error::cursor_lost(ResetCause::Wiped, "")),
        Opening::Feed(vec![snapshot(in_epoch(2, 1))]),
    ]);
    let mut watch = script.watch(None);
    expect(
        &mut watch,
        &["reset first 1", "progress 1", "stale registry unavailable", "reset wiped 1", "live 1"],
    )
    .await;
    let opened = script.opened.lock().unwrap();
    assert_eq!(opened[7].0, opened[6].0);
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_is_slow_is_given_up_in_time_whatever_the_patience() {
    let script = Script::new([Opening::Hangs, Opening::Feed(vec![snapshot(at(1))])]);
    let options =
        ResumeOptions::default().with_patience(Duration::MAX).with_open_deadline(Duration::from_secs(5));
    let mut watch = resume::watch(Arc::new(script), service(), None, options);
    let before = Instant::now();
    expect(&mut watch, &["stale timed out"]).await;
    assert_eq!(before.elapsed().as_secs(), 5);
    expect(&mut watch, &["reset first 1", "live 1"]).await;
}
