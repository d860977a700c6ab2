//! A primary with two replicas, of which the one that has missed everything is promoted by hand.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client as RedisClient, cmd};
use registry_testing::servers::proxy::Proxy;
use registry_testing::servers::redis::{RedisSentinel, SentinelOptions};
use registry_testing::servers::until;
use tokio::time::{Duration, Instant};

use super::{NAIVE, OURS, WRITES};
use crate::claims::clustering::aftermath::{self, ACKNOWLEDGED, LOST};
use crate::claims::clustering::group::{Client, PATIENCE, WAIT, ours_redis, truth};
use crate::claims::clustering::view::View;
use crate::claims::clustering::writer::{TTL, Written};
use crate::contestants::{Contestant, Listed, NaiveHash, Place};
use crate::experiment::Trouble;
use crate::lab::Lab;
use crate::record::Record;

const MARKER: &str = "marker";

/// The servers, and the one address that clients know, which is moved to the new primary.
pub(super) struct Servers {
    group: RedisSentinel,
    moved: Proxy,
    target: Arc<Mutex<SocketAddr>>,
    primary: usize,
}

impl Servers {
    pub(super) async fn start(lab: &Lab) -> Result<Self, Trouble> {
        let options = SentinelOptions::default().with_node(lab.redis_options()).with_replica_proxies();
        let group = RedisSentinel::start(options).await?;
        // They would undo what is done by hand.
        for sentinel in 0..group.sentinel_addresses().len() {
            group.sentinel(sentinel).kill().await?;
        }
        let target = Arc::new(Mutex::new(group.addresses()[0]));
        let now = Arc::clone(&target);
        let moved = Proxy::start_routed(move |_, _| *now.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(Self { group, moved, target, primary: 0 })
    }

    /// The replica `fresh` gets what is written and the replica `stale` does not; then that becomes the primary, and the others follow it.
    pub(super) async fn trial(&mut self, run: u32, swapped: bool) -> Result<[Record; 2], Trouble> {
        let primary = self.primary;
        let others: Vec<usize> = (0..self.group.nodes().len()).filter(|node| *node != primary).collect();
        let (fresh, stale) = if swapped { (others[1], others[0]) } else { (others[0], others[1]) };
        self.in_sync(primary, &[fresh, stale]).await?;
        let address = self.moved.address();
        let service = format!("stale-{run}");
        let ours =
            ours_redis(Client::OursWaiting, registry_redis::RedisOptions::standalone(address.to_string()))?;
        let view = View::of(&*ours, &service, PATIENCE).await?;
        let mut naive = connect(address).await?;
        // Everybody has seen a registry that works.
        register(&*ours, &service, "before").await?;
        self.in_sync(primary, &[fresh, stale]).await?;

        let swallowed = self.group.swallowed();
        let from = Instant::now();
        self.group.block(primary, stale);
        self.group.block(stale, primary);
        let hash = format!("naive-{run}");
        let mut written = Vec::new();
        let mut waited = Vec::new();
        for value in 0..WRITES {
            written.push(register(&*ours, &service, &format!("w-{value}")).await?);
            if set_and_wait(&mut naive, &hash, value).await? {
                waited.push(value);
            }
        }
        let missed = self.offset(primary).await > self.offset(stale).await;
        let swallowed = self.group.swallowed() - swallowed;

        self.group.command(stale, &["REPLICAOF", "NO", "ONE"]).await?;
        self.group.heal();
        let new = self.group.addresses()[stale];
        for node in [fresh, primary] {
            let (host, port) = (new.ip().to_string(), new.port().to_string());
            self.group.command(node, &["REPLICAOF", &host, &port]).await?;
        }
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = new;
        self.moved.cut().await;
        self.primary = stale;
        self.in_sync(stale, &[fresh, primary]).await?;

        let reader = ours_redis(Client::Ours, registry_redis::RedisOptions::standalone(new.to_string()))?;
        let there = truth(&*reader, &service, MARKER).await?;
        let naive_there: Listed = NaiveHash::new(Place::Server(new)).list(&hash).await?;
        let bitten = missed && swallowed > 0;
        let proof =
            format!("the replica that was promoted was behind, {swallowed} bytes between servers were lost");
        let lost = waited.iter().filter(|value| !naive_there.contains_key(&format!("w-{value}"))).count();
        let naive = Record::new(NAIVE, run)
            .with(ACKNOWLEDGED, waited.len() as f64)
            .with(LOST, lost as f64)
            .if_bitten(bitten && !waited.is_empty(), proof.clone());
        let acknowledged = written.iter().any(|written| written.acknowledged.is_some());
        let ours = Record::new(OURS, run).if_bitten(bitten && acknowledged, proof);
        let ours = aftermath::add(ours, &written, &there, MARKER, &view, from).await;
        Ok([naive, ours])
    }

    async fn in_sync(&self, primary: usize, replicas: &[usize]) -> Result<(), Trouble> {
        let follow = || async {
            let reached = self.offset(primary).await?;
            for replica in replicas {
                let role = self.group.command(*replica, &["ROLE"]).await.ok()?;
                let [kind, _, port, state, _] = role.list() else { return None };
                let of = *port == number(self.group.addresses()[primary].port());
                let follows = kind.text() == "slave" && of && state.text() == "connected";
                if !follows || self.offset(*replica).await? < reached {
                    return None;
                }
            }
            Some(())
        };
        Ok(until("both replicas are in sync", PATIENCE, follow).await?)
    }

    /// How much of what was written a server has.
    async fn offset(&self, node: usize) -> Option<i64> {
        use registry_testing::servers::redis::Reply::Number;
        let role = self.group.command(node, &["ROLE"]).await.ok()?;
        match role.list() {
            [kind, Number(offset), ..] if kind.text() == "master" => Some(*offset),
            [_, _, _, _, Number(offset)] => Some(*offset),
            _ => None,
        }
    }
}

fn number(port: u16) -> registry_testing::servers::redis::Reply {
    registry_testing::servers::redis::Reply::Number(i64::from(port))
}

/// A registration that is waited for; what was refused counts as not acknowledged.
async fn register(ours: &dyn Contestant, service: &str, id: &str) -> Result<Written, Trouble> {
    let invoked = Instant::now();
    let member = ours.register(service, id, 1, TTL).await.ok();
    let acknowledged = member.is_some().then(Instant::now);
    Ok(Written { id: id.to_owned(), value: 1, invoked, acknowledged, member })
}

async fn connect(address: SocketAddr) -> Result<MultiplexedConnection, Trouble> {
    let patience = Some(Duration::from_secs(2));
    let config = AsyncConnectionConfig::new().set_connection_timeout(patience).set_response_timeout(patience);
    let client = RedisClient::open(format!("redis://{address}"))?;
    Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
}

/// Whether a replica has acknowledged it.
async fn set_and_wait(naive: &mut MultiplexedConnection, hash: &str, value: u32) -> Result<bool, Trouble> {
    let () = cmd("HSET").arg(hash).arg(format!("w-{value}")).arg(value).query_async(naive).await?;
    let millis = u64::try_from(WAIT.as_millis()).unwrap_or(u64::MAX);
    let replicas: i64 = cmd("WAIT").arg(1).arg(millis).query_async(naive).await?;
    Ok(replicas >= 1)
}
