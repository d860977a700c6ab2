//! The conformance suite on real etcd, none of it left out: in both layouts, on the etcd in `PATH` (3.4 on Debian 12) and on 3.5.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod harness;

use registry_etcd::Layout;

use crate::harness::Harness;

registry_testing::conformance! {
    mod json;
    harness |needs|: Harness::prepared_for(Layout::Json, needs).await;
    clock: real;
    controls: [
        link, pause, compact, wipe, restart, power_cut, lose_minority, restore, operator, malformed, expire, capacity,
    ];
}

registry_testing::conformance! {
    mod go_zero;
    harness |needs|: Harness::prepared_for(Layout::GoZero, needs).await;
    clock: real;
    controls: [
        link, pause, compact, wipe, restart, power_cut, lose_minority, restore, operator, malformed, expire, capacity,
    ];
}

registry_testing::conformance! {
    mod json_on_3_5;
    harness |needs|: Harness::of_3_5_prepared_for(Layout::Json, needs).await;
    clock: real;
    controls: [
        link, pause, compact, wipe, restart, power_cut, lose_minority, restore, operator, malformed, expire, capacity,
    ];
}

registry_testing::conformance! {
    mod go_zero_on_3_5;
    harness |needs|: Harness::of_3_5_prepared_for(Layout::GoZero, needs).await;
    clock: real;
    controls: [
        link, pause, compact, wipe, restart, power_cut, lose_minority, restore, operator, malformed, expire, capacity,
    ];
}
