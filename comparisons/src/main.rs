//! `comparisons claims`: the five claims, tested. See the library for how.

use std::process::ExitCode;

use clap::Parser;
use comparisons::cli::{Cli, Command};
use comparisons::run::{self, Ended};

#[tokio::main]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Claims(options) => run::claims(&options).await,
        Command::List => {
            print!("{}", run::list());
            Ok(Ended::Complete)
        }
        Command::Report(_) | Command::Publish(_) => Err("not yet".into()),
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
