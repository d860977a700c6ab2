//! The state of a service, and all its instances at one revision.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::time::Duration;

use redis::{Cmd, RedisError, Value};
use registry_core::{
    Batch, Change, Cursor, Entry, Epoch, Error, ErrorKind, InstanceId, Operation, Result, Revision,
    ServiceName, Snapshot,
};
use std::sync::Arc;

use crate::error::{failure, refuses_writes, strange};
use crate::hex;
use crate::layout::json::{self, Item};
use crate::log::{self, Broken};
use crate::registry::RedisRegistry;
use crate::script;
use crate::store::went_back;

/// How often a load begins anew because the history was replaced or trimmed meanwhile.
const TRIES: usize = 8;
/// So many overdue leases are ended by one call.
pub(crate) const SWEEP: usize = 256;
/// As many of other hands' writes are looked into at a time.
const ODD: usize = 64;

/// Where a service is.
#[derive(Debug)]
pub(crate) struct State {
    /// In no epoch: nothing was ever written.
    pub(crate) at: Option<Cursor>,
    /// Until the first deadline; none where there is no lease.
    pub(crate) due: Option<Duration>,
    /// The epoch before this one, where that had another history at the same revisions.
    pub(crate) before: Option<Epoch>,
    /// For how long nobody has looked for what other hands wrote.
    pub(crate) unscrubbed: Duration,
    /// Whether another process served when it was last written to, so that time has to be set right.
    other_run: bool,
    /// How many ids have a value.
    values: usize,
    /// How many are listed.
    pub(crate) listed: usize,
    entries: Vec<Value>,
}

impl State {
    /// Whether something is to be written before this tells the truth.
    pub(crate) fn wants_sweep(&self) -> bool {
        self.at.is_none() || self.due == Some(Duration::ZERO) || self.other_run
    }
}

/// Why a load has to begin anew.
enum Again {
    /// At once.
    Now,
    /// After these were looked into.
    After(Vec<String>),
}

impl RedisRegistry {
    /// Where a service is, with its instances if there are at most `limit` values.
    pub(crate) async fn state(
        &self,
        service: &ServiceName,
        limit: usize,
        operation: Operation,
    ) -> Result<State> {
        let seen = self.store().seen(service);
        let (epoch, revision, nonce) =
            seen.map_or((0, 0, 0), |seen| (seen.epoch().get(), seen.revision().get(), seen.proof()));
        let args = |call: &mut Cmd| {
            call.arg(limit).arg(&hex::digits(epoch)).arg(revision).arg(&hex::digits(nonce));
        };
        let mut answer = self.connection().script(operation, service, &script::READ, &args).await?;
        let now = answer.now();
        let epoch = answer.text()?;
        let revision = Revision::new(answer.count()?);
        let nonce = answer.text()?;
        let due = answer.number()?;
        let before = hex::number(answer.text()?.as_bytes()).map(Epoch::new);
        let unscrubbed = Duration::from_millis(u64::try_from(now - answer.number()?).unwrap_or_default());
        let other_run = answer.number()? != 0;
        let replaced = answer.number()? != 0;
        let values = usize::try_from(answer.count()?).unwrap_or(usize::MAX);
        let listed = usize::try_from(answer.count()?).unwrap_or(usize::MAX);
        let entries = answer.list()?;
        let at = match hex::number(epoch.as_bytes()) {
            Some(epoch) => {
                let nonce = hex::number(nonce.as_bytes()).unwrap_or_default();
                Some(Cursor::new(Epoch::new(epoch), revision, nonce))
            }
            None if epoch.is_empty() => None,
            None => return Err(strange(operation, "an epoch that no script wrote")),
        };
        if let Some(at) = at {
            if replaced || went_back(seen, at) {
                match self.begin_epoch(service, at.epoch(), operation).await {
                    // Who may not write cannot watch either, and is told what is there now.
                    Err(error) if replaced && error.kind() == ErrorKind::PermissionDenied => {}
                    Err(error) => return Err(error),
                    Ok(()) => {
                        let message = "the history of the service turned out to be another one";
                        return Err(failure(ErrorKind::Unavailable, operation, message)
                            .with_retry(registry_core::Retry::Now));
                    }
                }
            }
            self.store().saw(service, at);
        }
        let due = u64::try_from(due).ok().map(Duration::from_millis);
        Ok(State { at, due, before, unscrubbed, other_run, values, listed, entries })
    }

    /// The same, after what is overdue was ended and a history was begun, as far as writing is possible.
    pub(crate) async fn swept(
        &self,
        service: &ServiceName,
        limit: usize,
        operation: Operation,
    ) -> Result<State> {
        let mut back = 0;
        loop {
            let state = match self.state(service, limit, operation).await {
                Err(error) if error.retry() == registry_core::Retry::Now && back < TRIES => {
                    back += 1;
                    continue;
                }
                outcome => outcome?,
            };
            if !state.wants_sweep() {
                return Ok(state);
            }
            match self.sweep(service, operation).await {
                Ok(()) => {}
                // What is overdue stays listed while nobody can write that it has ended.
                Err(error) if is_refused(&error) => return Ok(state),
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) async fn sweep(&self, service: &ServiceName, operation: Operation) -> Result<()> {
        let args = |call: &mut Cmd| {
            call.arg(SWEEP);
        };
        self.connection().script(operation, service, &script::SWEEP, &args).await.map(drop)
    }

    /// Looks for what other hands wrote: at `ids`, and at so many more.
    pub(crate) async fn scrub(
        &self,
        service: &ServiceName,
        count: usize,
        ids: &[String],
        operation: Operation,
    ) -> Result<()> {
        let args = |call: &mut Cmd| {
            call.arg(count).arg(ids);
        };
        self.connection().script(operation, service, &script::SCRUB, &args).await.map(drop)
    }

    /// From here on the history of `service` is another one than in `old`.
    pub(crate) async fn begin_epoch(
        &self,
        service: &ServiceName,
        old: Epoch,
        operation: Operation,
    ) -> Result<()> {
        let args = |call: &mut Cmd| {
            call.arg(&hex::digits(old.get()));
        };
        self.connection().script(operation, service, &script::BEGIN_EPOCH, &args).await.map(drop)
    }

    pub(crate) async fn load(&self, service: &ServiceName, operation: Operation) -> Result<Snapshot> {
        let mut looked_into = BTreeSet::new();
        for _ in 0..TRIES {
            match self.try_load(service, operation, &looked_into).await? {
                Ok(snapshot) => return Ok(snapshot),
                Err(Again::Now) => {}
                Err(Again::After(ids)) => {
                    for ids in ids.chunks(ODD) {
                        match self.scrub(service, 0, ids, operation).await {
                            Err(error) if !is_refused(&error) => return Err(error),
                            _ => {}
                        }
                    }
                    looked_into.extend(ids);
                }
            }
        }
        let message = "the service was replaced, or its log trimmed, again and again, while it was read";
        Err(failure(ErrorKind::Unavailable, operation, message))
    }

    async fn try_load(
        &self,
        service: &ServiceName,
        operation: Operation,
        looked_into: &BTreeSet<String>,
    ) -> Result<std::result::Result<Snapshot, Again>> {
        let page = self.options().page;
        let state = self.swept(service, page, operation).await?;
        let start = state.at.unwrap_or_else(|| Cursor::new(Epoch::default(), Revision::ZERO, 0));
        let mut read =
            Reading { registry: self, service, read: Vec::new(), skipped: BTreeSet::new(), odd: Vec::new() };
        let mut at = start;
        let paged = state.values > page;
        if !paged {
            read.all(&state.entries);
        } else {
            if !self.scan(&mut read, operation).await? {
                return Ok(Err(Again::Now));
            }
            // Whatever changed meanwhile is in the log.
            loop {
                match log::after(self.connection(), service, at, operation).await? {
                    Ok(changes) if changes.is_empty() => break,
                    Ok(changes) => {
                        for logged in changes {
                            let (batch, _) = logged.batch(service, at);
                            at = batch.cursor;
                            read.apply(batch);
                        }
                    }
                    Err(Broken::Trimmed | Broken::Replaced) => return Ok(Err(Again::Now)),
                }
            }
            let end = self.state(service, 0, operation).await?;
            let same = end.at.is_some_and(|end| end.epoch() == at.epoch() && end.revision() >= at.revision());
            if !same {
                return Ok(Err(Again::Now));
            }
        }
        let odd: Vec<_> = read.odd.iter().filter(|id| !looked_into.contains(*id)).cloned().collect();
        if !odd.is_empty() && state.at.is_some() {
            return Ok(Err(Again::After(odd)));
        }
        self.store().saw(service, at);
        let skipped = read.skipped.len();
        Ok(Ok(Snapshot::new(service.clone(), at, read.entries(paged)).with_skipped(skipped)))
    }

    /// Reads page by page, all from one process: the cursors of another mean something else. False when it could not be read to its end there.
    async fn scan(&self, read: &mut Reading<'_>, operation: Operation) -> Result<bool> {
        let keys = self.connection().keys(read.service);
        let link = self.connection().pinned(operation, keys.slot).await?;
        let page = async |cursor: &[u8]| {
            let scan = keys.scan(cursor, self.options().page);
            self.connection().on(operation, &link, &scan).await
        };
        let mut answer = page(b"0").await;
        loop {
            let read_from = match answer {
                Ok(answer) => answer,
                // It has gone, or has given the service away.
                Err(error) if error.kind() == ErrorKind::Unavailable => return Ok(false),
                Err(error) => return Err(error),
            };
            let parts = read_from.as_sequence().unwrap_or_default();
            let (Some(Value::BulkString(next)), Some(entries)) =
                (parts.first(), parts.get(1).and_then(Value::as_sequence))
            else {
                return Err(strange(operation, "no page of a hash"));
            };
            if next == b"0" {
                read.all(entries);
                return Ok(true);
            }
            // The server looks for the next page while this one is decoded.
            let decoding = async {
                tokio::task::yield_now().await;
                read.all(entries);
            };
            (answer, ()) = tokio::join!(page(next), decoding);
        }
    }
}

/// What was read so far.
struct Reading<'a> {
    registry: &'a RedisRegistry,
    service: &'a ServiceName,
    /// In the order in which they were read: of an id the last counts, which may be that it has gone.
    read: Vec<Read>,
    skipped: BTreeSet<String>,
    /// Ids whose values the log does not know.
    odd: Vec<String>,
}

impl Reading<'_> {
    /// Ids and values, one after the other.
    fn all(&mut self, flat: &[Value]) {
        self.read.reserve(flat.len() / 2);
        for pair in flat.chunks_exact(2) {
            if let (Value::BulkString(id), Value::BulkString(value)) = (&pair[0], &pair[1]) {
                self.one(id, value);
            }
        }
    }

    fn one(&mut self, id: &[u8], value: &[u8]) {
        match json::read(self.service, id, value) {
            Item::Entry(entry) => {
                self.read.push(Read::new(entry.id().clone(), Some(entry)));
            }
            Item::Unlogged(id, error) => {
                self.registry.malformed().tell(self.service, id.as_str(), value, &error);
                self.skipped.insert(id.as_str().to_owned());
                self.odd.push(id.as_str().to_owned());
            }
            Item::Malformed(id, error) => {
                self.registry.malformed().tell(self.service, &id, value, &error);
                self.skipped.insert(id);
            }
        }
    }

    fn apply(&mut self, batch: Batch) {
        for change in batch.changes {
            self.skipped.remove(change.id().as_str());
            match change {
                Change::Put(entry) => self.read.push(Read::new(entry.id().clone(), Some(entry))),
                Change::Delete { id, .. } => self.read.push(Read::new(id, None)),
                _ => {}
            }
        }
    }

    /// What is listed in the end; ordered by id if it was read in pages.
    fn entries(self, paged: bool) -> impl Iterator<Item = Arc<Entry>> {
        let mut read = self.read;
        // What came at once has each id once, and is few.
        if paged {
            // Keeps the order of what has the same id.
            read.sort_by(Read::cmp_id);
        }
        let mut read = read.into_iter().peekable();
        std::iter::from_fn(move || {
            loop {
                let one = read.next()?;
                let is_last = read.peek().is_none_or(|next| one.cmp_id(next).is_ne());
                if let Some(entry) = one.entry.filter(|_| is_last) {
                    return Some(entry);
                }
            }
        })
    }
}

/// What was read of an id: its entry, or that it has gone.
struct Read {
    /// The first bytes of the id, as a number that is the higher the later the id comes: most are told apart by it, and at once. Those that begin alike are by
    /// the whole id.
    first: u128,
    id: InstanceId,
    entry: Option<Arc<Entry>>,
}

impl Read {
    fn new(id: InstanceId, entry: Option<Arc<Entry>>) -> Self {
        let mut first = [0; size_of::<u128>()];
        first.iter_mut().zip(id.as_str().bytes()).for_each(|(first, byte)| *first = byte);
        Self { first: u128::from_be_bytes(first), id, entry }
    }

    fn cmp_id(&self, other: &Self) -> Ordering {
        self.first.cmp(&other.first).then_with(|| self.id.cmp(&other.id))
    }
}

/// Whether Redis refuses to write for now, and could be read.
pub(crate) fn is_refused(error: &Error) -> bool {
    if error.kind() == ErrorKind::PermissionDenied {
        return true;
    }
    error.source().and_then(|source| source.downcast_ref::<RedisError>()).is_some_and(refuses_writes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_ordered_as_its_ids_are() {
        let ids = [
            "a",
            "a.",
            "a:1",
            "B",
            "b",
            "10.0.0.7:8080",
            "10.0.0.70:80",
            "10.0.0.7:80",
            "x-0123456789abcdef",
            "x-0123456789abcdeg",
            "x-0123456789abcd",
        ];
        let ids = ids.map(|id| InstanceId::new(id).unwrap());
        for one in &ids {
            for other in &ids {
                let read = |id: &InstanceId| Read::new(id.clone(), None);
                assert_eq!(read(one).cmp_id(&read(other)), one.cmp(other), "{one} {other}");
            }
        }
    }
}
