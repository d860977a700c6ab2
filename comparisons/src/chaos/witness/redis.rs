//! The log of one Redis, read raw, as `registry-redis` keeps it by default: the stream `registry:{<service>}:log` has one entry for each change, with a nonce; the
//! hash `registry:{<service>}:head` has the epoch.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, pipe};
use registry_core::ServiceName;
use registry_core::codec;
use tokio::sync::watch;
use tokio::time::sleep;

use super::ledger::Ledger;
use crate::chaos::history::{Change, Listed};
use crate::contestants::value;

/// So often the log is read.
const EVERY: Duration = Duration::from_millis(20);
/// So many entries at a time.
const PAGE: usize = 1_000;
/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The server that a URL names; none if it is no single Redis', or says more than where it is.
pub(super) fn server(url: &str) -> Option<String> {
    let rest = url.strip_prefix("redis://")?;
    let (host, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    (!host.contains(['@', '/', ',']) && !parameters.contains("prefix=")).then(|| format!("redis://{host}"))
}

/// Reads the log again and again.
pub(super) async fn follow(
    server: String,
    service: ServiceName,
    mut ledger: Ledger,
    mut over: watch::Receiver<bool>,
) {
    let mut log = Log { service, last: None };
    let mut connection = None;
    loop {
        // Once more after it is over: what was asked before may not have had everything.
        let last = *over.borrow_and_update();
        match log.read(&server, &mut connection, &mut ledger).await {
            Ok(true) => continue,
            Ok(false) if last => return,
            Ok(false) => {}
            Err(_) => connection = None,
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            _ = over.changed() => {}
        }
    }
}

struct Log {
    service: ServiceName,
    /// Revision and nonce of the last entry that was read.
    last: Option<(u64, String)>,
}

impl Log {
    /// Reads some entries; whether there may be more.
    async fn read(
        &mut self,
        server: &str,
        connection: &mut Option<MultiplexedConnection>,
        ledger: &mut Ledger,
    ) -> Result<bool, RedisError> {
        let asked = match connection {
            Some(connection) => connection,
            None => connection.insert(connect(server).await?),
        };
        let key = |part: &str| format!("registry:{{{}}}:{part}", self.service);
        let from = self.last.as_ref().map_or("-".to_owned(), |(revision, _)| format!("{revision}-0"));
        let mut both = pipe();
        both.atomic().cmd("HGET").arg(key("head")).arg("epoch");
        both.cmd("XRANGE").arg(key("log")).arg(from).arg("+").arg("COUNT").arg(PAGE);
        let (epoch, page): (Option<String>, Vec<Stored>) = both.query_async(asked).await?;
        let epoch = epoch.and_then(|epoch| u64::from_str_radix(&epoch, 16).ok());
        let entries: Vec<Entry> = page.iter().filter_map(Entry::read).collect();
        let mut entries = entries.as_slice();
        if let Some((revision, nonce)) = &self.last {
            // The last one is read again, as a proof that the history is the same.
            match entries.split_first() {
                Some((first, rest)) if (first.revision, &first.nonce) == (*revision, nonce) => entries = rest,
                _ => {
                    self.last = None;
                    ledger.wiped();
                    return Ok(false);
                }
            }
        } else if epoch.is_some_and(|epoch| ledger.has_left(epoch)) {
            return Ok(false);
        } else if entries.first().is_some_and(|first| first.revision != 1) {
            ledger.gap("the log does not begin with the first change");
        }
        if self.last.is_none()
            && let Some(epoch) = epoch
        {
            ledger.enter(epoch);
        }
        for entry in entries {
            ledger.change(entry.revision, entry.change.clone());
            self.last = Some((entry.revision, entry.nonce.clone()));
        }
        if let Some(epoch) = epoch {
            ledger.enter(epoch);
        }
        Ok(entries.len() + 1 >= PAGE)
    }
}

async fn connect(server: &str) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    Client::open(server)?.get_multiplexed_async_connection_with_config(&config).await
}

/// An entry as Redis gives it: its id, and its fields, each name followed by its value.
type Stored = (String, Vec<Vec<u8>>);

/// An entry of the log.
struct Entry {
    revision: u64,
    nonce: String,
    change: Change,
}

impl Entry {
    fn read((id, fields): &Stored) -> Option<Self> {
        let revision = id.strip_suffix("-0")?.parse().ok()?;
        let field = |name: &str| {
            let mut pairs = fields.chunks_exact(2);
            pairs.find(|pair| pair[0] == name.as_bytes()).map(|pair| pair[1].as_slice())
        };
        let word = |name| Some(std::str::from_utf8(field(name)?).ok()?.to_owned());
        let (id, what, nonce) = (word("id")?, word("change")?, word("nonce")?);
        let put = if what == "put" { listed(&id, field("value")?) } else { None };
        let gone = || {
            let cause = match what.as_str() {
                "left" => "deregistered",
                "expired" => "expired",
                _ => "unknown",
            };
            Change::Delete { id, cause: Some(cause.to_owned()) }
        };
        Some(Self { revision, nonce, change: put.map_or_else(gone, Change::Put) })
    }
}

/// A line that begins with modified, created and incarnation, then the entry as JSON. None if it cannot be read: then it is listed nowhere.
fn listed(id: &str, stored: &[u8]) -> Option<Listed> {
    let end = stored.iter().position(|byte| *byte == b'\n')?;
    let mut words = std::str::from_utf8(&stored[..end]).ok()?.split(' ');
    let modified = words.next()?.parse().ok()?;
    let incarnation = words.nth(1)?.parse().ok()?;
    let stored = codec::Stored::decode(&stored[end + 1..]).ok()?;
    let (incarnation, modified) = (Some(incarnation), Some(modified));
    Some(Listed { id: id.to_owned(), value: value(&stored.instance), incarnation, modified })
}

#[cfg(test)]
mod tests {
    use super::{Entry, server};
    use crate::chaos::history::{Change, Listed};
    use registry_core::codec::Stored;
    use registry_core::{Incarnation, OwnerToken};

    fn entry(change: &str, value: Vec<u8>) -> Option<Entry> {
        let fields = [("nonce", "0f"), ("previous", ""), ("change", change), ("id", "a")];
        let mut fields: Vec<Vec<u8>> = fields
            .iter()
            .flat_map(|(name, value)| [name.as_bytes().to_vec(), value.as_bytes().to_vec()])
            .collect();
        fields.extend([b"value".to_vec(), value]);
        Entry::read(&("7-0".to_owned(), fields))
    }

    #[test]
    fn entries_of_the_log_are_read_as_the_scripts_write_them() {
        let instance = crate::contestants::instance("chaos.rpc", "a", 42).unwrap();
        let json = Stored::new(instance, Incarnation::new(9), OwnerToken::from_u128(1)).encode();
        let put = entry("put", [b"7 3 9 ab 10000 7f 1 00\n".as_slice(), &json].concat()).unwrap();
        let listed = Listed { id: "a".to_owned(), value: 42, incarnation: Some(9), modified: Some(7) };
        assert_eq!((put.revision, put.change), (7, Change::Put(listed)));
        for (change, cause) in [("expired", "expired"), ("left", "deregistered"), ("put", "unknown")] {
            let gone = entry(change, b"nonsense".to_vec()).unwrap();
            assert_eq!(gone.change, Change::Delete { id: "a".to_owned(), cause: Some(cause.to_owned()) });
        }
    }

    #[test]
    fn a_single_server_is_read_from_a_url_that_says_no_more_than_where_it_is() {
        assert_eq!(server("redis://127.0.0.1:1?check-interval=1s").as_deref(), Some("redis://127.0.0.1:1"));
        for other in ["redis+cluster://a", "redis://user:word@a", "redis://a/1", "redis://a?prefix=x"] {
            assert_eq!(server(other), None, "{other}");
        }
    }
}
