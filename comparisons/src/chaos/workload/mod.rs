//! What is played: which actors there are and what each does when, as a table that is drawn from a seed, and the actors that play it.
//!
//! The table is pure, and the same for the same seed. Whether an actor can do what the table says when it says so depends on the servers: an actor waits for its
//! answer, and what it is late for it leaves out.

mod draw;
mod looker;
mod owner;
mod stage;
mod troupe;
mod view;
mod watcher;
mod writer;

use serde::{Deserialize, Serialize};

pub use draw::{Mass, Shape};
pub use stage::{Phase, Stage};
pub use troupe::play;

use super::client::How;

/// Who does what in a run. Times are milliseconds since the play began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// What it was drawn from.
    pub seed: u64,
    /// The service that it is about.
    pub service: String,
    /// For how long instances are registered.
    pub ttl_ms: u64,
    /// Until when something is planned to change. After that who is registered goes on renewing, and who watches goes on watching.
    pub length_ms: u64,
    /// How many processes there are.
    pub processes: u32,
    /// The actors.
    pub actors: Vec<Actor>,
}

/// Who does something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// In which process, from 0.
    pub process: u32,
    /// The first of its numbers: no two actors of a run have the same.
    pub number: u32,
    /// What it does.
    pub part: Part,
}

impl Actor {
    /// Its name in the history.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}.{}", self.process, self.number)
    }
}

/// What an actor does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum Part {
    /// Means to be listed, and has somebody who sees to it: a `Registrar`, or what people write instead.
    Owner(Owner),
    /// Registers, renews, updates and leaves by itself, one instance after the other.
    Writer(Writer),
    /// Watches.
    Watcher(Habit),
    /// Keeps a view by a `Directory`.
    View,
    /// Lists all instances, again and again.
    Looker {
        /// How often.
        every_ms: u64,
    },
}

/// The life of one process that is an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Which instance.
    pub id: String,
    /// When it starts.
    pub starts_ms: u64,
    /// When it publishes another value.
    pub updates_ms: Vec<u64>,
    /// When and how it ends, if it does.
    pub ends: Option<(u64, End)>,
    /// Whether it reaches the store by the links of readers, which are struck.
    pub by_links: bool,
}

/// How an owner ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It drains for so many milliseconds, and leaves.
    Leaves(u64),
    /// It dies without a word.
    Crashes,
}

/// What a writer does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// Its second number: it has two clients, which take turns, so that an old incarnation asks by another than the newer one.
    pub second: u32,
    /// One instance after the other.
    pub lives: Vec<Life>,
}

/// One lease of a writer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Which instance.
    pub id: String,
    /// What it does if the id is taken.
    pub how: How,
    /// When it registers.
    pub starts_ms: u64,
    /// How often it updates.
    pub every_ms: u64,
    /// When it ends.
    pub ends_ms: u64,
    /// How it ends.
    pub end: LifeEnd,
}

/// How a lease of a writer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifeEnd {
    /// It deregisters.
    Leaves,
    /// It is not renewed any more.
    Crashes,
    /// The next one takes its id over, and it goes on as if nothing had happened: it renews, updates and deregisters, which must all come to nothing.
    GoesOn,
}

/// How a watcher watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Habit {
    /// From beginning to end.
    Through,
    /// Drops its watch and resumes it from its last cursor.
    Resumes {
        /// When it drops it, and for how long it is away.
        away_ms: Vec<(u64, u64)>,
    },
    /// Does not read for a while.
    Stops {
        /// From when on.
        at_ms: u64,
        /// For how long.
        for_ms: u64,
    },
}
