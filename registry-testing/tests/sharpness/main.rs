//! A test that cannot fail proves nothing: defective backends, and the tests that must find each of them.
//!
//! `defect` is the table of what is broken over memory, `careless` that of what only a store of bytes can break. Every promise of the suite
//! must be in one of them, or in [`NOT_SHARPENED`] with the reason.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod careless;
mod claims;
mod defect;
#[path = "../../examples/file_registry/registry.rs"]
mod file_registry;
mod harness;
mod operations;
mod registry;
mod watch;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::time::Duration;

use careless::{CARELESS, Care, CarelessBackend};
use defect::{Defect, TABLE};
use harness::BrokenBackend;
use registry_testing::conformance::{Backend, Clock, Control, PROMISES, Promise, run};

/// Promises that no defect breaks, and why.
const NOT_SHARPENED: &[(&str, &str)] = &[];

/// What the defective store lacks.
fn can_run(promise: &Promise) -> bool {
    !promise.needs.contains(&Control::Malformed)
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// The failures that are looked for need not be printed.
fn quietly<T>(act: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    QUIET.set(true);
    let result = act();
    QUIET.set(false);
    result
}

/// Whether the test of `promise` fails on a backend with `defect`.
fn finds(promise: &Promise, defect: Defect) -> bool {
    fails(promise, || BrokenBackend::new(defect))
}

/// Whether the test of `promise` fails.
fn fails<B: Backend>(promise: &Promise, backend: impl FnOnce() -> B) -> bool {
    let test = || {
        run(Clock::Paused, async {
            let backend = backend();
            let limit = Duration::from_secs(6 * 3600);
            tokio::time::timeout(limit, (promise.check)(&backend)).await.expect("it ends");
        });
    };
    quietly(|| catch_unwind(AssertUnwindSafe(test))).is_err()
}

fn promise(name: &str) -> &'static Promise {
    PROMISES.iter().find(|promise| promise.name == name).unwrap_or_else(|| panic!("no promise {name}"))
}

#[test]
fn without_a_defect_no_test_fails() {
    let failing: Vec<_> =
        PROMISES.iter().filter(|promise| can_run(promise) && finds(promise, Defect::None)).collect();
    assert!(failing.is_empty(), "{failing:?}");
}

#[test]
fn every_defect_is_found_by_the_tests_of_the_promises_it_breaks() {
    let mut missed = Vec::new();
    for (defect, tests) in TABLE {
        for test in *tests {
            if !finds(promise(test), *defect) {
                missed.push(format!("{defect:?} is not found by {test}"));
            }
        }
    }
    for (care, tests) in CARELESS {
        for test in *tests {
            if fails(promise(test), || CarelessBackend::new(*care)) == (*care == Care::Enough) {
                missed.push(format!("{care:?} with {test}"));
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    let idle: Vec<_> =
        TABLE.iter().filter(|(defect, tests)| tests.is_empty() && *defect != Defect::None).collect();
    assert!(idle.is_empty(), "defects that nobody looks for: {idle:?}");
}

#[test]
fn every_promise_can_be_broken() {
    let careless = CARELESS.iter().filter(|(care, _)| *care != Care::Enough);
    let careless = careless.flat_map(|(_, tests)| tests.iter().copied());
    let sharp: BTreeSet<_> =
        TABLE.iter().flat_map(|(_, tests)| tests.iter().copied()).chain(careless).collect();
    let excused: BTreeSet<_> = NOT_SHARPENED.iter().map(|(name, _)| *name).collect();
    let all: BTreeSet<_> = PROMISES.iter().map(|promise| promise.name).collect();
    assert_eq!(all.len(), PROMISES.len(), "two promises have one name");
    let blunt: Vec<_> =
        all.iter().filter(|name| !sharp.contains(*name) && !excused.contains(*name)).collect();
    assert!(blunt.is_empty(), "no defect shows that these can fail: {blunt:#?}");
    assert!(excused.iter().all(|name| all.contains(name) && !sharp.contains(name)), "excused without need");
}

/// Prints which tests find which defects, for filling in the table; of one defect only, when `DEFECT` names it.
#[test]
#[ignore = "prints; it does not check"]
fn matrix() {
    let only = std::env::var("DEFECT").unwrap_or_default();
    for (defect, _) in TABLE {
        if !(only.is_empty() || format!("{defect:?}") == only) {
            continue;
        }
        let found: Vec<_> = PROMISES
            .iter()
            .filter(|promise| can_run(promise) && finds(promise, *defect))
            .map(|promise| promise.name)
            .collect();
        println!("{defect:?}: {}", found.join(" "));
    }
}
