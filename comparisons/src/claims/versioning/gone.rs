//! Whether a history is really gone, as the store itself says.

use registry_testing::servers::etcd::Etcd;
use registry_testing::servers::redis::{Redis, Reply};
use serde_json::json;

use crate::experiment::Trouble;

/// Whether etcd no longer knows a revision, and how that is known.
pub(super) async fn is_compacted(etcd: &Etcd, revision: u64) -> (bool, String) {
    let read = json!({ "key": "AA==", "revision": revision.to_string() });
    let answer = etcd.ask("/v3/kv/range", read).await;
    let gone = answer.is_err_and(|error| error.to_string().contains("compacted"));
    let does = if gone { "refuses" } else { "does not refuse" };
    (gone, format!("the store {does} to read revision {revision}, the first of the changes"))
}

/// The revisions of the first and the last entry of the log of a service of `registry-redis`.
pub(super) async fn in_log(redis: &Redis, service: &str) -> Result<(u64, u64), Trouble> {
    let log = format!("registry:{{{service}}}:log");
    let first = redis.command(&["XRANGE", &log, "-", "+", "COUNT", "1"]).await?;
    let last = redis.command(&["XREVRANGE", &log, "+", "-", "COUNT", "1"]).await?;
    Ok((revision(&first)?, revision(&last)?))
}

/// Trims that log by hand.
pub(super) async fn trim(redis: &Redis, service: &str) -> Result<(), Trouble> {
    redis.command(&["XTRIM", &format!("registry:{{{service}}}:log"), "MAXLEN", "=", "10"]).await?;
    Ok(())
}

/// The number of the first entry, whose id is `number-0`.
fn revision(range: &Reply) -> Result<u64, Trouble> {
    let id = range.list().first().and_then(|entry| entry.list().first()).map(Reply::text);
    let number = id.as_deref().and_then(|id| id.split_once('-')).and_then(|(number, _)| number.parse().ok());
    number.ok_or_else(|| Trouble::failed(format!("no entry of a log: {range:?}")))
}
