//! One server, or its machine. Of a group it is one that does not lead.

use super::{
    Claim, Duration, Expected, Fault, Halts, NAIVE, NAIVE_AWAY, Needs, Row, Strikes, USUAL, everywhere,
    on_servers,
};

const SURVIVED: Expected = Expected::Survived;
const PIDS: &str = "It did not answer from then on until it was started again, and has another pid.";
const SILENT: &str = "It did not answer meanwhile, and has the same pid afterwards.";

const PAUSE: Row = Row {
    injected: "SIGSTOP, and SIGCONT when the time is over; every client of the registry in memory is met with silence.",
    proof: SILENT,
    invariants: &[9, 10, 12, 13, 15],
    claims: &[Claim::Persistence],
    // Its clients have no other links than those on which they meet the silence.
    strikes_in_memory: Some(Strikes::LinksAndServers),
    halts: Halts::OneServer,
    bites_watches: true,
    ..USUAL
};

pub(super) static ROWS: &[Row] = &[
    Row {
        fault: Fault::ServerKill,
        id: "server-kill",
        what: "A server is killed and comes back with its data.",
        injected: "SIGKILL, and a start on the same port. Redis has an append-only file that is synced before each answer.",
        proof: PIDS,
        invariants: &[4, 5, 7, 9, 10, 11, 13],
        claims: &[Claim::Persistence],
        halts: Halts::OneServer,
        bites_watches: true,
        cells: &on_servers(SURVIVED, NAIVE_AWAY),
        ..USUAL
    },
    Row {
        fault: Fault::ServerStop,
        id: "server-stop",
        what: "A server is stopped in good order and comes back with its data.",
        injected: "SIGTERM, and a start on the same port.",
        proof: PIDS,
        invariants: &[4, 5, 7, 9, 10, 11, 13],
        claims: &[Claim::Persistence],
        halts: Halts::OneServer,
        bites_watches: true,
        cells: &on_servers(SURVIVED, NAIVE_AWAY),
        ..USUAL
    },
    Row {
        fault: Fault::PauseShort,
        id: "pause-1s",
        what: "A server stands still for a second, less than a TTL.",
        lasts: Duration::from_secs(1),
        cells: &everywhere(SURVIVED, NAIVE),
        ..PAUSE
    },
    Row {
        fault: Fault::Pause,
        id: "pause-10s",
        what: "A server stands still for ten seconds, several TTLs.",
        lasts: Duration::from_secs(10),
        cells: &everywhere(SURVIVED, NAIVE),
        ..PAUSE
    },
    Row {
        fault: Fault::PauseLong,
        id: "pause-60s",
        what: "A server stands still for a minute.",
        lasts: Duration::from_secs(60),
        long: true,
        cells: &everywhere(SURVIVED, NAIVE),
        ..PAUSE
    },
    Row {
        fault: Fault::PowerCut,
        id: "power-cut",
        what: "The power of all servers is cut: what they had not synced is lost.",
        injected: "The data are on ext4 on a loop device; all servers stand still, the device is copied, and they are killed and start on the copy. Redis has an append-only file that is synced before each answer.",
        needs: Needs::LoopDevice,
        proof: "A file that was written just before and not synced is lost on every disk, and no server answered until it was started again.",
        invariants: &[1, 5, 7, 9, 11, 12, 17],
        claims: &[Claim::Persistence],
        halts: Halts::AllServers,
        bites_watches: true,
        cells: &on_servers(Expected::SurvivedOrDegraded, NAIVE_AWAY),
        ..USUAL
    },
    Row {
        fault: Fault::SlowFsync,
        id: "slow-fsync",
        what: "The disk of the server, of a group of all servers, stands still for 300 ms of every 400.",
        injected: "The data are on ext4 on a loop device, which is frozen and thawed again and again.",
        needs: Needs::LoopDevice,
        proof: "Syncing a small file on the same disk takes some 300 ms.",
        invariants: &[9, 10, 12],
        claims: &[Claim::Persistence, Claim::Latency],
        halts: Halts::Writes,
        lasts: Duration::from_secs(6),
        cells: &on_servers(Expected::SurvivedOrDegraded, NAIVE),
        ..USUAL
    },
];
