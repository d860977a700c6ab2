//! TLS, on a port beside the plain one, which is the tests' own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use registry_core::{ErrorKind, Registry, ResetCause};
use registry_redis::{Material, RedisOptions, RedisRegistry, Tls};
use registry_testing::servers::ports::Port;
use registry_testing::servers::proxy::Proxy;
use registry_testing::servers::redis::{Persistence, Redis};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{PATIENCE, Record, eventually, instance, lasting, registrar, server, user, weighing};

static AUTHORITIES: AtomicU32 = AtomicU32::new(1);

/// A certificate authority, and what it signs, as files.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Else those of one look like certificates of the other whose signature is wrong.
        let number = AUTHORITIES.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ca(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// Signs a certificate for 127.0.0.1, localhost and redis.internal; gives its file and its key's.
    fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let names = ["127.0.0.1", "localhost", "redis.internal"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        // OpenSSL takes a certificate with the name of its issuer for one that signed itself.
        params.distinguished_name.push(DnType::CommonName, name);
        // Redis shows it to other Redis servers as well.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = (self.file(&format!("{name}-cert.pem")), self.file(&format!("{name}-key.pem")));
        std::fs::write(&files.0, certificate.pem()).unwrap();
        std::fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }

    /// A server with a certificate of this authority, and a proxy in front of its port for TLS, which counts.
    async fn server(&self, demand_certificates: bool) -> (Redis, Proxy) {
        let (cert, key) = self.sign("server");
        let port = Port::free().unwrap();
        let demand = if demand_certificates { "yes" } else { "no" };
        let number = port.number().to_string();
        let args = [("--tls-port", number.as_str()), ("--tls-auth-clients", demand)];
        let args = args.map(|(name, value)| [name.to_owned(), value.to_owned()]);
        let ca = self.ca();
        let files = [("--tls-cert-file", &cert), ("--tls-key-file", &key), ("--tls-ca-cert-file", &ca)];
        let files = files.map(|(name, file)| [name.to_owned(), file.display().to_string()]);
        let options = server().with_persistence(Persistence::EveryWrite);
        let redis = Redis::start(options.with_args([args.concat(), files.concat()].concat())).await.unwrap();
        (redis, Proxy::start(port.address()).unwrap())
    }
}

fn over(proxy: &Proxy, tls: Tls) -> RedisRegistry {
    RedisRegistry::new(RedisOptions::standalone(proxy.address().to_string()).with_tls(tls)).unwrap()
}

fn trusting(ca: &Path) -> Tls {
    Tls::new().with_ca(Material::file(ca))
}

fn showing(tls: Tls, (certificate, key): (PathBuf, PathBuf)) -> Tls {
    tls.with_identity(Material::file(certificate), Material::file(key))
}

/// An operation fails at once, as what is wrong with who is who, and says `why`; and many of them are few connections.
async fn refused(proxy: &Proxy, tls: Tls, why: &str) {
    let registry = over(proxy, tls);
    let asked = Instant::now();
    let error = registry.lookup(&user()).await.unwrap_err();
    assert!(asked.elapsed() < Duration::from_secs(2), "{error} after {:?}", asked.elapsed());
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(error.message().contains(why), "{error}");
    let before = proxy.counters().accepted;
    let serving: Vec<_> = (0..5).map(|n| registrar(&registry, n, 2)).collect();
    let records: Vec<_> = (0..20).map(|_| Record::begin(&registry)).collect();
    sleep(Duration::from_secs(4)).await;
    let tried = proxy.counters().accepted - before;
    assert!(tried <= 12, "{tried} connections in 4 s: {error}");
    assert!(records.iter().all(|record| record.told(|told| told.stale && told.view.is_none())));
    drop(serving);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_the_right_authority_works() {
    let authority = Authority::new();
    let (_redis, proxy) = authority.server(false).await;
    super::serves(&over(&proxy, trusting(&authority.ca()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_authority_is_not_trusted() {
    let authority = Authority::new();
    let (_redis, proxy) = authority.server(false).await;
    let gone = trusting(&Authority::new().ca());
    refused(&proxy, gone, "the certificate authority cannot be read").await;
    let other = Authority::new();
    refused(&proxy, trusting(&other.ca()), "invalid peer certificate: UnknownIssuer").await;
    refused(&proxy, Tls::new().with_ca("no certificate"), "holds no certificate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_must_be_for_the_name_that_is_asked_for() {
    let authority = Authority::new();
    let (_redis, proxy) = authority.server(false).await;
    super::serves(&over(&proxy, trusting(&authority.ca()).with_server_name("redis.internal"))).await;
    let misnamed = trusting(&authority.ca()).with_server_name("elsewhere.example");
    refused(&proxy, misnamed, "elsewhere.example").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_shown() {
    let authority = Authority::new();
    let (_redis, proxy) = authority.server(true).await;
    super::serves(&over(&proxy, showing(trusting(&authority.ca()), authority.sign("client")))).await;
    let unreadable = showing(trusting(&authority.ca()), Authority::new().sign("gone"));
    refused(&proxy, unreadable, "the client certificate cannot be read").await;
}

/// In TLS 1.3 the server says so after the client has taken the handshake for done.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_client_certificate_it_is_said_that_one_is_wanted() {
    let authority = Authority::new();
    let (_redis, proxy) = authority.server(true).await;
    refused(&proxy, trusting(&authority.ca()), "CertificateRequired").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_of_another_authority_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (_redis, proxy) = authority.server(true).await;
    refused(&proxy, showing(trusting(&authority.ca()), other.sign("stranger")), "UnknownCA").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_something_else_than_tls_is_not_trusted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).unwrap();
    let answering = tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut question = [0; 64];
            let _ = connection.read(&mut question).await;
            let _ = connection.write_all(b"-ERR unknown command\r\n").await;
        }
    });
    let authority = Authority::new();
    refused(&proxy, trusting(&authority.ca()), "TLS").await;
    answering.abort();
}

/// It waits for the end of the line, and the client for an answer: neither can tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_asked_in_tls_on_its_plain_port_is_unavailable_in_time() {
    let redis = Redis::start(server()).await.unwrap();
    let proxy = Proxy::start(redis.address()).unwrap();
    let asked = Instant::now();
    let authority = Authority::new();
    let error = over(&proxy, trusting(&authority.ca())).lookup(&user()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unauthenticated), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert!(proxy.counters().accepted <= 1, "{:?}", proxy.counters());
}

/// The server gets certificates of another authority, and trusts only that one's; then the client's files are replaced.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_without_a_restart() {
    let old = Authority::new();
    let files = TempDir::new().unwrap();
    let at = |name: &str| files.path().join(name);
    let install = |authority: &Authority| {
        let (certificate, key) = authority.sign("client");
        for (from, to) in [(authority.ca(), "ca.pem"), (certificate, "cert.pem"), (key, "key.pem")] {
            std::fs::copy(from, at(to)).unwrap();
        }
    };
    install(&old);
    let (redis, proxy) = old.server(true).await;
    let registry = over(&proxy, showing(trusting(&at("ca.pem")), (at("cert.pem"), at("key.pem"))));
    let serving = registrar(&registry, 1, 30);
    timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    registry.register(&instance(2), &lasting()).await.unwrap();
    let record = Record::start(&registry).await;

    let new = Authority::new();
    let (certificate, key) = new.sign("server");
    let theirs = (old.file("server-cert.pem"), old.file("server-key.pem"));
    for (from, to) in [(certificate, theirs.0), (key, theirs.1), (new.ca(), old.ca())] {
        std::fs::copy(from, to).unwrap();
    }
    redis.restart().await.unwrap();
    let refused = async || {
        let error = registry.lookup(&user()).await.err()?;
        (error.kind() == ErrorKind::Unauthenticated).then_some(())
    };
    eventually("the old certificates are refused", PATIENCE, refused).await;
    install(&new);
    let accepted = async || registry.lookup(&user()).await.ok();
    let listed = eventually("the new certificates are used", Duration::from_secs(6), accepted).await;
    assert_eq!(listed.len(), 2, "no entry was lost");
    let revision = timeout(PATIENCE, serving.update(weighing(1, 7))).await.unwrap().unwrap();
    record.until_revision(revision, PATIENCE).await;
    record.told(|told| assert_eq!((&told.resets[..], told.deletions), (&[ResetCause::First][..], 0)));
}
