//! What clients do, or what becomes of their processes. The runner sees to it; the stand does nothing.

use super::{
    Beside, Claim, Duration, Expected, Fault, NAIVE, Row, Strikes, StruckBy, USUAL, everywhere, on_servers,
};

const OF_RUNNER: Row = Row { struck_by: StruckBy::Runner, strikes: Strikes::Clients, ..USUAL };

pub(super) static ROWS: &[Row] = &[
    Row {
        fault: Fault::SlowConsumer,
        id: "slow-consumer",
        what: "A watcher stops reading while writers write much, and then reads on.",
        injected: "The workload does not poll the watch.",
        proof: "The history tells when it stopped reading, and how much was written meanwhile.",
        invariants: &[4, 7, 8, 16],
        claims: &[Claim::PubSub],
        needs_beside: Beside::Writes,
        bites_watches: true,
        lasts: Duration::from_secs(12),
        cells: &everywhere(Expected::Degraded, NAIVE),
        ..OF_RUNNER
    },
    Row {
        fault: Fault::ClientPaused,
        id: "client-paused",
        what: "A process of clients stands still for longer than its TTL, and goes on as if nothing had been.",
        injected: "SIGSTOP and SIGCONT to the process.",
        proof: "All its threads stood still, and it wrote nothing into its history meanwhile.",
        invariants: &[5, 7, 9, 12, 14],
        claims: &[Claim::Versioning],
        bites_watches: true,
        lasts: Duration::from_secs(6),
        cells: &on_servers(Expected::SurvivedOrDegraded, NAIVE),
        ..OF_RUNNER
    },
    Row {
        fault: Fault::ExpiryStorm,
        id: "expiry-storm",
        what: "Many instances die at once without a word.",
        injected: "The workload abandons them.",
        proof: "The history tells how many died, and when.",
        invariants: &[2, 3, 4, 9],
        claims: &[Claim::PubSub, Claim::Latency],
        cells: &everywhere(Expected::Survived, NAIVE),
        ..OF_RUNNER
    },
    Row {
        fault: Fault::MassRejoin,
        id: "mass-rejoin",
        what: "Many instances that died register again at once.",
        injected: "The workload registers them with new incarnations.",
        proof: "The history tells how many registered, and when.",
        invariants: &[2, 4, 10, 12, 17],
        claims: &[Claim::Latency],
        cells: &everywhere(Expected::Survived, NAIVE),
        ..OF_RUNNER
    },
];
