//! How entries lie in etcd: one small codec per layout. Pure.
//!
//! Every entry has a *guard*: the key whose modification revision and lease decide who owns it. A layout may keep one more key *beside* it; both
//! are written and removed in one transaction, so a watch over [`Codec::range`] sees them in one revision.

mod go_zero;
mod json;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use etcd_client::KeyValue;
use registry_core::codec::Stored;
use registry_core::{Change, DeleteCause, Entry, Error, InstanceId, Result, Revision, ServiceName};

use crate::options::Layout;

/// In front of the id in the key of a goodbye. No id has such characters.
const GOODBYE: &str = "~gone/";

/// A layout.
pub(crate) trait Codec: fmt::Debug + Send + Sync {
    /// The keys from which all of `service` can be told: first and end.
    fn range(&self, service: &ServiceName) -> (String, String);

    /// The keys of all services whose names start with `prefix`, among others perhaps.
    fn services(&self, prefix: &str) -> (String, String);

    /// Where the identity of the store lies: in no service's range.
    fn store(&self) -> String;

    /// The guard of an entry.
    fn guard(&self, service: &ServiceName, id: &InstanceId) -> String;

    /// The key and value that an entry keeps beside its guard while `lease` holds it.
    fn beside(&self, stored: &Stored, lease: i64) -> Option<(String, String)>;

    /// The key by which the owner of an entry says, in the revision in which its guard goes, that it has left. It is in the service's range, and no
    /// entry's: readers that do not know it pass over it.
    fn goodbye(&self, service: &ServiceName, id: &InstanceId) -> String;

    /// Whose goodbye a key is.
    fn goodbye_of(&self, key: &[u8]) -> Option<(ServiceName, InstanceId)>;

    /// Whether an instance of ours may have this id.
    fn allows(&self, id: &InstanceId) -> bool;

    /// What a key stands for.
    fn parse(&self, key: &[u8]) -> Option<Key>;

    /// The entry that a go-zero server published under a key that has no guard.
    fn foreign(&self, service: &ServiceName, id: &InstanceId, kv: &KeyValue) -> Result<Entry>;
}

/// What a key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// The guard of an entry.
    Guard(ServiceName, InstanceId),
    /// What an entry has beside its guard.
    Beside(ServiceName),
    /// An entry of a writer that knows no guards.
    Foreign(ServiceName, InstanceId),
}

impl Key {
    pub(crate) fn service(&self) -> &ServiceName {
        match self {
            Self::Guard(service, _) | Self::Beside(service) | Self::Foreign(service, _) => service,
        }
    }
}

/// The codec of a layout.
pub(crate) fn codec(layout: Layout, prefix: &str) -> Result<Arc<dyn Codec>> {
    let prefix = prefix.trim_end_matches('/');
    if prefix.len() > 256 || prefix.chars().any(|c| c.is_control() || c == '~') {
        let reason = format!("{prefix:?}: at most 256 bytes, without control characters and '~'");
        return Err(Error::invalid("prefix", reason));
    }
    Ok(match layout {
        Layout::Json => Arc::new(json::Json::new(prefix)),
        Layout::GoZero => Arc::new(go_zero::GoZero::new(prefix)),
    })
}

/// What was found under a key.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// An entry, and the key with its value that must be beside it.
    Entry(Arc<Entry>, Option<Beside>),
    /// A key that belongs beside an entry.
    Beside(Beside),
    /// What the owner of an entry says when it leaves.
    Goodbye(InstanceId),
    /// What cannot be read, where the entry of this instance is or would be, and why.
    Malformed(InstanceId, Error),
    /// Nothing of this service.
    Other,
}

/// A key beside a guard: its name, value and lease.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Beside {
    key: Vec<u8>,
    value: Vec<u8>,
    lease: i64,
}

impl Beside {
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Whether that is what was found there.
    pub(crate) fn is(&self, kv: &KeyValue) -> bool {
        kv.key() == self.key && kv.value() == self.value && kv.lease() == self.lease
    }
}

/// Reads one key.
pub(crate) fn read(codec: &dyn Codec, service: &ServiceName, kv: &KeyValue) -> Item {
    match codec.parse(kv.key()) {
        Some(Key::Guard(of, id)) if of == *service => match entry(codec, service, &id, kv) {
            Ok((entry, beside)) => Item::Entry(Arc::new(entry), beside),
            Err(error) => Item::Malformed(id, error),
        },
        Some(Key::Foreign(of, id)) if of == *service => match codec.foreign(service, &id, kv) {
            Ok(entry) => Item::Entry(Arc::new(entry), None),
            Err(error) => Item::Malformed(id, error),
        },
        Some(Key::Beside(of)) if of == *service => {
            Item::Beside(Beside { key: kv.key().to_vec(), value: kv.value().to_vec(), lease: kv.lease() })
        }
        _ => match codec.goodbye_of(kv.key()) {
            Some((of, id)) if of == *service => Item::Goodbye(id),
            _ => Item::Other,
        },
    }
}

fn entry(
    codec: &dyn Codec,
    service: &ServiceName,
    id: &InstanceId,
    kv: &KeyValue,
) -> Result<(Entry, Option<Beside>)> {
    let stored = Stored::decode_as(kv.value(), service, id)?;
    let beside = codec.beside(&stored, kv.lease());
    let beside =
        beside.map(|(key, value)| Beside { key: key.into(), value: value.into(), lease: kv.lease() });
    let modified = revision(kv.mod_revision());
    // Not the key's create revision: a takeover puts over the old entry.
    let created = stored.registered.unwrap_or(modified);
    Ok((Entry::new(stored.instance, stored.incarnation, created, modified), beside))
}

/// The entries of a service, from everything in its range at one revision, and how many could not be read. An entry without what must be beside it
/// was taken off by a hand that knows only the other layout's keys: it is not listed.
pub(crate) fn assemble(items: Vec<Item>) -> (Vec<Arc<Entry>>, usize) {
    let mut besides = BTreeSet::new();
    let mut skipped = 0;
    let mut found = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Item::Entry(entry, beside) => found.push((entry, beside)),
            Item::Beside(beside) => {
                besides.insert(beside);
            }
            Item::Malformed(..) => skipped += 1,
            Item::Goodbye(_) | Item::Other => {}
        }
    }
    let whole = |(entry, beside): (Arc<Entry>, Option<Beside>)| {
        beside.is_none_or(|beside| besides.contains(&beside)).then_some(entry)
    };
    (found.into_iter().filter_map(whole).collect(), skipped)
}

/// One event of a watch: what was put, or which key was deleted.
pub(crate) enum Seen<'a> {
    Put(Item),
    Delete(&'a [u8]),
}

/// The changes that the events of one revision are. `None`: somebody who knows only half of an entry's keys put or deleted one, or a goodbye comes
/// without the deletion that it is about, and what that means only a look at all of them tells.
pub(crate) fn changes(
    codec: &dyn Codec,
    service: &ServiceName,
    events: Vec<Seen<'_>>,
) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    let (mut guards, mut besides) = (0, 0);
    let (mut put, mut wanted, mut goodbyes) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
    let gone = |id| Change::Delete { id, cause: DeleteCause::Unknown };
    for event in events {
        match event {
            Seen::Put(item) => match item {
                Item::Entry(entry, beside) => {
                    guards += 1;
                    wanted.extend(beside);
                    changes.push(Change::Put(entry));
                }
                // What was listed there cannot be read any more.
                Item::Malformed(id, _) => {
                    guards += 1;
                    changes.push(gone(id));
                }
                Item::Beside(beside) => {
                    besides += 1;
                    put.insert(beside);
                }
                Item::Goodbye(id) => {
                    goodbyes.insert(id);
                }
                Item::Other => {}
            },
            Seen::Delete(key) => match codec.parse(key) {
                Some(Key::Guard(of, id) | Key::Foreign(of, id)) if of == *service => {
                    guards += 1;
                    changes.push(gone(id));
                }
                Some(Key::Beside(of)) if of == *service => besides += 1,
                _ => {}
            },
        }
    }
    // Whatever else ends a lease, or deletes a key, looks the same.
    for change in &mut changes {
        if let Change::Delete { id, cause } = change
            && goodbyes.remove(id)
        {
            *cause = DeleteCause::Deregistered;
        }
    }
    let whole = goodbyes.is_empty() && wanted.iter().all(|beside| put.contains(beside));
    (whole && (guards > 0 || besides == 0)).then_some(changes)
}

/// etcd's revisions are positive.
pub(crate) fn revision(number: i64) -> Revision {
    Revision::new(u64::try_from(number).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goodbye_tells_why_an_entry_goes_and_alone_tells_nothing() {
        let service = ServiceName::new("user.rpc").unwrap();
        let id = |id: &str| InstanceId::new(id).unwrap();
        for layout in [Layout::Json, Layout::GoZero] {
            let codec = codec(layout, "/registry").unwrap();
            let keys = ["a", "b"].map(|one| codec.guard(&service, &id(one)));
            let gone = |key: usize| Seen::Delete(keys[key].as_bytes());
            let goodbye = |one: &str| Seen::Put(Item::Goodbye(id(one)));
            let told = changes(&*codec, &service, vec![gone(0), gone(1), goodbye("b")]).unwrap();
            let cause = |one: &str, cause| Change::Delete { id: id(one), cause };
            let expected = [cause("a", DeleteCause::Unknown), cause("b", DeleteCause::Deregistered)];
            assert_eq!(told, expected);
            // Its deletion was there, and is hidden: by compaction up to it.
            assert_eq!(changes(&*codec, &service, vec![goodbye("a")]), None);
            assert_eq!(changes(&*codec, &service, vec![gone(0), goodbye("b")]), None);
        }
    }
}
