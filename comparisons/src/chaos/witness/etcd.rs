//! A raw watch of etcd, of keys as `registry-etcd` lays them by default: `/registry/<service>/<id>` for an entry, `/registry/~store` for the epoch.

use std::time::Duration;

use etcd_client::{Client, ConnectOptions, EventType, GetOptions, GetResponse, KeyValue, WatchOptions};
use registry_core::ServiceName;
use registry_core::codec::Stored;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::ledger::Ledger;
use crate::chaos::history::{Change, Listed, Position};
use crate::contestants::value;
use crate::experiment::Trouble;

const PREFIX: &str = "/registry/";
const STORE: &str = "/registry/~store";
/// How long one member may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Before the next member is asked.
const PAUSE: Duration = Duration::from_millis(50);

/// The members that a URL names; none if it is no etcd's, or says more than where they are.
pub(super) fn members(url: &str) -> Option<Vec<String>> {
    let rest = url.strip_prefix("etcd://")?;
    let (hosts, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    if hosts.contains(['@', '/']) || parameters.contains("layout=") {
        return None;
    }
    let port = |host: &str| if host.rsplit(']').next()?.contains(':') { None } else { Some(":2379") };
    Some(hosts.split(',').map(|host| format!("http://{host}{}", port(host).unwrap_or_default())).collect())
}

/// Follows one member after the other.
pub(super) async fn follow(
    members: Vec<String>,
    service: ServiceName,
    mut ledger: Ledger,
    mut over: watch::Receiver<bool>,
) {
    for member in members.iter().cycle() {
        tokio::select! {
            biased;
            // Ends with the connection, or with a refusal; both are made good by the next.
            _ = follow_one(member, &service, &mut ledger) => {}
            _ = over.wait_for(|over| *over) => return,
        }
        sleep(PAUSE).await;
    }
}

async fn within<T>(asking: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T, Trouble> {
    match timeout(PATIENCE, asking).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Trouble::failed("no answer")),
    }
}

async fn follow_one(member: &str, service: &ServiceName, ledger: &mut Ledger) -> Result<(), Trouble> {
    let options = ConnectOptions::new()
        .with_connect_timeout(PATIENCE)
        .with_keep_alive(Duration::from_secs(6), PATIENCE)
        .with_keep_alive_while_idle(true);
    let mut client = within(Client::connect([member], Some(options))).await?;
    let store = within(client.get(STORE, None)).await?;
    if !is_same(&store, ledger) {
        ledger.wiped();
    }
    let options = WatchOptions::new().with_prefix().with_start_revision(signed(ledger.revision()) + 1);
    let mut watch = within(client.watch(PREFIX, Some(options))).await?;
    while let Some(answer) = watch.message().await? {
        if answer.compact_revision() > 0 {
            ledger.gap("compacted");
            return load(&mut client, service, ledger).await;
        }
        if answer.canceled() {
            return Err(Trouble::failed("the watch was cancelled"));
        }
        for event in answer.events() {
            if let Some(kv) = event.kv() {
                take(event.event_type(), kv, service, ledger);
            }
        }
    }
    Ok(())
}

/// Whether the store's history is the one that was followed so far.
fn is_same(store: &GetResponse, ledger: &Ledger) -> bool {
    let last = ledger.revision();
    let revision = store.header().map_or(0, |header| unsigned(header.revision()));
    let kv = store.kvs().first();
    let goes_on = |kv: &KeyValue| {
        unsigned(kv.mod_revision()) > last
            || (ledger.epoch().is_some() && epoch(kv.value()) == ledger.epoch())
    };
    revision >= last && (ledger.epoch().is_none() || kv.is_some_and(goes_on))
}

/// What is there now, where the changes before it are lost.
async fn load(client: &mut Client, service: &ServiceName, ledger: &mut Ledger) -> Result<(), Trouble> {
    let all = within(client.get(PREFIX, Some(GetOptions::new().with_prefix()))).await?;
    let revision = all.header().map_or(0, |header| unsigned(header.revision()));
    let store = all.kvs().iter().find(|kv| kv.key() == STORE.as_bytes());
    let Some(epoch) = store.and_then(|kv| epoch(kv.value())) else { return Ok(()) };
    let listed = all.kvs().iter().filter_map(|kv| entry(kv, id(kv, service)?));
    ledger.list(Position { epoch, revision }, listed.collect());
    Ok(())
}

fn take(what: EventType, kv: &KeyValue, service: &ServiceName, ledger: &mut Ledger) {
    let revision = unsigned(kv.mod_revision());
    if kv.key() == STORE.as_bytes() {
        if let Some(epoch) = epoch(kv.value()) {
            ledger.enter(epoch);
        }
    } else if let Some(id) = id(kv, service) {
        let put = if what == EventType::Put { entry(kv, id) } else { None };
        let gone = || Change::Delete { id: id.to_owned(), cause: None };
        ledger.change(revision, put.map_or_else(gone, Change::Put));
    }
    ledger.pass(revision);
}

fn epoch(value: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(value).ok()?, 16).ok()
}

fn id<'a>(kv: &'a KeyValue, service: &ServiceName) -> Option<&'a str> {
    let id = kv.key_str().ok()?.strip_prefix(PREFIX)?.strip_prefix(service.as_str())?.strip_prefix('/')?;
    // What owners say when they leave is no entry.
    (!id.starts_with('~')).then_some(id)
}

/// None if it cannot be read: then it is listed nowhere.
fn entry(kv: &KeyValue, id: &str) -> Option<Listed> {
    let stored = Stored::decode(kv.value()).ok()?;
    Some(Listed {
        id: id.to_owned(),
        value: value(&stored.instance),
        incarnation: Some(stored.incarnation.get()),
        modified: Some(unsigned(kv.mod_revision())),
    })
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::members;

    #[test]
    fn members_are_read_from_a_url_that_says_no_more_than_where_they_are() {
        let both = members("etcd://127.0.0.1:1234,[::1]:2?request-timeout=2s").unwrap();
        assert_eq!(both, ["http://127.0.0.1:1234", "http://[::1]:2"]);
        assert_eq!(members("etcd://a,[::1]").unwrap(), ["http://a:2379", "http://[::1]:2379"]);
        for other in ["redis://a", "etcds://a", "etcd://root@a", "etcd://a/prefix", "etcd://a?layout=go-zero"]
        {
            assert_eq!(members(other), None, "{other}");
        }
    }
}
