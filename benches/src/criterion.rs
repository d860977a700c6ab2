//! Runs the benchmarks of criterion, and keeps what they find with the commit and the machine.

use std::fs;
use std::io;
use std::path::Path;

use comparisons::environment::Environment;
use comparisons::lab::{Lab, Scale};
use comparisons::run::{Ended, interruptions};
use registry_testing::servers::{etcd::etcd_3_5, redis::redis_8};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use crate::cli;
use crate::figures::{self, Figures};
use crate::left_out::{self, LeftOut};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long each of them may take: a few seconds.
const FULL: [&str; 5] = ["--noplot", "--warm-up-time", "1", "--measurement-time", "3"];
const QUICK: [&str; 2] = ["--noplot", "--quick"];

/// The folder of criterion within that of the records: emptied before, so that no figure of other code stays in it.
const FOLDER: &str = "criterion";

/// The file within it that says what was left out.
const LEFT_OUT: &str = "left-out.jsonl";

/// Measures by `cargo bench`, and keeps the figures, what was asked for, and what was left out; where something was, it ends as failed. Of a run that fails or is
/// interrupted nothing is kept, nor is what was there before.
///
/// # Errors
/// If cargo is not to be found, or the folder is not to be used.
#[expect(clippy::print_stdout, reason = "this is what the command is asked for")]
pub async fn criterion(options: &cli::Criterion) -> Result<Ended, Failure> {
    let out = options.out();
    let told = |error: io::Error| format!("--out {}: {error}", out.display());
    fs::create_dir_all(&out).map_err(told)?;
    let folder = out.canonicalize().map_err(told)?.join(FOLDER);
    for removed in [fs::remove_dir_all(&folder), fs::remove_file(out.join(figures::FILE))] {
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(told(error).into()),
            _ => {}
        }
    }
    // Benchmarks note there what they leave out, before criterion has written anything.
    fs::create_dir_all(&folder).map_err(told)?;
    let environment = environment(options.quick, &out).await?;
    let mut interrupted = std::pin::pin!(interruptions(None));
    let mut cargo = cargo(options, &folder).spawn().map_err(|error| format!("cargo: {error}"))?;
    let status = tokio::select! {
        status = cargo.wait() => status?,
        () = &mut interrupted => {
            interrupt(&mut cargo).await?;
            return Ok(Ended::Interrupted);
        }
    };
    if !status.success() {
        return Ok(Ended::Failed);
    }
    let left_out = LeftOut::read(&folder.join(LEFT_OUT)).map_err(told)?;
    let arguments = options.arguments.clone();
    let found = Figures::of_criterion(&folder)?;
    let figures = Figures { environment: Some(environment), arguments, left_out, ..found };
    figures.write(&out)?;
    figures.lacks().iter().for_each(|lack| println!("{lack}"));
    Ok(if figures.left_out.is_empty() { Ended::Complete } else { Ended::Failed })
}

/// It, and the benchmark that it runs. Servers of that one end with it.
async fn interrupt(cargo: &mut Child) -> io::Result<()> {
    if let Some(group) = cargo.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
        kill_process_group(group, Signal::INT)?;
    }
    cargo.wait().await.map(drop)
}

fn cargo(options: &cli::Criterion, folder: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut command = Command::new(cargo);
    command.args(["bench", "--package", env!("CARGO_PKG_NAME"), "--"]);
    command.args(if options.quick { &QUICK[..] } else { &FULL[..] }).args(&options.arguments);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("CRITERION_HOME", folder);
    // What `cargo run` says of this package to this program would be taken for a change by build scripts that ask for it, and most be compiled again.
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_a_package(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command.env(left_out::VARIABLE, folder.join(LEFT_OUT));
    // A group of its own, so that it can be told to end with all that it has started, whoever is told so here, and by what signal.
    command.process_group(0).kill_on_drop(true);
    command
}

/// Whether cargo sets a variable for the package that it builds or runs.
fn is_of_a_package(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
}

async fn environment(quick: bool, out: &Path) -> Result<Environment, Failure> {
    let scale = if quick { Scale::Quick } else { Scale::Full };
    let etcd = etcd_3_5().unwrap_or("etcd".into());
    let redis = redis_8().unwrap_or("redis-server".into());
    let lab = Lab::new(scale, 0, etcd, redis, out.to_owned());
    let here = Environment::read_what_is_there(&lab).await.map_err(|trouble| trouble.to_string())?;
    // What cargo benches is, whatever this program is.
    Ok(Environment { build: "optimized".to_owned(), ..here })
}
