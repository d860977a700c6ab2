//! Other keys, which live on.

use std::time::Duration;

use etcd_client::{Client, PutOptions, Txn, TxnOp};
use futures_util::{StreamExt, TryStreamExt, stream};
use registry_testing::servers::etcd::Etcd;
use registry_testing::servers::redis::{Redis, Reply};

use crate::contestants::{Contestant, Ours};
use crate::experiment::Trouble;

const HOUR: Duration = Duration::from_secs(3_600);
/// So many at a time.
const CHUNK: u32 = 1_000;
/// So many requests are on their way together.
const TOGETHER: usize = 64;
/// Up to so many keys have a lease each in etcd.
const OWN_LEASES: u32 = 10_000;
/// How many keys share one where there are more.
const SHARED: u32 = 10;
/// Of etcd's default, 128, in one transaction.
const TXN: usize = 100;

const FILL: &str =
    "for at = 1, ARGV[1] do redis.call('SET', 'other:' .. ARGV[2] .. ':' .. at, 'x', 'PX', ARGV[3]) end";

/// Fills a Redis; gives how many keys it then has.
pub(super) async fn in_redis(server: &Redis, others: u32) -> Result<u64, Trouble> {
    for chunk in 0..others / CHUNK {
        let words = [CHUNK.to_string(), chunk.to_string(), HOUR.as_millis().to_string()];
        let [count, chunk, ttl] = &words;
        server.command(&["EVAL", FILL, "0", count, chunk, ttl]).await?;
    }
    match server.command(&["DBSIZE"]).await? {
        Reply::Number(keys) => Ok(u64::try_from(keys).unwrap_or_default()),
        other => Err(Trouble::failed(format!("DBSIZE answered {other:?}"))),
    }
}

/// Fills an etcd; gives how many keys it then has.
pub(super) async fn in_etcd(server: &Etcd, others: u32) -> Result<u64, Trouble> {
    let client = Client::connect([server.direct_endpoint()], None).await?;
    let keys_each = if others > OWN_LEASES { SHARED } else { 1 };
    let ttl = i64::try_from(HOUR.as_secs()).unwrap_or(i64::MAX);
    let leases: Vec<(u32, i64)> = stream::iter(0..others / keys_each)
        .map(|at| {
            let mut client = client.clone();
            async move { Ok::<_, Trouble>((at, client.lease_grant(ttl, None).await?.id())) }
        })
        .buffer_unordered(TOGETHER)
        .try_collect()
        .await?;
    let put = |(at, lease): &(u32, i64), key: u32| {
        TxnOp::put(format!("other/{at}/{key}"), "x", Some(PutOptions::new().with_lease(*lease)))
    };
    let puts: Vec<_> =
        leases.iter().flat_map(|lease| (0..keys_each).map(move |key| put(lease, key))).collect();
    stream::iter(puts.chunks(TXN).map(<[TxnOp]>::to_vec).collect::<Vec<_>>())
        .map(|puts| {
            let mut client = client.clone();
            async move { Ok::<_, Trouble>(client.txn(Txn::new().and_then(puts)).await.map(drop)?) }
        })
        .buffer_unordered(TOGETHER)
        .try_collect::<()>()
        .await?;
    let options = etcd_client::GetOptions::new().with_prefix().with_count_only();
    let counted = client.clone().get("other/", Some(options)).await?;
    Ok(u64::try_from(counted.count()).unwrap_or_default())
}

/// Registers them as instances of another service; gives how many there are.
pub(super) async fn in_memory(ours: &Ours, others: u32) -> Result<u64, Trouble> {
    for at in 0..others {
        ours.register("other.rpc", &format!("i-{at}"), 0, HOUR).await?;
    }
    Ok(ours.list("other.rpc").await?.len() as u64)
}
