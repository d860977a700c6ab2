//! The conformance suite on real Redis, none of it left out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod harness;

use registry_testing::servers::redis::Persistence;

use crate::harness::Harness;

registry_testing::conformance! {
    mod standalone;
    harness |needs|: Harness::standalone(Persistence::None, needs).await;
    clock: real;
    controls: [link, pause, compact, wipe, restart, operator, malformed, expire];
}
