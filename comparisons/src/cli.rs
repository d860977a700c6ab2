//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Why not use Redis as a service registry? Five claims, tested on real servers.
#[derive(Debug, Parser)]
#[command(name = "comparisons", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the experiments on the five claims, and write the report.
    #[command(after_help = AFTER_CLAIMS)]
    Claims(Claims),
    /// List the experiments: what each asks, and how long it takes.
    List,
    /// Make the report and the pictures again from records, without measuring.
    Report(Report),
    /// Make a run the one that is published: copy it to `comparisons/results`, and bring the tables and pictures of the documents up to date.
    Publish(Publish),
    /// Be one instance of a service, for an experiment that kills it.
    #[command(hide = true)]
    Instance(crate::instance::Options),
    /// Be one process of clients in a run of the chaos suite.
    #[command(hide = true, name = crate::chaos::worker::COMMAND)]
    ChaosWorker(crate::chaos::worker::Options),
}

const AFTER_CLAIMS: &str = "\
Servers are started for each step, on free ports of 127.0.0.1, and ended with it; Ctrl-C leaves nothing behind. Each finished step is
kept in results.jsonl: the same command goes on where it was interrupted, and --only can add one experiment after the other.

What this machine cannot do (a power cut takes root and a loop device) is reported as not run, with the reason.

  cargo run --release -p comparisons -- claims --quick            all, in under 10 minutes
  cargo run --release -p comparisons -- claims                    all, in under 60 minutes, to cite
  cargo run --release -p comparisons -- claims --only 3a,4b       two of them
  cargo run --release -p comparisons -- claims --quick --etcd etcd://10.0.0.1 --redis redis://10.0.0.2
                                                                  the harmless ones, on servers of yours";

/// Options of `claims`.
#[derive(Args, Debug)]
pub struct Claims {
    /// Fewer repetitions and smaller sizes: to see it, not to cite it
    #[arg(long)]
    pub quick: bool,
    /// Only these experiments, such as 3a,4b, or all of a claim, such as 4
    #[arg(long, value_delimiter = ',', value_name = "IDS")]
    pub only: Vec<String>,
    /// What all random choices come from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where the report and the records go [default: target/claims, with --quick target/claims-quick, with servers of
    /// yours the same and -on-yours]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Measure the experiments selected again, also where they are in DIR already
    #[arg(long)]
    pub again: bool,
    /// An etcd of yours, such as etcd://10.0.0.1: only harmless experiments are run, under keys of their own, which are removed at the end
    #[arg(long, value_name = "URL", requires = "redis")]
    pub etcd: Option<String>,
    /// A Redis of yours, such as redis://10.0.0.2, for the same
    #[arg(long, value_name = "URL", requires = "etcd")]
    pub redis: Option<String>,
    /// The etcd to start [default: 3.5 if `make setup` fetched it, otherwise that in PATH]
    #[arg(long, value_name = "FILE")]
    pub etcd_program: Option<PathBuf>,
    /// The Redis to start [default: 8 if `make setup` fetched it, otherwise that in PATH]
    #[arg(long, value_name = "FILE")]
    pub redis_program: Option<PathBuf>,
    /// A folder on a real disk, for servers that are to sync what they write
    #[arg(long, value_name = "FOLDER", default_value = "/var/tmp")]
    pub data: PathBuf,
}

impl Claims {
    /// Where the report and the records go.
    #[must_use]
    pub fn out(&self) -> PathBuf {
        let quick = if self.quick { "-quick" } else { "" };
        let yours = if self.etcd.is_some() { "-on-yours" } else { "" };
        self.out.clone().unwrap_or_else(|| format!("target/claims{quick}{yours}").into())
    }
}

/// Options of `report`.
#[derive(Args, Debug)]
pub struct Report {
    /// The records
    #[arg(default_value = "target/claims/results.jsonl", value_name = "FILE")]
    pub records: PathBuf,
    /// Where the report goes [default: beside the records]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Options of `publish`.
#[derive(Args, Debug)]
pub struct Publish {
    /// The records; none to bring the documents up to date with the run that is published
    #[arg(value_name = "FILE")]
    pub records: Option<PathBuf>,
}
