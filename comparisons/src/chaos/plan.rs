//! What a run will do, drawn from its seed before anything runs: the same seed, the same plan.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::backend::Backend;
use super::fault::{Fault, StruckBy};
use super::workload::{Mass, Shape, Workload};

/// From when on faults strike: everybody is registered by then, and has been told so.
const WARM_UP_MS: u64 = 3_000;

/// The second of a pair strikes so much later, at most.
const APART_MS: u64 = 1_500;

/// For so long writers go on writing after everything was healed.
const AFTERWARDS_MS: u64 = 2_500;

/// How many instances die or come back together.
const MASS: u32 = 100;

/// How often a writer updates while a watcher does not read: so often that what it is not told must be let go.
const FLOOD_MS: (u64, u64) = (4, 8);

/// One run: a backend, put under one fault or a pair.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cell {
    /// Who.
    pub backend: Backend,
    /// Under what.
    pub faults: Vec<Fault>,
    /// What all random choices come from.
    pub seed: u64,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<&str> = self.faults.iter().map(|fault| fault.id()).collect();
        write!(f, "{} under {}, seed {}", self.backend, faults.join(" and "), self.seed)
    }
}

/// What a cell plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Who does what.
    pub workload: Workload,
    /// What is struck, by time.
    pub strikes: Vec<Strike>,
}

/// One fault, once. Times are milliseconds since the play began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// Which.
    pub fault: Fault,
    /// When it is injected.
    pub at_ms: u64,
    /// For how long it lasts, before it is healed.
    pub for_ms: u64,
    /// The process of clients that it strikes, if it strikes one.
    pub process: u32,
    /// What the stand draws its target from.
    pub seed: u64,
}

impl Cell {
    /// What it plays.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut shape = Shape::default();
        let mut at_ms = WARM_UP_MS + random.u64(0..500);
        let mut strikes = Vec::new();
        for fault in self.faults.iter().copied().filter(|fault| *fault != Fault::None) {
            let for_ms = u64::try_from(fault.row().lasts.as_millis()).unwrap_or(u64::MAX);
            let strike = Strike {
                fault,
                at_ms,
                for_ms,
                process: random.u32(0..shape.processes),
                seed: random.u64(..),
            };
            shaped(&mut shape, &strike);
            strikes.push(strike);
            at_ms += random.u64(0..APART_MS);
        }
        let healed = strikes.iter().map(|strike| strike.at_ms + strike.for_ms).max();
        shape.length_ms = healed.unwrap_or(WARM_UP_MS + 4_000) + AFTERWARDS_MS;
        Plan { workload: Workload::draw(self.seed, &shape), strikes }
    }

    /// How long it takes, roughly, in seconds, where views converge within `convergence_ms`.
    #[must_use]
    pub fn seconds(&self, convergence_ms: u64) -> f64 {
        let plan = self.plan();
        (plan.workload.length_ms + convergence_ms + plan.workload.ttl_ms) as f64 / 1e3 + 6.0
    }
}

/// What clients do themselves is part of the workload.
fn shaped(shape: &mut Shape, strike: &Strike) {
    let (from, to) = (strike.at_ms, strike.at_ms + strike.for_ms);
    match strike.fault {
        Fault::SlowConsumer => {
            shape.stops = Some((from, to));
            shape.every_ms = FLOOD_MS;
        }
        Fault::ExpiryStorm => {
            shape.mass = Some(Mass { size: MASS, joins_ms: 500, dies_ms: Some(from), rejoins_ms: None });
        }
        Fault::MassRejoin => {
            let dies_ms = Some(from.saturating_sub(1_000));
            shape.mass = Some(Mass { size: MASS, joins_ms: 500, dies_ms, rejoins_ms: Some(from) });
        }
        fault => debug_assert!(fault.row().struck_by == StruckBy::Stand || fault == Fault::ClientPaused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(faults: &[Fault], seed: u64) -> Cell {
        Cell { backend: Backend::Redis, faults: faults.to_vec(), seed }
    }

    #[test]
    fn the_same_seed_has_the_same_plan_and_another_one_another() {
        let pair = [Fault::LinkCut, Fault::ServerKill];
        assert_eq!(cell(&pair, 7).plan(), cell(&pair, 7).plan());
        assert_ne!(cell(&pair, 7).plan(), cell(&pair, 8).plan());
    }

    #[test]
    fn faults_of_a_pair_are_in_place_together_and_healed_before_writing_ends() {
        for seed in 0..100 {
            let plan = cell(&[Fault::LinkCut, Fault::ServerKill], seed).plan();
            let [first, second] = plan.strikes[..] else { panic!("{:?}", plan.strikes) };
            assert!(second.at_ms < first.at_ms + first.for_ms, "they never meet: {:?}", plan.strikes);
            let healed = plan.strikes.iter().map(|strike| strike.at_ms + strike.for_ms).max().unwrap();
            assert!(healed + AFTERWARDS_MS <= plan.workload.length_ms);
        }
    }

    #[test]
    fn nothing_is_struck_in_the_control() {
        assert_eq!(cell(&[Fault::None], 1).plan().strikes, []);
    }

    #[test]
    fn every_fault_can_be_planned_on_everybody_it_applies_to() {
        for backend in Backend::ALL {
            for fault in Fault::of(backend) {
                let plan = Cell { backend, faults: vec![fault], seed: 1 }.plan();
                assert_eq!(plan.strikes.len(), usize::from(fault != Fault::None), "{fault}");
            }
        }
    }
}
