//! The conformance suite on an etcd in a container of its own for every test. What it is for: the etcd that users run, from an image, on the
//! engine's network. What takes a backup is left to the suite on child processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::sync::Arc;

use async_trait::async_trait;
use registry_core::codec::Stored;
use registry_core::{Incarnation, Instance, InstanceId, OwnerToken, Registry, ServiceName};
use registry_etcd::{EtcdOptions, EtcdRegistry};
use registry_testing::conformance::{Backend, Link};
use registry_testing::servers::containers::{ContainerOptions, EtcdContainer};
use registry_testing::servers::proxy::Proxy;

#[derive(Debug)]
struct Harness(EtcdContainer);

impl Harness {
    async fn new() -> Self {
        Self(EtcdContainer::start(ContainerOptions::etcd()).await.unwrap())
    }
}

fn client(url: String) -> Arc<dyn Registry> {
    Arc::new(EtcdRegistry::new(EtcdOptions::new([url])).unwrap())
}

fn key(service: &ServiceName, id: &InstanceId) -> String {
    format!("/registry/{service}/{id}")
}

#[async_trait]
impl Backend for Harness {
    /// 4,096 are held, and the rest must take the second that a full queue waits.
    fn overflow(&self) -> usize {
        12_288
    }

    async fn client(&self) -> Arc<dyn Registry> {
        client(self.0.endpoint())
    }

    async fn linked_client(&self) -> (Arc<dyn Registry>, Arc<dyn Link>) {
        let proxy = Proxy::start(self.0.address()).unwrap();
        (client(format!("http://{}", proxy.address())), Arc::new(proxy))
    }

    async fn pause(&self) {
        self.0.container().pause().await.unwrap();
    }

    async fn resume(&self) {
        self.0.container().resume().await.unwrap();
    }

    async fn compact(&self) {
        self.0.control().compact().await.unwrap();
    }

    async fn wipe(&self) {
        self.0.container().wipe().await.unwrap();
    }

    async fn restart(&self) {
        self.0.container().restart().await.unwrap();
    }

    async fn delete(&self, service: &ServiceName, id: &InstanceId) {
        self.0.control().delete(key(service, id)).await.unwrap();
    }

    async fn overwrite(&self, instance: &Instance) {
        let stored = Stored::new(instance.clone(), Incarnation::default(), OwnerToken::random());
        self.put_bytes(instance.service(), instance.id(), &stored.encode()).await;
    }

    async fn put_bytes(&self, service: &ServiceName, id: &InstanceId, bytes: &[u8]) {
        self.0.control().put(key(service, id), bytes).await.unwrap();
    }
}

registry_testing::conformance! {
    mod container;
    harness: Harness::new().await;
    clock: real;
    controls: [link, pause, compact, wipe, restart, operator, malformed];
}
