//! What violations count for.

use std::collections::{BTreeMap, HashSet};

use super::Checked;
use super::evidence::Evidence;
use super::found::{Found, Invariant, Standing, Violation};
use super::owners::RETURN_MS;
use super::windows::Windows;
use crate::chaos::history::{At, Change, Item, Nemesis};

/// Where the registry does not claim that acknowledged writes survive what was struck, their loss is allowed for a time, if everybody was told. Who was not is in a
/// violation of I7, and that is never allowed.
pub(super) fn weigh(evidence: &Evidence<'_>, found: Found) -> Vec<Violation> {
    let mut violations = found.violations;
    let silent = violations.iter().any(|violation| violation.invariant == Invariant::I7);
    let (loss, revoked) = (Loss::of(evidence), Revoked::of(evidence));
    for violation in &mut violations {
        let lost = loss.as_ref().is_some_and(|loss| loss.explains(violation, evidence))
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

/// When everything that was lost must be back after the last fault was healed.
fn all_back(evidence: &Evidence<'_>) -> At {
    let run = evidence.run;
    evidence.windows.healed().plus_ms(run.ttl_ms + run.convergence_ms + RETURN_MS)
}

/// Acknowledged writes that the store lost by a fault that it does not claim to survive.
struct Loss {
    from: At,
    until: At,
    /// Whether the store's history shows it. Heartbeats are in no history.
    of_writes: bool,
}

impl Loss {
    fn of(evidence: &Evidence<'_>) -> Option<Self> {
        if evidence.run.keeps_acknowledged {
            return None;
        }
        let backend = evidence.run.backend;
        let loses = |step: &&&Nemesis| step.fault.on(backend).is_none_or(|cell| cell.loses());
        let of_it = Windows::of(evidence.nemesis.iter().filter(loses).copied());
        let (from, until) = (of_it.first()?, all_back(evidence));
        Some(Self { from, until, of_writes: evidence.has_breaks() })
    }

    fn explains(&self, violation: &Violation, evidence: &Evidence<'_>) -> bool {
        let back = violation.at < self.until;
        // What was acknowledged before it was lost is ahead of all that comes after.
        let before = || {
            let of_it = evidence.operations.iter().filter(|(line, _)| violation.lines.contains(line));
            of_it.map(|(_, op)| op.returned).any(|returned| returned < self.until)
        };
        let lost = match violation.invariant {
            Invariant::I10 => back,
            Invariant::I12 => back && self.of_writes,
            Invariant::I17 => self.of_writes && (back || before()),
            // A value that is lost stays lost. Who is not listed at all is in a violation of I14.
            Invariant::I11 => self.of_writes,
            _ => false,
        };
        lost && self.from <= violation.at
    }
}

/// Leases that the store ended although they had been renewed, where the registry says that it may.
struct Revoked<'a> {
    from: At,
    until: At,
    /// Whom the store's own log shows to have gone.
    gone: HashSet<&'a str>,
}

impl<'a> Revoked<'a> {
    fn of(evidence: &Evidence<'a>) -> Option<Self> {
        let from = evidence.windows.first().filter(|_| evidence.run.may_expire_early)?;
        let gone = evidence.truths.iter().filter_map(|(_, truth)| match &truth.change {
            Change::Delete { id, .. } => Some(id.as_str()),
            Change::Put(_) => None,
        });
        Some(Self { from, until: all_back(evidence), gone: gone.collect() })
    }

    fn explains(&self, violation: &Violation) -> bool {
        violation.invariant == Invariant::I10
            && self.from <= violation.at
            && violation.at < self.until
            && violation.id.as_deref().is_some_and(|id| self.gone.contains(id))
    }
}

impl Evidence<'_> {
    /// Whether the store has had more than one history, as its own log shows, or those who were told of it. One without positions does not show it.
    pub(super) fn has_breaks(&self) -> bool {
        let of_log = self.truths.iter().map(|(_, truth)| (truth.position.epoch, truth.branch));
        let told = self.watchers.values().flatten().filter_map(|(_, told)| match &told.item {
            Item::Reset { position: Some(position), .. } => Some(position.epoch),
            _ => None,
        });
        let is_one = |mut all: Box<dyn Iterator<Item = (u64, u32)> + '_>| {
            let first = all.next();
            all.all(|other| Some(other) == first)
        };
        let nothing = self.truths.is_empty() && told.clone().next().is_none();
        nothing || !is_one(Box::new(of_log)) || !is_one(Box::new(told.map(|epoch| (epoch, 0))))
    }
}
