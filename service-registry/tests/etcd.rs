//! Every form of `etcd://` and `etcds://` on a real etcd.
#![cfg(feature = "etcd")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use registry_testing::servers::etcd::{ClientTls, Etcd, EtcdOptions};
use registry_testing::servers::ports::Port;
use service_registry::core::{Change, RegisterOptions, WatchEvent};
use service_registry::{Error, ErrorKind, Instance, Registry, ServiceName, connect};

/// For what takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(10);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("in time")
}

async fn start(options: EtcdOptions) -> Etcd {
    Etcd::start(options).await.unwrap()
}

fn service() -> ServiceName {
    "user.rpc".parse().unwrap()
}

fn instance() -> Instance {
    Instance::builder("user.rpc").endpoint("10.0.0.7:8080").zone("z1").build().unwrap()
}

/// Registers, looks up and watches: all that takes a connection of its own.
async fn serves(url: &str) {
    let registry = connect(url).await.unwrap();
    assert_eq!(soon(registry.lookup(&service())).await.unwrap().len(), 0);
    let mut watch = registry.watch(&service(), None);
    while !matches!(soon(watch.next()).await, Some(WatchEvent::Reset { .. })) {}
    let registered = soon(registry.register(&instance(), &RegisterOptions::new())).await.unwrap();
    let told = loop {
        if let WatchEvent::Changes(batch) = soon(watch.next()).await.expect("a watch does not end") {
            break batch;
        }
    };
    assert_eq!(told.cursor.revision(), registered.revision);
    assert!(matches!(&told.changes[..], [Change::Put(entry)] if entry.instance() == &instance()), "{told:?}");
    let found = soon(registry.lookup(&service())).await.unwrap();
    assert_eq!(found.instances().collect::<Vec<_>>(), [&instance()]);
    soon(registry.keepalive(&registered.lease)).await.unwrap();
}

async fn refused(url: &str) -> Error {
    let registry: Arc<dyn Registry> = connect(url).await.unwrap();
    let error = soon(registry.lookup(&service())).await.expect_err("this must be refused");
    for secret in ["s3cret", "wr0ng"] {
        assert!(!format!("{error} {error:?} {registry:?}").contains(secret), "{error:?}");
    }
    error
}

/// The keys that begin with `prefix`, and their values.
async fn stored(etcd: &Etcd, prefix: &str) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    let end = format!("{prefix}~");
    let range = serde_json::json!({ "key": STANDARD.encode(prefix), "range_end": STANDARD.encode(end) });
    let answer = etcd.ask("/v3/kv/range", range).await.unwrap();
    let text = |value: &serde_json::Value| {
        String::from_utf8(STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap()
    };
    let kvs = answer["kvs"].as_array().cloned().unwrap_or_default();
    kvs.iter().map(|kv| format!("{}={}\n", text(&kv["key"]), text(&kv["value"]))).collect()
}

#[tokio::test]
async fn a_url_connects_to_an_etcd_and_its_path_is_the_prefix_of_the_keys() {
    let etcd = start(EtcdOptions::default()).await;
    serves(&format!("etcd://{}", etcd.client_address())).await;
    assert!(stored(&etcd, "/registry/").await.contains("/registry/user.rpc/10.0.0.7:8080={"));
    serves(&format!("ETCD://{}/team%20a?page=2&request-timeout=2s", etcd.client_address())).await;
    assert!(stored(&etcd, "/team a/").await.contains("/team a/user.rpc/10.0.0.7:8080={"));
}

#[tokio::test]
async fn in_the_layout_of_go_zero_path_and_service_are_its_key() {
    let etcd = start(EtcdOptions::default()).await;
    serves(&format!("etcd://{}/team?layout=go-zero", etcd.client_address())).await;
    let stored = stored(&etcd, "team/user.rpc/").await;
    assert!(stored.ends_with("=10.0.0.7:8080\n"), "{stored:?}");
}

#[tokio::test]
async fn of_several_hosts_it_is_enough_that_one_is_there() {
    let (etcd, gone) = (start(EtcdOptions::default()).await, Port::free().unwrap());
    serves(&format!("etcd://{},{}", gone.address(), etcd.client_address())).await;
}

#[tokio::test]
async fn connecting_waits_for_no_server_and_operations_say_that_it_is_away() {
    let gone = Port::free().unwrap();
    let error = refused(&format!("etcd://{}?request-timeout=1s", gone.address())).await;
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
}

#[tokio::test]
async fn a_user_in_the_url_is_who_we_are() {
    let etcd = start(EtcdOptions::default()).await;
    etcd.enable_auth("s3cret/@:%").await.unwrap();
    let host = etcd.client_address();
    serves(&format!("etcd://root:s3cret%2F%40:%25@{host}")).await;
    for stranger in [format!("etcd://{host}"), format!("etcd://root:wr0ng@{host}")] {
        let error = refused(&stranger).await;
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{stranger}: {error}");
    }
}

#[tokio::test]
async fn a_password_may_be_in_a_file() {
    let etcd = start(EtcdOptions::default()).await;
    etcd.enable_auth("s3cret").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pass word");
    std::fs::write(&file, "s3cret\n").unwrap();
    let file = file.display().to_string().replace(' ', "%20");
    serves(&format!("etcd://root@{}?password-file={file}", etcd.client_address())).await;
    let error = refused(&format!("etcd://root@{}?password-file=/nowhere", etcd.client_address())).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(error.to_string().contains("/nowhere"), "{error}");
}

/// An authority, a server's certificate for `name`, and a client's.
struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new([]).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        write(folder.path(), "ca.pem", &authority.self_signed(&authority_key).unwrap().pem());
        let issuer = Issuer::new(authority, authority_key);
        for (file, names) in [("server", vec![name.to_owned()]), ("client", vec!["client".to_owned()])] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(names).unwrap();
            // etcd is also its own client.
            params.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let certificate = params.signed_by(&key, &issuer).unwrap();
            write(folder.path(), &format!("{file}.pem"), &certificate.pem());
            write(folder.path(), &format!("{file}-key.pem"), &key.serialize_pem());
        }
        Self { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn server(&self, demand_client_certificates: bool) -> EtcdOptions {
        EtcdOptions::default().with_client_tls(ClientTls {
            cert: self.file("server.pem"),
            key: self.file("server-key.pem"),
            client_ca: demand_client_certificates.then(|| self.file("ca.pem")),
        })
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

#[tokio::test]
async fn etcds_is_tls_and_trusts_who_it_is_told_to_trust() {
    let certificates = Certificates::new("127.0.0.1");
    let etcd = start(certificates.server(false)).await;
    let (host, ca) = (etcd.client_address(), certificates.file("ca.pem"));
    serves(&format!("etcds://{host}?ca={}", ca.display())).await;
    let other = Certificates::new("127.0.0.1");
    for stranger in [
        format!("etcds://{host}?request-timeout=1s"),
        format!("etcds://{host}?ca={}&request-timeout=1s", other.file("ca.pem").display()),
        format!("etcds://{host}?ca={}&server-name=etcd.internal&request-timeout=1s", ca.display()),
        format!("etcd://{host}?request-timeout=1s"),
    ] {
        refused(&stranger).await;
    }
}

#[tokio::test]
async fn a_server_name_in_the_url_is_the_name_that_certificates_must_have() {
    let certificates = Certificates::new("etcd.internal");
    let etcd = start(certificates.server(false)).await;
    let url = format!("etcds://{}?ca={}", etcd.client_address(), certificates.file("ca.pem").display());
    serves(&format!("{url}&server-name=etcd.internal")).await;
    refused(&format!("{url}&request-timeout=1s")).await;
}

#[tokio::test]
async fn where_etcd_demands_certificates_the_one_in_the_url_is_shown() {
    let certificates = Certificates::new("127.0.0.1");
    let etcd = start(certificates.server(true)).await;
    let url = format!("etcds://{}?ca={}", etcd.client_address(), certificates.file("ca.pem").display());
    let (cert, key) = (certificates.file("client.pem"), certificates.file("client-key.pem"));
    serves(&format!("{url}&cert={}&key={}", cert.display(), key.display())).await;
    refused(&format!("{url}&request-timeout=1s")).await;
}
