//! What the tests share.

use std::fs;
use std::path::Path;
use std::time::Duration;

use registry_testing::servers::until;

/// For what takes milliseconds on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// The processes with `text` in their command line.
pub(crate) fn processes_with(text: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let commands = all.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    commands
        .map(|command| String::from_utf8_lossy(&command).replace('\0', " "))
        .filter(|c| c.contains(text))
        .collect()
}

/// Waits until no process has to do with `folder`, and the folder is gone.
pub(crate) async fn wait_all_gone(folder: &Path) {
    let text = folder.display().to_string();
    let gone = until("everything is gone", SOON, || async {
        (processes_with(&text).is_empty() && !folder.exists()).then_some(())
    });
    if gone.await.is_err() {
        panic!("left over: folder {}, processes {:#?}", folder.exists(), processes_with(&text));
    }
}

/// Waits until `condition` holds.
pub(crate) async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    until(what, SOON, || std::future::ready(condition().then_some(()))).await.unwrap();
}
