//! Names and sizes: what is valid reads back as it was written, up to the limits.

use registry_core::{Instance, InstanceId, ServiceName};

use super::Backend;
use super::support::{answer, entries, entry, lookup, register, service, user};
use super::watcher::Watcher;

/// Registers `instance`, and requires that lookup, a snapshot and a change all show exactly it.
async fn require_round_trip(backend: &dyn Backend, instance: &Instance) {
    let (client, other) = (backend.client().await, backend.client().await);
    let mut watcher = Watcher::ready(&*other, instance.service()).await;
    let registration = register(&*client, instance).await;
    let id = instance.id();
    watcher.until("the instance", |view| view.get(id).is_some()).await;
    let listed = lookup(&*other, instance.service()).await;
    let fresh = Watcher::ready(&*other, instance.service()).await;
    for view in [&listed, watcher.view(), fresh.view()] {
        assert_eq!(entry(view, id).instance(), instance);
        assert_eq!(entries(view), entries(&listed));
    }
    answer(client.keepalive(&registration.lease)).await;
    answer(client.update(&registration.lease, instance)).await;
    answer(client.deregister(&registration.lease)).await;
    assert!(lookup(&*client, instance.service()).await.is_empty());
}

/// Every character and every length that a name may have. Names that look like a path, a pattern, a number or a command included.
pub async fn every_valid_name_reads_back_as_it_was_written(backend: &dyn Backend) {
    let client = backend.client().await;
    let longest = ["a".repeat(ServiceName::MAX_LEN), "9".repeat(InstanceId::MAX_LEN)];
    let names = [
        ("a", "b"),
        ("A-1_b.c", ":0"),
        ("a..b", "1:2:3"),
        ("0", "0"),
        ("a.", "..a".trim_start_matches('.')),
        ("null", "Meta"),
        ("a-b_c.d--", "x-._:"),
        ("a.b", "c"),
        (&longest[0], &longest[1]),
    ];
    for (service, id) in names {
        let instance = Instance::builder(service).id(id).endpoint("h:1").build().expect("valid names");
        require_round_trip(backend, &instance).await;
    }
    // Where names are joined, `a` + `b.c` must not be `a.b` + `c`; likewise with `:` and `-`.
    for (service, id) in [("a", "b.c"), ("a.b", "c"), ("a", "b-c"), ("a-b", "c"), ("a", "b:c")] {
        let instance = Instance::builder(service).id(id).endpoint("h:1").build().expect("valid names");
        register(&*client, &instance).await;
    }
    let counts = ["a", "a.b", "a-b"].map(service);
    for (name, count) in counts.iter().zip([3, 1, 1]) {
        assert_eq!(lookup(&*client, name).await.len(), count, "{name}");
    }
}

/// Names differ by every byte, case included.
pub async fn names_are_compared_byte_by_byte(backend: &dyn Backend) {
    let client = backend.client().await;
    for id in ["node", "Node", "NODE", "node.", "node-"] {
        register(&*client, &Instance::builder(user()).id(id).endpoint("h:1").build().expect("valid")).await;
    }
    register(&*client, &Instance::builder("USER.rpc").id("node").endpoint("h:1").build().expect("valid"))
        .await;
    let listed = lookup(&*client, &user()).await;
    assert_eq!(super::support::ids(&listed), ["NODE", "Node", "node", "node-", "node."]);
}

/// Sixteen endpoints of all kinds, in their order.
pub async fn sixteen_endpoints_keep_their_order(backend: &dyn Backend) {
    let mut builder = Instance::builder(user())
        .endpoint("grpc://[fd00::1]:65535")
        .endpoint("[::1]:1")
        .endpoint("http://host-1.example.com:80")
        .endpoint("10.0.0.7:8080");
    for n in (4..Instance::MAX_ENDPOINTS).rev() {
        builder = builder.endpoint(format!("10.0.0.{n}:1"));
    }
    require_round_trip(backend, &builder.build().expect("a valid instance")).await;
}

/// An instance whose only address is an IPv6 one, with the id that comes from it.
pub async fn an_ipv6_instance_reads_back_as_it_was_written(backend: &dyn Backend) {
    let instance = Instance::builder(user()).endpoint("[fd00::1]:8080").build().expect("a valid instance");
    assert_eq!(instance.id().as_str(), "fd00::1:8080");
    require_round_trip(backend, &instance).await;
}

/// Text of all kinds in metadata: scripts, emoji, quotes, escapes, separators, emptiness.
pub async fn text_of_all_kinds_reads_back_as_it_was_written(backend: &dyn Backend) {
    let texts = [
        "",
        " ",
        "ü",
        "日本語",
        "👩‍👩‍👧",
        "\"",
        "\\",
        "\\u0000",
        "'",
        "a/b",
        "a,b;c",
        "{}",
        "[1]",
        "%s",
        "$1",
        "*",
        "<&>",
        "\u{2028}",
        "e\u{301}",
        "\u{fffd}",
        "null",
        "0",
        "-1",
        "true",
        "Ω≈ç√",
        "\u{10ffff}",
        "مرحبا",
    ];
    let mut builder = Instance::builder(user()).endpoint("h:1");
    for (n, text) in texts.iter().enumerate() {
        builder = builder.metadata(format!("k{n}"), *text);
        if !text.is_empty() {
            builder = builder.metadata(*text, "as a key");
        }
    }
    require_round_trip(backend, &builder.build().expect("a valid instance")).await;
}

/// An instance at every limit of size at once.
pub async fn an_instance_at_the_limits_reads_back_as_it_was_written(backend: &dyn Backend) {
    let id = "i".repeat(InstanceId::MAX_LEN);
    let service = "s".repeat(ServiceName::MAX_LEN);
    let host = ["h".repeat(63), "h".repeat(63), "h".repeat(63), "h".repeat(61)].join(".");
    let mut builder = Instance::builder(service.as_str()).id(id.as_str()).zone("z".repeat(64).as_str());
    builder = builder.version("v".repeat(64).as_str()).weight(10_000);
    for n in 0..Instance::MAX_ENDPOINTS {
        builder = builder.endpoint(format!("grpc://{host}:{}", 65535 - n));
    }
    let value = "x".repeat(Instance::MAX_METADATA_VALUE);
    for n in 0..Instance::MAX_METADATA_PAIRS {
        let key = format!("{n:0>width$}", width = Instance::MAX_METADATA_KEY);
        // As many of the longest values as fit into the whole.
        builder = builder.metadata(key, if n < 8 { &value } else { "" });
    }
    require_round_trip(backend, &builder.build().expect("a valid instance")).await;
}

/// The largest instance that is accepted at all, to the byte.
pub async fn the_largest_instance_reads_back_as_it_was_written(backend: &dyn Backend) {
    let build = |pairs: usize, rest: usize| {
        let value = "\u{fc}".repeat(Instance::MAX_METADATA_VALUE / 2);
        let mut builder = Instance::builder(user()).endpoint("h:1");
        for n in 0..pairs {
            builder = builder.metadata(format!("k{n:02}"), value.as_str());
        }
        builder.metadata("rest", "x".repeat(rest)).build()
    };
    let pairs = (0..16).rev().find(|pairs| build(*pairs, 0).is_ok()).expect("some fit");
    let rest = (0..=Instance::MAX_METADATA_VALUE).rev().find(|rest| build(pairs, *rest).is_ok());
    require_round_trip(backend, &build(pairs, rest.expect("some fits")).expect("it was built before")).await;
}
