//! How busy the machine is.

use std::fs;

/// What the processors of the machine have done since it started, in ticks, as `/proc/stat` counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    total: u64,
    idle: u64,
    steal: u64,
}

/// How busy the machine was for some time, in shares of all its processors: 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Not idle, with what was stolen.
    pub busy: f64,
    /// Taken by other machines on the same host.
    pub steal: f64,
}

impl Ticks {
    /// Until now; none where there is no `/proc/stat`.
    #[must_use]
    pub fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// By the text of `/proc/stat`.
    #[must_use]
    pub fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let counts: Vec<u64> = line.split_whitespace().map_while(|count| count.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal; guests' time, which follows, is in user's already.
        let [_, _, _, idle, iowait, _, _, steal, ..] = counts[..] else { return None };
        Some(Self { total: counts[..8].iter().sum(), idle: idle + iowait, steal })
    }

    /// The load since `before`; none if no tick has passed.
    #[must_use]
    pub fn load_since(self, before: Self) -> Option<Load> {
        let total = self.total.checked_sub(before.total).filter(|total| *total > 0)? as f64;
        // A processor's idle time may be corrected downwards.
        let share = |now: u64, then: u64| now.saturating_sub(then) as f64 / total;
        let idle = share(self.idle, before.idle).min(1.0);
        Some(Load { busy: 1.0 - idle, steal: share(self.steal, before.steal) })
    }
}

#[cfg(test)]
mod tests {
    use super::Ticks;

    fn ticks(user: u64, idle: u64, iowait: u64, steal: u64) -> Ticks {
        let rest = "cpu0 1 1 1 1 1 1 1 1 0 0\nintr 7";
        Ticks::parse(&format!("cpu  {user} 0 0 {idle} {iowait} 0 0 {steal} 50 0\n{rest}")).unwrap()
    }

    #[test]
    fn waiting_for_a_disk_is_idle_and_stolen_time_is_busy() {
        let load = ticks(130, 150, 115, 105).load_since(ticks(100, 100, 100, 100)).unwrap();
        assert!((load.busy - 0.35).abs() < 1e-9 && (load.steal - 0.05).abs() < 1e-9, "{load:?}");
    }

    #[test]
    fn no_time_is_no_load() {
        let same = ticks(1, 1, 1, 1);
        assert_eq!(same.load_since(same), None);
        assert_eq!(Ticks::parse("nothing of the kind"), None);
        assert_eq!(Ticks::parse("cpu  1 2 3"), None);
    }
}
