//! How an instance lies in Redis, as the scripts write it: a line about its owner, then the entry as [`registry_core::codec`] writes it. Pure.

use std::sync::Arc;

use memchr::memchr;
use registry_core::codec::Stored;
use registry_core::{
    Change, DeleteCause, Entry, Error, Incarnation, InstanceId, Result, Revision, ServiceName,
};

use crate::sum;

/// What was found where an instance would be.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// An instance.
    Entry(Arc<Entry>),
    /// What no script of ours wrote: the log does not know of it yet.
    Unlogged(InstanceId, Error),
    /// What cannot be read, and why.
    Malformed(String, Error),
}

/// The line before an entry.
struct Header {
    modified: u64,
    created: u64,
    incarnation: u64,
}

/// Reads one value of `service`.
pub(crate) fn read(service: &ServiceName, id: &[u8], value: &[u8]) -> Item {
    let name = String::from_utf8_lossy(id);
    let id = match InstanceId::new(&name) {
        Ok(id) => id,
        Err(error) => return Item::Malformed(name.into_owned(), error),
    };
    let Some((header, json)) = split(value) else {
        let error = Stored::decode(value).err();
        let error = error.unwrap_or_else(|| Error::invalid("entry", "was written by other hands"));
        return Item::Unlogged(id, error);
    };
    match entry(service, &id, &header, json) {
        Ok(entry) => Item::Entry(Arc::new(entry)),
        Err(error) => Item::Malformed(name.into_owned(), error),
    }
}

/// The change that a `put` in the log stands for. What was listed there and cannot be read any more is gone.
pub(crate) fn put(service: &ServiceName, id: InstanceId, value: &[u8]) -> (Change, Option<Error>) {
    match read(service, id.as_str().as_bytes(), value) {
        Item::Entry(entry) => (Change::Put(entry), None),
        Item::Unlogged(_, error) | Item::Malformed(_, error) => {
            (Change::Delete { id, cause: DeleteCause::Unknown }, Some(error))
        }
    }
}

fn entry(service: &ServiceName, id: &InstanceId, header: &Header, json: &[u8]) -> Result<Entry> {
    let stored = Stored::decode_as(json, service, id)?;
    let (created, modified) = (Revision::new(header.created), Revision::new(header.modified));
    Ok(Entry::new(stored.instance, Incarnation::new(header.incarnation), created, modified))
}

fn split(value: &[u8]) -> Option<(Header, &[u8])> {
    let end = memchr(b'\n', &value[..value.len().min(256)])?;
    let (line, json) = (&value[..end], &value[end + 1..]);
    // The last of eight words is the sum; token, TTL, writer and sequence, which come before it, are for the scripts.
    if !line.is_ascii() || line.iter().filter(|byte| **byte == b' ').count() != 7 {
        return None;
    }
    let (words, sum) = line.split_last_chunk()?;
    let mut words = words.strip_suffix(b" ")?.split(|byte| *byte == b' ');
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse::<u64>().ok();
    let (modified, created, incarnation) = (number()?, number()?, number()?);
    let header = Header { modified, created, incarnation };
    sum::begins(json, sum).then_some((header, json))
}

#[cfg(test)]
mod tests {
    use registry_core::{Instance, OwnerToken};

    use super::*;

    fn value() -> (ServiceName, Vec<u8>) {
        let instance = Instance::builder("user.rpc").endpoint("10.0.0.7:80").build().unwrap();
        let service = instance.service().clone();
        let json = Stored::new(instance, Incarnation::new(9), OwnerToken::from_u128(1)).encode();
        let sum = &sum::sum(&json)[..16];
        (service, [format!("5 3 9 ab 10000 7f 1 {sum}\n").as_bytes(), &json].concat())
    }

    #[test]
    fn what_the_scripts_write_is_read() {
        let (service, value) = value();
        let Item::Entry(entry) = read(&service, b"10.0.0.7:80", &value) else { panic!("an entry") };
        assert_eq!((entry.created().get(), entry.modified().get(), entry.incarnation().get()), (3, 5, 9));
    }

    #[test]
    fn what_other_hands_changed_is_told_from_what_the_scripts_wrote() {
        let (service, value) = value();
        let text = String::from_utf8(value).unwrap();
        let json = text.split_once('\n').unwrap().1;
        let edited = text.replace(r#""weight":100"#, r#""weight":101"#).replace("up", "UP");
        let more_words = text.replacen(" ab ", " ab ab ", 1);
        for other in [json, &edited, &more_words, "", "{}", "x\ny", "1 2 3\n{}"] {
            let item = read(&service, b"10.0.0.7:80", other.as_bytes());
            assert!(matches!(item, Item::Unlogged(..)), "{other}: {item:?}");
        }
        let at = text.find(" ab ").unwrap() + 1;
        let mut no_text = text.clone().into_bytes();
        no_text[at] = 0xff;
        assert!(matches!(read(&service, b"10.0.0.7:80", &no_text), Item::Unlogged(..)));
        assert!(matches!(read(&service, b"another:80", text.as_bytes()), Item::Malformed(..)));
        assert!(matches!(read(&service, b"a\nb", text.as_bytes()), Item::Malformed(..)));
    }
}
