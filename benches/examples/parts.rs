//! Parts of what bars measure, each alone in a loop, in nanoseconds: what is large in them, and what is small. Not to be cited.
//!
//! `cargo run --release -p benches --example parts [decode | build | fold]`

#![allow(clippy::print_stdout, reason = "a program for people")]

use std::hint::black_box;
use std::sync::Arc;

use benches::clients::{self, instance};
use benches::work::folding::{entry, snapshot};
use comparisons::experiment::Trouble;
use fastrand::Rng;
use registry_core::codec::Stored;
use registry_core::{
    Batch, Change, Cursor, Endpoint, Entry, Epoch, Incarnation, InstanceId, OwnerToken, Revision,
    ServiceName, Snapshot, WatchEvent, fold,
};
use sha1::{Digest, Sha1};
use tokio::time::Instant;

const ROUNDS: usize = 15;

fn main() -> Result<(), Trouble> {
    let only = std::env::args().nth(1);
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    if wanted("decode") {
        decode()?;
    }
    if wanted("build") {
        build(100, 1_000)?;
        build(100_000, 3)?;
    }
    if wanted("fold") {
        for (size, among) in [
            (100, 100),
            (1_000, 1_000),
            (10_000, 10_000),
            (100_000, 100),
            (100_000, 1_000),
            (100_000, 10_000),
            (100_000, 100_000),
        ] {
            fold_among(size, among)?;
        }
    }
    Ok(())
}

/// The shortest of some rounds, for each of so many times.
fn told<T>(what: &str, times: usize, mut part: impl FnMut(usize) -> T) {
    let mut round = || {
        let start = Instant::now();
        (0..times).for_each(|at| drop(black_box(part(at))));
        start.elapsed().as_secs_f64() * 1e9 / times as f64
    };
    let shortest = (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min);
    println!("{what:50} {shortest:10.1} ns");
}

/// What it takes to read one entry of usual size.
fn decode() -> Result<(), Trouble> {
    const TIMES: usize = 50_000;
    let service = ServiceName::new("load.rpc")?;
    let token = OwnerToken::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    let stored = |number| -> Result<(InstanceId, Vec<u8>), Trouble> {
        let instance = instance("load.rpc", number, 100)?;
        let id = instance.id().clone();
        Ok((id, Stored::new(instance, Incarnation::new(1_700_000_000_000), token).encode()))
    };
    let all = (0..1_000).map(stored).collect::<Result<Vec<_>, _>>()?;
    let nth = |at: usize| &all[at % all.len()];
    told("decode: a plain struct", TIMES, |at| clients::Entry::decode(&nth(at).1));
    told("decode: an entry", TIMES, |at| Stored::decode(&nth(at).1));
    told("decode: an entry whose key is known", TIMES, |at| {
        let (id, bytes) = nth(at);
        Stored::decode_as(bytes, &service, id)
    });
    told("decode: that it is UTF-8", TIMES, |at| std::str::from_utf8(&nth(at).1).is_ok());
    told("decode: an id", TIMES, |at| InstanceId::new(nth(at).0.as_str()));
    told("decode: an endpoint", TIMES, |_| black_box("10.0.0.17:8080").parse::<Endpoint>());
    told("decode: its SHA-1", TIMES, |at| Sha1::digest(&nth(at).1));
    Ok(())
}

/// What it takes to make a snapshot of entries that are there.
fn build(size: usize, times: usize) -> Result<(), Trouble> {
    let service = ServiceName::new("user.rpc")?;
    let cursor = Cursor::new(Epoch::new(1), Revision::new(1), 0);
    let ordered = (0..size).map(|number| entry(number, 1)).collect::<registry_core::Result<Vec<_>>>()?;
    let mut shuffled = ordered.clone();
    Rng::with_seed(1).shuffle(&mut shuffled);
    let snapshot = |entries: &[Arc<Entry>]| Snapshot::new(service.clone(), cursor, entries.iter().cloned());
    told(&format!("build: {size}, in order"), times, |_| snapshot(&ordered));
    told(&format!("build: {size}, in no order"), times, |_| snapshot(&shuffled));
    told(&format!("build: {size}, sorted before"), times, |_| {
        let mut read: Vec<_> = shuffled.iter().map(|entry| (entry.id().clone(), Arc::clone(entry))).collect();
        read.sort_by(|(one, _), (other, _)| one.cmp(other));
        Snapshot::new(service.clone(), cursor, read.into_iter().map(|(_, entry)| entry))
    });
    Ok(())
}

/// What it takes to fold one change of so many instances, where only the first `among` of them change: the same tree, of which more or less is in the
/// processor's caches.
fn fold_among(size: usize, among: usize) -> Result<(), Trouble> {
    const TIMES: usize = 5_000;
    let mut live = Some(snapshot(size)?);
    let mut published = live.clone();
    let (mut random, mut revision, mut shortest) = (Rng::with_seed(1), 1, f64::INFINITY);
    for _ in 0..ROUNDS {
        let mut change = |_| -> Result<WatchEvent, Trouble> {
            revision += 1;
            let cursor = Cursor::new(Epoch::new(1), Revision::new(revision), 0);
            let put = Change::Put(entry(random.usize(..among), revision)?);
            Ok(WatchEvent::Changes(Batch { cursor, changes: vec![put] }))
        };
        let changes = (0..TIMES).map(&mut change).collect::<Result<Vec<_>, _>>()?;
        let start = Instant::now();
        for change in &changes {
            black_box(fold(&mut live, black_box(change)));
            published.clone_from(&live);
        }
        shortest = shortest.min(start.elapsed().as_secs_f64() * 1e9 / TIMES as f64);
    }
    println!("{:50} {shortest:10.1} ns", format!("fold: {size}, changes among {among}"));
    Ok(())
}
