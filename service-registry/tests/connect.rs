//! Every form of URL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

use service_registry::{Error, ErrorKind, connect};
#[cfg(feature = "memory")]
use service_registry::{Instance, Registry, core::RegisterOptions};

async fn refused(url: &str) -> Error {
    connect(url).await.err().unwrap_or_else(|| panic!("{url} must be refused"))
}

#[cfg(feature = "memory")]
async fn listed(registry: &dyn Registry) -> usize {
    registry.lookup(&"user.rpc".parse().unwrap()).await.unwrap().len()
}

#[cfg(feature = "memory")]
async fn list(registry: &dyn Registry) {
    let instance = Instance::builder("user.rpc").endpoint("10.0.0.7:8080").build().unwrap();
    registry.register(&instance, &RegisterOptions::new()).await.unwrap();
}

#[cfg(feature = "memory")]
#[tokio::test]
async fn every_nameless_memory_url_is_a_store_of_its_own() {
    let (one, other) = (connect("memory://").await.unwrap(), connect("memory:///").await.unwrap());
    list(&*one).await;
    assert_eq!((listed(&*one).await, listed(&*other).await), (1, 0));
}

#[cfg(feature = "memory")]
#[tokio::test]
async fn memory_urls_with_one_name_share_a_store_also_after_all_were_dropped() {
    let one = connect("memory://shared").await.unwrap();
    list(&*one).await;
    assert_eq!(listed(&*connect("MEMORY://shared/").await.unwrap()).await, 1);
    assert_eq!(listed(&*connect("memory://Shared").await.unwrap()).await, 0);
    drop(one);
    assert_eq!(listed(&*connect("memory://shared").await.unwrap()).await, 1);
}

#[cfg(not(feature = "memory"))]
#[tokio::test]
async fn without_the_feature_memory_urls_say_which_feature_to_enable() {
    let error = refused("memory://").await;
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("enable the feature `memory`"), "{error}");
}

#[cfg(not(feature = "etcd"))]
#[tokio::test]
async fn without_the_feature_etcd_urls_say_which_feature_to_enable() {
    for url in ["etcd://127.0.0.1:2379", "etcds://user:secret@etcd.internal:2379/prefix?ca=/secret"] {
        let error = refused(url).await;
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{url}");
        assert!(error.message().contains("enable the feature `etcd`"), "{error}");
        assert!(!format!("{error:?}").contains("secret"), "a password must not be repeated: {error:?}");
    }
}

#[cfg(feature = "etcd")]
#[tokio::test]
async fn a_bad_etcd_url_is_bad_input_and_nothing_secret_is_repeated() {
    for url in [
        "etcd://",
        "etcd://user:sec/ret@10.0.0.1",
        "etcd://user:secret@10.0.0.1:0",
        "etcd://user:secret@10.0.0.1/?ca=/ca.pem",
        "etcd://user:secret@10.0.0.1?unknown=secret",
        // What the backend refuses is a fault of the URL too.
        "etcd://user:secret@10.0.0.1/a~b",
    ] {
        let error = refused(url).await;
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("url")), "{url}: {error}");
        for piece in ["secret", "sec", "ret"] {
            let printed = format!("{error} {error:?}");
            assert!(!printed.split(|c: char| !c.is_alphanumeric()).any(|word| word == piece), "{printed}");
        }
    }
}

#[cfg(not(feature = "redis"))]
#[tokio::test]
async fn without_the_feature_redis_urls_say_which_feature_to_enable() {
    for url in [
        "redis://127.0.0.1:6379/0",
        "rediss://:secret@redis.internal:6380",
        "redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/mymaster",
        "rediss+sentinel://10.0.0.1/mymaster?ca=/secret",
        "redis+cluster://10.0.0.1:7000,10.0.0.2:7000",
        "rediss+cluster://user:secret@10.0.0.1:7000",
    ] {
        let error = refused(url).await;
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{url}");
        assert!(error.message().contains("enable the feature `redis`"), "{error}");
        assert!(!format!("{error:?}").contains("secret"), "a password must not be repeated: {error:?}");
    }
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn a_bad_redis_url_is_bad_input_and_nothing_secret_is_repeated() {
    for url in [
        "redis://",
        "redis://user:sec/ret@10.0.0.1",
        "redis://user:secret@10.0.0.1:0",
        "redis://user:secret@10.0.0.1/secret",
        "redis://user:secret@10.0.0.1,10.0.0.2",
        "redis://user:secret@10.0.0.1/?ca=/ca.pem",
        "redis://user:secret@10.0.0.1?unknown=secret",
        "redis+sentinel://user:secret@10.0.0.1",
        "redis+cluster://user:secret@10.0.0.1/1",
        // What the backend refuses is a fault of the URL too.
        "redis://user:secret@10.0.0.1?prefix=a*b",
    ] {
        let error = refused(url).await;
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("url")), "{url}: {error}");
        for piece in ["secret", "sec", "ret"] {
            let printed = format!("{error} {error:?}");
            assert!(!printed.split(|c: char| !c.is_alphanumeric()).any(|word| word == piece), "{printed}");
        }
    }
}

#[tokio::test]
async fn what_is_not_such_a_url_is_bad_input_and_the_message_lists_the_schemes() {
    for url in [
        "",
        "memory",
        "memory:",
        "memory:/",
        "localhost:2379",
        "://x",
        "consul://127.0.0.1",
        "http://127.0.0.1:2379",
        " memory://",
        "etcd:/127.0.0.1",
        "redis+tls://user:secret@h",
    ] {
        let error = refused(url).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url:?}");
        assert_eq!(error.field(), Some("url"));
        for scheme in [
            "memory://",
            "etcd://",
            "etcds://",
            "redis://",
            "rediss://",
            "redis+sentinel://",
            "rediss+sentinel://",
            "redis+cluster://",
            "rediss+cluster://",
        ] {
            assert!(error.message().contains(scheme), "{url:?}: {error}");
        }
        assert!(!format!("{error:?}").contains("secret"), "a password must not be repeated: {error:?}");
    }
}

#[cfg(feature = "memory")]
#[tokio::test]
async fn a_memory_url_with_more_than_a_name_is_bad_input() {
    for url in
        ["memory://a/b", "memory://a:80", "memory://u@a", "memory://a?b=c", "memory://a#b", "memory://a b"]
    {
        let error = refused(url).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url:?}");
        assert!(error.message().contains("memory://name"), "{error}");
    }
}
