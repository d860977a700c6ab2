//! Which cells are wanted, in which order, and which of them are there. Pure.

use std::collections::BTreeMap;

use super::backend::Backend;
use super::fault::{Fault, Strikes};
use super::plan::Cell;

/// So many seeds a record has of each fault that bites watches, on each backend of ours.
pub const SEEDS_FOR_WATCHES: u64 = 20;
/// And so many of all others.
pub const SEEDS_ELSEWHERE: u64 = 3;
/// So many pairs a record has: twenty on each backend.
pub const PAIRS: u64 = 140;

/// With how many seeds a record has a fault on a backend. Few show that the positive control is caught.
#[must_use]
pub fn seeds_for(fault: Fault, backend: Backend) -> u64 {
    if fault.row().bites_watches && backend.is_ours() { SEEDS_FOR_WATCHES } else { SEEDS_ELSEWHERE }
}

/// What may be played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// On these.
    pub backends: Vec<Backend>,
    /// By these.
    pub faults: Vec<Fault>,
    /// The first seed.
    pub seed: u64,
}

impl Scope {
    /// Everything, from `seed` on.
    #[must_use]
    pub fn all(seed: u64) -> Self {
        Self { backends: Backend::ALL.to_vec(), faults: Fault::all().to_vec(), seed }
    }

    /// Each fault on each backend that it applies to: what is done soonest first, and backends in turn.
    #[must_use]
    pub fn singles(&self) -> Vec<(Fault, Backend)> {
        let mut singles: Vec<(Fault, Backend)> = self
            .faults
            .iter()
            .flat_map(|fault| self.backends.iter().map(|backend| (*fault, *backend)))
            .filter(|(fault, backend)| fault.on(*backend).is_some())
            .collect();
        singles.sort_by_key(|(fault, backend)| (fault.row().lasts, *fault, *backend));
        singles.dedup();
        singles
    }

    fn cell(&self, (fault, backend): (Fault, Backend), round: u64) -> Cell {
        Cell { backend, faults: vec![fault], seed: self.seed.wrapping_add(round) }
    }

    /// Each fault on each backend with so many seeds, seed by seed; also what takes long.
    #[must_use]
    pub fn each(&self, seeds: u64) -> Vec<Cell> {
        let singles = self.singles();
        let of_round = |round| singles.iter().map(move |single| self.cell(*single, round));
        (0..seeds).flat_map(of_round).collect()
    }

    /// The pair of this number: the same for the same scope. Backends take turns. None if on the backend whose turn it is no two of the faults go
    /// together and can both bite.
    #[must_use]
    pub fn pair(&self, number: u64) -> Option<Cell> {
        let size = u64::try_from(self.backends.len()).ok().filter(|size| *size > 0)?;
        let backend = *self.backends.get(usize::try_from(number % size).ok()?)?;
        let fits = |fault: &&Fault| fault.on(backend).is_some() && !fault.row().long;
        let faults: Vec<Fault> = self.faults.iter().filter(fits).copied().collect();
        let mut pairs = Vec::new();
        for one in &faults {
            let others = faults.iter().filter(|second| one.can_precede(**second, backend));
            pairs.extend(others.map(|other| vec![*one, *other]));
        }
        // The order within a pair is drawn, too: it says which of the two strikes first.
        let seed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number);
        let drawn = fastrand::Rng::with_seed(seed).choice(pairs)?;
        Some(Cell { backend, faults: drawn, seed: self.seed.wrapping_add(number / size) })
    }

    /// These pairs on each backend that both faults apply to, with so many seeds, seed by seed; also those that are not drawn.
    #[must_use]
    pub fn named(&self, pairs: &[[Fault; 2]], seeds: u64) -> Vec<Cell> {
        let applies = |pair: &[Fault; 2], backend| pair.iter().all(|fault| fault.on(backend).is_some());
        let of_round = |round| {
            let on_each =
                pairs.iter().flat_map(|pair| self.backends.iter().map(move |backend| (pair, *backend)));
            on_each.filter(|(pair, backend)| applies(pair, *backend)).map(move |(pair, backend)| Cell {
                backend,
                faults: pair.to_vec(),
                seed: self.seed.wrapping_add(round),
            })
        };
        (0..seeds).flat_map(of_round).collect()
    }

    /// The pairs of these numbers.
    pub fn pairs(&self, numbers: std::ops::Range<u64>) -> impl Iterator<Item = Cell> + use<'_> {
        numbers.filter_map(|number| self.pair(number))
    }

    /// What a record has: seed by seed each fault by itself, in the end those that take long, and then pairs.
    #[must_use]
    pub fn record(&self) -> Vec<Cell> {
        let singles = self.singles();
        let (long, usual): (Vec<_>, Vec<_>) = singles.into_iter().partition(|(fault, _)| fault.row().long);
        let mut cells = Vec::new();
        for group in [usual, long] {
            for round in 0..SEEDS_FOR_WATCHES.max(SEEDS_ELSEWHERE) {
                let wanted = group.iter().filter(|(fault, backend)| round < seeds_for(*fault, *backend));
                cells.extend(wanted.map(|single| self.cell(*single, round)));
            }
        }
        cells.extend(self.pairs(0..PAIRS));
        cells
    }

    /// What a record has, and then further seeds and pairs without end. Nothing comes twice.
    pub fn soak(&self) -> impl Iterator<Item = Cell> + use<'_> {
        let singles = self.singles();
        let usual: Vec<_> = singles.iter().filter(|(fault, _)| !fault.row().long).copied().collect();
        let again = if usual.is_empty() { singles } else { usual };
        // Of nothing there is no more.
        let rounds = if again.is_empty() { 0..0 } else { 0..u64::MAX };
        let per_round = u64::try_from(self.backends.len()).unwrap_or(0);
        let further = rounds.flat_map(move |round| {
            let of_round =
                |single: &(Fault, Backend)| self.cell(*single, seeds_for(single.0, single.1) + round);
            let singles: Vec<Cell> = again.iter().map(of_round).collect();
            let from = PAIRS + round * per_round;
            singles.into_iter().chain(self.pairs(from..from + per_round))
        });
        self.record().into_iter().chain(further)
    }
}

/// Whether a cell is one of two faults at once.
#[must_use]
pub fn is_pair(cell: &Cell) -> bool {
    cell.faults.len() > 1
}

/// What is quick: faults that bite watches, and the control.
#[must_use]
pub fn is_quick(fault: Fault) -> bool {
    !fault.row().long && (fault.row().bites_watches || fault.row().strikes == Strikes::Nothing)
}

/// How much of a record is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Of each fault on each backend: how many seeds are there, and how many a record has.
    pub singles: BTreeMap<(Fault, Backend), [u64; 2]>,
    /// The same of all pairs.
    pub pairs: [u64; 2],
}

impl Coverage {
    /// How much of a record `cells` are, each of which is counted once. More than a record has counts no more.
    #[must_use]
    pub fn of<'a>(cells: impl IntoIterator<Item = &'a Cell>) -> Self {
        let wanted = Scope::all(0).singles();
        let mut singles: BTreeMap<(Fault, Backend), [u64; 2]> =
            wanted.into_iter().map(|single| (single, [0, seeds_for(single.0, single.1)])).collect();
        let mut pairs = [0, PAIRS];
        for cell in cells {
            match &cell.faults[..] {
                [fault] => {
                    if let Some([there, _]) = singles.get_mut(&(*fault, cell.backend)) {
                        *there += 1;
                    }
                }
                _ => pairs[0] += 1,
            }
        }
        Self { singles, pairs }
    }

    /// How many cells of those that a record has are there, and how many it has.
    #[must_use]
    pub fn total(&self) -> [u64; 2] {
        let all = self.singles.values().chain([&self.pairs]);
        all.fold([0, 0], |[there, wanted], [one, of]| [there + one.min(of), wanted + of])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_record_has_twenty_seeds_of_what_bites_watches_on_ours_and_three_of_the_rest() {
        let cells = Scope::all(5).record();
        let unique: BTreeSet<&Cell> = cells.iter().collect();
        assert_eq!(unique.len(), cells.len(), "nothing twice");
        for (fault, backend) in Scope::all(5).singles() {
            let of_it = cells.iter().filter(|cell| cell.faults == [fault] && cell.backend == backend);
            let seeds: Vec<u64> = of_it.map(|cell| cell.seed).collect();
            let many = if fault.row().bites_watches && backend != Backend::RedisNaive { 20 } else { 3 };
            assert_eq!(seeds, (5..5 + many).collect::<Vec<_>>(), "{fault} on {backend}");
        }
        assert_eq!(cells.iter().filter(|cell| is_pair(cell)).count(), 140);
        let [there, wanted] = Coverage::of(&cells).total();
        assert_eq!((there, wanted), (cells.len() as u64, cells.len() as u64));
    }

    #[test]
    fn what_is_done_soonest_comes_first_and_neighbours_are_of_different_backends() {
        let scope = Scope::all(1);
        let cells = scope.record();
        let long = scope.singles().iter().filter(|(fault, _)| fault.row().long).count();
        let first = &cells[..scope.singles().len() - long];
        assert!(first.iter().all(|cell| cell.seed == 1 && !cell.faults[0].row().long));
        let lasts: Vec<_> = first.iter().map(|cell| cell.faults[0].row().lasts).collect();
        assert!(lasts.is_sorted(), "{lasts:?}");
        let alike = first.windows(2).filter(|two| two[0].backend == two[1].backend).count();
        assert!(alike < 5, "{alike}");
    }

    #[test]
    fn pairs_are_drawn_from_the_seed_and_go_together_on_their_backend() {
        let pairs = |seed| Scope::all(seed).pairs(0..140).collect::<Vec<_>>();
        assert_eq!(pairs(1), pairs(1));
        assert_ne!(pairs(1), pairs(2));
        for cell in pairs(1) {
            let [one, other] = cell.faults[..] else { panic!("{cell}") };
            assert!(one.can_precede(other, cell.backend) && !one.row().long && !other.row().long, "{cell}");
            assert!(one.on(cell.backend).is_some() && other.on(cell.backend).is_some(), "{cell}");
        }
        for backend in Backend::ALL {
            assert_eq!(pairs(1).iter().filter(|cell| cell.backend == backend).count(), 20, "{backend}");
        }
        let kinds: BTreeSet<Vec<Fault>> = pairs(1).into_iter().map(|cell| cell.faults).collect();
        assert!(kinds.len() > 60, "{}", kinds.len());
    }

    #[test]
    fn a_pair_that_is_named_is_played_in_its_order_with_the_seeds_that_were_asked_for() {
        let scope = Scope { backends: vec![Backend::Memory, Backend::Redis], ..Scope::all(17) };
        let cells = scope.named(&[[Fault::Restore, Fault::BlackHoleToServer]], 2);
        let redis = |seed| Cell {
            backend: Backend::Redis,
            faults: vec![Fault::Restore, Fault::BlackHoleToServer],
            seed,
        };
        assert_eq!(cells, [redis(17), redis(18)]);
        // As a record that drew it had it.
        let named = scope.named(&[[Fault::ServerKill, Fault::BlackHole]], 1);
        assert_eq!(named.len(), 1);
        assert!(!Fault::ServerKill.can_precede(Fault::BlackHole, Backend::Redis));
    }

    #[test]
    fn a_soak_goes_on_after_the_record_and_never_repeats_itself() {
        let scope = Scope::all(1);
        let record = scope.record();
        let cells: Vec<Cell> = scope.soak().take(record.len() + 500).collect();
        assert_eq!(cells[..record.len()], record[..]);
        let unique: BTreeSet<&Cell> = cells.iter().collect();
        assert_eq!(unique.len(), cells.len());
        assert!(cells[record.len()..].iter().any(is_pair));
        assert!(cells[record.len()..].iter().all(|cell| cell.faults.iter().all(|fault| !fault.row().long)));
    }

    #[test]
    fn a_soak_of_what_applies_to_nobody_ends() {
        let nobody = Scope { backends: vec![Backend::Memory], faults: vec![Fault::LeaderKill], seed: 1 };
        assert_eq!(nobody.soak().count(), 0);
        let alone = Scope { backends: vec![Backend::Memory], faults: vec![Fault::Wipe], seed: 1 };
        assert_eq!(alone.soak().take(30).filter(|cell| cell.faults == [Fault::Wipe]).count(), 30);
        let long = Scope { backends: vec![Backend::Etcd], faults: vec![Fault::PauseLong], seed: 1 };
        assert_eq!(long.soak().take(30).count(), 30);
    }

    #[test]
    fn more_of_one_does_not_stand_for_less_of_another() {
        let wipes = Scope { backends: vec![Backend::Etcd], faults: vec![Fault::Wipe], seed: 1 }.each(50);
        assert_eq!(Coverage::of(&wipes).total()[0], 20);
    }
}
