//! Reading on by the bare commands of etcd and Redis, after the history that was needed is gone.

use std::time::Duration;

use etcd_client::{Client, EventType, WatchOptions};
use redis::aio::MultiplexedConnection;
use redis::cmd;
use registry_testing::servers::etcd::Etcd;
use registry_testing::servers::redis::Redis;
use tokio::time::timeout;

use super::changes::{Change, LAST, Writer, beginning, plan, truth};
use super::gone::is_compacted;
use super::plain_put::PlainPut;
use super::tally::tally;
use crate::contestants::{Contestant, Seen};
use crate::experiment::Trouble;
use crate::record::Record;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The changes are made, history is compacted, and a watch is asked for from the first of them.
pub(super) async fn etcd_watch(
    etcd: &Etcd,
    service: &str,
    random: &mut fastrand::Rng,
    changes: usize,
    record: Record,
) -> Result<Record, Trouble> {
    let mut client = Client::connect([etcd.endpoint()], None).await?;
    let contestant = PlainPut::new(client.clone());
    let before = beginning();
    let changes = plan(random, &before, changes);
    let mut writer = Writer::begin(&contestant, service, &before).await?;
    let last = revision(&mut client).await?;
    writer.make_all(&changes).await?;
    etcd.compact().await?;
    writer.make(&Change { id: LAST.to_owned(), value: Some(1) }).await?;

    let prefix = format!("{service}/");
    let options = WatchOptions::new().with_prefix().with_start_revision(last + 1);
    let mut watch = client.watch(prefix.as_str(), Some(options)).await?;
    let mut told = Vec::new();
    let mut compacted = 0;
    while compacted == 0 && !told.iter().any(|seen| matches!(seen, Seen::Change { id, .. } if id == LAST)) {
        let answer = timeout(PATIENCE, watch.message()).await;
        let answer =
            answer.map_err(|_| Trouble::failed("a watch from a compacted revision says nothing"))??;
        let answer = answer.ok_or_else(|| Trouble::failed("a watch ended"))?;
        if answer.canceled() {
            compacted = answer.compact_revision();
            told.push(Seen::List { listed: contestant.list(service).await?, gap: true });
        }
        for event in answer.events() {
            let Some(kv) = event.kv() else { continue };
            let Some(id) = kv.key_str()?.strip_prefix(&prefix) else { continue };
            let value = match event.event_type() {
                EventType::Put => kv.value_str()?.parse().ok(),
                EventType::Delete => None,
            };
            told.push(Seen::Change { id: id.to_owned(), value });
        }
    }
    let (gone, proof) = is_compacted(etcd, u64::try_from(last + 1).unwrap_or_default()).await;
    Ok(tally(&before, &changes, &told).kept_in(record).if_bitten(gone, proof))
}

async fn revision(client: &mut Client) -> Result<i64, Trouble> {
    let answer = client.get("any", None).await?;
    Ok(answer.header().map(etcd_client::ResponseHeader::revision).unwrap_or_default())
}

/// What a stream holds when it is trimmed.
const KEPT: usize = 10;

/// The changes are added to a stream, it is trimmed, and is read on from before the first of them.
pub(super) async fn redis_read(
    redis: &Redis,
    stream: &str,
    random: &mut fastrand::Rng,
    changes: usize,
    record: Record,
) -> Result<Record, Trouble> {
    let client = redis::Client::open(redis.url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let before = beginning();
    let changes = plan(random, &before, changes);
    let first = before.iter().map(|(id, value)| Change { id: id.clone(), value: Some(*value) });
    let mut last = String::new();
    for change in first {
        last = add(&mut connection, stream, &change).await?;
    }
    for change in &changes {
        add(&mut connection, stream, change).await?;
    }
    let () = cmd("XTRIM").arg(stream).arg("MAXLEN").arg("=").arg(KEPT).query_async(&mut connection).await?;

    let mut read = cmd("XREAD");
    read.arg("STREAMS").arg(stream).arg(&last);
    let told = match read.query_async::<Option<Vec<(String, Vec<Entry>)>>>(&mut connection).await {
        Ok(answer) => answer.into_iter().flatten().flat_map(|(_, entries)| entries).map(seen).collect(),
        // It would be a gap that is reported.
        Err(_) => vec![Seen::List { listed: truth(&before, &changes), gap: true }],
    };
    let left: Vec<Entry> = cmd("XRANGE").arg(stream).arg(&last).arg("+").query_async(&mut connection).await?;
    let gone = changes.len().saturating_sub(left.len());
    let proof =
        format!("of {} entries behind the id from which it is read on, {gone} are trimmed", changes.len());
    Ok(tally(&before, &changes, &told).kept_in(record).if_bitten(gone > 0, proof))
}

/// Its id, and its fields, each with its value behind it.
type Entry = (String, Vec<String>);

fn seen((_, fields): Entry) -> Seen {
    let field =
        |name: &str| fields.chunks_exact(2).find(|field| field[0] == name).map(|field| field[1].as_str());
    let id = field("id").unwrap_or_default().to_owned();
    Seen::Change { id, value: field("value").and_then(|value| value.parse().ok()) }
}

/// Adds a change; one that left has no value.
async fn add(
    connection: &mut MultiplexedConnection,
    stream: &str,
    change: &Change,
) -> Result<String, Trouble> {
    let mut add = cmd("XADD");
    add.arg(stream).arg("*").arg("id").arg(&change.id);
    if let Some(value) = change.value {
        add.arg("value").arg(value);
    }
    Ok(add.query_async(connection).await?)
}
