//! The files of guarded views, in memory; what they say, read as plainly as can be, and written down before a view reads it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use registry_core::codec::Stored;
use registry_core::{Entry, Revision, Shelf, pick};
use tokio::time::{Duration, Instant};

use super::history::{File, History, Record};
use super::mutant::Mutant;
use super::process::lock;

/// All files, and the time of day by which they are dated.
#[derive(Debug)]
pub(super) struct Board {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    began: Instant,
}

impl Board {
    pub(super) fn new() -> Self {
        Self { files: Mutex::default(), began: Instant::now() }
    }

    /// Milliseconds.
    pub(super) fn time(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or_default()
    }

    /// Changes a bit of every file, or cuts it short.
    pub(super) fn damage(&self, rng: &mut fastrand::Rng, mutant: Option<Mutant>) {
        for file in lock(&self.files).values_mut().filter(|file| !file.is_empty()) {
            if mutant == Some(Mutant::DamageTrusted) {
                rewrite(file, |body| {
                    body.replace("\"id\":\"p", "\"id\":\"x").replace("\"id\":\"w", "\"id\":\"x")
                });
                continue;
            }
            let at = rng.usize(0..file.len());
            if rng.bool() {
                file.truncate(at);
            } else {
                file[at] ^= 1 << rng.u32(0..8);
            }
        }
    }
}

/// The board, as one guarded view has it.
#[derive(Debug)]
pub(super) struct Drawer {
    pub(super) board: Arc<Board>,
    pub(super) view: usize,
    pub(super) history: History,
    pub(super) mutant: Option<Mutant>,
}

#[async_trait]
impl Shelf for Drawer {
    async fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let (mut bytes, now) = (lock(&self.board.files).get(name).cloned(), self.board.time());
        let file = bytes.as_deref().and_then(|bytes| read(bytes, now));
        self.history.push(Record::Read { view: self.view, at: Instant::now(), file });
        match (self.mutant, &mut bytes) {
            (Some(Mutant::FileForgotten), _) => return Ok(None),
            (Some(Mutant::FileAgeForgotten), Some(file)) => rewrite(file, |body| {
                let (before, after) = body.split_once(PROVEN).unwrap_or_default();
                let after = after.trim_start_matches(|digit: char| digit.is_ascii_digit());
                format!("{before}{PROVEN}{now}{after}")
            }),
            _ => {}
        }
        Ok(bytes)
    }

    async fn save(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        lock(&self.board.files).insert(name.to_owned(), bytes);
        Ok(())
    }
}

const PROVEN: &str = "\"proven\":";

/// What a file says; `None` unless it is whole.
fn read(bytes: &[u8], now: u64) -> Option<File> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (first, body) = text.split_once('\n')?;
    if first != first_line(body) {
        return None;
    }
    let mut lines = body.lines();
    let proven = lines.next()?.split_once(PROVEN)?.1;
    let proven: u64 = proven.split(|digit: char| !digit.is_ascii_digit()).next()?.parse().ok()?;
    let entry = |line: &str| {
        let (modified, stored) = line.split_once(' ')?;
        let (modified, stored) =
            (Revision::new(modified.parse().ok()?), Stored::decode(stored.as_bytes()).ok()?);
        let created = stored.registered.unwrap_or(modified);
        Some(Arc::new(Entry::new(stored.instance, stored.incarnation, created, modified)))
    };
    let age = Duration::from_millis(now.saturating_sub(proven));
    Some(File { age, entries: lines.map(entry).collect::<Option<_>>()? })
}

/// Changes a file so that nobody can tell.
fn rewrite(file: &mut Vec<u8>, change: impl FnOnce(&str) -> String) {
    let text = String::from_utf8_lossy(file).into_owned();
    let Some((_, body)) = text.split_once('\n') else { return };
    let body = change(body);
    *file = format!("{}\n{body}", first_line(&body)).into_bytes();
}

fn first_line(body: &str) -> String {
    format!("registry-view 1 {:016x} {}", pick::hash(body.as_bytes()), body.len())
}
