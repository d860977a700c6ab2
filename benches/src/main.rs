//! `benches bars`, `benches criterion`, `benches profile`: measure, and show what came of it. See the library for how.

use std::process::ExitCode;

use benches::cli::{Cli, Command};
use benches::publish::{page, publish};
use benches::{criterion, load_once, profile, run, step};
use clap::Parser;
use comparisons::run::Ended;

#[tokio::main]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Bars(options) => run::bars(&options).await,
        Command::List => {
            print!("{}", run::list());
            Ok(Ended::Complete)
        }
        Command::Criterion(options) => criterion::criterion(&options).await,
        Command::Profile(options) => profile::profile(&options).await,
        Command::Page(options) => page(&options.folder, options.criterion.as_deref()).map(|file| {
            println!("The page: {}", file.display());
            Ended::Complete
        }),
        Command::Step(options) => step::step(&options).await,
        Command::LoadOnce(options) => load_once::run(&options)
            .await
            .map(|told| {
                println!("{told}");
                Ended::Complete
            })
            .map_err(|trouble| trouble.to_string().into()),
        Command::Publish(options) => {
            publish(options.folder.as_deref(), options.partial).map(|()| Ended::Complete)
        }
    };
    match outcome {
        Ok(Ended::Complete) => ExitCode::SUCCESS,
        Ok(Ended::Failed) => ExitCode::FAILURE,
        Ok(Ended::Interrupted) => ExitCode::from(step::INTERRUPTED),
        Err(error) => {
            eprintln!("benches: {error}");
            ExitCode::from(2)
        }
    }
}
