//! The conformance suite on a real etcd of its own for every test: one node, or what the test's controls need beyond that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use registry_core::codec::Stored;
use registry_core::{Incarnation, Instance, InstanceId, OwnerToken, Registry, ServiceName};
use registry_etcd::{EtcdOptions, EtcdRegistry};
use registry_testing::conformance::{Backend, Control, Link};
use registry_testing::servers::etcd::{Etcd, EtcdCluster, EtcdOptions as ServerOptions, Snapshot};
use registry_testing::servers::proxy::{Faults, Proxy};

/// Enough for every test that needs it, and filled in a moment.
const SMALL_QUOTA: u64 = 1 << 20;

#[derive(Debug)]
struct Harness {
    servers: Servers,
    backup: Mutex<Option<Snapshot>>,
}

#[derive(Debug)]
enum Servers {
    One(Etcd),
    Three(EtcdCluster),
}

impl Harness {
    async fn prepared_for(needs: &[Control]) -> Self {
        let mut options = ServerOptions::default().with_data_in("/dev/shm");
        if needs.contains(&Control::PowerCut) {
            options = options.with_disk();
        }
        if needs.contains(&Control::Capacity) {
            options = options.with_quota(SMALL_QUOTA);
        }
        let servers = if needs.contains(&Control::LoseMinority) {
            Servers::Three(EtcdCluster::start(3, options).await.unwrap())
        } else {
            Servers::One(Etcd::start(options).await.unwrap())
        };
        Self { servers, backup: Mutex::default() }
    }

    /// The node of all tests but those that need a cluster.
    fn etcd(&self) -> &Etcd {
        match &self.servers {
            Servers::One(etcd) => etcd,
            Servers::Three(_) => panic!("this control is for a single node"),
        }
    }

    fn endpoints(&self) -> Vec<String> {
        match &self.servers {
            Servers::One(etcd) => vec![etcd.endpoint()],
            Servers::Three(cluster) => cluster.endpoints(),
        }
    }

    /// The key of an entry that is there, or of the one that an operator would write.
    async fn key(&self, service: &ServiceName, id: &InstanceId) -> String {
        format!("/registry/{service}/{id}")
    }

    fn registry(endpoints: Vec<String>) -> Arc<dyn Registry> {
        Arc::new(EtcdRegistry::new(EtcdOptions::new(endpoints)).unwrap())
    }
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
        Self::registry(self.endpoints())
    }

    async fn linked_client(&self) -> (Arc<dyn Registry>, Arc<dyn Link>) {
        let proxy = Proxy::start(self.etcd().client_address()).unwrap();
        (Self::registry(vec![format!("http://{}", proxy.address())]), Arc::new(Wire(proxy)))
    }

    async fn pause(&self) {
        self.etcd().pause().await.unwrap();
    }

    async fn resume(&self) {
        self.etcd().resume().await.unwrap();
    }

    async fn compact(&self) {
        self.etcd().compact().await.unwrap();
    }

    async fn wipe(&self) {
        self.etcd().wipe().await.unwrap();
    }

    async fn restart(&self) {
        self.etcd().restart().await.unwrap();
    }

    async fn power_cut(&self) {
        self.etcd().power_cut().await.unwrap();
    }

    async fn lose_minority(&self) {
        let Servers::Three(cluster) = &self.servers else { panic!("one node has no minority to lose") };
        let leader = cluster.leader().await.unwrap();
        cluster.lose(leader).await.unwrap();
        cluster.wait_new_leader(leader).await.unwrap();
    }

    async fn checkpoint(&self) {
        let snapshot = self.etcd().save().await.unwrap();
        *self.backup.lock().unwrap() = Some(snapshot);
    }

    async fn restore(&self) {
        let backup = self.backup.lock().unwrap().take().unwrap();
        self.etcd().restore(&backup).await.unwrap();
    }

    async fn delete(&self, service: &ServiceName, id: &InstanceId) {
        self.etcd().delete(self.key(service, id).await).await.unwrap();
    }

    async fn overwrite(&self, instance: &Instance) {
        let stored = Stored::new(instance.clone(), Incarnation::default(), OwnerToken::random());
        self.put_bytes(instance.service(), instance.id(), &stored.encode()).await;
    }

    async fn put_bytes(&self, service: &ServiceName, id: &InstanceId, bytes: &[u8]) {
        self.etcd().put(self.key(service, id).await, bytes).await.unwrap();
    }

    async fn expire(&self, service: &ServiceName, id: &InstanceId) {
        self.etcd().expire(self.key(service, id).await).await.unwrap();
    }

    async fn fill(&self) {
        self.etcd().fill().await.unwrap();
    }

    async fn unfill(&self) {
        self.etcd().make_room().await.unwrap();
    }
}

registry_testing::conformance! {
    mod etcd;
    harness |needs|: Harness::prepared_for(needs).await;
    clock: real;
    controls: [
        link, pause, compact, wipe, restart, power_cut, lose_minority, restore, operator, malformed, expire, capacity,
    ];
}
