//! The examples `server` and `client`, each in a process of its own, find each other on real servers.
#![allow(clippy::unwrap_used, clippy::expect_used)] // The helpers of tests fail as tests do.

use std::time::Duration;

use registry_testing::servers::etcd::{Etcd, EtcdOptions};
use registry_testing::servers::process::{Folder, Process, Program};
use registry_testing::servers::redis::{Redis, RedisOptions};
use tempfile::TempDir;

/// Nothing here takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// An example. Cargo builds it along with the tests of the package, though not where this one is asked for by name.
fn example(name: &str, arguments: &[&str]) -> Program {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().and_then(|folder| folder.parent()).unwrap().join("examples").join(name);
    let hint = "cargo build --package registry-examples --examples --all-features";
    Program::new(program, hint).with_args(arguments)
}

/// Copies of the examples' files, with other addresses.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn add(&self, name: &str, text: &str, (shown, meant): (&str, &str)) -> String {
        assert!(text.contains(shown), "{name} has no {shown}");
        let path = self.0.path().join(name);
        std::fs::write(&path, text.replace(shown, meant)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// Starts a server, has it called, and stops it.
async fn is_called(server: &[&str], client: &[&str]) {
    let server = example("server", &[server, &["--listen", "127.0.0.1:0"]].concat());
    let server = Process::new(server, Folder::new(None).unwrap());
    let is_registered = || async { server.log_tail().lines().any(|line| line == "registered") };
    server.start(PATIENCE, is_registered).await.unwrap();
    let log = server.log_tail();
    let (_, at) = log.split_once("user.rpc at ").expect("it says where it is");
    let (at, _) = at.split_once(';').unwrap();

    let printed = example("client", &[client, &["--calls", "2"]].concat()).run().await.unwrap();
    let answers: Vec<_> = printed.lines().filter(|line| line.contains(" (from ")).collect();
    assert_eq!(answers, [format!("1: Claire Denis (from {at})"), format!("2: Chantal Akerman (from {at})")]);

    server.terminate(PATIENCE).await.unwrap();
    assert_eq!(server.log_tail().lines().last(), Some("stopped"));
}

#[tokio::test]
async fn on_an_etcd_by_the_yaml_of_go_zero_and_by_its_target() {
    let etcd = Etcd::start(EtcdOptions::default()).await.unwrap();
    let (address, files) = (etcd.client_address().to_string(), Files::new());
    let instead = ("127.0.0.1:2379", address.as_str());
    let user = files.add("user.yaml", include_str!("../examples/yaml/user.yaml"), instead);
    let order = files.add("order.yaml", include_str!("../examples/yaml/order.yaml"), instead);
    let target = format!("discov://{address}/user.rpc");
    is_called(&["--config", &user], &["--config", &order]).await;
    is_called(&["--config", &user], &["--target", &target]).await;
}

#[tokio::test]
async fn on_a_redis_by_yaml_and_by_url() {
    let redis = Redis::start(RedisOptions::default()).await.unwrap();
    let (url, files) = (redis.url(), Files::new());
    let instead = ("redis://127.0.0.1:6379", url.as_str());
    let user = files.add("user.yaml", include_str!("../examples/yaml/user-redis.yaml"), instead);
    let order = files.add("order.yaml", include_str!("../examples/yaml/order-redis.yaml"), instead);
    let target = format!("{url}?service=user.rpc");
    is_called(&["--config", &user], &["--config", &order]).await;
    is_called(&["--registry", &url], &["--target", &target]).await;
}
