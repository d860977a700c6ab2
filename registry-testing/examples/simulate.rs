//! Plays one seed of the simulation and prints what happened: `cargo run -p registry-testing --example simulate -- 42`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(seed) = std::env::args().nth(1).and_then(|seed| seed.parse().ok()) else {
        eprintln!(
            "usage: simulate SEED\n\nPlays one seed and prints its trace, then what it violated; exit code 1 if anything."
        );
        return ExitCode::from(2);
    };
    let report = registry_testing::simulation::run(seed, None);
    for line in &report.trace {
        println!("{line}");
    }
    println!("{report}");
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
