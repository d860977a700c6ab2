//! What was asked, told and struck in a run, as plain data: one JSON object a line.
//!
//! Times are of one monotonic clock, which all processes of a machine share, so that lines of several processes can be merged and compared.
//! A registry without revisions leaves them out: its history can be checked for what the values show.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::backend::Backend;
use super::fault::Fault;

/// A moment: microseconds since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct At(pub u64);

impl At {
    /// So many milliseconds later.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1_000)))
    }

    /// Milliseconds since `earlier`; 0 if that is later.
    #[must_use]
    pub fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1_000_000, self.0 / 1_000 % 1_000)
    }
}

/// A place in the history of a store. Revisions can be compared within an epoch only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The stretch of history.
    pub epoch: u64,
    /// The last revision that is included.
    pub revision: u64,
}

/// An instance as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Listed {
    /// Which.
    pub id: String,
    /// What it carries. Every registration and every update of a run writes a value of its own.
    pub value: u64,
    /// Whose it is; none for a registry that has no incarnations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
    /// When it was written last; none for a registry that has no revisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<u64>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// The first one: what is played.
    Run(Run),
    /// Somebody asked something. Written when the answer came, or when it was given up.
    Operation(Operation),
    /// A watcher was told something.
    Told(Told),
    /// What a view of a `Directory` shows. Written whenever its list or its freshness changes.
    Viewed(Viewed),
    /// An owner means to be listed, or not to be; or learned what became of it.
    Owner(Owner),
    /// The nemesis.
    Nemesis(Nemesis),
    /// A change as the store itself tells it, read past all faults. Only where a store has such a log.
    Truth(Truth),
    /// One of the last reads, after everything was healed and the time to converge has passed. Read past all faults.
    Final(Final),
    /// What else is to be known, such as memory used.
    Note(Note),
}

/// What is played, and what is promised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Of this schema.
    pub schema: u32,
    /// Who is put under faults.
    pub backend: Backend,
    /// By which faults, one or a pair.
    pub faults: Vec<Fault>,
    /// What all random choices came from.
    pub seed: u64,
    /// The service that it is about.
    pub service: String,
    /// Time to live of a lease, in ms, as granted.
    pub ttl_ms: u64,
    /// How long after its deadline an entry may still be listed, in ms: `guarantees().expiry_bound`.
    pub expiry_bound_ms: u64,
    /// Within what time after faults end every watch equals lookup, in ms: `guarantees().convergence`.
    pub convergence_ms: u64,
    /// Whether the registry says that lookups are linearizable.
    pub linearizable: bool,
    /// Whether it says that every gap is told.
    pub tells_gaps: bool,
    /// Whether it says that deadlines hold through disruptions; otherwise an entry may stay for one TTL longer than the disruption.
    pub exact_deadlines: bool,
    /// Whether it says that an acknowledged write survives what is struck here (a fail-over, a power cut, a wipe).
    pub keeps_acknowledged: bool,
    /// Whether it says that a disruption may end leases that have been renewed.
    #[serde(default)]
    pub may_expire_early: bool,
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Register.
    Register,
    /// One heartbeat.
    Keepalive,
    /// Another value in place.
    Update,
    /// Leave.
    Deregister,
    /// All instances.
    Lookup,
}

/// What a client asked for, and what it was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Which client asked: `process.number`.
    pub client: String,
    /// What.
    pub verb: Verb,
    /// About which instance; none for a lookup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Under which incarnation, if it had one when it asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
    /// What it wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// When it asked.
    pub invoked: At,
    /// When the answer came, or it gave up.
    pub returned: At,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Outcome {
    /// It is done.
    Ok {
        /// At which revision, of a write.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<u64>,
        /// The incarnation that was given, of a registration.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incarnation: Option<u64>,
        /// At which position, of a lookup.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<Position>,
        /// What was listed, of a lookup.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        listed: Option<Vec<Listed>>,
    },
    /// It is certain that it was not done: `lease_lost`, `already_registered`, …
    Failed {
        /// The kind of error.
        kind: String,
    },
    /// It may have been done, may yet be, or not: `timeout`, `unavailable`, or the future was dropped.
    Unknown {
        /// The kind of error.
        kind: String,
    },
}

/// What a watcher was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Which: `process.number`. A watch that is resumed from a cursor after it was dropped is the same watcher.
    pub watcher: String,
    /// When it was read.
    pub at: At,
    /// What.
    pub item: Item,
}

/// What a watcher is told, and what it does itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Item {
    /// It starts to watch, from a cursor or from nothing.
    Started {
        /// Where it goes on from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Position>,
    },
    /// All instances anew.
    Reset {
        /// At which position.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<Position>,
        /// Why; none for the first list and of a registry that does not say that something may be missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gap: Option<String>,
        /// The instances.
        listed: Vec<Listed>,
    },
    /// Changes of one revision.
    Changes {
        /// At which position.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<Position>,
        /// The changes.
        changes: Vec<Change>,
    },
    /// Nothing changed up to here.
    Progress {
        /// Where.
        position: Position,
    },
    /// Current again.
    Live {
        /// Where.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<Position>,
    },
    /// The registry is out of reach.
    Stale {
        /// The kind of error.
        error: String,
    },
    /// It stops reading, and does not drop the watch.
    StopsReading,
    /// It reads again.
    ReadsAgain,
    /// It dropped the watch.
    Dropped,
    /// The stream ended by itself, which it should not.
    Ended,
}

/// A change to one instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Change {
    /// This is its entry now.
    Put(Listed),
    /// It is gone.
    Delete {
        /// Which.
        id: String,
        /// Why, if that is told: `deregistered`, `expired`, `unknown`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
    },
}

/// What a view shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Viewed {
    /// Which view.
    pub view: String,
    /// When it was looked at.
    pub at: At,
    /// Whether it says that it is current; otherwise it is marked as stale.
    pub live: bool,
    /// When it was last proven current, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<At>,
    /// What it lists; none if it was never told anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<Vec<Listed>>,
}

/// What an owner does, or learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Owner {
    /// Which instance.
    pub id: String,
    /// Who owns it: `process.number`. A restarted process is another owner of the same id.
    pub owner: String,
    /// When.
    pub at: At,
    /// What.
    pub step: Step,
}

/// What an owner does, or learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// From now on it means to be listed, with a `Registrar` that sees to it.
    Starts,
    /// Its registrar says that it is registered.
    Registered,
    /// Its registrar has lost its place, or contact, and tries to come back.
    Recovering,
    /// Its registrar says that somebody newer has the id.
    Fenced,
    /// It asks to leave: from now on it does not mean to be listed.
    Leaves,
    /// It was told that it has left.
    Left,
    /// It died without a word.
    Crashes,
}

/// What the nemesis did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nemesis {
    /// Which fault.
    pub fault: Fault,
    /// When.
    pub at: At,
    /// What.
    pub act: Act,
}

/// What the nemesis does with a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Act {
    /// It begins to inject it.
    Strikes,
    /// It is in place.
    Struck {
        /// What was done, such as `SIGKILL to etcd-1, the leader`.
        what: String,
    },
    /// It begins to heal it.
    Heals,
    /// Servers and network are as before, and serve.
    Healed {
        /// Whether it provably bit.
        bitten: bool,
        /// What shows that: a probe, or a count of bytes.
        proof: String,
    },
}

/// A change as the store tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// At which position.
    pub position: Position,
    /// In which history of that epoch, counted from 0. One that takes the place of another, as a backup does, goes by the same name until a client notices;
    /// each is told from its beginning.
    #[serde(default, skip_serializing_if = "is_first")]
    pub branch: u32,
    /// What changed.
    pub change: Change,
    /// Whether that is read from a list, so that what happened between this and what stands before it was not seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub listed: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn is_first(branch: &u32) -> bool {
    *branch == 0
}

/// One of the last reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Final {
    /// When it was asked for.
    pub invoked: At,
    /// At which position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// What is listed.
    pub listed: Vec<Listed>,
}

/// What else is to be known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// When.
    pub at: At,
    /// Such as `resident_kb`.
    pub what: String,
    /// Its value, if it is a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figure: Option<f64>,
}
