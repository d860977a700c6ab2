//! The core under seeded faults: every seed keeps the contract, and every planted defect is found.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use registry_testing::simulation::{Mutant, Report, run};

/// How many seeds are played; all of them in release, where a seed takes milliseconds.
const SEEDS: u64 = if cfg!(debug_assertions) { 200 } else { 10_000 };
/// Within how many seeds a planted defect must be found.
const MUTANT_SEEDS: u64 = 1_000;

/// Plays seeds on both cores, and gives the first report that `wanted` picks, in the order of seeds.
fn find(seeds: u64, mutant: Option<Mutant>, wanted: impl Fn(&Report) -> bool + Sync) -> Option<Report> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    let next = std::sync::atomic::AtomicU64::new(0);
    let found = std::sync::Mutex::new(None::<Report>);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= seeds
                        || found.lock().unwrap().as_ref().is_some_and(|report| report.seed < seed)
                    {
                        return;
                    }
                    let report = run(seed, mutant);
                    let mut found = found.lock().unwrap();
                    if wanted(&report) && found.as_ref().is_none_or(|first| report.seed < first.seed) {
                        *found = Some(report);
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

#[test]
fn every_seed_keeps_the_contract() {
    if let Some(report) = find(SEEDS, None, |report| !report.violations.is_empty()) {
        panic!("{report}");
    }
}

#[test]
fn every_seed_has_enough_operations_and_faults() {
    if let Some(report) = find(SEEDS.min(500), None, |report| report.operations < 200 || report.faults < 3) {
        panic!("too tame: {report}");
    }
}

#[test]
fn one_seed_gives_the_same_trace_twice() {
    for seed in 0..20 {
        let (first, second) = (run(seed, None), run(seed, None));
        for (line, (one, two)) in first.trace.iter().zip(&second.trace).enumerate() {
            assert_eq!(one, two, "seed {seed}, line {line}");
        }
        assert_eq!(first.trace.len(), second.trace.len(), "seed {seed}");
    }
}

#[test]
fn every_planted_defect_is_found() {
    let survivors: Vec<_> = Mutant::ALL
        .into_iter()
        .filter(|mutant| match find(MUTANT_SEEDS, Some(*mutant), |report| !report.violations.is_empty()) {
            Some(report) => {
                println!("{mutant:?}: seed {}: {}", report.seed, report.violations[0].invariant);
                false
            }
            None => true,
        })
        .collect();
    assert!(survivors.is_empty(), "not found within {MUTANT_SEEDS} seeds: {survivors:?}");
}
