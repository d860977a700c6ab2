//! Where views are kept between two lives of a process.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Semaphore, oneshot};

use super::format;
use super::own::{self, Trusted};
use super::turns::Turns;
use crate::entropy;

/// A larger file is no view of ours.
const MAX_FILE: u64 = 1 << 30;
/// A half written file this old was left by a process that died.
const LEFT_BEHIND: Duration = Duration::from_secs(60 * 60);
/// As many files are read at once, and as many written.
const AT_ONCE: usize = 32;

/// A place for named bytes: a [`Folder`], or what a test puts there instead. A future of it that panics has failed, and costs no view.
#[async_trait]
pub trait Shelf: fmt::Debug + Send + Sync + 'static {
    /// What was saved under `name` last; `None` when nothing was.
    ///
    /// # Errors
    /// What keeps it from being read.
    async fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Saves `bytes` under `name`. Whoever loads it gets all of these or of those before, also after a crash or a power cut. Dropping the future may
    /// still save them, but not after what is saved next. A [`Directory`](crate::Directory) saves one at a time under each name.
    ///
    /// # Errors
    /// What keeps it from being saved; what was there before still is.
    async fn save(&self, name: &str, bytes: Vec<u8>) -> io::Result<()>;
}

/// A folder of files, made when it is first needed. Processes can share it: a file is written under a name of its own, flushed, and then renamed.
///
/// On Unix it is made, with its files, for the user alone, and no file is read but a regular one that is the user's and that nobody else may write:
/// clients would call whatever address such a file names. The folder itself must be the user's or root's, and one in which nobody else can put an older file
/// back: others may write it only when it is sticky, as `/tmp` is. Whether the folders above it are such is for you to know.
///
/// On a volume of Kubernetes, name a folder within, such as `/cache/registry`: others may write the root of an `emptyDir`. A volume whose pod has an `fsGroup`
/// gives all that is on it to that group, to write as well, whenever it is mounted: there nothing is read or saved after the pod's restart unless the folder
/// [trusts its group](Self::trusting_group).
///
/// It works in threads of its own, few at once: a disk that hangs takes none from the runtime, which would look up no host any more, and does not keep the
/// runtime from ending. A paused clock does not wait for them.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    trusted: Trusted,
    swept: Arc<AtomicBool>,
    saves: Arc<Turns<()>>,
    reading: Arc<Semaphore>,
    writing: Arc<Semaphore>,
}

impl Folder {
    /// The folder at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            trusted: Trusted::Nobody,
            swept: Arc::default(),
            saves: Arc::default(),
            reading: Arc::new(Semaphore::new(AT_ONCE)),
            writing: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Is content with files, and a folder, that their group may write. Who is in it can have clients call any address.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use registry_core::{DiskOptions, Folder};
    ///
    /// let folder = Folder::new("/cache/registry").trusting_group();
    /// let disk = DiskOptions::on(Arc::new(folder), "production");
    /// ```
    #[must_use]
    pub fn trusting_group(mut self) -> Self {
        self.trusted = Trusted::Group;
        self
    }

    /// Does `work` on the file of this name when all that was to be done before is done.
    async fn in_turn(
        &self,
        name: &str,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let turn = self.saves.of(name).lock_owned().await;
        let work = move || {
            // Until it is written, also when nobody waits for it any more: what is saved next must not be replaced by it.
            let _turn = turn;
            work()
        };
        apart(&self.writing, work).await
    }
}

#[async_trait]
impl Shelf for Folder {
    async fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let (folder, name, trusted) = (self.path.clone(), name.to_owned(), self.trusted);
        let found = apart(&self.reading, move || read(&folder, &name, trusted)).await;
        // Once, and when nobody waits for it.
        if !self.swept.swap(true, Ordering::Relaxed) {
            let folder = self.path.clone();
            // A folder that is not swept is only larger.
            let _ = start(move || sweep(&folder));
        }
        found
    }

    async fn save(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        let (folder, file, trusted) = (self.path.clone(), name.to_owned(), self.trusted);
        self.in_turn(name, move || write(&folder, &file, &bytes, trusted)).await
    }
}

/// Does `work` in a thread of its own, which goes on when nobody waits for it any more.
async fn apart<T: Send + 'static>(
    at_once: &Arc<Semaphore>,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let permit = Arc::clone(at_once).acquire_owned().await.map_err(io::Error::other)?;
    let (answer, answered) = oneshot::channel();
    start(move || {
        let result = work();
        drop(permit);
        // Who asked may be gone.
        let _ = answer.send(result);
    })?;
    answered.await.unwrap_or_else(|_| Err(io::Error::other("it panicked")))
}

fn start(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name("registry-folder".into()).spawn(work).map(drop)
}

fn read(folder: &Path, name: &str, trusted: Trusted) -> io::Result<Option<Vec<u8>>> {
    let mut file = match own::check_folder(folder, trusted).and_then(|()| own::open(&folder.join(name))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let about = file.metadata()?;
    own::check(&about, trusted)?;
    let refused = |why| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    // What is no view, or only half of one, is not worth reading.
    let mut bytes = Vec::new();
    (&mut file).take(format::FIRST_LINE as u64).read_to_end(&mut bytes)?;
    if about.len() > MAX_FILE {
        return refused("is larger than any view");
    }
    match format::length(&bytes) {
        None => return refused("is no view"),
        Some(length) if length != about.len() => return refused("has not as many bytes as it says"),
        Some(_) => {}
    }
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn write(folder: &Path, name: &str, bytes: &[u8], trusted: Trusted) -> io::Result<()> {
    own::make(folder)?;
    // What would not be read is not written either: that is told while the registry is there.
    own::check_folder(folder, trusted)?;
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
    let mut file = own::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Removes what processes that died have left half written.
fn sweep(folder: &Path) {
    let Ok(files) = fs::read_dir(folder) else { return };
    for file in files.flatten() {
        let unfinished = file.file_name().to_str().is_some_and(is_unfinished);
        let age = || file.metadata().ok()?.modified().ok()?.elapsed().ok();
        if unfinished && age().is_some_and(|age| age > LEFT_BEHIND) {
            let _ = fs::remove_file(file.path());
        }
    }
}

/// Whether a file was begun by [`write`].
fn is_unfinished(name: &str) -> bool {
    let number = name.strip_suffix(".tmp").and_then(|name| name.rsplit_once(".view."));
    number
        .is_some_and(|(_, number)| number.len() == 16 && number.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_disk_that_hangs_does_not_keep_the_runtime_from_ending() {
        const LONG: Duration = Duration::from_secs(10);
        let (begun, begins) = std::sync::mpsc::channel();
        let (_hang, hangs) = std::sync::mpsc::channel::<()>();
        let work = move || {
            begun.send(()).unwrap();
            let _ = hangs.recv_timeout(LONG);
            Ok(())
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.spawn(async move { apart(&Arc::new(Semaphore::new(1)), work).await });
        runtime.block_on(tokio::task::yield_now());
        begins.recv_timeout(LONG).unwrap();
        let started = tokio::time::Instant::now();
        drop(runtime);
        assert!(started.elapsed() < LONG / 2);
    }

    #[tokio::test]
    #[allow(clippy::await_holding_lock, reason = "the lock is the disk that hangs")]
    async fn a_disk_that_hangs_has_few_threads_and_whoever_gave_up_gets_none() {
        let at_once = Arc::new(Semaphore::new(2));
        let (hang, began) = (Arc::new(std::sync::Mutex::new(())), Arc::new(AtomicUsize::new(0)));
        let hanging = hang.lock().unwrap();
        for _ in 0..10 {
            let (hang, began) = (Arc::clone(&hang), Arc::clone(&began));
            let work = move || {
                began.fetch_add(1, Ordering::Relaxed);
                drop(hang.lock());
                Ok(())
            };
            tokio::time::timeout(Duration::from_millis(1), apart(&at_once, work)).await.unwrap_err();
        }
        drop(hanging);
        apart(&at_once, || Ok(())).await.unwrap();
        assert_eq!(began.load(Ordering::Relaxed), 2);
    }

    /// As when a save has taken too long: the one who waited has given up, and the next is on its way.
    #[tokio::test]
    async fn a_write_that_nobody_waits_for_any_more_keeps_its_turn_until_it_is_done() {
        const LONG: Duration = Duration::from_secs(60);
        let path = std::env::temp_dir().join(format!("registry-core-turn-{}", std::process::id()));
        let folder = Folder::new(&path);
        let (begun, begins) = oneshot::channel();
        let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
        let late = {
            let path = path.clone();
            move || {
                let _ = begun.send(());
                goes_on.recv_timeout(LONG).map_err(io::Error::other)?;
                write(&path, "a.view", b"older", Trusted::Nobody)
            }
        };
        let given_up = {
            let folder = folder.clone();
            tokio::spawn(async move { folder.in_turn("a.view", late).await })
        };
        begins.await.unwrap();
        given_up.abort();
        assert!(given_up.await.unwrap_err().is_cancelled());
        assert!(folder.saves.of("a.view").try_lock().is_err(), "it is still being written");

        let mut next = folder.save("a.view", b"newer".to_vec());
        assert!((&mut next).now_or_never().is_none());
        // Another file waits for nobody.
        folder.save("b.view", Vec::new()).await.unwrap();
        go_on.send(()).unwrap();
        next.await.unwrap();
        assert_eq!(fs::read(path.join("a.view")).unwrap(), b"newer");
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn only_what_was_left_half_written_is_swept() {
        let half = "user.rpc-0123456789abcdef.view.0123456789abcdef.tmp";
        assert!(is_unfinished(half));
        for other in
            ["user.rpc-0123456789abcdef.view", "notes.tmp", "a.view.tmp", "a.view.0123456789abcdex.tmp"]
        {
            assert!(!is_unfinished(other), "{other}");
        }
    }
}
