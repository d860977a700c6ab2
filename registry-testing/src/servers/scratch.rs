//! Folders of which nothing is left, whatever happens to the test process.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

use tempfile::TempDir;

use super::ServerError;

/// Leaves a watchdog behind that is nobody's child. A line on its input means that the folder was removed; the end of its input without one, that
/// the test process is gone, however it went. A server may still be dying then, and a `mount` may just be running: hence lazily and repeatedly.
const LEASH: &str = r#"
dir=$1; exec 3<&0 </dev/null >/dev/null 2>&1; trap '' HUP INT TERM
( read -r ended <&3 || for try in 1 2 3 4 5 6 7 8 9 10; do
    umount -l "$dir/mount"; rm -rf -- "$dir"; [ -e "$dir" ] || break; sleep 0.2
done ) &"#;

/// Room that a server may need; where less is free in memory, the data goes to the usual place for temporary files.
const ROOM: u64 = 4 << 30;

/// A folder that is removed when dropped, or when the test process ends without dropping it, even by `kill -9`. Then a file system that is
/// mounted on its `mount` is unmounted first.
#[derive(Debug)]
pub(super) struct Scratch {
    root: TempDir,
    // After the folder: let go only when that is removed.
    _leash: Leash,
}

impl Scratch {
    /// A new one in `parent`, or in memory (`/dev/shm`) where there is room, or else where temporary files go.
    pub(super) fn new(parent: Option<&Path>) -> Result<Self, ServerError> {
        let memory = Path::new("/dev/shm");
        let room =
            rustix::fs::statvfs(memory).is_ok_and(|shm| shm.f_bavail.saturating_mul(shm.f_frsize) >= ROOM);
        let parent = match parent {
            Some(parent) => parent.to_owned(),
            None if room => memory.to_owned(),
            None => std::env::temp_dir(),
        };
        let make = || {
            let root =
                tempfile::Builder::new().prefix("registry-server-").tempdir_in(parent.canonicalize()?)?;
            let leash = Leash::new(root.path())?;
            Ok(Self { root, _leash: leash })
        };
        make().map_err(ServerError::io(format!("making a folder in {}", parent.display())))
    }

    pub(super) fn path(&self) -> &Path {
        self.root.path()
    }

    /// The only place in it where something may be mounted. To be made, and unmounted, by who mounts.
    pub(super) fn mount_point(&self) -> PathBuf {
        self.path().join("mount")
    }
}

/// The watchdog's input.
#[derive(Debug)]
struct Leash {
    input: Option<ChildStdin>,
}

impl Leash {
    fn new(folder: &Path) -> std::io::Result<Self> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(LEASH).arg("sh").arg(folder).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let leash = Self { input: child.stdin.take() };
        child.wait()?;
        Ok(leash)
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(mut input) = self.input.take() {
            let _ = input.write_all(b"removed\n");
        }
    }
}
