//! What really happened, from the store's journal: the state of every service after every revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use registry_core::{
    Batch, Change, Cursor, DeleteCause, Entry, Epoch, Incarnation, InstanceId, Revision, ServiceName,
};
use registry_memory::JournalItem;
use tokio::time::Instant;

type Entries = imbl::OrdMap<InstanceId, Arc<Entry>>;

/// One service in one epoch: its changes in order, with the state after each.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    beginning: Entries,
    pub(super) steps: Vec<Step>,
}

/// A change, and the state after it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) batch: Batch,
    pub(super) after: Entries,
}

/// An entry that was taken out of a service.
#[derive(Clone, Debug)]
pub(super) struct Gone {
    pub(super) at: Instant,
    pub(super) batch: Cursor,
    pub(super) entry: Arc<Entry>,
    pub(super) cause: DeleteCause,
}

/// An epoch, and when it began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Era {
    pub(super) epoch: Epoch,
    pub(super) began: Instant,
    /// Whether it began with entries of a backup.
    restored: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    lines: BTreeMap<(u64, ServiceName), Line>,
    pub(super) eras: Vec<Era>,
    pub(super) gone: Vec<Gone>,
    /// When each incarnation was listed.
    listed: BTreeMap<Claim, Vec<Span>>,
}

/// From when to when something was listed; without an end, it still is.
type Span = (Instant, Option<Instant>);

/// One incarnation's entry.
type Claim = (ServiceName, InstanceId, u64);

fn claim(entry: &Entry) -> Claim {
    (entry.instance().service().clone(), entry.id().clone(), entry.incarnation().get())
}

impl Truth {
    pub(super) fn new(journal: &[JournalItem]) -> Self {
        let mut truth = Self::default();
        for item in journal {
            match item {
                JournalItem::Began { at, epoch, entries } => {
                    truth.eras.push(Era { epoch: *epoch, began: *at, restored: !entries.is_empty() });
                    for spans in truth.listed.values_mut() {
                        close(spans, *at);
                    }
                    for entry in entries {
                        let line = truth.line_mut(*epoch, entry.instance().service());
                        line.beginning.insert(entry.id().clone(), Arc::clone(entry));
                        truth.listed.entry(claim(entry)).or_default().push((*at, None));
                    }
                }
                JournalItem::Changed { at, service, batch } => truth.change(*at, service, batch),
                item => unreachable!("a journal of a later version: {item:?}"),
            }
        }
        truth
    }

    fn change(&mut self, at: Instant, service: &ServiceName, batch: &Batch) {
        let line = self.line_mut(batch.cursor.epoch(), service);
        let mut after = line.steps.last().map_or(&line.beginning, |step| &step.after).clone();
        let mut gone = Vec::new();
        let mut replaced = Vec::new();
        for change in &batch.changes {
            match change {
                Change::Put(entry) => {
                    let before = after.insert(entry.id().clone(), Arc::clone(entry));
                    match before.filter(|before| before.incarnation() != entry.incarnation()) {
                        Some(before) => replaced.push((Some(before), Some(Arc::clone(entry)))),
                        None => replaced.push((None, Some(Arc::clone(entry)))),
                    }
                }
                Change::Delete { id, cause } => {
                    let entry = after.remove(id);
                    replaced.push((entry.clone(), None));
                    gone.extend(entry.map(|entry| Gone { at, batch: batch.cursor, entry, cause: *cause }));
                }
                change => unreachable!("a change of a later version: {change:?}"),
            }
        }
        line.steps.push(Step { batch: batch.clone(), after });
        self.gone.extend(gone);
        for (before, after) in replaced {
            if let Some(before) = before {
                close(self.listed.entry(claim(&before)).or_default(), at);
            }
            if let Some(after) = after {
                let spans = self.listed.entry(claim(&after)).or_default();
                if spans.last().is_none_or(|(_, end)| end.is_some()) {
                    spans.push((at, None));
                }
            }
        }
    }

    fn line_mut(&mut self, epoch: Epoch, service: &ServiceName) -> &mut Line {
        self.lines.entry((epoch.get(), service.clone())).or_default()
    }

    /// The changes of `service` in `epoch` after `revision`.
    pub(super) fn after(&self, epoch: Epoch, service: &ServiceName, revision: Revision) -> &[Step] {
        let Some(line) = self.lines.get(&(epoch.get(), service.clone())) else { return &[] };
        let at = line.steps.partition_point(|step| step.batch.cursor.revision() <= revision);
        &line.steps[at..]
    }

    /// How many changes of `service` lie between two cursors; all that there may be when they are of two epochs.
    pub(super) fn missing(&self, service: &ServiceName, from: Cursor, to: Cursor) -> usize {
        if from.epoch() != to.epoch() {
            return usize::MAX;
        }
        self.after(from.epoch(), service, from.revision()).len()
    }

    /// The entries of `service` in `epoch` at `revision`.
    pub(super) fn state(&self, epoch: Epoch, service: &ServiceName, revision: Revision) -> Entries {
        let Some(line) = self.lines.get(&(epoch.get(), service.clone())) else { return Entries::new() };
        let at = line.steps.partition_point(|step| step.batch.cursor.revision() <= revision);
        match at.checked_sub(1) {
            Some(last) => line.steps[last].after.clone(),
            None => line.beginning.clone(),
        }
    }

    fn spans(&self, service: &ServiceName, id: &InstanceId, incarnation: Incarnation) -> &[Span] {
        self.listed.get(&(service.clone(), id.clone(), incarnation.get())).map_or(&[], Vec::as_slice)
    }

    /// Whether the incarnation was listed at any moment from `from` to `to`.
    pub(super) fn was_listed(
        &self,
        service: &ServiceName,
        id: &InstanceId,
        incarnation: Incarnation,
        from: Instant,
        to: Instant,
    ) -> bool {
        let spans = self.spans(service, id, incarnation);
        spans.iter().any(|(start, end)| *start <= to && end.is_none_or(|end| end >= from))
    }

    /// Whether the incarnation was listed just before and just after `at`.
    pub(super) fn was_listed_around(
        &self,
        service: &ServiceName,
        id: &InstanceId,
        incarnation: Incarnation,
        at: Instant,
    ) -> bool {
        let spans = self.spans(service, id, incarnation);
        spans.iter().any(|(start, end)| *start < at && end.is_none_or(|end| end > at))
    }

    /// Whether the incarnation was listed all the time from `from` to `to`.
    pub(super) fn listed_throughout(
        &self,
        service: &ServiceName,
        id: &InstanceId,
        incarnation: Incarnation,
        from: Instant,
        to: Instant,
    ) -> bool {
        let spans = self.spans(service, id, incarnation);
        let within = |(start, end): &Span| *start <= from && end.is_none_or(|end| end > to);
        // Gone and back within one moment is not all the time.
        let ended = |(_, end): &Span| end.is_some_and(|end| end >= from && end <= to);
        spans.iter().any(within) && !spans.iter().any(ended)
    }

    /// Whether the epoch in force at `at` began with entries of a backup.
    pub(super) fn is_restored(&self, at: Instant) -> bool {
        self.eras.iter().rev().find(|era| era.began <= at).is_some_and(|era| era.restored)
    }

    /// When the epoch in force at `at` began.
    pub(super) fn era_began(&self, at: Instant) -> Option<Instant> {
        self.eras.iter().rev().find(|era| era.began <= at).map(|era| era.began)
    }

    /// The epoch in force from `from` to `to`, when there was only one.
    pub(super) fn epoch_throughout(&self, from: Instant, to: Instant) -> Option<Epoch> {
        let before = self
            .eras
            .iter()
            .rposition(|era| era.began < from)
            .or_else(|| self.eras.len().checked_sub(1).map(|_| 0))?;
        let changes = self.eras.iter().skip(before + 1).any(|era| era.began <= to);
        (!changes).then(|| self.eras[before].epoch)
    }
}

fn close(spans: &mut [Span], at: Instant) {
    if let Some((_, end)) = spans.last_mut() {
        end.get_or_insert(at);
    }
}
