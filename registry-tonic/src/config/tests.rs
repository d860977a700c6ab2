//! The YAML of go-zero: what it means here, and what it cannot mean.

use std::time::Duration;

use registry_core::{Directory, Endpoint, Error, ErrorKind};
use serde::de::DeserializeOwned;

use super::*;
use crate::{Channel, FixedRegistry, Target};

fn read<T: DeserializeOwned>(yaml: &str) -> T {
    yaml_serde::from_str(yaml).unwrap_or_else(|error| panic!("{yaml}: {error}"))
}

fn server(yaml: &str) -> ServerConfig {
    read(yaml)
}

fn client(yaml: &str) -> ClientConfig {
    read(yaml)
}

/// A server's configuration with `more` in it.
fn server_with(more: &str) -> ServerConfig {
    server(&format!("Name: user.rpc\nListenOn: 0.0.0.0:8080\n{more}"))
}

/// As `goctl` lays it out, with what services add to it.
const USER_YAML: &str = r#"
Name: user.rpc
ListenOn: 0.0.0.0:8080
Mode: dev
Timeout: 5000

Log:
  ServiceName: user-rpc
  Mode: file
  Path: logs/user
  Level: error

Etcd:
  Hosts:
  - 10.0.0.1:2379
  - 10.0.0.2:2379
  Key: user.rpc

Prometheus:
  Host: 0.0.0.0
  Port: 4008
  Path: /metrics

Telemetry:
  Name: user-rpc
  Endpoint: http://jaeger:14268/api/traces
  Sampler: 1.0
  Batcher: jaeger

Redis:
  Host: 127.0.0.1:6379
  Type: node
  Pass:
  Key: user-rpc

DataSource: root:pa@ss@tcp(127.0.0.1:3306)/users?charset=utf8mb4&parseTime=true
Cache:
  - Host: 127.0.0.1:6379
    Type: node
MethodTimeouts:
  - FullMethod: /user.Users/Export
    Timeout: 1m30s
"#;

#[test]
fn a_servers_yaml_of_go_zero_is_read_as_it_is() {
    let config = server(USER_YAML);
    config.check().unwrap();
    assert_eq!((config.name().unwrap(), config.listen_on().unwrap()), ("user.rpc", "0.0.0.0:8080"));
    let target = config.target().unwrap();
    assert_eq!(target.to_string(), "etcd://10.0.0.1:2379,10.0.0.2:2379?layout=go-zero&service=user.rpc");
    assert_eq!((config.mode().unwrap(), config.health(), config.is_listed()), ("dev", true, true));
    let timeouts = config.call_timeouts().unwrap();
    assert_eq!(timeouts.of("/user.Users/Find"), Some(Duration::from_secs(5)));
    assert_eq!(timeouts.of("/user.Users/Export"), Some(Duration::from_secs(90)));
    assert_eq!(config.without_effect(), ["Redis", "Log", "Prometheus", "Telemetry"]);
}

#[test]
fn a_clients_yaml_of_go_zero_is_read_as_it_is() {
    let config = client(
        "
        Etcd:
          Hosts: [10.0.0.1:2379]
          Key: team/user.rpc
          ID: 7
        App: order
        Token: s3cret
        Timeout: 500
        KeepaliveTime: 20s
        BalancerName: p2c_ewma
        Middlewares: {Trace: true, Breaker: false, Tracing: true}
        ",
    );
    config.check().unwrap();
    let target = config.target().unwrap();
    assert_eq!(target.to_string(), "etcd://10.0.0.1:2379/team?layout=go-zero&service=user.rpc");
    assert_eq!(config.timeout().unwrap(), Some(Duration::from_millis(500)));
    assert_eq!(config.wait_for_server(), None);
    assert_eq!(config.without_effect(), ["Etcd.ID", "KeepaliveTime", "Middlewares", "Middlewares.Tracing"]);
    let called = config.with_defaults(()).unwrap();
    assert!(!format!("{config:?} {called:?}").contains("s3cret"), "{config:?} {called:?}");
}

#[test]
fn what_only_go_zero_does_is_told_and_keeps_no_server_from_starting() {
    let config = server_with(
        "
Etcd: {Hosts: [h], Key: user.rpc, ID: 7, CaFile: /ca.pem}
Redis: {Host: h}
CpuThreshold: 900
Middlewares: {Trace: true}
Shutdown: {WaitTime: 5s}
Log: {Mode: console}
MetricsUrl: http://h/metrics
Prometheus: {Host: 0.0.0.0}
Telemetry: {Name: user}
DevServer: {Enabled: true}
Profiling: {CpuThreshold: 700}
",
    );
    config.check().unwrap();
    assert_eq!(config.target().unwrap().to_string(), "etcd://h?layout=go-zero&service=user.rpc");
    let expected = "Etcd.ID Etcd.CaFile Redis CpuThreshold Middlewares Shutdown Log MetricsUrl Prometheus Telemetry DevServer Profiling";
    assert_eq!(config.without_effect().join(" "), expected);
}

#[test]
fn keys_are_matched_without_regard_to_case() {
    let config = server("{name: a, LISTENON: ':1', etcd: {hosts: [h], KEY: b, id: 0}, timeout: 0}");
    config.check().unwrap();
    assert_eq!(config.target().unwrap().to_string(), "etcd://h?layout=go-zero&service=b");
    assert_eq!(config.call_timeouts().unwrap().of("/a.A/B"), None);
    let twice = yaml_serde::from_str::<ServerConfig>("{Name: a, name: b}").unwrap_err();
    assert!(twice.to_string().contains("Name is there twice"), "{twice}");
}

#[test]
fn what_is_left_out_or_null_is_as_in_go_zero() {
    for yaml in ["{}", "{Timeout: , Etcd: , NonBlock: , Middlewares: , Endpoints: }"] {
        let config = client(yaml);
        assert_eq!(config.timeout().unwrap(), Some(Duration::from_secs(2)));
        assert_eq!(config.wait_for_server(), None);
        assert!(config.without_effect().is_empty());
    }
    let config = server_with("Etcd: {Hosts: [], Key: ''}");
    config.check().unwrap();
    assert_eq!((config.mode().unwrap(), config.health(), config.is_listed()), ("pro", true, false));
    assert_eq!(config.target().unwrap().to_string(), "memory://?service=user.rpc");
    assert_eq!(config.call_timeouts().unwrap().of("/a.A/B"), Some(Duration::from_secs(2)));
}

#[test]
fn an_etcd_of_go_zero_becomes_a_url_with_everything_encoded() {
    for (etcd, url) in [
        ("Hosts: ['h1:1,h2', '[::1]:3'], Key: a", "etcd://h1:1,h2,[::1]:3?layout=go-zero"),
        ("Hosts: ['http://h:1/'], Key: x/y z/a", "etcd://h:1/x/y%20z?layout=go-zero"),
        ("Hosts: ['https://h:1'], Key: /x/a", "etcds://h:1//x?layout=go-zero"),
        (
            "Hosts: [h], Key: a, User: ro@ot, Pass: 'p/:?#%+ü'",
            "etcd://ro%40ot:p%2F%3A%3F%23%25%2B%C3%BC@h?layout=go-zero",
        ),
        ("Hosts: [h], Key: a, User: '', Pass: ''", "etcd://h?layout=go-zero"),
        (
            "Hosts: [h], Key: a, CertFile: /c&d, CertKeyFile: k.pem, CACertFile: '/a b', InsecureSkipVerify: false",
            "etcds://h?layout=go-zero&ca=/a%20b&cert=/c%26d&key=k.pem",
        ),
        ("Hosts: [h], Key: a, CACertFile: ca.pem", "etcds://h?layout=go-zero&ca=ca.pem"),
    ] {
        let config = client(&format!("Etcd: {{{etcd}}}"));
        let Target::Registry { url: found, service } = config.target().unwrap() else { panic!("{etcd}") };
        assert_eq!((found.as_str(), service.as_str()), (url, "a"), "{etcd}");
    }
}

#[test]
fn a_password_that_is_no_text_is_refused_without_being_shown() {
    // Flattened, a number has lost how it was written.
    #[derive(Debug, serde::Deserialize)]
    struct Config {
        #[serde(flatten)]
        _client: ClientConfig,
    }
    for yaml in ["Etcd: {Pass: 31337}", "Token: 31337", "Target: [31337]"] {
        let error = yaml_serde::from_str::<Config>(yaml).unwrap_err().to_string();
        assert!(error.contains("is put in quotes") && !error.contains("31337"), "{yaml}: {error}");
    }
}

#[test]
fn another_registry_than_go_zeros_may_be_named() {
    let config = server_with("Registry: redis://:s3cret@h/1");
    config.check().unwrap();
    let Target::Registry { url, service } = config.target().unwrap() else { panic!("{config:?}") };
    assert_eq!((url.as_str(), service.as_str()), ("redis://:s3cret@h/1", "user.rpc"));
    assert!(!format!("{config:?}").contains("s3cret"), "{config:?}");
    let config = client("{Registry: 'memory://orders', Service: user.rpc}");
    assert_eq!(config.target().unwrap().to_string(), "memory://orders?service=user.rpc");
    let config = client("Target: redis+cluster://h1,h2?service=user.rpc");
    assert_eq!(config.target().unwrap().to_string(), "redis+cluster://h1,h2?service=user.rpc");
}

#[test]
fn of_several_places_the_one_that_go_zero_takes_counts_and_the_others_are_told() {
    let all = "Etcd: {Hosts: [h], Key: a}\nTarget: discov://h/b";
    assert_eq!(client(all).target().unwrap().to_string(), "etcd://h?layout=go-zero&service=b");
    assert_eq!(client(all).without_effect(), ["Etcd"]);
    let all = format!("{all}\nEndpoints: ['10.0.0.7:80', '10.0.0.8:80,10.0.0.7:80', '']\nService: x");
    assert_eq!(client(&all).target().unwrap().to_string(), "direct:///10.0.0.7:80,10.0.0.8:80");
    assert_eq!(client(&all).without_effect(), ["Target", "Etcd", "Service"]);
}

#[test]
fn a_client_inherits_what_its_etcd_does_not_say() {
    let above = server("{Etcd: {Hosts: [h1, h2], Key: order.rpc, User: u, Pass: p}}");
    let above = above.etcd().unwrap();
    for (yaml, expected) in [
        ("Etcd: {Key: user.rpc}", "etcd://u:***@h1,h2?layout=go-zero&service=user.rpc"),
        ("Etcd: {Hosts: [h3], Key: user.rpc}", "etcd://u:***@h3?layout=go-zero&service=user.rpc"),
        ("{}", "etcd://u:***@h1,h2?layout=go-zero&service=order.rpc"),
        ("{Registry: 'redis://h', Service: user.rpc}", "redis://h?service=user.rpc"),
    ] {
        let mut config = client(yaml);
        config.inherit_etcd(above);
        assert_eq!(config.target().unwrap().to_string(), expected, "{yaml}");
    }
}

#[test]
fn what_a_server_cannot_mean_is_an_error_that_names_the_field() {
    let whole = "{Name: a, ListenOn: ':1'}";
    server(whole).check().unwrap();
    for (yaml, field, why) in [
        ("{ListenOn: ':1'}", "Name", "missing"),
        ("{Name: a}", "ListenOn", "missing"),
        ("{Name: a, ListenOn: localhost}", "ListenOn", "not host:port"),
        ("{Name: user service, ListenOn: ':1'}", "Name", "no service name: ' ' is not allowed"),
        ("{Name: a, ListenOn: ':1', Auth: true}", "Auth", "no apps and tokens"),
        ("{Name: a, ListenOn: ':1', StrictControl: true}", "StrictControl", "no Auth here"),
        ("{Name: a, ListenOn: ':1', Mode: production}", "Mode", "dev, test, rt, pre and pro"),
        ("{Name: a, ListenOn: ':1', Timeout: -1}", "Timeout", "negative"),
        (
            "{Name: a, ListenOn: ':1', MethodTimeouts: [{FullMethod: Find, Timeout: 1s}]}",
            "MethodTimeouts.FullMethod",
            "/user.Users/Find",
        ),
        (
            "{Name: a, ListenOn: ':1', MethodTimeouts: [{FullMethod: /a.A/B, Time: 5s}]}",
            "MethodTimeouts.Timeout",
            "missing for /a.A/B",
        ),
        (
            "{Name: a, ListenOn: ':1', Registry: 'redis://h', Etcd: {Hosts: [h], Key: a}}",
            "Registry",
            "Etcd as well",
        ),
    ] {
        refused(server(yaml).check(), yaml, field, why);
    }
}

#[test]
fn what_a_client_cannot_mean_is_an_error_that_names_the_field() {
    for (yaml, field, why) in [
        ("{}", "Etcd", "missing, and so are Endpoints, Target and Registry"),
        ("Etcd: {Hosts: [h]}", "Etcd.Key", "missing"),
        ("Etcd: {Key: a}", "Etcd.Hosts", "no host"),
        ("Etcd: {Hosts: ['', ','], Key: a}", "Etcd.Hosts", "no host"),
        ("Etcd: {Hosts: ['h/s3cret@x'], Key: a}", "Etcd.Hosts", "host 1"),
        ("Etcd: {Hosts: ['${ETCD_HOSTS}'], Key: a}", "Etcd.Hosts", "host 1"),
        ("Etcd: {Hosts: ['http://h', 'https://i'], Key: a}", "Etcd.Hosts", "either all members"),
        ("Etcd: {Hosts: [h], Key: 'user:rpc'}", "Etcd.Key", "':' is not allowed"),
        ("Etcd: {Hosts: [h], Key: /user.rpc}", "Etcd.Key", "in front of its last '/'"),
        ("Etcd: {Hosts: [h], Key: a, User: root}", "Etcd.Pass", "missing"),
        ("Etcd: {Hosts: [h], Key: a, Pass: s3cret}", "Etcd.User", "missing"),
        ("Etcd: {Hosts: [h], Key: a, CertFile: c}", "Etcd.CertKeyFile", "missing"),
        ("Etcd: {Hosts: [h], Key: a, CertKeyFile: k}", "Etcd.CertFile", "missing"),
        ("Etcd: {Hosts: [h], Key: a, InsecureSkipVerify: true}", "Etcd.InsecureSkipVerify", "CACertFile"),
        ("Endpoints: [localhost]", "Endpoints", "no port"),
        ("Endpoints: ['']", "Endpoints", "no endpoint"),
        ("Target: k8s://ns/user:8080", "Target", "the scheme k8s"),
        ("Target: etcd://h/user.rpc", "Target", "no service"),
        ("Registry: redis://h", "Service", "missing"),
        ("{Registry: 'redis://h', Service: a b}", "Service", "not allowed"),
        ("{Registry: 'redis://h', Service: a, Target: 'discov://h/a'}", "Registry", "one of them"),
        ("{Registry: 'redis://h', Service: a, Endpoints: ['h:1']}", "Registry", "one of them"),
        (
            "{Endpoints: ['h:1'], BalancerName: consistent_hash}",
            "BalancerName",
            "there is p2c_ewma; a program can have Policy::ConsistentHash",
        ),
        ("{Endpoints: ['h:1'], Timeout: -5}", "Timeout", "negative"),
        ("{Endpoints: ['h:1'], App: a, Token: \"s3cret\\n\"}", "Token", "visible ASCII"),
    ] {
        refused(client(yaml).check(), yaml, field, why);
    }
}

fn refused(checked: registry_core::Result<()>, yaml: &str, field: &str, why: &str) {
    let error: Error = checked.err().unwrap_or_else(|| panic!("{yaml} must be refused"));
    assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some(field)), "{yaml}: {error}");
    assert!(error.message().contains(why), "{yaml}: {error}");
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{yaml}: {error}");
}

#[test]
fn a_value_of_the_wrong_kind_is_told_with_its_field() {
    for (yaml, what) in [
        ("Timeout: soon", "Timeout: "),
        ("Etcd: {Hosts: h}", "Etcd: Hosts: "),
        ("Etcd: [h]", "Etcd: "),
        ("NonBlock: maybe", "NonBlock: "),
    ] {
        let error = yaml_serde::from_str::<ClientConfig>(yaml).unwrap_err().to_string();
        assert!(error.contains(what), "{yaml}: {error}");
    }
    let yaml = "MethodTimeouts: [{FullMethod: /a.A/B, Timeout: 5}]";
    let error = yaml_serde::from_str::<ServerConfig>(yaml).unwrap_err().to_string();
    assert!(error.contains("MethodTimeouts: ") && error.contains("Timeout: \"5\" is no duration"), "{error}");
}

#[test]
fn services_embed_it_in_a_configuration_of_their_own() {
    #[derive(serde::Deserialize)]
    struct Config {
        #[serde(flatten)]
        server: ServerConfig,
        #[serde(rename = "DataSource")]
        data_source: String,
        #[serde(rename = "OrderRpc")]
        order: ClientConfig,
    }
    let config: Config = read(&format!("{USER_YAML}\nOrderRpc:\n  Endpoints: [10.0.0.9:80]\n"));
    config.server.check().unwrap();
    assert_eq!(
        config.server.call_timeouts().unwrap().of("/user.Users/Export"),
        Some(Duration::from_secs(90))
    );
    assert!(config.data_source.starts_with("root:"));
    assert_eq!(config.order.target().unwrap().to_string(), "direct:///10.0.0.9:80");
}

#[test]
fn timeouts_are_as_go_zero_has_them() {
    let (two, three) = (Duration::from_secs(2), Duration::from_secs(3));
    for (yaml, timeout, wait) in [
        ("{NonBlock: true, Timeout: 700}", Some(Duration::from_millis(700)), None),
        ("{NonBlock: false}", Some(two), Some(three)),
        ("{NonBlock: false, Timeout: 200}", Some(Duration::from_millis(200)), Some(three)),
        ("{NonBlock: false, Timeout: 0}", None, Some(three)),
        ("{NonBlock: false, Middlewares: {Timeout: false}}", None, Some(three)),
    ] {
        let config = client(yaml);
        assert_eq!((config.timeout().unwrap(), config.wait_for_server()), (timeout, wait), "{yaml}");
    }
    // More than can be said in a header.
    client("{Timeout: 9223372036854775807}").with_defaults(()).unwrap();
}

/// A channel to nobody, as this configuration has it.
fn channel_to_nobody(config: &ClientConfig) -> Channel {
    let service = "user.rpc".parse().unwrap();
    let registry = FixedRegistry::of_endpoints(&service, [] as [Endpoint; 0]).unwrap();
    config.builder(Directory::new(std::sync::Arc::new(registry)).view(&service)).unwrap().build()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_must_wait_for_a_server_fails_after_three_seconds_whatever_its_timeout_and_says_why() {
    for timeout in [0, 200, 2_000, 14_000] {
        let config = client(&format!("{{Endpoints: ['h:1'], NonBlock: false, Timeout: {timeout}}}"));
        let channel = channel_to_nobody(&config);
        let began = tokio::time::Instant::now();
        let error = config.until_ready(&channel).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!((2_999..3_100).contains(&began.elapsed().as_millis()), "{timeout}: {:?}", began.elapsed());
        let source = std::error::Error::source(&error).expect("it has a reason").to_string();
        assert!(source.contains("no instances are registered"), "{error}: {source}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_need_not_wait_does_not() {
    let config = client("{Endpoints: ['h:1']}");
    let channel = channel_to_nobody(&config);
    let began = tokio::time::Instant::now();
    config.until_ready(&channel).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
}
