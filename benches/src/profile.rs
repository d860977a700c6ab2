//! Lets arms play alone while `perf` looks at where this process is, and keeps what it saw.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use comparisons::environment::Environment;
use comparisons::lab::Scale;
use comparisons::run::{Ended, interruptions};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::bars::to_profile;
use crate::cli;
use crate::contest::{Arm, Topic};
use crate::profiles::{Counted, Profile, Profiled, Profiles};
use crate::run::{lab, select};
use crate::topics;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Samples in a second of processor time: in no step with what is done a thousand times a second.
const FREQUENCY: &str = "1997";

/// Profiles the topics that `options` name: of each the arms that its bars with a bound are about, and those they are compared with.
///
/// # Errors
/// If there is no such topic or no `perf`, and what broke.
pub async fn profile(options: &cli::Profile) -> Result<Ended, Failure> {
    let selected = select(topics::all(), &options.topics)?;
    let out = options.with.out(false);
    fs::create_dir_all(&out).map_err(|error| format!("--out {}: {error}", out.display()))?;
    let lab = lab(Scale::Full, &options.with, &out);
    let here = Environment::read_what_is_there(&lab).await.map_err(|trouble| trouble.to_string())?;
    let mut kept = Profiles::read(&out)?;
    let mut interrupted = std::pin::pin!(interruptions(None));
    for topic in selected {
        let profiled = async {
            let contest = topic.prepare(&lab).await.map_err(|trouble| trouble.to_string())?;
            profile_arms(topic.as_ref(), contest.into_arms(), options.seconds, &out).await
        };
        let arms = tokio::select! {
            arms = profiled => arms.map_err(|error| format!("{}: {error}", topic.name()))?,
            () = &mut interrupted => return Ok(Ended::Interrupted),
        };
        tell(topic.name(), &arms);
        kept.0.insert(topic.name().to_owned(), Profile { environment: here.clone(), arms });
        kept.write(&out)?;
    }
    Ok(Ended::Complete)
}

async fn profile_arms(
    topic: &dyn Topic,
    mut arms: Vec<(&'static str, Box<dyn Arm>)>,
    seconds: u32,
    out: &Path,
) -> Result<Vec<Profiled>, Failure> {
    let mut profiled = Vec::new();
    for name in to_profile(topic.bars()) {
        let (_, arm) = arms.iter_mut().find(|(there, _)| *there == name).ok_or("it lacks an arm")?;
        profiled.push(Profiled::new(name, &sampled(arm.as_mut(), seconds, out).await?));
    }
    Ok(profiled)
}

/// What is counted while an arm plays. Once it has played uncounted, so that all is in place.
async fn sampled(arm: &mut dyn Arm, seconds: u32, out: &Path) -> Result<Vec<Counted>, Failure> {
    let play = async |arm: &mut dyn Arm| arm.play().await.map(drop).map_err(|trouble| trouble.to_string());
    play(arm).await?;
    let samples = Samples::new(out.join("perf.data"));
    let mut perf =
        record(&samples.0).map_err(|error| format!("perf: {error} (Debian has it as linux-perf)"))?;
    let until = Instant::now() + Duration::from_secs(seconds.into());
    while Instant::now() < until {
        play(arm).await?;
        // Some arms never wait: who interrupts is to be heard nevertheless.
        tokio::task::yield_now().await;
    }
    end(&mut perf).await?;
    let counted = counted(&samples.0).await?;
    if counted.is_empty() { Err("perf saw nothing".into()) } else { Ok(counted) }
}

/// The file of samples, for as long as it is needed.
struct Samples(PathBuf);

impl Samples {
    fn new(file: PathBuf) -> Self {
        let _ = fs::remove_file(&file);
        Self(file)
    }
}

impl Drop for Samples {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Servers are other processes, and not looked at.
fn record(samples: &Path) -> io::Result<Child> {
    let this = std::process::id().to_string();
    Command::new("perf")
        .args(["record", "--quiet", "--event", "cpu-clock", "--freq", FREQUENCY, "--pid", &this, "--output"])
        .arg(samples)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Asks `perf` to write what it has, and waits for it. An error where it had ended before.
async fn end(perf: &mut Child) -> Result<(), Failure> {
    let ended = perf.try_wait()?;
    if let Some(id) = perf.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
        kill_process(id, Signal::INT)?;
    }
    let mut told = Vec::new();
    if let Some(mut stderr) = perf.stderr.take() {
        tokio::io::AsyncReadExt::read_to_end(&mut stderr, &mut told).await?;
    }
    let status = perf.wait().await?;
    if ended.is_none() && (status.success() || status.signal() == Some(Signal::INT.as_raw())) {
        return Ok(());
    }
    Err(format!("perf record: {status}: {}", String::from_utf8_lossy(&told).trim()).into())
}

async fn counted(samples: &Path) -> Result<Vec<Counted>, Failure> {
    let mut report = Command::new("perf");
    report.args(["report", "--stdio", "--quiet", "--no-children", "--fields", "sample,dso,symbol"]);
    report.args(["--field-separator", "|", "--input"]).arg(samples).kill_on_drop(true);
    let output = report.stdin(Stdio::null()).output().await?;
    if !output.status.success() {
        return Err(format!("perf report: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(Counted::parse).collect())
}

#[expect(clippy::print_stdout, reason = "this is what the command is asked for")]
fn tell(topic: &str, arms: &[Profiled]) {
    for arm in arms {
        println!("{topic}, {}: {} samples", arm.arm, arm.samples);
        let mut owners: Vec<_> = arm.owners.iter().collect();
        owners.sort_by_key(|(_, samples)| std::cmp::Reverse(**samples));
        for (owner, samples) in owners.into_iter().take(8) {
            println!("  {:5.1} %  {owner}", arm.percentage(*samples));
        }
        for (function, samples) in arm.functions.iter().take(12) {
            println!("      {:5.1} %  {function}", arm.percentage(*samples));
        }
    }
}
