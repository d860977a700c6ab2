//! How an entry is written into a store: JSON, schema version 1, shared by every backend that stores bytes.
//!
//! ```json
//! {"schema":1,"service":"user.rpc","id":"10.0.0.7:8080","incarnation":1700000000000,
//!  "token":"0123456789abcdef0123456789abcdef","endpoints":["10.0.0.7:8080"],"version":"1.4.2",
//!  "zone":"eu-central-1a","weight":100,"status":"up","metadata":{"commit":"8f3c1d"}}
//! ```
//!
//! Fields may be added without a new schema version: readers keep what they do not know, and an update writes it back. A
//! new schema version means that old readers must not guess: they skip the entry and count it. Numbers that a
//! reader does not know are kept as a double or a 64-bit integer can hold them. `version`, `zone` and
//! `metadata` are left out when empty. A `status` that a reader does not know means that the instance should get no new
//! work.

use std::borrow::Cow;
use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

use crate::cursor::Revision;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::instance::{Instance, Status, Weight};
use crate::lease::{Incarnation, OwnerToken};
use crate::metadata::Metadata;
use crate::name::{InstanceId, ServiceName, Version, Zone};

/// The schema version written, and the greatest one read.
pub const SCHEMA: u32 = 1;

/// The greatest size of a stored entry that is decoded, in bytes; what is larger is malformed.
pub const MAX_STORED: usize = Instance::MAX_ENCODED + 1024;

/// An entry as stored: the instance and who owns it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stored {
    /// What is published.
    pub instance: Instance,
    /// Which process's claim it is.
    pub incarnation: Incarnation,
    /// The owner.
    pub token: OwnerToken,
    /// The revision of its registration, in stores that do not keep it themselves; left out by the registration itself,
    /// which cannot know it.
    pub registered: Option<Revision>,
}

impl Stored {
    /// An entry of `instance`, owned by `token`.
    #[must_use]
    pub fn new(instance: Instance, incarnation: Incarnation, token: OwnerToken) -> Self {
        Self { instance, incarnation, token, registered: None }
    }

    /// Sets the revision of its registration.
    #[must_use]
    pub fn with_registered(mut self, revision: Revision) -> Self {
        self.registered = Some(revision);
        self
    }

    /// The bytes to store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        write_json(&mut bytes, &Written::new(&self.instance, Some(self)));
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote, in this or another version of the library.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt), with the reason, for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let read = Read::of(bytes)?;
        let (service, id) = (ServiceName::new(&read.service), InstanceId::new(&read.id));
        read.into_stored(service.map_err(unacceptable)?, id.map_err(unacceptable)?)
    }

    /// The same, for what lies where the entry of `id` of `service` is to be.
    ///
    /// # Errors
    /// Those of [`decode`](Self::decode), and [`Corrupt`](ErrorKind::Corrupt) for an entry of another service or id.
    pub fn decode_as(bytes: &[u8], service: &ServiceName, id: &InstanceId) -> Result<Self> {
        let read = Read::of(bytes)?;
        if read.service.as_ref() != service.as_str() || read.id.as_ref() != id.as_str() {
            return Err(malformed("is of another service or id than its key".into()));
        }
        read.into_stored(service.clone(), id.clone())
    }
}

fn malformed(reason: String) -> Error {
    Error::new(ErrorKind::Corrupt, Operation::Parse, reason)
}

/// What was wrong with a part, as what is wrong with the entry.
#[expect(clippy::needless_pass_by_value, reason = "as it is given to who maps errors")]
fn unacceptable(error: Error) -> Error {
    malformed(error.to_string())
}

/// What each byte is worth as a hexadecimal digit; `NO_DIGIT` for what is none.
static DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut byte = 0;
    while byte < 256 {
        if let Some(digit) = (byte as u8 as char).to_digit(16) {
            digits[byte] = digit as u8;
        }
        byte += 1;
    }
    digits
};
const NO_DIGIT: u8 = 0x80;

/// 32 hexadecimal digits; `from_str_radix` would also take a sign.
fn token(text: &str) -> Option<OwnerToken> {
    let digits: &[u8; 32] = text.as_bytes().try_into().ok()?;
    // Without a branch for each digit, which no processor foresees, and in halves, since numbers of 128 bits take long.
    let half = |digits: &[u8]| {
        digits.iter().fold((0_u64, 0), |(number, all), byte| {
            let digit = DIGITS[usize::from(*byte)];
            (number << 4 | u64::from(digit & 15), all | digit)
        })
    };
    let ((high, one), (low, other)) = (half(&digits[..16]), half(&digits[16..]));
    ((one | other) & NO_DIGIT == 0).then(|| OwnerToken::from_u128(u128::from(high) << 64 | u128::from(low)))
}

fn write_json(out: impl std::io::Write, value: &impl Serialize) {
    // Writing strings, numbers and string-keyed maps to memory has no way to fail.
    let written = serde_json::to_writer(out, value);
    debug_assert!(written.is_ok());
}

/// The size of the instance's own part of a stored entry.
pub(crate) fn encoded_len(instance: &Instance) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    write_json(&mut counter, &Written::new(instance, None));
    counter.0
}

#[derive(Serialize)]
struct Written<'a> {
    schema: u32,
    service: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    incarnation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<Token>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registered: Option<u64>,
    endpoints: Shown<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'a str>,
    weight: u32,
    status: &'static str,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: &'a Metadata,
    #[serde(flatten)]
    extra: &'a serde_json::Map<String, serde_json::Value>,
}

impl<'a> Written<'a> {
    fn new(instance: &'a Instance, owner: Option<&Stored>) -> Self {
        Self {
            schema: SCHEMA,
            service: instance.service.as_str(),
            id: instance.id.as_str(),
            incarnation: owner.map(|stored| stored.incarnation.get()),
            token: owner.map(|stored| Token(stored.token)),
            registered: owner.and_then(|stored| stored.registered).map(Revision::get),
            endpoints: Shown(&instance.endpoints),
            version: instance.version.as_ref().map(Version::as_str),
            zone: instance.zone.as_ref().map(Zone::as_str),
            weight: instance.weight.get(),
            status: match instance.status {
                Status::Up => "up",
                Status::Draining => "draining",
            },
            metadata: &instance.metadata,
            extra: &instance.extra,
        }
    }
}

/// Written as 32 digits, without a text of its own before.
struct Token(OwnerToken);

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0.as_u128()))
    }
}

/// Written as a list of texts, without a text of its own before.
struct Shown<'a>(&'a [Endpoint]);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        struct One<'a>(&'a Endpoint);
        impl Serialize for One<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_str(self.0)
            }
        }
        serializer.collect_seq(self.0.iter().map(One))
    }
}

/// A text that is not copied where what it is read from holds it as it is.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<Text<'_>> for SmolStr {
    fn from(text: Text<'_>) -> Self {
        Self::from(text.0)
    }
}

/// Parsed as they are read, without a list of texts between. What is wrong with one is told only when schema, names and token were looked at.
struct Parsed(Result<Box<[Endpoint]>>);

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_seq(Texts)
    }
}

struct Texts;

impl<'de> Visitor<'de> for Texts {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of endpoints")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> std::result::Result<Parsed, A::Error> {
        // As many as there mostly are: what is reserved for more would have to be given back.
        let mut all = Ok(Vec::with_capacity(1));
        while let Some(text) = texts.next_element::<Text<'de>>()? {
            let Ok(endpoints) = &mut all else { continue };
            match text.as_ref().parse() {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(error) => all = Err(error),
            }
        }
        Ok(Parsed(all.map(Vec::into_boxed_slice)))
    }
}

#[derive(Deserialize)]
struct Read<'a> {
    schema: u32,
    #[serde(borrow)]
    service: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    incarnation: u64,
    #[serde(borrow)]
    token: Text<'a>,
    #[serde(default)]
    registered: Option<u64>,
    endpoints: Parsed,
    #[serde(borrow, default)]
    version: Option<Text<'a>>,
    #[serde(borrow, default)]
    zone: Option<Text<'a>>,
    #[serde(default)]
    weight: Option<u32>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(default)]
    metadata: Metadata,
    #[serde(flatten)]
    extra: serde_json::Map<String, serde_json::Value>,
}

impl<'a> Read<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self> {
        if bytes.len() > MAX_STORED {
            return Err(malformed(format!("has {} bytes, at most {MAX_STORED} are read", bytes.len())));
        }
        // All of it at once: the parser would look at each piece.
        let text = std::str::from_utf8(bytes).map_err(|error| malformed(error.to_string()))?;
        let read: Self = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        if read.schema == 0 || read.schema > SCHEMA {
            return Err(malformed(format!("has schema {}, this library reads 1 to {SCHEMA}", read.schema)));
        }
        Ok(read)
    }

    fn into_stored(self, service: ServiceName, id: InstanceId) -> Result<Stored> {
        let Some(token) = token(self.token.as_ref()) else {
            return Err(malformed("has a token that is not 32 hexadecimal digits".into()));
        };
        let instance = Instance {
            service,
            id,
            endpoints: self.endpoints.0.map_err(unacceptable)?,
            metadata: self.metadata,
            version: self.version.map(Version::new).transpose().map_err(unacceptable)?,
            weight: self.weight.map_or(Ok(Weight::default()), Weight::new).map_err(unacceptable)?,
            zone: self.zone.map(Zone::new).transpose().map_err(unacceptable)?,
            status: if self.status.as_ref() == "up" { Status::Up } else { Status::Draining },
            extra: self.extra,
        };
        instance.check().map_err(unacceptable)?;
        Ok(Stored {
            instance,
            incarnation: Incarnation::new(self.incarnation),
            token,
            registered: self.registered.map(Revision::new),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = concat!(
        r#"{"schema":1,"service":"user.rpc","id":"10.0.0.7:8080","incarnation":1700000000000,"#,
        r#""token":"0123456789abcdef0123456789abcdef","endpoints":["grpc://10.0.0.7:8080","[fd00::1]:80"],"#,
        r#""version":"1.4.2","zone":"eu-1a","weight":7,"status":"draining","metadata":{"a":"\"b\"","k":"ü"}}"#,
    );

    fn stored() -> Stored {
        let instance = Instance::builder("user.rpc")
            .endpoint("grpc://10.0.0.7:8080")
            .endpoint("[fd00::1]:80")
            .version("1.4.2")
            .zone("eu-1a")
            .weight(7)
            .status(Status::Draining)
            .metadata("k", "ü")
            .metadata("a", "\"b\"")
            .build()
            .unwrap();
        let token = OwnerToken::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        Stored::new(instance, Incarnation::new(1_700_000_000_000), token)
    }

    #[test]
    fn the_stored_bytes_do_not_change_between_versions_of_the_library() {
        assert_eq!(String::from_utf8(stored().encode()).unwrap(), GOLDEN);
        assert_eq!(Stored::decode(GOLDEN.as_bytes()).unwrap(), stored());
    }

    #[test]
    fn the_least_entry_that_was_ever_written_is_still_read() {
        let least = r#"{"schema":1,"service":"a","id":"b","incarnation":1,"token":"00000000000000000000000000000002","endpoints":["h:1"],"status":"up"}"#;
        let stored = Stored::decode(least.as_bytes()).unwrap();
        assert_eq!(stored.instance.weight(), Weight::default());
        assert_eq!(stored.instance.version(), None);
    }

    #[test]
    fn unknown_fields_survive_an_update() {
        let newer = GOLDEN.replace(r#""weight":7,"#, r#""weight":7,"shard":{"of":[1,2]},"#);
        let read = Stored::decode(newer.as_bytes()).unwrap();
        let updated = read.instance.to_builder().weight(8).build().unwrap();
        let written = Stored::new(updated, read.incarnation, read.token).encode();
        let text = String::from_utf8(written).unwrap();
        assert!(text.contains(r#""shard":{"of":[1,2]}"#), "{text}");
        assert!(text.contains(r#""weight":8"#), "{text}");
    }

    #[test]
    fn the_revision_of_the_registration_is_kept_where_it_is_known() {
        let stored = stored().with_registered(Revision::new(17));
        assert_eq!(Stored::decode(&stored.encode()).unwrap(), stored);
    }

    #[test]
    fn an_entry_of_another_service_or_id_is_not_what_its_key_says() {
        let stored = stored();
        let read = |service: &str, id: &str| {
            let (service, id) = (ServiceName::new(service).unwrap(), InstanceId::new(id).unwrap());
            Stored::decode_as(GOLDEN.as_bytes(), &service, &id)
        };
        assert_eq!(read("user.rpc", "10.0.0.7:8080").unwrap(), stored);
        for (service, id) in [("user", "10.0.0.7:8080"), ("user.rpc", "10.0.0.7:80"), ("a", "b")] {
            assert_eq!(read(service, id).expect_err(id).kind(), ErrorKind::Corrupt, "{service} {id}");
        }
    }

    #[test]
    fn a_status_of_the_future_gets_no_new_work() {
        let newer = GOLDEN.replace("draining", "warming");
        assert_eq!(Stored::decode(newer.as_bytes()).unwrap().instance.status(), Status::Draining);
    }

    #[test]
    fn an_entry_of_the_future_is_told_as_such_also_where_its_endpoints_are_unheard_of() {
        let told = |json: &str| Stored::decode(json.as_bytes()).expect_err(json).to_string();
        let odd = GOLDEN.replace("[fd00::1]:80", "unix:/run/a");
        assert!(told(&odd).contains("unix:/run/a"), "{}", told(&odd));
        let newer = odd.replace(r#""schema":1"#, r#""schema":2"#);
        assert!(told(&newer).contains("schema 2"), "{}", told(&newer));
    }

    #[test]
    fn what_cannot_be_read_is_corrupt_and_never_a_panic() {
        let cases = [
            "",
            "null",
            "10.0.0.7:8080",
            "{}",
            "[1]",
            "\u{0}\u{1}",
            &GOLDEN.replace(r#""schema":1"#, r#""schema":2"#),
            &GOLDEN.replace(r#""schema":1"#, r#""schema":0"#),
            &GOLDEN.replace("user.rpc", "../x"),
            &GOLDEN.replace("0123456789abcdef0123456789abcdef", "xyz"),
            &GOLDEN.replace("0123456789abcdef0123456789abcdef", "+123456789abcdef0123456789abcdef"),
            &GOLDEN.replace("0123456789abcdef0123456789abcdef", "00123456789abcdef0123456789abcdef"),
            &GOLDEN.replace("0123456789abcdef0123456789abcdef", "é123456789abcdef0123456789abcdef"),
            &GOLDEN.replace(r#"["grpc://10.0.0.7:8080","[fd00::1]:80"]"#, "[]"),
            &GOLDEN.replace("1700000000000", "-1"),
            &GOLDEN.replace(r#""weight":7"#, r#""weight":10001"#),
            &GOLDEN.replace("ü", &"x".repeat(MAX_STORED)),
            &GOLDEN[..GOLDEN.len() - 1],
        ];
        for case in cases {
            assert_eq!(Stored::decode(case.as_bytes()).expect_err(case).kind(), ErrorKind::Corrupt, "{case}");
        }
        assert_eq!(Stored::decode(b"\xff\xfe").expect_err("not UTF-8").kind(), ErrorKind::Corrupt);
    }
}
