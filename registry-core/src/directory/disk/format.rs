//! How a view lies in a file: pure.
//!
//! ```text
//! registry-view 1 <checksum, 16 hexadecimal digits> <bytes that follow this line>
//! {"store":"…","service":"user.rpc","proven":1700000000000,"cursor":"…","entries":2}
//! <revision of the last change> {"schema":1,…}          an entry, as `codec` writes it, without its owner's token
//! ```

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::codec::Stored;
use crate::cursor::Revision;
use crate::lease::OwnerToken;
use crate::name::ServiceName;
use crate::pick;
use crate::snapshot::{Entry, Snapshot};

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;
const MAGIC: &str = "registry-view";
/// The first line is shorter than this.
pub(super) const FIRST_LINE: usize = 128;
/// A file may be this far ahead of the clock: two machines, or a clock that was set back a little.
const AHEAD: Duration = Duration::from_secs(60);

/// What a file is about, and when it was true.
#[derive(Serialize, Deserialize)]
struct Header {
    store: String,
    service: String,
    /// Milliseconds since 1970.
    proven: u64,
    cursor: String,
    entries: usize,
}

/// What a file says.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) snapshot: Snapshot,
    /// How long ago it was proven current.
    pub(super) age: Duration,
}

/// Why a file is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    /// It is not what was written.
    Damaged(String),
    /// It is of another version of this format.
    Version(String),
    /// It is of another store or service.
    Foreign(String),
    /// It is older than is allowed.
    TooOld(Duration),
    /// It says that it is of the future, so its age is not known.
    Future(Duration),
    /// It is what was written, but by a library whose entries this one cannot read.
    Unreadable,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(what) => write!(f, "damaged: {what}"),
            Self::Version(version) => write!(f, "of version {version}, this library reads {VERSION}"),
            Self::Foreign(what) => write!(f, "foreign: of {what}"),
            Self::TooOld(age) => write!(f, "too old: {age:?}"),
            Self::Future(ahead) => write!(f, "of the future: {ahead:?} ahead of the clock"),
            Self::Unreadable => f.write_str("not one of its entries can be read"),
        }
    }
}

/// What a file must be to be trusted.
pub(super) struct Wanted<'a> {
    pub(super) store: &'a str,
    pub(super) service: &'a ServiceName,
    /// Milliseconds since 1970.
    pub(super) now: u64,
    pub(super) max_age: Duration,
}

/// The bytes of a file with `snapshot`, proven current `proven` milliseconds after 1970.
pub(super) fn encode(snapshot: &Snapshot, store: &str, proven: u64) -> Vec<u8> {
    let header = Header {
        store: store.to_owned(),
        service: snapshot.service().to_string(),
        proven,
        cursor: snapshot.cursor().to_string(),
        entries: snapshot.len(),
    };
    let mut body = Vec::with_capacity(256 * (snapshot.len() + 1));
    // Writing plain values to memory has no way to fail.
    let _ = serde_json::to_writer(&mut body, &header);
    body.push(b'\n');
    for entry in snapshot.iter() {
        let _ = write!(body, "{} ", entry.modified());
        let nobody = OwnerToken::from_u128(0);
        let stored = Stored::new(entry.instance().clone(), entry.incarnation(), nobody);
        body.extend(stored.with_registered(entry.created()).encode());
        body.push(b'\n');
    }
    let mut file = format!("{MAGIC} {VERSION} {:016x} {}\n", pick::hash(&body), body.len()).into_bytes();
    file.append(&mut body);
    file
}

/// How many bytes a file has that begins like this; `None` when it is no view, or does not say. Enough is the first [`FIRST_LINE`] bytes of it.
pub(super) fn length(beginning: &[u8]) -> Option<u64> {
    let (first, _) = line(beginning)?;
    let mut words = std::str::from_utf8(first).ok()?.split(' ');
    let body: u64 = words.next().filter(|magic| *magic == MAGIC).and_then(|_| words.nth(2))?.parse().ok()?;
    body.checked_add(first.len() as u64 + 1)
}

/// Reads what [`encode`] wrote, if it is what is wanted.
pub(super) fn decode(file: &[u8], wanted: &Wanted<'_>) -> Result<Decoded, Rejected> {
    let (header, age, entries) = header(file, wanted)?;
    let cursor = header.cursor.parse().map_err(|_| damaged("has no cursor"))?;
    let (entries, skipped) = self::entries(entries, wanted.service)?;
    let snapshot = Snapshot::new(wanted.service.clone(), cursor, entries).with_skipped(skipped);
    let found = snapshot.len() + skipped;
    if found != header.entries {
        return Err(damaged(format!("has {found} entries, and says {}", header.entries)));
    }
    if skipped > 0 && snapshot.is_empty() {
        return Err(Rejected::Unreadable);
    }
    Ok(Decoded { snapshot, age })
}

/// Whether a file is whole, and what is wanted; its entries are not looked at.
pub(super) fn check(file: &[u8], wanted: &Wanted<'_>) -> Result<(), Rejected> {
    header(file, wanted).map(drop)
}

/// The header, the age, and the entries.
fn header<'a>(file: &'a [u8], wanted: &Wanted<'_>) -> Result<(Header, Duration, &'a [u8]), Rejected> {
    let body = body(file)?;
    let (header, entries) = line(body).ok_or_else(|| damaged("has no header"))?;
    let header: Header = serde_json::from_slice(header).map_err(|error| damaged(error.to_string()))?;
    if header.store != wanted.store {
        return Err(Rejected::Foreign(format!("the store {:?}", header.store)));
    }
    if header.service != wanted.service.as_str() {
        return Err(Rejected::Foreign(format!("the service {:?}", header.service)));
    }
    let ahead = Duration::from_millis(header.proven.saturating_sub(wanted.now));
    if ahead > AHEAD {
        return Err(Rejected::Future(ahead));
    }
    let age = Duration::from_millis(wanted.now.saturating_sub(header.proven));
    if age > wanted.max_age {
        return Err(Rejected::TooOld(age));
    }
    Ok((header, age, entries))
}

/// What follows the first line, if it is what that says.
fn body(file: &[u8]) -> Result<&[u8], Rejected> {
    let (first, body) = line(file).ok_or_else(|| damaged("has no first line"))?;
    let first = std::str::from_utf8(first).map_err(|_| damaged("is no text"))?;
    let mut words = first.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(damaged("is no view"));
    }
    match words.next() {
        Some(version) if version == VERSION.to_string() => {}
        version => return Err(Rejected::Version(version.unwrap_or_default().to_owned())),
    }
    let (checksum, length) = (words.next(), words.next());
    if length != Some(body.len().to_string().as_str()) {
        return Err(damaged(format!("has {} bytes, and says {}", body.len(), length.unwrap_or("nothing"))));
    }
    if checksum != Some(format!("{:016x}", pick::hash(body)).as_str()) {
        return Err(damaged("has another checksum than it says"));
    }
    Ok(body)
}

/// The entries, and how many cannot be read. The file is what was written, so those are of a newer schema, as after an update that was taken back.
fn entries(mut lines: &[u8], service: &ServiceName) -> Result<(Vec<Arc<Entry>>, usize), Rejected> {
    let (mut entries, mut skipped) = (Vec::new(), 0);
    while let Some((entry, rest)) = line(lines) {
        lines = rest;
        let at = entry.iter().position(|byte| *byte == b' ').ok_or_else(|| damaged("has half an entry"))?;
        let (modified, stored) = entry.split_at(at);
        let modified = std::str::from_utf8(modified).ok().and_then(|number| number.parse().ok());
        let modified =
            modified.map(Revision::new).ok_or_else(|| damaged("has an entry without a revision"))?;
        let Ok(stored) = Stored::decode(stored.trim_ascii_start()) else {
            skipped += 1;
            continue;
        };
        if stored.instance.service() != service {
            return Err(damaged("has an entry of another service"));
        }
        let created = stored.registered.unwrap_or(modified);
        entries.push(Arc::new(Entry::new(stored.instance, stored.incarnation, created, modified)));
    }
    if lines.is_empty() { Ok((entries, skipped)) } else { Err(damaged("ends in the middle of an entry")) }
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

fn damaged(what: impl Into<String>) -> Rejected {
    Rejected::Damaged(what.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Cursor, Epoch, Incarnation, Instance, Status};

    const NOW: u64 = 1_700_000_000_000;
    const DAY: Duration = Duration::from_secs(86_400);

    fn service() -> ServiceName {
        ServiceName::new("user.rpc").unwrap()
    }

    fn snapshot() -> Snapshot {
        let entry = |n: u64| {
            let instance = Instance::builder(service())
                .endpoint(format!("10.0.0.{n}:80"))
                .zone("eu")
                .metadata("k", "ü\n\"")
                .status(if n == 2 { Status::Draining } else { Status::Up })
                .build();
            // The builder takes no control characters.
            let instance = instance.or_else(|_| {
                Instance::builder(service()).endpoint(format!("10.0.0.{n}:80")).metadata("k", "ü\"").build()
            });
            Arc::new(Entry::new(
                instance.unwrap(),
                Incarnation::new(n),
                Revision::new(n),
                Revision::new(n + 5),
            ))
        };
        let cursor = Cursor::new(Epoch::new(7), Revision::new(42), 3);
        Snapshot::new(service(), cursor, (1..5).map(entry))
    }

    fn read(file: &[u8], store: &str, service: &str, now: u64) -> Result<Decoded, Rejected> {
        let service = ServiceName::new(service).unwrap();
        decode(file, &Wanted { store, service: &service, now, max_age: DAY })
    }

    #[test]
    fn a_view_is_read_as_it_was_written_with_its_age() {
        let saved = read(&encode(&snapshot(), "prod", NOW), "prod", "user.rpc", NOW + 1_500).unwrap();
        assert_eq!(saved.snapshot, snapshot());
        assert_eq!(saved.age, Duration::from_millis(1_500));
        let empty = Snapshot::new(service(), snapshot().cursor(), []);
        let saved = read(&encode(&empty, "", NOW), "", "user.rpc", NOW - 1_000).unwrap();
        assert_eq!((saved.snapshot, saved.age), (empty, Duration::ZERO), "a clock a little behind");
    }

    #[test]
    fn the_first_line_tells_how_long_a_file_is() {
        let file = encode(&snapshot(), "prod", NOW);
        assert_eq!(length(&file[..FIRST_LINE]), Some(file.len() as u64));
        let longest = format!("{MAGIC} {} {:016x} {}\n", u32::MAX, u64::MAX, u64::MAX);
        assert!(longest.len() <= FIRST_LINE && length(longest.as_bytes()).is_none(), "longer than there is");
        for litter in [
            "",
            "litter",
            "litter 1 0 7\n",
            "registry-view\n",
            "registry-view 1 0 x\n",
            "registry-view 1 0 7",
        ] {
            assert_eq!(length(litter.as_bytes()), None, "{litter}");
        }
    }

    #[test]
    fn no_token_is_written() {
        let file = String::from_utf8(encode(&snapshot(), "", NOW)).unwrap();
        assert!(file.contains(r#""token":"00000000000000000000000000000000""#));
    }

    #[test]
    fn a_file_of_another_store_service_version_or_time_is_not_trusted() {
        let file = encode(&snapshot(), "prod", NOW);
        let why = |store, service, now| read(&file, store, service, now).unwrap_err();
        assert_eq!(why("test", "user.rpc", NOW), Rejected::Foreign("the store \"prod\"".into()));
        assert_eq!(why("prod", "user", NOW), Rejected::Foreign("the service \"user.rpc\"".into()));
        let later = u64::try_from(DAY.as_millis()).unwrap() + 1;
        assert_eq!(why("prod", "user.rpc", NOW + later), Rejected::TooOld(DAY + Duration::from_millis(1)));
        assert_eq!(why("prod", "user.rpc", NOW - 61_000), Rejected::Future(Duration::from_secs(61)));
        let newer = String::from_utf8(file).unwrap().replacen("view 1 ", "view 2 ", 1);
        let why = read(newer.as_bytes(), "prod", "user.rpc", NOW).unwrap_err();
        assert_eq!(why, Rejected::Version("2".into()));
    }

    #[test]
    fn a_file_that_ends_early_anywhere_is_damaged() {
        let file = encode(&snapshot(), "", NOW);
        for length in 0..file.len() {
            let why = read(&file[..length], "", "user.rpc", NOW).unwrap_err();
            assert!(matches!(why, Rejected::Damaged(_) | Rejected::Version(_)), "{length}: {why}");
        }
    }

    /// Reads a file with this body and the checksum of it.
    fn sealed(body: &str) -> Result<Decoded, Rejected> {
        let first = format!("registry-view 1 {:016x} {}\n", pick::hash(body.as_bytes()), body.len());
        read((first + body).as_bytes(), "", "user.rpc", NOW)
    }

    #[test]
    fn an_entry_of_a_newer_schema_is_skipped_and_counted_unless_all_are() {
        let file = String::from_utf8(encode(&snapshot(), "", NOW)).unwrap();
        let body = file.split_once('\n').unwrap().1;
        let newer = |entries| body.replacen(r#"{"schema":1,"#, r#"{"schema":2,"#, entries);
        let saved = sealed(&newer(1)).unwrap();
        assert_eq!((saved.snapshot.len(), saved.snapshot.skipped()), (3, 1));
        let kept: Vec<_> = snapshot().iter().skip(1).cloned().collect();
        assert!(saved.snapshot.iter().eq(&kept), "all others are as they were");
        assert_eq!(sealed(&newer(4)).unwrap_err(), Rejected::Unreadable);
        let fewer = newer(1).replace(r#""entries":4"#, r#""entries":3"#);
        assert!(matches!(sealed(&fewer).unwrap_err(), Rejected::Damaged(_)), "what is skipped counts");
    }

    #[test]
    fn entries_of_another_service_or_number_are_damage_even_under_a_good_checksum() {
        let file = String::from_utf8(encode(&snapshot(), "", NOW)).unwrap();
        let body = file.split_once('\n').unwrap().1;
        for bad in [
            body.replace(r#""entries":4"#, r#""entries":3"#),
            body.replacen(r#""service":"user.rpc","id""#, r#""service":"user","id""#, 1),
            body.replacen("\n6 ", "\nx ", 1),
            body.replacen("\n6 ", "\n", 1),
            body.replace(r#""cursor":""#, r#""cursor":"z"#),
            body.trim_end().to_owned(),
            String::new(),
        ] {
            assert!(matches!(sealed(&bad), Err(Rejected::Damaged(_))));
        }
    }

    proptest! {
        #[test]
        fn a_file_with_any_byte_changed_is_not_trusted(at in any::<prop::sample::Index>(), by in 1_u8..) {
            let mut file = encode(&snapshot(), "prod", NOW);
            let at = at.index(file.len());
            file[at] = file[at].wrapping_add(by);
            prop_assert!(read(&file, "prod", "user.rpc", NOW).is_err());
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read(&bytes, "", "user.rpc", NOW).is_err());
        }
    }
}
