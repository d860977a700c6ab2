//! Every form of `redis://` and `rediss://` for one server, on a real Redis.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use registry_testing::servers::ports::Port;
use registry_testing::servers::redis::{Redis, RedisOptions, Reply};
use service_registry::core::{Change, RegisterOptions, WatchEvent};
use service_registry::{Error, ErrorKind, Instance, Registry, ServiceName, connect};

/// For what takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(10);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("in time")
}

async fn start(options: RedisOptions) -> Redis {
    Redis::start(options).await.unwrap()
}

fn service() -> ServiceName {
    "user.rpc".parse().unwrap()
}

fn instance() -> Instance {
    Instance::builder("user.rpc").endpoint("10.0.0.7:8080").zone("z1").build().unwrap()
}

/// Registers, looks up, watches and leaves: all that takes a connection of its own.
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
    soon(registry.deregister(&registered.lease)).await.unwrap();
}

async fn refused(url: &str) -> Error {
    let registry: Arc<dyn Registry> = connect(url).await.unwrap();
    let error = soon(registry.lookup(&service())).await.expect_err("this must be refused");
    for secret in ["s3cret", "wr0ng"] {
        assert!(!format!("{error} {error:?} {registry:?}").contains(secret), "{error:?}");
    }
    error
}

/// The keys of one database.
async fn stored(redis: &Redis, database: &str) -> Vec<String> {
    let keys = "redis.call('SELECT', ARGV[1]); return redis.call('KEYS', '*')";
    let Reply::List(keys) = redis.command(&["EVAL", keys, "0", database]).await.unwrap() else {
        panic!("a list");
    };
    keys.iter().map(Reply::text).collect()
}

#[tokio::test]
async fn a_url_connects_to_a_redis_and_says_where_the_keys_are() {
    let redis = start(RedisOptions::default()).await;
    serves(&redis.url()).await;
    assert!(stored(&redis, "0").await.contains(&"registry:{user.rpc}:head".to_owned()));
    serves(&format!("REDIS://{}/3?prefix=team%3Aa&page=2&history=9&request-timeout=2s", redis.address()))
        .await;
    assert!(stored(&redis, "3").await.contains(&"team:a:{user.rpc}:head".to_owned()));
    assert!(stored(&redis, "0").await.iter().all(|key| key.starts_with("registry:")));
}

#[tokio::test]
async fn a_database_that_the_server_does_not_have_is_bad_input() {
    let redis = start(RedisOptions::default()).await;
    let error = refused(&format!("{}/99", redis.url())).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

#[tokio::test]
async fn connecting_waits_for_no_server_and_operations_say_that_it_is_away() {
    let gone = Port::free().unwrap();
    for url in [
        format!("redis://{}?request-timeout=1s", gone.address()),
        "redis://no-such-host.invalid?request-timeout=1s".to_owned(),
    ] {
        let error = refused(&url).await;
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
    }
}

#[tokio::test]
async fn a_user_in_the_url_is_who_we_are() {
    let redis = start(RedisOptions::default()).await;
    let host = redis.address();
    for words in [
        &["ACL", "SETUSER", "app", "on", ">s3cret/@:%", "allkeys", "allchannels", "+@all"][..],
        &["CONFIG", "SET", "requirepass", "s3cret"],
    ] {
        redis.command(words).await.unwrap();
    }
    serves(&format!("redis://app:s3cret%2F%40:%25@{host}")).await;
    // The password alone is that of the user `default`.
    serves(&format!("redis://:s3cret@{host}")).await;
    serves(&format!("redis://default:s3cret@{host}")).await;
    for stranger in
        [format!("redis://{host}"), format!("redis://app:wr0ng@{host}"), format!("redis://:wr0ng@{host}")]
    {
        let error = refused(&stranger).await;
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{stranger}: {error}");
    }
}

#[tokio::test]
async fn a_password_may_be_in_a_file() {
    let redis = start(RedisOptions::default().with_args(["--requirepass", "s3cret"])).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pass word");
    std::fs::write(&file, "s3cret\n").unwrap();
    let file = file.display().to_string().replace(' ', "%20");
    serves(&format!("redis://default@{}?password-file={file}", redis.address())).await;
    serves(&format!("redis://{}?password-file={file}", redis.address())).await;
    let error = refused(&format!("redis://{}?password-file=/nowhere", redis.address())).await;
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
            // OpenSSL takes a certificate with the name of its issuer for one that signed itself.
            params.distinguished_name.push(DnType::CommonName, file);
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

    /// A server with a port for TLS beside its plain one, which is the tests' own; the address of the former.
    async fn server(&self, demand_client_certificates: bool) -> (Redis, String) {
        let port = Port::free().unwrap();
        let mut args = vec!["--tls-port".to_owned(), port.number().to_string()];
        for (name, file) in [
            ("--tls-cert-file", "server.pem"),
            ("--tls-key-file", "server-key.pem"),
            ("--tls-ca-cert-file", "ca.pem"),
        ] {
            args.extend([name.to_owned(), self.file(file).display().to_string()]);
        }
        let demand = if demand_client_certificates { "yes" } else { "no" };
        args.extend(["--tls-auth-clients".to_owned(), demand.to_owned()]);
        (start(RedisOptions::default().with_args(args)).await, port.address().to_string())
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

#[tokio::test]
async fn rediss_is_tls_and_trusts_who_it_is_told_to_trust() {
    let certificates = Certificates::new("127.0.0.1");
    let (redis, host) = certificates.server(false).await;
    let ca = certificates.file("ca.pem");
    serves(&format!("rediss://{host}?ca={}", ca.display())).await;
    let other = Certificates::new("127.0.0.1");
    for stranger in [
        format!("rediss://{host}"),
        format!("rediss://{host}?ca={}", other.file("ca.pem").display()),
        format!("rediss://{host}?ca={}&server-name=redis.internal", ca.display()),
    ] {
        let error = refused(&stranger).await;
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{stranger}: {error}");
    }
    // To one that speaks something else than it was asked in.
    refused(&format!("redis://{host}?request-timeout=1s")).await;
    refused(&format!("rediss://{}?ca={}&request-timeout=1s", redis.address(), ca.display())).await;
}

#[tokio::test]
async fn a_server_name_in_the_url_is_the_name_that_certificates_must_have() {
    let certificates = Certificates::new("redis.internal");
    let (_redis, host) = certificates.server(false).await;
    let url = format!("rediss://{host}?ca={}", certificates.file("ca.pem").display());
    serves(&format!("{url}&server-name=redis.internal")).await;
    refused(&url).await;
}

#[tokio::test]
async fn where_redis_demands_certificates_the_one_in_the_url_is_shown() {
    let certificates = Certificates::new("127.0.0.1");
    let (_redis, host) = certificates.server(true).await;
    let url = format!("rediss://{host}?ca={}", certificates.file("ca.pem").display());
    let (cert, key) = (certificates.file("client.pem"), certificates.file("client-key.pem"));
    serves(&format!("{url}&cert={}&key={}", cert.display(), key.display())).await;
    let error = refused(&url).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
}
