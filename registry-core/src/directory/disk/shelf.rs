//! Where views are kept between two lives of a process.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use crate::entropy;

/// A larger file is no view of ours.
const MAX_FILE: u64 = 1 << 30;
/// A half written file this old was left by a process that died.
const LEFT_BEHIND: Duration = Duration::from_secs(60 * 60);

/// A place for named bytes: a [`Folder`], or what a test puts there instead.
#[async_trait]
pub trait Shelf: fmt::Debug + Send + Sync + 'static {
    /// What was saved under `name` last; `None` when nothing was.
    ///
    /// # Errors
    /// What keeps it from being read.
    async fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Saves `bytes` under `name`. Whoever loads it gets all of these or of those before, also after a crash or a power cut. Dropping the future may
    /// still save them.
    ///
    /// # Errors
    /// What keeps it from being saved; what was there before still is.
    async fn save(&self, name: &str, bytes: Vec<u8>) -> io::Result<()>;
}

/// A folder of files, made when it is first needed. Processes can share it: a file is written under a name of its own, flushed, and then renamed.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

#[async_trait]
impl Shelf for Folder {
    async fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let (folder, name) = (self.path.clone(), name.to_owned());
        blocking(move || {
            sweep(&folder, &name);
            read(&folder.join(name))
        })
        .await
    }

    async fn save(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        let (folder, name) = (self.path.clone(), name.to_owned());
        blocking(move || write(&folder, &name, &bytes)).await
    }
}

/// Does `work` where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "is larger than any view"));
    }
    Ok(Some(bytes))
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let unfinished = folder.join(format!("{name}.{:016x}.tmp", entropy::random()));
    let written = put(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, folder.join(name)));
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
        return written;
    }
    // The rename itself. Where folders cannot be flushed, a power cut may bring back the file before.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Removes what processes that died have left half written.
fn sweep(folder: &Path, name: &str) {
    let Ok(files) = fs::read_dir(folder) else { return };
    for file in files.flatten() {
        let of_name = file.file_name().to_str().is_some_and(|file| {
            file.strip_prefix(name).is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".tmp"))
        });
        let age = || file.metadata().ok()?.modified().ok()?.elapsed().ok();
        if of_name && age().is_some_and(|age| age > LEFT_BEHIND) {
            let _ = fs::remove_file(file.path());
        }
    }
}
