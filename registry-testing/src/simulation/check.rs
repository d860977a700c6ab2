//! The promises, as pure functions over a history and the truth. Each gives what it found; nothing is good.

use std::collections::BTreeMap;

use registry_core::{
    Change, Cursor, DeleteCause, Epoch, ErrorKind, InstanceId, Operation, OwnerToken, ResetCause, Revision,
    ServiceName, Snapshot,
};
use registry_memory::JournalItem;
use tokio::time::{Duration, Instant};

use super::history::{Answer, OperationRecord, Record, Seen};
use super::truth::Truth;
use super::{Violation, guard_check};

/// For how long a view may say that it is live without new proof: the silence that a feed is allowed, then the patience with
/// opening the next one, and a little.
pub(super) const PROOF: Duration = Duration::from_secs(14);

/// Everything that `records` show to be broken, given the store's `journal`.
#[must_use]
pub fn check(records: &[Record], journal: &[JournalItem]) -> Vec<Violation> {
    let truth = Truth::new(journal);
    let asked: Vec<_> = operations(records, true);
    let served: Vec<_> = operations(records, false);
    let mut found = Vec::new();
    watchers(records, &truth, &mut found);
    views(records, &truth, &mut found);
    guard_check::guarded(records, &truth, &mut found);
    not_early(&asked, &truth, &mut found);
    no_ghosts(&asked, &served, &mut found);
    fenced(&asked, &served, &truth, &mut found);
    visible_at_their_revision(&asked, &truth, &mut found);
    linearizable(&asked, &truth, &mut found);
    idempotent(&served, &truth, &mut found);
    answers(records, &truth, &mut found);
    found
}

fn operations(records: &[Record], asked: bool) -> Vec<&OperationRecord> {
    records
        .iter()
        .filter_map(|record| match record {
            Record::Asked(op) if asked => Some(op),
            Record::Served(op) if !asked => Some(op),
            _ => None,
        })
        .collect()
}

pub(super) fn violation(invariant: &'static str, what: impl Into<String>) -> Violation {
    Violation { invariant, what: what.into() }
}

/// I1 to I7: what each watcher was given is the truth, in order, once, whole and without a gap.
fn watchers(records: &[Record], truth: &Truth, found: &mut Vec<Violation>) {
    let mut positions: BTreeMap<usize, Position> = BTreeMap::new();
    for record in records {
        let Record::Saw { watcher, service, from, seen, .. } = record else { continue };
        let position = positions.entry(*watcher).or_insert_with(|| Position::new(*from));
        if let Err(violation) = position.take(service, seen, truth) {
            found.push(Violation {
                what: format!("watcher {watcher} of {service}: {}", violation.what),
                ..violation
            });
        }
    }
}

/// Up to where a watcher was told.
struct Position {
    at: Option<Cursor>,
    stale: bool,
}

impl Position {
    fn new(from: Option<Cursor>) -> Self {
        Self { at: from, stale: false }
    }

    fn take(&mut self, service: &ServiceName, seen: &Seen, truth: &Truth) -> Result<(), Violation> {
        let before = self.at;
        match seen {
            Seen::Stale(_) => {
                let told_twice = std::mem::replace(&mut self.stale, true);
                if told_twice { Err(violation("I15 fresh", "stale twice in a row")) } else { Ok(()) }
            }
            Seen::Reset(snapshot, cause) => {
                self.at = Some(snapshot.cursor());
                if let Some(before) = before.filter(|before| before.epoch() == snapshot.epoch())
                    && snapshot.revision() < before.revision()
                {
                    let what = format!("reset ({cause}) from {before} back to {}", snapshot.cursor());
                    return Err(violation("I1 ordered", what));
                }
                // A reset that no cause explains: the history was there, and was not resumed.
                if before.is_some_and(|before| before.epoch() == snapshot.epoch())
                    && *cause == ResetCause::Unknown
                {
                    return Err(violation(
                        "I5 resumable",
                        format!("reset ({cause}) at {}", snapshot.cursor()),
                    ));
                }
                same_list(snapshot, truth, "I4 reliable")
            }
            Seen::Changes(batch) => {
                self.at = Some(batch.cursor);
                let Some(before) = before else {
                    return Err(violation("I4 reliable", "changes before the first reset"));
                };
                if before.epoch() != batch.cursor.epoch() {
                    return Err(violation(
                        "I1 ordered",
                        format!("from {before} to {} without a reset", batch.cursor),
                    ));
                }
                if batch.cursor.revision() <= before.revision() {
                    let what = format!("changes at {} after {before}", batch.cursor);
                    return Err(violation("I2 unique", what));
                }
                match truth.after(before.epoch(), service, before.revision()).first() {
                    Some(step) if step.batch == *batch => Ok(()),
                    Some(step) if step.batch.cursor == batch.cursor => {
                        let what = format!(
                            "{} of {} changes at {}",
                            batch.changes.len(),
                            step.batch.changes.len(),
                            batch.cursor
                        );
                        Err(violation("I3 atomic", what))
                    }
                    Some(step) => {
                        let what = format!(
                            "after {before} came {}, and {} was never told",
                            batch.cursor, step.batch.cursor
                        );
                        Err(violation("I7 honest gap", what))
                    }
                    None => {
                        Err(violation("I4 reliable", format!("changes at {} never happened", batch.cursor)))
                    }
                }
            }
            Seen::Progress(cursor) | Seen::Live(cursor) => {
                self.stale = false;
                self.at = Some(*cursor);
                let Some(before) = before else {
                    return Err(violation("I6 bookmark", "progress before the first reset"));
                };
                if before.epoch() != cursor.epoch() || cursor.revision() < before.revision() {
                    return Err(violation("I1 ordered", format!("progress from {before} to {cursor}")));
                }
                match truth.after(before.epoch(), service, before.revision()).first() {
                    Some(step) if step.batch.cursor.revision() <= cursor.revision() => {
                        let what = format!(
                            "progress from {before} to {cursor}, and {} was never told",
                            step.batch.cursor
                        );
                        Err(violation("I7 honest gap", what))
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

fn same_list(list: &Snapshot, truth: &Truth, invariant: &'static str) -> Result<(), Violation> {
    let state = truth.state(list.epoch(), list.service(), list.revision());
    if list.iter().eq(state.values()) {
        return Ok(());
    }
    let ids =
        |entries: Vec<&InstanceId>| entries.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let given = ids(list.iter().map(|entry| entry.id()).collect());
    let true_ids = ids(state.keys().collect());
    Err(violation(
        invariant,
        format!("{} at {} is [{given}], was given [{true_ids}] by the store", list.service(), list.cursor()),
    ))
}

/// I13 and I15: a view shows the truth at its cursor, is never emptied, and does not say that it is live without proof.
fn views(records: &[Record], truth: &Truth, found: &mut Vec<Violation>) {
    let mut had: BTreeMap<usize, Cursor> = BTreeMap::new();
    for record in records {
        let Record::Viewed { view, service, at, snapshot, proven } = record else { continue };
        match snapshot {
            None if had.contains_key(view) => {
                found.push(violation(
                    "I13 static stability",
                    format!("view {view} of {service} lost its list"),
                ));
            }
            None => {}
            Some(snapshot) => {
                let before = had.insert(*view, snapshot.cursor());
                let fell = |before: &Cursor| {
                    before.epoch() == snapshot.epoch() && snapshot.revision() < before.revision()
                };
                if let Some(before) = before.filter(fell) {
                    let what =
                        format!("view {view} of {service} from {before} back to {}", snapshot.cursor());
                    found.push(violation("I1 ordered", what));
                }
                found.extend(same_list(snapshot, truth, "I13 static stability").err());
            }
        }
        if let Some(proven) = proven.filter(|proven| *at > *proven + PROOF) {
            let what = format!("view {view} of {service} says live, last proven {:?} ago", *at - proven);
            found.push(violation("I15 fresh", what));
        }
    }
}

/// The TTL of every lease, by its key.
fn ttls(operations: &[&OperationRecord]) -> BTreeMap<u128, Duration> {
    operations.iter().filter_map(|op| Some((op.lease.as_ref()?.key(), op.ttl?))).collect()
}

fn is_renewal(op: &OperationRecord) -> bool {
    op.outcome.is_ok() && matches!(op.operation, Operation::Register | Operation::Keepalive)
}

/// I10: what was renewed at `t`, and acknowledged, does not expire before `t` + TTL.
fn not_early(asked: &[&OperationRecord], truth: &Truth, found: &mut Vec<Violation>) {
    let ttls = ttls(asked);
    for gone in truth.gone.iter().filter(|gone| gone.cause == DeleteCause::Expired) {
        // What a restore put back has the deadlines of the backup.
        let era = truth.era_began(gone.at);
        for op in asked.iter().filter(|op| is_renewal(op) && Some(op.invoked) >= era && op.returned < gone.at)
        {
            let Some(lease) = &op.lease else { continue };
            let same = lease.id() == gone.entry.id()
                && lease.incarnation() == gone.entry.incarnation()
                && lease.service() == gone.entry.instance().service();
            if let Some(ttl) = ttls.get(&lease.key()).filter(|_| same)
                && op.invoked + *ttl > gone.at
            {
                let early = op.invoked + *ttl - gone.at;
                let what = format!(
                    "{} {} at {} expired {early:?} early, {:?} after {}",
                    lease.service(),
                    lease.id(),
                    gone.batch,
                    gone.at - op.invoked,
                    op.operation
                );
                found.push(violation("I10 no flap", what));
            }
        }
    }
}

/// I9: a lookup lists nothing whose last renewal is a TTL and more ago.
fn no_ghosts(asked: &[&OperationRecord], served: &[&OperationRecord], found: &mut Vec<Violation>) {
    let ttls = ttls(served);
    let mut ends: BTreeMap<(&ServiceName, &InstanceId, u64), Instant> = BTreeMap::new();
    let mut renewals: Vec<_> = served.iter().filter(|op| is_renewal(op)).collect();
    renewals.sort_by_key(|op| op.returned);
    let mut lookups: Vec<_> = asked.iter().filter(|op| matches!(op.outcome, Ok(Answer::Listed(_)))).collect();
    lookups.sort_by_key(|op| op.returned);
    let mut renewals = renewals.into_iter().peekable();
    for lookup in lookups {
        while let Some(op) = renewals.next_if(|op| op.invoked <= lookup.returned) {
            let Some(lease) = &op.lease else { continue };
            let Some(ttl) = ttls.get(&lease.key()) else { continue };
            let end =
                ends.entry((lease.service(), lease.id(), lease.incarnation().get())).or_insert(op.returned);
            *end = (*end).max(op.returned + *ttl);
        }
        let Ok(Answer::Listed(list)) = &lookup.outcome else { continue };
        // Foreign writers have no heartbeats.
        for entry in list.iter().filter(|entry| entry.incarnation().get() > 0) {
            let end = ends.get(&(list.service(), entry.id(), entry.incarnation().get()));
            if end.is_none_or(|end| *end < lookup.invoked) {
                let late = end.map(|end| lookup.invoked - *end);
                let what = format!("{} {} listed {late:?} after its end", list.service(), entry.id());
                found.push(violation("I9 no ghost", what));
            }
        }
    }
}

/// I12: an operation of a lease that no longer holds its entry fails, and removes nothing.
fn fenced(
    asked: &[&OperationRecord],
    served: &[&OperationRecord],
    truth: &Truth,
    found: &mut Vec<Violation>,
) {
    for op in asked.iter().filter(|op| op.outcome.is_ok()) {
        let Some(lease) = &op.lease else { continue };
        let renews = matches!(op.operation, Operation::Keepalive | Operation::Update);
        if renews
            && !truth.was_listed(lease.service(), lease.id(), lease.incarnation(), op.invoked, op.returned)
        {
            let what = format!(
                "{} of {} {} succeeded for incarnation {}, which does not hold it",
                op.operation,
                lease.service(),
                lease.id(),
                lease.incarnation()
            );
            found.push(violation("I12 fencing", what));
        }
    }
    for gone in truth.gone.iter().filter(|gone| gone.cause == DeleteCause::Deregistered) {
        let by_owner = served.iter().any(|op| {
            op.operation == Operation::Deregister
                && op.invoked <= gone.at
                && gone.at <= op.returned
                && op.lease.as_ref().is_some_and(|lease| {
                    lease.id() == gone.entry.id() && lease.incarnation() == gone.entry.incarnation()
                })
        });
        if !by_owner {
            let what = format!(
                "{} was deregistered, and not by its incarnation {}",
                gone.entry.id(),
                gone.entry.incarnation()
            );
            found.push(violation("I12 fencing", what));
        }
    }
}

/// A change is in the store at exactly the revision that its caller was told.
fn visible_at_their_revision(asked: &[&OperationRecord], truth: &Truth, found: &mut Vec<Violation>) {
    for op in asked {
        let (Ok(Answer::At(revision)), Some(lease)) = (&op.outcome, &op.lease) else { continue };
        let Some(epoch) = truth.epoch_throughout(op.invoked, op.returned) else { continue };
        let before = Revision::new(revision.get().saturating_sub(1));
        let step = truth.after(epoch, lease.service(), before).first();
        let there = step.filter(|step| step.batch.cursor.revision() == *revision).is_some_and(|step| {
            step.batch.changes.iter().any(|change| match change {
                Change::Put(entry) => {
                    Some(entry.instance()) == op.instance.as_ref()
                        && entry.incarnation() == lease.incarnation()
                }
                _ => false,
            })
        });
        // A retry is answered with the revision of the attempt that happened, which a restore may have put into an earlier epoch.
        let restored = || {
            truth
                .state(epoch, lease.service(), *revision)
                .get(lease.id())
                .is_some_and(|entry| entry.modified() == *revision)
        };
        if !there && !restored() {
            let what = format!(
                "{} of {} {} at {revision} is not in the store",
                op.operation,
                lease.service(),
                lease.id()
            );
            found.push(violation("I17 linearizable", what));
        }
    }
}

/// I17, by the revision witness: what was acknowledged before an operation began has a lower revision than it, and a
/// lookup lists exactly what was there at its revision.
fn linearizable(asked: &[&OperationRecord], truth: &Truth, found: &mut Vec<Violation>) {
    struct Witness<'a> {
        op: &'a OperationRecord,
        epoch: Epoch,
        revision: Revision,
    }
    let mut witnesses = Vec::new();
    for op in asked {
        match &op.outcome {
            Ok(Answer::Listed(list)) => {
                found.extend(same_list(list, truth, "I17 linearizable").err());
                witnesses.push(Witness { op, epoch: list.epoch(), revision: list.revision() });
            }
            Ok(Answer::At(revision)) => {
                if let Some(epoch) = truth.epoch_throughout(op.invoked, op.returned) {
                    witnesses.push(Witness { op, epoch, revision: *revision });
                }
            }
            _ => {}
        }
    }
    let mut ended: Vec<_> = witnesses.iter().collect();
    ended.sort_by_key(|witness| witness.op.returned);
    let mut begun: Vec<_> = witnesses.iter().collect();
    begun.sort_by_key(|witness| witness.op.invoked);
    let mut ended = ended.into_iter().peekable();
    let mut highest: BTreeMap<u64, Revision> = BTreeMap::new();
    for witness in begun {
        while let Some(done) = ended.next_if(|done| done.op.returned < witness.op.invoked) {
            let high = highest.entry(done.epoch.get()).or_default();
            *high = (*high).max(done.revision);
        }
        // A repeated registration may be answered with its old revision.
        let repeats = witness.op.operation == Operation::Register;
        let high = highest.get(&witness.epoch.get()).copied().unwrap_or_default();
        if !repeats && witness.revision < high {
            let what = format!(
                "{} at {} began after {high} was acknowledged",
                witness.op.operation, witness.revision
            );
            found.push(violation("I17 linearizable", what));
        }
    }
}

/// A registration repeated with its token, while its entry is listed, gives the same lease.
fn idempotent(served: &[&OperationRecord], truth: &Truth, found: &mut Vec<Violation>) {
    let mut given: BTreeMap<(&ServiceName, &InstanceId), (OwnerToken, &OperationRecord)> = BTreeMap::new();
    for op in served.iter().filter(|op| op.operation == Operation::Register) {
        let (Some(service), Some(id), Some(token)) = (&op.service, &op.id, op.token) else { continue };
        let before =
            given.get(&(service, id)).filter(|(owner, _)| *owner == token).map(|(_, before)| *before);
        if let Some(before) = before.and_then(|before| before.lease.as_ref())
            && truth.epoch_throughout(given[&(service, id)].1.invoked, op.returned).is_some()
            && truth.listed_throughout(
                service,
                id,
                before.incarnation(),
                given[&(service, id)].1.returned,
                op.returned,
            )
        {
            let same = op.lease.as_ref() == Some(before);
            if !same && matches!(op.outcome, Ok(_) | Err(ErrorKind::AlreadyRegistered)) {
                let what = format!(
                    "{service} {id} registered twice with one token: {:?} after {before:?}",
                    op.lease
                );
                found.push(violation("I11 acknowledged kept", what));
            }
        }
        if op.outcome.is_ok() {
            given.insert((service, id), (token, op));
        }
    }
}

/// I11 and I12, as a registrar's owner sees them: who was told that it has left is not listed, and what was said to be published is in the
/// store at that revision.
fn answers(records: &[Record], truth: &Truth, found: &mut Vec<Violation>) {
    for record in records {
        match record {
            // A restore brings entries back under no lease that an owner has.
            Record::Left { service, id, incarnation, at }
                if !truth.is_restored(*at) && truth.was_listed_around(service, id, *incarnation, *at) =>
            {
                let what = format!("{service} {id} was told that it has left, and is listed");
                found.push(violation("I12 fencing", what));
            }
            Record::Published { instance, revision, between: (asked, told) } => {
                let Some(epoch) = truth.epoch_throughout(*asked, *told) else { continue };
                let before = Revision::new(revision.get().saturating_sub(1));
                let step = truth.after(epoch, instance.service(), before).first();
                let there = step.is_some_and(|step| {
                    step.batch.cursor.revision() == *revision
                        && step.batch.changes.iter().any(
                            |change| matches!(change, Change::Put(entry) if entry.instance() == instance),
                        )
                });
                if !there {
                    let what =
                        format!("{instance:?} was said to be published at {revision}, and is not there");
                    found.push(violation("I11 acknowledged kept", what));
                }
            }
            _ => {}
        }
    }
}
