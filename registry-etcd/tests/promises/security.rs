//! Users, passwords, tokens, TLS and client certificates: right ones work and can be replaced while all goes on; wrong ones are clear errors and no storm.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use registry_core::{ErrorKind, Instance, Lease, RegistrarState, Registry, ResetCause, Retry};
use registry_etcd::{EtcdOptions, EtcdRegistry, Material, Tls};
use registry_testing::servers::etcd::{ClientTls, Etcd};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::support::{
    ALONE, PATIENCE, Record, eventually, instance, lasting, registrar, server, user, weighing,
};

/// The password of root.
const ROOT: &str = "root-password";

/// An etcd that demands users, with one of its own for services, who may use `/registry/` and nothing else.
async fn guarded(args: &[&str]) -> Etcd {
    let etcd = Etcd::start(server().with_args(args.iter().copied())).await.unwrap();
    grant(&etcd, "READWRITE").await;
    etcd.enable_auth(ROOT).await.unwrap();
    etcd
}

async fn grant(etcd: &Etcd, permission: &str) {
    etcd.ask("/v3/auth/role/add", json!({ "name": "registry" })).await.unwrap();
    let (start, end) = ("L3JlZ2lzdHJ5Lw==", "L3JlZ2lzdHJ5MA=="); // "/registry/", "/registry0"
    let permission = json!({ "permType": permission, "key": start, "range_end": end });
    etcd.ask("/v3/auth/role/grant", json!({ "name": "registry", "perm": permission })).await.unwrap();
    etcd.ask("/v3/auth/user/add", json!({ "name": "service", "password": "first" })).await.unwrap();
    etcd.ask("/v3/auth/user/grant", json!({ "user": "service", "role": "registry" })).await.unwrap();
}

async fn change_password(etcd: &Etcd, password: &str) {
    etcd.ask("/v3/auth/user/changepw", json!({ "name": "service", "password": password })).await.unwrap();
}

fn as_service(etcd: &Etcd, password: impl Into<Material>) -> EtcdRegistry {
    EtcdRegistry::new(EtcdOptions::new([etcd.endpoint()]).with_user("service", password)).unwrap()
}

async fn logins(etcd: &Etcd) -> f64 {
    etcd.metric("grpc_server_started_total{grpc_method=\"Authenticate\"").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_rights_on_the_prefix_can_do_everything() {
    let etcd = guarded(&[]).await;
    let registry = as_service(&etcd, "first");
    let serving = registrar(&registry, 1, 5);
    timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let record = Record::start(&registry).await;
    let revision = serving.update(weighing(1, 7)).await.unwrap();
    record.until_revision(revision, PATIENCE).await;
    assert_eq!(registry.services("").await.unwrap(), [user()]);
    serving.shutdown().await.unwrap();
    assert!(registry.lookup(&user()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_unauthenticated_and_no_storm() {
    let etcd = guarded(&[]).await;
    let nobody = EtcdRegistry::new(EtcdOptions::new([etcd.endpoint()])).unwrap();
    let error = nobody.lookup(&user()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");

    let registry = as_service(&etcd, "wrong");
    let error = registry.register(&instance(1), &lasting()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unauthenticated, Retry::AfterBackoff), "{error}");
    assert!(!error.to_string().contains("wrong"), "an error repeats the password: {error}");
    // A whole process of them, for a while.
    let before = logins(&etcd).await;
    let serving: Vec<_> = (0..10).map(|n| registrar(&registry, n, 2)).collect();
    let records: Vec<_> = (0..10).map(|_| Record::begin(&registry)).collect();
    sleep(Duration::from_secs(5)).await;
    let tried = logins(&etcd).await - before;
    assert!((1.0..=5.0).contains(&tried), "{tried} logins in 5 s");
    for record in &records {
        assert!(record.told(|told| told.stale && told.view.is_none()));
    }
    drop(serving);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_may_not_do_is_permission_denied() {
    let etcd = guarded(&[]).await;
    let options = EtcdOptions::new([etcd.endpoint()]).with_user("service", "first").with_prefix("/elsewhere");
    let registry = EtcdRegistry::new(options).unwrap();
    let error = registry.register(&instance(1), &lasting()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    let error = registry.lookup(&user()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
}

/// Their keys are looked at together, and etcd refuses that as a whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_may_not_be_read_any_more_fails_its_own_heartbeats_and_no_others() {
    let etcd = Etcd::start(server()).await.unwrap();
    let permission = |start: &str, end: &str| {
        let [start, end] = [start, end].map(|key| STANDARD.encode(key));
        json!({ "permType": "READWRITE", "key": start, "range_end": end })
    };
    let other = permission("/registry/other.rpc/", "/registry/other.rpc0");
    etcd.ask("/v3/auth/role/add", json!({ "name": "registry" })).await.unwrap();
    let all = [permission("/registry/user.rpc/", "/registry/user.rpc0"), permission("/registry/~store", "")];
    for permission in all.iter().chain([&other]) {
        etcd.ask("/v3/auth/role/grant", json!({ "name": "registry", "perm": permission })).await.unwrap();
    }
    etcd.ask("/v3/auth/user/add", json!({ "name": "service", "password": "first" })).await.unwrap();
    etcd.ask("/v3/auth/user/grant", json!({ "user": "service", "role": "registry" })).await.unwrap();
    etcd.enable_auth(ROOT).await.unwrap();
    let registry = as_service(&etcd, "first");
    let (mut users, mut others) = (Vec::new(), Vec::new());
    for n in 0..10 {
        users.push(registry.register(&instance(n), &lasting()).await.unwrap().lease);
        let elsewhere = Instance::builder("other.rpc").endpoint(format!("10.0.1.{n}:8080")).build().unwrap();
        others.push(registry.register(&elsewhere, &lasting()).await.unwrap().lease);
    }
    let beaten = async |leases: &[Lease]| {
        let beaten = join_all(leases.iter().map(|lease| registry.keepalive(lease))).await;
        beaten.into_iter().map(|beaten| beaten.err().map(|error| error.kind())).collect::<Vec<_>>()
    };
    let both = async || tokio::join!(beaten(&others), beaten(&users));
    assert_eq!(both().await, (vec![None; 10], vec![None; 10]));
    let revoked = json!({ "role": "registry", "key": other["key"], "range_end": other["range_end"] });
    etcd.ask("/v3/auth/role/revoke", revoked).await.unwrap();
    assert_eq!(both().await, (vec![Some(ErrorKind::PermissionDenied); 10], vec![None; 10]));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_run_out_are_replaced_without_anybody_noticing() {
    let etcd = guarded(&["--auth-token-ttl=1"]).await;
    let registry = as_service(&etcd, "first");
    let registration = registry.register(&instance(1), &lasting()).await.unwrap();
    let before = logins(&etcd).await;
    for weight in 1..=4 {
        // A token that is used lives on, so nobody may use it for a while.
        sleep(Duration::from_secs(3)).await;
        match weight % 2 {
            0 => registry.keepalive(&registration.lease).await.unwrap(),
            _ => drop(registry.update(&registration.lease, &weighing(1, weight)).await.unwrap()),
        }
    }
    let renewed = logins(&etcd).await - before;
    assert!((1.0..=8.0).contains(&renewed), "{renewed} logins");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_replaced_without_a_restart() {
    let etcd = guarded(&[]).await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "first\n").unwrap();
    let registry = as_service(&etcd, Material::file(&file));
    let serving = registrar(&registry, 1, 10);
    timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let record = Record::start(&registry).await;
    change_password(&etcd, "second").await;
    // Between the change there and the change here, requests fail, and say why.
    let refused = async || {
        let error = registry.lookup(&user()).await.err()?;
        (error.kind() == ErrorKind::Unauthenticated).then_some(())
    };
    eventually("the old password is refused", PATIENCE, refused).await;
    std::fs::write(&file, "second\n").unwrap();
    let accepted = async || registry.lookup(&user()).await.ok();
    eventually("the new password is used", Duration::from_secs(3), accepted).await;
    let revision = timeout(PATIENCE, serving.update(weighing(1, 7))).await.unwrap().unwrap();
    record.until_revision(revision, PATIENCE).await;
    assert!(matches!(*serving.state(), RegistrarState::Registered { .. }));
    record.told(|told| assert_eq!((&told.resets[..], told.deletions), (&[ResetCause::First][..], 0)));
}

/// As after every fail-over: many clients lose sight of etcd together, for longer than a pulse waits.
#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_was_slow_for_a_while_is_not_asked_to_check_passwords_again() {
    const CLIENTS: usize = 60;
    let _alone = ALONE.lock().await;
    let etcd = guarded(&[]).await;
    let mut records = Vec::new();
    for _ in 0..CLIENTS {
        records.push(Record::start(&as_service(&etcd, "first")).await);
    }
    let stale = || records.iter().filter(|record| record.told(|told| told.stale)).count();
    let before = logins(&etcd).await;
    etcd.pause().await.unwrap();
    eventually("it is noticed", PATIENCE, async || (stale() == CLIENTS).then_some(())).await;
    etcd.resume().await.unwrap();
    eventually("all are live again", Duration::from_secs(10), async || (stale() == 0).then_some(())).await;
    let again = logins(&etcd).await - before;
    assert!(again <= CLIENTS as f64 / 2.0, "{again} logins of {CLIENTS} clients");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_only_read_can_look_and_watch() {
    let etcd = Etcd::start(server()).await.unwrap();
    let writer = EtcdRegistry::new(EtcdOptions::new([etcd.endpoint()])).unwrap();
    writer.register(&instance(1), &lasting()).await.unwrap();
    grant(&etcd, "READ").await;
    etcd.enable_auth(ROOT).await.unwrap();
    let reader = as_service(&etcd, "first");
    assert_eq!(reader.lookup(&user()).await.unwrap().len(), 1);
    Record::start(&reader).await.told(|told| assert_eq!(told.view.as_ref().unwrap().len(), 1));
    let error = reader.register(&instance(2), &lasting()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_can_be_configured_before_they_are_demanded() {
    let etcd = Etcd::start(server()).await.unwrap();
    let registry = as_service(&etcd, "first");
    let registration = registry.register(&instance(1), &lasting()).await.unwrap();
    etcd.ask("/v3/auth/user/add", json!({ "name": "service", "password": "first" })).await.unwrap();
    etcd.ask("/v3/auth/role/add", json!({ "name": "root" })).await.unwrap();
    etcd.ask("/v3/auth/user/grant", json!({ "user": "service", "role": "root" })).await.unwrap();
    etcd.enable_auth(ROOT).await.unwrap();
    registry.keepalive(&registration.lease).await.unwrap();
    assert_eq!(registry.lookup(&user()).await.unwrap().len(), 1);
}

/// A certificate authority, and what it signs, as files.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Signs a certificate for 127.0.0.1 and localhost; gives its file and its key's.
    fn sign(&self, name: &str, usages: &[ExtendedKeyUsagePurpose]) -> (PathBuf, PathBuf) {
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = usages.to_vec();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |end: &str| self.folder.path().join(format!("{name}-{end}.pem"));
        std::fs::write(file("cert"), certificate.pem()).unwrap();
        std::fs::write(file("key"), key.serialize_pem()).unwrap();
        (file("cert"), file("key"))
    }

    fn server(&self, demand_certificates: bool) -> ClientTls {
        // etcd shows it to itself as well: its JSON gateway is a client of its own.
        let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let (cert, key) = self.sign("server", &both);
        ClientTls { cert, key, client_ca: demand_certificates.then(|| self.ca()) }
    }

    fn client(&self, name: &str) -> (PathBuf, PathBuf) {
        self.sign(name, &[ExtendedKeyUsagePurpose::ClientAuth])
    }
}

fn over(etcd: &Etcd, tls: Tls) -> EtcdRegistry {
    EtcdRegistry::new(EtcdOptions::new([etcd.endpoint()]).with_tls(tls)).unwrap()
}

fn trusting(ca: &Path) -> Tls {
    Tls::new().with_ca(Material::file(ca))
}

fn showing(tls: Tls, (certificate, key): (PathBuf, PathBuf)) -> Tls {
    tls.with_identity(Material::file(certificate), Material::file(key))
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_the_right_authority_works_and_with_another_says_so() {
    let (authority, other) = (Authority::new(), Authority::new());
    let etcd = Etcd::start(server().with_client_tls(authority.server(false))).await.unwrap();
    let registry = over(&etcd, trusting(&authority.ca()));
    registry.register(&instance(1), &lasting()).await.unwrap();
    Record::start(&registry).await.told(|told| assert_eq!(told.view.as_ref().unwrap().len(), 1));

    let error = over(&etcd, trusting(&other.ca())).lookup(&user()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(error.to_string().contains("certificate is not trusted"), "{error}");
    let error = over(&etcd, Tls::new().with_ca("no certificate")).lookup(&user()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    let misnamed = over(&etcd, trusting(&authority.ca()).with_server_name("elsewhere.example"));
    let error = misnamed.lookup(&user()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_a_wrong_certificate_keeps_nobody_from_the_others() {
    let (authority, other) = (Authority::new(), Authority::new());
    let wrong = Etcd::start(server().with_client_tls(other.server(false))).await.unwrap();
    let right = Etcd::start(server().with_client_tls(authority.server(false))).await.unwrap();
    grant(&right, "READWRITE").await;
    right.enable_auth(ROOT).await.unwrap();
    let options = EtcdOptions::new([wrong.endpoint(), right.endpoint()])
        .with_first_member(0)
        .with_tls(trusting(&authority.ca()))
        .with_user("service", "first");
    let registry = EtcdRegistry::new(options).unwrap();
    registry.register(&instance(1), &lasting()).await.unwrap();
    assert_eq!(registry.lookup(&user()).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_shown_and_without_one_it_says_so() {
    let authority = Authority::new();
    let etcd = Etcd::start(server().with_client_tls(authority.server(true))).await.unwrap();
    let registry = over(&etcd, showing(trusting(&authority.ca()), authority.client("one")));
    registry.register(&instance(1), &lasting()).await.unwrap();

    let error = over(&etcd, trusting(&authority.ca())).lookup(&user()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
    let stranger = Authority::new().client("stranger");
    // Its folder is gone: the files cannot be read.
    let error = over(&etcd, showing(trusting(&authority.ca()), stranger)).lookup(&user()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    let others = Authority::new();
    let showing_others = showing(trusting(&authority.ca()), others.client("stranger"));
    let error = over(&etcd, showing_others).lookup(&user()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
}

/// The servers get certificates of another authority, and trust only that one's; then the client's files are replaced.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_without_a_restart() {
    let old = Authority::new();
    let tls = old.server(true);
    let files = TempDir::new().unwrap();
    let at = |name: &str| files.path().join(name);
    let install = |authority: &Authority, name: &str| {
        let (certificate, key) = authority.client(name);
        for (from, to) in [(authority.ca(), "ca.pem"), (certificate, "cert.pem"), (key, "key.pem")] {
            std::fs::copy(from, at(to)).unwrap();
        }
    };
    install(&old, "client");
    let etcd = Etcd::start(server().with_client_tls(tls.clone())).await.unwrap();
    let registry = over(&etcd, showing(trusting(&at("ca.pem")), (at("cert.pem"), at("key.pem"))));
    let serving = registrar(&registry, 1, 30);
    timeout(PATIENCE, serving.registered()).await.unwrap().unwrap();
    let record = Record::start(&registry).await;

    let new = Authority::new();
    let of_new = new.server(true);
    for (from, to) in [(of_new.cert, tls.cert), (of_new.key, tls.key), (new.ca(), old.ca())] {
        std::fs::copy(from, to).unwrap();
    }
    etcd.restart().await.unwrap();
    let refused = async || {
        let error = registry.lookup(&user()).await.err()?;
        (error.kind() == ErrorKind::Unauthenticated).then_some(())
    };
    eventually("the old certificates are refused", PATIENCE, refused).await;
    install(&new, "client");
    let accepted = async || registry.lookup(&user()).await.ok();
    let listed = eventually("the new certificates are used", Duration::from_secs(3), accepted).await;
    assert_eq!(listed.len(), 1, "the entry was not lost");
    let revision = timeout(PATIENCE, serving.update(weighing(1, 7))).await.unwrap().unwrap();
    record.until_revision(revision, PATIENCE).await;
    record.told(|told| assert_eq!((&told.resets[..], told.deletions), (&[ResetCause::First][..], 0)));
}
