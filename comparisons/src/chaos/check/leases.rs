//! I9 and I10: what is not renewed goes within its bound, and what is renewed stays.

use std::collections::{BTreeMap, HashMap};

use super::deadlines::{Deadlines, Key};
use super::evidence::{Evidence, Holder};
use super::found::{Found, Invariant};
use super::reader::{Ended, Listing, Reader};
use super::truth::{STEPS, State, Truth};
use super::{OutOfTime, Patience};
use crate::chaos::history::{At, Listed, Operation, Outcome, Position, Verb};

pub(super) fn check(
    evidence: &Evidence<'_>,
    truth: &Truth<'_>,
    patience: &Patience<'_>,
    found: &mut Found,
) -> Result<(), OutOfTime> {
    let deadlines = Deadlines::of(evidence, truth);
    for reader in Reader::all(evidence) {
        patience.hold()?;
        for listing in &reader.listings {
            ghost(&reader, listing, &deadlines, found);
            flap(&reader, listing, &deadlines, evidence.run.ttl_ms, found);
        }
    }
    lookups(evidence, truth, &deadlines, patience, found)
}

/// I9: who reads, and says that it is current, lists nothing that is overdue.
fn ghost(reader: &Reader<'_>, listing: &Listing<'_>, deadlines: &Deadlines<'_>, found: &mut Found) {
    let Some(lease) = deadlines.lease((listing.id, listing.incarnation)) else { return };
    for overdue in &lease.overdue {
        let (from, to) = (listing.from.max(overdue.told), listing.to.min(overdue.until));
        let Some(at) = reader.live_between(from, to) else { continue };
        let lines: Vec<usize> = [overdue.line, listing.began].into_iter().chain(listing.end).collect();
        found.broken(Invariant::I9, at, listing.id, &lines, || {
            format!(
                "{} lists {} ({:?}) at {at}, although it was due by {}",
                reader.name, listing.id, listing.incarnation, overdue.asked
            )
        });
        return;
    }
}

/// I10: nobody who was told of an instance loses it within a TTL of a renewal, unless its owner left or it was taken over.
fn flap(
    reader: &Reader<'_>,
    listing: &Listing<'_>,
    deadlines: &Deadlines<'_>,
    ttl_ms: u64,
    found: &mut Found,
) {
    let Listing { id, incarnation, value, to: at, .. } = *listing;
    // Without incarnations it cannot be told which registration a late word of the end is about. A stale view is the matter of I13.
    if incarnation.is_none() || reader.is_view && !listing.live {
        return;
    }
    let cause = match listing.ended {
        Ended::Deleted(Some("deregistered")) | Ended::Not | Ended::Replaced => return,
        Ended::Deleted(cause) => cause.unwrap_or("no cause"),
        Ended::Missing => "a new list",
    };
    let key = (id, incarnation);
    let Some(renewal) = deadlines.lease(key).and_then(|lease| lease.renewed(at, value)) else { return };
    if renewal.invoked.plus_ms(ttl_ms) > at && !deadlines.left(key, at) {
        let lines: Vec<usize> = [renewal.line, listing.began].into_iter().chain(listing.end).collect();
        found.broken(Invariant::I10, at, id, &lines, || {
            let since = at.ms_since(renewal.invoked);
            format!("{} lost {id} ({incarnation:?}) by {cause}, {since} ms after it was renewed", reader.name)
        });
    }
}

/// The last acknowledged renewal of an instance.
struct Alive<'a> {
    op: &'a Operation,
    line: usize,
}

/// I9 and I10, of what is asked.
fn lookups(
    evidence: &Evidence<'_>,
    truth: &Truth<'_>,
    deadlines: &Deadlines<'_>,
    patience: &Patience<'_>,
    found: &mut Found,
) -> Result<(), OutOfTime> {
    let placed = placed(truth);
    let ttl_ms = evidence.run.ttl_ms;
    let mut renewals: Vec<_> = evidence
        .operations
        .iter()
        .filter(|(_, op)| op.is_ok() && matches!(op.verb, Verb::Register | Verb::Keepalive))
        .collect();
    renewals.sort_by_key(|(_, op)| op.returned);
    let mut renewals = renewals.into_iter().peekable();
    let mut alive: BTreeMap<&str, Alive<'_>> = BTreeMap::new();
    for (count, (line, lookup, listed)) in evidence.lookups().enumerate() {
        if count.is_multiple_of(STEPS) {
            patience.hold()?;
        }
        while let Some((line, op)) = renewals.next_if(|(_, op)| op.returned < lookup.invoked) {
            let Some(id) = op.id.as_deref() else { continue };
            let newer = Alive { op, line: *line };
            let known = alive.entry(id).or_insert(Alive { op, line: *line });
            if known.op.invoked <= op.invoked {
                *known = newer;
            }
        }
        overdue(lookup, listed, line, evidence.run.linearizable, deadlines, found);
        alive.retain(|_, alive| alive.op.invoked.plus_ms(ttl_ms) > lookup.invoked);
        let mut ids: Vec<&str> = listed.iter().map(|listed| listed.id.as_str()).collect();
        ids.sort_unstable();
        for (id, Alive { op, line: renewed }) in &alive {
            let must = op.invoked.plus_ms(ttl_ms) > lookup.returned && ids.binary_search(id).is_err();
            let late = || !evidence.run.linearizable && !reached(lookup, (id, op.under()), &placed);
            if must && !left(id, op, lookup.returned, deadlines) && !late() {
                found.broken(Invariant::I10, lookup.returned, *id, &[*renewed, line], || {
                    let since = lookup.returned.ms_since(op.invoked);
                    format!("a lookup lacks {id}, {since} ms after a renewal that was acknowledged")
                });
            }
        }
    }
    for (line, read) in &evidence.finals {
        for entry in &read.listed {
            ask(entry, read.invoked, *line, true, deadlines, found);
        }
    }
    Ok(())
}

fn overdue(
    lookup: &Operation,
    listed: &[Listed],
    line: usize,
    strict: bool,
    deadlines: &Deadlines<'_>,
    found: &mut Found,
) {
    for entry in listed {
        ask(entry, lookup.invoked, line, strict, deadlines, found);
    }
}

fn ask(entry: &Listed, at: At, line: usize, strict: bool, deadlines: &Deadlines<'_>, found: &mut Found) {
    let Some(lease) = deadlines.lease((&entry.id, entry.incarnation)) else { return };
    let over = lease.overdue.iter().find(|overdue| {
        let from = if strict { overdue.asked } else { overdue.told };
        from < at && at < overdue.until
    });
    if let Some(overdue) = over {
        found.broken(Invariant::I9, at, entry.id.as_str(), &[overdue.line, line], || {
            let (id, incarnation, due) = (&entry.id, entry.incarnation, overdue.asked);
            format!("a lookup at {at} lists {id} ({incarnation:?}), although it was due by {due}")
        });
    }
}

/// Whether who was renewed by `op` had asked to leave by `at`.
fn left(id: &str, op: &Operation, at: At, deadlines: &Deadlines<'_>) -> bool {
    match op.holder() {
        Holder::Incarnation(incarnation) => deadlines.left((id, Some(incarnation)), at),
        // Nobody else may remove it.
        client @ Holder::Client(_) => deadlines
            .leavings(id)
            .iter()
            .take_while(|leaving| leaving.invoked <= at)
            .any(|leaving| leaving.holder == client && leaving.returned >= op.invoked),
    }
}

/// At which revision each incarnation was first seen, by epoch.
fn placed<'a>(truth: &Truth<'a>) -> HashMap<(u64, Key<'a>), u64> {
    let mut placed = HashMap::new();
    for (epoch, facts) in truth.epochs() {
        for fact in facts {
            if let State::Put { incarnation, .. } = fact.state {
                placed.entry((epoch, (fact.id, incarnation))).or_insert(fact.revision);
            }
        }
    }
    placed
}

/// Whether a lookup shows a state in which that incarnation was registered. Where reads may lag, one that does not has just lagged.
fn reached(lookup: &Operation, key: Key<'_>, placed: &HashMap<(u64, Key<'_>), u64>) -> bool {
    match lookup.outcome {
        Outcome::Ok { position: Some(Position { epoch, revision }), .. } => {
            placed.get(&(epoch, key)).is_some_and(|placed| *placed <= revision)
        }
        _ => true,
    }
}
