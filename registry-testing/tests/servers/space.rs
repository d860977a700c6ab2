//! A full etcd, and leases that are ended.

use registry_testing::servers::ServerError;
use registry_testing::servers::etcd::{Etcd, EtcdOptions};
use serde_json::{Value, json};

async fn small() -> Etcd {
    Etcd::start(EtcdOptions::default().with_quota(1 << 20)).await.unwrap()
}

/// As the JSON gateway wants bytes: the key `key`.
const KEY: &str = "a2V5";

async fn refused_for_space(etcd: &Etcd, path: &str, body: Value) {
    let error = etcd.ask(path, body).await.unwrap_err();
    assert!(error.to_string().contains("database space exceeded"), "{path}: {error}");
}

async fn lease(etcd: &Etcd) -> String {
    let lease = etcd.ask("/v3/lease/grant", json!({ "TTL": 600 })).await.unwrap();
    lease["ID"].as_str().unwrap().to_owned()
}

async fn put_under(etcd: &Etcd, lease: &str) {
    let put = json!({ "key": KEY, "value": KEY, "lease": lease });
    etcd.ask("/v3/kv/put", put).await.unwrap();
}

/// What a registry on etcd can rely on, and what not. An etcd from before etcd-io/etcd#13435 refuses transactions that only read, too.
#[tokio::test]
async fn a_full_etcd_refuses_what_could_need_space_and_nothing_else() {
    let etcd = small().await;
    let lease = lease(&etcd).await;
    put_under(&etcd, &lease).await;
    etcd.fill().await.unwrap();

    let put = json!([{ "requestPut": { "key": KEY, "value": KEY } }]);
    refused_for_space(&etcd, "/v3/kv/put", json!({ "key": KEY, "value": KEY })).await;
    refused_for_space(&etcd, "/v3/kv/txn", json!({ "success": put })).await;
    refused_for_space(&etcd, "/v3/kv/txn", json!({ "failure": put })).await;
    refused_for_space(&etcd, "/v3/lease/grant", json!({ "TTL": 600 })).await;

    let compare = json!([{ "key": KEY, "target": "VERSION", "result": "EQUAL", "version": "1" }]);
    let get = json!([{ "requestRange": { "key": KEY } }]);
    let delete = json!([{ "requestDeleteRange": { "key": KEY } }]);
    etcd.ask("/v3/kv/range", json!({ "key": KEY })).await.unwrap();
    etcd.ask("/v3/kv/txn", json!({ "success": get })).await.unwrap();
    etcd.ask("/v3/kv/txn", json!({ "compare": compare })).await.unwrap();
    etcd.ask("/v3/lease/keepalive", json!({ "ID": lease })).await.unwrap();
    let deleted = etcd.ask("/v3/kv/txn", json!({ "compare": compare, "success": delete })).await.unwrap();
    assert_eq!(deleted["succeeded"], true);
    assert_eq!(etcd.get("key").await.unwrap(), None);
    etcd.ask("/v3/lease/revoke", json!({ "ID": lease })).await.unwrap();
}

#[tokio::test]
async fn a_full_etcd_stays_full_over_a_restart_until_room_is_made() {
    let etcd = small().await;
    let revision = etcd.put("key", "value").await.unwrap();
    etcd.fill().await.unwrap();
    etcd.restart().await.unwrap();
    let error = etcd.put("other", "value").await.unwrap_err();
    assert!(error.to_string().contains("database space exceeded"), "{error}");
    etcd.make_room().await.unwrap();
    let later = etcd.put("other", "value").await.unwrap();
    assert!(later > revision);
    assert_eq!(etcd.get("key").await.unwrap().unwrap(), b"value");
    lease(&etcd).await;
    let error = etcd.get_at("key", revision).await.unwrap_err();
    assert!(error.to_string().contains("compacted"), "making room costs the history: {error}");
}

#[tokio::test]
async fn room_is_really_made_so_it_can_be_filled_again() {
    let etcd = small().await;
    etcd.make_room().await.unwrap();
    for _ in 0..3 {
        etcd.fill().await.unwrap();
        etcd.make_room().await.unwrap();
        etcd.make_room().await.unwrap();
        for n in 0..4 {
            etcd.put(format!("key{n}"), [0; 64 << 10]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn to_expire_a_key_ends_its_lease() {
    let etcd = Etcd::start(EtcdOptions::default()).await.unwrap();
    let lease = lease(&etcd).await;
    put_under(&etcd, &lease).await;
    etcd.put("another", "without a lease").await.unwrap();
    etcd.expire("key").await.unwrap();
    assert_eq!(etcd.get("key").await.unwrap(), None);
    let renewed = etcd.ask("/v3/lease/keepalive", json!({ "ID": lease })).await.unwrap();
    assert_eq!(renewed["result"].get("TTL"), None, "the lease is gone: {renewed}");
    for key in ["key", "another"] {
        let error = etcd.expire(key).await.unwrap_err();
        assert!(
            matches!(error, ServerError::Refused { .. }) && error.to_string().contains("no lease"),
            "{error}"
        );
    }
    assert!(etcd.get("another").await.unwrap().is_some());
}
