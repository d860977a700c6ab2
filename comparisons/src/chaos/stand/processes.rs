//! Processes that end, stand still, or lose their power.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use registry_testing::servers::process::Process;
use tokio::sync::oneshot;

use super::Bite;
use super::links::over;
use super::site::{PATIENCE, Site};
use super::struck::Struck;
use crate::experiment::Trouble;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Kill,
    Terminate,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL",
            Self::Terminate => "SIGTERM",
        }
    }

    async fn end(self, process: &Process) -> Result<(), Trouble> {
        match self {
            Self::Kill => process.kill().await?,
            Self::Terminate => process.terminate(PATIENCE).await?,
        }
        Ok(())
    }
}

fn pid(pid: Option<u32>) -> String {
    pid.map_or("no pid".to_owned(), |pid| format!("pid {pid}"))
}

/// Ends a server; it is started again with its data.
pub(super) async fn end(site: &Arc<Site>, index: usize, signal: Signal) -> Result<Struck, Trouble> {
    let (site, name) = (Arc::clone(site), site.name(index));
    let before = site.server(index).process().pid();
    signal.end(site.server(index).process()).await?;
    let gone = !site.server(index).answers().await;
    let what = format!("{} to {name}, {}", signal.name(), pid(before));
    Ok(Struck::new(what, async move {
        let still = !site.server(index).answers().await;
        site.server(index).restart().await?;
        let after = site.server(index).process().pid();
        let proof = format!(
            "{name} {} at first and {} at last; it was {} and is {}",
            silent(gone),
            silent(still),
            pid(before),
            pid(after)
        );
        Ok(Bite::new(gone && still && before.is_some() && after.is_some() && before != after, proof))
    }))
}

fn silent(silent: bool) -> &'static str {
    if silent { "did not answer" } else { "answered" }
}

/// Kills the one that leads; it is started again once another one leads.
pub(super) async fn end_leader(site: &Arc<Site>) -> Result<Struck, Trouble> {
    let led = site.led_by(site.leader().await?).await?;
    let struck = end(site, led.leader, Signal::Kill).await?;
    Ok(once_another_leads(site, led, struck))
}

/// Makes the one that leads stand still; it goes on once another one leads.
pub(super) async fn pause_leader(site: &Arc<Site>) -> Result<Struck, Trouble> {
    let led = site.led_by(site.leader().await?).await?;
    // As long as it takes.
    let struck = pause(site, led.leader, PATIENCE * 2).await?;
    Ok(once_another_leads(site, led, struck))
}

fn once_another_leads(site: &Arc<Site>, led: super::site::Led, struck: Struck) -> Struck {
    let site = Arc::clone(site);
    let Struck { what, heal } = struck;
    Struck::new(format!("{what}, which led"), async move {
        let next = site.next_leader(led).await?;
        let bite = heal.await?;
        let proof = format!("{}; then {} led", bite.proof, site.name(next));
        Ok(Bite::new(bite.bitten && next != led.leader, proof))
    })
}

/// Makes a server stand still for `lasting`.
pub(super) async fn pause(site: &Arc<Site>, index: usize, lasting: Duration) -> Result<Struck, Trouble> {
    let (site, name) = (Arc::clone(site), site.name(index));
    let before = site.server(index).process().pid();
    site.server(index).process().pause().await?;
    let at_first = !site.server(index).answers().await;
    let what = format!("SIGSTOP to {name}, {}", pid(before));
    let (stop, stopped) = oneshot::channel();
    let going_on = tokio::spawn({
        let site = Arc::clone(&site);
        async move {
            over(lasting, stopped).await;
            let at_last = !site.server(index).answers().await;
            site.server(index).process().resume().await.map(|()| at_last)
        }
    });
    Ok(Struck::new(what, async move {
        drop(stop);
        let at_last = going_on.await.map_err(|error| Trouble::Failed(error.into()))??;
        let after = site.server(index).process().pid();
        let proof = format!(
            "{name} {} at first and {} at last; it was {} and is {}",
            silent(at_first),
            silent(at_last),
            pid(before),
            pid(after)
        );
        Ok(Bite::new(at_first && at_last && before == after, proof))
    }))
}

/// A file that nobody syncs, by which a power cut is told from a mere kill.
struct Unsynced(PathBuf);

impl Unsynced {
    const CONTENT: &str = "nobody syncs this";

    fn write(process: &Process) -> Result<Self, Trouble> {
        let file = process.folder().data().with_file_name("unsynced");
        fs::write(&file, Self::CONTENT)?;
        Ok(Self(file))
    }

    fn is_forgotten(&self) -> bool {
        fs::read_to_string(&self.0).map_or(true, |content| content != Self::CONTENT)
    }
}

/// Cuts the power of all servers at once.
pub(super) async fn power_cut(site: &Arc<Site>) -> Result<Struck, Trouble> {
    let site = Arc::clone(site);
    let all = || site.servers().map(super::site::Server::process);
    let unsynced = all().map(Unsynced::write).collect::<Result<Vec<_>, _>>()?;
    // First all of them, or one that still runs would have what another is about to lose.
    try_join_all(all().map(Process::pause)).await?;
    try_join_all(all().map(Process::power_cut)).await?;
    let (forgotten, size) = (unsynced.iter().filter(|file| file.is_forgotten()).count(), unsynced.len());
    let down = join_all(site.servers().map(super::site::Server::answers)).await;
    let down = down.into_iter().filter(|answers| !answers).count();
    Ok(Struck::new(format!("the power of {size} servers was cut"), async move {
        site.restart_all().await?;
        let proof = format!(
            "a file that was written just before and not synced is lost on {forgotten} of {size} disks; {down} servers did not answer"
        );
        Ok(Bite::new(forgotten == size && down == size, proof))
    }))
}
