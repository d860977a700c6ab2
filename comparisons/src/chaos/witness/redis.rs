//! The log of a service in Redis, read raw from every server that may have it, as `registry-redis` keeps it by default: the stream `registry:{<service>}:log` has one
//! entry for each change, with a nonce and that of the one before; the hash `registry:{<service>}:head` has the epoch, and the last revision and nonce.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, pipe};
use registry_core::ServiceName;
use registry_core::codec;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::chains::{Chains, Entry, Next, Nonce, Place};
use crate::chaos::history::{Change, Line, Listed};
use crate::chaos::recorder::Recorder;
use crate::chaos::verdict::TRUTH_GAP;
use crate::contestants::value;

/// So often the log is read: of one server, of each of several, and of one that refuses, as nodes of a cluster do that do not have the service.
const EVERY: Duration = Duration::from_millis(20);
const EVERY_OF_SEVERAL: Duration = Duration::from_millis(50);
const REFUSED: Duration = Duration::from_millis(200);
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

/// The servers of a group, each where it is itself.
pub(super) fn servers(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(|address| format!("redis://{address}")).collect()
}

/// Reads the log of each of `servers` again and again, and in the end writes down what they had, put together.
pub(super) async fn follow(
    servers: Vec<String>,
    service: ServiceName,
    recorder: Recorder,
    over: watch::Receiver<bool>,
) {
    let every = if servers.len() > 1 { EVERY_OF_SEVERAL } else { EVERY };
    let chains = Mutex::new(Chains::default());
    let logs = servers.into_iter().map(|server| {
        let log = Log { server, service: &service, chains: &chains, here: None };
        log.follow(every, over.clone())
    });
    let mut histories: Vec<(Instant, Here)> = join_all(logs).await.into_iter().flatten().collect();
    histories.sort_by_key(|(seen, _)| *seen);
    let mut chains = chains.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (_, here) in histories {
        here.ends(&mut chains);
    }
    let (truths, missing) = chains.truths();
    truths.into_iter().for_each(|truth| recorder.write(Line::Truth(truth)));
    missing.into_iter().for_each(|what| recorder.note(format!("{TRUTH_GAP}{what}"), None));
}

/// Where a log was read to, and by which name it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Here {
    epoch: u64,
    last: Option<Place>,
}

impl Here {
    fn ends(self, chains: &mut Chains) {
        if let Some(last) = self.last {
            chains.ends(self.epoch, last.nonce);
        }
    }
}

/// The log of one server.
struct Log<'a> {
    server: String,
    service: &'a ServiceName,
    chains: &'a Mutex<Chains>,
    here: Option<Here>,
}

impl Log<'_> {
    /// Gives where it ended, and when that was seen last.
    async fn follow(mut self, every: Duration, mut over: watch::Receiver<bool>) -> Option<(Instant, Here)> {
        let mut connection = None;
        let mut seen = None;
        loop {
            // Once more after it is over: what was asked before may not have had everything.
            let last = *over.borrow_and_update();
            let asked = Instant::now();
            let read = self.read(&mut connection).await;
            if read.is_ok() {
                seen = self.here.map(|here| (asked, here));
            }
            let pause = match read {
                Ok(true) => continue,
                Ok(false) => every,
                Err(error) => {
                    if error.kind() == redis::ErrorKind::Io || error.is_connection_dropped() {
                        connection = None;
                    }
                    REFUSED
                }
            };
            if last {
                return seen;
            }
            tokio::select! {
                () = sleep(pause) => {}
                _ = over.changed() => {}
            }
        }
    }

    /// Reads some entries; whether there may be more.
    async fn read(&mut self, connection: &mut Option<MultiplexedConnection>) -> Result<bool, RedisError> {
        let asked = match connection {
            Some(connection) => connection,
            None => connection.insert(connect(&self.server).await?),
        };
        let key = |part: &str| format!("registry:{{{}}}:{part}", self.service);
        let last = self.here.and_then(|here| here.last);
        let from = last.map_or("-".to_owned(), |last| format!("{}-0", last.revision));
        let mut both = pipe();
        both.atomic().cmd("HMGET").arg(key("head")).arg(&["epoch", "revision", "nonce"]);
        both.cmd("XRANGE").arg(key("log")).arg(from).arg("+").arg("COUNT").arg(PAGE);
        let (head, page): (Head, Vec<Stored>) = both.query_async(asked).await?;
        let entries: Vec<Entry> = page.iter().filter_map(read).collect();
        Ok(self.take(place(&head), entries))
    }

    fn take(&mut self, head: Option<(u64, Place)>, entries: Vec<Entry>) -> bool {
        let mut chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.here.and_then(|here| here.last);
        let next = Next::of(last, head.map(|(_, place)| place), entries.first());
        let epoch = head.map(|(epoch, _)| epoch);
        let same = self.here.is_none_or(|here| epoch == Some(here.epoch));
        if next == Next::Replaced || next == Next::AfterGap && !same {
            if let Some(here) = self.here.take() {
                here.ends(&mut chains);
            }
            return head.is_some();
        }
        let Some(epoch) = epoch else { return false };
        // The same history by another name.
        if let Some(here) = self.here.filter(|_| !same) {
            here.ends(&mut chains);
        }
        let more = entries.len() >= PAGE;
        let (skipped, mut after) = match next {
            Next::AfterFirst => (1, None),
            Next::AfterGap => (0, last.map(|last| last.nonce)),
            Next::WithFirst | Next::Replaced => (0, None),
        };
        let mut here = Here { epoch, last };
        for entry in entries.into_iter().skip(skipped) {
            here.last = Some(Place { revision: entry.revision, nonce: entry.nonce });
            chains.add(entry, after.take());
        }
        self.here = Some(here);
        more
    }
}

async fn connect(server: &str) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    Client::open(server)?.get_multiplexed_async_connection_with_config(&config).await
}

/// Epoch, revision and nonce, as far as there are any.
type Head = (Option<String>, Option<u64>, Option<String>);

fn place((epoch, revision, nonce): &Head) -> Option<(u64, Place)> {
    let place = Place { revision: (*revision)?, nonce: hex(nonce.as_deref()?)? };
    Some((hex(epoch.as_deref()?)?, place))
}

fn hex(digits: &str) -> Option<Nonce> {
    u64::from_str_radix(digits, 16).ok()
}

/// An entry as Redis gives it: its id, and its fields, each name followed by its value.
type Stored = (String, Vec<Vec<u8>>);

fn read((id, fields): &Stored) -> Option<Entry> {
    let revision = id.strip_suffix("-0")?.parse().ok()?;
    let field = |name: &str| {
        let mut pairs = fields.chunks_exact(2);
        pairs.find(|pair| pair[0] == name.as_bytes()).map(|pair| pair[1].as_slice())
    };
    let word = |name| Some(std::str::from_utf8(field(name)?).ok()?.to_owned());
    let (id, what) = (word("id")?, word("change")?);
    let (nonce, previous) = (hex(&word("nonce")?)?, hex(&word("previous")?)?);
    let put = if what == "put" { listed(&id, field("value")?) } else { None };
    let gone = || {
        let cause = match what.as_str() {
            "left" => "deregistered",
            "expired" => "expired",
            _ => "unknown",
        };
        Change::Delete { id, cause: Some(cause.to_owned()) }
    };
    Some(Entry { revision, nonce, previous, change: put.map_or_else(gone, Change::Put) })
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
    use std::sync::Mutex;

    use super::{Chains, Entry, Here, Log, Place, read, server};
    use crate::chaos::history::{Change, Listed};
    use registry_core::codec::Stored;
    use registry_core::{Incarnation, OwnerToken, ServiceName};

    fn entry(change: &str, value: Vec<u8>) -> Option<Entry> {
        let fields = [("nonce", "0f"), ("previous", "0e"), ("change", change), ("id", "a")];
        let mut fields: Vec<Vec<u8>> = fields
            .iter()
            .flat_map(|(name, value)| [name.as_bytes().to_vec(), value.as_bytes().to_vec()])
            .collect();
        fields.extend([b"value".to_vec(), value]);
        read(&("7-0".to_owned(), fields))
    }

    #[test]
    fn entries_of_the_log_are_read_as_the_scripts_write_them() {
        let instance = crate::contestants::instance("chaos.rpc", "a", 42).unwrap();
        let json = Stored::new(instance, Incarnation::new(9), OwnerToken::from_u128(1)).encode();
        let put = entry("put", [b"7 3 9 ab 10000 7f 1 00\n".as_slice(), &json].concat()).unwrap();
        let listed = Listed { id: "a".to_owned(), value: 42, incarnation: Some(9), modified: Some(7) };
        assert_eq!((put.revision, put.nonce, put.previous), (7, 0xf, 0xe));
        assert_eq!(put.change, Change::Put(listed));
        for (change, cause) in [("expired", "expired"), ("left", "deregistered"), ("put", "unknown")] {
            let gone = entry(change, b"nonsense".to_vec()).unwrap();
            assert_eq!(gone.change, Change::Delete { id: "a".to_owned(), cause: Some(cause.to_owned()) });
        }
    }

    /// What a server has: epoch, and the nonces of its entries, of revisions from 1 on.
    fn take(log: &mut Log<'_>, epoch: u64, nonces: &[u64]) {
        let change = Change::Delete { id: "a".to_owned(), cause: None };
        let all = (1..).zip(nonces).zip([&[0], nonces].concat());
        let all: Vec<Entry> = all
            .map(|((revision, nonce), previous)| Entry {
                revision,
                nonce: *nonce,
                previous,
                change: change.clone(),
            })
            .collect();
        let head = all.last().map(|last| (epoch, Place { revision: last.revision, nonce: last.nonce }));
        let last = |log: &Log<'_>| log.here.and_then(|here| here.last).map_or(0, |last| last.revision);
        while log.take(head, all.iter().filter(|entry| entry.revision >= last(log)).cloned().collect()) {}
    }

    #[test]
    fn a_backup_that_was_put_back_is_another_branch_of_its_epoch_until_the_epoch_is_another_one() {
        let (chains, service) = (Mutex::new(Chains::default()), ServiceName::new("s").unwrap());
        let mut log = Log { server: String::new(), service: &service, chains: &chains, here: None };
        for (epoch, nonces) in [
            (7, &[10, 20][..]),
            (7, &[10, 20, 30]),
            // Put back, and gone on with.
            (7, &[10, 20]),
            (7, &[10, 20, 31]),
            // Somebody has noticed.
            (8, &[10, 20, 31, 41]),
            // Emptied, and begun anew.
            (0, &[]),
            (9, &[12]),
        ] {
            take(&mut log, epoch, nonces);
        }
        let here = log.here.unwrap();
        assert_eq!(here, Here { epoch: 9, last: Some(Place { revision: 1, nonce: 12 }) });
        here.ends(&mut chains.lock().unwrap());
        let (truths, missing) = chains.lock().unwrap().truths();
        let of = |epoch, branch| {
            let of = truths.iter().filter(|one| (one.position.epoch, one.branch) == (epoch, branch));
            of.map(|one| one.position.revision).collect::<Vec<_>>()
        };
        assert_eq!([of(7, 0), of(7, 1), of(8, 0), of(9, 0)].map(|all| all.len()), [3, 3, 4, 1]);
        assert_eq!((truths.len(), missing), (11, Vec::new()));
    }

    #[test]
    fn a_single_server_is_read_from_a_url_that_says_no_more_than_where_it_is() {
        assert_eq!(server("redis://127.0.0.1:1?check-interval=1s").as_deref(), Some("redis://127.0.0.1:1"));
        for other in ["redis+cluster://a", "redis://user:word@a", "redis://a/1", "redis://a?prefix=x"] {
            assert_eq!(server(other), None, "{other}");
        }
    }
}
