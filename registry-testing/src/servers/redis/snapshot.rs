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
        let data = self.process().folder().data();
        // Not more than its data: in a cluster, who it is lies beside them.
        let restored = remove(&data.join(DUMP))
            .and_then(|()| remove(&data.join(APPENDED)))
            .and_then(|()| copy_all(&snapshot.path(), &data));
        restored.map_err(ServerError::io(format!("restoring {}", self.process().name())))?;
        self.restart().await
    }
}

/// A file, or a folder with all that is in it, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
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
