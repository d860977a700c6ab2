//! A disk of its own for the data of a server, so that its power can be cut.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::process::Program;
use super::scratch::Scratch;
use super::{ServerError, until};

/// Nothing is to reach the device but what is synced: no commit every five seconds, and none for a file that replaces another.
const MOUNT: &str = "loop,noatime,commit=3600,noauto_da_alloc";
/// How long the device may be written to after the server stands still.
const SOON: Duration = Duration::from_secs(10);

/// A file system (ext4, on a loop device over a sparse file) that can lose what was not synced, as a power cut does.
///
/// A SIGKILL is no power cut: what was written is in the page cache and survives. Here [`capture`](Self::capture) copies what the device holds, past
/// that cache; [`revert`](Self::revert) puts the copy in the place of the device and mounts it, upon which the file system replays its journal.
/// What the file system has given to the device counts as on disk: a device that loses its own cache is not imitated.
///
/// Linux only, and only for root that may mount. Unmounted and removed when dropped; also when the test process ends without dropping it, even
/// by `kill -9`.
///
/// ```no_run
/// # async fn example() -> Result<(), registry_testing::servers::ServerError> {
/// use registry_testing::servers::disk::Disk;
///
/// let disk = Disk::create(None, 64 << 20).await?;
/// std::fs::write(disk.path().join("file"), "not synced").expect("there is room");
/// let captured = disk.capture().await?;
/// disk.revert(captured).await?;
/// assert!(!disk.path().join("file").exists());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Disk {
    root: Scratch,
}

/// What a disk held at some time. The copy goes with the disk.
#[derive(Debug)]
pub struct Captured {
    image: PathBuf,
}

impl Disk {
    /// A new one of `bytes`, empty and mounted. Its image lies in `parent`, or in memory where there is room, or else where temporary files go;
    /// it takes no more room than what is written to it. ext4 needs at least some 10 MiB for itself.
    ///
    /// Dropping the future removes what was made so far.
    ///
    /// # Errors
    /// [`ServerError::NoDisk`] if the system does not allow it; [`ServerError::Missing`] if a tool is not installed; [`ServerError::Io`].
    pub async fn create(parent: Option<&Path>, bytes: u64) -> Result<Self, ServerError> {
        let disk = Self { root: Scratch::new(parent)? };
        let make = || {
            File::create(disk.image())?.set_len(bytes)?;
            fs::create_dir(disk.path())
        };
        make().map_err(ServerError::io("making the image of a disk"))?;
        let format = tool("mkfs.ext4", "`apt-get install e2fsprogs`").with_args(["-q", "-F", "-b", "4096"]);
        // Nothing may be left for the kernel to initialize later.
        let format = format.with_args(["-m", "0", "-E", "lazy_itable_init=0"]).with_args([disk.image()]);
        format.run().await?;
        disk.mount().await?;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.root.mount_point()
    }

    /// Copies what the device holds at this moment. Whoever writes to the disk should stand still.
    ///
    /// # Errors
    /// [`ServerError::Timeout`] if the device is written to for ten seconds on end, since what is copied meanwhile is of no one moment;
    /// [`ServerError::Refused`], [`ServerError::Io`].
    pub async fn capture(&self) -> Result<Captured, ServerError> {
        let image = self.root.path().join("captured");
        let copy = tool("cp", "`apt-get install coreutils`").with_args(["--sparse=always"]);
        let copy = &copy.with_args([self.image(), image.clone()]);
        let copied = until("the disk is quiet while it is copied", SOON, || async move {
            let attempt = async {
                let before = self.sectors_written()?;
                copy.run().await?;
                Ok(self.sectors_written()? == before)
            };
            match attempt.await {
                Ok(quiet) => quiet.then_some(Ok(())),
                Err(error) => Some(Err(error)),
            }
        });
        copied.await??;
        Ok(Captured { image })
    }

    /// Makes the disk what it was when it was captured, as the file system finds it after a power cut. Nobody may have a file of it open.
    /// If the future is dropped, or fails, the disk may be left unmounted.
    ///
    /// # Errors
    /// [`ServerError::Refused`] if it is in use; [`ServerError::Io`].
    pub async fn revert(&self, captured: Captured) -> Result<(), ServerError> {
        tool("umount", MOUNT_HINT).with_args([self.path()]).run().await?;
        let replaced = fs::rename(&captured.image, self.image());
        replaced.map_err(ServerError::io("putting back the image of a disk"))?;
        self.mount().await
    }

    async fn mount(&self) -> Result<(), ServerError> {
        let mount = tool("mount", MOUNT_HINT).with_args(["-t", "ext4", "-o", MOUNT]);
        match mount.with_args([self.image(), self.path()]).run().await {
            Err(ServerError::Refused { answer, .. }) => Err(ServerError::NoDisk { why: answer }),
            outcome => outcome.map(drop),
        }
    }

    fn image(&self) -> PathBuf {
        self.root.path().join("image")
    }

    /// By the system's statistics of the device.
    fn sectors_written(&self) -> Result<u64, ServerError> {
        let read = || {
            // Columns: mount, parent, device, root, mount point.
            let mounts = fs::read_to_string("/proc/self/mountinfo")?;
            let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            let at = self.path().display().to_string();
            let mount = mounts.rfind(|columns| columns.get(4) == Some(&at.as_str()));
            let device = mount.as_ref().and_then(|columns| columns.get(2));
            let device = device.ok_or_else(|| std::io::Error::other("the disk is not mounted"))?;
            let statistics = fs::read_to_string(format!("/sys/dev/block/{device}/stat"))?;
            let written = statistics.split_whitespace().nth(6).and_then(|sectors| sectors.parse().ok());
            written.ok_or_else(|| std::io::Error::other(format!("no count of sectors in {statistics:?}")))
        };
        read().map_err(ServerError::io("reading what was written to a disk"))
    }
}

impl Drop for Disk {
    /// Lazily: a test may still have a file open, and nothing may be left for that.
    fn drop(&mut self) {
        let mut unmount = Command::new("umount");
        unmount.arg("-l").arg(self.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = unmount.status();
    }
}

const MOUNT_HINT: &str = "`apt-get install mount`";

/// A tool of the system: those for root need not be in `PATH`.
fn tool(name: &str, hint: &str) -> Program {
    let program = Program::new(name, hint);
    let elsewhere = ["/usr/sbin", "/sbin"].map(|folder| Path::new(folder).join(name));
    match elsewhere.into_iter().find(|file| program.find().is_err() && file.is_file()) {
        Some(file) => Program::new(file, hint),
        None => program,
    }
}
