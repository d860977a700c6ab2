//! The folder of one server.

use std::path::{Path, PathBuf};

use super::ServerError;
use super::disk::Disk;
use super::scratch::Scratch;

/// The folder of one server: its data and its log. Removed when dropped, or when the test process ends without dropping it.
#[derive(Debug)]
pub struct Folder {
    root: Scratch,
    disk: Option<Disk>,
}

impl Folder {
    /// A new one in `parent`, or in memory (`/dev/shm`) where there is room, or else where temporary files go.
    ///
    /// # Errors
    /// [`ServerError::Io`] when it cannot be made.
    pub fn new(parent: Option<&Path>) -> Result<Self, ServerError> {
        Ok(Self { root: Scratch::new(parent)?, disk: None })
    }

    /// The same, with the data, not the log, on a [`Disk`] of their own of `bytes`, for [`Process::power_cut`](super::process::Process::power_cut).
    ///
    /// # Errors
    /// See [`Disk::create`].
    pub async fn with_disk(parent: Option<&Path>, bytes: u64) -> Result<Self, ServerError> {
        let disk = Disk::create(parent, bytes).await?;
        Ok(Self { disk: Some(disk), ..Self::new(parent)? })
    }

    /// The whole folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Where the server keeps its data. It need not exist.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.disk.as_ref().map_or(self.path().to_owned(), Disk::path).join("data")
    }

    /// The disk with the data, if they have one of their own.
    #[must_use]
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// What the server printed, over all its lives.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path().join("log")
    }
}
