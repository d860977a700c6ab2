//! A real Redis for every test, and what an operator does to the keys of a service.

use std::sync::Arc;

use async_trait::async_trait;
use registry_core::codec::Stored;
use registry_core::{Incarnation, Instance, InstanceId, OwnerToken, Registry, ServiceName};
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::conformance::{Backend, Control, Link};
use registry_testing::servers::proxy::Proxy;
use registry_testing::servers::redis::{Persistence, Redis, RedisOptions as ServerOptions};

#[derive(Debug)]
pub(crate) struct Harness {
    redis: Redis,
}

impl Harness {
    pub(crate) async fn standalone(persistence: Persistence, _needs: &[Control]) -> Self {
        let redis = Redis::start(ServerOptions::default().with_persistence(persistence)).await.unwrap();
        Self { redis }
    }

    async fn registry(&self, server: String) -> Arc<dyn Registry> {
        let registry = RedisRegistry::new(RedisOptions::standalone(server)).unwrap();
        registry.inspect().await.unwrap();
        Arc::new(registry)
    }

    fn key(service: &ServiceName, part: &str) -> String {
        format!("registry:{{{service}}}:{part}")
    }
}

#[async_trait]
impl Backend for Harness {
    /// 4,096 are held, and the rest must take the second that a full queue waits.
    fn overflow(&self) -> usize {
        12_288
    }

    async fn client(&self) -> Arc<dyn Registry> {
        self.registry(self.redis.address().to_string()).await
    }

    async fn linked_client(&self) -> (Arc<dyn Registry>, Arc<dyn Link>) {
        let proxy = Proxy::start(self.redis.address()).unwrap();
        (self.registry(proxy.address().to_string()).await, Arc::new(proxy))
    }

    async fn pause(&self) {
        self.redis.pause().await.unwrap();
    }

    async fn resume(&self) {
        self.redis.resume().await.unwrap();
    }

    async fn compact(&self) {
        let keys = self.redis.command(&["KEYS", "registry:*:log"]).await.unwrap();
        let registry_testing::servers::redis::Reply::List(keys) = keys else { panic!("a list") };
        for key in keys {
            self.redis.command(&["XTRIM", &key.text(), "MAXLEN", "=", "0"]).await.unwrap();
        }
    }

    async fn wipe(&self) {
        self.redis.flush_all().await.unwrap();
    }

    async fn restart(&self) {
        self.redis.restart().await.unwrap();
    }

    async fn delete(&self, service: &ServiceName, id: &InstanceId) {
        self.redis.command(&["HDEL", &Self::key(service, "instances"), id.as_str()]).await.unwrap();
    }

    async fn overwrite(&self, instance: &Instance) {
        let stored = Stored::new(instance.clone(), Incarnation::default(), OwnerToken::random());
        self.put_bytes(instance.service(), instance.id(), &stored.encode()).await;
    }

    async fn put_bytes(&self, service: &ServiceName, id: &InstanceId, bytes: &[u8]) {
        let key = Self::key(service, "instances");
        self.redis.command(&[b"HSET", key.as_bytes(), id.as_str().as_bytes(), bytes]).await.unwrap();
    }

    async fn expire(&self, service: &ServiceName, id: &InstanceId) {
        let key = Self::key(service, "deadlines");
        self.redis.command(&["ZADD", &key, "XX", "0", id.as_str()]).await.unwrap();
    }
}
