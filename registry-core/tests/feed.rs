//! The bounded queue under a feed: order, waiting, overflow, endings.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::time::Duration;

use futures_util::StreamExt;
use registry_core::resume::{FeedClosed, OVERFLOW_AFTER, feed};
use registry_core::{
    Batch, Change, Cursor, DeleteCause, Epoch, Error, ErrorKind, Feed, FeedItem, InstanceId, Operation,
    ResetCause, Revision,
};
use tokio::time::{Instant, sleep};

fn cursor(revision: u64) -> Cursor {
    Cursor::new(Epoch::new(1), Revision::new(revision), 0)
}

fn change(revision: u64) -> FeedItem {
    let id = InstanceId::new("a").unwrap();
    let changes = vec![Change::Delete { id, cause: DeleteCause::Unknown }];
    FeedItem::Changes(Batch { cursor: cursor(revision), changes })
}

async fn revision(feed: &mut Feed) -> u64 {
    match feed.next().await.expect("an item").expect("no error") {
        FeedItem::Changes(batch) => batch.cursor.revision().get(),
        FeedItem::Progress(cursor) => cursor.revision().get(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn items_come_in_order_and_then_the_error_once() {
    let (sender, mut feed) = feed(10);
    for n in 1..=3 {
        sender.send(change(n)).await.unwrap();
    }
    sender.fail(Error::new(ErrorKind::Timeout, Operation::Watch, "gone"));
    for n in 1..=3 {
        assert_eq!(revision(&mut feed).await, n);
    }
    assert_eq!(feed.next().await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    assert!(feed.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_reads_gets_everything_however_small_the_queue() {
    let (sender, mut feed) = feed(4);
    let writing = tokio::spawn(async move {
        for n in 1..=1_000 {
            sender.send(change(n)).await.unwrap();
        }
        sender
    });
    for n in 1..=1_000 {
        assert_eq!(revision(&mut feed).await, n);
        if n % 100 == 0 {
            sleep(OVERFLOW_AFTER / 2).await;
        }
    }
    writing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_not_read_in_time_becomes_one_overflow() {
    let (sender, mut feed) = feed(8);
    for n in 1..=8 {
        sender.send(change(n)).await.unwrap();
    }
    let started = Instant::now();
    assert_eq!(sender.send(change(9)).await, Err(FeedClosed));
    assert_eq!(started.elapsed(), OVERFLOW_AFTER);
    assert_eq!(sender.send(change(10)).await, Err(FeedClosed));
    drop(sender);
    let error = feed.next().await.unwrap().unwrap_err();
    assert_eq!(error.reset_cause(), Some(ResetCause::Overflow), "{error}");
    assert!(feed.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_less_than_half_in_time_is_too_slow() {
    let (sender, mut feed) = feed(8);
    for n in 1..=8 {
        sender.send(change(n)).await.unwrap();
    }
    let reading = async {
        for n in 1..=3 {
            assert_eq!(revision(&mut feed).await, n);
        }
        feed
    };
    let (sent, mut feed) = tokio::join!(sender.send(change(9)), reading);
    assert_eq!(sent, Err(FeedClosed));
    assert_eq!(feed.next().await.unwrap().unwrap_err().reset_cause(), Some(ResetCause::Overflow));
}

#[tokio::test(start_paused = true)]
async fn progress_that_nobody_reads_takes_no_room() {
    let (sender, mut feed) = feed(2);
    sender.send(change(1)).await.unwrap();
    for n in 1..=100 {
        sender.send(FeedItem::Progress(cursor(n))).await.unwrap();
    }
    assert_eq!(revision(&mut feed).await, 1);
    assert_eq!(revision(&mut feed).await, 100);
}

#[tokio::test(start_paused = true)]
async fn the_sender_learns_that_the_consumer_has_gone() {
    let (sender, feed) = feed(2);
    let closing = tokio::spawn(async move {
        sender.closed().await;
        sender.send(change(1)).await
    });
    sleep(Duration::from_millis(1)).await;
    assert!(!closing.is_finished());
    drop(feed);
    assert_eq!(closing.await.unwrap(), Err(FeedClosed));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_without_a_word_is_an_outage() {
    let (sender, mut feed) = feed(2);
    sender.send(change(1)).await.unwrap();
    drop(sender);
    assert_eq!(revision(&mut feed).await, 1);
    assert_eq!(feed.next().await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
}
