//! The conformance suite on a Redis in a container of its own for every test. What it is for: the Redis or Valkey that users run, from an image, on the
//! engine's network. What takes a backup, a disk or a full memory is left to the suite on child processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::sync::Arc;

use async_trait::async_trait;
use registry_core::codec::Stored;
use registry_core::{Incarnation, Instance, InstanceId, OwnerToken, Registry, ServiceName};
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::conformance::{Backend, Link};
use registry_testing::servers::containers::{ContainerOptions, RedisContainer};
use registry_testing::servers::proxy::Proxy;
use registry_testing::servers::redis::{Persistence, Reply};

#[derive(Debug)]
struct Harness(RedisContainer);

impl Harness {
    async fn new() -> Self {
        Self(RedisContainer::start(ContainerOptions::redis(), Persistence::EverySecond).await.unwrap())
    }

    async fn command(&self, words: &[impl AsRef<[u8]>]) -> Reply {
        self.0.command(words).await.unwrap()
    }
}

async fn client(address: impl ToString) -> Arc<dyn Registry> {
    let registry = RedisRegistry::new(RedisOptions::standalone(address.to_string())).unwrap();
    registry.inspect().await.unwrap();
    Arc::new(registry)
}

fn key(service: &ServiceName, part: &str) -> String {
    format!("registry:{{{service}}}:{part}")
}

#[async_trait]
impl Backend for Harness {
    /// 4,096 are held, and the rest must take the second that a full queue waits.
    fn overflow(&self) -> usize {
        12_288
    }

    async fn client(&self) -> Arc<dyn Registry> {
        client(self.0.address()).await
    }

    async fn linked_client(&self) -> (Arc<dyn Registry>, Arc<dyn Link>) {
        let proxy = Proxy::start(self.0.address()).unwrap();
        (client(proxy.address()).await, Arc::new(proxy))
    }

    async fn pause(&self) {
        self.0.container().pause().await.unwrap();
    }

    async fn resume(&self) {
        self.0.container().resume().await.unwrap();
    }

    async fn compact(&self) {
        for log in self.command(&["KEYS", "registry:*:log"]).await.list() {
            self.command(&["XTRIM", &log.text(), "MAXLEN", "=", "0"]).await;
        }
    }

    async fn wipe(&self) {
        self.0.container().wipe().await.unwrap();
    }

    async fn restart(&self) {
        self.0.container().restart().await.unwrap();
    }

    async fn delete(&self, service: &ServiceName, id: &InstanceId) {
        self.command(&["HDEL", &key(service, "instances"), id.as_str()]).await;
    }

    async fn overwrite(&self, instance: &Instance) {
        let stored = Stored::new(instance.clone(), Incarnation::default(), OwnerToken::random());
        self.put_bytes(instance.service(), instance.id(), &stored.encode()).await;
    }

    async fn put_bytes(&self, service: &ServiceName, id: &InstanceId, bytes: &[u8]) {
        let key = key(service, "instances");
        self.command(&[b"HSET", key.as_bytes(), id.as_str().as_bytes(), bytes]).await;
    }

    async fn expire(&self, service: &ServiceName, id: &InstanceId) {
        self.command(&["ZADD", &key(service, "deadlines"), "XX", "0", id.as_str()]).await;
    }
}

registry_testing::conformance! {
    mod container;
    harness: Harness::new().await;
    clock: real;
    controls: [link, pause, compact, wipe, restart, operator, malformed, expire];
}
