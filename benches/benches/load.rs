//! How long loading a service of a hundred thousand instances takes, beside reading the same bytes undecoded.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a benchmark"
)]

mod support;

use benches::topics::stores::Store;
use benches::topics::stores::load::{LOAD, VIEW, topic};
use criterion::{Criterion, criterion_group, criterion_main};
use support::blocks;

fn load(c: &mut Criterion) {
    for store in [Store::Etcd, Store::Redis] {
        blocks(c, &*topic(store), &["ours", VIEW, "raw"], LOAD, 1.0);
    }
}

criterion_group!(benches, load);
criterion_main!(benches);
