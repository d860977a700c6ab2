//! What was done and seen in a run, as plain data.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use registry_core::{
    Batch, Cursor, Entry, ErrorKind, Held, Incarnation, Instance, InstanceId, Lease, Operation, OwnerToken,
    ResetCause, Revision, ServiceName, Snapshot, WatchEvent,
};
use tokio::time::{Duration, Instant};

/// What a client asked for, and what it was told.
#[derive(Clone, Debug)]
pub struct OperationRecord {
    /// Which client asked.
    pub client: usize,
    /// The operation.
    pub operation: Operation,
    /// The service it was about.
    pub service: Option<ServiceName>,
    /// The instance it was about.
    pub id: Option<InstanceId>,
    /// The lease that was used, or given.
    pub lease: Option<Lease>,
    /// The TTL that was granted.
    pub ttl: Option<Duration>,
    /// The owner token of a registration.
    pub token: Option<OwnerToken>,
    /// What was to be published.
    pub instance: Option<Instance>,
    /// When it was asked.
    pub invoked: Instant,
    /// When the answer came.
    pub returned: Instant,
    /// The answer.
    pub outcome: Result<Answer, ErrorKind>,
}

/// A successful answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Nothing but success.
    Done,
    /// A change, at this revision.
    At(Revision),
    /// A list.
    Listed(Snapshot),
}

/// An item that a consumer was given.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A snapshot, and why.
    Reset(Snapshot, ResetCause),
    /// Changes of one revision.
    Changes(Batch),
    /// Proof of being current.
    Progress(Cursor),
    /// Proof of being current again.
    Live(Cursor),
    /// Trouble.
    Stale(ErrorKind),
}

impl From<WatchEvent> for Seen {
    fn from(event: WatchEvent) -> Self {
        match event {
            WatchEvent::Reset { snapshot, cause } => Self::Reset(snapshot, cause),
            WatchEvent::Changes(batch) => Self::Changes(batch),
            WatchEvent::Progress { cursor } => Self::Progress(cursor),
            WatchEvent::Live { cursor } => Self::Live(cursor),
            WatchEvent::Stale { error, .. } => Self::Stale(error.kind()),
            event => unreachable!("an event of a later version: {event:?}"),
        }
    }
}

/// What a guarded view was saved as.
#[derive(Clone, Debug)]
pub struct File {
    /// How long before it was read it had been proven current.
    pub age: Duration,
    /// What it lists.
    pub entries: Vec<Arc<Entry>>,
}

/// One line of a history.
#[derive(Clone, Debug)]
pub enum Record {
    /// An operation, as its caller saw it.
    Asked(OperationRecord),
    /// An operation, as the store did it.
    Served(OperationRecord),
    /// A watcher was given an item. It started from `from`.
    Saw {
        /// Which watcher.
        watcher: usize,
        /// The service it watches.
        service: ServiceName,
        /// Where it started from.
        from: Option<Cursor>,
        /// When.
        at: Instant,
        /// The item.
        seen: Seen,
    },
    /// A view was looked at.
    Viewed {
        /// Which view.
        view: usize,
        /// The service.
        service: ServiceName,
        /// When.
        at: Instant,
        /// What it listed.
        snapshot: Option<Snapshot>,
        /// When it was last proven current, if it says that it is.
        proven: Option<Instant>,
    },
    /// The watch of a guarded view told it something.
    Told {
        /// Which view.
        view: usize,
        /// When.
        at: Instant,
        /// What.
        event: WatchEvent,
    },
    /// The file of a guarded view was read.
    Read {
        /// Which view.
        view: usize,
        /// When.
        at: Instant,
        /// What it says; `None` where there is no file that can be trusted.
        file: Option<File>,
    },
    /// A guarded view was told to give up what it holds.
    Released {
        /// Which view.
        view: usize,
        /// When.
        at: Instant,
    },
    /// A guarded view was looked at.
    Guarded {
        /// Which view; one that is started anew is another one.
        view: usize,
        /// The service.
        service: ServiceName,
        /// When.
        at: Instant,
        /// What it listed, held instances included.
        listed: Option<Snapshot>,
        /// What it held.
        held: Vec<(InstanceId, Held)>,
        /// How long ago that had been proven current, if it was read from disk.
        disk_age: Option<Duration>,
    },
    /// A process was told that it has left, as `what` says.
    Left {
        /// The service.
        service: ServiceName,
        /// The instance.
        id: InstanceId,
        /// The incarnation that it held last.
        incarnation: Incarnation,
        /// When.
        at: Instant,
    },
    /// A process was told that this is published.
    Published {
        /// What.
        instance: Instance,
        /// At which revision.
        revision: Revision,
        /// Between asking and being told.
        between: (Instant, Instant),
    },
    /// A process was started, or stopped, or told something; or the nemesis struck.
    Note(Instant, String),
}

/// Shared by all who write into one history.
#[derive(Clone, Debug)]
pub struct History {
    start: Instant,
    records: Arc<Mutex<Vec<Record>>>,
}

impl History {
    /// An empty history that starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now(), records: Arc::default() }
    }

    /// Adds a line.
    pub fn push(&self, record: Record) {
        self.with(|records| records.push(record));
    }

    /// Adds a note.
    pub fn note(&self, text: impl Into<String>) {
        self.push(Record::Note(Instant::now(), text.into()));
    }

    /// The incarnation that each owner token was registered with last, as the store did it.
    #[must_use]
    pub fn registered(&self) -> BTreeMap<u128, Incarnation> {
        self.with(|records| {
            let incarnation = |record: &Record| match record {
                Record::Served(op) if op.outcome.is_ok() => {
                    Some((op.token?.as_u128(), op.lease.as_ref()?.incarnation()))
                }
                _ => None,
            };
            records.iter().filter_map(incarnation).collect()
        })
    }

    /// All lines so far.
    #[must_use]
    pub fn take(&self) -> Vec<Record> {
        self.with(std::mem::take)
    }

    /// The lines as text, times in milliseconds since the start.
    #[must_use]
    pub fn render(&self, records: &[Record]) -> Vec<String> {
        records.iter().map(|record| render(record, self.start)).collect()
    }

    fn with<T>(&self, use_them: impl FnOnce(&mut Vec<Record>) -> T) -> T {
        use_them(&mut self.records.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

fn render(record: &Record, start: Instant) -> String {
    let ms = |at: &Instant| at.saturating_duration_since(start).as_millis();
    match record {
        Record::Asked(op) => format!("{:>7} {}", ms(&op.returned), operation("asked", op, start)),
        Record::Served(op) => format!("{:>7} {}", ms(&op.returned), operation("served", op, start)),
        Record::Saw { watcher, service, at, seen, .. } => {
            format!("{:>7} watcher {watcher} of {service}: {}", ms(at), item(seen))
        }
        Record::Viewed { view, service, at, snapshot, proven } => {
            let listed = snapshot.as_ref().map_or("nothing yet".into(), list);
            let fresh = proven.map_or("stale".into(), |proven| format!("proven {}", ms(&proven)));
            format!("{:>7} view {view} of {service}: {listed}, {fresh}", ms(at))
        }
        Record::Guarded { view, service, at, listed, held, disk_age } => {
            let listed = listed.as_ref().map_or("nothing yet".into(), list);
            let ids: Vec<_> = held.iter().map(|(id, _)| id.as_str()).collect();
            let origin =
                disk_age.map_or(String::new(), |age| format!(", from disk, {} ms old", age.as_millis()));
            let held = ids.join(" ");
            format!("{:>7} guarded view {view} of {service}: {listed}, holds [{held}]{origin}", ms(at))
        }
        Record::Told { view, at, event } => {
            format!("{:>7} guarded view {view} is told: {}", ms(at), item(&Seen::from(event.clone())))
        }
        Record::Read { view, at, file } => {
            let what = file.as_ref().map_or("nothing".into(), |File { age, entries }| {
                let ids: Vec<_> = entries.iter().map(|entry| entry.id().as_str()).collect();
                format!("[{}], {} ms old", ids.join(" "), age.as_millis())
            });
            format!("{:>7} guarded view {view} reads from disk: {what}", ms(at))
        }
        Record::Released { view, at } => format!("{:>7} guarded view {view} is released", ms(at)),
        Record::Left { service, id, incarnation, at } => {
            format!("{:>7} {service} {id}, incarnation {incarnation}, is told that it has left", ms(at))
        }
        Record::Published { instance, revision, between } => {
            format!("{:>7} {} is told that it is published at {revision}", ms(&between.1), instance.id())
        }
        Record::Note(at, text) => format!("{:>7} {text}", ms(at)),
    }
}

fn operation(what: &str, op: &OperationRecord, start: Instant) -> String {
    let outcome = match &op.outcome {
        Ok(Answer::Done) => "ok".into(),
        Ok(Answer::At(revision)) => format!("ok at {revision}"),
        Ok(Answer::Listed(snapshot)) => list(snapshot),
        Err(kind) => format!("{kind}"),
    };
    let name = |name: &Option<InstanceId>| name.as_ref().map_or(String::new(), |id| format!(" {id}"));
    let service = op.service.as_ref().map_or(String::new(), |service| format!(" {service}"));
    let lease = op.lease.as_ref().map_or(String::new(), |lease| {
        format!(" (incarnation {}, lease {})", lease.incarnation(), lease.key())
    });
    let invoked = op.invoked.saturating_duration_since(start).as_millis();
    format!(
        "client {} {what} at {invoked} {}{service}{}{lease}: {outcome}",
        op.client,
        op.operation,
        name(&op.id)
    )
}

fn item(seen: &Seen) -> String {
    match seen {
        Seen::Reset(snapshot, cause) => format!("reset ({cause}) {}", list(snapshot)),
        Seen::Changes(batch) => {
            let changes: Vec<_> = batch
                .changes
                .iter()
                .map(|change| match change {
                    registry_core::Change::Put(entry) => format!("+{}@{}", entry.id(), entry.incarnation()),
                    change => format!("-{}", change.id()),
                })
                .collect();
            format!("changes at {}: {}", batch.cursor, changes.join(" "))
        }
        Seen::Progress(cursor) => format!("progress {cursor}"),
        Seen::Live(cursor) => format!("live {cursor}"),
        Seen::Stale(kind) => format!("stale: {kind}"),
    }
}

fn list(snapshot: &Snapshot) -> String {
    let entries: Vec<_> =
        snapshot.iter().map(|entry| format!("{}@{}", entry.id(), entry.incarnation())).collect();
    format!("[{}] at {}", entries.join(" "), snapshot.cursor())
}
