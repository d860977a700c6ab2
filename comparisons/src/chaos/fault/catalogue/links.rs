//! Between clients and servers.
//!
//! The links are those of readers and, by chance, of half of the owners, whose heartbeats are struck too; other owners and writers go past them. Sentinels and nodes of a
//! cluster tell all clients the same addresses, so there the links of all are struck. The registry in memory has no network: a client of it can be cut
//! off, or be met with silence.

use super::{
    Beside, Claim, Duration, Expected, Fault, NAIVE, NAIVE_AWAY, Row, Strikes, USUAL, everywhere, memory,
    on_servers,
};

const SURVIVED: Expected = Expected::Survived;
const CANARY: &str = "A connection that was opened through each link before is asked, and the proxies count.";
const AWAY: &[u8] = &[4, 5, 7, 8, 13, 15];

/// The log in memory holds 1,024 changes, which may be fewer than were made meanwhile.
const AWAY_FOR_LONG: [super::Cell; 7] = {
    let [_, etcd, etcd_cluster, redis, sentinel, cluster, naive] = everywhere(SURVIVED, NAIVE_AWAY);
    [memory(Expected::SurvivedOrDegraded), etcd, etcd_cluster, redis, sentinel, cluster, naive]
};

const LINK: Row = Row { strikes: Strikes::Links, needs_beside: Beside::AnswersAtFirst, ..USUAL };

pub(super) static ROWS: &[Row] = &[
    Row {
        fault: Fault::None,
        id: "none",
        what: "Nothing is struck: the control.",
        injected: "Not at all.",
        proof: "There is nothing to be proved.",
        strikes: Strikes::Nothing,
        invariants: &[1, 2, 3, 4, 9, 10, 12, 17],
        cells: &everywhere(SURVIVED, NAIVE),
        ..USUAL
    },
    Row {
        fault: Fault::LinkCut,
        id: "link-cut",
        what: "The connections of readers and of half of the owners end, and new ones are refused, while writers write.",
        injected: "The proxies in front of the servers close what is open and do not listen.",
        proof: "The proxies count what they cut, and a new connection is refused until the end.",
        invariants: AWAY,
        claims: &[Claim::Versioning, Claim::PubSub],
        bites_watches: true,
        cells: &everywhere(SURVIVED, NAIVE_AWAY),
        ..LINK
    },
    Row {
        fault: Fault::LinkReset,
        id: "link-reset",
        what: "The connections of readers and of half of the owners are reset once a second; new ones are carried.",
        injected: "The proxies in front of the servers reset what is open.",
        proof: "The proxies count what they reset, and a connection that was opened before is broken.",
        invariants: &[4, 5, 7, 8, 15],
        claims: &[Claim::Versioning, Claim::PubSub],
        bites_watches: true,
        cells: &on_servers(SURVIVED, NAIVE),
        ..LINK
    },
    Row {
        fault: Fault::BlackHole,
        id: "black-hole",
        what: "Nothing passes between readers, or half of the owners, and servers, either way, and nobody is told.",
        injected: "The proxies in front of the servers swallow all bytes and keep connections open.",
        proof: CANARY,
        invariants: AWAY,
        claims: &[Claim::Versioning, Claim::PubSub],
        bites_watches: true,
        cells: &everywhere(SURVIVED, NAIVE_AWAY),
        ..LINK
    },
    Row {
        fault: Fault::BlackHoleLong,
        id: "black-hole-20s",
        what: "The same for 20 s, longer than a watch, or a view that says that it is live, may be silent.",
        injected: "The proxies in front of the servers swallow all bytes and keep connections open.",
        proof: CANARY,
        invariants: &[7, 8, 13, 15],
        claims: &[Claim::PubSub],
        bites_watches: true,
        lasts: Duration::from_secs(20),
        long: true,
        cells: &AWAY_FOR_LONG,
        ..LINK
    },
    Row {
        fault: Fault::BlackHoleToServer,
        id: "black-hole-to-server",
        what: "What readers and half of the owners send is lost; what servers send arrives: a half-open connection.",
        injected: "The proxies in front of the servers swallow the bytes of this direction.",
        proof: CANARY,
        invariants: AWAY,
        claims: &[Claim::PubSub],
        bites_watches: true,
        cells: &on_servers(SURVIVED, NAIVE),
        ..LINK
    },
    Row {
        fault: Fault::BlackHoleToClient,
        id: "black-hole-to-client",
        what: "What servers send is lost; what readers and half of the owners send arrives: a half-open connection.",
        injected: "The proxies in front of the servers swallow the bytes of this direction.",
        proof: CANARY,
        invariants: AWAY,
        claims: &[Claim::PubSub],
        bites_watches: true,
        cells: &on_servers(SURVIVED, NAIVE_AWAY),
        ..LINK
    },
    Row {
        fault: Fault::Latency,
        id: "latency",
        what: "Everything between readers, or half of the owners, and servers takes 100 ms longer each way.",
        injected: "The proxies in front of the servers hold every byte back for so long.",
        proof: "A round trip through each link takes so much longer.",
        invariants: &[1, 2, 3, 4, 8, 15],
        claims: &[Claim::Latency],
        cells: &everywhere(SURVIVED, NAIVE),
        ..LINK
    },
    Row {
        fault: Fault::Throttle,
        id: "throttle",
        what: "At most 8 KiB a second pass between readers, or half of the owners, and servers, each way.",
        injected: "The proxies in front of the servers let no more pass on each connection.",
        proof: "4 KiB through each link take as long as they must.",
        invariants: &[1, 2, 3, 4, 8, 15],
        claims: &[Claim::Latency],
        cells: &on_servers(Expected::SurvivedOrDegraded, NAIVE),
        ..LINK
    },
    Row {
        fault: Fault::Flaps,
        id: "flaps",
        what: "The links of readers and of half of the owners fail for 300 ms and are well for 300 ms, again and again.",
        injected: "The proxies in front of the servers close what is open and do not listen, or swallow all bytes.",
        proof: "A new connection was refused, or got no answer, at some times, and got one at others.",
        invariants: &[4, 5, 7, 8, 15],
        claims: &[Claim::Versioning, Claim::PubSub],
        bites_watches: true,
        needs_beside: Beside::AnswersAtTimes,
        lasts: Duration::from_secs(6),
        cells: &everywhere(SURVIVED, NAIVE_AWAY),
        ..LINK
    },
];
