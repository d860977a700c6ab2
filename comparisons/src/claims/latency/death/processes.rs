//! The processes that die, and the servers that they are registered with.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use etcd_client::{Client, PutOptions, Txn, TxnOp};
use futures_util::future::try_join_all;
use registry_testing::servers::etcd::EtcdCluster;
use registry_testing::servers::redis::Redis;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::Arm;
use crate::contestants::NaiveKey;
use crate::experiment::Trouble;
use crate::instance::{AT, Kind};
use crate::lab::Lab;

/// How many other keys with a time to live there are, and how long that is.
pub(super) const OTHERS: u32 = 10_000;
const OTHERS_TTL_S: i64 = 3600;
/// In etcd, so many keys have a lease together.
const A_LEASE: u32 = 100;
/// etcd's own timing, since the least time to live that it grants depends on it.
const HEARTBEAT: Duration = Duration::from_millis(100);
const ELECTION: Duration = Duration::from_secs(1);

/// The servers of an arm.
pub(super) enum Servers {
    Etcd(EtcdCluster),
    Redis(Redis),
    /// Of the reader, at this URL.
    Theirs(String),
}

impl Servers {
    /// The reader's, or new ones with the other keys.
    pub(super) async fn of(lab: &Lab, arm: Arm) -> Result<Self, Trouble> {
        match &lab.theirs {
            Some(theirs) => Ok(Self::Theirs(match (arm.kind, arm.etcd) {
                (Kind::Ours, Some(_)) => theirs.our_etcd_url(),
                (Kind::Ours, None) => theirs.our_redis_url(),
                (Kind::NaiveHash | Kind::NaiveKey, _) => theirs.redis_url().to_owned(),
            })),
            None => Self::start(lab, arm).await,
        }
    }

    async fn start(lab: &Lab, arm: Arm) -> Result<Self, Trouble> {
        if let Some(size) = arm.etcd {
            let options = lab.etcd_options().with_timing(HEARTBEAT, ELECTION);
            let cluster = EtcdCluster::start(size, options).await?;
            fill_etcd(cluster.endpoints()).await?;
            return Ok(Self::Etcd(cluster));
        }
        let options = lab.redis_options();
        let options = if arm.kind == Kind::NaiveKey { options.with_args(NaiveKey::ARGS) } else { options };
        let redis = Redis::start(options).await?;
        let script = "for i = 1, ARGV[1] do redis.call('SET', 'other:' .. i, 1, 'EX', ARGV[2]) end";
        redis.command(&["EVAL", script, "0", &OTHERS.to_string(), &OTHERS_TTL_S.to_string()]).await?;
        Ok(Self::Redis(redis))
    }

    /// Where clients find them, as a URL.
    pub(super) fn at(&self) -> String {
        match self {
            Self::Etcd(cluster) => {
                let hosts: Vec<String> = cluster
                    .endpoints()
                    .iter()
                    .map(|at| at.trim_start_matches("http://").to_owned())
                    .collect();
                format!("etcd://{}", hosts.join(","))
            }
            Self::Redis(redis) => redis.url(),
            Self::Theirs(url) => url.clone(),
        }
    }
}

async fn fill_etcd(endpoints: Vec<String>) -> Result<(), Trouble> {
    let client = Client::connect(endpoints, None).await?;
    let fill = |lease: u32| {
        let mut client = client.clone();
        async move {
            let granted = client.lease_grant(OTHERS_TTL_S, None).await?.id();
            let put = |key: u32| {
                let options = PutOptions::new().with_lease(granted);
                TxnOp::put(format!("other/{lease}/{key}"), "1", Some(options))
            };
            client.txn(Txn::new().and_then((0..A_LEASE).map(put).collect::<Vec<_>>())).await.map(drop)
        }
    };
    try_join_all((0..OTHERS / A_LEASE).map(fill)).await?;
    Ok(())
}

/// A process that is one instance. It dies with this one.
pub(super) struct Process {
    pub(super) id: String,
    child: Child,
}

impl Process {
    pub(super) fn start(
        kind: Kind,
        at: &str,
        service: &str,
        id: String,
        ttl: Duration,
        seed: u64,
    ) -> Result<Self, Trouble> {
        let kind = match kind {
            Kind::Ours => "ours",
            Kind::NaiveHash => "naive-hash",
            Kind::NaiveKey => "naive-key",
        };
        let child = Command::new(std::env::current_exe()?)
            .args(["instance", "--kind", kind, "--service", service, "--id", &id])
            .env(AT, at)
            .args(["--ttl-ms", &ttl.as_millis().to_string(), "--seed", &seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { id, child })
    }

    /// SIGKILL. When it was sent, and whether that is what the process died of.
    pub(super) async fn kill(&mut self) -> Result<(Instant, bool), Trouble> {
        let at = Instant::now();
        self.child.start_kill()?;
        Ok((at, self.child.wait().await?.signal() == Some(9)))
    }
}
