//! A primary, its replicas, and the sentinels that watch over them.

mod options;
mod start;

use std::net::SocketAddr;
use std::ops::Deref;

use futures_util::future::join_all;

use super::super::ServerError;
use super::super::proxy::Proxy;
use super::node::{Launch, Node};
use super::nodes::Nodes;
use super::reply::{ask, ask_shortly};
use super::{Redis, Reply};

pub use options::SentinelOptions;

/// The name that the sentinels know the primary by.
const SERVICE: &str = "registry";
/// How sentinels are hastened, in milliseconds.
const HASTE: [(&str, &str); 6] = [
    // Also how long they wait before they connect again, and a primary that was just made one has closed all connections. Not less, since
    // they promote only a replica of which they have news from the last five of these, and during a fail-over they ask once in a second.
    ("PING-PERIOD", "300"),
    ("INFO-PERIOD", "1000"),
    ("ASK-PERIOD", "250"),
    // A primary that a sentinel knows only as a replica is made one after four of these. In a fail-over, those that do not lead it must have
    // heard of it by then.
    ("PUBLISH-PERIOD", "500"),
    ("MIN-LINK-RECONNECT-PERIOD", "1000"),
    // How long a sentinel does nothing after it was not scheduled for two seconds.
    ("TILT-PERIOD", "1000"),
];

/// A group of Redis servers under sentinels. What can be done to each node is found at [`Nodes`].
///
/// ```no_run
/// # async fn example() -> Result<(), registry_testing::servers::ServerError> {
/// use registry_testing::servers::redis::{RedisSentinel, SentinelOptions};
///
/// let group = RedisSentinel::start(SentinelOptions::default().with_replica_proxies()).await?;
/// let clients_ask = group.sentinel_addresses();
/// let old = group.primary().await?;
/// group.command(old, &["SET", "key", "replicated"]).await?;
/// group.wait_in_sync().await?;
/// group.partition_replicas();
/// group.command(old, &["SET", "key", "acknowledged, and lost"]).await?;
/// group.kill(old).await?;
/// let new = group.wait_new_primary(old).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct RedisSentinel<N = Redis> {
    // Before all proxies, so that they are gone before those are.
    sentinels: Vec<N>,
    nodes: Nodes<N>,
    direct_sentinels: Vec<SocketAddr>,
    sentinel_proxies: Vec<Proxy>,
    options: SentinelOptions,
}

impl RedisSentinel {
    /// Starts all servers as child processes, and waits until the replicas are in sync and all sentinels know all others. Node 0 is the primary.
    ///
    /// # Errors
    /// [`ServerError::Missing`] if Redis is not installed, and what [`Process::start`](super::super::process::Process::start) gives.
    pub async fn start(options: SentinelOptions) -> Result<Self, ServerError> {
        Self::launch(&options.node, &options).await
    }
}

impl<N> Deref for RedisSentinel<N> {
    type Target = Nodes<N>;

    fn deref(&self) -> &Nodes<N> {
        &self.nodes
    }
}

impl<N: Node> RedisSentinel<N> {
    pub(crate) async fn launch<L>(launcher: &L, options: &SentinelOptions) -> Result<Self, ServerError>
    where
        L: Launch<Node = N>,
    {
        start::start(launcher, options).await
    }

    /// The name that sentinels are asked for.
    #[must_use]
    pub fn service_name(&self) -> &'static str {
        SERVICE
    }

    /// The addresses of the sentinels for clients, in order: those of the proxies, if there are some.
    #[must_use]
    pub fn sentinel_addresses(&self) -> Vec<SocketAddr> {
        let proxies: Vec<_> = self.sentinel_proxies.iter().map(Proxy::address).collect();
        if proxies.is_empty() { self.direct_sentinels.clone() } else { proxies }
    }

    /// The proxies for clients in front of the sentinels, as [`client_proxies`](Nodes::client_proxies).
    #[must_use]
    pub fn sentinel_proxies(&self) -> &[Proxy] {
        &self.sentinel_proxies
    }

    /// One sentinel, to kill or pause it. [`restart_sentinel`](Self::restart_sentinel) starts it again.
    ///
    /// # Panics
    /// If there is none of that number.
    #[must_use]
    pub fn sentinel(&self, index: usize) -> &N {
        &self.sentinels[index]
    }

    /// Starts a sentinel again with what it knew, after a SIGKILL if it runs, and waits until it answers.
    ///
    /// # Errors
    /// See [`Node::restart`].
    ///
    /// # Panics
    /// If there is none of that number.
    pub async fn restart_sentinel(&self, index: usize) -> Result<(), ServerError> {
        self.sentinels[index].restart().await?;
        self.hasten(index).await
    }

    /// The node that a majority of the sentinels takes for the primary, and that says so itself. Waits for one.
    ///
    /// # Errors
    /// [`ServerError::Timeout`] if there is none within [`RedisOptions::patience`](super::RedisOptions::patience).
    pub async fn primary(&self) -> Result<usize, ServerError> {
        self.wait("a primary", || self.agreed()).await
    }

    /// Waits until another node than `old` is the primary.
    ///
    /// # Errors
    /// As [`primary`](Self::primary).
    pub async fn wait_new_primary(&self, old: usize) -> Result<usize, ServerError> {
        let new = || async { self.agreed().await.filter(|primary| *primary != old) };
        self.wait("a new primary", new).await
    }

    /// Waits until every other node that runs is a replica of the primary and has all that was written before this was called.
    ///
    /// # Errors
    /// [`ServerError::Timeout`] if they do not within [`RedisOptions::patience`](super::RedisOptions::patience).
    pub async fn wait_in_sync(&self) -> Result<(), ServerError> {
        self.wait("the replicas are in sync", || async {
            let primary = self.agreed().await?;
            let offset = self.offset(primary).await?;
            let others = self.running().await.into_iter().filter(|node| *node != primary);
            let follow = join_all(others.map(|replica| self.follows(replica, primary, offset))).await;
            follow.into_iter().all(|follows| follows).then_some(())
        })
        .await
    }

    /// Has a sentinel promote a replica although the primary is well, which then becomes a replica. Gives the new primary when it takes writes.
    /// What was written while this runs may be lost.
    ///
    /// # Errors
    /// [`ServerError::Timeout`] if there is no new primary, as when no replica is fit, within
    /// [`RedisOptions::patience`](super::RedisOptions::patience).
    pub async fn fail_over(&self) -> Result<usize, ServerError> {
        let old = self.primary().await?;
        let sentinel = self.wait("a sentinel begins a fail-over", || self.begin_fail_over()).await?;
        self.wait("a new primary that takes writes", || async {
            let primary = self.agreed().await?;
            if primary == old {
                // It may have been given up, or undone by a sentinel that did not know of it.
                if self.primaries().await == [old] {
                    self.begin_fail_over_by(sentinel).await;
                }
                return None;
            }
            self.accepts_writes(primary).await.then_some(primary)
        })
        .await
    }

    /// Kills every node, not the sentinels, and starts those that are not lost. Waits until there is a primary that takes writes, whichever it is,
    /// and its replicas are in sync.
    ///
    /// # Errors
    /// See [`Node::restart`] and [`wait_in_sync`](Self::wait_in_sync).
    pub async fn restart_all(&self) -> Result<(), ServerError> {
        self.restart_each().await?;
        self.wait_in_sync().await?;
        self.wait("a primary that takes writes", || async {
            let primary = self.agreed().await?;
            self.accepts_writes(primary).await.then_some(())
        })
        .await
    }

    /// Removes every key, and waits until the replicas have done so, too.
    ///
    /// # Errors
    /// As [`command`](Nodes::command) and [`wait_in_sync`](Self::wait_in_sync).
    pub async fn wipe(&self) -> Result<(), ServerError> {
        self.command(self.primary().await?, &["FLUSHALL"]).await?;
        self.wait_in_sync().await
    }

    /// Any command that has one answer, to one sentinel, past its proxy.
    ///
    /// # Errors
    /// As [`Redis::command`].
    ///
    /// # Panics
    /// If there is none of that number.
    pub async fn ask_sentinel(&self, index: usize, words: &[impl AsRef<[u8]>]) -> Result<Reply, ServerError> {
        ask(self.direct_sentinels[index], words).await
    }

    /// By the first sentinel that does. They refuse while they are still at the last one, or know of no replica that is fit.
    async fn begin_fail_over(&self) -> Option<usize> {
        for sentinel in 0..self.sentinels.len() {
            if self.begin_fail_over_by(sentinel).await {
                return Some(sentinel);
            }
        }
        None
    }

    /// Whether it has begun one now.
    async fn begin_fail_over_by(&self, sentinel: usize) -> bool {
        ask_shortly(self.direct_sentinels[sentinel], &["SENTINEL", "FAILOVER", SERVICE]).await.is_some()
    }

    /// The nodes that say that they are primaries.
    async fn primaries(&self) -> Vec<usize> {
        let says = join_all((0..self.members().len()).map(|node| self.is_primary(node))).await;
        says.into_iter().enumerate().filter_map(|(node, says)| says.then_some(node)).collect()
    }

    async fn agreed(&self) -> Option<usize> {
        let question = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE];
        let told =
            join_all(self.direct_sentinels.iter().map(|sentinel| ask_shortly(*sentinel, &question))).await;
        let told: Vec<_> = told
            .into_iter()
            .flatten()
            .filter_map(|told| match told.list() {
                [ip, port] => self.at(&format!("{}:{}", ip.text(), port.text())),
                _ => None,
            })
            .collect();
        let votes = |node: usize| told.iter().filter(|told| **told == node).count();
        let primary = (0..self.members().len()).find(|node| votes(*node) * 2 > self.sentinels.len())?;
        self.is_primary(primary).await.then_some(primary)
    }

    async fn hasten(&self, sentinel: usize) -> Result<(), ServerError> {
        if self.options.hasty {
            let haste = HASTE.iter().flat_map(|(name, value)| [*name, *value]);
            let words: Vec<_> = ["SENTINEL", "DEBUG"].into_iter().chain(haste).collect();
            self.ask_sentinel(sentinel, &words).await?;
        }
        Ok(())
    }

    /// Waits until each sentinel knows all replicas, as sound ones, and all other sentinels.
    async fn wait_introduced(&self) -> Result<(), ServerError> {
        let replicas = self.options.replicas.to_string();
        let others = (self.options.sentinels - 1).to_string();
        let (replicas, others) = (&replicas, &others);
        self.wait("all sentinels know each other and the replicas", || async move {
            for sentinel in &self.direct_sentinels {
                let primary = ask_shortly(*sentinel, &["SENTINEL", "MASTER", SERVICE]).await?.pairs();
                let sound = primary.get("flags")? == "master";
                let known =
                    primary.get("num-slaves")? == replicas && primary.get("num-other-sentinels")? == others;
                let told = ask_shortly(*sentinel, &["SENTINEL", "REPLICAS", SERVICE]).await?;
                let fit = |replica: &Reply| {
                    let said = replica.pairs();
                    let says = |name: &str, value: &str| said.get(name).is_some_and(|said| said == value);
                    says("flags", "slave") && says("master-link-status", "ok")
                };
                if !(sound && known && told.list().iter().all(fit)) {
                    return None;
                }
            }
            Some(())
        })
        .await
    }
}
