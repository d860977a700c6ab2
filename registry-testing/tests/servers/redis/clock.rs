//! The wall clock of a Redis.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use registry_testing::servers::redis::{Redis, RedisOptions, Reply};

/// How far apart two readings can be, on a busy machine.
const SLACK: i64 = 5_000;
const HOUR: i64 = 3_600_000;

/// In milliseconds.
async fn time(redis: &Redis) -> i64 {
    let time = redis.command(&["TIME"]).await.unwrap();
    let parts: Vec<i64> = time.list().iter().map(|part| part.text().parse().unwrap()).collect();
    parts[0] * 1000 + parts[1] / 1000
}

async fn start() -> Redis {
    Redis::start(RedisOptions::default().with_clock()).await.unwrap()
}

async fn lives_for(redis: &Redis) -> i64 {
    match redis.command(&["PTTL", "key"]).await.unwrap() {
        Reply::Number(milliseconds) => milliseconds,
        other => panic!("{other:?}"),
    }
}

fn about(a: i64, b: i64) -> bool {
    (a - b).abs() < SLACK
}

#[tokio::test]
async fn a_clock_steps_both_ways_and_keeps_its_distance_over_a_restart() {
    let (stepped, machines) = (start().await, Redis::start(RedisOptions::default()).await.unwrap());
    assert!(about(time(&stepped).await, time(&machines).await));
    for (step, distance) in [(HOUR, HOUR), (HOUR, 2 * HOUR), (-3 * HOUR, -HOUR)] {
        stepped.step_clock(step).unwrap();
        assert!(about(time(&stepped).await, time(&machines).await + distance));
    }
    stepped.restart().await.unwrap();
    assert!(about(time(&stepped).await, time(&machines).await - HOUR));
    stepped.step_clock(HOUR).unwrap();
    assert!(about(time(&stepped).await, time(&machines).await));
}

#[tokio::test]
async fn the_ttl_of_a_key_feels_it() {
    let redis = start().await;
    redis.command(&["SET", "key", "value", "PX", &(3 * HOUR).to_string()]).await.unwrap();
    redis.step_clock(HOUR).unwrap();
    assert!(about(lives_for(&redis).await, 2 * HOUR));
    redis.step_clock(-2 * HOUR).unwrap();
    assert!(about(lives_for(&redis).await, 4 * HOUR));
    redis.step_clock(5 * HOUR).unwrap();
    assert_eq!(lives_for(&redis).await, -2, "it is gone");
}

/// The timers of Redis go by the monotonic clock: set back by an hour, they would not fire for so long.
#[tokio::test]
async fn the_monotonic_clock_stays_as_it_is() {
    let redis = start().await;
    redis.step_clock(-HOUR).unwrap();
    assert_eq!(redis.command(&["BLPOP", "none", "0.1"]).await.unwrap(), Reply::Nil);
    redis.step_clock(2 * HOUR).unwrap();
    assert_eq!(redis.command(&["BLPOP", "none", "0.1"]).await.unwrap(), Reply::Nil);
}

#[tokio::test]
async fn a_program_that_goes_by_the_machines_clock_is_refused_one() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("redis-server");
    fs::write(&program, "#!/bin/sh\nunset LD_PRELOAD\nexec redis-server \"$@\"\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let error = Redis::start(RedisOptions::default().with_program(program).with_clock()).await.unwrap_err();
    assert!(error.to_string().contains("does not take LD_PRELOAD"), "{error}");
}

#[tokio::test]
async fn without_a_clock_of_its_own_a_step_is_refused() {
    let redis = Redis::start(RedisOptions::default()).await.unwrap();
    let error = redis.step_clock(1).unwrap_err();
    assert!(error.to_string().contains("none of its own"), "{error}");
    let redis = start().await;
    let error = redis.step_clock(i64::MAX).unwrap_err();
    assert!(error.to_string().contains("292 years"), "{error}");
}
