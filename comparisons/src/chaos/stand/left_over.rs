//! What an earlier run left behind that was ended in a way that nobody could clean up after.
//!
//! Usually there is nothing: each folder of a server has a watchdog, a process of its own, which removes it, and what is mounted in it, when the run has ended,
//! even by SIGKILL; and each server one that ends it. Something is left only when the watchdogs were ended, too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How the folders of servers begin.
const NAME: &str = "registry-server-";
/// The watchdog of a younger folder may not be there yet.
const YOUNG: Duration = Duration::from_secs(60);

/// A process that has a folder among its arguments.
struct Holder {
    pid: i32,
    is_watchdog: bool,
}

/// Finds servers, mounts, loop devices and folders that an earlier run left, ends and removes them, and says what that was. What belongs to a run that goes on
/// is left alone: its watchdogs are there.
#[must_use]
pub fn clean_left_over() -> Vec<String> {
    let mut parents = vec![PathBuf::from("/dev/shm"), std::env::temp_dir()];
    parents.dedup();
    parents.iter().flat_map(|parent| clean_in(parent, YOUNG)).collect()
}

fn clean_in(parent: &Path, young: Duration) -> Vec<String> {
    let folders = fs::read_dir(parent).into_iter().flatten().flatten();
    let ours = folders.filter(|folder| folder.file_name().to_string_lossy().starts_with(NAME));
    let old = ours.filter(|folder| {
        let changed = folder.metadata().and_then(|metadata| metadata.modified());
        changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age >= young))
    });
    let mut cleaned = Vec::new();
    for folder in old.map(|folder| folder.path()) {
        let holders = holders(&folder);
        if !holders.iter().any(|holder| holder.is_watchdog) {
            clean(&folder, &holders, &mut cleaned);
        }
    }
    // Servers whose watchdog was ended, and that of their folder not.
    for folder in folders_of_processes(parent).into_iter().filter(|folder| !folder.exists()) {
        let holders = holders(&folder);
        if !holders.iter().any(|holder| holder.is_watchdog) {
            clean(&folder, &holders, &mut cleaned);
        }
    }
    cleaned
}

/// The folders of servers in `parent` that processes name.
fn folders_of_processes(parent: &Path) -> BTreeSet<PathBuf> {
    let start = format!("{}/{NAME}", parent.display());
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let arguments = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let folders = arguments.filter_map(|arguments| {
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        let rest = arguments.get(arguments.find(&start)? + start.len()..)?;
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        Some(PathBuf::from(format!("{start}{}", rest.get(..end)?)))
    });
    folders.collect()
}

/// All processes that name a folder.
fn holders(folder: &Path) -> Vec<Holder> {
    let wanted = folder.display().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let holder = |process: fs::DirEntry| {
        let pid = process.file_name().to_string_lossy().parse().ok()?;
        let arguments = fs::read(process.path().join("cmdline")).ok()?;
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        let words: Vec<&str> = arguments.split('\0').collect();
        let names = words.iter().any(|word| word.contains(&wanted));
        // `sh -c SCRIPT sh FOLDER …`
        let is_watchdog = words.first() == Some(&"sh") && words.contains(&wanted.as_str());
        names.then_some(Holder { pid, is_watchdog })
    };
    processes.filter_map(holder).collect()
}

fn clean(folder: &Path, holders: &[Holder], cleaned: &mut Vec<String>) {
    for holder in holders {
        if let Some(pid) = Pid::from_raw(holder.pid)
            && kill_process(pid, Signal::KILL).is_ok()
        {
            cleaned.push(format!("ended the process {} of {}", holder.pid, folder.display()));
        }
    }
    let mount = folder.join("mount");
    if is_mounted(&mount) {
        // One that was left frozen would never let go of its device. Of another it is refused.
        let _ = tool("fsfreeze", &["--unfreeze".as_ref(), &mount]);
        if tool("umount", &["-l".as_ref(), &mount]) {
            cleaned.push(format!("unmounted {}", mount.display()));
        }
    }
    for device in devices(folder) {
        if tool("losetup", &["--detach".as_ref(), &device]) {
            cleaned.push(format!("detached {}", device.display()));
        }
    }
    if fs::remove_dir_all(folder).is_ok() {
        cleaned.push(format!("removed {}", folder.display()));
    }
}

fn is_mounted(mount: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let at = mount.display().to_string();
    mounts.lines().any(|line| line.split(' ').nth(4) == Some(at.as_str()))
}

/// Loop devices over files of a folder.
fn devices(folder: &Path) -> Vec<PathBuf> {
    let blocks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let of_folder = blocks.filter(|block| {
        let file = fs::read_to_string(block.path().join("loop/backing_file")).unwrap_or_default();
        Path::new(file.trim_end()).starts_with(folder)
    });
    of_folder.map(|block| Path::new("/dev").join(block.file_name())).collect()
}

/// Whether a tool of the system did it.
fn tool(name: &str, arguments: &[&Path]) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", r#"PATH=$PATH:/usr/sbin:/sbin; exec "$@""#, "sh", name]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{NAME, clean_in, holders};

    /// `spawn` returns while the kernel still prepares the new program: for a moment nobody can read its arguments.
    fn await_holder(folder: &Path) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while holders(folder).is_empty() {
            assert!(Instant::now() < deadline, "no process names {}", folder.display());
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_process_whose_folder_is_gone_already_is_ended() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join(format!("{NAME}gone"));
        let mut left = Command::new("cat")
            .arg("-")
            .arg(folder.join("data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        await_holder(&folder);
        let cleaned = clean_in(parent.path(), Duration::ZERO);
        assert_eq!(cleaned, [format!("ended the process {} of {}", left.id(), folder.display())]);
        assert!(!left.wait().unwrap().success(), "it was killed");
    }

    #[test]
    fn a_folder_that_nobody_watches_is_removed_with_the_process_that_uses_it() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join(format!("{NAME}left"));
        let (watched, other) = (parent.path().join(format!("{NAME}watched")), parent.path().join("other"));
        for folder in [&folder, &watched, &other] {
            fs::create_dir(folder).unwrap();
        }
        // As a server that outlived its watchdog, and as a watchdog: both wait for their input to end.
        let server = folder.join("data");
        let mut left = Command::new("cat")
            .arg("-")
            .arg(&server)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut watchdog = Command::new("sh")
            .args(["-c", "read -r line", "sh"])
            .arg(&watched)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        await_holder(&folder);
        await_holder(&watched);

        assert_eq!(clean_in(parent.path(), Duration::from_secs(60)), Vec::<String>::new(), "it is young");
        let cleaned = clean_in(parent.path(), Duration::ZERO);
        let expected = [
            format!("ended the process {} of {}", left.id(), folder.display()),
            format!("removed {}", folder.display()),
        ];
        assert_eq!(cleaned, expected);
        assert!(!folder.exists() && watched.exists() && other.exists());
        assert!(!left.wait().unwrap().success(), "it was killed");
        assert!(watchdog.try_wait().unwrap().is_none(), "a watchdog is left alone");
        drop(watchdog.stdin.take());
        watchdog.wait().unwrap();
    }
}
