//! A wall clock for one server, which a test can step.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::super::ServerError;
use super::super::process::{Process, Program};
use super::super::scratch::Scratch;
use super::Redis;

/// Compiled once for all servers of the test process.
static SHIM: OnceCell<Scratch> = OnceCell::const_new();

/// How far the clock of a server is from that of the machine.
#[derive(Debug)]
pub(super) struct Clock {
    shim: PathBuf,
    /// Of which the server reads its distance, in nanoseconds.
    file: PathBuf,
    nanos: Mutex<i64>,
}

impl Clock {
    /// One that is right, for a server with this folder.
    pub(super) async fn new(folder: &Path) -> Result<Self, ServerError> {
        let scratch = SHIM.get_or_try_init(compile).await?;
        let (shim, file) = (shim(scratch), folder.join("clock"));
        fs::write(&file, 0_i64.to_ne_bytes())
            .map_err(ServerError::io(format!("writing {}", file.display())))?;
        Ok(Self { shim, file, nanos: Mutex::new(0) })
    }

    pub(super) fn set_for(&self, program: Program) -> Program {
        program.with_env("LD_PRELOAD", &self.shim).with_env("REGISTRY_TESTING_CLOCK", &self.file)
    }

    fn step(&self, milliseconds: i64) -> Result<(), ServerError> {
        let mut nanos = self.nanos.lock().unwrap_or_else(PoisonError::into_inner);
        let stepped = milliseconds.checked_mul(1_000_000).and_then(|step| nanos.checked_add(step));
        let Some(stepped) = stepped else {
            return Err(ServerError::refused("stepping a clock", "that is more than 292 years from now"));
        };
        // In place, since it is mapped into memory.
        let write =
            || OpenOptions::new().write(true).open(&self.file)?.write_all_at(&stepped.to_ne_bytes(), 0);
        write().map_err(ServerError::io("stepping a clock"))?;
        *nanos = stepped;
        Ok(())
    }

    /// A program that is linked statically, or has more rights than its caller, goes by the machine's clock.
    pub(super) fn must_be_used_by(&self, process: &Process) -> Result<(), ServerError> {
        let maps =
            process.pid().map(|pid| fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default());
        if maps.is_none_or(|maps| maps.contains(&self.file.display().to_string())) {
            return Ok(());
        }
        Err(ServerError::refused(format!("giving {} a clock", process.name()), "it does not take LD_PRELOAD"))
    }
}

fn shim(scratch: &Scratch) -> PathBuf {
    scratch.path().join("clock.so")
}

async fn compile() -> Result<Scratch, ServerError> {
    let scratch = Scratch::new(None)?;
    let source = scratch.path().join("clock.c");
    fs::write(&source, include_str!("clock.c")).map_err(ServerError::io("writing the source of a clock"))?;
    let compiler =
        Program::new("cc", "`apt-get install gcc libc6-dev`").with_args(["-shared", "-fPIC", "-O1", "-o"]);
    compiler.with_args([shim(&scratch), source]).run().await?;
    Ok(scratch)
}

impl Redis {
    /// Steps its wall clock, forward or, by a negative number, back. Steps add up, over restarts too. Whoever runs, runs on by the new time: keys expire
    /// or live longer, and a node of a group may take others for dead. The monotonic clock stays as it is.
    ///
    /// # Errors
    /// [`ServerError::Refused`] without [`RedisOptions::clock`](super::RedisOptions::clock); [`ServerError::Io`].
    pub fn step_clock(&self, milliseconds: i64) -> Result<(), ServerError> {
        let name = self.process().name();
        let clock = self.clock().ok_or_else(|| {
            ServerError::refused(format!("stepping the clock of {name}"), "it has none of its own")
        });
        clock?.step(milliseconds)
    }
}
