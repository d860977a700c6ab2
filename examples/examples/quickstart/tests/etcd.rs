//! On a real etcd.

use registry_testing::servers::etcd::{ClientTls, Etcd, EtcdOptions};
use registry_testing::servers::ports::Port;

use super::{certificate, comes_and_goes, nobody_at, story};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_an_etcd_the_story_is_the_same_and_nothing_of_it_is_left() {
    let etcd = Etcd::start(EtcdOptions::default()).await.unwrap();
    story(&format!("etcd://{}", etcd.client_address())).await;
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_an_error_within_seconds() {
    nobody_at("etcd").await;
}

#[tokio::test]
async fn with_its_wires_cut_an_etcd_is_away_from_all_clients_and_then_back() {
    let (etcd, gone) = (Etcd::start(EtcdOptions::default()).await.unwrap(), Port::free().unwrap());
    comes_and_goes(&format!("etcd://{},{}?request-timeout=2s", gone.address(), etcd.client_address())).await;
}

#[tokio::test]
async fn through_wires_certificates_are_still_checked_for_the_name_of_the_server() {
    let (_folder, cert, key) = certificate();
    let tls = ClientTls { cert: cert.clone(), key, client_ca: None };
    let etcd = Etcd::start(EtcdOptions::default().with_client_tls(tls)).await.unwrap();
    let port = etcd.client_address().port();
    comes_and_goes(&format!("etcds://localhost:{port}?ca={}&request-timeout=2s", cert.display())).await;
}
