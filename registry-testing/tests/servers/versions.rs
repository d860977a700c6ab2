//! The same control over the second installed version of etcd.

use registry_testing::servers::etcd::{Etcd, EtcdCluster, EtcdOptions, etcd_3_5};

fn options() -> EtcdOptions {
    EtcdOptions::default().with_program(etcd_3_5().unwrap())
}

async fn assert_is_3_5(etcd: &Etcd) {
    let version = etcd.status().await.unwrap().version;
    assert!(version.starts_with("3.5."), "{version}");
}

#[tokio::test]
async fn a_node_of_3_5_keeps_what_was_acknowledged_although_it_skips_fsync() {
    let etcd = Etcd::start(options()).await.unwrap();
    assert_is_3_5(&etcd).await;
    etcd.put("key", "kept").await.unwrap();
    etcd.restart().await.unwrap();
    assert_eq!(etcd.get("key").await.unwrap().as_deref(), Some(b"kept".as_slice()));
}

#[tokio::test]
async fn a_restore_of_3_5_goes_back_to_the_snapshot() {
    let etcd = Etcd::start(options()).await.unwrap();
    let revision = etcd.put("key", "old").await.unwrap();
    let snapshot = etcd.save().await.unwrap();
    etcd.put("key", "new").await.unwrap();
    etcd.restore(&snapshot).await.unwrap();
    assert_eq!(etcd.get("key").await.unwrap().as_deref(), Some(b"old".as_slice()));
    assert_eq!(etcd.status().await.unwrap().revision, revision);
}

#[tokio::test]
async fn a_cluster_of_3_5_fails_over() {
    let cluster = EtcdCluster::start(3, options()).await.unwrap();
    for member in cluster.members() {
        assert_is_3_5(member).await;
    }
    let leader = cluster.leader().await.unwrap();
    cluster.member(leader).kill().await.unwrap();
    cluster.wait_new_leader(leader).await.unwrap();
}
