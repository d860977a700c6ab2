//! The data of one Redis: saved, restored, full.

use registry_testing::servers::redis::{Persistence, Redis, RedisOptions, Reply};

async fn start(persistence: Persistence) -> Redis {
    Redis::start(RedisOptions::default().with_persistence(persistence)).await.unwrap()
}

async fn set(redis: &Redis, value: &str) {
    redis.command(&["SET", "key", value]).await.unwrap();
}

async fn get(redis: &Redis) -> String {
    redis.command(&["GET", "key"]).await.unwrap().text()
}

#[tokio::test]
async fn a_restore_goes_back_to_the_snapshot_whatever_the_persistence() {
    for persistence in
        [Persistence::None, Persistence::Snapshots, Persistence::EveryWrite, Persistence::EverySecond]
    {
        let redis = start(persistence).await;
        set(&redis, "old").await;
        let snapshot = redis.save().await.unwrap();
        assert_eq!(get(&redis).await, "old", "it goes on");
        set(&redis, "new").await;
        redis.command(&["SET", "other", "new"]).await.unwrap();
        let address = redis.address();
        for _ in 0..2 {
            redis.restore(&snapshot).await.unwrap();
            assert_eq!(redis.address(), address);
            assert_eq!(get(&redis).await, "old", "{persistence:?}");
            assert_eq!(redis.command(&["DBSIZE"]).await.unwrap(), Reply::Number(1), "{persistence:?}");
            set(&redis, "newer").await;
        }
        let folder = snapshot.path();
        drop(snapshot);
        assert!(!folder.exists());
    }
}

#[tokio::test]
async fn a_snapshot_of_an_append_only_file_is_good_in_the_midst_of_writes_and_of_a_rewrite() {
    let redis = start(Persistence::EverySecond).await;
    for n in 0..200 {
        redis.command(&["SET", &format!("key{n}"), &"x".repeat(10_000)]).await.unwrap();
    }
    redis.command(&["BGREWRITEAOF"]).await.unwrap();
    let snapshot = redis.save().await.unwrap();
    redis.flush_all().await.unwrap();
    redis.restore(&snapshot).await.unwrap();
    assert_eq!(redis.command(&["DBSIZE"]).await.unwrap(), Reply::Number(200));
}

#[tokio::test]
async fn a_full_server_refuses_what_could_need_memory_and_nothing_else_until_room_is_made() {
    let redis = start(Persistence::None).await;
    set(&redis, "value").await;
    redis.fill().await.unwrap();
    let add = "return redis.call('SET', 'other', 'value')";
    for refused in [vec!["SET", "other", "value"], vec!["HSET", "hash", "a", "b"], vec!["EVAL", add, "0"]] {
        let error = redis.command(&refused).await.unwrap_err().to_string();
        assert!(error.contains("OOM"), "{error}");
    }
    assert_eq!(get(&redis).await, "value", "nothing is evicted");
    assert_eq!(redis.command(&["PEXPIRE", "key", "100000"]).await.unwrap(), Reply::Number(1));
    assert_eq!(redis.command(&["DEL", "key"]).await.unwrap(), Reply::Number(1));
    redis.make_room().await.unwrap();
    set(&redis, "again").await;
    redis.fill().await.unwrap();
    redis.restart().await.unwrap();
    set(&redis, "a restart makes room, too").await;
}
