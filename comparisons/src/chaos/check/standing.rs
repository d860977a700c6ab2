//! What violations count for.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::Checked;
use super::deadlines::SLACK_MS;
use super::evidence::Evidence;
use super::found::{Found, Invariant, Standing, Violation};
use super::owners::all_back;
use super::windows::Windows;
use crate::chaos::backend::Backend;
use crate::chaos::history::{At, Change, Item, Nemesis, Operation, Verb};

/// Where the registry does not claim that acknowledged writes survive what was struck, their loss is allowed for a time, if everybody was told. Who was not is in a
/// violation of I7, and that is never allowed.
pub(super) fn weigh<'e>(evidence: &'e Evidence<'e>, found: Found) -> Vec<Violation> {
    let mut violations = found.violations;
    let silent = violations.iter().any(|violation| violation.invariant == Invariant::I7);
    let (loss, revoked) = (Loss::of(evidence), Revoked::of(evidence));
    for violation in &mut violations {
        let lost = loss.as_ref().is_some_and(|loss| loss.explains(violation))
            || revoked.as_ref().is_some_and(|revoked| revoked.explains(violation));
        violation.standing = match violation.standing {
            Standing::Broken if lost && !silent => Standing::Allowed,
            Standing::Allowed if silent => Standing::Broken,
            standing => standing,
        };
    }
    violations.sort_by(|a, b| (a.invariant, a.at, &a.lines).cmp(&(b.invariant, b.at, &b.lines)));
    let mut of_each: BTreeMap<(Invariant, Standing), usize> = BTreeMap::new();
    violations.retain(|violation| {
        let count = of_each.entry((violation.invariant, violation.standing)).or_default();
        *count += 1;
        *count <= Checked::MOST
    });
    violations
}

/// The operations that show a violation.
fn operations<'e>(
    evidence: &'e Evidence<'_>,
    violation: &'e Violation,
) -> impl Iterator<Item = &'e Operation> {
    let of_it = evidence.operations.iter().filter(|(line, _)| violation.lines.contains(line));
    of_it.map(|(_, op)| *op)
}

/// The same without lookups.
fn writes<'e>(evidence: &'e Evidence<'_>, violation: &'e Violation) -> impl Iterator<Item = &'e Operation> {
    operations(evidence, violation).filter(|op| op.verb != Verb::Lookup)
}

/// Acknowledged writes that the store lost by a fault that it does not claim to survive.
struct Loss<'e> {
    evidence: &'e Evidence<'e>,
    from: At,
    /// What was acknowledged by then may be lost.
    healed: At,
    /// Whether the store's history shows that something was. Heartbeats are in no history.
    of_writes: bool,
}

impl<'e> Loss<'e> {
    fn of(evidence: &'e Evidence<'e>) -> Option<Self> {
        if evidence.run.keeps_acknowledged {
            return None;
        }
        let backend = evidence.run.backend;
        let loses = |step: &&&Nemesis| step.fault.on(backend).is_none_or(|cell| cell.loses());
        let of_it = Windows::of(evidence.nemesis.iter().filter(loses).copied());
        let (from, healed) = (of_it.first()?, of_it.healed().plus_ms(SLACK_MS));
        Some(Self { evidence, from, healed, of_writes: evidence.has_breaks() })
    }

    fn explains(&self, violation: &Violation) -> bool {
        let may_be = match violation.invariant {
            Invariant::I10 => true,
            Invariant::I11 | Invariant::I12 | Invariant::I17 => self.of_writes,
            _ => false,
        };
        may_be && self.from <= violation.at && self.may_have_lost(violation)
    }

    /// Whether something that shows it was acknowledged before all was healed. Where no write shows it, whether it was soon after.
    fn may_have_lost(&self, violation: &Violation) -> bool {
        let mut writes = writes(self.evidence, violation).peekable();
        match (writes.peek(), violation.invariant) {
            (Some(_), _) => writes.any(|op| op.is_ok() && op.returned <= self.healed),
            // Of two answers the earlier may be of what was lost.
            (None, Invariant::I17) => {
                operations(self.evidence, violation).any(|op| op.returned <= self.healed)
            }
            (None, _) => violation.at < all_back(self.evidence),
        }
    }
}

/// Leases that etcd ended although they had been renewed, where the registry says that it may.
struct Revoked<'e> {
    evidence: &'e Evidence<'e>,
    from: At,
    until: At,
    /// Whose end is in etcd's own log, and was not asked for.
    ended: HashSet<(&'e str, Option<u64>)>,
}

impl<'e> Revoked<'e> {
    fn of(evidence: &'e Evidence<'e>) -> Option<Self> {
        let on_etcd = matches!(evidence.run.backend, Backend::Etcd | Backend::EtcdCluster);
        let from = evidence.windows.first().filter(|_| on_etcd && evidence.run.may_expire_early)?;
        let mut present: HashMap<&str, Option<u64>> = HashMap::new();
        let mut ended = HashSet::new();
        for (_, truth) in &evidence.truths {
            match &truth.change {
                Change::Put(put) => drop(present.insert(&put.id, put.incarnation)),
                Change::Delete { id, .. } => {
                    let of_it = present.remove(id.as_str());
                    ended.extend(of_it.map(|incarnation| (id.as_str(), incarnation)));
                }
            }
        }
        // Whoever asked to leave was not revoked.
        let leaves =
            evidence.operations.iter().filter(|(_, op)| op.verb == Verb::Deregister && op.may_be_done());
        for (_, op) in leaves {
            if let Some(id) = op.id.as_deref() {
                ended.remove(&(id, op.under()));
            }
        }
        Some(Self { evidence, from, until: all_back(evidence), ended })
    }

    fn explains(&self, violation: &Violation) -> bool {
        let ended =
            |op: &Operation| violation.id.as_deref().is_some_and(|id| self.ended.contains(&(id, op.under())));
        violation.invariant == Invariant::I10
            && self.from <= violation.at
            && violation.at < self.until
            && writes(self.evidence, violation).any(ended)
    }
}

impl Evidence<'_> {
    /// Whether the store has had more than one history, as its own log shows, or those who were told of it. One without positions does not show it.
    pub(super) fn has_breaks(&self) -> bool {
        let of_log = self.truths.iter().map(|(_, truth)| (truth.position.epoch, truth.branch));
        let of_log: BTreeSet<(u64, u32)> = of_log.collect();
        let told = self.watchers.values().flatten().filter_map(|(_, told)| match &told.item {
            Item::Reset { position: Some(position), .. } => Some(position.epoch),
            _ => None,
        });
        let told: BTreeSet<u64> = told.collect();
        of_log.is_empty() && told.is_empty() || of_log.len() > 1 || told.len() > 1
    }
}
