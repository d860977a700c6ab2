//! The catalogue of faults, as a table.

mod catalogue;
mod row;

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::backend::Backend;

pub use row::{Beside, Cell, Expected, Halts, Invariant, Loses, Needs, Row, Strikes, StruckBy};

/// A fault of the catalogue. What there is to know of it is its [`row`](Self::row).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fault {
    /// Nothing is struck: the control.
    None,
    /// Connections end, and new ones are refused.
    LinkCut,
    /// Connections are reset, again and again.
    LinkReset,
    /// Nothing passes, and nobody is told.
    BlackHole,
    /// The same for longer than a watch may be silent.
    #[serde(rename = "black-hole-20s")]
    #[value(name = "black-hole-20s")]
    BlackHoleLong,
    /// What clients send is lost.
    BlackHoleToServer,
    /// What servers send is lost.
    BlackHoleToClient,
    /// Everything arrives late.
    Latency,
    /// Little passes in a second.
    Throttle,
    /// The link fails and recovers, again and again.
    Flaps,
    /// SIGKILL, and a restart with the data.
    ServerKill,
    /// SIGTERM, and a restart with the data.
    ServerStop,
    /// SIGSTOP for a second.
    #[serde(rename = "pause-1s")]
    #[value(name = "pause-1s")]
    PauseShort,
    /// SIGSTOP for ten seconds.
    #[serde(rename = "pause-10s")]
    #[value(name = "pause-10s")]
    Pause,
    /// SIGSTOP for a minute.
    #[serde(rename = "pause-60s")]
    #[value(name = "pause-60s")]
    PauseLong,
    /// What was not synced is lost.
    PowerCut,
    /// SIGKILL to the one that leads.
    LeaderKill,
    /// SIGSTOP to the one that leads.
    LeaderPause,
    /// One that does not lead is cut off from the others.
    MinorityPartition,
    /// The one that leads is cut off from the others.
    MajorityPartition,
    /// The one that leads is heard by nobody, and hears all.
    OneWayPartition,
    /// No majority can agree.
    QuorumLoss,
    /// History is forgotten while readers are away.
    Compaction,
    /// All data are gone.
    Wipe,
    /// The data are those of a backup.
    Restore,
    /// A watcher stops reading.
    SlowConsumer,
    /// A process of clients stands still for longer than its TTL.
    ClientPaused,
    /// The wall clock of the server jumps.
    ClockStep,
    /// The disk stands still most of the time.
    SlowFsync,
    /// The disk takes no more.
    DiskFull,
    /// The store takes no more.
    StoreFull,
    /// Many instances die at once.
    ExpiryStorm,
    /// Many instances come back at once.
    MassRejoin,
    /// The slots of the services move from node to node.
    SlotMigration,
    /// A replica takes over by a vote, without a word to its primary.
    FailoverForce,
    /// A replica takes over by its own decision.
    FailoverTakeover,
    /// The primary is cut off together with the writers, and a replica is promoted.
    SplitBrain,
    /// Other hands write what nobody can read.
    MalformedFlood,
}

impl Fault {
    /// All of them, in the order of tables.
    #[must_use]
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// What there is to know of it.
    #[must_use]
    pub fn row(self) -> &'static Row {
        catalogue::row(self)
    }

    /// As it is written in tables, in histories and on the command line.
    #[must_use]
    pub fn id(self) -> &'static str {
        self.row().id
    }

    /// What it is to `backend`; none if it does not apply.
    #[must_use]
    pub fn on(self, backend: Backend) -> Option<&'static Cell> {
        self.row().cells.iter().find(|cell| cell.backend == backend)
    }

    /// Whether it can be in place together with another: neither undoes the other, nor keeps it from being healed, whichever comes first.
    #[must_use]
    pub fn goes_with(self, other: Self) -> bool {
        go_together(self.row().strikes, other.row().strikes)
    }

    /// Whether on `backend` it can strike first and `second` soon after, and both can bite, and be proved to.
    #[must_use]
    pub fn can_precede(self, second: Self, backend: Backend) -> bool {
        let strikes = |fault: Self| {
            let in_memory = fault.row().strikes_in_memory.filter(|_| backend == Backend::Memory);
            in_memory.unwrap_or(fault.row().strikes)
        };
        go_together(strikes(self), strikes(second))
            && second.bites_beside(self, true, backend)
            && self.bites_beside(second, false, backend)
    }

    /// Whether it can bite beside another, which strikes before it, or after.
    fn bites_beside(self, other: Self, struck_before: bool, backend: Backend) -> bool {
        let (halts, lasts) = (other.row().halts, other.row().lasts);
        let answers =
            !matches!((halts, backend.is_single()), (Halts::AllServers, _) | (Halts::OneServer, true));
        let writes = answers && halts != Halts::Writes;
        match self.row().needs_beside {
            Beside::Nothing => true,
            Beside::AnswersAtFirst => answers || !struck_before || lasts <= SOON,
            Beside::AnswersAtTimes => answers || lasts + SOON <= self.row().lasts,
            Beside::Writes => writes || lasts * 3 < self.row().lasts,
        }
    }

    /// All that apply to `backend`.
    pub fn of(backend: Backend) -> impl Iterator<Item = Self> {
        Self::all().iter().copied().filter(move |fault| fault.on(backend).is_some())
    }
}

/// A server that stands still for no longer than this is waited for; as long it must serve to be seen to.
const SOON: Duration = Duration::from_secs(2);

fn go_together(one: Strikes, other: Strikes) -> bool {
    use Strikes::{Clients, Links, LinksAndServers, Servers};
    matches!(
        (one, other),
        (Links, Servers | Clients)
            | (Servers, Links | Clients)
            | (LinksAndServers, Clients)
            | (Clients, Links | Servers | LinksAndServers)
    )
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}
