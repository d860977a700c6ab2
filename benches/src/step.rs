//! A step, in this process or in one of its own: what is the same for as long as a process runs, such as where things lie in its memory, is another in each.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use comparisons::experiment::Trouble;
use comparisons::lab::{Lab, Scale};
use comparisons::record::{Outcome, Record};
use comparisons::run::{Ended, interruptions};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::contest::Topic;
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

/// A step that runs. It ends with this, and so do its servers.
pub(crate) struct Running {
    task: JoinHandle<Played>,
    stop: Option<oneshot::Sender<()>>,
}

impl Running {
    fn new<F: Future<Output = Played> + Send + 'static>(
        playing: impl FnOnce(oneshot::Receiver<()>) -> F,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { task: tokio::spawn(playing(stopped)), stop: Some(stop) }
    }

    /// In this process.
    pub(crate) fn here(topic: Arc<dyn Topic>, step: u32, lab: Arc<Lab>) -> Self {
        Self::new(|stopped| async move {
            let mut records = Vec::new();
            let played = tokio::select! {
                played = play(topic.as_ref(), step, &lab, &mut records) => played,
                _ = stopped => Ok(()),
            };
            let trouble = played.err().map(|trouble| match trouble {
                Trouble::NotRun(why) => Outcome::NotRun { why },
                trouble => Outcome::Failed { why: trouble.to_string() },
            });
            Played { records, trouble }
        })
    }

    /// In a process of its own.
    pub(crate) fn elsewhere(topic: &Arc<dyn Topic>, step: u32, lab: &Arc<Lab>) -> Self {
        let (topic, lab) = (Arc::clone(topic), Arc::clone(lab));
        Self::new(|stopped| async move {
            match this_program() {
                Ok(program) => elsewhere(&program, topic.name(), step, &lab, stopped).await,
                Err(error) => Played::failed(format!("this program: {error}")),
            }
        })
    }

    /// What it saw.
    pub(crate) async fn played(&mut self) -> Played {
        (&mut self.task).await.unwrap_or_else(|broken| Played::failed(broken.to_string()))
    }

    /// Done when nothing of it runs on.
    pub(crate) async fn end(mut self) {
        self.stop.take();
        if !self.task.is_finished() {
            let _ = (&mut self.task).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Each step has random numbers of its own, whichever were done before it.
fn of_step(lab: &Lab, step: u32) -> Lab {
    let seed = lab.random(&format!("step {step}")).u64(..);
    Lab::new(lab.scale, seed, lab.etcd.clone(), lab.redis.clone(), lab.disk.clone())
}

pub(crate) async fn play(
    topic: &dyn Topic,
    step: u32,
    lab: &Lab,
    records: &mut Vec<Record>,
) -> Result<(), Trouble> {
    let lab = of_step(lab, step);
    let mut contest = topic.prepare(&lab).await?;
    let mut random = lab.random(&format!("order of {}", topic.name()));
    contest.play(topic.rounds(&lab), &mut random, |record| records.push(record)).await
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
    match output {
        Ok(output) if output.status.success() => {
            // Where it broke off, and what its servers had to say.
            let _ = std::io::stderr().write_all(&output.stderr);
            serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|error| Played::failed(format!("what its process said: {error}")))
        }
        Ok(output) => Played::failed(last_words(&output)),
        Err(error) => Played::failed(format!("its process: {error}")),
    }
}

fn last_words(Output { status, stderr, .. }: &Output) -> String {
    let said = String::from_utf8_lossy(stderr);
    let said = said.trim();
    if said.is_empty() { format!("its process ended with {status}") } else { format!("{said} ({status})") }
}
