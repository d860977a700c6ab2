//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::chaos::backend::Backend;
use crate::chaos::fault::Fault;

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
    /// Put registries under faults, and check what they promise.
    #[command(after_help = AFTER_CHAOS)]
    Chaos(Chaos),
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

const AFTER_CHAOS: &str = "\
A cell is one backend under one fault: servers of its own, some 25 clients in several processes that register, renew, update, leave, crash, look up and
watch, and in the end checkers for the invariants I1 to I17 over all that was asked and told. Each finished cell is kept in chaos.jsonl, and its history
beside it: the same command goes on where it was interrupted.

  cargo run --release -p comparisons -- chaos                                  every cell once
  cargo run --release -p comparisons -- chaos --quick                          only faults that bite watches
  cargo run --release -p comparisons -- chaos --fault wipe --backend redis --seeds 20
                                                                               one cell with 20 seeds

Ends with 0 if every verdict is what was written down beforehand, with 1 if one is not: that is a finding, either way.";

/// Options of `chaos`.
#[derive(Args, Debug)]
pub struct Chaos {
    /// Only faults that bite watches
    #[arg(long)]
    pub quick: bool,
    /// Only these backends
    #[arg(long, value_enum, value_delimiter = ',', value_name = "BACKENDS")]
    pub backend: Vec<Backend>,
    /// Only these faults
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FAULTS")]
    pub fault: Vec<Fault>,
    /// What all random choices of a cell come from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Play each cell with so many seeds, from that one on
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seeds: u64,
    /// How many cells are played side by side
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub jobs: usize,
    /// Where results and histories go
    #[arg(long, value_name = "DIR", default_value = "target/chaos")]
    pub out: PathBuf,
    /// The etcd to start [default: 3.5 if `make setup` fetched it, otherwise that in PATH]
    #[arg(long, value_name = "FILE")]
    pub etcd_program: Option<PathBuf>,
    /// The Redis to start [default: 8 if `make setup` fetched it, otherwise that in PATH]
    #[arg(long, value_name = "FILE")]
    pub redis_program: Option<PathBuf>,
}

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
