//! The conformance suite on real Redis, none of it left out, on every deployment.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod harness;

use registry_testing::servers::redis::{Persistence, redis_8, valkey_8_1};

use crate::harness::{Deployment, Harness, Setup};

/// One server that keeps nothing.
fn in_memory() -> Setup {
    Setup::default()
}

/// One server that syncs each write.
fn appending() -> Setup {
    Setup { persistence: Persistence::EveryWrite, ..Setup::default() }
}

/// A primary and two replicas, under Sentinels.
fn under_sentinels() -> Setup {
    Setup { deployment: Deployment::Sentinel, ..Setup::default() }
}

/// The same, with an append-only file, and writes that wait for both replicas.
fn waiting() -> Setup {
    Setup { persistence: Persistence::EveryWrite, wait: true, ..under_sentinels() }
}

/// Three primaries with a replica each.
fn clustered() -> Setup {
    Setup { deployment: Deployment::Cluster, ..Setup::default() }
}

/// Redis 8, keeping nothing.
fn of_redis_8() -> Setup {
    Setup { program: Some(redis_8().unwrap()), ..Setup::default() }
}

/// Valkey, syncing each write.
fn of_valkey() -> Setup {
    Setup { program: Some(valkey_8_1().unwrap()), ..appending() }
}

macro_rules! modules {
    ($($name:ident: $setup:expr;)*) => {$(
        registry_testing::conformance! {
            mod $name;
            harness |needs|: Harness::prepared_for($setup, needs).await;
            clock: real;
            controls: [
                link, pause, compact, wipe, restart, power_cut, lose_minority, restore, operator, malformed, expire, capacity,
            ];
        }
    )*};
}

modules! {
    standalone: in_memory();
    standalone_append_only: appending();
    sentinel: under_sentinels();
    sentinel_waiting: waiting();
    cluster: clustered();
    redis_8: of_redis_8();
    valkey: of_valkey();
}
