//! Several primaries that share the keys, and their replicas.

mod moves;
mod options;
mod start;
mod view;

use std::net::SocketAddr;
use std::ops::Deref;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};

use self::view::{SLOTS, View};
use super::super::{ServerError, until};
use super::node::{Launch, Node};
use super::nodes::{NOBODYS, Nodes};
use super::{Redis, Reply};

pub use moves::Migration;
pub use options::ClusterOptions;

/// A fail-over that has no majority is given up after 5 s.
const AGAIN: Duration = Duration::from_secs(6);
/// How long word of a fail-over takes at most, where all are well.
const SETTLED: Duration = Duration::from_secs(3);
/// Among so many keys there is one of every slot, as good as certainly.
const TRIED: u32 = 1 << 20;

/// How a replica takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failover {
    /// In agreement with its primary, so that nothing is lost. The primary must be well.
    Plain,
    /// By a vote of the other primaries, whether or not its own answers.
    Force,
    /// By its own decision alone.
    Takeover,
}

/// A cluster of Redis servers. What can be done to each node is found at [`Nodes`].
///
/// ```no_run
/// # async fn example() -> Result<(), registry_testing::servers::ServerError> {
/// use registry_testing::servers::redis::{ClusterOptions, Failover, RedisCluster};
///
/// let cluster = RedisCluster::start(ClusterOptions::default()).await?;
/// let clients_connect_to = cluster.seeds();
/// let owner = cluster.owner_of("key").await?;
/// cluster.command(owner, &["SET", "key", "value"]).await?;
/// let owner = cluster.fail_over(owner, Failover::Plain).await?;
/// cluster.migrate_slot(cluster.slot_of("key"), (owner + 1) % 3).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct RedisCluster<N = Redis> {
    nodes: Nodes<N>,
    /// By which the nodes know each other, for ever.
    ids: Vec<String>,
}

impl RedisCluster {
    /// Starts all nodes as child processes and waits until they agree, and the replicas are in sync. The primaries come first, and then their
    /// replicas in the same order.
    ///
    /// # Errors
    /// [`ServerError::Missing`] if Redis is not installed, and what [`Process::start`](super::super::process::Process::start) gives.
    pub async fn start(options: ClusterOptions) -> Result<Self, ServerError> {
        Self::launch(&options.node, &options).await
    }
}

impl<N> Deref for RedisCluster<N> {
    type Target = Nodes<N>;

    fn deref(&self) -> &Nodes<N> {
        &self.nodes
    }
}

impl<N: Node> RedisCluster<N> {
    pub(crate) async fn launch<L>(launcher: &L, options: &ClusterOptions) -> Result<Self, ServerError>
    where
        L: Launch<Node = N>,
    {
        start::start(launcher, options).await
    }

    /// The addresses for clients to begin with: those of all nodes.
    #[must_use]
    pub fn seeds(&self) -> Vec<SocketAddr> {
        self.addresses()
    }

    /// The slot of a key, by the part of it between braces, if there is one.
    #[must_use]
    pub fn slot_of(&self, key: impl AsRef<[u8]>) -> u16 {
        view::slot_of(key.as_ref())
    }

    /// The node that has a slot, by what the nodes say, and of those that contradict each other, the latest.
    ///
    /// # Errors
    /// [`ServerError::Refused`] if nobody says.
    pub async fn owner_of_slot(&self, slot: u16) -> Result<usize, ServerError> {
        let views = self.views().await;
        let owners = views.iter().filter_map(|(_, view)| view.owner(slot));
        let owner = owners.max_by_key(|owner| owner.epoch).and_then(|owner| self.with_id(&owner.id));
        owner.ok_or_else(|| {
            ServerError::refused(format!("looking for slot {slot}"), "no node says whose it is")
        })
    }

    /// The same for the slot of a key.
    ///
    /// # Errors
    /// As [`owner_of_slot`](Self::owner_of_slot).
    pub async fn owner_of(&self, key: impl AsRef<[u8]>) -> Result<usize, ServerError> {
        self.owner_of_slot(self.slot_of(key)).await
    }

    /// The nodes that say that they are primaries.
    pub async fn primaries(&self) -> Vec<usize> {
        let views = self.views().await.into_iter();
        let primary = |view: &View| view.myself().is_some_and(view::Seen::is_primary);
        views.filter(|(_, view)| primary(view)).map(|(node, _)| node).collect()
    }

    /// A node that says that it is a replica of `primary`.
    ///
    /// # Errors
    /// [`ServerError::Refused`] if there is none.
    pub async fn replica_of(&self, primary: usize) -> Result<usize, ServerError> {
        let replicas = self.replicas().await.into_iter();
        let mut replicas = replicas.filter(|(_, of)| *of == Some(primary)).map(|(replica, _)| replica);
        let none =
            || ServerError::refused(format!("looking for a replica of node {primary}"), "there is none");
        replicas.next().ok_or_else(none)
    }

    /// Has a replica of `primary` take over, and gives it when it takes writes and all other nodes that answer say that it has the slots. The old primary
    /// becomes its replica, once it is told.
    ///
    /// If the replica does so by itself in the meantime, since its primary is dead, that is as good.
    ///
    /// # Errors
    /// [`ServerError::Refused`] if there is no replica; [`ServerError::Timeout`].
    pub async fn fail_over(&self, primary: usize, how: Failover) -> Result<usize, ServerError> {
        let replica = self.replica_of(primary).await?;
        let how = match how {
            Failover::Plain => None,
            Failover::Force => Some("FORCE"),
            Failover::Takeover => Some("TAKEOVER"),
        };
        let command: Vec<_> = ["CLUSTER", "FAILOVER"].into_iter().chain(how).collect();
        let taken = || async { self.is_primary(replica).await.then_some(()) };
        let known = || self.took_over(replica, primary);
        self.wait("a replica takes over, and all know of it", || async {
            // It is refused while the link to the primary is down, say; given up after 5 s without a majority; and undone if the primary got
            // a higher epoch meanwhile.
            if taken().await.is_none() {
                self.ask(replica, &command).await?;
                until("a replica takes over", AGAIN, taken).await.ok()?;
            }
            if until("all know of it", SETTLED, known).await.is_err() {
                // One that was just promoted before can win by the votes of that time, and then nobody takes its epoch for a later one.
                self.ask(replica, &["CLUSTER", "BUMPEPOCH"]).await?;
                return None;
            }
            Some(replica)
        })
        .await
    }

    /// Waits until every node that runs says `cluster_state:ok`, takes none of the others that run for dead, and says of every slot
    /// that the same one has it, which runs as well.
    ///
    /// # Errors
    /// [`ServerError::Timeout`] if they do not within [`RedisOptions::patience`](super::RedisOptions::patience).
    pub async fn wait_ok(&self) -> Result<(), ServerError> {
        self.wait("the cluster is well", || async {
            let views = self.views_of_all_running().await?;
            let (_, first) = views.first()?;
            let slots: u32 =
                first.slots().iter().map(|(range, _)| 1 + u32::from(range.end() - range.start())).sum();
            let runs = |node: usize| views.iter().any(|(running, _)| *running == node);
            let owned = first.slots().iter().all(|(_, id)| self.with_id(id).is_some_and(runs));
            let agree = views.iter().all(|(_, view)| view.slots() == first.slots());
            let states = join_all(views.iter().map(|(node, _)| self.ask(*node, &["CLUSTER", "INFO"]))).await;
            let ok = |state: Option<Reply>| {
                state
                    .is_some_and(|state| state.info().get("cluster_state").is_some_and(|state| state == "ok"))
            };
            (slots == u32::from(SLOTS) && owned && agree && states.into_iter().all(ok)).then_some(())
        })
        .await
    }

    /// Waits until every replica that runs has all that its primary had written before this was called. One that takes itself for a primary is none:
    /// after a change of roles, [`wait_ok`](Self::wait_ok) first.
    ///
    /// # Errors
    /// [`ServerError::Timeout`] if they do not within [`RedisOptions::patience`](super::RedisOptions::patience).
    pub async fn wait_in_sync(&self) -> Result<(), ServerError> {
        self.wait("the replicas are in sync", || async {
            let replicas = self.replicas().await;
            let follow = replicas.into_iter().map(|(replica, primary)| async move {
                let primary = primary?;
                let offset = self.offset(primary).await?;
                self.follows(replica, primary, offset).await.then_some(())
            });
            join_all(follow).await.into_iter().all(|follows| follows.is_some()).then_some(())
        })
        .await
    }

    /// Kills every node and starts those that are not lost. Waits until the cluster is well and the replicas are in sync.
    ///
    /// # Errors
    /// See [`Node::restart`], [`wait_ok`](Self::wait_ok) and [`wait_in_sync`](Self::wait_in_sync).
    pub async fn restart_all(&self) -> Result<(), ServerError> {
        self.restart_each().await?;
        self.wait_ok().await?;
        self.wait_in_sync().await
    }

    /// Removes every key, and waits until the replicas have done so, too.
    ///
    /// # Errors
    /// As [`command`](Nodes::command) and [`wait_in_sync`](Self::wait_in_sync).
    pub async fn wipe(&self) -> Result<(), ServerError> {
        try_join_all(self.primaries().await.into_iter().map(|node| self.command(node, &["FLUSHALL"])))
            .await?;
        self.wait_in_sync().await
    }

    /// Whether all but the old primary say that the new one has its slots, and it takes writes.
    async fn took_over(&self, new: usize, old: usize) -> Option<()> {
        let others = self.views().await.into_iter().filter(|(node, _)| *node != old);
        let known = others.into_iter().all(|(_, view)| {
            let has_some = |node: usize| view.slots().iter().any(|(_, id)| *id == self.ids[node]);
            has_some(new) && !has_some(old)
        });
        (known && self.accepts_writes_to_its_slots(new).await).then_some(())
    }

    async fn accepts_writes_to_its_slots(&self, node: usize) -> bool {
        let Some(view) = self.ask(node, &["CLUSTER", "NODES"]).await else { return false };
        let view = View::parse(&view.text());
        let its =
            |key: &String| view.owner(self.slot_of(key)).is_some_and(|owner| owner.id == self.ids[node]);
        let key = (0..TRIED).map(|number| format!("{NOBODYS} {number}")).find(its);
        match key {
            Some(key) => self.ask(node, &["DEL", &key]).await.is_some(),
            None => false,
        }
    }

    fn with_id(&self, id: &str) -> Option<usize> {
        self.ids.iter().position(|other| other == id)
    }

    /// What the nodes say that answer.
    async fn views(&self) -> Vec<(usize, View)> {
        let ask = (0..self.ids.len()).map(|node| async move {
            let said = self.ask(node, &["CLUSTER", "NODES"]).await?;
            Some((node, View::parse(&said.text())))
        });
        join_all(ask).await.into_iter().flatten().collect()
    }

    /// None if one that runs does not answer, or another takes it for dead.
    async fn views_of_all_running(&self) -> Option<Vec<(usize, View)>> {
        let (running, views) = (self.running().await, self.views().await);
        let known = |view: &View, node: usize| {
            view.nodes.iter().any(|seen| seen.id == self.ids[node] && seen.is_sound())
        };
        let sound = |(_, view): &(usize, View)| running.iter().all(|node| known(view, *node));
        (views.len() == running.len() && views.iter().all(sound)).then_some(views)
    }

    /// The nodes that say that they are replicas, and of whom.
    async fn replicas(&self) -> Vec<(usize, Option<usize>)> {
        let views = self.views().await.into_iter();
        let replicas = views.filter_map(|(node, view)| Some((node, view.myself()?.primary.clone()?)));
        replicas.map(|(node, primary)| (node, self.with_id(&primary))).collect()
    }

    async fn wait_acquainted(&self) -> Result<(), ServerError> {
        self.wait("the nodes know each other", || async {
            let views = self.views_of_all_running().await?;
            views.iter().all(|(_, view)| view.nodes.len() == self.ids.len()).then_some(())
        })
        .await
    }

    async fn wait_owner(&self, slot: u16, owner: usize) -> Result<(), ServerError> {
        self.wait("all know the new owner of a slot", || async {
            let views = self.views_of_all_running().await?;
            let owned = |view: &View| view.owner(slot).is_some_and(|seen| seen.id == self.ids[owner]);
            views.iter().all(|(_, view)| owned(view)).then_some(())
        })
        .await
    }
}
