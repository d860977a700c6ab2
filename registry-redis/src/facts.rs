//! What a server says of itself, and what follows from that for what can be promised. Pure, but for a warning.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::Value;
use registry_core::{
    AfterDisruption, DeleteCauses, Durability, GapDetection, Guarantees, RevisionScope, Ttl,
};

use crate::address::Address;
use crate::link::text;
use crate::options::{RedisOptions, Wait};

/// From `INFO`, and from `CONFIG GET` where that is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Which process it is.
    pub(crate) run: String,
    /// For how long it runs.
    pub(crate) up: Option<Duration>,
    pub(crate) role: String,
    pub(crate) loading: bool,
    /// How many writes were refused so far to everybody: a failed background save, too few replicas.
    pub(crate) refused: u64,
    pub(crate) replicas: u32,
    append_only: bool,
    max_memory: u64,
    eviction: String,
    /// `appendfsync`; nothing where it is not told.
    sync: Option<String>,
    /// Whether that is set aside while files are rewritten.
    sync_pauses: bool,
    /// Whether snapshots are made.
    saves: bool,
}

impl Facts {
    pub(crate) fn of_info(info: &str) -> Self {
        let mut lines = BTreeMap::new();
        let mut refused = 0;
        for (name, value) in info.lines().filter_map(|line| line.trim_end().split_once(':')) {
            // Not those for want of memory, which hinder no heartbeat.
            if matches!(name, "errorstat_MISCONF" | "errorstat_NOREPLICAS") {
                refused +=
                    value.strip_prefix("count=").and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
            }
            lines.insert(name, value);
        }
        let word = |name| lines.get(name).map(|value| (*value).to_owned()).unwrap_or_default();
        let number =
            |name: &str| lines.get(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or_default();
        Self {
            run: word("run_id"),
            up: lines.get("uptime_in_seconds").and_then(|up| up.parse().ok()).map(Duration::from_secs),
            role: word("role"),
            loading: number("loading") != 0,
            refused,
            replicas: u32::try_from(number("connected_slaves")).unwrap_or(u32::MAX),
            append_only: number("aof_enabled") != 0,
            max_memory: number("maxmemory"),
            eviction: word("maxmemory_policy"),
            sync: None,
            sync_pauses: false,
            saves: false,
        }
    }

    /// The answer of `CONFIG GET`; what is no such answer changes nothing.
    pub(crate) fn add_config(&mut self, answer: &Value) {
        let pairs: Vec<(String, String)> = match answer {
            Value::Array(parts) => {
                parts.chunks_exact(2).filter_map(|pair| Some((text(&pair[0])?, text(&pair[1])?))).collect()
            }
            Value::Map(pairs) => {
                pairs.iter().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
            }
            _ => return,
        };
        for (name, value) in pairs {
            match name.as_str() {
                "appendfsync" => self.sync = Some(value),
                "no-appendfsync-on-rewrite" => self.sync_pauses = value == "yes",
                "save" => self.saves = !value.is_empty(),
                _ => {}
            }
        }
    }

    /// Whether entries may be thrown out to make room.
    pub(crate) fn evicts(&self) -> bool {
        self.max_memory > 0 && !matches!(self.eviction.as_str(), "" | "noeviction")
    }

    pub(crate) fn warn_of_eviction(&self, address: &Address) {
        if self.evicts() {
            tracing::warn!(
                %address,
                policy = self.eviction,
                "Redis throws out keys when its memory is full, registrations among them; a registry wants maxmemory-policy noeviction"
            );
        }
    }

    /// Whether the server has told anything.
    fn is_told(&self) -> bool {
        !self.run.is_empty()
    }

    fn durability(&self, replicated: bool, wait: Option<Wait>) -> Durability {
        if self.evicts() || !self.is_told() {
            return Durability::None;
        }
        // Under `everysec` what is written waits in the process, for up to 2 s, while an earlier sync is still at work (`aof.c`, flushAppendOnlyFile).
        let at_once = matches!(self.sync.as_deref(), Some("always" | "no"));
        if replicated {
            // A fail-over loses what no replica has, and a primary that is back before it what it had not written.
            let all_have_it = wait.is_some_and(|wait| wait.replicas >= self.replicas.max(1));
            return match (self.append_only && at_once, all_have_it) {
                (true, true) => Durability::ProcessCrash,
                // A primary that is back, empty, before it is replaced takes its replicas along.
                _ if !self.append_only && !self.saves => Durability::None,
                _ => Durability::Window,
            };
        }
        match (self.append_only, self.sync.as_deref()) {
            (true, Some("always")) if !self.sync_pauses => Durability::PowerCut,
            (true, _) if at_once => Durability::ProcessCrash,
            (false, _) if !self.saves => Durability::None,
            _ => Durability::Window,
        }
    }

    /// What can be promised; `replicated`: whether there may be a fail-over.
    pub(crate) fn guarantees(&self, replicated: bool, options: &RedisOptions) -> Guarantees {
        let wait = options.wait;
        let replicated = replicated || self.replicas > 0 || !self.is_told();
        let durability = self.durability(replicated, wait);
        // What is gone with the server, or with a primary that had not passed it on, was listed for less than its TTL.
        let after_disruption = if replicated || durability < Durability::ProcessCrash {
            AfterDisruption::MayExpireEarly
        } else {
            AfterDisruption::ExtendedByAtMostOneTtl
        };
        Guarantees::weakest()
            .with_revision_scope(RevisionScope::Service)
            // A primary that was cut off goes on answering until it notices.
            .with_linearizable_reads(!replicated)
            .with_expiry_bound(EXPIRY_BOUND)
            .with_after_disruption(after_disruption)
            .with_min_ttl(min_ttl(wait))
            .with_durability(durability)
            .with_convergence(convergence(options))
            .with_gap_detection(GapDetection::Always)
            .with_delete_causes(DeleteCauses::All)
    }
}

/// The least TTL that is granted: a lease must outlive the wait before it is acknowledged.
pub(crate) fn min_ttl(wait: Option<Wait>) -> Ttl {
    let least = wait.map_or(Duration::ZERO, |wait| wait.timeout.saturating_mul(2));
    Ttl::new(least.clamp(Ttl::MIN.get(), Ttl::MAX.get())).unwrap_or(Ttl::MIN)
}

/// A connection that is silent is noticed, another one is made, and a watch that was refused before has waited before it asks again.
fn convergence(options: &RedisOptions) -> Duration {
    let waits = options.resume.backoff.cap.max(options.resume.slow_backoff.cap);
    let found = options.stall_after.saturating_add(options.connect_timeout).saturating_add(waits);
    found.saturating_add(Duration::from_secs(1))
}

const EXPIRY_BOUND: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Facts {
        Facts { run: "abc".into(), ..Facts::default() }
    }

    fn facts(append_only: bool, sync: &str) -> Facts {
        Facts { append_only, sync: Some(sync.into()), ..told() }
    }

    #[test]
    fn what_is_claimed_follows_from_what_the_server_says() {
        let wait = |replicas| Some(Wait { replicas, timeout: Duration::from_secs(1) });
        let saves = Facts { saves: true, ..told() };
        let paused = Facts { sync_pauses: true, ..facts(true, "always") };
        let unsynced = Facts { append_only: true, ..told() };
        let evicting = Facts { max_memory: 1, eviction: "allkeys-lru".into(), ..facts(true, "always") };
        let two = Facts { replicas: 2, ..facts(true, "always") };
        let later = Facts { replicas: 2, ..facts(true, "everysec") };
        for (facts, replicated, wait, durability) in [
            (told(), false, None, Durability::None),
            (saves, false, None, Durability::Window),
            (facts(true, "no"), false, None, Durability::ProcessCrash),
            (facts(true, "everysec"), false, None, Durability::Window),
            (facts(true, "always"), false, None, Durability::PowerCut),
            (paused, false, None, Durability::ProcessCrash),
            (unsynced, false, None, Durability::Window),
            (evicting, false, None, Durability::None),
            (facts(true, "always"), true, None, Durability::Window),
            (two.clone(), false, None, Durability::Window),
            (two.clone(), true, wait(1), Durability::Window),
            (two, true, wait(2), Durability::ProcessCrash),
            (later, true, wait(2), Durability::Window),
        ] {
            let mut options = RedisOptions::standalone("h");
            options.wait = wait;
            let claimed = facts.guarantees(replicated, &options);
            assert_eq!(claimed.durability, durability, "{facts:?} {replicated} {wait:?}");
        }
    }

    #[test]
    fn of_a_server_that_tells_nothing_little_is_claimed() {
        for facts in [Facts::default(), Facts { saves: true, ..facts(true, "always") }] {
            let claimed =
                Facts { run: String::new(), ..facts }.guarantees(false, &RedisOptions::standalone("h"));
            assert_eq!(claimed.durability, Durability::None);
            assert_eq!(claimed.after_disruption, AfterDisruption::MayExpireEarly);
            assert!(!claimed.linearizable_reads, "there may be replicas");
        }
    }

    #[test]
    fn info_and_config_are_read_as_redis_writes_them() {
        let mut facts = Facts::of_info(
            "# Server\r\nrun_id:abc\r\n# Persistence\r\nloading:0\r\naof_enabled:1\r\nmaxmemory:7\r\nmaxmemory_policy:noeviction\r\n\
             role:master\r\nconnected_slaves:2\r\nerrorstat_OOM:count=3\r\nerrorstat_ERR:count=9\r\nerrorstat_MISCONF:count=4\r\n",
        );
        let bulk = |text: &str| Value::BulkString(text.into());
        facts.add_config(&Value::Array(vec![bulk("save"), bulk(""), bulk("appendfsync"), bulk("always")]));
        facts.add_config(&Value::Nil);
        assert_eq!((facts.run.as_str(), facts.role.as_str()), ("abc", "master"));
        assert_eq!((facts.refused, facts.replicas), (4, 2));
        assert!(!facts.evicts() && !facts.saves && facts.append_only);
        assert_eq!(facts.sync.as_deref(), Some("always"));
    }
}
