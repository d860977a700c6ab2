//! What there is to know of a fault.

use std::time::Duration;

use registry_core::Durability;

use super::super::backend::Backend;
use super::super::verdict::Verdict;
use super::Fault;
use crate::claims::Claim;

/// The number of an invariant: 7 is I7.
pub type Invariant = u8;

/// What there is to know of a fault, fixed before anything runs.
#[derive(Debug)]
pub struct Row {
    /// Which.
    pub fault: Fault,
    /// As it is written everywhere.
    pub id: &'static str,
    /// What happens, in a sentence.
    pub what: &'static str,
    /// How it is injected.
    pub injected: &'static str,
    /// What the machine must offer.
    pub needs: Needs,
    /// How it is shown to have bitten.
    pub proof: &'static str,
    /// Which invariants it puts to the test more than others do.
    pub invariants: &'static [Invariant],
    /// Which of the five claims it is about.
    pub claims: &'static [Claim],
    /// Who injects it.
    pub struck_by: StruckBy,
    /// What it strikes.
    pub strikes: Strikes,
    /// What it strikes of the registry in memory, where that is something else.
    pub strikes_in_memory: Option<Strikes>,
    /// What stands still meanwhile.
    pub halts: Halts,
    /// What must go on beside it, or it cannot bite, or not be proved to.
    pub needs_beside: Beside,
    /// Whether it interrupts watches, or what they are told.
    pub bites_watches: bool,
    /// How long it lasts, unless told otherwise.
    pub lasts: Duration,
    /// Whether it takes so long that it is left out where time is short: with `--quick`, and in pairs.
    pub long: bool,
    /// To whom it applies.
    pub cells: &'static [Cell],
}

/// What the machine must offer for a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing but the servers.
    Nothing,
    /// Root that may mount a loop device, for a disk of their own for the servers.
    LoopDevice,
    /// A C compiler, for a clock of its own for the server.
    Compiler,
}

impl Needs {
    /// Whether only root can do it.
    #[must_use]
    pub fn root(self) -> bool {
        self == Self::LoopDevice
    }
}

/// Who injects a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StruckBy {
    /// The stand, to servers and links.
    Stand,
    /// The runner, to the processes of clients, or to what they do. The stand does nothing, and proves nothing.
    Runner,
}

/// What a fault strikes: of two that strike the same, one can undo the other, or keep it from being injected, proved or healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strikes {
    /// Nothing.
    Nothing,
    /// Links between clients and servers.
    Links,
    /// Servers, what they store, and links between them.
    Servers,
    /// Both.
    LinksAndServers,
    /// Clients.
    Clients,
}

/// What stands still while a fault is in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halts {
    /// Nothing for long.
    Nothing,
    /// One server answers nobody; the only one, where there is no other.
    OneServer,
    /// No server answers anybody.
    AllServers,
    /// Servers answer, and write nothing, or hardly anything.
    Writes,
}

/// What a fault needs of servers while another one is in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// A server answers when it strikes: on a link to one that does not, nothing is felt.
    AnswersAtFirst,
    /// A server answers at some times while it lasts.
    AnswersAtTimes,
    /// Much is written while it lasts.
    Writes,
}

/// A fault on a backend.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// Who is put under it.
    pub backend: Backend,
    /// What is expected of it.
    pub expected: Expected,
    /// Whether the store itself may lose writes that it has acknowledged.
    pub loses: Loses,
}

/// Whether a store may lose writes that it has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loses {
    /// It may not.
    Nothing,
    /// It may, unless the registry claims that much in `guarantees()`.
    UnlessClaimed(Durability),
    /// It may, whatever is claimed: the data are taken away.
    Everything,
}

impl Cell {
    pub(super) const fn new(backend: Backend, expected: Expected) -> Self {
        Self { backend, expected, loses: Loses::Nothing }
    }

    /// The same, where the store may lose what it has acknowledged.
    pub(super) const fn lossy(self, loses: Loses) -> Self {
        Self { loses, ..self }
    }

    /// Whether the store itself may lose writes that it has acknowledged.
    #[must_use]
    pub fn loses(&self) -> bool {
        self.loses != Loses::Nothing
    }
}

/// What is expected of a cell. A difference either way is a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// [`Verdict::Survived`].
    Survived,
    /// [`Verdict::Degraded`].
    Degraded,
    /// One of these two: it depends on who was just doing what.
    SurvivedOrDegraded,
    /// [`Verdict::Violated`], with one of these invariants at least.
    Violated(&'static [Invariant]),
}

impl Expected {
    /// Whether a verdict, with the invariants that were broken, is as expected.
    #[must_use]
    pub fn fits(self, verdict: Verdict, broken: &[Invariant]) -> bool {
        let good = matches!(verdict, Verdict::Survived | Verdict::Degraded);
        match self {
            Self::Survived => verdict == Verdict::Survived,
            Self::Degraded => verdict == Verdict::Degraded,
            Self::SurvivedOrDegraded => good,
            Self::Violated(which) => {
                verdict == Verdict::Violated && which.iter().any(|one| broken.contains(one))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Expected, Verdict};

    #[test]
    fn a_verdict_is_as_expected_only_with_the_invariants_that_were_named() {
        assert!(Expected::Survived.fits(Verdict::Survived, &[]));
        assert!(!Expected::Survived.fits(Verdict::Degraded, &[]));
        assert!(Expected::SurvivedOrDegraded.fits(Verdict::Degraded, &[]));
        assert!(!Expected::SurvivedOrDegraded.fits(Verdict::Violated, &[10]));
        assert!(Expected::Violated(&[7, 8]).fits(Verdict::Violated, &[2, 8]));
        assert!(!Expected::Violated(&[7, 8]).fits(Verdict::Violated, &[2]));
        for unknown in [Verdict::Down, Verdict::Unknown, Verdict::Invalid] {
            for expected in [
                Expected::Survived,
                Expected::Degraded,
                Expected::SurvivedOrDegraded,
                Expected::Violated(&[7]),
            ] {
                assert!(!expected.fits(unknown, &[7]), "{expected:?} {unknown:?}");
            }
        }
    }
}
