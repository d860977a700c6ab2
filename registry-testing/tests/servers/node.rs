//! One etcd.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use registry_testing::servers::ServerError;
use registry_testing::servers::etcd::{ClientTls, Etcd, EtcdOptions};
use registry_testing::servers::process::Program;
use registry_testing::servers::proxy::Faults;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::SOON;

fn value(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

async fn start() -> Etcd {
    Etcd::start(EtcdOptions::default()).await.unwrap()
}

#[tokio::test]
async fn a_node_that_has_started_serves() {
    let begun = Instant::now();
    let etcd = start().await;
    println!("one node: {:?}", begun.elapsed());
    assert!(etcd.serves().await);
    assert_eq!(etcd.status().await.unwrap().leader, etcd.status().await.unwrap().member);
    TcpStream::connect(etcd.client_address()).await.unwrap();
}

/// What the documentation of the timing says.
#[tokio::test]
async fn the_shortest_lease_depends_on_the_timing() {
    let timing = |heartbeat, election| (Duration::from_millis(heartbeat), Duration::from_millis(election));
    for (timing, shortest) in [(None, "1"), (Some(timing(50, 500)), "1"), (Some(timing(100, 1000)), "2")] {
        let mut options = EtcdOptions::default();
        options.timing = timing;
        let etcd = Etcd::start(options).await.unwrap();
        let lease = etcd.ask("/v3/lease/grant", serde_json::json!({ "TTL": 1 })).await.unwrap();
        assert_eq!(lease["TTL"], shortest, "{timing:?}");
    }
}

#[tokio::test]
async fn a_restart_keeps_the_address_and_the_data() {
    let etcd = start().await;
    let endpoint = etcd.endpoint();
    let revision = etcd.put("key", "kept").await.unwrap();
    for _ in 0..3 {
        etcd.kill().await.unwrap();
        assert!(TcpStream::connect(etcd.client_address()).await.is_err());
        etcd.restart().await.unwrap();
        assert_eq!(etcd.endpoint(), endpoint);
        assert_eq!(etcd.get("key").await.unwrap(), value("kept"));
        assert_eq!(etcd.status().await.unwrap().revision, revision);
    }
}

#[tokio::test]
async fn a_wipe_keeps_the_address_and_not_the_data() {
    let etcd = start().await;
    let endpoint = etcd.endpoint();
    etcd.put("key", "lost").await.unwrap();
    etcd.wipe().await.unwrap();
    assert_eq!(etcd.endpoint(), endpoint);
    assert_eq!(etcd.get("key").await.unwrap(), None);
    assert_eq!(etcd.status().await.unwrap().revision, 1);
}

#[tokio::test]
async fn a_restore_goes_back_to_the_snapshot() {
    let etcd = start().await;
    let revision = etcd.put("key", "old").await.unwrap();
    let snapshot = etcd.save().await.unwrap();
    etcd.put("key", "new").await.unwrap();
    etcd.restore(&snapshot).await.unwrap();
    assert_eq!(etcd.get("key").await.unwrap(), value("old"));
    assert_eq!(etcd.status().await.unwrap().revision, revision);
}

#[tokio::test]
async fn a_compaction_makes_old_revisions_unreadable() {
    let etcd = start().await;
    let first = etcd.put("key", "first").await.unwrap();
    let second = etcd.put("key", "second").await.unwrap();
    assert_eq!(etcd.get_at("key", first).await.unwrap(), value("first"));
    assert_eq!(etcd.compact().await.unwrap(), second);
    let error = etcd.get_at("key", first).await.unwrap_err();
    assert!(error.to_string().contains("compacted"), "{error}");
    assert_eq!(etcd.get_at("key", second).await.unwrap(), value("second"));
    assert_eq!(etcd.compact().await.unwrap(), second, "again is no error");
}

#[tokio::test]
async fn a_paused_node_accepts_and_does_not_answer() {
    let etcd = start().await;
    etcd.pause().await.unwrap();
    TcpStream::connect(etcd.client_address()).await.unwrap();
    assert!(matches!(etcd.status().await, Err(ServerError::Timeout { .. })));
    assert!(etcd.process().is_running());
    etcd.resume().await.unwrap();
    etcd.wait_serving(SOON).await.unwrap();
}

#[tokio::test]
async fn a_terminated_node_comes_back_with_its_data() {
    let etcd = start().await;
    etcd.put("key", "kept").await.unwrap();
    etcd.terminate().await.unwrap();
    assert!(!etcd.process().is_running());
    etcd.restart().await.unwrap();
    assert_eq!(etcd.get("key").await.unwrap(), value("kept"));
}

#[tokio::test]
async fn with_users_strangers_are_refused_and_control_goes_on() {
    let etcd = start().await;
    etcd.put("key", "secret").await.unwrap();
    etcd.enable_auth("password").await.unwrap();
    assert_eq!(etcd.get("key").await.unwrap(), value("secret"));
    let mut stranger = TcpStream::connect(etcd.client_address()).await.unwrap();
    let request = "POST /v3/kv/range HTTP/1.0\r\nContent-Length: 14\r\n\r\n{\"key\":\"a2V5\"}";
    stranger.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stranger.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("user name is empty"), "{answer}");
    etcd.save().await.unwrap();
    etcd.restart().await.unwrap();
    assert_eq!(etcd.get("key").await.unwrap(), value("secret"));
    etcd.wipe().await.unwrap();
    assert_eq!(etcd.get("key").await.unwrap(), None, "nobody is asked for a password any more");
}

#[tokio::test]
async fn clients_are_told_the_proxy_and_control_goes_past_it() {
    let etcd = Etcd::start(EtcdOptions::default().with_client_proxies()).await.unwrap();
    let proxy = etcd.client_proxy().unwrap();
    let members = etcd.ask("/v3/cluster/member/list", serde_json::json!({})).await.unwrap();
    assert_eq!(members["members"][0]["clientURLs"][0], etcd.endpoint());
    assert_eq!(etcd.endpoint(), format!("http://{}", proxy.address()));
    assert_ne!(etcd.endpoint(), etcd.direct_endpoint());
    proxy.set(Faults::refusing()).await;
    assert!(TcpStream::connect(etcd.client_address()).await.is_err());
    assert!(etcd.serves().await);
}

#[tokio::test]
async fn a_full_quota_refuses_writes_and_does_not_prevent_a_restart() {
    let etcd = Etcd::start(EtcdOptions::default().with_quota(256 << 10)).await.unwrap();
    let mut refused = None;
    for n in 0..100 {
        if let Err(error) = etcd.put(format!("key{n}"), vec![0; 64 << 10]).await {
            refused = Some(error.to_string());
            break;
        }
    }
    let refused = refused.expect("100 entries of 64 KiB are more than 256 KiB");
    assert!(refused.contains("database space exceeded"), "{refused}");
    etcd.restart().await.unwrap();
}

/// The log of an etcd shows how it took its flags.
#[tokio::test]
async fn options_reach_the_server() {
    let options = EtcdOptions::default()
        .with_timing(Duration::from_millis(20), Duration::from_millis(200))
        .with_auto_compaction("revision", "7")
        .with_args(["--snapshot-count=4321"]);
    let etcd = Etcd::start(options).await.unwrap();
    let log = std::fs::read_to_string(etcd.process().folder().log()).unwrap();
    for line in ["heartbeat = 20ms", "election = 200ms", "snapshot count = 4321"] {
        let json = line.replace(" = ", "\":\"").replace("snapshot count\":\"", "snapshot-count\":");
        assert!(log.contains(line) || log.contains(&json), "{line} or {json} in {log}");
    }
}

/// A certificate for 127.0.0.1, signed by itself.
async fn certificate(folder: &Path) -> ClientTls {
    let (key, cert) = (folder.join("key.pem"), folder.join("cert.pem"));
    let openssl = Program::new("openssl", "`apt-get install openssl`")
        .with_args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .with_args(["-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"])
        .with_args([OsStr::new("-keyout"), key.as_os_str(), OsStr::new("-out"), cert.as_os_str()]);
    openssl.run().await.unwrap();
    ClientTls { client_ca: Some(cert.clone()), cert, key }
}

#[tokio::test]
async fn with_tls_only_clients_with_a_certificate_are_served_and_control_stays_plain() {
    let folder = tempfile::tempdir().unwrap();
    let tls = certificate(folder.path()).await;
    let etcd = Etcd::start(EtcdOptions::default().with_client_tls(tls.clone())).await.unwrap();
    etcd.put("key", "value").await.unwrap();
    assert!(etcd.endpoint().starts_with("https://"));
    let client = Program::new("etcdctl", "`apt-get install etcd-client`").with_env("ETCDCTL_API", "3");
    let client = client.with_args(["--dial-timeout=1s", "--command-timeout=1s"]);
    let client = client.with_args([format!("--endpoints={}", etcd.endpoint())]);
    let client = client.with_args([format!("--cacert={}", tls.cert.display())]);
    let known = client.clone().with_args([format!("--cert={}", tls.cert.display())]);
    let known = known.with_args([format!("--key={}", tls.key.display())]);
    let read = known.with_args(["get", "key"]).run().await.unwrap();
    assert!(read.contains("value"), "{read}");
    client.with_args(["get", "key"]).run().await.unwrap_err();
    etcd.restart().await.unwrap();
    etcd.save().await.unwrap();
}
