//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{load_once, step};

/// What the registry costs, beside what it is built on.
#[derive(Debug, Parser)]
#[command(name = "benches", version, about, max_term_width = 100, after_help = AFTER)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure the bars: ratios to raw clients and to what others use, whose arms take turns within one run
    #[command(after_help = AFTER_BARS)]
    Bars(Bars),
    /// List the topics with their bars
    List,
    /// Run the benchmarks of criterion, and keep their figures with the commit and the machine they were made on
    #[command(after_help = AFTER_CRITERION)]
    Criterion(Criterion),
    /// Look at where the time goes, in our code and in what it is compared with; needs `perf`
    #[command(after_help = AFTER_PROFILE)]
    Profile(Profile),
    /// Make the page and the summary again from what is kept, without measuring
    Page(Page),
    /// Make a run the one that is published: copy it to `benches/results`, and bring the documents up to date
    #[command(after_help = AFTER_PUBLISH)]
    Publish(Publish),
    /// Play a step, and tell what it saw
    #[command(hide = true, name = step::COMMAND)]
    Step(step::Options),
    /// Load a service once, and tell how much memory that took
    #[command(hide = true)]
    LoadOnce(load_once::Options),
}

const AFTER: &str = "\
Two kinds of figures: `criterion` measures how long single things take and how that grows; `bars` judges promises, each a ratio with a bound.
`page` shows both: target/bench/report.html, one file that needs no network, and the same for programs, target/bench/summary.json.

  make bench          all of it, to cite (make bench-quick: to see it)
  make help           the other commands of the project";

const AFTER_BARS: &str = "\
A bar is a ratio of two arms that do the same work. Arms take turns: each has a block in every round, in an order that is drawn anew for each round, and
some rounds are played with servers, and the process of who calls them, started anew. The ratio is the mean of the medians of these starts, with its 95 % interval; a bar is met if the whole interval is within the bound. Beside
it stands its control, the ratio of two arms that are alike: where its interval does not hold 1, a bar is undecided that could be on either side of its bound by as much as that.

Servers are started for each step, on free ports of 127.0.0.1, and ended with it; Ctrl-C leaves nothing behind. Each finished step is kept in bars.jsonl: the same
command goes on where it was interrupted. What is measured --again takes the place of what was there, and the page tells what that had said.

  cargo run --release -p benches -- bars                          all, to cite
  cargo run --release -p benches -- bars --quick                  all, to see them
  cargo run --release -p benches -- bars --only etcd --again      every topic whose name holds that, measured anew
  cargo run --release -p benches -- list                          what there is

Ends with 0 if all that was asked for is measured, met or not; with 1 if a topic could not run or broke off, with the reason; with 2 if it could not begin, such as where DIR has records of another program; with 130 if it was interrupted.";

const AFTER_CRITERION: &str = "\
This is `cargo bench -p benches` with times that are bounded, in a folder of its own, and what it finds is kept in criterion.json. What comes after -- is for criterion;
such a run is marked as a part, and what lacks etcd or Redis names what was left out: neither is published as whole.

  cargo run --release -p benches -- criterion
  cargo run --release -p benches -- criterion --quick -- pick

Ends with 0 if all was measured, with 1 if a benchmark broke off (then nothing is kept) or left something out, with 130 if it was interrupted.";

const AFTER_PROFILE: &str = "\
Of each topic the arms that its bars with a bound are about, and those they are compared with, play one after the other, each alone. Samples are of the processor
time of this process; what waits for a server is not seen, and of memory nothing. What was seen is kept in profiles.json, and shown on the page. A bar with a bound
that is not met (missed, not shown or undecided) is published only with a profile of the same commit.

  cargo run --release -p benches -- profile lookup-redis
  cargo run --release -p benches -- profile heartbeats --seconds 20";

const AFTER_PUBLISH: &str = "\
Published is only what optimized builds of clean commits have measured in full, every topic by one of them, and all of criterion's; with --partial also a part. Pictures, tables and the page in the repository are made of the
records beside them, and a test fails when they differ.

  cargo run --release -p benches -- publish target/bench
  cargo run --release -p benches -- publish                       documents only, of what is published already";

/// Options of `bars`.
#[derive(Args, Debug)]
pub struct Bars {
    /// Only topics whose names hold one of these; all, if none is named
    #[arg(long, value_delimiter = ',', value_name = "TOPICS")]
    pub only: Vec<String>,
    /// Fewer rounds: to see it, not to cite it
    #[arg(long)]
    pub quick: bool,
    /// Measure the topics selected again, also where they are in DIR already
    #[arg(long)]
    pub again: bool,
    /// Where and with what
    #[command(flatten)]
    pub with: With,
}

/// Where records go, and with what they are made.
#[derive(Args, Debug)]
pub struct With {
    /// What all random choices come from
    #[arg(long, default_value_t = 8)]
    pub seed: u64,
    /// Where the records go [default: target/bench, with --quick target/bench-quick]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The etcd to start [default: 3.5 if `make setup` fetched it, otherwise that in PATH]
    #[arg(long, value_name = "FILE")]
    pub etcd_program: Option<PathBuf>,
    /// The Redis to start [default: 8 if `make setup` fetched it, otherwise that in PATH]
    #[arg(long, value_name = "FILE")]
    pub redis_program: Option<PathBuf>,
}

impl With {
    /// Where the records go.
    #[must_use]
    pub fn out(&self, quick: bool) -> PathBuf {
        self.out.clone().unwrap_or_else(|| folder(quick))
    }
}

/// Options of `profile`.
#[derive(Args, Debug)]
pub struct Profile {
    /// Topics whose names hold one of these
    #[arg(required = true, value_name = "TOPICS")]
    pub topics: Vec<String>,
    /// How long each arm plays
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: u32,
    /// Where and with what
    #[command(flatten)]
    pub with: With,
}

/// Options of `criterion`.
#[derive(Args, Debug)]
pub struct Criterion {
    /// Fewer samples: to see it, not to cite it
    #[arg(long)]
    pub quick: bool,
    /// Where the figures go [default: target/bench, with --quick target/bench-quick]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// For criterion, such as a part of a benchmark's name
    #[arg(last = true, value_name = "ARGUMENTS")]
    pub arguments: Vec<String>,
}

impl Criterion {
    /// Where the figures go.
    #[must_use]
    pub fn out(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| folder(self.quick))
    }
}

fn folder(quick: bool) -> PathBuf {
    if quick { "target/bench-quick" } else { "target/bench" }.into()
}

/// Options of `page`.
#[derive(Args, Debug)]
pub struct Page {
    /// The folder of records, where the page goes too
    #[arg(default_value = "target/bench", value_name = "DIR")]
    pub folder: PathBuf,
    /// Take criterion's figures from where a plain `cargo bench` leaves them, such as target/criterion
    #[arg(long, value_name = "DIR")]
    pub criterion: Option<PathBuf>,
}

/// Options of `publish`.
#[derive(Args, Debug)]
pub struct Publish {
    /// The folder of records; none to bring the documents up to date with what is published
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Also a run that lacks topics or criterion's figures; the documents name what is missing
    #[arg(long)]
    pub partial: bool,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{AFTER_BARS, AFTER_CRITERION, AFTER_PROFILE, AFTER_PUBLISH, Cli};

    #[test]
    fn the_command_line_is_sound_and_its_examples_can_be_typed() {
        Cli::command().debug_assert();
        let lines =
            [AFTER_BARS, AFTER_CRITERION, AFTER_PROFILE, AFTER_PUBLISH].into_iter().flat_map(str::lines);
        let typed = lines.filter_map(|line| line.split_once("-p benches -- ")).map(|(_, words)| {
            let words = words.split("   ").next().unwrap_or_default().split_whitespace();
            let parsed = Cli::try_parse_from(std::iter::once("benches").chain(words));
            assert!(parsed.is_ok(), "{parsed:?}");
        });
        assert_eq!(typed.count(), 10);
    }
}
