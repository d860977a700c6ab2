//! The five claims, and the experiments on each.

pub(crate) mod clustering;
mod latency;
mod persistence;
mod pub_sub;
mod versioning;

use crate::experiment::Experiment;

/// A reason that is given against Redis as a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// 1
    Versioning,
    /// 2
    PubSub,
    /// 3
    Latency,
    /// 4
    Clustering,
    /// 5
    Persistence,
}

impl Claim {
    /// All, in the order in which they are given.
    pub const ALL: [Self; 5] =
        [Self::Versioning, Self::PubSub, Self::Latency, Self::Clustering, Self::Persistence];

    /// Its number, from 1: the first character of the ids of its experiments.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Versioning => 1,
            Self::PubSub => 2,
            Self::Latency => 3,
            Self::Clustering => 4,
            Self::Persistence => 5,
        }
    }

    /// In a word or two.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Versioning => "Versioning",
            Self::PubSub => "Pub/sub",
            Self::Latency => "Watch latency",
            Self::Clustering => "Clustering",
            Self::Persistence => "Persistence",
        }
    }

    /// The claim as it is made.
    #[must_use]
    pub fn wording(self) -> &'static str {
        match self {
            Self::Versioning => {
                "Redis has no versioning: a client cannot tell what it has missed, nor an old writer be kept out."
            }
            Self::PubSub => "Redis pub/sub is not fit for production: it loses messages.",
            Self::Latency => {
                "Watchers learn later through Redis than through etcd's watch: of a change, of a death, after an outage."
            }
            Self::Clustering => {
                "Redis replicates asynchronously: a fail-over loses acknowledged writes, where Raft does not."
            }
            Self::Persistence => {
                "Redis persists differently: what it has acknowledged may be lost, and what it keeps is paid for with every write."
            }
        }
    }

    /// Its experiments, in order.
    pub fn experiments(self) -> impl Iterator<Item = Box<dyn Experiment>> {
        let number = char::from_digit(self.number(), 10).unwrap_or_default();
        experiments().into_iter().filter(move |experiment| experiment.about().id.starts_with(number))
    }
}

/// All experiments, in order.
#[must_use]
pub fn experiments() -> Vec<Box<dyn Experiment>> {
    let of_claims = [
        versioning::experiments(),
        pub_sub::experiments(),
        latency::experiments(),
        clustering::experiments(),
        persistence::experiments(),
    ];
    of_claims.into_iter().flatten().collect()
}
