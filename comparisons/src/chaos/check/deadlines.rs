//! Until when each incarnation of an instance must be listed, and when it must be gone.

use std::collections::{HashMap, HashSet};

use super::evidence::{Evidence, Holder};
use super::truth::{State, Truth};
use crate::chaos::history::{At, Change, Item, Listed, Operation, Verb};

/// How late a check may be on a machine that is busy, in ms.
pub(super) const SLACK_MS: u64 = 500;

/// An incarnation of an instance; of a registry without incarnations, the instance.
pub(super) type Key<'a> = (&'a str, Option<u64>);

/// Something that may have given a full TTL.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renewal {
    pub(super) invoked: At,
    pub(super) acknowledged: bool,
    pub(super) line: usize,
    /// What it wrote, if it registered. Of one incarnation, later ones write more.
    registered: Option<u64>,
    /// The latest moment at which it may have been done.
    done: At,
}

/// From when to when an incarnation must not be listed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overdue {
    /// In lookups.
    pub(super) asked: At,
    /// By those who are told.
    pub(super) told: At,
    pub(super) until: At,
    /// The last renewal before.
    pub(super) line: usize,
}

/// The renewals of one incarnation, by the time they were invoked.
#[derive(Debug, Default)]
pub(super) struct Lease {
    renewals: Vec<Renewal>,
    /// For each renewal, the last acknowledged one up to there.
    acknowledged: Vec<Option<Renewal>>,
    pub(super) overdue: Vec<Overdue>,
}

impl Lease {
    /// The last acknowledged renewal that was invoked by `at`, of the registration that somebody has seen who has seen `value`. Who reads late may be told that
    /// an instance has gone, when it was registered again already.
    pub(super) fn renewed(&self, at: At, value: u64) -> Option<Renewal> {
        let unseen = |renewal: &Renewal| renewal.registered.is_some_and(|written| written > value);
        let by = self.renewals.partition_point(|renewal| renewal.invoked <= at);
        let seen = self.renewals.iter().position(unseen).unwrap_or(by);
        self.acknowledged.get(by.min(seen).checked_sub(1)?).copied().flatten()
    }
}

/// That an owner asked to leave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving<'a> {
    pub(super) invoked: At,
    pub(super) returned: At,
    pub(super) holder: Holder<'a>,
    pub(super) line: usize,
}

/// All leases, and who left.
#[derive(Debug, Default)]
pub(super) struct Deadlines<'a> {
    leases: HashMap<Key<'a>, Lease>,
    leavings: HashMap<&'a str, Vec<Leaving<'a>>>,
}

impl<'a> Deadlines<'a> {
    pub(super) fn of(evidence: &Evidence<'a>, truth: &Truth<'a>) -> Self {
        let incarnations = incarnations(evidence, truth);
        let mut all = Self::default();
        for (line, op) in evidence.operations.iter().filter(|(_, op)| op.may_be_done()) {
            let Some(id) = op.id.as_deref() else { continue };
            match op.verb {
                Verb::Register | Verb::Keepalive => {
                    let renewal = renewal(op, *line, evidence);
                    let written = op.value.and_then(|value| incarnations.get(&(id, value)));
                    match (op.under(), written) {
                        (None, Some(written)) => {
                            for incarnation in written {
                                all.renew((id, *incarnation), renewal);
                            }
                        }
                        (under, _) => all.renew((id, under), renewal),
                    }
                }
                Verb::Deregister => {
                    let (invoked, returned, holder, line) = (op.invoked, op.returned, op.holder(), *line);
                    all.leavings.entry(id).or_default().push(Leaving { invoked, returned, holder, line });
                }
                // Where there are no incarnations, whoever writes a value may renew with it.
                Verb::Update if op.under().is_none() => {
                    all.renew((id, None), Renewal { acknowledged: false, ..renewal(op, *line, evidence) });
                }
                Verb::Update | Verb::Lookup => {}
            }
        }
        for lease in all.leases.values_mut() {
            lease.settle(evidence);
        }
        all
    }

    fn renew(&mut self, key: Key<'a>, renewal: Renewal) {
        self.leases.entry(key).or_default().renewals.push(renewal);
    }

    pub(super) fn lease<'s>(&'s self, key: Key<'s>) -> Option<&'s Lease> {
        self.leases.get(&key)
    }

    /// Who asked to remove the instance, by the time they asked.
    pub(super) fn leavings(&self, id: &str) -> &[Leaving<'a>] {
        self.leavings.get(id).map_or(&[], Vec::as_slice)
    }

    /// Whether this incarnation, or a newer one that took its place, had asked to leave by `at`.
    pub(super) fn left(&self, (id, incarnation): Key<'_>, at: At) -> bool {
        self.leavings(id).iter().take_while(|leaving| leaving.invoked <= at).any(|leaving| {
            match (leaving.holder, incarnation) {
                (Holder::Incarnation(left), Some(incarnation)) => left >= incarnation,
                _ => true,
            }
        })
    }
}

impl Lease {
    fn settle(&mut self, evidence: &Evidence<'_>) {
        let run = evidence.run;
        let mut last = None;
        self.acknowledged = self
            .renewals
            .iter()
            .map(|renewal| {
                last = Some(*renewal).filter(|renewal| renewal.acknowledged).or(last);
                last
            })
            .collect();
        let mut deadline = At(0);
        for (index, renewal) in self.renewals.iter().enumerate() {
            let due = renewal.done.plus_ms(run.ttl_ms + run.expiry_bound_ms);
            let due = if run.exact_deadlines {
                due
            } else {
                evidence.windows.lengthened(renewal.invoked, due, run.ttl_ms)
            };
            deadline = deadline.max(due);
            let until = self.renewals.get(index + 1).map_or(At(u64::MAX), |next| next.invoked);
            let asked = deadline.plus_ms(SLACK_MS);
            if asked < until {
                let told = evidence.windows.read_by(deadline, SLACK_MS, run.convergence_ms);
                self.overdue.push(Overdue { asked, told, until, line: renewal.line });
            }
        }
    }
}

/// An outcome that is not known, of a request that was under way when something was struck, may come when that ends.
fn renewal(op: &Operation, line: usize, evidence: &Evidence<'_>) -> Renewal {
    let acknowledged = op.is_ok();
    let held_up = evidence.windows.overlapping(op.invoked, op.returned).filter(|_| !acknowledged);
    let done = held_up.map_or(op.returned, |end| end.max(op.returned));
    let registered = op.value.filter(|_| op.verb == Verb::Register);
    Renewal { invoked: op.invoked, acknowledged, line, registered, done }
}

/// Under which incarnations each value was ever seen.
fn incarnations<'a>(
    evidence: &Evidence<'a>,
    truth: &Truth<'a>,
) -> HashMap<(&'a str, u64), HashSet<Option<u64>>> {
    let mut all: HashMap<(&str, u64), HashSet<Option<u64>>> = HashMap::new();
    let mut see = |listed: &'a Listed| {
        all.entry((listed.id.as_str(), listed.value)).or_default().insert(listed.incarnation);
    };
    evidence.lookups().flat_map(|(_, _, listed)| listed).for_each(&mut see);
    evidence.finals.iter().flat_map(|(_, read)| &read.listed).for_each(&mut see);
    evidence
        .views
        .values()
        .flatten()
        .flat_map(|(_, viewed)| viewed.listed.iter().flatten())
        .for_each(&mut see);
    for (_, told) in evidence.watchers.values().flatten() {
        match &told.item {
            Item::Reset { listed, .. } => listed.iter().for_each(&mut see),
            Item::Changes { changes, .. } => changes
                .iter()
                .filter_map(|change| if let Change::Put(listed) = change { Some(listed) } else { None })
                .for_each(&mut see),
            _ => {}
        }
    }
    for fact in truth.epochs().flat_map(|(_, facts)| facts) {
        if let State::Put { value, incarnation } = fact.state {
            all.entry((fact.id, value)).or_default().insert(incarnation);
        }
    }
    all
}
