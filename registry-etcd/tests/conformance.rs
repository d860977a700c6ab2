//! The conformance suite on a real etcd of its own for every test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use registry_core::codec::Stored;
use registry_core::{Incarnation, Instance, InstanceId, OwnerToken, Registry, ServiceName};
use registry_etcd::{EtcdOptions, EtcdRegistry};
use registry_testing::conformance::{Backend, Link};
use registry_testing::servers::etcd::{Etcd, EtcdOptions as ServerOptions, Snapshot};
use registry_testing::servers::proxy::{Faults, Proxy};

#[derive(Debug)]
struct Harness {
    etcd: Etcd,
    backup: Mutex<Option<Snapshot>>,
}

impl Harness {
    async fn new() -> Self {
        let etcd = Etcd::start(ServerOptions::default().with_data_in("/dev/shm")).await.unwrap();
        Self { etcd, backup: Mutex::default() }
    }
}

fn key(service: &ServiceName, id: &InstanceId) -> String {
    format!("/registry/{service}/{id}")
}

#[derive(Debug)]
struct Wire(Proxy);

#[async_trait]
impl Link for Wire {
    async fn cut(&self) {
        self.0.set(Faults::refusing()).await;
        self.0.cut().await;
    }

    async fn black_hole(&self) {
        self.0.set(Faults::black_hole()).await;
    }

    async fn heal(&self) {
        self.0.heal().await;
    }
}

#[async_trait]
impl Backend for Harness {
    /// 4,096 are held, and the rest must take the second that a full queue waits.
    fn overflow(&self) -> usize {
        12_288
    }

    async fn client(&self) -> Arc<dyn Registry> {
        Arc::new(EtcdRegistry::new(EtcdOptions::new([self.etcd.endpoint()])).unwrap())
    }

    async fn linked_client(&self) -> (Arc<dyn Registry>, Arc<dyn Link>) {
        let proxy = Proxy::start(self.etcd.client_address()).unwrap();
        let url = format!("http://{}", proxy.address());
        (Arc::new(EtcdRegistry::new(EtcdOptions::new([url])).unwrap()), Arc::new(Wire(proxy)))
    }

    async fn pause(&self) {
        self.etcd.pause().await.unwrap();
    }

    async fn resume(&self) {
        self.etcd.resume().await.unwrap();
    }

    async fn compact(&self) {
        self.etcd.compact().await.unwrap();
    }

    async fn wipe(&self) {
        self.etcd.wipe().await.unwrap();
    }

    async fn restart(&self) {
        self.etcd.restart().await.unwrap();
    }

    async fn checkpoint(&self) {
        let snapshot = self.etcd.save().await.unwrap();
        *self.backup.lock().unwrap() = Some(snapshot);
    }

    async fn restore(&self) {
        let backup = self.backup.lock().unwrap().take().unwrap();
        self.etcd.restore(&backup).await.unwrap();
    }

    async fn delete(&self, service: &ServiceName, id: &InstanceId) {
        self.etcd.delete(key(service, id)).await.unwrap();
    }

    async fn overwrite(&self, instance: &Instance) {
        let stored = Stored::new(instance.clone(), Incarnation::default(), OwnerToken::random());
        self.etcd.put(key(instance.service(), instance.id()), stored.encode()).await.unwrap();
    }

    async fn put_bytes(&self, service: &ServiceName, id: &InstanceId, bytes: &[u8]) {
        self.etcd.put(key(service, id), bytes).await.unwrap();
    }
}

registry_testing::conformance! {
    mod etcd;
    harness: Harness::new().await;
    clock: real;
    controls: [link, pause, compact, wipe, restart, restore, operator, malformed];
}
