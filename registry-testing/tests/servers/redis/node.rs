//! One Redis.

use registry_testing::servers::proxy::Faults;
use registry_testing::servers::redis::{Persistence, Redis, RedisOptions, Reply};
use registry_testing::servers::{ServerError, until};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::{SOON, wait_all_gone};

async fn start(persistence: Persistence) -> Redis {
    Redis::start(RedisOptions::default().with_persistence(persistence)).await.unwrap()
}

async fn get(redis: &Redis) -> String {
    redis.command(&["GET", "key"]).await.unwrap().text()
}

#[tokio::test]
async fn a_server_that_has_started_answers_and_leaves_nothing() {
    let begun = Instant::now();
    let redis = start(Persistence::None).await;
    println!("one redis: {:?}", begun.elapsed());
    assert_eq!(redis.command(&["PING"]).await.unwrap().text(), "PONG");
    assert_eq!(redis.command(&["GET", "key"]).await.unwrap(), Reply::Nil);
    assert_eq!(redis.command(&["RPUSH", "list", "a", "b"]).await.unwrap(), Reply::Number(2));
    let list = redis.command(&["LRANGE", "list", "0", "-1"]).await.unwrap();
    assert_eq!(list, Reply::List(vec![Reply::Text(b"a".to_vec()), Reply::Text(b"b".to_vec())]));
    let error = redis.command(&["GET", "list"]).await.unwrap_err();
    assert!(error.to_string().contains("WRONGTYPE"), "{error}");
    redis.command(&["SET", "key", "a\r\nb"]).await.unwrap();
    assert_eq!(get(&redis).await, "a\r\nb");
    redis.flush_all().await.unwrap();
    assert_eq!(redis.command(&["DBSIZE"]).await.unwrap(), Reply::Number(0));
    let folder = redis.process().folder().path().to_owned();
    drop(redis);
    wait_all_gone(&folder).await;
}

#[tokio::test]
async fn what_survives_a_kill_is_what_the_persistence_says() {
    for (persistence, saved, kept) in [
        (Persistence::None, false, ""),
        (Persistence::Snapshots, true, "old"),
        (Persistence::EveryWrite, false, "new"),
        (Persistence::EverySecond, false, "new"),
    ] {
        let redis = start(persistence).await;
        redis.command(&["SET", "key", "old"]).await.unwrap();
        if saved {
            redis.command(&["SAVE"]).await.unwrap();
        }
        redis.command(&["SET", "key", "new"]).await.unwrap();
        if persistence == Persistence::EverySecond {
            // It holds a write back while a sync runs.
            let written = || async {
                let info = redis.command(&["INFO", "persistence"]).await.unwrap().text();
                info.lines().any(|line| line == "aof_buffer_length:0").then_some(())
            };
            until("it is written", SOON, written).await.unwrap();
        }
        redis.kill().await.unwrap();
        assert!(TcpStream::connect(redis.address()).await.is_err());
        redis.restart().await.unwrap();
        assert_eq!(get(&redis).await, kept, "{persistence:?}");
        redis.wipe().await.unwrap();
        assert_eq!(get(&redis).await, "", "{persistence:?}");
    }
}

#[tokio::test]
async fn a_stopped_server_comes_back_with_its_append_only_file_and_with_no_dump() {
    for (persistence, kept) in
        [(Persistence::EverySecond, "v"), (Persistence::EveryWrite, "v"), (Persistence::Snapshots, "")]
    {
        let redis = start(persistence).await;
        redis.command(&["SET", "key", "v"]).await.unwrap();
        redis.stop().await.unwrap();
        assert!(!redis.process().is_running());
        assert!(redis.process().log_tail().contains("bye bye"), "a SIGKILL leaves no last words");
        redis.restart().await.unwrap();
        assert_eq!(get(&redis).await, kept, "{persistence:?}");
    }
}

#[tokio::test]
async fn a_paused_server_accepts_and_does_not_answer() {
    let redis = start(Persistence::None).await;
    redis.pause().await.unwrap();
    TcpStream::connect(redis.address()).await.unwrap();
    assert!(matches!(redis.command(&["PING"]).await, Err(ServerError::Timeout { .. })));
    redis.resume().await.unwrap();
    assert_eq!(redis.command(&["PING"]).await.unwrap().text(), "PONG");
}

#[tokio::test]
async fn clients_are_given_the_proxy_and_control_goes_past_it() {
    let redis = Redis::start(RedisOptions::default().with_client_proxy()).await.unwrap();
    TcpStream::connect(redis.address()).await.unwrap();
    redis.client_proxy().unwrap().set(Faults::refusing()).await;
    assert!(TcpStream::connect(redis.address()).await.is_err());
    assert_eq!(redis.command(&["PING"]).await.unwrap().text(), "PONG");
}
