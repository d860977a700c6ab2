//! etcd, by what passes a proxy.

use benches::clients::{Ours, RawEtcd};
use benches::topics::stores::lab;
use registry_core::RegistryExt;
use registry_etcd::{EtcdOptions, EtcdRegistry};
use registry_testing::servers::etcd::Etcd;

use crate::recorder::Recorder;
use crate::{assert_the_same, told};

#[tokio::test]
async fn the_raw_client_of_etcd_sends_what_the_registry_sends() {
    let server = || async {
        let etcd = Etcd::start(lab().etcd_options()).await.unwrap();
        let recorder = Recorder::start(etcd.endpoint()).await;
        let url = format!("http://{}", recorder.address);
        (etcd, recorder, url)
    };
    let (_first, mut tape, url) = server().await;
    let raw = told(RawEtcd::connect(&url).await.unwrap(), &mut tape).await;
    let (_second, mut tape, url) = server().await;
    let registry = Ours::new(EtcdRegistry::new(EtcdOptions::new([url])).unwrap().shared());
    let ours = told(registry, &mut tape).await;
    assert_the_same(&ours, &raw);
}
