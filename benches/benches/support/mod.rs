//! What benchmarks over real stores share.

use std::time::Duration;

use benches::contest::Topic;
use benches::left_out::{self, LeftOut};
use benches::topics::stores::lab;
use comparisons::experiment::Trouble;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use tokio::runtime::{Builder, Runtime};

pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().enable_all().build().unwrap()
}

/// Whatever was made; a store that is not installed is said to be missing, and left out. Who started this is told as well.
pub(crate) fn or_missing<T>(what: &str, made: Result<T, Trouble>) -> Option<T> {
    match made {
        Ok(made) => Some(made),
        Err(Trouble::NotRun(why)) => {
            eprintln!("{what} is left out: {why}");
            let left_out = LeftOut { what: what.to_owned(), why };
            left_out.note(std::env::var_os(left_out::VARIABLE).as_deref()).expect("this has to be noted");
            None
        }
        Err(trouble) => panic!("{what}: {trouble}"),
    }
}

/// A group of benchmarks of which a single iteration takes long.
pub(crate) fn slow<'a>(c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.sample_size(10).sampling_mode(SamplingMode::Flat).warm_up_time(Duration::from_secs(1));
    group
}

/// Benchmarks some arms of a topic: an iteration is a block, and what is shown is one of its figures, of which there are `per_second` in a second.
#[allow(dead_code, reason = "not every benchmark has blocks")]
pub(crate) fn blocks(c: &mut Criterion, topic: &dyn Topic, arms: &[&str], figure: &str, per_second: f64) {
    let runtime = runtime();
    let Some(contest) = or_missing(topic.name(), runtime.block_on(topic.prepare(&lab()))) else { return };
    let mut group = slow(c, topic.name());
    let there = contest.into_arms();
    let unknown = arms.iter().find(|arm| there.iter().all(|(name, _)| name != *arm));
    assert_eq!(unknown, None, "{} has no such arm", topic.name());
    for (name, mut arm) in there {
        if !arms.contains(&name) {
            continue;
        }
        let mut block = || {
            let figures = runtime.block_on(arm.play()).unwrap_or_else(|trouble| panic!("{name}: {trouble}"));
            let found = figures.iter().find(|(of, _)| *of == figure);
            let (_, value) = found.unwrap_or_else(|| panic!("{name} has no {figure}"));
            Duration::from_secs_f64(value / per_second)
        };
        group.bench_function(name, |b| b.iter_custom(|blocks| (0..blocks).map(|_| block()).sum()));
    }
    group.finish();
    // Servers end in an orderly way within their runtime.
    drop(runtime);
}
