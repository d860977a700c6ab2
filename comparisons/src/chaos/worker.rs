//! A process of a run that is not the runner's: it gets its share of the workload on standard input, plays it, and writes lines on standard output.
//!
//! It ends when it is told to, or when its standard input ends, which it does when whoever started it dies.

use std::io::{self, BufRead, BufWriter, Write, stdin, stdout};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use clap::Args;
use registry_core::{ServiceName, Ttl};
use registry_testing::servers::until;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::client::{Connected, Variant};
use super::history::{At, Line, Note};
use super::lines::write_line;
use super::recorder::{Clock, Recorder, Recording};
use super::stand::Place;
use super::workload::{Actor, Phase, Stage, play};
use crate::experiment::Trouble;

/// What the subcommand is called.
pub const COMMAND: &str = "chaos-worker";

/// How long a worker may take to hand over its last lines.
const PATIENCE: Duration = Duration::from_secs(10);

/// Options of `chaos-worker`: all that it is to know comes by standard input, since it may hold a password.
#[derive(Args, Clone, Copy, Debug)]
pub struct Options {}

/// A share of the workload: the first line that a worker is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Share {
    /// The clock of the run.
    pub clock: Clock,
    /// When the play begins.
    pub starts: At,
    /// The service.
    pub service: String,
    /// For how long instances are registered.
    pub ttl_ms: u64,
    /// Where those who read find the registry.
    pub reader: Address,
    /// Where those who write find it.
    pub writer: Address,
    /// Which of those that people write, if it is one.
    pub variant: Variant,
    /// Who plays.
    pub actors: Vec<Actor>,
}

/// A place that can be told to another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "is", content = "url", rename_all = "snake_case")]
pub enum Address {
    /// One of this project's registries.
    Url(String),
    /// One that people write.
    NaiveUrl(String),
}

impl Address {
    /// Where that is; none of a store in memory.
    #[must_use]
    pub fn of(place: &Place) -> Option<Self> {
        match place {
            Place::Memory(_) => None,
            Place::Url(url) | Place::Group { url, .. } => Some(Self::Url(url.clone())),
            Place::NaiveUrl(url) => Some(Self::NaiveUrl(url.clone())),
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::Url(url) => Place::Url(url.clone()),
            Self::NaiveUrl(url) => Place::NaiveUrl(url.clone()),
        }
    }
}

/// Is a worker, until it is told to end.
///
/// # Errors
/// What it is told that it cannot understand, and what is wrong with a place.
pub async fn run(_: Options) -> Result<(), Trouble> {
    // Also while it is stopped, when it would not see that its standard input has ended.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    let mut told = stdin().lock().lines();
    let first = told.next().ok_or_else(|| Trouble::failed("nothing was told"))??;
    drop(told);
    let share: Share = serde_json::from_str(&first).map_err(io::Error::from)?;
    let (recorder, recording) = Recorder::new(share.clock);
    let writing = thread::Builder::new().name("standard output".to_owned()).spawn(|| write(recording))?;
    let (told, phase) = watch::channel(Phase::Changing);
    // On a thread of its own, which ends with the process: a read cannot be given up.
    thread::Builder::new().name("standard input".to_owned()).spawn(move || listen(&told))?;
    let stage = Stage {
        recorder: recorder.clone(),
        starts: share.starts,
        service: ServiceName::new(share.service)?,
        ttl: Ttl::new(Duration::from_millis(share.ttl_ms))?,
        reader: Connected::to(&share.reader.place(), share.variant).await?,
        writer: Connected::to(&share.writer.place(), share.variant).await?,
        phase,
    };
    play(stage, share.actors).await;
    recorder.note(END, None);
    // Of a pipe that nobody reads any more there is nothing to be said.
    let _ = tokio::task::spawn_blocking(|| writing.join()).await;
    Ok(())
}

/// What is noted of one that ended before it was told to: it was killed, or crashed.
pub const DIED: &str = "a worker died";

/// The last line.
const END: &str = "worker_ends";

/// Follows what it is told, and takes the end of it for the end of the play.
fn listen(phase: &watch::Sender<Phase>) {
    for line in stdin().lock().lines() {
        match line.map(|line| serde_json::from_str(&line)) {
            Ok(Ok(next)) => drop(phase.send_replace(next)),
            _ => break,
        }
    }
    phase.send_replace(Phase::Over);
}

/// Writes lines as they come, up to the last; at once when there are no more.
fn write(mut recording: Recording) -> io::Result<()> {
    let mut out = BufWriter::new(stdout().lock());
    while let Some(line) = recording.next_blocking() {
        let mut lines = vec![line];
        lines.append(&mut recording.drain());
        for line in &lines {
            write_line(&mut out, line)?;
            if matches!(line, Line::Note(note) if note.what == END) {
                return out.flush();
            }
        }
        out.flush()?;
    }
    Ok(())
}

/// A worker, in the hands of the runner. Dropping it kills it.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    told: Option<ChildStdin>,
    lines: JoinHandle<Vec<Line>>,
}

impl Worker {
    /// Starts a worker by `program`, which is `comparisons`, and tells it its share.
    ///
    /// # Errors
    /// That the program cannot be started.
    pub async fn start(program: &Path, share: &Share) -> Result<Self, Trouble> {
        let mut child = Command::new(program)
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let told = child.stdin.take();
        let Some(said) = child.stdout.take() else { return Err(Trouble::failed("a worker says nothing")) };
        let clock = share.clock;
        let lines = tokio::spawn(async move {
            let mut said = BufReader::new(said).lines();
            let mut lines = Vec::new();
            let mut ended = false;
            while let Ok(Some(line)) = said.next_line().await {
                match serde_json::from_str::<Line>(&line) {
                    Ok(Line::Note(note)) if note.what == END => ended = true,
                    Ok(line) => lines.push(line),
                    // It died while it wrote.
                    Err(_) => break,
                }
            }
            if !ended {
                let what = DIED.to_owned();
                lines.push(Line::Note(Note { at: clock.now(), what, figure: None }));
            }
            lines
        });
        let mut worker = Self { child, told, lines };
        worker.tell(share).await?;
        Ok(worker)
    }

    /// Tells it how far the play is. One that is dead or stopped does not hear it, which is no error.
    pub async fn turn(&mut self, phase: Phase) {
        let _ = self.tell(&phase).await;
    }

    async fn tell(&mut self, what: &impl Serialize) -> Result<(), Trouble> {
        let mut line = serde_json::to_vec(what).map_err(io::Error::from)?;
        line.push(b'\n');
        if let Some(told) = &mut self.told {
            told.write_all(&line).await?;
            told.flush().await?;
        }
        Ok(())
    }

    /// SIGSTOP; returns when it has stopped.
    ///
    /// # Errors
    /// That it does not run, or does not stop.
    pub async fn pause(&self) -> Result<(), Trouble> {
        self.signal(Signal::STOP, true).await
    }

    /// SIGCONT; returns when it runs on.
    ///
    /// # Errors
    /// That it does not run.
    pub async fn resume(&self) -> Result<(), Trouble> {
        self.signal(Signal::CONT, false).await
    }

    async fn signal(&self, signal: Signal, stops: bool) -> Result<(), Trouble> {
        // Until it is waited for, which only `end` does, nobody else has its id.
        let id = self.child.id().ok_or_else(|| Trouble::failed("a worker does not run"))?;
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Trouble::failed("a worker has an id that is none"))?;
        kill_process(pid, signal).map_err(io::Error::from)?;
        let as_wanted = || async { (is_stopped(id) == stops).then_some(()) };
        Ok(until("a worker has obeyed a signal", PATIENCE, as_wanted).await?)
    }

    /// Waits until it has ended by itself, after [`Phase::Over`], and gives what it wrote. One that does not end is killed.
    pub async fn end(mut self) -> Vec<Line> {
        drop(self.told.take());
        // One that is stopped would not hear it; one that is dead has written all that it will.
        let _ = self.resume().await;
        if timeout(PATIENCE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        self.lines.await.unwrap_or_default()
    }
}

/// Whether all threads of a process stand still.
fn is_stopped(id: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{id}/task")) else { return false };
    let mut states = threads.flatten().map(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses and may hold any.
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    });
    states.all(|stopped| stopped)
}
