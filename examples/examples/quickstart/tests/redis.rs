//! On a real Redis.

use registry_testing::servers::ports::Port;
use registry_testing::servers::redis::{Redis, RedisOptions};

use super::{certificate, comes_and_goes, nobody_at, story};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_redis_the_story_is_the_same_and_nothing_of_it_is_left() {
    let redis = Redis::start(RedisOptions::default()).await.unwrap();
    story(&redis.url()).await;
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_an_error_within_seconds() {
    nobody_at("redis").await;
}

#[tokio::test]
async fn with_its_wires_cut_a_redis_is_away_from_all_clients_and_then_back() {
    let redis = Redis::start(RedisOptions::default()).await.unwrap();
    comes_and_goes(&format!("{}/1?request-timeout=2s", redis.url())).await;
}

#[tokio::test]
async fn through_wires_certificates_are_still_checked_for_the_name_of_the_server() {
    let (_folder, cert, key) = certificate();
    let port = Port::free().unwrap();
    let args = ["--tls-port", &port.number().to_string(), "--tls-auth-clients", "no"].map(str::to_owned);
    let files = [("--tls-cert-file", &cert), ("--tls-key-file", &key), ("--tls-ca-cert-file", &cert)];
    let files = files.into_iter().flat_map(|(name, file)| [name.to_owned(), file.display().to_string()]);
    let _redis =
        Redis::start(RedisOptions::default().with_args(args.into_iter().chain(files))).await.unwrap();
    let url = format!("rediss://localhost:{}?ca={}&request-timeout=2s", port.number(), cert.display());
    comes_and_goes(&url).await;
}
