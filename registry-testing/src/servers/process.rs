//! A server as a child process: its folder, its log, its signals, its end.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{ServerError, until};
use rustix::process::{Pid, Signal, kill_process};

pub use super::folder::Folder;

/// Becomes the program, keeping its pid, after it has left a watchdog behind that is no child of the program. The watchdog reads a pipe whose
/// other end only the test process holds. A line means that the program has ended and was waited for; the end of the pipe without one means
/// that the test process is gone, however it went: what ends all processes of a terminal together (Redis outlives a hang-up) does not end the
/// watchdog.
///
/// `PR_SET_PDEATHSIG` (or `setpriv --pdeathsig`) would not do: it fires when the *thread* that started the child ends, and a test's thread
/// ends long before the test process.
const LEASH: &str = r#"
dir=$1; shift; exec 3<&0 </dev/null
( trap '' HUP INT TERM; { read -r ended <&3 || { kill -KILL $$; rm -rf -- "$dir" || rm -rf -- "$dir"; }; } >/dev/null 2>&1 & )
exec "$@" 3<&-"#;

const TAIL_LINES: usize = 40;
const TAIL_BYTES: u64 = 16 << 10;
/// How long a signal may take to show.
const SOON: Duration = Duration::from_secs(10);

/// What to start.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    program: PathBuf,
    hint: String,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
}

impl Program {
    /// The program `program`: a path, or a name that is looked for in `PATH`. `hint` says what to do when it is missing, such as
    /// `apt-get install etcd-server`.
    pub fn new(program: impl Into<PathBuf>, hint: impl Into<String>) -> Self {
        let program = program.into();
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        Self { name, program, hint: hint.into(), args: Vec::new(), envs: Vec::new() }
    }

    /// A name for errors and logs; the program's by default.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// More arguments.
    #[must_use]
    pub fn with_args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// One more variable of the environment, beside those of the test process.
    #[must_use]
    pub fn with_env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.envs.push((name.into(), value.into()));
        self
    }

    /// The file that would be run.
    ///
    /// # Errors
    /// [`ServerError::Missing`] with the hint.
    pub fn find(&self) -> Result<PathBuf, ServerError> {
        let missing =
            || ServerError::Missing { program: self.program.display().to_string(), hint: self.hint.clone() };
        if self.program.components().count() > 1 {
            return self.program.is_file().then(|| self.program.clone()).ok_or_else(missing);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places = std::env::split_paths(&path).map(|folder| folder.join(&self.program));
        places.find(|file| file.is_file()).ok_or_else(missing)
    }

    /// Runs a tool to its end and gives what it printed. Blocks a thread meanwhile, not the runtime. Dropping the future lets the tool run on.
    ///
    /// # Errors
    /// [`ServerError::Missing`]; [`ServerError::Refused`] with what it printed when it failed.
    pub async fn run(&self) -> Result<String, ServerError> {
        let path = self.find()?;
        let mut command = Command::new(path);
        command.args(&self.args).envs(self.envs.iter().cloned()).stdin(Stdio::null());
        let running = tokio::task::spawn_blocking(move || command.output());
        let output = running.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let output = output.map_err(ServerError::io(format!("running {}", self.name)))?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(printed);
        }
        let answer = format!("{}: {printed}{}", output.status, String::from_utf8_lossy(&output.stderr));
        Err(ServerError::refused(format!("{} {:?}", self.name, self.args), answer))
    }
}

/// A server: a program that can be started, signalled and started again, in a folder of its own.
///
/// Dropping it kills the server and removes the folder, also when the test panics; then the last lines of the log are printed first. When the
/// test process itself ends without dropping it, even by `kill -9`, the server dies and the folder goes as well.
#[derive(Debug)]
pub struct Process {
    program: Program,
    folder: Folder,
    running: Mutex<Option<Running>>,
    /// The pid of the latest life, for those who must tell servers apart while others use this.
    latest_pid: Arc<AtomicU32>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    leash: Option<ChildStdin>,
    /// Where in the log this life begins.
    log_start: u64,
}

impl Running {
    /// To be called only when the child was waited for: from then on its pid may be another's.
    fn slip_leash(&mut self) {
        if let Some(mut leash) = self.leash.take() {
            let _ = leash.write_all(b"ended\n");
        }
    }
}

impl Process {
    /// A server that does not run yet.
    #[must_use]
    pub fn new(program: Program, folder: Folder) -> Self {
        Self { program, folder, running: Mutex::new(None), latest_pid: Arc::default() }
    }

    /// Its name in errors.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.program.name
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Starts it, and waits until `ready` says so. Nothing happens to the data. If it does not get ready, it is killed.
    ///
    /// # Errors
    /// [`ServerError::Missing`]; [`ServerError::AddressInUse`], upon which the caller may try again; [`ServerError::Exited`];
    /// [`ServerError::Timeout`].
    pub async fn start<F>(&self, within: Duration, mut ready: impl FnMut() -> F) -> Result<(), ServerError>
    where
        F: Future<Output = bool>,
    {
        self.spawn()?;
        let what = format!("{} is ready", self.name());
        let outcome = until(&what, within, || {
            let ended = self.ended();
            let ready = ready();
            async move {
                match ended {
                    Some(error) => Some(Err(error)),
                    None => ready.await.then_some(Ok(())),
                }
            }
        });
        let outcome = outcome.await.unwrap_or_else(Err).map_err(|error| error.with_log(|| self.log_tail()));
        if outcome.is_err() {
            self.kill_now();
        }
        outcome
    }

    /// Starts it without waiting. Nothing happens if it runs.
    ///
    /// # Errors
    /// [`ServerError::Missing`], [`ServerError::Io`].
    pub fn spawn(&self) -> Result<(), ServerError> {
        let mut running = self.lock();
        if running.is_some() {
            return Ok(());
        }
        let path = self.program.find()?;
        let start = || {
            let mut log = OpenOptions::new().create(true).append(true).open(self.folder.log())?;
            writeln!(log, "--- start of {}", self.name())?;
            let log_start = log.metadata()?.len();
            let mut command = Command::new("sh");
            command.arg("-c").arg(LEASH).arg("sh").arg(self.folder.path()).arg(path).args(&self.program.args);
            command.envs(self.program.envs.iter().cloned());
            command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
            let mut child = command.spawn()?;
            let leash = child.stdin.take();
            self.latest_pid.store(child.id(), Ordering::SeqCst);
            Ok(Running { child, leash, log_start })
        };
        *running = Some(start().map_err(ServerError::io(format!("starting {}", self.name())))?);
        Ok(())
    }

    /// Why it no longer runs, if it was started, was not killed, and yet ended.
    fn ended(&self) -> Option<ServerError> {
        let mut running = self.lock();
        let alive = running.as_mut()?;
        let status = alive.child.try_wait().ok().flatten()?;
        alive.slip_leash();
        let log_start = alive.log_start;
        *running = None;
        drop(running);
        let name = self.name().to_owned();
        let log = self.log_tail();
        if self.log_from(log_start).to_lowercase().contains("address already in use") {
            return Some(ServerError::AddressInUse { name, log });
        }
        Some(ServerError::Exited { name, status: status.to_string(), log })
    }

    /// Whether it runs; a paused one does.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let _ = self.ended();
        self.lock().is_some()
    }

    /// Its process id, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.lock().as_ref().map(|running| running.child.id())
    }

    pub(super) fn pid_cell(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.latest_pid)
    }

    /// SIGKILL, also for a paused one; returns when it is gone. Nothing happens if it does not run.
    ///
    /// # Errors
    /// [`ServerError::Timeout`] if the system does not end it.
    pub async fn kill(&self) -> Result<(), ServerError> {
        self.signal(Signal::KILL)?;
        self.gone(SOON).await
    }

    /// SIGTERM; returns when it is gone. Do not ask this of a paused one.
    ///
    /// # Errors
    /// [`ServerError::Timeout`] if it does not end within `within`; then it still runs.
    pub async fn terminate(&self, within: Duration) -> Result<(), ServerError> {
        self.signal(Signal::TERM)?;
        self.gone(within).await
    }

    /// SIGSTOP; returns when every thread has stopped. Its sockets stay, and the system goes on accepting connections and data for it.
    ///
    /// # Errors
    /// [`ServerError::Exited`] if it does not run; [`ServerError::Timeout`] if it does not stop.
    pub async fn pause(&self) -> Result<(), ServerError> {
        self.must_run()?;
        self.signal(Signal::STOP)?;
        let what = format!("{} has stopped", self.name());
        until(&what, SOON, || async { self.threads_are_stopped(true).then_some(()) }).await
    }

    /// SIGCONT; returns when it runs on.
    ///
    /// # Errors
    /// [`ServerError::Exited`] if it does not run; [`ServerError::Timeout`] if it does not go on.
    pub async fn resume(&self) -> Result<(), ServerError> {
        self.must_run()?;
        self.signal(Signal::CONT)?;
        let what = format!("{} goes on", self.name());
        until(&what, SOON, || async { self.threads_are_stopped(false).then_some(()) }).await
    }

    /// Cuts the power of a server with a [`Disk`](super::disk::Disk) of its own: it stands still, what its disk holds at that moment is copied, it
    /// is killed, and the copy takes the place of the disk. What it had not synced is lost. It does not run afterwards.
    ///
    /// Its connections are reset, while those of a machine without power are silent; where that matters, black-hole them first by a
    /// [`Proxy`](super::proxy::Proxy). If the future is dropped, the server may be left paused, or without its disk.
    ///
    /// # Errors
    /// [`ServerError::Refused`] if it has no disk of its own; what [`pause`](Self::pause), [`kill`](Self::kill),
    /// [`capture`](super::disk::Disk::capture) and [`revert`](super::disk::Disk::revert) give.
    pub async fn power_cut(&self) -> Result<(), ServerError> {
        let Some(disk) = self.folder.disk() else {
            let request = format!("cutting the power of {}", self.name());
            return Err(ServerError::refused(request, "its data are not on a disk of their own"));
        };
        if self.is_running() {
            self.pause().await?;
        }
        let captured = disk.capture().await?;
        self.kill().await?;
        disk.revert(captured).await
    }

    /// Removes the data, not the log. Only for a server that does not run.
    ///
    /// # Errors
    /// [`ServerError::Refused`] if it runs, [`ServerError::Io`].
    pub fn remove_data(&self) -> Result<(), ServerError> {
        if self.is_running() {
            return Err(ServerError::refused("removing the data", "the server runs"));
        }
        let data = self.folder.data();
        if !data.exists() {
            return Ok(());
        }
        fs::remove_dir_all(&data).map_err(ServerError::io(format!("removing {}", data.display())))
    }

    /// The last lines of the log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let length = fs::metadata(self.folder.log()).map_or(0, |log| log.len());
        let text = self.log_from(length.saturating_sub(TAIL_BYTES));
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    fn log_from(&self, start: u64) -> String {
        let read = || {
            let mut log = File::open(self.folder.log())?;
            log.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            log.read_to_end(&mut bytes)?;
            std::io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().unwrap_or_default()
    }

    /// Sends a signal, if it runs. The lock keeps the pid ours: it is waited for under the same lock.
    fn signal(&self, signal: Signal) -> Result<(), ServerError> {
        let running = self.lock();
        let Some(running) = running.as_ref() else { return Ok(()) };
        let sent = kill_process(Pid::from_child(&running.child), signal);
        sent.map_err(|error| ServerError::io(format!("signalling {}", self.name()))(error.into()))
    }

    async fn gone(&self, within: Duration) -> Result<(), ServerError> {
        let what = format!("{} is gone", self.name());
        let gone = until(&what, within, || async { (!self.is_running()).then_some(()) });
        gone.await.map_err(|error| error.with_log(|| self.log_tail()))
    }

    fn must_run(&self) -> Result<(), ServerError> {
        if let Some(error) = self.ended() {
            return Err(error);
        }
        if self.lock().is_none() {
            let status = "not started".to_owned();
            return Err(ServerError::Exited { name: self.name().to_owned(), status, log: self.log_tail() });
        }
        Ok(())
    }

    /// By `/proc`; where there is none, the signal is trusted.
    fn threads_are_stopped(&self, wanted: bool) -> bool {
        let Some(pid) = self.pid() else { return false };
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
        threads.flatten().all(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            (state == Some('T')) == wanted
        })
    }

    /// Kills and waits, blocking; a killed process is gone in milliseconds.
    fn kill_now(&self) {
        if let Some(mut running) = self.lock().take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
            running.slip_leash();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    #[allow(clippy::print_stderr, reason = "this is where the log of a failed test is wanted")]
    fn drop(&mut self) {
        self.kill_now();
        if std::thread::panicking() && self.folder.log().exists() {
            eprintln!("--- the last lines of the log of {}:\n{}\n---", self.name(), self.log_tail());
        }
    }
}
