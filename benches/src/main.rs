//! `benches bars`: measures the bars. See the library for how.

use std::path::PathBuf;
use std::process::ExitCode;

use benches::contest::Topic;
use benches::{bars::Judgement, load_once, run::measure, topics};
use clap::{Args, Parser, Subcommand};
use comparisons::environment::Environment;
use comparisons::lab::{Lab, Scale};
use comparisons::results::Results;
use registry_testing::servers::{etcd::etcd_3_5, redis::redis_8};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the registry costs beside what it is built on.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure the bars: ratios to the raw clients and to what others use, in turns within one run.
    Bars(Options),
    /// Load a service once, and tell how much memory that took.
    #[command(hide = true)]
    LoadOnce(load_once::Options),
}

#[derive(Debug, Args)]
struct Options {
    /// Only these topics; all, if none is named. A part of a name is enough.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Fewer rounds: to see that it works, not to cite it.
    #[arg(long)]
    quick: bool,
    /// Of all random choices.
    #[arg(long, default_value_t = 8)]
    seed: u64,
    /// Where the records go.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

#[tokio::main]
#[expect(clippy::print_stderr, reason = "it is a command")]
async fn main() -> ExitCode {
    let options = match Cli::parse().command {
        Command::Bars(options) => options,
        Command::LoadOnce(options) => return load(&options).await,
    };
    match bars(&options).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("benches: {error}");
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]
async fn load(options: &load_once::Options) -> ExitCode {
    match load_once::run(options).await {
        Ok(told) => {
            println!("{told}");
            ExitCode::SUCCESS
        }
        Err(trouble) => {
            eprintln!("benches: {trouble}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]
async fn bars(options: &Options) -> Result<bool, Failure> {
    let is_named = |topic: &dyn Topic| {
        options.only.is_empty() || options.only.iter().any(|name| topic.name().contains(name.as_str()))
    };
    let all = topics::all();
    let names: Vec<_> = all.iter().map(|topic| topic.name()).collect();
    let topics: Vec<_> = all.iter().filter(|topic| is_named(topic.as_ref())).collect();
    if topics.is_empty() {
        return Err(format!("no topic is named so; there are {}", names.join(", ")).into());
    }
    let scale = if options.quick { Scale::Quick } else { Scale::Full };
    let etcd = etcd_3_5().unwrap_or("etcd".into());
    let redis = redis_8().unwrap_or("redis-server".into());
    std::fs::create_dir_all(&options.out)?;
    let lab = Lab::new(scale, options.seed, etcd, redis, options.out.clone());
    let environment = Environment::read(&lab).await.map_err(|trouble| trouble.to_string())?;
    let file = options.out.join("bars.jsonl");
    let mut complete = true;
    for topic in &topics {
        eprintln!("{} ...", topic.name());
        complete &= measure(topic.as_ref(), &lab, &environment, &file, |line| eprintln!("{line}")).await?;
        let records = Results::read(&file)?.of(topic.name());
        for bar in topic.bars() {
            let Judgement { ratio, control, verdict } = bar.judge(&records);
            let shown = |interval: Option<comparisons::measure::Interval>| {
                interval.map_or("-".into(), |i| format!("{:.3} ({:.3} to {:.3})", i.ratio, i.low, i.high))
            };
            println!(
                "{}: {}, control {}: {verdict:?}, {:?}",
                bar.what,
                shown(ratio),
                shown(control),
                bar.bound
            );
        }
    }
    Ok(complete)
}
