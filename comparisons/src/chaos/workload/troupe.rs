//! The actors of one process, playing.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::{Actor, Part, Phase, Stage, looker, owner, view, watcher, writer};

/// So often the memory of the process is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Plays `actors` on `stage`, and notes once a second how much memory this process has, until the play is over. Dropping the future ends them.
pub async fn play(stage: Stage, actors: Vec<Actor>) {
    let mut playing = JoinSet::new();
    for actor in actors {
        let stage = stage.clone();
        match actor.part.clone() {
            Part::Owner(owner) => playing.spawn(owner::play(stage, actor, owner)),
            Part::Writer(writer) => playing.spawn(writer::play(stage, actor, writer)),
            Part::Watcher(habit) => playing.spawn(watcher::play(stage, actor, habit)),
            Part::View => playing.spawn(view::play(stage, actor)),
            Part::Looker { every_ms } => {
                playing.spawn(looker::play(stage, actor, Duration::from_millis(every_ms.max(1))))
            }
        };
    }
    playing.spawn(weigh(stage));
    while playing.join_next().await.is_some() {}
}

async fn weigh(stage: Stage) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stage.comes(Phase::Over) => return,
            _ = ticks.tick() => if let Some(resident) = resident_kb() {
                stage.recorder.note("resident_kb", Some(f64::from(resident)));
            },
        }
    }
}

/// Memory of this process that is in RAM, in KiB; none where the system does not say.
fn resident_kb() -> Option<u32> {
    resident(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn resident(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::resident;

    #[test]
    fn resident_memory_is_read_from_what_linux_says() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    5124 kB\nThreads:\t1\n"), Some(5124));
        assert_eq!(resident("Name:\tx\n"), None);
    }
}
