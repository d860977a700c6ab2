//! Draws a workload from a seed. Pure.

use fastrand::Rng;

use super::{Actor, End, Habit, Life, LifeEnd, Owner, Part, Workload, Writer};
use crate::chaos::client::How;

/// How much of each there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Instances that have somebody who sees to it that they are listed; some of them are restarted, which is one owner more.
    pub owners: u32,
    /// Who registers and updates by itself.
    pub writers: u32,
    /// Who watches.
    pub watchers: u32,
    /// Views by a `Directory`.
    pub views: u32,
    /// Who lists.
    pub lookers: u32,
    /// How many processes share them.
    pub processes: u32,
    /// For how long something changes.
    pub length_ms: u64,
    /// For how long instances are registered.
    pub ttl_ms: u64,
    /// How often a writer updates, at the most and at the least: each draws its own for each lease. For a flood make it short.
    pub every_ms: (u64, u64),
    /// From when to when the watcher that stops reading does not read; by default from a quarter to three quarters of the length.
    pub stops: Option<(u64, u64)>,
    /// Instances that do something together.
    pub mass: Option<Mass>,
}

impl Default for Shape {
    /// What a cell of the matrix is played with: some 65 changes a second.
    fn default() -> Self {
        Self {
            owners: 9,
            writers: 6,
            watchers: 4,
            views: 2,
            lookers: 2,
            processes: 3,
            length_ms: 12_000,
            ttl_ms: 2_000,
            every_ms: (70, 160),
            stops: None,
            mass: None,
        }
    }
}

/// Instances that do something together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mass {
    /// How many.
    pub size: u32,
    /// When they join.
    pub joins_ms: u64,
    /// When they die without a word, if they do.
    pub dies_ms: Option<u64>,
    /// When others join in their place, if they do.
    pub rejoins_ms: Option<u64>,
}

/// What becomes of an owner.
#[derive(Clone, Copy)]
enum Fate {
    /// It lasts.
    Lasts,
    /// It leaves, and another process takes its place later.
    Rolls,
    /// It crashes, and stays away.
    Crashes,
    /// It crashes, and another process takes its id before its lease is over.
    Restarts,
    /// Another process takes its id while it lives.
    Doubled,
}

/// In this order, again and again: half of them last.
const FATES: [Fate; 9] = [
    Fate::Lasts,
    Fate::Rolls,
    Fate::Lasts,
    Fate::Restarts,
    Fate::Lasts,
    Fate::Doubled,
    Fate::Lasts,
    Fate::Crashes,
    Fate::Lasts,
];

/// Ids that several writers use.
const SHARED: u32 = 2;
/// Ids of each writer.
const OWN: u32 = 3;

impl Workload {
    /// The workload of a seed: the same for the same seed and shape.
    #[must_use]
    pub fn draw(seed: u64, shape: &Shape) -> Self {
        let mut draw = Draw {
            random: Rng::with_seed(seed),
            shape,
            next: 0,
            processes: shape.processes.max(1),
            actors: vec![],
        };
        for index in 0..shape.owners {
            draw.owner(index);
        }
        for index in 0..shape.writers {
            draw.writer(index);
        }
        for index in 0..shape.watchers {
            draw.watcher(index);
        }
        for _ in 0..shape.views {
            draw.add(Part::View);
        }
        for _ in 0..shape.lookers {
            let every_ms = draw.random.u64(230..=270);
            draw.add(Part::Looker { every_ms });
        }
        if let Some(mass) = shape.mass {
            draw.mass(mass);
        }
        Self {
            seed,
            service: "chaos.rpc".to_owned(),
            ttl_ms: shape.ttl_ms,
            length_ms: shape.length_ms,
            processes: draw.processes,
            actors: draw.actors,
        }
    }
}

struct Draw<'a> {
    random: Rng,
    shape: &'a Shape,
    next: u32,
    processes: u32,
    actors: Vec<Actor>,
}

impl Draw<'_> {
    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    /// One process after the other gets an actor.
    fn add(&mut self, part: Part) {
        let number = self.number();
        self.actors.push(Actor { process: number % self.processes, number, part });
    }

    /// A moment in the part of the run from `from` to `to`, in percent.
    fn moment(&mut self, from: u64, to: u64) -> u64 {
        let length = self.shape.length_ms;
        self.random.u64(length * from / 100..=length * to / 100)
    }

    fn owner(&mut self, index: u32) {
        let id = format!("owner-{index}");
        let starts = self.random.u64(0..400);
        let (ends, again) = match FATES[index as usize % FATES.len()] {
            Fate::Lasts => (None, None),
            Fate::Rolls => {
                let (at, grace) = (self.moment(35, 70), self.random.u64(200..500));
                (Some((at, End::Leaves(grace))), Some(at + grace + self.random.u64(300..1_000)))
            }
            Fate::Crashes => (Some((self.moment(30, 70), End::Crashes)), None),
            Fate::Restarts => {
                let at = self.moment(30, 70);
                (Some((at, End::Crashes)), Some(at + self.random.u64(200..600)))
            }
            Fate::Doubled => (None, Some(self.moment(30, 60))),
        };
        self.life(id.clone(), starts, ends);
        if let Some(again) = again.filter(|again| *again < self.shape.length_ms) {
            self.life(id, again, None);
        }
    }

    fn life(&mut self, id: String, starts_ms: u64, ends: Option<(u64, End)>) {
        let last = ends.map_or(self.shape.length_ms, |(at, _)| at);
        let mut updates_ms = Vec::new();
        let mut at = starts_ms + self.random.u64(500..1_500);
        while at < last {
            updates_ms.push(at);
            at += self.random.u64(700..1_800);
        }
        let by_links = self.random.bool();
        self.add(Part::Owner(Owner { id, starts_ms, updates_ms, ends, by_links }));
    }

    fn writer(&mut self, index: u32) {
        let mut lives: Vec<Life> = Vec::new();
        let mut at = self.random.u64(50..400);
        while at < self.shape.length_ms {
            let taken = lives.last().filter(|life| life.end == LifeEnd::GoesOn);
            let (id, how) = match taken {
                Some(life) => (life.id.clone(), How::TakeOver),
                None => {
                    (self.id(index), if self.random.u8(0..4) == 0 { How::Reclaim } else { How::TakeOver })
                }
            };
            let ends_ms = at + self.random.u64(1_200..4_500);
            let end = match self.random.u8(0..3) {
                0 => LifeEnd::Leaves,
                1 => LifeEnd::Crashes,
                _ => LifeEnd::GoesOn,
            };
            let (often, seldom) = self.shape.every_ms;
            let every_ms = self.random.u64(often..=seldom.max(often));
            lives.push(Life { id, how, starts_ms: at, every_ms, ends_ms, end });
            at = ends_ms + if end == LifeEnd::GoesOn { 0 } else { self.random.u64(50..600) };
        }
        let second = self.number();
        self.add(Part::Writer(Writer { second, lives }));
    }

    /// One of its own ids, or now and then one that others use too.
    fn id(&mut self, writer: u32) -> String {
        match self.random.u8(0..5) {
            0 => format!("shared-{}", self.random.u32(0..SHARED)),
            _ => format!("writer-{writer}-{}", self.random.u32(0..OWN)),
        }
    }

    fn watcher(&mut self, index: u32) {
        let length = self.shape.length_ms;
        let habit = match index % 4 {
            2 => {
                let first = self.moment(15, 30);
                let second = self.moment(45, 75);
                let mut away = || self.random.u64(150..1_200);
                Habit::Resumes { away_ms: vec![(first, away()), (second, away())] }
            }
            3 => {
                let (from, to) = self.shape.stops.unwrap_or((length / 4, length * 3 / 4));
                Habit::Stops { at_ms: from, for_ms: to.saturating_sub(from) }
            }
            _ => Habit::Through,
        };
        self.add(Part::Watcher(habit));
    }

    fn mass(&mut self, mass: Mass) {
        let owner = |index: u32, starts_ms, ends| {
            let id = format!("mass-{index}");
            Part::Owner(Owner {
                id,
                starts_ms,
                updates_ms: Vec::new(),
                ends,
                by_links: index.is_multiple_of(2),
            })
        };
        for index in 0..mass.size {
            self.add(owner(index, mass.joins_ms, mass.dies_ms.map(|at| (at, End::Crashes))));
        }
        if let Some(again) = mass.rejoins_ms {
            for index in 0..mass.size {
                self.add(owner(index, again, None));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn numbers(workload: &Workload) -> Vec<u32> {
        let of = |actor: &Actor| match &actor.part {
            Part::Writer(writer) => vec![actor.number, writer.second],
            _ => vec![actor.number],
        };
        workload.actors.iter().flat_map(of).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_table_and_another_seed_another() {
        let draw = |seed| Workload::draw(seed, &Shape::default());
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7).actors, draw(8).actors);
        let text = serde_json::to_string(&draw(7)).unwrap();
        assert_eq!(serde_json::from_str::<Workload>(&text).unwrap(), draw(7));
    }

    #[test]
    fn no_number_is_given_twice_and_every_process_has_every_kind_of_work() {
        for seed in 0..50 {
            let workload = Workload::draw(seed, &Shape::default());
            let all = numbers(&workload);
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
            for process in 0..workload.processes {
                let here = workload.actors.iter().filter(|actor| actor.process == process);
                let owners = here.clone().filter(|actor| matches!(actor.part, Part::Owner(_))).count();
                let readers = here.filter(|actor| !matches!(actor.part, Part::Owner(_) | Part::Writer(_)));
                assert!(owners > 0 && readers.count() > 0, "seed {seed}, process {process}");
            }
        }
    }

    #[test]
    fn lives_of_a_writer_follow_each_other_and_who_goes_on_is_taken_over() {
        let mut ends = BTreeSet::new();
        for seed in 0..50 {
            let workload = Workload::draw(seed, &Shape::default());
            for actor in &workload.actors {
                let Part::Writer(writer) = &actor.part else { continue };
                for pair in writer.lives.windows(2) {
                    ends.insert(format!("{:?}", pair[0].end));
                    assert!(pair[0].starts_ms < pair[0].ends_ms && pair[0].ends_ms <= pair[1].starts_ms);
                    if pair[0].end == LifeEnd::GoesOn {
                        assert_eq!((&pair[0].id, pair[1].how), (&pair[1].id, How::TakeOver));
                    }
                }
            }
        }
        assert_eq!(ends.len(), 3);
    }

    #[test]
    fn some_owners_are_restarted_by_another_process_and_one_is_doubled() {
        for seed in 0..50 {
            let workload = Workload::draw(seed, &Shape::default());
            let mut lives: BTreeMap<&str, Vec<(&Actor, &Owner)>> = BTreeMap::new();
            for actor in &workload.actors {
                if let Part::Owner(owner) = &actor.part {
                    lives.entry(&owner.id).or_default().push((actor, owner));
                }
            }
            let again: Vec<_> = lives.values().filter(|lives| lives.len() == 2).collect();
            assert!(again.len() >= 2, "seed {seed}");
            for lives in &again {
                assert_ne!(lives[0].0.process, lives[1].0.process);
                assert!(lives[0].1.starts_ms < lives[1].1.starts_ms);
            }
            assert!(again.iter().any(|lives| lives[0].1.ends.is_none()), "seed {seed}");
        }
    }

    #[test]
    fn a_mass_dies_and_joins_together() {
        let mass = Mass { size: 100, joins_ms: 500, dies_ms: Some(4_000), rejoins_ms: Some(6_000) };
        let workload = Workload::draw(1, &Shape { mass: Some(mass), ..Shape::default() });
        let of_mass = workload.actors.iter().filter_map(|actor| match &actor.part {
            Part::Owner(owner) if owner.id.starts_with("mass") => Some((owner.starts_ms, owner.ends)),
            _ => None,
        });
        let (first, second): (Vec<_>, Vec<_>) = of_mass.partition(|(starts, _)| *starts == 500);
        assert!(first.len() == 100 && first.iter().all(|(_, ends)| *ends == Some((4_000, End::Crashes))));
        assert!(
            second.len() == 100 && second.iter().all(|(starts, ends)| *starts == 6_000 && ends.is_none())
        );
    }
}
