//! One service: what its directory held when it was last looked at, and the changes since.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use registry_core::codec::Stored;
use registry_core::{
    Batch, Change, Cursor, DeleteCause, Entry, Epoch, InstanceId, Lease, Revision, ServiceName, Snapshot,
};
use tokio::time::Instant;

use super::{FOREIGN_TTL, HISTORY};

/// What is known of one service. Its revisions are its own.
#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) files: BTreeMap<String, File>,
    pub(super) revision: u64,
    pub(super) log: VecDeque<Batch>,
    pub(super) floor: u64,
}

#[derive(Debug)]
pub(super) struct File {
    bytes: Vec<u8>,
    /// `None`: it cannot be read.
    pub(super) entry: Option<(Stored, Arc<Entry>)>,
    pub(super) ttl: Duration,
    pub(super) deadline: Instant,
}

pub(super) fn file_name(id: &InstanceId) -> String {
    // Most file systems take 255 bytes; an id may have more. `~` begins no id.
    match id.as_str() {
        short if short.len() <= 250 => short.to_owned(),
        long => format!("~{}{}", &long[long.len() - 200..], long.len()),
    }
}

impl Service {
    /// Takes in what the directory holds, and removes what is due.
    pub(super) fn scan(&mut self, name: &ServiceName, folder: &Path, epoch: Epoch) -> io::Result<()> {
        let now = Instant::now();
        let mut present = BTreeMap::new();
        match fs::read_dir(folder) {
            Ok(items) => {
                for item in items {
                    let file = item?.file_name().to_string_lossy().into_owned();
                    if file != "~" {
                        present.insert(file.clone(), fs::read(folder.join(file))?);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let known: Vec<_> = self.files.keys().filter(|file| !present.contains_key(*file)).cloned().collect();
        let gone = known.into_iter().map(|file| (file, None));
        let found = present.into_iter().map(|(file, bytes)| (file, Some(bytes)));
        let changes = gone.chain(found).collect::<Vec<_>>();
        let changes =
            changes.into_iter().filter_map(|(file, bytes)| self.absorb(name, &file, bytes)).collect();
        self.append(changes, epoch);
        let due = self.files.iter().filter(|(_, file)| file.entry.is_some() && file.deadline <= now);
        let due: Vec<_> = due.map(|(file, _)| file.clone()).collect();
        let mut expired = Vec::new();
        for file in due {
            fs::remove_file(folder.join(&file))?;
            if let Some(Change::Delete { id, .. }) = self.absorb(name, &file, None) {
                expired.push(Change::Delete { id, cause: DeleteCause::Expired });
            }
        }
        self.append(expired, epoch);
        Ok(())
    }

    /// Takes in what one file holds now; the change that this is, at the next revision.
    pub(super) fn absorb(
        &mut self,
        name: &ServiceName,
        file: &str,
        bytes: Option<Vec<u8>>,
    ) -> Option<Change> {
        let known = self.files.get(file);
        if known.map(|known| &known.bytes) == bytes.as_ref() {
            return None;
        }
        let before = known.and_then(|known| known.entry.clone());
        let (ttl, deadline) = match known {
            Some(known) => (known.ttl, known.deadline),
            None => (FOREIGN_TTL, Instant::now() + FOREIGN_TTL),
        };
        let revision = Revision::new(self.revision + 1);
        let stored = bytes.as_ref().and_then(|bytes| Stored::decode(bytes).ok());
        let stored = stored
            .filter(|stored| stored.instance.service() == name && file_name(stored.instance.id()) == file);
        let entry = stored.map(|stored| {
            let same = |(old, _): &&(Stored, Arc<Entry>)| {
                old.token == stored.token && old.incarnation == stored.incarnation
            };
            let created = before.as_ref().filter(same).map_or(revision, |(_, entry)| entry.created());
            let entry = Entry::new(stored.instance.clone(), stored.incarnation, created, revision);
            (stored, Arc::new(entry))
        });
        let change = match (&entry, before) {
            (Some((_, entry)), _) => Some(Change::Put(Arc::clone(entry))),
            (None, Some((old, _))) => {
                Some(Change::Delete { id: old.instance.id().clone(), cause: DeleteCause::Unknown })
            }
            (None, None) => None,
        };
        match bytes {
            Some(bytes) => self.files.insert(file.to_owned(), File { bytes, entry, ttl, deadline }),
            None => self.files.remove(file),
        };
        change
    }

    pub(super) fn append(&mut self, changes: Vec<Change>, epoch: Epoch) {
        if !changes.is_empty() {
            self.revision += 1;
            let cursor = Cursor::new(epoch, Revision::new(self.revision), 0);
            self.log.push_back(Batch { cursor, changes });
            self.trim(HISTORY);
        }
    }

    pub(super) fn trim(&mut self, keep: usize) {
        while self.log.len() > keep {
            self.floor = self.log.pop_front().map_or(self.floor, |batch| batch.cursor.revision().get());
        }
    }

    pub(super) fn entry(&self, id: &InstanceId) -> Option<&(Stored, Arc<Entry>)> {
        self.files.get(&file_name(id)).and_then(|file| file.entry.as_ref())
    }

    /// The file that `lease` owns.
    pub(super) fn owned(&mut self, lease: &Lease) -> Option<&mut File> {
        let ours = |file: &&mut File| {
            file.entry.as_ref().is_some_and(|(stored, _)| {
                stored.token.as_u128() == lease.key() && stored.incarnation == lease.incarnation()
            })
        };
        self.files.get_mut(&file_name(lease.id())).filter(ours)
    }

    pub(super) fn snapshot(&self, name: &ServiceName, epoch: Epoch) -> Snapshot {
        let entries = self.files.values().filter_map(|file| Some(Arc::clone(&file.entry.as_ref()?.1)));
        let skipped = self.files.values().filter(|file| file.entry.is_none()).count();
        let cursor = Cursor::new(epoch, Revision::new(self.revision), 0);
        Snapshot::new(name.clone(), cursor, entries).with_skipped(skipped)
    }
}
