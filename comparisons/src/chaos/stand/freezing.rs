//! Disks that stand still most of the time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use registry_testing::servers::process::Program;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Bite;
use super::site::Site;
use super::struck::Struck;
use crate::experiment::Trouble;

/// Freezes the file system of a folder for a moment. It is held by a descriptor, and signals of a terminal are ignored, so that it is thawed whatever
/// becomes of the runner and of the mount meanwhile.
const FREEZE: &str = r#"
PATH=$PATH:/usr/sbin:/sbin; trap '' HUP INT TERM; exec 9<"$1"
fsfreeze --freeze /proc/self/fd/9 || exit 1
sleep 0.3; fsfreeze --unfreeze /proc/self/fd/9"#;

const THAWED: Duration = Duration::from_millis(100);
/// A sync that takes this long was held up.
const HELD_UP: Duration = Duration::from_millis(150);
/// How often syncing is tried.
const EVERY: Duration = Duration::from_millis(50);

/// Freezes the disks of all servers again and again.
pub(super) async fn freeze(site: &Arc<Site>) -> Result<Struck, Trouble> {
    let disks: Option<Vec<PathBuf>> =
        site.servers().map(|server| server.process().folder().disk().map(|disk| disk.path())).collect();
    let disks = disks.ok_or_else(|| Trouble::failed("the data are not on disks of their own"))?;
    let first = disks.first().cloned().ok_or_else(|| Trouble::failed("there is no server"))?;
    once(&first).await?;
    let (stop, stopped) = watch::channel(false);
    let freezing = join_all(disks.iter().cloned().map(|disk| tokio::spawn(again(disk, stopped.clone()))));
    let syncing = tokio::spawn(sync(first, stopped));
    let what = format!("{} disks freeze again and again", disks.len());
    // So that the site, and with it the disks, outlives the tasks.
    let site = Arc::clone(site);
    Ok(Struck::new(what, async move {
        let _ = stop.send(true);
        let frozen: u32 = freezing.await.into_iter().map(|frozen| frozen.unwrap_or_default()).sum();
        let (syncs, slow, longest) = syncing.await.unwrap_or_default();
        drop(site);
        let proof = format!(
            "disks were frozen {frozen} times, and {slow} of {syncs} syncs were held up, the longest for {} ms",
            longest.as_millis()
        );
        Ok(Bite::new(slow > 0 && frozen > 0, proof))
    }))
}

async fn once(disk: &Path) -> Result<(), Trouble> {
    let program = Program::new("sh", "a POSIX shell").with_name("fsfreeze");
    program.with_args(["-c", FREEZE, "sh"]).with_args([disk]).run().await?;
    Ok(())
}

/// Until it is stopped; the last one is waited for, so that it is thawed. Gives how often.
async fn again(disk: PathBuf, stopped: watch::Receiver<bool>) -> u32 {
    let mut times = 0;
    while is_on(&stopped) && once(&disk).await.is_ok() {
        times += 1;
        sleep(THAWED).await;
    }
    times
}

fn is_on(stopped: &watch::Receiver<bool>) -> bool {
    !*stopped.borrow() && stopped.has_changed().is_ok()
}

/// Syncs a small file until it is stopped. Gives how often, how often it was held up, and for how long at most.
async fn sync(disk: PathBuf, stopped: watch::Receiver<bool>) -> (u32, u32, Duration) {
    let file = disk.join("synced");
    let (mut times, mut slow, mut longest) = (0, 0, Duration::ZERO);
    while is_on(&stopped) {
        let (file, begun) = (file.clone(), Instant::now());
        let write = move || fs::write(&file, "x").and_then(|()| fs::File::open(&file)?.sync_all());
        if !matches!(tokio::task::spawn_blocking(write).await, Ok(Ok(()))) {
            break;
        }
        times += 1;
        slow += u32::from(begun.elapsed() >= HELD_UP);
        longest = longest.max(begun.elapsed());
        sleep(EVERY).await;
    }
    let _ = fs::remove_file(&file);
    (times, slow, longest)
}
