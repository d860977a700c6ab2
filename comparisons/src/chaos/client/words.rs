//! From the types of `registry_core` to the words of a history. Pure.

use std::time::Duration;

use registry_core::{
    Batch, Change as CoreChange, Cursor, DeleteCause, Entry, Error, ErrorKind, ResetCause, Snapshot,
    WatchEvent,
};

use super::{Answer, Heard};
use crate::chaos::history::{Change, Item, Listed, Outcome, Position, Verb};
use crate::contestants::value;

/// A kind of error in one word.
#[must_use]
pub fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidInput => "invalid_input",
        ErrorKind::AlreadyRegistered => "already_registered",
        ErrorKind::LeaseLost => "lease_lost",
        ErrorKind::CursorLost => "cursor_lost",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Unauthenticated => "unauthenticated",
        ErrorKind::PermissionDenied => "permission_denied",
        ErrorKind::StoreFull => "store_full",
        ErrorKind::Corrupt => "corrupt",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Closed => "closed",
        _ => "other",
    }
}

/// Within this time no backend sends a request a second time: that takes half a second of silence, or a new connection.
const ASKED_ONCE: Duration = Duration::from_millis(100);

/// Whether it is certain that what was asked was not done, when this was the answer after this time.
///
/// Only two kinds of errors make it so: the request was never sent, or the store itself has compared and refused. All others may be the answer to a second copy
/// of a request (backends send one again when a member is silent or a connection breaks) whose first was done: so may be the second's refusal, when the
/// first was done and somebody else came since. So of what writes a value a refusal is certain only where there was no time for a second copy.
/// Of a heartbeat, whatever its first copy did, the lease is lost.
fn is_certain(verb: Verb, kind: ErrorKind, after: Duration) -> bool {
    match kind {
        ErrorKind::InvalidInput | ErrorKind::Unsupported => true,
        ErrorKind::LeaseLost | ErrorKind::AlreadyRegistered => match verb {
            Verb::Register | Verb::Update => after < ASKED_ONCE,
            Verb::Keepalive | Verb::Deregister | Verb::Lookup => true,
        },
        _ => false,
    }
}

/// What came of something that failed.
pub(super) fn failed(verb: Verb, error: &Error, after: Duration) -> Outcome {
    let certain = is_certain(verb, error.kind(), after);
    let kind = kind(error.kind()).to_owned();
    if certain { Outcome::Failed { kind } } else { Outcome::Unknown { kind } }
}

/// What whoever asked makes of it.
pub(super) fn answer<T>(result: Result<T, Error>) -> Answer {
    match result {
        Ok(_) => Answer::Done,
        Err(error) if error.kind() == ErrorKind::LeaseLost => Answer::Lost,
        Err(_) => Answer::Error,
    }
}

/// The outcome of a write that was done.
pub(super) fn done(revision: Option<u64>, incarnation: Option<u64>) -> Outcome {
    Outcome::Ok { revision, incarnation, position: None, listed: None }
}

/// Where a cursor is.
#[must_use]
pub fn position(cursor: Cursor) -> Position {
    Position { epoch: cursor.epoch().get(), revision: cursor.revision().get() }
}

/// An entry as it is listed.
#[must_use]
pub fn entry(entry: &Entry) -> Listed {
    Listed {
        id: entry.id().to_string(),
        value: value(entry.instance()),
        incarnation: Some(entry.incarnation().get()),
        modified: Some(entry.modified().get()),
    }
}

/// All entries, by id.
#[must_use]
pub fn listed(snapshot: &Snapshot) -> Vec<Listed> {
    snapshot.iter().map(|one| entry(one)).collect()
}

/// A change; none of a kind that this program does not know.
#[must_use]
pub fn change(change: &CoreChange) -> Option<Change> {
    match change {
        CoreChange::Put(one) => Some(Change::Put(entry(one))),
        CoreChange::Delete { id, cause } => {
            let cause = match cause {
                DeleteCause::Deregistered => "deregistered",
                DeleteCause::Expired => "expired",
                _ => "unknown",
            };
            Some(Change::Delete { id: id.to_string(), cause: Some(cause.to_owned()) })
        }
        _ => None,
    }
}

fn changes(batch: &Batch) -> Vec<Change> {
    batch.changes.iter().filter_map(change).collect()
}

/// What a watch tells; none of a kind that this program does not know.
pub(super) fn heard(event: &WatchEvent) -> Option<Heard> {
    let cursor = event.cursor();
    let item = match event {
        WatchEvent::Reset { snapshot, cause } => Item::Reset {
            position: Some(position(snapshot.cursor())),
            gap: (*cause != ResetCause::First).then(|| cause.to_string()),
            listed: listed(snapshot),
        },
        WatchEvent::Changes(batch) => {
            Item::Changes { position: Some(position(batch.cursor)), changes: changes(batch) }
        }
        WatchEvent::Progress { cursor } => Item::Progress { position: position(*cursor) },
        WatchEvent::Live { cursor } => Item::Live { position: Some(position(*cursor)) },
        WatchEvent::Stale { error, .. } => Item::Stale { error: kind(error.kind()).to_owned() },
        _ => return None,
    };
    Some(Heard { item, cursor })
}

#[cfg(test)]
mod tests {
    use registry_core::Operation;

    use super::*;

    fn of(verb: Verb, kind: ErrorKind, millis: u64) -> Outcome {
        failed(verb, &Error::new(kind, Operation::Update, ""), Duration::from_millis(millis))
    }

    #[test]
    fn only_what_was_never_sent_or_was_refused_by_the_store_is_certain() {
        let certain = |verb, kind, millis| matches!(of(verb, kind, millis), Outcome::Failed { .. });
        for kind in [ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::StoreFull, ErrorKind::Corrupt] {
            assert!(!certain(Verb::Update, kind, 0), "{kind:?}");
        }
        assert!(certain(Verb::Update, ErrorKind::InvalidInput, 5_000));
        assert!(certain(Verb::Update, ErrorKind::LeaseLost, 20));
        assert!(!certain(Verb::Update, ErrorKind::LeaseLost, 600), "its first copy may have been done");
        assert!(!certain(Verb::Register, ErrorKind::AlreadyRegistered, 600));
        assert!(certain(Verb::Keepalive, ErrorKind::LeaseLost, 600));
        let kind = "lease_lost".to_owned();
        assert_eq!(of(Verb::Update, ErrorKind::LeaseLost, 600), Outcome::Unknown { kind });
    }
}
