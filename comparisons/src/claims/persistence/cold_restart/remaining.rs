//! How long an instance has left, as its store has it.

use registry_testing::servers::etcd::Etcd;
use registry_testing::servers::redis::{Redis, Reply};

use crate::claims::persistence::subjects::{Server, Way};
use crate::experiment::Trouble;

/// How many seconds the instance `id` of `service` has left; none if it is not there, or has no time of its own: the naive hash has one for all.
pub(super) async fn remaining(
    server: &Server,
    way: Way,
    service: &str,
    id: &str,
) -> Result<Option<f64>, Trouble> {
    match (server, way) {
        (Server::Redis(_), Way::NaiveHash) => Ok(None),
        (Server::Redis(redis), Way::NaiveKey) => of_key(redis, service, id).await,
        (Server::Redis(redis), Way::Ours) => of_deadline(redis, service, id).await,
        (Server::Etcd(etcd), _) => of_lease(etcd, service, id).await,
    }
}

async fn of_key(redis: &Redis, service: &str, id: &str) -> Result<Option<f64>, Trouble> {
    let millis = number(&redis.command(&["PTTL", &format!("{{{service}}}:{id}")]).await?);
    Ok(millis.filter(|millis| *millis >= 0.0).map(|millis| millis / 1e3))
}

/// Deadlines are kept relative to a base, which is moved by the time that does not count.
async fn of_deadline(redis: &Redis, service: &str, id: &str) -> Result<Option<f64>, Trouble> {
    let key = |part: &str| format!("registry:{{{service}}}:{part}");
    let deadline = number(&redis.command(&["ZSCORE", &key("deadlines"), id]).await?);
    let base = number(&redis.command(&["HGET", &key("head"), "base"]).await?).unwrap_or_default();
    let time = redis.command(&["TIME"]).await?;
    let [seconds, micros] = time.list() else { return Ok(None) };
    let now = number(seconds).zip(number(micros)).map(|(seconds, micros)| seconds + micros / 1e6);
    Ok(deadline.zip(now).map(|(deadline, now)| (deadline + base) / 1e3 - now))
}

/// In whole seconds, which is all that etcd tells.
async fn of_lease(etcd: &Etcd, service: &str, id: &str) -> Result<Option<f64>, Trouble> {
    let mut client = etcd_client::Client::connect([etcd.endpoint()], None).await?;
    let found = client.get(format!("/registry/{service}/{id}"), None).await?;
    let Some(entry) = found.kvs().first() else { return Ok(None) };
    let left = client.lease_time_to_live(entry.lease(), None).await?.ttl();
    Ok((left >= 0).then_some(left as f64))
}

fn number(reply: &Reply) -> Option<f64> {
    match reply {
        Reply::Number(number) => Some(*number as f64),
        Reply::Text(_) => reply.text().parse().ok(),
        _ => None,
    }
}
