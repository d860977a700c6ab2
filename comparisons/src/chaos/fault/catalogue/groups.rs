//! Servers of a group against each other. The one that leads is the leader of etcd, the primary under Sentinels, and of a cluster the primary with the most
//! keys.

use super::{
    BY_FAILOVER, Claim, Duration, Expected, Fault, Halts, Row, TOLD, USUAL, cluster, etcd_cluster, sentinel,
};

const SURVIVED: Expected = Expected::Survived;
const SWALLOWED: &str = "The proxies between the servers count the bytes that they have swallowed.";
/// Long enough for a fail-over.
const FAILOVER: Duration = Duration::from_secs(6);

/// A fail-over of which Redis may lose something, if somebody was just writing.
const FAILS_OVER: [super::Cell; 3] =
    [etcd_cluster(SURVIVED), sentinel(TOLD).lossy(BY_FAILOVER), cluster(TOLD).lossy(BY_FAILOVER)];

const OF_LEADER: Row = Row {
    invariants: &[5, 7, 10, 11, 12, 13, 17],
    claims: &[Claim::Clustering],
    bites_watches: true,
    lasts: FAILOVER,
    cells: &FAILS_OVER,
    ..USUAL
};

pub(super) static ROWS: &[Row] = &[
    Row {
        fault: Fault::LeaderKill,
        id: "leader-kill",
        what: "The server that leads is killed, and comes back once another leads.",
        injected: "SIGKILL, and a start on the same port.",
        proof: "It did not answer until it was started again, and another one led.",
        halts: Halts::OneServer,
        ..OF_LEADER
    },
    Row {
        fault: Fault::LeaderPause,
        id: "leader-pause",
        what: "The server that leads stands still until another leads, and goes on as if nothing had been.",
        injected: "SIGSTOP and SIGCONT.",
        proof: "It did not answer meanwhile, and another one led.",
        halts: Halts::OneServer,
        cells: &[
            // When it goes on, it revokes leases that its successor has renewed, before it knows of it (etcd-io/etcd#15247, mended by #16822 after the 3.5.16 that
            // is played). `guarantees()` says so, and it counts only where the log of etcd has the end.
            etcd_cluster(TOLD),
            sentinel(TOLD).lossy(BY_FAILOVER),
            cluster(TOLD).lossy(BY_FAILOVER),
        ],
        ..OF_LEADER
    },
    Row {
        fault: Fault::MinorityPartition,
        id: "minority-partition",
        what: "One server that does not lead is cut off from all others; clients reach all.",
        injected: "The proxies between the servers swallow what passes between it and the others.",
        proof: SWALLOWED,
        invariants: &[1, 4, 5, 7, 13, 15, 17],
        claims: &[Claim::Clustering],
        bites_watches: true,
        lasts: FAILOVER,
        cells: &[etcd_cluster(SURVIVED), sentinel(SURVIVED), cluster(SURVIVED)],
        ..USUAL
    },
    Row {
        fault: Fault::MajorityPartition,
        id: "majority-partition",
        what: "The server that leads is cut off from all others, so that the majority goes on without it; clients reach all.",
        injected: "The proxies between the servers swallow what passes between it and the others.",
        proof: "The proxies between the servers count the bytes that they have swallowed, and another one leads.",
        ..OF_LEADER
    },
    Row {
        fault: Fault::OneWayPartition,
        id: "one-way-partition",
        what: "Nothing that the server that leads sends to the others arrives; what they send does; clients reach all.",
        injected: "The proxies between the servers swallow the bytes of this direction.",
        proof: "The proxies between the servers count the bytes that they have swallowed, and another one leads.",
        ..OF_LEADER
    },
    Row {
        fault: Fault::QuorumLoss,
        id: "quorum-loss",
        what: "No majority can agree on anything: two of three members of etcd, or two of three Sentinels, are dead; no node of a cluster reaches another.",
        injected: "SIGKILL, and a start on the same ports; in a cluster the proxies between all nodes swallow everything.",
        proof: "The member that is left serves no linearizable read; the Sentinel that is left says NOQUORUM; every node of the cluster says cluster_state:fail.",
        invariants: &[9, 10, 13, 14, 15],
        claims: &[Claim::Clustering],
        halts: Halts::Writes,
        bites_watches: true,
        lasts: FAILOVER,
        cells: &[etcd_cluster(SURVIVED), sentinel(SURVIVED), cluster(SURVIVED)],
        ..USUAL
    },
    Row {
        fault: Fault::SlotMigration,
        id: "slot-migration",
        what: "The slots of all services move from node to node, with all their keys, while clients go on.",
        injected: "CLUSTER SETSLOT and MIGRATE, as administrators do it, again and again.",
        proof: "The number of moves, and another owner after each.",
        invariants: &[2, 4, 7, 10, 12, 17],
        claims: &[Claim::PubSub, Claim::Clustering],
        bites_watches: true,
        cells: &[cluster(SURVIVED)],
        ..USUAL
    },
    Row {
        fault: Fault::FailoverForce,
        id: "failover-force",
        what: "A replica takes over by a vote although its primary is well, without a word to it.",
        injected: "CLUSTER FAILOVER FORCE, or SENTINEL FAILOVER.",
        proof: "Another node is the primary of the same slots and takes writes.",
        cells: &[sentinel(TOLD).lossy(BY_FAILOVER), cluster(TOLD).lossy(BY_FAILOVER)],
        ..OF_LEADER
    },
    Row {
        fault: Fault::FailoverTakeover,
        id: "failover-takeover",
        what: "A replica takes over by its own decision alone, although its primary is well.",
        injected: "CLUSTER FAILOVER TAKEOVER.",
        proof: "Another node is the primary of the same slots and takes writes.",
        cells: &[cluster(TOLD).lossy(BY_FAILOVER)],
        ..OF_LEADER
    },
    Row {
        fault: Fault::SplitBrain,
        id: "split-brain",
        what: "The primary is cut off together with the writers, and goes on acknowledging while a replica is promoted; readers are on the other side.",
        injected: "The proxies between the servers swallow what passes between it and all others, and those between writers and Sentinels swallow everything.",
        proof: "The proxies count the bytes that they have swallowed, another node is the primary, and the old one still took a write.",
        cells: &[sentinel(TOLD).lossy(BY_FAILOVER)],
        ..OF_LEADER
    },
];
