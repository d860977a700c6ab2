//! I12: an old incarnation changes nothing of a newer one.
//!
//! An old incarnation that leaves is told `Ok`, for what it owned is gone: only what it removes counts.

use std::collections::{HashMap, HashSet};

use super::deadlines::Deadlines;
use super::evidence::{Evidence, Holder};
use super::found::{Found, Invariant};
use super::reader::{Ended, Reader};
use super::truth::{State, Truth};
use super::{OutOfTime, Patience};
use crate::chaos::history::{At, Operation, Verb};

/// How long after an old owner's request its effect may be told, in ms.
const EFFECT_MS: u64 = 1_000;

pub(super) fn check(
    evidence: &Evidence<'_>,
    truth: &Truth<'_>,
    patience: &Patience<'_>,
    found: &mut Found,
) -> Result<(), OutOfTime> {
    let registrations = Registrations::of(evidence);
    for (line, op) in &evidence.operations {
        if let Some((id, newer)) = registrations.over(op)
            && op.is_ok()
            && matches!(op.verb, Verb::Keepalive | Verb::Update)
        {
            found.broken(Invariant::I12, op.returned, id, &[newer.line, *line], || {
                let (old, new) = (op.holder(), newer.holder);
                format!("{:?} of {id} by {old:?} succeeded after {new:?} was registered", op.verb)
            });
        }
    }
    patience.hold()?;
    overwritten(truth, found);
    patience.hold()?;
    removed(evidence, truth, &registrations, found);
    Ok(())
}

/// An acknowledged registration.
#[derive(Clone, Copy, Debug)]
struct Registered<'a> {
    invoked: At,
    returned: At,
    holder: Holder<'a>,
    line: usize,
}

/// All acknowledged registrations.
struct Registrations<'a> {
    /// By instance, in the order of answers, each with the one that was invoked last up to there.
    of: HashMap<&'a str, Vec<(Registered<'a>, Registered<'a>)>>,
    /// The last time that somebody asked to be registered.
    last: HashMap<(&'a str, Holder<'a>), At>,
}

impl<'a> Registrations<'a> {
    fn of(evidence: &Evidence<'a>) -> Self {
        let mut all: HashMap<&str, Vec<Registered<'_>>> = HashMap::new();
        let mut last = HashMap::new();
        for (line, op) in evidence.operations.iter().filter(|(_, op)| op.verb == Verb::Register) {
            let Some(id) = op.id.as_deref() else { continue };
            if op.may_be_done() {
                last.insert((id, op.holder()), op.invoked);
            }
            if op.is_ok() {
                let (invoked, returned, holder, line) = (op.invoked, op.returned, op.holder(), *line);
                all.entry(id).or_default().push(Registered { invoked, returned, holder, line });
            }
        }
        let sorted = |mut of: Vec<Registered<'a>>| {
            of.sort_by_key(|one| one.returned);
            let mut newest: Option<Registered<'_>> = None;
            let with_newest = |one: Registered<'a>| {
                let now = newest.filter(|newest| newest.invoked > one.invoked).unwrap_or(one);
                newest = Some(now);
                (one, now)
            };
            of.into_iter().map(with_newest).collect()
        };
        Self { of: all.into_iter().map(|(id, of)| (id, sorted(of))).collect(), last }
    }

    /// The registration that had the instance at `at`, as far as it was acknowledged before.
    fn holds(&self, id: &str, at: At) -> Option<Registered<'a>> {
        let of = self.of.get(id)?;
        let index = of.partition_point(|(one, _)| one.returned < at).checked_sub(1)?;
        of.get(index).map(|(_, newest)| *newest)
    }

    /// The registration that took over from who asks for `op`, and was acknowledged before.
    fn over<'o>(&self, op: &'o Operation) -> Option<(&'o str, Registered<'a>)> {
        let id = op.id.as_deref()?;
        let newer = self.holds(id, op.invoked)?;
        let old = op.holder();
        let asked = *self.last.get(&(id, old))?;
        let later = match (old, newer.holder) {
            // Of two that were asked for at the same time the one with the higher incarnation came second.
            (Holder::Incarnation(old), Holder::Incarnation(new)) => asked < newer.invoked && old < new,
            (Holder::Client(_), Holder::Client(_)) => asked < newer.invoked,
            _ => false,
        };
        (newer.holder != old && later).then_some((id, newer))
    }
}

/// No entry is replaced by one of a lower incarnation.
fn overwritten(truth: &Truth<'_>, found: &mut Found) {
    for (epoch, facts) in truth.epochs() {
        let mut last: HashMap<&str, (u64, u64, usize)> = HashMap::new();
        for fact in facts {
            let State::Put { incarnation: Some(incarnation), .. } = fact.state else {
                last.remove(fact.id);
                continue;
            };
            let now = (incarnation, fact.revision, fact.line);
            let Some((before, revision, line)) = last.insert(fact.id, now) else { continue };
            if incarnation < before && truth.covers(epoch, revision, fact.revision) {
                found.broken(Invariant::I12, fact.at, fact.id, &[line, fact.line], || {
                    let (id, at) = (fact.id, fact.revision);
                    format!("{id} of incarnation {before} was overwritten by {incarnation} at {epoch}:{at}")
                });
            }
        }
    }
}

/// No entry is removed by another than its owner, but by the end of its lease.
fn removed(evidence: &Evidence<'_>, truth: &Truth<'_>, registrations: &Registrations<'_>, found: &mut Found) {
    let deadlines = Deadlines::of(evidence, truth);
    let ttl_ms = evidence.run.ttl_ms;
    let mut told = HashSet::new();
    for reader in Reader::all(evidence).iter().filter(|reader| !reader.is_view) {
        for listing in &reader.listings {
            let (Ended::Deleted(cause), Some(end)) = (listing.ended, listing.end) else { continue };
            let (id, at, key) = (listing.id, listing.to, (listing.id, listing.incarnation));
            let by_another = deadlines.leavings(id).iter().rev().find(|leaving| {
                let recent = leaving.invoked <= at && at <= leaving.returned.plus_ms(EFFECT_MS + ttl_ms);
                recent
                    && match (leaving.holder, listing.incarnation) {
                        (Holder::Incarnation(left), Some(incarnation)) => left < incarnation,
                        (left @ Holder::Client(_), None) => {
                            at <= leaving.returned.plus_ms(EFFECT_MS)
                                && registrations
                                    .holds(id, leaving.invoked)
                                    .is_some_and(|held| held.holder != left)
                        }
                        _ => false,
                    }
            });
            let wrongly = match (cause, listing.incarnation) {
                (Some("deregistered"), Some(_)) => !deadlines.left(key, at),
                (_, None) => by_another.is_some(),
                // By an end that is not its own: an older one's, whose lease was running still.
                // Where leases that were renewed may end, that is the matter of I10 alone.
                (Some("expired"), Some(incarnation))
                    if evidence.run.keeps_acknowledged && !evidence.run.may_expire_early
                        || evidence.windows.first().is_none_or(|struck| at < struck) =>
                {
                    let renewed = deadlines.lease(key).and_then(|lease| lease.renewed(at, listing.value));
                    let alive = renewed.is_some_and(|renewal| renewal.invoked.plus_ms(ttl_ms) > at);
                    let before = registrations.before(id, incarnation, at);
                    alive && before.is_some_and(|before| at <= before.plus_ms(2 * ttl_ms + EFFECT_MS))
                }
                _ => false,
            };
            if wrongly && told.insert(key) {
                let lines: Vec<usize> =
                    by_another.map(|by| by.line).into_iter().chain([listing.began, end]).collect();
                found.broken(Invariant::I12, at, id, &lines, || {
                    let incarnation = listing.incarnation;
                    format!(
                        "{id} ({incarnation:?}) was removed at {at}, told as {cause:?}, and not by its owner"
                    )
                });
            }
        }
    }
}

impl Registrations<'_> {
    /// When the incarnation that `incarnation` took over from was last taken over.
    fn before(&self, id: &str, incarnation: u64, at: At) -> Option<At> {
        let of = self.of.get(id)?;
        let mine =
            of.iter().map(|(one, _)| one).find(|one| one.holder == Holder::Incarnation(incarnation))?;
        let older = |one: &Registered<'_>| matches!(one.holder, Holder::Incarnation(i) if i < incarnation);
        let any = of.iter().map(|(one, _)| one).any(|one| older(one) && one.returned <= mine.returned);
        (any && mine.returned <= at).then_some(mine.returned)
    }
}
