//! Copies of the data of a Redis, and the way back to them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::scratch::Scratch;
use super::super::{ServerError, until};
use super::Redis;

/// The data of a Redis as they were at some time. The files go when this is dropped.
#[derive(Debug)]
pub struct Snapshot {
    folder: Scratch,
}

impl Snapshot {
    /// The folder: `dump.rdb`, or `appendonlydir` with the append-only file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

/// Redis holds a write back for 2 s at most.
const SOON: Duration = Duration::from_secs(10);
/// What of the data folder is saved.
const DUMP: &str = "dump.rdb";
const APPENDED: &str = "appendonlydir";

impl Redis {
    /// A copy of its data, with all that was acknowledged before. Where there is an append-only file, it stands still while that is copied.
    /// Otherwise it is told to `SAVE`, whatever [`Persistence`](super::Persistence) says.
    ///
    /// If the future is dropped, it may be left paused.
    ///
    /// # Errors
    /// As [`command`](Self::command) and [`pause`](Self::pause); [`ServerError::Io`].
    pub async fn save(&self) -> Result<Snapshot, ServerError> {
        let snapshot = Snapshot { folder: Scratch::new(self.data_in())? };
        let data = self.process().folder().data();
        let copy = |name| {
            let copied = copy_all(&data.join(name), &snapshot.path().join(name));
            copied.map_err(ServerError::io(format!("saving {name} of {}", self.process().name())))
        };
        if self.persistence().appends() {
            self.wait_written().await?;
            self.pause().await?;
            let copied = copy(APPENDED);
            self.resume().await?;
            copied?;
        } else {
            self.command(&["SAVE"]).await?;
            copy(DUMP)?;
        }
        Ok(snapshot)
    }

    /// Waits until nothing is held back from the append-only file.
    async fn wait_written(&self) -> Result<(), ServerError> {
        let written = until("all is in the append-only file", SOON, || async {
            match self.command(&["INFO", "persistence"]).await {
                Ok(said) => (said.info().get("aof_buffer_length")? == "0").then_some(Ok(())),
                Err(error) => Some(Err(error)),
            }
        });
        written.await?
    }

    /// Kills it, puts its data back to `snapshot`, and starts it on the same port. It should be of the same
    /// [`Persistence`](super::Persistence) as the one that was saved: one with an append-only file does not read a `dump.rdb`.
    ///
    /// # Errors
    /// See [`Process::start`](super::super::process::Process::start); [`ServerError::Io`].
    pub async fn restore(&self, snapshot: &Snapshot) -> Result<(), ServerError> {
        self.kill().await?;
        self.put_back(snapshot)?;
        self.restart().await
    }

    /// Makes its data those of a snapshot; what a node of a cluster knows of the others stays. Only for one that does not run.
    pub(super) fn put_back(&self, snapshot: &Snapshot) -> Result<(), ServerError> {
        let data = self.process().folder().data();
        let put_back = || {
            for name in [DUMP, APPENDED] {
                remove_all(&data.join(name))?;
            }
            copy_all(&snapshot.path(), &data)
        };
        put_back().map_err(ServerError::io(format!("restoring {}", self.process().name())))
    }
}

fn remove_all(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return fs::remove_dir_all(path);
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// A file, or a folder with all that is in it.
fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy_all(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
