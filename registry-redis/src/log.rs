//! The change log: what it says after a position, and whether it says all of it. Pure, but for the reading.

use redis::Value;
use registry_core::{
    Batch, Change, Cursor, DeleteCause, Error, InstanceId, Operation, Result, Revision, ServiceName,
};

use crate::connection::Connection;
use crate::hex;
use crate::layout::json;
use crate::link::text;

/// So many changes are asked for at a time.
const PAGE: usize = 500;

/// One change, as the scripts wrote it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) revision: u64,
    pub(crate) nonce: u64,
    pub(crate) previous: u64,
    what: What,
    id: String,
    value: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Put,
    Left,
    Expired,
    Gone,
}

/// Why what comes after a position cannot be told one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It is no longer in the log.
    Trimmed,
    /// The log has another history there.
    Replaced,
}

/// Whether a change follows a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is the position itself.
    Here,
    /// It is the next.
    Next,
    /// It is earlier, or something is missing between, or it is of another history.
    Elsewhere,
}

impl Logged {
    /// Reads what was told: the parts, one on each line.
    pub(crate) fn told(message: &[u8]) -> Option<Self> {
        let mut parts = message.splitn(6, |byte| *byte == b'\n');
        let mut word = || std::str::from_utf8(parts.next()?).ok();
        let (revision, nonce, previous) =
            (word()?.parse().ok()?, hex::number(word()?.as_bytes())?, hex::number(word()?.as_bytes())?);
        let (what, id) = (What::named(word()?)?, word()?.to_owned());
        Some(Self { revision, nonce, previous, what, id, value: parts.next()?.to_vec() })
    }

    /// Reads one entry of the stream.
    fn stored(entry: &Value) -> Option<Self> {
        let parts = entry.as_sequence()?;
        let revision = text(parts.first()?)?.strip_suffix("-0")?.parse().ok()?;
        let fields = parts.get(1)?.as_sequence()?;
        let field = |name: &str| {
            let mut pairs = fields.chunks_exact(2);
            pairs.find(|pair| text(&pair[0]).as_deref() == Some(name)).map(|pair| &pair[1])
        };
        let word = |name| field(name).and_then(text);
        let value = match field("value")? {
            Value::BulkString(bytes) => bytes.clone(),
            _ => return None,
        };
        Some(Self {
            revision,
            nonce: hex::number(word("nonce")?.as_bytes())?,
            previous: hex::number(word("previous")?.as_bytes())?,
            what: What::named(&word("change")?)?,
            id: word("id")?,
            value,
        })
    }

    pub(crate) fn value(&self) -> &[u8] {
        &self.value
    }

    pub(crate) fn place(&self, position: Cursor) -> Place {
        let at = position.revision().get();
        if self.revision == at && self.nonce == position.proof() {
            Place::Here
        } else if self.revision == at + 1 && self.previous == position.proof() {
            Place::Next
        } else {
            Place::Elsewhere
        }
    }

    /// The change, and why it could not be read if so.
    pub(crate) fn batch(&self, service: &ServiceName, position: Cursor) -> (Batch, Option<Error>) {
        let cursor = Cursor::new(position.epoch(), Revision::new(self.revision), self.nonce);
        let Ok(id) = InstanceId::new(self.id.as_str()) else {
            // Nobody can have registered that.
            return (Batch { cursor, changes: Vec::new() }, None);
        };
        let gone = |cause| (Change::Delete { id: id.clone(), cause }, None);
        let (change, error) = match self.what {
            What::Put => json::put(service, id, &self.value),
            What::Left => gone(DeleteCause::Deregistered),
            What::Expired => gone(DeleteCause::Expired),
            What::Gone => gone(DeleteCause::Unknown),
        };
        (Batch { cursor, changes: vec![change] }, error)
    }
}

impl What {
    fn named(word: &str) -> Option<Self> {
        Some(match word {
            "put" => Self::Put,
            "left" => Self::Left,
            "expired" => Self::Expired,
            "gone" => Self::Gone,
            _ => return None,
        })
    }
}

/// What the log says after `position`: some of it. Nothing means that there is nothing more, or that there is no log.
pub(crate) async fn after(
    connection: &Connection,
    service: &ServiceName,
    position: Cursor,
    operation: Operation,
) -> Result<std::result::Result<Vec<Logged>, Broken>> {
    let keys = connection.keys(service);
    let range = keys.changes(position.revision().get(), PAGE);
    let answer = connection.command(operation, keys.slot, range).await?;
    Ok(chain(position, answer.as_sequence().unwrap_or_default()))
}

/// The entries of the stream from the position on, as a chain that begins there.
fn chain(position: Cursor, entries: &[Value]) -> std::result::Result<Vec<Logged>, Broken> {
    let mut at = position;
    let mut chained = Vec::with_capacity(entries.len());
    for entry in entries {
        // What other hands wrote there has no place in any history.
        let Some(logged) = Logged::stored(entry) else { return Err(Broken::Replaced) };
        match logged.place(at) {
            Place::Here if chained.is_empty() => {}
            Place::Next => {
                at = Cursor::new(at.epoch(), Revision::new(logged.revision), logged.nonce);
                chained.push(logged);
            }
            _ if logged.revision > at.revision().get() + 1 => return Err(Broken::Trimmed),
            _ => return Err(Broken::Replaced),
        }
    }
    Ok(chained)
}

#[cfg(test)]
mod tests {
    use registry_core::Epoch;

    use super::*;

    fn entry(revision: u64, nonce: u64, previous: u64) -> Value {
        let bulk = |text: String| Value::BulkString(text.into());
        let fields = [
            ("nonce", format!("{nonce:016x}")),
            ("previous", format!("{previous:016x}")),
            ("change", "left".into()),
            ("id", "a".into()),
            ("value", String::new()),
        ];
        let fields = fields.into_iter().flat_map(|(name, value)| [bulk(name.into()), bulk(value)]).collect();
        Value::Array(vec![bulk(format!("{revision}-0")), Value::Array(fields)])
    }

    fn at(revision: u64, nonce: u64) -> Cursor {
        Cursor::new(Epoch::new(1), Revision::new(revision), nonce)
    }

    fn revisions(position: Cursor, entries: &[Value]) -> std::result::Result<Vec<u64>, Broken> {
        Ok(chain(position, entries)?.iter().map(|logged| logged.revision).collect())
    }

    #[test]
    fn what_chains_to_the_position_is_told_from_there() {
        let log = [entry(5, 50, 40), entry(6, 60, 50), entry(7, 70, 60)];
        assert_eq!(revisions(at(5, 50), &log), Ok(vec![6, 7]));
        assert_eq!(revisions(at(4, 40), &log), Ok(vec![5, 6, 7]), "the position itself may be trimmed");
        assert_eq!(revisions(at(7, 70), &log[2..]), Ok(vec![]));
        assert_eq!(revisions(at(9, 90), &[]), Ok(vec![]));
    }

    #[test]
    fn a_hole_is_told_from_another_history() {
        let log = [entry(5, 50, 40), entry(6, 60, 50)];
        assert_eq!(revisions(at(3, 30), &log), Err(Broken::Trimmed));
        assert_eq!(revisions(at(5, 51), &log), Err(Broken::Replaced));
        assert_eq!(revisions(at(4, 41), &log), Err(Broken::Replaced));
        assert_eq!(revisions(at(5, 50), &[entry(5, 50, 40), entry(7, 70, 60)]), Err(Broken::Trimmed));
        assert_eq!(revisions(at(5, 50), &[entry(5, 50, 40), entry(6, 60, 51)]), Err(Broken::Replaced));
        assert_eq!(revisions(at(5, 50), &[Value::Nil]), Err(Broken::Replaced));
    }

    #[test]
    fn what_is_told_reads_as_what_is_stored() {
        let message = b"6\n000000000000003c\n0000000000000032\nleft\na\n";
        let Some(told) = Logged::told(message) else { panic!("readable") };
        assert_eq!(Some(told), Logged::stored(&entry(6, 60, 50)));
        for bad in [&b""[..], b"6", b"x\n1\n2\nleft\na\n", b"6\n3c\n32\nleft\na\n", b"\xff\n\n\n\n\n"] {
            assert_eq!(Logged::told(bad), None);
        }
    }
}
