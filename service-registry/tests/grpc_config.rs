//! Servers and clients from go-zero's YAML and from targets, calling each other over real registries.
#![cfg(all(feature = "memory", feature = "serde", feature = "tonic"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

use std::future::Future;
use std::time::Duration;

use registry_examples::user::users_client::UsersClient;
use registry_examples::user::users_server::{Users, UsersServer};
use registry_examples::user::{FindReply, FindRequest};
use registry_testing::servers::ports::Port;
use service_registry::tonic::config::{CallDefaults, ClientConfig, ServerConfig};
use service_registry::tonic::{Channel, ServerError, ServerHandle};
use service_registry::{ErrorKind, grpc};
use tokio::time::Instant;
use tonic::client::GrpcService;
use tonic::codegen::{Body, Bytes, StdError};
use tonic::{Code, Request, Response, Status};

/// For what takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(15);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("in time")
}

/// Says who it is, and who asks.
struct Named(&'static str);

#[tonic::async_trait]
impl Users for Named {
    /// Takes as many milliseconds as the id says.
    async fn find(&self, request: Request<FindRequest>) -> Result<Response<FindReply>, Status> {
        let sent = |key| request.metadata().get(key).map_or("", |value| value.to_str().unwrap());
        let name = format!("{}:{}", sent("app"), sent("token"));
        tokio::time::sleep(Duration::from_millis(request.get_ref().id)).await;
        Ok(Response::new(FindReply { name, served_by: self.0.into() }))
    }
}

async fn find<T>(channel: T, id: u64) -> Result<FindReply, Status>
where
    T: GrpcService<tonic::body::Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    soon(UsersClient::new(channel).find(FindRequest { id })).await.map(Response::into_inner)
}

/// Who answers.
async fn asked<T>(channel: T) -> String
where
    T: GrpcService<tonic::body::Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    find(channel, 0).await.unwrap().served_by
}

/// A server that runs, and is registered.
struct Running {
    handle: ServerHandle,
    serving: tokio::task::JoinHandle<Result<(), ServerError>>,
}

impl Running {
    async fn start(name: &'static str, yaml: &str) -> Self {
        let config: ServerConfig = yaml_serde::from_str(yaml).unwrap();
        let timeouts = config.call_timeouts().unwrap();
        let router =
            tonic::transport::Server::builder().layer(timeouts).add_service(UsersServer::new(Named(name)));
        let builder = grpc::server(&config).await.unwrap().drain_grace(Duration::from_millis(100));
        let server = builder.shutdown_on(std::future::pending()).bind().await.unwrap();
        let handle = server.handle();
        let serving = tokio::spawn(server.serve(router));
        soon(handle.wait_until(|state| state.is_registered())).await;
        Self { handle, serving }
    }

    fn port(&self) -> u16 {
        self.handle.local_addr().port()
    }

    async fn stop(self) {
        self.handle.shutdown();
        soon(self.serving).await.unwrap().unwrap();
    }
}

fn client_config(yaml: &str) -> ClientConfig {
    yaml_serde::from_str(yaml).unwrap()
}

async fn client(yaml: &str) -> CallDefaults<Channel> {
    soon(grpc::client(&client_config(yaml))).await.unwrap()
}

async fn channel(target: &str) -> Channel {
    grpc::channel(target).await.unwrap()
}

#[cfg(feature = "etcd")]
mod etcd {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use registry_testing::servers::etcd::{Etcd, EtcdOptions};

    use super::*;

    /// The keys that begin with `prefix`, and their values.
    async fn stored(etcd: &Etcd, prefix: &str) -> Vec<(String, String)> {
        let end = format!("{prefix}~");
        let range = serde_json::json!({ "key": STANDARD.encode(prefix), "range_end": STANDARD.encode(end) });
        let answer = etcd.ask("/v3/kv/range", range).await.unwrap();
        let text = |value: &serde_json::Value| {
            String::from_utf8(STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap()
        };
        let kvs = answer["kvs"].as_array().cloned().unwrap_or_default();
        kvs.iter().map(|kv| (text(&kv["key"]), text(&kv["value"]))).collect()
    }

    fn server_yaml(etcd: &Etcd, key: &str) -> String {
        let host = etcd.client_address();
        format!(
            "
Name: user.rpc
ListenOn: 127.0.0.1:0
Mode: test
Etcd:
  Hosts:
  - {host}
  Key: {key}
Log:
  Level: error
"
        )
    }

    #[tokio::test]
    async fn server_and_clients_from_yaml_and_from_targets_find_each_other_as_go_zero_does() {
        let etcd = Etcd::start(EtcdOptions::default()).await.unwrap();
        let host = etcd.client_address();
        let server = Running::start("yaml", &server_yaml(&etcd, "team/user.rpc")).await;

        let keys = stored(&etcd, "team/user.rpc/").await;
        let [(key, address)] = &keys[..] else { panic!("one key: {keys:?}") };
        let number = key.strip_prefix("team/user.rpc/").unwrap();
        assert!(number.parse::<i64>().is_ok_and(|number| number > 0), "{key}");
        assert_eq!(address, &format!("127.0.0.1:{}", server.port()));

        let yaml = format!("{{Etcd: {{Hosts: ['{host}'], Key: team/user.rpc}}, NonBlock: false}}");
        assert_eq!(asked(client(&yaml).await).await, "yaml");
        for target in [
            format!("discov://{host}/team/user.rpc"),
            format!("etcd:///{host}?key=team%2Fuser.rpc"),
            format!("etcd://{host}/team?layout=go-zero&service=user.rpc"),
        ] {
            assert_eq!(asked(channel(&target).await).await, "yaml", "{target}");
            let yaml = format!("{{Target: '{target}'}}");
            assert_eq!(asked(client(&yaml).await).await, "yaml", "{yaml}");
        }
        server.stop().await;
        assert!(stored(&etcd, "team/user.rpc/").await.is_empty());
    }

    #[tokio::test]
    async fn a_server_in_our_own_layout_is_found_by_its_root_and_its_service() {
        let etcd = Etcd::start(EtcdOptions::default()).await.unwrap();
        let host = etcd.client_address();
        let yaml = format!("{{Name: user.rpc, ListenOn: '127.0.0.1:0', Registry: 'etcd://{host}/team'}}");
        let server = Running::start("ours", &yaml).await;
        let target = format!("etcd://{host}/team?service=user.rpc");
        assert_eq!(asked(channel(&target).await).await, "ours");
        assert_eq!(stored(&etcd, "/team/").await.len(), 1, "under its root, and nowhere else");
        server.stop().await;
        assert!(stored(&etcd, "/team/").await.is_empty());
    }

    #[tokio::test]
    async fn a_server_that_go_zero_published_is_called() {
        let etcd = Etcd::start(EtcdOptions::default()).await.unwrap();
        let server = Running::start("theirs", "{Name: user.rpc, ListenOn: '127.0.0.1:0'}").await;
        let put = serde_json::json!({
            "key": STANDARD.encode("user.rpc/7587860139302948609"),
            "value": STANDARD.encode(format!("127.0.0.1:{}", server.port())),
        });
        etcd.ask("/v3/kv/put", put).await.unwrap();
        let target = format!("discov://{}/user.rpc", etcd.client_address());
        assert_eq!(asked(channel(&target).await).await, "theirs");
        server.stop().await;
    }

    #[tokio::test]
    async fn user_and_password_reach_an_etcd_that_demands_them() {
        let etcd = Etcd::start(EtcdOptions::default()).await.unwrap();
        etcd.enable_auth("s3cret/@:%").await.unwrap();
        let host = etcd.client_address();
        let place = format!("Etcd: {{Hosts: ['{host}'], Key: user.rpc, User: root, Pass: 's3cret/@:%'}}");
        let server = Running::start("known", &format!("{{Name: a, ListenOn: '127.0.0.1:0', {place}}}")).await;
        assert_eq!(asked(client(&format!("{{{place}, NonBlock: false}}")).await).await, "known");
        let stranger =
            client_config(&format!("{{Etcd: {{Hosts: ['{host}'], Key: user.rpc}}, NonBlock: false}}"));
        let error = soon(grpc::client(&stranger)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let why = std::error::Error::source(&error).expect("a reason").to_string();
        assert!(why.contains("unauthenticated"), "{why}");
        server.stop().await;
    }

    #[tokio::test]
    async fn a_client_that_must_wait_returns_once_a_server_can_be_called() {
        let etcd = Etcd::start(EtcdOptions::default()).await.unwrap();
        let host = etcd.client_address();
        let yaml = format!("{{Etcd: {{Hosts: ['{host}'], Key: user.rpc}}, NonBlock: false}}");
        let early = tokio::spawn(async move {
            let client = client(&yaml).await;
            let ready = client.inner().endpoints().iter().any(|endpoint| endpoint.is_ready());
            (client, ready)
        });
        // Which it must be before three seconds are over.
        let server = Running::start("late", &server_yaml(&etcd, "user.rpc")).await;
        let (client, ready) = soon(early).await.unwrap();
        assert!(ready, "it was there before a server could be called");
        assert_eq!(asked(client).await, "late");
        server.stop().await;
    }

    #[tokio::test]
    async fn without_the_registry_a_client_is_there_at_once_or_fails_after_three_seconds() {
        let gone = Port::free().unwrap();
        let place = format!("Etcd: {{Hosts: ['{}'], Key: user.rpc}}", gone.address());
        let calm = client(&format!("{{{place}, Timeout: 300}}")).await;
        let status = find(calm, 0).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        let strict = client_config(&format!("{{{place}, NonBlock: false, Timeout: 200}}"));
        let began = Instant::now();
        let error = soon(grpc::client(&strict)).await.unwrap_err();
        assert!((2_990..6_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.message().contains("no server of user.rpc"), "{error}");
    }

    #[tokio::test]
    async fn what_only_the_registry_can_judge_is_told_with_the_field_of_the_configuration() {
        for (yaml, field) in [
            ("Etcd: {Hosts: ['h:99999'], Key: a}", "Etcd"),
            ("Target: discov://h:99999/a", "Target"),
            ("{Registry: 'etcd://h?leyout=x', Service: a}", "Registry"),
        ] {
            let error = grpc::client(&client_config(yaml)).await.unwrap_err();
            assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some(field)), "{error}");
        }
    }
}

#[cfg(feature = "redis")]
mod redis {
    use registry_testing::servers::redis::{Redis, RedisOptions};

    use super::*;

    #[tokio::test]
    async fn with_a_redis_named_in_the_yaml_they_find_each_other_there() {
        let redis = Redis::start(RedisOptions::default()).await.unwrap();
        let url = redis.url();
        let server = Running::start(
            "redis",
            &format!("{{Name: user.rpc, ListenOn: '127.0.0.1:0', Registry: '{url}'}}"),
        )
        .await;
        let yaml = format!("{{Registry: '{url}', Service: user.rpc, NonBlock: false}}");
        assert_eq!(asked(client(&yaml).await).await, "redis");
        let target = format!("{url}?service=user.rpc");
        assert_eq!(asked(channel(&target).await).await, "redis", "{target}");
        assert_eq!(asked(client(&format!("Target: '{target}'")).await).await, "redis");
        server.stop().await;
    }
}

/// A server without a registry of its own, which is not needed to call it.
async fn unlisted(name: &'static str, more: &str) -> Running {
    Running::start(name, &format!("{{Name: user.rpc, ListenOn: '127.0.0.1:0', {more}}}")).await
}

#[tokio::test]
async fn endpoints_are_called_without_any_registry() {
    let (one, two) = (unlisted("one", "").await, unlisted("two", "").await);
    let yaml = format!("{{Endpoints: ['127.0.0.1:{}'], NonBlock: false}}", one.port());
    assert_eq!(asked(client(&yaml).await).await, "one");
    let both = channel(&format!("direct:///127.0.0.1:{},127.0.0.1:{}", one.port(), two.port())).await;
    both.wait_until(SOON, |all| all.len() == 2 && all.iter().all(|one| one.is_ready())).await.unwrap();
    let mut answers = std::collections::BTreeSet::new();
    for _ in 0..200 {
        answers.insert(asked(both.clone()).await);
    }
    assert_eq!(answers.into_iter().collect::<Vec<_>>(), ["one", "two"]);
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn app_and_token_go_with_every_call() {
    let server = unlisted("a", "").await;
    let endpoints = format!("Endpoints: ['127.0.0.1:{}']", server.port());
    let known = client(&format!("{{{endpoints}, App: order, Token: 7oken}}")).await;
    assert_eq!(find(known, 0).await.unwrap().name, "order:7oken");
    let stranger = client(&format!("{{{endpoints}, App: order}}")).await;
    assert_eq!(find(stranger, 0).await.unwrap().name, ":");
    server.stop().await;
}

#[tokio::test]
async fn a_call_that_takes_longer_than_the_timeout_of_either_side_is_ended() {
    let quick = unlisted("quick", "Timeout: 300").await;
    let patient = unlisted("patient", "Timeout: 0").await;
    let to = |server: &Running, timeout: u64| {
        format!("{{Endpoints: ['127.0.0.1:{}'], NonBlock: false, Timeout: {timeout}}}", server.port())
    };
    let by_server = find(client(&to(&quick, 0)).await, 60_000).await.unwrap_err();
    assert_eq!(by_server.code(), Code::DeadlineExceeded);
    assert!(
        by_server.message().contains("/user.Users/Find: no answer within the server's 300ms"),
        "{by_server}"
    );
    let by_client = find(client(&to(&patient, 300)).await, 60_000).await.unwrap_err();
    assert_eq!(by_client.code(), Code::DeadlineExceeded, "{by_client}");
    assert_eq!(find(client(&to(&patient, 0)).await, 400).await.unwrap().served_by, "patient");
    // Its calls of old would hold it up.
    patient.serving.abort();
    quick.stop().await;
}

#[tokio::test]
async fn a_configuration_that_cannot_be_meant_starts_nothing() {
    let config: ServerConfig = yaml_serde::from_str("{Name: a, ListenOn: ':0', Auth: true}").unwrap();
    assert_eq!(grpc::server(&config).await.unwrap_err().field(), Some("Auth"));
    let error =
        grpc::client(&client_config("{Endpoints: ['h:1'], BalancerName: pick_first}")).await.unwrap_err();
    assert_eq!(error.field(), Some("BalancerName"));
}

#[test]
fn the_files_of_the_examples_mean_what_they_show() {
    for (user, order, url, without_effect) in [
        (
            include_str!("../../examples/examples/yaml/user.yaml"),
            include_str!("../../examples/examples/yaml/order.yaml"),
            "etcd://127.0.0.1:2379?layout=go-zero&service=user.rpc",
            "Log Prometheus Telemetry",
        ),
        (
            include_str!("../../examples/examples/yaml/user-redis.yaml"),
            include_str!("../../examples/examples/yaml/order-redis.yaml"),
            "redis://127.0.0.1:6379?service=user.rpc",
            "",
        ),
    ] {
        let server: ServerConfig = yaml_serde::from_str(user).unwrap();
        server.check().unwrap();
        assert_eq!(
            (server.target().unwrap().to_string().as_str(), server.without_effect().join(" ").as_str()),
            (url, without_effect)
        );
        let order: yaml_serde::Value = yaml_serde::from_str(order).unwrap();
        let client: ClientConfig = yaml_serde::from_value(order["UserRpc"].clone()).unwrap();
        client.check().unwrap();
        assert_eq!(client.target().unwrap().to_string(), url);
        assert!(client.without_effect().is_empty());
    }
}
