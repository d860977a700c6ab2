//! What is stored.

use super::{
    Claim, Expected, Fault, Halts, Loses, NAIVE, NAIVE_AWAY, Needs, Row, Strikes, USUAL, cluster, etcd,
    etcd_cluster, everywhere, memory, naive, on_servers, redis, sentinel,
};

const SURVIVED: Expected = Expected::Survived;
const DEGRADED: Expected = Expected::Degraded;
/// What the naive registry breaks when heartbeats are refused, or keys end before their time: all are gone at once.
const NAIVE_GONE: Expected = Expected::Violated(&[7, 8, 10]);

const LOST_ALL: [super::Cell; 7] = [
    memory(DEGRADED).lossy(Loses::Everything),
    etcd(DEGRADED).lossy(Loses::Everything),
    etcd_cluster(DEGRADED).lossy(Loses::Everything),
    redis(DEGRADED).lossy(Loses::Everything),
    sentinel(DEGRADED).lossy(Loses::Everything),
    cluster(DEGRADED).lossy(Loses::Everything),
    naive(NAIVE_AWAY).lossy(Loses::Everything),
];

/// To have room again, etcd is compacted, as an operator does it: who is away just then is told that history is missing.
const FULL: [super::Cell; 7] = {
    let [memory, _, _, redis, sentinel, cluster, naive] = everywhere(SURVIVED, NAIVE_GONE);
    let told = Expected::SurvivedOrDegraded;
    [memory, etcd(told), etcd_cluster(told), redis, sentinel, cluster, naive]
};

pub(super) static ROWS: &[Row] = &[
    Row {
        fault: Fault::Compaction,
        id: "compaction",
        what: "Readers are cut off, writers write, and all history is forgotten before readers come back.",
        injected: "The proxies in front of the servers refuse; then a compaction of etcd, XTRIM of every log, a compaction of the store in memory. Sentinels and nodes of a cluster \
                   tell readers and writers the same addresses, so it cannot be done there.",
        proof: "Revisions that are newer than the cut can no longer be read, and a new connection was refused until the end.",
        invariants: &[4, 5, 7, 8],
        claims: &[Claim::Versioning],
        strikes: Strikes::LinksAndServers,
        bites_watches: true,
        cells: &[memory(DEGRADED), etcd(DEGRADED), etcd_cluster(DEGRADED), redis(DEGRADED)],
        ..USUAL
    },
    Row {
        fault: Fault::Wipe,
        id: "wipe",
        what: "All data are gone at once, and the store serves on.",
        injected: "FLUSHALL on every primary; etcd starts with a new data directory; the store in memory is emptied.",
        proof: "What was written just before is gone.",
        invariants: &[1, 7, 8, 13, 14],
        claims: &[Claim::Versioning, Claim::Persistence],
        bites_watches: true,
        cells: &LOST_ALL,
        ..USUAL
    },
    Row {
        fault: Fault::Restore,
        id: "restore",
        what: "An operator puts a backup back that is some seconds old.",
        injected: "A backup is taken when the fault begins, and takes the place of the data when it ends: etcdctl snapshot, the files of Redis, a checkpoint of the store in memory.",
        proof: "What was written after the backup is gone.",
        invariants: &[1, 7, 8, 12, 14],
        claims: &[Claim::Versioning, Claim::Persistence],
        bites_watches: true,
        cells: &LOST_ALL,
        ..USUAL
    },
    Row {
        fault: Fault::ClockStep,
        id: "clock-step",
        what: "The wall clock of the server, of a group of the primary, jumps by an hour or by some seconds, forward or back; in the end it jumps back.",
        injected: "A library that is loaded before all others shifts the wall clock of this process alone.",
        needs: Needs::Compiler,
        proof: "TIME of the server differs from that of before by as much.",
        invariants: &[9, 10, 12],
        claims: &[Claim::Persistence],
        cells: &[redis(SURVIVED), sentinel(SURVIVED), naive(NAIVE)],
        ..USUAL
    },
    Row {
        fault: Fault::DiskFull,
        id: "disk-full",
        what: "The disk of the server is full, and what it appends is refused.",
        injected: "The data are on a file system on a loop device, and a file takes all its room. Redis has an append-only file that is synced once a second. etcd reserves its log ahead, and would notice nothing.",
        needs: Needs::LoopDevice,
        proof: "The server says that it could not write, and refuses a write.",
        invariants: &[9, 10, 14],
        claims: &[Claim::Persistence],
        halts: Halts::Writes,
        cells: &[redis(Expected::SurvivedOrDegraded), naive(NAIVE_GONE)],
        ..USUAL
    },
    Row {
        fault: Fault::StoreFull,
        id: "store-full",
        what: "The store is full and takes nothing new.",
        injected: "maxmemory without eviction; the quota of etcd, filled; no room in the store in memory.",
        proof: "A write that needs room is refused.",
        invariants: &[9, 10, 14],
        claims: &[Claim::Persistence],
        halts: Halts::Writes,
        cells: &FULL,
        ..USUAL
    },
    Row {
        fault: Fault::MalformedFlood,
        id: "malformed-flood",
        what: "Other hands write hundreds of entries into the keys of the services that nobody can read.",
        injected: "PUT beside the instances of etcd, HSET among those of Redis; in the end they are deleted.",
        proof: "The number of entries that were written, and one of them is read back.",
        invariants: &[1, 4, 7, 8, 10, 16],
        claims: &[],
        cells: &on_servers(SURVIVED, Expected::Violated(&[8, 9, 10, 12])),
        ..USUAL
    },
];
