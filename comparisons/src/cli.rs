//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// Judge histories that the chaos suite has kept again, and show what breaks a promise.
    #[command(after_help = AFTER_JUDGE)]
    Judge(Judge),
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
A cell is one backend under one fault, or a pair of them: servers of its own, some 25 clients in several processes that register, renew, update, leave, crash,
look up and watch, and in the end checkers for the invariants I1 to I17 over all that was asked and told. Each finished cell is kept in chaos.jsonl, with the
commit and the servers that it was played with: the same command goes on where it was interrupted. Cells that other code has played are played again. In the
end there is report.html, one file that needs no network; histories are kept of whatever was not as expected, and one of each fault on each backend.

All faults come one at a time, those that are soonest done first, and then pairs, which are drawn from the seed. --soak plays what a record is to have (20 seeds
of each fault that bites watches, 3 of each other one, 140 pairs), then further seeds, until it is interrupted or its --minutes are over. Disks, for power cuts and
the like, take root; without it these cells are reported as not run.

  cargo run --release -p comparisons -- chaos                                  every cell once, then 35 pairs
  cargo run --release -p comparisons -- chaos --quick                          only faults that bite watches
  cargo run --release -p comparisons -- chaos --fault wipe --backend redis --seeds 20
                                                                               one cell with 20 seeds
  cargo run --release -p comparisons -- chaos --fault link-cut --seed 7        that seed again
  cargo run --release -p comparisons -- chaos --pair wipe+link-cut --seed 7    the same of a pair
  cargo run --release -p comparisons -- chaos --soak --minutes 480             add to the record overnight
  cargo run --release -p comparisons -- report target/chaos                    the report again, also while it runs
  cargo run --release -p comparisons -- publish target/chaos                   into the repository

Ends with 0 if every verdict is what was written down beforehand; with 1 if one is not, which is a finding, either way, or if a cell broke off or, without
--soak, was not begun in time; with 130 if it was interrupted.";

const AFTER_JUDGE: &str = "\
Each violation is told with the lines of the history that show it, by their numbers. The checkers are those of this program, which may be others than judged it
before; the record is left as it is.

  cargo run --release -p comparisons -- judge target/chaos/histories/redis_wipe_7.jsonl
  cargo run --release -p comparisons -- judge target/chaos/histories          all of them
  cargo run --release -p comparisons -- judge --record target/chaos --out target/judged
                                        the record anew, of one that was played with --histories

Ends with 0 if every verdict is what was written down beforehand, and with 1 if one is not.";

/// Options of `judge`.
#[derive(Args, Debug)]
pub struct Judge {
    /// Files with a history each, or folders of such
    #[arg(required_unless_present = "record", value_name = "FILE")]
    pub histories: Vec<PathBuf>,
    /// Judge all that was kept of the record in DIR, and write another record, which says who judged it
    #[arg(long, value_name = "DIR", requires = "out", conflicts_with = "histories")]
    pub record: Option<PathBuf>,
    /// Where that goes, with its report
    #[arg(long, value_name = "DIR", requires = "record")]
    pub out: Option<PathBuf>,
}

/// Options of `chaos`.
#[derive(Args, Debug)]
pub struct Chaos {
    /// Only faults that bite watches, and the control
    #[arg(long)]
    pub quick: bool,
    /// Only these backends
    #[arg(long, value_enum, value_delimiter = ',', value_name = "BACKENDS")]
    pub backend: Vec<Backend>,
    /// Only these faults
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FAULTS")]
    pub fault: Vec<Fault>,
    /// Only these pairs of faults, such as restore+black-hole: the first one strikes first
    #[arg(long, value_delimiter = ',', value_name = "PAIRS", value_parser = pair,
        conflicts_with_all = ["quick", "fault", "pairs", "soak"])]
    pub pair: Vec<[Fault; 2]>,
    /// What all random choices of a cell come from; of several seeds the first
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Play each cell with so many seeds
    #[arg(long, default_value_t = 1, value_name = "N", conflicts_with = "soak")]
    pub seeds: u64,
    /// Then so many pairs of these faults [default: 35, with --quick or --fault none]
    #[arg(long, value_name = "N", conflicts_with = "soak")]
    pub pairs: Option<u64>,
    /// Play what a record lacks, then further seeds and pairs without end
    #[arg(long)]
    pub soak: bool,
    /// Begin no cell that would not be over by then
    #[arg(long, value_name = "N", value_parser = positive)]
    pub minutes: Option<f64>,
    /// How many cells are played side by side; they mostly wait
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub jobs: usize,
    /// Where results, histories and the report go
    #[arg(long, value_name = "DIR", default_value = "target/chaos")]
    pub out: PathBuf,
    /// Take cells for done that other code or other servers have played; the report names them
    #[arg(long)]
    pub any_code: bool,
    /// Throw away what was played while the machine let its processes stand still for longer
    #[arg(long, default_value_t = 250, value_name = "MS")]
    pub late_ms: u64,
    /// Keep the history of every cell, some 2 MB each
    #[arg(long)]
    pub histories: bool,
    /// The etcd to start [default: 3.5 if `make setup` fetched it, otherwise that in PATH]
    #[arg(long, value_name = "FILE")]
    pub etcd_program: Option<PathBuf>,
    /// The Redis to start [default: 8 if `make setup` fetched it, otherwise that in PATH]
    #[arg(long, value_name = "FILE")]
    pub redis_program: Option<PathBuf>,
}

fn pair(text: &str) -> Result<[Fault; 2], String> {
    let (first, second) = text.split_once('+').ok_or("two faults are to be named, with a + between")?;
    let pair = [Fault::from_str(first, false)?, Fault::from_str(second, false)?];
    if !pair[0].goes_with(pair[1]) {
        return Err("these two cannot be in place together".to_owned());
    }
    Ok(pair)
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if number > 0.0 && number <= 1e6 { Ok(number) } else { Err("it is to be above 0".to_owned()) }
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
    /// The records: results.jsonl of the claims, chaos.jsonl, or the folder of either
    #[arg(default_value = "target/claims/results.jsonl", value_name = "FILE")]
    pub records: PathBuf,
    /// Where the report goes [default: beside the records]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Options of `publish`.
#[derive(Args, Debug)]
pub struct Publish {
    /// The records: results.jsonl of the claims, chaos.jsonl, or the folder of either; none to bring the documents up to date with what is published
    #[arg(value_name = "FILE")]
    pub records: Option<PathBuf>,
    /// Of chaos: also keep cells of other code or servers than those of the last run; the report names them
    #[arg(long)]
    pub any_code: bool,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Cli, Command};

    #[test]
    fn the_command_line_is_sound_and_its_examples_can_be_typed() {
        Cli::command().debug_assert();
        for example in super::AFTER_CHAOS.lines().chain(super::AFTER_CLAIMS.lines()) {
            let Some((_, words)) = example.split_once("-p comparisons -- ") else { continue };
            let words = words.split("   ").next().unwrap_or_default().split_whitespace();
            let parsed = Cli::try_parse_from(std::iter::once("comparisons").chain(words));
            assert!(parsed.is_ok(), "{example}: {parsed:?}");
        }
    }

    #[test]
    fn minutes_are_above_zero() {
        for wrong in ["0", "-1", "nan", "inf", "soon"] {
            assert!(Cli::try_parse_from(["comparisons", "chaos", "--minutes", wrong]).is_err(), "{wrong}");
        }
        let right = Cli::try_parse_from(["comparisons", "chaos", "--minutes", "0.5"]).map(|cli| cli.command);
        assert!(matches!(right, Ok(Command::Chaos(options)) if options.minutes == Some(0.5)));
    }
}
