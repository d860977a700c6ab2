//! A store in memory with owners, watchers, views and lookups, as a pure function of a seed: it makes good histories.

mod watching;

use std::collections::BTreeMap;

use fastrand::Rng;

use crate::chaos::backend::Backend;
use crate::chaos::fault::Fault;
use crate::chaos::history::{
    Act, At, Change, Final, Item, Line, Listed, Nemesis, Note, Operation, Outcome, Owner, Position, Run,
    Step, Told, Truth, Verb, Viewed,
};

pub(super) const TTL: u64 = 2_000;
const TICK: u64 = 10;
const BEAT: u64 = 600;
pub(super) const END: u64 = 20_500;
const READ: u64 = 20_000;

/// What is struck in the run of a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Struck {
    Nothing,
    Readers,
    Store,
    Everybody,
    Owners,
    /// A backup takes the place of the data, while half of the readers are cut off; others notice.
    Replaced,
    /// The same, while all readers have been cut off since before the backup was taken: nobody has seen what is lost.
    Unseen,
}

/// When a backup is taken, when it takes the place of the data, and when that is noticed.
const BACKUP: u64 = 4_000;
pub(super) const RESTORED: u64 = 8_000;
const NOTICED: u64 = 9_000;

fn struck(seed: u64) -> Struck {
    [Struck::Nothing, Struck::Readers, Struck::Store, Struck::Everybody, Struck::Owners][(seed % 5) as usize]
}

/// Whether acknowledged writes are kept in the run of a seed.
pub(super) fn keeps(seed: u64) -> bool {
    struck(seed) != Struck::Store
}

/// From when to when, in ms. The last one is when those are cut off who are.
fn windows(struck: Struck) -> &'static [(Fault, u64, u64)] {
    match struck {
        Struck::Nothing => &[],
        Struck::Readers => &[(Fault::BlackHole, 7_000, 11_000)],
        Struck::Store => &[(Fault::Wipe, 7_990, 8_300)],
        Struck::Everybody => &[(Fault::Pause, 7_000, 11_000)],
        Struck::Owners => &[(Fault::LinkCut, 7_000, 11_000)],
        Struck::Replaced => &[(Fault::Restore, BACKUP, NOTICED), (Fault::BlackHole, 4_900, 9_300)],
        Struck::Unseen => &[(Fault::Restore, BACKUP, NOTICED), (Fault::BlackHole, 3_900, 9_300)],
    }
}

#[derive(Clone)]
struct Entry {
    listed: Listed,
    due: u64,
}

#[derive(Clone, Default)]
struct Store {
    epoch: u64,
    revision: u64,
    entries: BTreeMap<String, Entry>,
    /// Of this epoch, by revision.
    log: Vec<(u64, Vec<Change>)>,
}

impl Store {
    fn position(&self) -> Position {
        Position { epoch: self.epoch, revision: self.revision }
    }

    fn listed(&self) -> Vec<Listed> {
        self.entries.values().map(|entry| entry.listed.clone()).collect()
    }

    fn change(&mut self, mut changes: Vec<Change>) -> u64 {
        self.revision += 1;
        for change in &mut changes {
            if let Change::Put(listed) = change {
                listed.modified = Some(self.revision);
            }
        }
        self.log.push((self.revision, changes));
        self.revision
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Never,
    Leaves(u64),
    Crashes(u64),
}

struct Actor {
    id: &'static str,
    name: String,
    starts: u64,
    end: End,
    /// Its incarnation, while it thinks that it has one.
    holds: Option<u64>,
    beat: u64,
    over: bool,
    recovering: bool,
    updates: u64,
}

struct World {
    random: Rng,
    struck: Struck,
    now: u64,
    store: Store,
    value: u64,
    truths: bool,
    branch: u32,
    forgets: bool,
    backup: Store,
    history: Vec<Line>,
}

/// The good history of a seed.
pub(super) fn play(seed: u64) -> Vec<Line> {
    play_struck(seed, struck(seed))
}

/// The good history of a seed, in which a backup takes the place of what some readers have seen, or nobody has.
pub(super) fn restored(seed: u64, seen: bool) -> Vec<Line> {
    play_struck(seed, if seen { Struck::Replaced } else { Struck::Unseen })
}

fn play_struck(seed: u64, struck: Struck) -> Vec<Line> {
    let mut random = Rng::with_seed(seed);
    let restored = matches!(struck, Struck::Replaced | Struck::Unseen);
    let (truths, forgets) = (random.bool() || restored, random.bool() && !restored);
    let run = Run {
        schema: 1,
        backend: Backend::Etcd,
        faults: windows(struck).iter().map(|(fault, ..)| *fault).collect(),
        seed,
        service: "s".to_owned(),
        ttl_ms: TTL,
        expiry_bound_ms: 500,
        convergence_ms: 4_000,
        linearizable: true,
        tells_gaps: true,
        exact_deadlines: false,
        keeps_acknowledged: struck != Struck::Store && !restored,
        may_expire_early: false,
    };
    let store = Store { epoch: 1 + random.u64(0..5), ..Store::default() };
    let history = vec![Line::Run(run)];
    let backup = Store::default();
    let (now, value, branch) = (0, 0, 0);
    let mut world = World { random, struck, now, store, value, truths, branch, forgets, backup, history };
    let mut actors = world.actors();
    let mut watchers = world.watchers();
    while world.now < END {
        world.now += TICK;
        world.nemesis(&mut actors);
        world.sweep();
        for actor in &mut actors {
            world.act(actor);
        }
        world.look();
        for watcher in &mut watchers {
            world.watch(watcher);
        }
    }
    world.history
}

impl World {
    fn at(&self, micros: u64) -> At {
        At(self.now * 1_000 + micros)
    }

    fn within(&self) -> bool {
        windows(self.struck).last().is_some_and(|(_, from, to)| (*from..*to).contains(&self.now))
    }

    fn actors(&mut self) -> Vec<Actor> {
        let mut number = 0;
        let mut actor = |id, starts, end| {
            number += 1;
            let name = format!("{}.{number}", number % 2);
            let (holds, beat, over, recovering, updates) = (None, 0, false, false, 0);
            Actor { id, name, starts, end, holds, beat, over, recovering, updates }
        };
        let crash = 4_000 + TICK * self.random.u64(0..100);
        let taken = 5_000 + TICK * self.random.u64(0..100);
        let mut all = vec![
            actor("a", 300, End::Never),
            actor("b", 500, End::Never),
            actor("c", 700, End::Leaves(13_000)),
            actor("d", 900, End::Leaves(4_500)),
            // Two that go together.
            actor("e", 1_000, End::Crashes(crash)),
            actor("f", 1_000, End::Crashes(crash)),
            // One that is taken over, and goes on.
            actor("g", 1_200, End::Never),
            actor("g", taken, End::Never),
            // One that dies, and is restarted at once.
            actor("h", 1_300, End::Crashes(taken)),
            actor("h", taken + 200, End::Never),
            actor("i", 14_000, End::Crashes(15_500)),
        ];
        all.iter_mut().for_each(|actor| {
            actor.starts += TICK * self.random.u64(0..20) * u64::from(actor.starts != 1_000)
        });
        all
    }

    fn nemesis(&mut self, actors: &mut [Actor]) {
        let now = At(self.now * 1_000);
        for (fault, from, to) in windows(self.struck).iter().copied() {
            let mut tell = |at: At, act| self.history.push(Line::Nemesis(Nemesis { fault, at, act }));
            if self.now == from {
                tell(now, Act::Strikes);
                tell(now, Act::Struck { what: "all of it".to_owned() });
            }
            if self.now == to {
                tell(now, Act::Heals);
                tell(At(now.0 + 1), Act::Healed { bitten: true, proof: "a probe".to_owned() });
            }
            // Time in which nobody could renew does not count.
            if self.struck == Struck::Everybody && self.now == to {
                self.store.entries.values_mut().for_each(|entry| entry.due += to - from);
                actors.iter_mut().for_each(|actor| actor.beat = actor.beat.max(to));
            }
        }
        if self.struck == Struck::Store && self.now == RESTORED {
            let epoch = self.store.epoch + 3;
            self.store = Store { epoch, ..Store::default() };
        }
        match self.struck {
            Struck::Replaced | Struck::Unseen if self.now == BACKUP => self.backup = self.store.clone(),
            Struck::Replaced | Struck::Unseen if self.now == RESTORED => {
                self.store = self.backup.clone();
                self.store.entries.values_mut().for_each(|entry| entry.due = RESTORED + TTL);
                self.branch += 1;
                self.tell_all();
            }
            Struck::Replaced if self.now == NOTICED => {
                self.store.epoch += 3;
                self.branch = 0;
                self.tell_all();
            }
            _ => {}
        }
    }

    /// The store's log, from its beginning.
    fn tell_all(&mut self) {
        for (revision, changes) in self.store.log.clone() {
            self.tell_truth(revision, &changes);
        }
    }

    fn tell_truth(&mut self, revision: u64, changes: &[Change]) {
        for change in changes {
            let position = Position { revision, ..self.store.position() };
            let (branch, change) = (self.branch, change.clone());
            self.history.push(Line::Truth(Truth { position, branch, change, listed: false }));
        }
    }

    fn change(&mut self, changes: Vec<Change>) -> u64 {
        let revision = self.store.change(changes);
        if self.truths
            && let Some((_, changes)) = self.store.log.last().cloned()
        {
            self.tell_truth(revision, &changes);
        }
        revision
    }

    /// Ends what is due: all of it at one revision.
    fn sweep(&mut self) {
        if self.struck == Struck::Everybody && self.within() || !self.now.is_multiple_of(100) {
            return;
        }
        let due: Vec<String> = self
            .store
            .entries
            .iter()
            .filter(|(_, entry)| entry.due <= self.now)
            .map(|(id, _)| id.clone())
            .collect();
        due.iter().for_each(|id| drop(self.store.entries.remove(id)));
        let delete = |id| Change::Delete { id, cause: Some("expired".to_owned()) };
        if !due.is_empty() {
            self.change(due.into_iter().map(delete).collect());
        }
    }

    fn asked(&mut self, verb: Verb, actor: &Actor, value: Option<u64>, outcome: Outcome) {
        let (before, after) = (self.random.u64(1..2_000), self.random.u64(1..2_000));
        self.history.push(Line::Operation(Operation {
            client: actor.name.clone(),
            verb,
            id: Some(actor.id.to_owned()),
            incarnation: actor.holds.filter(|_| verb != Verb::Register),
            value,
            invoked: At(self.now * 1_000 - before),
            returned: self.at(after),
            outcome,
        }));
    }

    fn step(&mut self, actor: &Actor, step: Step) {
        let (id, owner, at) = (actor.id.to_owned(), actor.name.clone(), self.at(2_500));
        self.history.push(Line::Owner(Owner { id, owner, at, step }));
    }

    fn put(&mut self, actor: &Actor, incarnation: u64, due: u64) -> (u64, u64) {
        self.value += 1;
        let (id, value) = (actor.id.to_owned(), self.value);
        let modified = Some(self.store.revision + 1);
        let listed = Listed { id: id.clone(), value, incarnation: Some(incarnation), modified };
        self.store.entries.insert(id, Entry { listed: listed.clone(), due });
        (value, self.change(vec![Change::Put(listed)]))
    }

    fn act(&mut self, actor: &mut Actor) {
        if actor.over || self.now < actor.starts {
            return;
        }
        if self.now == actor.starts {
            self.step(actor, Step::Starts);
        }
        if actor.end == End::Crashes(self.now) {
            actor.over = true;
            self.step(actor, Step::Crashes);
            return;
        }
        let cut = matches!(self.struck, Struck::Owners | Struck::Everybody) && self.within();
        let ok = |revision, incarnation| Outcome::Ok { revision, incarnation, position: None, listed: None };
        let unknown = || Outcome::Unknown { kind: "timeout".to_owned() };
        let mine = |store: &Store, actor: &Actor| {
            let held = store.entries.get(actor.id).and_then(|entry| entry.listed.incarnation);
            actor.holds.is_some() && held == actor.holds
        };
        if actor.end == End::Leaves(self.now) && !cut {
            actor.over = true;
            self.step(actor, Step::Leaves);
            if mine(&self.store, actor) {
                self.store.entries.remove(actor.id);
                let (id, cause) = (actor.id.to_owned(), Some("deregistered".to_owned()));
                self.change(vec![Change::Delete { id, cause }]);
            }
            self.asked(Verb::Deregister, actor, None, ok(None, None));
            self.step(actor, Step::Left);
            return;
        }
        if self.now < actor.beat {
            return;
        }
        actor.beat = self.now + BEAT;
        match actor.holds {
            None if cut => self.asked(Verb::Register, actor, Some(1_000_000 + self.now), unknown()),
            None => {
                let before = self.store.entries.get(actor.id).and_then(|entry| entry.listed.incarnation);
                let incarnation = (before.unwrap_or(0) + 1).max(10_000 + self.now);
                let (value, revision) = self.put(actor, incarnation, self.now + TTL);
                self.asked(Verb::Register, actor, Some(value), ok(Some(revision), Some(incarnation)));
                actor.holds = Some(incarnation);
                actor.recovering = false;
                self.step(actor, Step::Registered);
            }
            Some(_) if cut => {
                self.asked(Verb::Keepalive, actor, None, unknown());
                if !actor.recovering {
                    actor.recovering = true;
                    self.step(actor, Step::Recovering);
                }
            }
            Some(_) if mine(&self.store, actor) => {
                if let Some(entry) = self.store.entries.get_mut(actor.id) {
                    entry.due = self.now + TTL;
                }
                self.asked(Verb::Keepalive, actor, None, ok(None, None));
                if std::mem::take(&mut actor.recovering) {
                    self.step(actor, Step::Registered);
                }
                // Changes end.
                if self.now < 16_000 && actor.updates < 4 && self.random.u8(0..4) == 0 {
                    actor.updates += 1;
                    let due = self.now + TTL;
                    let (value, revision) = self.put(actor, actor.holds.unwrap_or_default(), due);
                    self.asked(Verb::Update, actor, Some(value), ok(Some(revision), None));
                }
            }
            Some(holds) => {
                let taken = self
                    .store
                    .entries
                    .get(actor.id)
                    .is_some_and(|entry| entry.listed.incarnation > Some(holds));
                self.asked(Verb::Keepalive, actor, None, Outcome::Failed { kind: "lease_lost".to_owned() });
                if taken {
                    actor.over = true;
                    self.step(actor, Step::Fenced);
                } else {
                    actor.holds = None;
                    actor.recovering = true;
                    actor.beat = self.now + 50;
                    self.step(actor, Step::Recovering);
                }
            }
        }
    }

    fn look(&mut self) {
        let (position, listed) = (self.store.position(), self.store.listed());
        if self.now == READ {
            let invoked = self.at(6_000);
            self.history.push(Line::Final(Final {
                invoked,
                position: Some(position),
                listed: listed.clone(),
            }));
        }
        if self.now.is_multiple_of(500) {
            let figure = Some(50_000.0 + self.random.f64() * 2_000.0);
            let note = Note { at: self.at(0), what: "resident_kb".to_owned(), figure };
            self.history.push(Line::Note(note));
        }
        let cut = matches!(self.struck, Struck::Everybody | Struck::Unseen) && self.within();
        if !self.now.is_multiple_of(150) || cut {
            return;
        }
        let outcome =
            Outcome::Ok { revision: None, incarnation: None, position: Some(position), listed: Some(listed) };
        for client in ["2.9", "3.9"] {
            self.history.push(Line::Operation(Operation {
                client: client.to_owned(),
                verb: Verb::Lookup,
                id: None,
                incarnation: None,
                value: None,
                invoked: self.at(7_500),
                returned: self.at(8_200),
                outcome: outcome.clone(),
            }));
        }
    }
}
