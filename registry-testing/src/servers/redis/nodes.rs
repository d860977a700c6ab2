//! What the groups have in common.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};

use super::super::proxy::Proxy;
use super::super::{ServerError, until};
use super::network::Network;
use super::node::Node;
use super::reply::{ask, ask_shortly};
use super::{Redis, Reply};

/// A key of nobody: to delete it is a write that changes nothing.
pub(super) const NOBODYS: &str = "~a test asks whether this is refused";

/// The servers of a group that have data, in order, and what can be done to each of them.
#[derive(Debug)]
pub struct Nodes<N = Redis> {
    // Before the networks, so that they are gone before those are.
    members: Vec<Member<N>>,
    networks: Vec<Network>,
    patience: Duration,
}

#[derive(Debug)]
pub(super) struct Member<N> {
    pub(super) node: N,
    /// Past every proxy.
    pub(super) direct: SocketAddr,
    /// What clients and the others are told.
    pub(super) announced: SocketAddr,
    lost: AtomicBool,
}

impl<N> Member<N> {
    pub(super) fn new(node: N, direct: SocketAddr, announced: SocketAddr) -> Self {
        Self { node, direct, announced, lost: AtomicBool::new(false) }
    }
}

impl<N: Node> Nodes<N> {
    pub(super) fn new(members: Vec<Member<N>>, networks: Vec<Network>, patience: Duration) -> Self {
        Self { members, networks, patience }
    }

    /// The nodes.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &N> {
        self.members.iter().map(|member| &member.node)
    }

    /// One node.
    ///
    /// # Panics
    /// If there is none of that number. So does whatever else takes a number.
    #[must_use]
    pub fn node(&self, index: usize) -> &N {
        &self.members[index].node
    }

    /// The addresses for clients, in order: those of the proxies, if there are some.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.announced).collect()
    }

    /// Where the nodes themselves listen, in order, past every proxy.
    #[must_use]
    pub fn direct_addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.direct).collect()
    }

    /// Any command that has one answer, to one node, on a connection of its own, past every proxy.
    ///
    /// # Errors
    /// As [`Redis::command`].
    pub async fn command(&self, node: usize, words: &[impl AsRef<[u8]>]) -> Result<Reply, ServerError> {
        ask(self.members[node].direct, words).await
    }

    /// SIGKILL; returns when it is gone. Does not wait for what the others make of it; nor do the next three.
    ///
    /// # Errors
    /// See [`Node::kill`].
    pub async fn kill(&self, node: usize) -> Result<(), ServerError> {
        self.members[node].node.kill().await
    }

    /// Makes it stand still. Its port goes on accepting.
    ///
    /// # Errors
    /// See [`Node::pause`].
    pub async fn pause(&self, node: usize) -> Result<(), ServerError> {
        self.members[node].node.pause().await
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// See [`Node::resume`].
    pub async fn resume(&self, node: usize) -> Result<(), ServerError> {
        self.members[node].node.resume().await
    }

    /// Starts it on the same port with what was kept, after a SIGKILL if it runs, and waits until it answers.
    ///
    /// # Errors
    /// See [`Node::restart`]; [`ServerError::Refused`] if it is lost.
    pub async fn restart(&self, node: usize) -> Result<(), ServerError> {
        if self.is_lost(node) {
            return Err(ServerError::refused(format!("starting node {node}"), "its data are lost for good"));
        }
        self.members[node].node.restart().await
    }

    /// Destroys it for good: kills it and removes its data, without a word to the others. No restart brings it back.
    ///
    /// # Errors
    /// See [`Node::discard`].
    pub async fn lose(&self, node: usize) -> Result<(), ServerError> {
        self.members[node].lost.store(true, Ordering::SeqCst);
        self.members[node].node.discard().await
    }

    /// Makes every node that runs stand still.
    ///
    /// # Errors
    /// See [`Node::pause`].
    pub async fn pause_nodes(&self) -> Result<(), ServerError> {
        try_join_all(self.running().await.into_iter().map(|node| self.pause(node))).await.map(drop)
    }

    /// Lets every node that runs go on.
    ///
    /// # Errors
    /// See [`Node::resume`].
    pub async fn resume_nodes(&self) -> Result<(), ServerError> {
        try_join_all(self.running().await.into_iter().map(|node| self.resume(node))).await.map(drop)
    }

    /// Makes every node that runs refuse what could need memory: see [`Redis::fill`]. A replica does so once it is a primary.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn fill(&self) -> Result<(), ServerError> {
        self.each_running(&["CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1"]).await
    }

    /// Undoes [`fill`](Self::fill) on every node that runs.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn make_room(&self) -> Result<(), ServerError> {
        self.each_running(&["CONFIG", "SET", "maxmemory", "0"]).await
    }

    /// The proxies for clients, one in front of each node, with [`RedisOptions::client_proxy`](super::RedisOptions::client_proxy); else none.
    #[must_use]
    pub fn client_proxies(&self) -> &[Proxy] {
        // There are none in front of the bus of a cluster, which comes second.
        self.networks.first().map(Network::clients).unwrap_or_default()
    }

    /// Nothing that `from` sends reaches `to` any more, on any connection; the other way stays open. Needs proxies between the servers, as does all
    /// that follows; without them nothing happens and `false` is returned. Sentinels are counted after the nodes.
    pub fn block(&self, from: usize, to: usize) -> bool {
        self.networks.iter().filter(|network| network.block(from, to)).count() > 0
    }

    /// Cuts `node` off from all other servers of the group, both ways. Clients still reach it.
    pub fn isolate(&self, node: usize) -> bool {
        let callers = self.networks.first().map_or(0, Network::callers);
        self.block_both_ways((0..callers).filter(|other| *other != node).map(|other| (node, other)))
    }

    /// Cuts all nodes off from each other, both ways, so that nothing is replicated. Clients still reach them, and so do sentinels.
    pub fn partition_replicas(&self) -> bool {
        let size = self.members.len();
        self.block_both_ways((0..size).flat_map(|from| (0..from).map(move |to| (from, to))))
    }

    /// Lets all servers reach each other again.
    pub fn heal(&self) {
        self.networks.iter().for_each(Network::heal);
    }

    /// Bytes between servers that were lost so far: proof that a partition bit.
    #[must_use]
    pub fn swallowed(&self) -> u64 {
        self.networks.iter().map(Network::swallowed).sum()
    }

    fn block_both_ways(&self, pairs: impl Iterator<Item = (usize, usize)>) -> bool {
        pairs.fold(false, |blocked, (a, b)| {
            let there = self.block(a, b);
            self.block(b, a) || there || blocked
        })
    }

    pub(super) fn members(&self) -> &[Member<N>] {
        &self.members
    }

    fn is_lost(&self, node: usize) -> bool {
        self.members[node].lost.load(Ordering::SeqCst)
    }

    /// Those that are not lost.
    pub(super) fn there(&self) -> impl Iterator<Item = usize> {
        (0..self.members.len()).filter(|node| !self.is_lost(*node))
    }

    /// Those that run.
    pub(super) async fn running(&self) -> Vec<usize> {
        let runs = join_all(self.members.iter().map(|member| member.node.is_running())).await;
        runs.into_iter().enumerate().filter_map(|(index, runs)| runs.then_some(index)).collect()
    }

    pub(super) async fn each_running(&self, words: &[&str]) -> Result<(), ServerError> {
        let running = self.running().await;
        try_join_all(running.into_iter().map(|node| self.command(node, words))).await.map(drop)
    }

    /// Kills all of them, and then starts those that are not lost.
    pub(super) async fn restart_each(&self) -> Result<(), ServerError> {
        try_join_all(self.nodes().map(Node::kill)).await?;
        try_join_all(self.there().map(|node| self.restart(node))).await.map(drop)
    }

    /// Asks one of several: none if it does not answer soon, or with an error.
    pub(super) async fn ask(&self, node: usize, words: &[&str]) -> Option<Reply> {
        ask_shortly(self.members[node].direct, words).await
    }

    pub(super) async fn accepts_writes(&self, node: usize) -> bool {
        self.ask(node, &["DEL", NOBODYS]).await.is_some()
    }

    /// Whether it says so.
    pub(super) async fn is_primary(&self, node: usize) -> bool {
        let role = self.ask(node, &["ROLE"]).await;
        role.is_some_and(|role| role.list().first().is_some_and(|role| role.text() == "master"))
    }

    /// Which node is announced there.
    pub(super) fn at(&self, address: &str) -> Option<usize> {
        self.members.iter().position(|member| member.announced.to_string() == address)
    }

    /// [`until`] with the group's patience; an error carries what each node says of its replication.
    pub(super) async fn wait<T, F>(&self, what: &str, probe: impl FnMut() -> F) -> Result<T, ServerError>
    where
        F: Future<Output = Option<T>>,
    {
        match until(what, self.patience, probe).await {
            Ok(found) => Ok(found),
            Err(error) => {
                let all = (0..self.members.len()).map(|node| async move {
                    let said = self.ask(node, &["INFO", "replication"]).await;
                    format!("node {node}: {}", said.map_or("no answer".to_owned(), |said| said.text()))
                });
                let log = join_all(all).await.join("\n");
                Err(error.with_log(|| log))
            }
        }
    }

    /// Whether `replica` follows `primary` and has all that `primary` had before this was called, by `offset`.
    pub(super) async fn follows(&self, replica: usize, primary: usize, offset: u64) -> bool {
        let Some(said) = self.ask(replica, &["INFO", "replication"]).await else { return false };
        let said = said.info();
        let field = |name: &str| said.get(name).map(String::as_str).unwrap_or_default();
        let of = format!("{}:{}", field("master_host"), field("master_port"));
        let reached = field("slave_repl_offset").parse().is_ok_and(|reached: u64| reached >= offset);
        self.at(&of) == Some(primary) && field("master_link_status") == "up" && reached
    }

    /// How much `primary` has written, if it is one.
    pub(super) async fn offset(&self, primary: usize) -> Option<u64> {
        let said = self.ask(primary, &["INFO", "replication"]).await?.info();
        let offset = said.get("master_repl_offset")?.parse().ok()?;
        (said.get("role")? == "master").then_some(offset)
    }
}
