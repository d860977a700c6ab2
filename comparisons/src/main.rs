//! `comparisons claims`: the five claims, tested. See the library for how.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use comparisons::chaos;
use comparisons::cli::{self, Cli, Command};
use comparisons::instance;
use comparisons::publish::{publish, write_report};
use comparisons::results::Results;
use comparisons::run::{self, Ended};

#[tokio::main]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Claims(options) => run::claims(&options).await,
        Command::Chaos(options) => chaos::run::chaos(&options).await,
        Command::List => {
            print!("{}", run::list());
            Ok(Ended::Complete)
        }
        Command::Report(options) => report(&options),
        Command::Instance(options) => instance::run(&options)
            .await
            .map(|()| Ended::Complete)
            .map_err(|trouble| trouble.to_string().into()),
        Command::ChaosWorker(options) => chaos::worker::run(options)
            .await
            .map(|()| Ended::Complete)
            .map_err(|trouble| trouble.to_string().into()),
        Command::Publish(options) => publish(options.records.as_deref()).map(|()| Ended::Complete),
    };
    match outcome {
        Ok(Ended::Complete) => ExitCode::SUCCESS,
        Ok(Ended::Failed) => ExitCode::FAILURE,
        Ok(Ended::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("comparisons: {error}");
            ExitCode::from(2)
        }
    }
}

fn report(options: &cli::Report) -> Result<Ended, Box<dyn std::error::Error + Send + Sync>> {
    if !options.records.exists() {
        return Err(format!("there are no records in {}", options.records.display()).into());
    }
    // Of a bare file name it is empty.
    let beside = options.records.parent().filter(|folder| !folder.as_os_str().is_empty());
    let out = options.out.as_deref().or(beside).unwrap_or(Path::new("."));
    write_report(&Results::read(&options.records)?, out)?;
    Ok(Ended::Complete)
}
