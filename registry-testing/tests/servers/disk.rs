//! Disks whose power can be cut: that the cut bites, and that nothing is left of them. These tests need root.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use registry_testing::servers::ServerError;
use registry_testing::servers::disk::Disk;
use registry_testing::servers::etcd::{Etcd, EtcdOptions};

use crate::support::{processes_with, wait_all_gone, wait_for};

/// Set for the processes that other tests start.
const CHILD: &str = "REGISTRY_TESTING_DISK_CHILD";
const SIZE: u64 = 64 << 20;

fn write(path: &Path, synced: bool) {
    let mut file = File::create(path).unwrap();
    file.write_all(b"content").unwrap();
    if synced {
        file.sync_all().unwrap();
    }
}

fn content(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Whether the system knows a mount or a loop device that has to do with `folder`.
fn is_mounted(folder: &Path) -> bool {
    let text = folder.display().to_string();
    let loops = fs::read_dir("/sys/block").unwrap().flatten();
    let mut backing = loops.filter_map(|device| content(&device.path().join("loop/backing_file")));
    backing.any(|file| file.contains(&text)) || content(Path::new("/proc/mounts")).unwrap().contains(&text)
}

/// Waits until there is neither a mount nor a loop device nor a folder nor a process of the disk that is mounted there.
async fn wait_removed(mounted: &Path) {
    let root = mounted.parent().unwrap();
    wait_for("the disk is unmounted", || !is_mounted(root)).await;
    wait_all_gone(root).await;
}

async fn cut(disk: &Disk) {
    let captured = disk.capture().await.unwrap();
    disk.revert(captured).await.unwrap();
}

#[tokio::test]
async fn a_power_cut_loses_what_was_not_synced_and_only_that() {
    let disk = Disk::create(None, SIZE).await.unwrap();
    let [kept, lost, replaced] = ["kept", "lost", "replaced"].map(|name| disk.path().join(name));
    write(&kept, true);
    write(&replaced, true);
    write(&lost, false);
    fs::write(disk.path().join("new"), "newer").unwrap();
    fs::rename(disk.path().join("new"), &replaced).unwrap();
    let before = [&kept, &lost, &replaced].map(|path| content(path).unwrap());
    assert_eq!(before, ["content", "content", "newer"], "readers see it all until the cut");
    cut(&disk).await;
    assert_eq!(content(&kept).unwrap(), "content");
    assert_eq!(content(&lost), None);
    assert_eq!(content(&replaced).unwrap(), "content");
}

#[tokio::test]
async fn a_disk_can_lose_power_again_and_again() {
    let disk = Disk::create(None, SIZE).await.unwrap();
    for life in 0..3 {
        write(&disk.path().join(format!("kept{life}")), true);
        write(&disk.path().join(format!("lost{life}")), false);
        cut(&disk).await;
        for past in 0..=life {
            assert!(disk.path().join(format!("kept{past}")).exists());
            assert!(!disk.path().join(format!("lost{past}")).exists());
        }
    }
}

#[tokio::test]
async fn what_is_written_after_the_capture_is_lost_even_if_synced() {
    let disk = Disk::create(None, SIZE).await.unwrap();
    let captured = disk.capture().await.unwrap();
    write(&disk.path().join("late"), true);
    disk.revert(captured).await.unwrap();
    assert!(!disk.path().join("late").exists());
}

#[tokio::test]
async fn a_disk_in_use_is_not_reverted_under_its_user() {
    let disk = Disk::create(None, SIZE).await.unwrap();
    let user = File::create(disk.path().join("open")).unwrap();
    let captured = disk.capture().await.unwrap();
    let error = disk.revert(captured).await.unwrap_err();
    assert!(error.to_string().contains("busy"), "{error}");
    let mounted = disk.path();
    drop(disk);
    drop(user);
    wait_removed(&mounted).await;
}

#[tokio::test]
async fn more_disks_than_there_are_loop_devices_at_first() {
    let disks = futures_util::future::join_all((0..12).map(|_| Disk::create(None, SIZE))).await;
    let disks: Vec<_> = disks.into_iter().map(Result::unwrap).collect();
    for (number, disk) in disks.iter().enumerate() {
        fs::write(disk.path().join("number"), number.to_string()).unwrap();
    }
    for (number, disk) in disks.iter().enumerate() {
        assert_eq!(content(&disk.path().join("number")).unwrap(), number.to_string());
    }
}

#[tokio::test]
async fn an_etcd_keeps_through_a_power_cut_what_it_acknowledged() {
    let etcd = Etcd::start(EtcdOptions::default().with_disk()).await.unwrap();
    let unsynced = etcd.process().folder().data().join("unsynced");
    for life in 0..3 {
        for n in 0..50 {
            etcd.put(format!("key{n}"), format!("{life}")).await.unwrap();
        }
        write(&unsynced, false);
        let endpoint = etcd.endpoint();
        etcd.restart().await.unwrap();
        assert_eq!(content(&unsynced).unwrap(), "content", "a SIGKILL is not a power cut");
        let revision = etcd.put("last", format!("{life}")).await.unwrap();
        etcd.power_cut().await.unwrap();
        assert_eq!(content(&unsynced).unwrap_or_default(), "", "the cut did not bite");
        assert_eq!(etcd.endpoint(), endpoint);
        assert_eq!(etcd.status().await.unwrap().revision, revision);
        for key in (0..50).map(|n| format!("key{n}")).chain(["last".to_owned()]) {
            assert_eq!(etcd.get(&key).await.unwrap(), Some(life.to_string().into_bytes()), "{key}");
        }
    }
    etcd.wipe().await.unwrap();
    assert_eq!(etcd.get("last").await.unwrap(), None);
    etcd.power_cut().await.unwrap();
}

/// Whether a file of etcd's write-ahead log has `text` near its beginning; the rest of its 64 MB is reserved.
fn logged(etcd: &Etcd, text: &str) -> bool {
    let log = fs::read_dir(etcd.process().folder().data().join("member/wal"));
    let files = log.into_iter().flatten().flatten().map(|file| File::open(file.path()).unwrap());
    let mut beginnings = files.map(|file| {
        let mut bytes = Vec::new();
        file.take(256 << 10).read_to_end(&mut bytes).unwrap();
        bytes
    });
    beginnings.any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

/// The positive control of the test above.
#[tokio::test]
async fn an_etcd_that_does_not_sync_loses_what_it_acknowledged() {
    let careful = EtcdOptions::default().with_disk();
    for (options, survives) in [(careful.clone().with_args(["--unsafe-no-fsync"]), false), (careful, true)] {
        let etcd = Etcd::start(options).await.unwrap();
        etcd.put("key", "acknowledged").await.unwrap();
        assert!(logged(&etcd, "acknowledged"));
        etcd.process().power_cut().await.unwrap();
        assert_eq!(logged(&etcd, "acknowledged"), survives);
    }
}

#[tokio::test]
async fn an_etcd_without_a_disk_refuses_a_power_cut_and_runs_on() {
    let etcd = Etcd::start(EtcdOptions::default()).await.unwrap();
    let error = etcd.power_cut().await.unwrap_err();
    assert!(error.to_string().contains("not on a disk of their own"), "{error}");
    assert!(etcd.serves().await);
}

#[tokio::test]
async fn after_a_drop_no_disk_is_left() {
    let etcd = Etcd::start(EtcdOptions::default().with_disk()).await.unwrap();
    let mounted = etcd.process().folder().disk().unwrap().path();
    assert!(is_mounted(&mounted));
    assert!(etcd.process().folder().data().starts_with(&mounted));
    drop(etcd);
    wait_removed(&mounted).await;
}

/// This test program once more, running only `test`, which is ignored otherwise.
fn child_arguments(test: &str) -> [String; 4] {
    [&format!("disk::{test}"), "--exact", "--ignored", "--nocapture"].map(str::to_owned)
}

/// Not a test: what the next one kills.
#[tokio::test]
#[ignore = "is run by a_test_process_that_is_killed_leaves_no_disk"]
async fn has_disks_and_waits_to_be_killed() {
    assert!(std::env::var_os(CHILD).is_some(), "this is for another test to run");
    let used = Etcd::start(EtcdOptions::default().with_disk()).await.unwrap();
    let idle = Etcd::start(EtcdOptions::default().with_disk()).await.unwrap();
    idle.kill().await.unwrap();
    for etcd in [&used, &idle] {
        let folder = etcd.process().folder();
        println!("folder={}", folder.path().display());
        println!("disk={}", folder.disk().unwrap().path().display());
    }
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_test_process_that_is_killed_leaves_no_disk() {
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(child_arguments("has_disks_and_waits_to_be_killed"));
    let mut test = test.env(CHILD, "1").stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(test.stdout.take().unwrap()).lines().map(Result::unwrap);
    let (mut folders, mut disks) = (Vec::new(), Vec::new());
    for line in lines {
        match line.split_once('=') {
            Some((_, path)) if line.contains("folder=") => folders.push(PathBuf::from(path)),
            Some((_, path)) if line.contains("disk=") => disks.push(PathBuf::from(path)),
            _ => {}
        }
        if disks.len() == 2 {
            break;
        }
    }
    assert!(disks.iter().all(|disk| is_mounted(disk)));
    let data = |disk: &PathBuf| processes_with(&disk.join("data").display().to_string());
    let [used, idle] = [data(&disks[0]), data(&disks[1])];
    assert!(!used.is_empty() && idle.is_empty(), "one server runs, the other does not: {used:?}, {idle:?}");
    test.kill().unwrap();
    test.wait().unwrap();
    for (folder, disk) in folders.iter().zip(disks) {
        wait_removed(&disk).await;
        wait_all_gone(folder).await;
    }
}

/// Not a test: the next one runs it without the right to mount.
#[tokio::test]
#[ignore = "is run by without_the_right_to_mount_the_error_says_what_is_needed"]
async fn asks_for_a_disk_without_the_right() {
    assert!(std::env::var_os(CHILD).is_some(), "this is for another test to run");
    let error = Etcd::start(EtcdOptions::default().with_disk()).await.unwrap_err();
    assert!(matches!(error, ServerError::NoDisk { .. }), "{error:?}");
    println!("error={error}");
}

#[tokio::test]
async fn without_the_right_to_mount_the_error_says_what_is_needed() {
    let mut test = Command::new("setpriv");
    test.args(["--bounding-set=-sys_admin", "--"]).arg(std::env::current_exe().unwrap());
    let test =
        test.args(child_arguments("asks_for_a_disk_without_the_right")).env(CHILD, "1").output().unwrap();
    let printed = String::from_utf8_lossy(&test.stdout);
    assert!(test.status.success(), "{printed}");
    let error = printed.lines().find_map(|line| line.split_once("error=")).expect("it says why").1;
    println!("{error}");
    assert!(error.contains("needs root") && error.contains("--privileged"), "{error}");
}
