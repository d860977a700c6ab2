//! A real etcd for every test: one node, or what the test's controls need beyond that; and what an operator does to the keys of a layout.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use registry_core::codec::Stored;
use registry_core::{Incarnation, Instance, InstanceId, OwnerToken, Registry, ServiceName};
use registry_etcd::{EtcdOptions, EtcdRegistry, Layout};
use registry_testing::conformance::{Backend, Control, Link};
use registry_testing::servers::etcd::{Etcd, EtcdCluster, EtcdOptions as ServerOptions, Snapshot, etcd_3_5};
use registry_testing::servers::proxy::Proxy;
use serde_json::json;

/// Enough for every test that needs it, and filled in a moment.
const SMALL_QUOTA: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) struct Harness {
    layout: Layout,
    servers: Servers,
    backup: Mutex<Option<Snapshot>>,
}

#[derive(Debug)]
enum Servers {
    One(Box<Etcd>),
    Three(EtcdCluster),
}

impl Harness {
    /// With the etcd in `PATH`.
    pub(crate) async fn prepared_for(layout: Layout, needs: &[Control]) -> Self {
        Self::with(ServerOptions::default(), layout, needs).await
    }

    /// With the etcd 3.5 beside it.
    pub(crate) async fn of_3_5_prepared_for(layout: Layout, needs: &[Control]) -> Self {
        Self::with(ServerOptions::default().with_program(etcd_3_5().unwrap()), layout, needs).await
    }

    async fn with(mut options: ServerOptions, layout: Layout, needs: &[Control]) -> Self {
        if needs.contains(&Control::PowerCut) {
            options = options.with_disk();
        }
        if needs.contains(&Control::Capacity) {
            options = options.with_quota(SMALL_QUOTA);
        }
        let servers = if needs.contains(&Control::LoseMinority) {
            Servers::Three(EtcdCluster::start(3, options).await.unwrap())
        } else {
            Servers::One(Box::new(Etcd::start(options).await.unwrap()))
        };
        Self { layout, servers, backup: Mutex::default() }
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

    /// The key with the entry's JSON.
    fn key(&self, service: &ServiceName, id: &InstanceId) -> String {
        match self.layout {
            Layout::GoZero => format!("{service}.~meta/{id}"),
            _ => format!("/registry/{service}/{id}"),
        }
    }

    fn registry(&self, endpoints: Vec<String>) -> Arc<dyn Registry> {
        let options = EtcdOptions::new(endpoints).with_layout(self.layout);
        Arc::new(EtcdRegistry::new(options).unwrap())
    }

    /// The key that go-zero reads of an entry: the one with its address.
    async fn address_key(&self, service: &ServiceName, id: &InstanceId) -> String {
        let stored = self.etcd().get(self.key(service, id)).await.unwrap().expect("an entry");
        let address = Stored::decode(&stored).unwrap().instance.endpoint().authority();
        let (start, end) = (format!("{service}/"), format!("{service}0"));
        let range = json!({ "key": STANDARD.encode(start), "range_end": STANDARD.encode(end) });
        let answer = self.etcd().ask("/v3/kv/range", range).await.unwrap();
        let mut keys = answer["kvs"].as_array().expect("an address").iter();
        let of_entry = |kv: &&serde_json::Value| kv["value"] == STANDARD.encode(&address);
        let found = keys.find(of_entry).expect("the entry's address");
        String::from_utf8(STANDARD.decode(found["key"].as_str().unwrap()).unwrap()).unwrap()
    }
}

/// The number under which an address lies that no lease holds.
fn unleased_number(address: &str) -> String {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = [0; 8].iter().chain(address.as_bytes()).fold(0xcbf2_9ce4_8422_2325, step);
    format!("{:020}", hash & (u64::MAX >> 1))
}

#[async_trait]
impl Backend for Harness {
    /// 4,096 are held, and the rest must take the second that a full queue waits.
    fn overflow(&self) -> usize {
        12_288
    }

    async fn client(&self) -> Arc<dyn Registry> {
        self.registry(self.endpoints())
    }

    async fn linked_client(&self) -> (Arc<dyn Registry>, Arc<dyn Link>) {
        let proxy = Proxy::start(self.etcd().client_address()).unwrap();
        (self.registry(vec![format!("http://{}", proxy.address())]), Arc::new(proxy))
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
        let key = match self.layout {
            // Who knows go-zero only deletes what go-zero reads.
            Layout::GoZero => self.address_key(service, id).await,
            _ => self.key(service, id),
        };
        self.etcd().delete(key).await.unwrap();
    }

    async fn overwrite(&self, instance: &Instance) {
        let stored = Stored::new(instance.clone(), Incarnation::default(), OwnerToken::random());
        self.put_bytes(instance.service(), instance.id(), &stored.encode()).await;
        if self.layout == Layout::GoZero {
            let address = instance.endpoint().authority();
            let key = format!("{}/{}", instance.service(), unleased_number(&address));
            self.etcd().put(key, address).await.unwrap();
        }
    }

    async fn put_bytes(&self, service: &ServiceName, id: &InstanceId, bytes: &[u8]) {
        self.etcd().put(self.key(service, id), bytes).await.unwrap();
    }

    async fn expire(&self, service: &ServiceName, id: &InstanceId) {
        self.etcd().expire(self.key(service, id)).await.unwrap();
    }

    async fn fill(&self) {
        self.etcd().fill().await.unwrap();
    }

    async fn unfill(&self) {
        self.etcd().make_room().await.unwrap();
    }
}
