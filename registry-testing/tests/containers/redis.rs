//! A stand-alone Redis.

use registry_testing::servers::ServerError;
use registry_testing::servers::containers::{ContainerOptions, RedisContainer};
use registry_testing::servers::redis::{Persistence, Reply};

#[tokio::test]
async fn what_survives_a_restart_is_what_was_chosen() {
    for (persistence, kept) in
        [(Persistence::None, Reply::Nil), (Persistence::EveryWrite, Reply::Text(b"v".to_vec()))]
    {
        let redis = RedisContainer::start(ContainerOptions::redis(), persistence).await.unwrap();
        redis.command(&["SET", "key", "v"]).await.unwrap();
        redis.container().kill().await.unwrap();
        redis.container().restart().await.unwrap();
        assert_eq!(redis.command(&["GET", "key"]).await.unwrap(), kept, "{persistence:?}");
    }
}

#[tokio::test]
async fn a_paused_redis_does_not_answer_and_a_wiped_one_knows_nothing() {
    let redis = RedisContainer::start(ContainerOptions::redis(), Persistence::EveryWrite).await.unwrap();
    redis.command(&["SET", "key", "v"]).await.unwrap();
    redis.container().pause().await.unwrap();
    assert!(matches!(redis.command(&["PING"]).await, Err(ServerError::Timeout { .. })));
    redis.container().resume().await.unwrap();
    redis.container().wipe().await.unwrap();
    assert_eq!(redis.command(&["GET", "key"]).await.unwrap(), Reply::Nil);
}
