//! The table itself, in the order of [`Fault`](super::Fault).

mod clients;
mod groups;
mod links;
mod servers;
mod stores;

use std::time::Duration;

use registry_core::Durability;

use super::super::backend::Backend;
use super::Fault;
use super::row::{Beside, Cell, Expected, Halts, Loses, Needs, Row, Strikes, StruckBy};
use crate::claims::Claim;

static PARTS: [&[Row]; 5] = [links::ROWS, servers::ROWS, groups::ROWS, stores::ROWS, clients::ROWS];

/// The row of a fault. That there is one for each is tested.
pub(super) fn row(fault: Fault) -> &'static Row {
    let row = PARTS.into_iter().flatten().find(|row| row.fault == fault);
    row.unwrap_or(&links::ROWS[0])
}

/// What the naive registry breaks even when nothing is struck: those who died stay as long as one of them lives, and whoever has lost an id writes on.
const NAIVE: Expected = Expected::Violated(&[9, 12]);
/// What it breaks besides once a watcher was away: nobody tells it what it has missed, nor that it has.
const NAIVE_AWAY: Expected = Expected::Violated(&[7, 8]);
/// Where a fail-over, or a leader that stood still, may lose what was acknowledged: whoever it concerns is told, and that is all that is promised.
const TOLD: Expected = Expected::SurvivedOrDegraded;
/// A fail-over loses what no other server had, unless it is claimed to be kept.
const BY_FAILOVER: Loses = Loses::UnlessClaimed(Durability::MinorityLoss);

const fn memory(expected: Expected) -> Cell {
    Cell::new(Backend::Memory, expected)
}

const fn etcd(expected: Expected) -> Cell {
    Cell::new(Backend::Etcd, expected)
}

const fn etcd_cluster(expected: Expected) -> Cell {
    Cell::new(Backend::EtcdCluster, expected)
}

const fn redis(expected: Expected) -> Cell {
    Cell::new(Backend::Redis, expected)
}

const fn sentinel(expected: Expected) -> Cell {
    Cell::new(Backend::RedisSentinel, expected)
}

const fn cluster(expected: Expected) -> Cell {
    Cell::new(Backend::RedisCluster, expected)
}

const fn naive(expected: Expected) -> Cell {
    Cell::new(Backend::RedisNaive, expected)
}

/// All servers, ours as `ours`, the naive registry as `control`.
const fn on_servers(ours: Expected, control: Expected) -> [Cell; 6] {
    [etcd(ours), etcd_cluster(ours), redis(ours), sentinel(ours), cluster(ours), naive(control)]
}

/// The same, and the registry in memory.
const fn everywhere(ours: Expected, control: Expected) -> [Cell; 7] {
    let [etcd, etcd_cluster, redis, sentinel, cluster, naive] = on_servers(ours, control);
    [memory(ours), etcd, etcd_cluster, redis, sentinel, cluster, naive]
}

/// What most rows have in common.
const USUAL: Row = Row {
    fault: Fault::None,
    id: "",
    what: "",
    injected: "",
    needs: Needs::Nothing,
    proof: "",
    invariants: &[],
    claims: &[],
    struck_by: StruckBy::Stand,
    strikes: Strikes::Servers,
    strikes_in_memory: None,
    halts: Halts::Nothing,
    needs_beside: Beside::Nothing,
    bites_watches: false,
    lasts: Duration::from_secs(4),
    long: false,
    cells: &[],
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::ValueEnum;

    use super::{Backend, Expected, Fault, Needs, PARTS, Strikes, StruckBy};

    #[test]
    fn every_fault_has_one_row_and_one_name_everywhere() {
        let rows: Vec<Fault> = PARTS.into_iter().flatten().map(|row| row.fault).collect();
        let all: BTreeSet<Fault> = rows.iter().copied().collect();
        assert_eq!(rows.len(), all.len(), "a fault has two rows");
        assert_eq!(all.into_iter().collect::<Vec<_>>(), Fault::all());
        let ids: BTreeSet<&str> = Fault::all().iter().map(|fault| fault.id()).collect();
        assert_eq!(ids.len(), rows.len());
        for fault in Fault::all() {
            assert_eq!(serde_json::to_string(fault).unwrap(), format!("{:?}", fault.id()));
            assert_eq!(fault.to_possible_value().unwrap().get_name(), fault.id());
            assert!(fault.id().chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
        }
    }

    #[test]
    fn every_row_is_filled_in_and_applies_to_somebody() {
        for row in PARTS.into_iter().flatten() {
            for text in [row.what, row.injected, row.proof] {
                assert!(text.ends_with('.') && text.len() > 10, "{}: {text:?}", row.id);
            }
            assert!(!row.cells.is_empty() && !row.invariants.is_empty(), "{}", row.id);
            let backends: BTreeSet<Backend> = row.cells.iter().map(|cell| cell.backend).collect();
            assert_eq!(backends.len(), row.cells.len(), "{} names a backend twice", row.id);
            let numbers = row.cells.iter().flat_map(|cell| match cell.expected {
                Expected::Violated(which) => which,
                _ => &[],
            });
            assert!(numbers.chain(row.invariants).all(|number| (1..=17).contains(number)), "{}", row.id);
            let usual = row.long || row.lasts.as_secs() <= 12;
            assert!(usual, "{} does not fit into a cell of 25 s", row.id);
        }
    }

    #[test]
    fn the_control_is_expected_to_be_violated_and_ours_never_is() {
        for row in PARTS.into_iter().flatten() {
            for cell in row.cells {
                let violated = matches!(cell.expected, Expected::Violated(_));
                assert_eq!(violated, !cell.backend.is_ours(), "{} on {}", row.id, cell.backend);
                // Who loses something cannot be expected to be told of nothing.
                let may_be_told = cell.expected != Expected::Survived;
                assert!(!cell.loses() || may_be_told, "{} on {}", row.id, cell.backend);
            }
        }
    }

    #[test]
    fn what_takes_disks_needs_root_and_what_the_runner_does_needs_nothing() {
        let disks = [Fault::PowerCut, Fault::SlowFsync, Fault::DiskFull];
        for row in PARTS.into_iter().flatten() {
            assert_eq!(row.needs == Needs::LoopDevice, disks.contains(&row.fault), "{}", row.id);
            assert_eq!(row.needs.root(), disks.contains(&row.fault), "{}", row.id);
            assert!(row.struck_by == StruckBy::Stand || row.needs == Needs::Nothing, "{}", row.id);
        }
    }

    #[test]
    fn faults_go_together_that_strike_something_else() {
        for (one, other) in
            Fault::all().iter().flat_map(|one| Fault::all().iter().map(move |other| (one, other)))
        {
            assert_eq!(one.goes_with(*other), other.goes_with(*one), "{one} {other}");
            assert!(!one.goes_with(*one) && !one.goes_with(Fault::None), "{one}");
        }
        assert!(Fault::LinkCut.goes_with(Fault::LeaderKill) && Fault::Wipe.goes_with(Fault::SlowConsumer));
        assert!(!Fault::LinkCut.goes_with(Fault::Latency) && !Fault::LinkCut.goes_with(Fault::Compaction));
        for row in PARTS.into_iter().flatten() {
            assert_eq!(row.strikes == Strikes::Clients, row.struck_by == StruckBy::Runner, "{}", row.id);
        }
    }

    /// What could not bite in a record of 147 pairs.
    #[test]
    fn no_pair_is_drawn_of_which_one_cannot_bite() {
        use Backend::{Etcd, EtcdCluster, Memory, Redis, RedisNaive, RedisSentinel};
        use Fault::{
            BlackHole, BlackHoleToClient, BlackHoleToServer, DiskFull, Flaps, Latency, LinkCut, Pause,
            PauseShort, PowerCut, QuorumLoss, ServerKill, ServerStop, SlowConsumer, SlowFsync, StoreFull,
            Throttle,
        };
        let mute = [
            (Memory, PauseShort, BlackHole),
            (Etcd, ServerKill, BlackHoleToClient),
            (Etcd, Pause, SlowConsumer),
            (Redis, ServerKill, BlackHole),
            (Redis, ServerStop, Latency),
            (Redis, Pause, BlackHoleToClient),
            (Redis, PowerCut, BlackHoleToServer),
            (RedisNaive, ServerKill, Throttle),
            (RedisNaive, ServerStop, BlackHole),
            (RedisNaive, Pause, BlackHoleToClient),
            // And what was not drawn then, or counted what was only asked for.
            (EtcdCluster, PowerCut, LinkCut),
            (Redis, Flaps, Pause),
            (EtcdCluster, QuorumLoss, SlowConsumer),
            (Redis, SlowConsumer, DiskFull),
            (Memory, StoreFull, SlowConsumer),
            (Etcd, SlowFsync, SlowConsumer),
        ];
        for (backend, first, second) in mute {
            assert!(first.goes_with(second), "{first} {second}");
            assert!(!first.can_precede(second, backend), "{first}, then {second} on {backend}");
        }
        let both = [
            // The link is struck while its server answers, or that of another one is.
            (Redis, BlackHole, ServerKill),
            (Redis, Throttle, PowerCut),
            (EtcdCluster, ServerKill, BlackHole),
            (RedisSentinel, Pause, SlowConsumer),
            // It is over soon.
            (Etcd, PauseShort, LinkCut),
            (Redis, SlowConsumer, PauseShort),
            (Redis, ServerKill, Flaps),
            (Memory, PauseShort, SlowConsumer),
        ];
        for (backend, first, second) in both {
            assert!(first.can_precede(second, backend), "{first}, then {second} on {backend}");
        }
    }

    #[test]
    fn every_backend_has_its_control() {
        for backend in Backend::ALL {
            assert_eq!(Fault::of(backend).next(), Some(Fault::None), "{backend}");
            assert!(Fault::of(backend).count() > 5, "{backend}");
        }
    }
}
