//! Several etcd servers as one cluster.

use std::time::Duration;

use futures_util::future::{join_all, try_join_all};

use super::super::{ServerError, until};
use super::network::PeerNetwork;
use super::server::{Peers, Ports};
use super::{Etcd, EtcdOptions, Snapshot};

/// How often a start is tried with other ports.
const TRIES: usize = 5;

/// A cluster of etcd servers.
///
/// ```no_run
/// # async fn example() -> Result<(), registry_testing::servers::ServerError> {
/// use registry_testing::servers::etcd::{EtcdCluster, EtcdOptions};
///
/// let cluster = EtcdCluster::start(3, EtcdOptions::default().with_peer_proxies()).await?;
/// let leader = cluster.leader().await?;
/// cluster.isolate(leader);
/// let next = cluster.wait_new_leader(leader).await?;
/// cluster.heal();
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct EtcdCluster {
    members: Vec<Etcd>,
    network: Option<PeerNetwork>,
    options: EtcdOptions,
}

impl EtcdCluster {
    /// Starts a cluster of `size` members and waits until each serves.
    ///
    /// # Errors
    /// [`ServerError::Missing`] if etcd is not installed, and what [`Process::start`](super::super::process::Process::start) gives.
    pub async fn start(size: usize, options: EtcdOptions) -> Result<Self, ServerError> {
        let flags = options.common_flags(size).await?;
        for last in (0..TRIES).map(|tried| tried + 1 == TRIES) {
            let cluster = Self::new(size, &options, &flags).await?;
            match cluster.each(Etcd::start_process).await {
                Err(ServerError::AddressInUse { .. }) if !last => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(cluster),
            }
        }
        unreachable!("the last try returns")
    }

    async fn new(size: usize, options: &EtcdOptions, flags: &[String]) -> Result<Self, ServerError> {
        let ports = (0..size).map(|_| Ports::free()).collect::<Result<Vec<_>, _>>()?;
        let peer_addresses: Vec<_> = ports.iter().map(|ports| ports.peer.address()).collect();
        let network = options.peer_proxies.then(|| PeerNetwork::start(&peer_addresses)).transpose()?;
        let advertised = network.as_ref().map_or(peer_addresses, PeerNetwork::addresses);
        let initial =
            advertised.iter().enumerate().map(|(index, address)| format!("m{index}=http://{address}"));
        let initial_cluster = initial.collect::<Vec<_>>().join(",");
        let members = ports.into_iter().zip(advertised).enumerate().map(|(index, (ports, advertised))| {
            let peers = Peers { advertised, initial_cluster: initial_cluster.clone() };
            async move { Etcd::new(&format!("m{index}"), options, flags, ports, peers).await }
        });
        let members = try_join_all(members).await?;
        if let Some(network) = &network {
            network.introduce(members.iter().map(|member| member.process().pid_cell()).collect());
        }
        Ok(Self { members, network, options: options.clone() })
    }

    /// The members, in order.
    #[must_use]
    pub fn members(&self) -> &[Etcd] {
        &self.members
    }

    /// One member.
    ///
    /// # Panics
    /// If there is none of that number.
    #[must_use]
    pub fn member(&self, index: usize) -> &Etcd {
        &self.members[index]
    }

    /// The URLs for clients, in order.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Etcd::endpoint).collect()
    }

    /// The member that leads: it takes itself for the leader, no later term is known among the members that answer, and it serves.
    /// Waits for one.
    ///
    /// # Errors
    /// [`ServerError::Timeout`] if there is none within [`EtcdOptions::patience`].
    pub async fn leader(&self) -> Result<usize, ServerError> {
        self.wait_leader("a leader", |_| true).await
    }

    /// Waits until another member than `old` leads.
    ///
    /// # Errors
    /// [`ServerError::Timeout`] if there is none within [`EtcdOptions::patience`].
    pub async fn wait_new_leader(&self, old: usize) -> Result<usize, ServerError> {
        self.wait_leader("a new leader", |leader| leader != old).await
    }

    async fn wait_leader(
        &self,
        what: &str,
        fits: impl Fn(usize) -> bool + Sync,
    ) -> Result<usize, ServerError> {
        let fits = &fits;
        until(what, self.options.patience, || async move {
            let statuses = join_all(self.members.iter().map(Etcd::status)).await;
            let known =
                statuses.into_iter().enumerate().filter_map(|(index, status)| Some((index, status.ok()?)));
            let latest = known.max_by_key(|(_, status)| (status.term, status.leader == status.member))?;
            let (index, status) = latest;
            let leads = status.leader == status.member && fits(index);
            (leads && self.members[index].serves().await).then_some(index)
        })
        .await
    }

    /// Kills every member.
    ///
    /// # Errors
    /// See [`Process::kill`](super::super::process::Process::kill).
    pub async fn kill(&self) -> Result<(), ServerError> {
        self.each(Etcd::kill).await
    }

    /// Destroys a member for good: kills it and removes its data, without a word to the others, which go on if they are a quorum. No restart brings
    /// it back; a [`wipe`](Self::wipe) or a [`restore`](Self::restore) of the cluster does. Does not wait for the others to elect another leader:
    /// [`wait_new_leader`](Self::wait_new_leader) does.
    ///
    /// # Errors
    /// See [`Process::kill`](super::super::process::Process::kill) and [`Process::remove_data`](super::super::process::Process::remove_data).
    ///
    /// # Panics
    /// If there is none of that number.
    pub async fn lose(&self, member: usize) -> Result<(), ServerError> {
        self.members[member].lose().await
    }

    /// Starts every member that is not lost again with its data, on the same ports, after a SIGKILL for those that run, and waits until each serves.
    ///
    /// # Errors
    /// See [`Process::start`](super::super::process::Process::start).
    pub async fn restart(&self) -> Result<(), ServerError> {
        self.kill().await?;
        self.start_all().await
    }

    /// Starts the cluster again with no data, on the same ports.
    ///
    /// # Errors
    /// See [`Process::start`](super::super::process::Process::start).
    pub async fn wipe(&self) -> Result<(), ServerError> {
        self.each(Etcd::discard).await?;
        self.start_all().await
    }

    /// The store as a file, from the leader.
    ///
    /// # Errors
    /// See [`Etcd::save`].
    pub async fn save(&self) -> Result<Snapshot, ServerError> {
        self.members[self.leader().await?].save().await
    }

    /// Puts every member back to `snapshot`.
    ///
    /// # Errors
    /// See [`Etcd::restore`].
    pub async fn restore(&self, snapshot: &Snapshot) -> Result<(), ServerError> {
        let path = snapshot.path();
        self.kill().await?;
        try_join_all(self.members.iter().map(|member| member.put_back(&path))).await?;
        self.start_all().await
    }

    /// See [`Etcd::compact`].
    ///
    /// # Errors
    /// See [`Etcd::compact`].
    pub async fn compact(&self) -> Result<u64, ServerError> {
        self.members[self.leader().await?].compact().await
    }

    /// See [`Etcd::enable_auth`].
    ///
    /// # Errors
    /// See [`Etcd::enable_auth`].
    pub async fn enable_auth(&self, password: &str) -> Result<(), ServerError> {
        self.members[self.leader().await?].enable_auth(password).await?;
        self.members.iter().for_each(|member| member.knows_root(password));
        Ok(())
    }

    /// Nothing that `from` sends reaches `to` any more, on any connection; the other way stays open. Needs
    /// [`EtcdOptions::peer_proxies`], as does all that follows; without them nothing happens and `false` is returned.
    pub fn block(&self, from: usize, to: usize) -> bool {
        self.network.as_ref().is_some_and(|network| network.block(from, to))
    }

    /// Cuts `member` off from all others, both ways.
    pub fn isolate(&self, member: usize) -> bool {
        let others = (0..self.members.len()).filter(|other| *other != member).collect::<Vec<_>>();
        self.partition(&[&[member], &others])
    }

    /// Lets members talk only within their group. A member in no group is alone.
    pub fn partition(&self, groups: &[&[usize]]) -> bool {
        let together = |a, b| groups.iter().any(|group| group.contains(&a) && group.contains(&b));
        let size = self.members.len();
        let pairs = (0..size).flat_map(|from| (0..size).map(move |to| (from, to)));
        pairs.filter(|(from, to)| from != to && !together(*from, *to)).all(|(from, to)| self.block(from, to))
    }

    /// Puts `latency` between members, each way, until [`heal`](Self::heal). False without
    /// [`EtcdOptions::peer_proxies`](super::EtcdOptions::peer_proxies).
    pub fn delay(&self, latency: Duration) -> bool {
        self.network.as_ref().map(|network| network.delay(latency)).is_some()
    }

    /// Lets all members talk to each other again, without delay.
    pub fn heal(&self) {
        if let Some(network) = &self.network {
            network.heal();
        }
    }

    /// Bytes between members that a partition has swallowed so far: proof that it bit.
    #[must_use]
    pub fn swallowed(&self) -> u64 {
        self.network.as_ref().map_or(0, PeerNetwork::swallowed)
    }

    /// Starts all at once, since none serves before there is a quorum.
    async fn start_all(&self) -> Result<(), ServerError> {
        let there = self.members.iter().filter(|member| !member.is_lost());
        try_join_all(there.map(Etcd::start_again)).await.map(drop)
    }

    async fn each<'a, F>(&'a self, act: impl Fn(&'a Etcd) -> F) -> Result<(), ServerError>
    where
        F: Future<Output = Result<(), ServerError>> + 'a,
    {
        try_join_all(self.members.iter().map(act)).await.map(drop)
    }
}
