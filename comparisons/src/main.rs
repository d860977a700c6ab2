//! `comparisons claims`: the five claims, tested. See the library for how.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use comparisons::chaos;
use comparisons::chaos::judging::{histories, judge_again, record_again};
use comparisons::cli::{Cli, Command, Judge};
use comparisons::instance;
use comparisons::publish::{publish, report_again};
use comparisons::run::{self, Ended};

#[tokio::main]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Claims(options) => run::claims(&options).await,
        Command::Chaos(options) => chaos::run::chaos(&options).await,
        Command::Judge(Judge { record: Some(record), out: Some(out), .. }) => {
            record_again(&record, &out).await.map(|told| {
                eprintln!("{told}");
                Ended::Complete
            })
        }
        Command::Judge(options) => judge(&options.histories),
        Command::List => {
            print!("{}", run::list());
            Ok(Ended::Complete)
        }
        Command::Report(options) => {
            report_again(&options.records, options.out.as_deref()).map(|()| Ended::Complete)
        }
        Command::Instance(options) => instance::run(&options)
            .await
            .map(|()| Ended::Complete)
            .map_err(|trouble| trouble.to_string().into()),
        Command::ChaosWorker(options) => chaos::worker::run(options)
            .await
            .map(|()| Ended::Complete)
            .map_err(|trouble| trouble.to_string().into()),
        Command::Publish(options) => {
            publish(options.records.as_deref(), options.any_code).map(|()| Ended::Complete)
        }
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

/// Each is told as it is judged.
fn judge(paths: &[std::path::PathBuf]) -> Result<Ended, Box<dyn std::error::Error + Send + Sync>> {
    let mut all_as_expected = true;
    for path in histories(paths)? {
        let (text, as_expected) = judge_again(&path)?;
        match writeln!(std::io::stdout(), "{text}") {
            // Whoever reads it has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(Ended::Complete),
            told => told?,
        }
        all_as_expected &= as_expected;
    }
    Ok(if all_as_expected { Ended::Complete } else { Ended::Failed })
}
