//! A step in a process of its own: what is the same for as long as a process runs, such as where things lie in its memory, is another in each.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use comparisons::lab::{Lab, Scale};
use comparisons::record::{Outcome, Record};
use comparisons::run::{Ended, interruptions};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::contest::Topic;
use crate::run::Running;
use crate::topics;

/// The subcommand.
pub const COMMAND: &str = "step";

/// As long as it takes at most to end servers; after that a process ends as it is.
const ENDING: Duration = Duration::from_secs(15);
/// After that it is killed.
const KILLED: Duration = Duration::from_secs(20);
/// What a process that was interrupted ends with.
pub const INTERRUPTED: u8 = 130;

/// What is played, and with what.
#[derive(Args, Debug)]
pub struct Options {
    /// Its name, in full
    #[arg(long)]
    topic: String,
    /// Which time
    #[arg(long)]
    step: u32,
    #[arg(long)]
    quick: bool,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    etcd_program: PathBuf,
    #[arg(long)]
    redis_program: PathBuf,
    #[arg(long)]
    disk: PathBuf,
}

/// What a step saw, and why it broke off, if it did.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Played {
    /// What it saw.
    pub records: Vec<Record>,
    /// Why it broke off.
    pub trouble: Option<Outcome>,
}

impl Played {
    /// One that saw nothing.
    pub(crate) fn failed(why: String) -> Self {
        Self { records: Vec::new(), trouble: Some(Outcome::Failed { why }) }
    }
}

/// Plays a step, and writes what it saw to the standard output. Ends with its servers as soon as nobody holds its standard input any more.
///
/// # Errors
/// What is wrong with the options, or that nobody reads.
pub async fn step(options: &Options) -> Result<Ended, Box<dyn std::error::Error + Send + Sync>> {
    let topic = topics::all().into_iter().find(|topic| topic.name() == options.topic);
    let topic: Arc<dyn Topic> = topic.ok_or("there is no such topic")?.into();
    let scale = if options.quick { Scale::Quick } else { Scale::Full };
    let Options { seed, etcd_program, redis_program, disk, .. } = options;
    let lab = Lab::new(scale, *seed, etcd_program.clone(), redis_program.clone(), disk.clone());
    let mut running = Running::here(topic, options.step, Arc::new(lab));
    let played = tokio::select! {
        played = running.played() => Some(played),
        () = interruptions(None) => None,
        () = alone() => None,
    };
    running.end().await;
    let Some(played) = played else { return Ok(Ended::Interrupted) };
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, &played)?;
    out.flush()?;
    Ok(Ended::Complete)
}

/// Until nobody holds the standard input any more. Some time after that the process ends, also if something in it hangs.
#[expect(clippy::disallowed_methods, reason = "the thread is its own")]
async fn alone() {
    let (gone, told) = oneshot::channel();
    // A thread of its own, since a runtime would wait for it in the end.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock().by_ref(), &mut std::io::sink());
        let _ = gone.send(());
        std::thread::sleep(ENDING);
        std::process::exit(INTERRUPTED.into());
    });
    let _ = told.await;
}

/// This program, also if it was built anew since it runs.
pub(crate) fn this_program() -> std::io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

/// Has a step played by a process of `program`, until it is done or `stop` comes; after that nothing of it runs.
pub(crate) async fn elsewhere(
    program: &Path,
    topic: &str,
    step: u32,
    lab: &Lab,
    stop: oneshot::Receiver<()>,
) -> Played {
    let mut command = Command::new(program);
    command.args([COMMAND, "--topic", topic, "--step", &step.to_string(), "--seed", &lab.seed.to_string()]);
    command.arg("--etcd-program").arg(&lab.etcd).arg("--redis-program").arg(&lab.redis);
    command.arg("--disk").arg(&lab.disk).args(lab.by_scale(Some("--quick"), None));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    // Ctrl-C is for us: it ends when we let go of its standard input.
    command.process_group(0);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Played::failed(format!("{}: {error}", program.display())),
    };
    let (held, group) = (child.stdin.take(), child.id());
    let mut output = std::pin::pin!(child.wait_with_output());
    let stopped = tokio::select! {
        biased;
        output = &mut output => Ok(output),
        _ = stop => Err(held),
    };
    let output = match stopped {
        Ok(output) => output,
        Err(held) => {
            drop(held);
            if timeout(KILLED, &mut output).await.is_err() {
                let group = group.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
                let _ = group.map(|group| kill_process_group(group, Signal::KILL));
                let _ = output.await;
            }
            return Played::default();
        }
    };
    if let Ok(Output { stderr, .. }) = &output {
        let _ = std::io::stderr().write_all(stderr);
    }
    match output {
        Ok(output) if output.status.success() => serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| Played::failed(format!("what its process said: {error}"))),
        Ok(output) => Played::failed(last_words(&output)),
        Err(error) => Played::failed(format!("its process: {error}")),
    }
}

fn last_words(Output { status, stderr, .. }: &Output) -> String {
    let said = String::from_utf8_lossy(stderr);
    let said = said.trim();
    if said.is_empty() { format!("its process ended with {status}") } else { format!("{said} ({status})") }
}
