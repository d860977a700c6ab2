//! Which server to ask: the one there is, the one the Sentinels name, or the one that has the slot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::{Value, cmd};
use registry_core::{Error, ErrorKind, Operation, Result};
use tokio::time::Instant;

use crate::address::Address;
use crate::error::{classify, failure};
use crate::link::{Link, Use, text};
use crate::member::{Failures, Member};
use crate::options::{Deployment, RedisOptions};

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// After this time it is asked again whether servers are still what they were, while others go on using them.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Topology {
    options: Arc<RedisOptions>,
    kind: Kind,
    nodes: Mutex<BTreeMap<Address, Arc<Member>>>,
    /// Connections for questions, to Sentinels and to nodes that are not used otherwise.
    questions: Mutex<BTreeMap<Address, Arc<Link>>>,
    known: Mutex<Known>,
    /// Held while servers are asked, by one for all.
    asking: tokio::sync::Mutex<Failures>,
}

#[derive(Debug)]
enum Kind {
    Standalone(Address),
    Sentinel { sentinels: Vec<Address>, primary: String },
    Cluster { seeds: Vec<Address> },
}

#[derive(Debug, Default)]
struct Known {
    /// By first slot: the last slot, and who has them. One range where there are no slots.
    ranges: BTreeMap<u16, (u16, Address)>,
    asked: Option<Instant>,
    /// Grows with every answer.
    version: u64,
}

impl Topology {
    pub(crate) fn new(options: Arc<RedisOptions>) -> Result<Self> {
        let parse = |servers: &[String], port| {
            servers.iter().map(|server| Address::parse(server, port)).collect::<Result<Vec<_>>>()
        };
        let kind = match &options.deployment {
            Deployment::Standalone(server) => Kind::Standalone(Address::parse(server, REDIS_PORT)?),
            Deployment::Sentinel { sentinels, primary } => {
                Kind::Sentinel { sentinels: parse(sentinels, SENTINEL_PORT)?, primary: primary.clone() }
            }
            Deployment::Cluster(nodes) => Kind::Cluster { seeds: parse(nodes, REDIS_PORT)? },
        };
        Ok(Self {
            options,
            kind,
            nodes: Mutex::default(),
            questions: Mutex::default(),
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        })
    }

    /// Whether a server may take the place of another.
    pub(crate) fn fails_over(&self) -> bool {
        !matches!(self.kind, Kind::Standalone(_))
    }

    /// The node that has this slot, as far as is known. Asks when nothing is known.
    pub(crate) async fn node(&self, slot: u16) -> Result<Arc<Member>> {
        if let Some(node) = self.known(slot) {
            return Ok(node);
        }
        let version = self.lock().version;
        Box::pin(self.ask(version)).await?;
        self.known(slot).ok_or_else(|| unavailable(format!("no node of the cluster has slot {slot}")))
    }

    /// The same, without asking.
    pub(crate) fn known(&self, slot: u16) -> Option<Arc<Member>> {
        match &self.kind {
            Kind::Standalone(address) => Some(self.node_at(address)),
            _ => self.owner(slot).map(|address| self.node_at(&address)),
        }
    }

    /// The node at an address that a server named.
    pub(crate) fn node_at(&self, address: &Address) -> Arc<Member> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = nodes.get(address) {
            return Arc::clone(node);
        }
        let node = Arc::new(Member::new(address.clone(), Arc::clone(&self.options)));
        nodes.insert(address.clone(), Arc::clone(&node));
        node
    }

    /// The connections there are to servers that have services, to learn from what they say of themselves.
    pub(crate) fn present(&self) -> Vec<Arc<Link>> {
        let owners: BTreeSet<Address> = match &self.kind {
            Kind::Standalone(address) => BTreeSet::from([address.clone()]),
            _ => self.lock().ranges.values().map(|(_, owner)| owner.clone()).collect(),
        };
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        owners.iter().filter_map(|owner| nodes.get(owner)?.present()).collect()
    }

    /// An announced address, as it is reached from here.
    pub(crate) fn reached(&self, announced: Address) -> Address {
        match &self.options.address_map {
            Some(map) => map.translate(announced),
            None => announced,
        }
    }

    /// A node said that another one has this slot.
    pub(crate) fn moved(&self, slot: u16, to: &Address) {
        let mut known = self.lock();
        known.set(slot, slot, to.clone());
        known.asked = None;
    }

    /// What is known about this slot has led to a node that does not answer or does not have it.
    pub(crate) fn doubt(&self, slot: u16, address: &Address) {
        let mut known = self.lock();
        if known.owner(slot).is_some_and(|owner| owner == address) {
            // The others of that node are in doubt as well.
            known.ranges.retain(|_, (_, owner)| owner != address);
        }
    }

    /// Whether it is time to ask again.
    pub(crate) fn is_stale(&self) -> bool {
        self.fails_over() && self.lock().asked.is_none_or(|asked| asked.elapsed() > FRESH)
    }

    /// Asks again, unless somebody else does.
    pub(crate) async fn refresh(&self) {
        let version = {
            let mut known = self.lock();
            known.asked = Some(Instant::now());
            known.version
        };
        if let Err(error) = self.ask(version).await {
            tracing::debug!(%error, "could not ask which servers there are");
        }
    }

    fn owner(&self, slot: u16) -> Option<Address> {
        self.lock().owner(slot).cloned()
    }

    /// Asks, unless it was asked since `version`.
    async fn ask(&self, version: u64) -> Result<()> {
        let asked = Instant::now();
        let mut failures = self.asking.lock().await;
        if self.lock().version != version {
            return Ok(());
        }
        failures.unless_just_failed(asked, self.ask_now()).await
    }

    async fn ask_now(&self) -> Result<()> {
        let ranges = match &self.kind {
            Kind::Standalone(_) => return Ok(()),
            Kind::Sentinel { sentinels, primary } => {
                let address = self.ask_sentinels(sentinels, primary).await?;
                BTreeMap::from([(0, (u16::MAX, address))])
            }
            Kind::Cluster { seeds } => self.ask_nodes(seeds).await?,
        };
        self.forget_others(&ranges);
        let mut known = self.lock();
        known.ranges = ranges;
        known.asked = Some(Instant::now());
        known.version += 1;
        Ok(())
    }

    /// Lets go of nodes that have nothing any more and that nobody uses.
    fn forget_others(&self, ranges: &BTreeMap<u16, (u16, Address)>) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let serves = |address: &Address| ranges.values().any(|(_, owner)| owner == address);
        nodes.retain(|address, node| serves(address) || Arc::strong_count(node) > 1);
    }

    /// The primary that most Sentinels name, and that takes itself for one. One that is cut off may name an old one for long.
    async fn ask_sentinels(&self, sentinels: &[Address], primary: &str) -> Result<Address> {
        let mut asked: FuturesUnordered<_> =
            sentinels.iter().map(|sentinel| self.ask_sentinel(sentinel, primary)).collect();
        let mut last = unavailable("no Sentinel is given");
        let mut named: Vec<(usize, Address)> = Vec::new();
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(address) => match named.iter_mut().find(|(_, known)| *known == address) {
                    Some((votes, _)) => *votes += 1,
                    None => named.push((1, address)),
                },
                Err(error) => last = error,
            }
            if named.iter().any(|(votes, _)| *votes > sentinels.len() / 2) {
                break;
            }
        }
        named.sort_by_key(|(votes, _)| std::cmp::Reverse(*votes));
        for (_, address) in named {
            let address = self.reached(address);
            match self.node_at(&address).link().await {
                Ok(_) => return Ok(address),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A connection for questions, kept for the next.
    async fn questions_to(&self, address: &Address, purpose: Use) -> Result<Arc<Link>> {
        let known = self.lock_questions().get(address).filter(|link| !link.is_broken()).cloned();
        if let Some(link) = known {
            return Ok(link);
        }
        let link = Link::connect(address, &self.options, purpose).await?;
        self.lock_questions().insert(address.clone(), Arc::clone(&link));
        Ok(link)
    }

    /// One question, answered in time or not to be asked on that connection again.
    async fn question(&self, link: &Arc<Link>, question: &redis::Cmd) -> Result<Value> {
        match tokio::time::timeout(self.options.connect_timeout, link.request(question)).await {
            Ok(answer) => answer.map_err(|error| {
                let error = classify(Operation::Connect, error);
                failure(error.kind(), Operation::Connect, format!("{}: {}", link.address, error.message()))
                    .with_source(error)
            }),
            Err(_) => {
                link.give_up();
                Err(unavailable(format!("{} does not answer", link.address)))
            }
        }
    }

    fn lock_questions(&self) -> MutexGuard<'_, BTreeMap<Address, Arc<Link>>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask_sentinel(&self, sentinel: &Address, primary: &str) -> Result<Address> {
        let link = self.questions_to(sentinel, Use::Sentinel).await?;
        let mut question = cmd("SENTINEL");
        question.arg("get-master-addr-by-name").arg(primary);
        let answer = self.question(&link, &question).await?;
        let parts = answer.as_sequence().unwrap_or_default();
        let part = |at: usize| parts.get(at).and_then(text);
        match (part(0), part(1).and_then(|port| port.parse().ok())) {
            (Some(host), Some(port)) => Ok(Address { host, port }),
            _ => Err(unavailable(format!("the Sentinel {sentinel} knows no primary {primary:?}"))),
        }
    }

    /// The slots, from the first node that tells them: those that are known first, then those that were given.
    async fn ask_nodes(&self, seeds: &[Address]) -> Result<BTreeMap<u16, (u16, Address)>> {
        let mut nodes: Vec<Address> = {
            let known = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            known.values().filter(|node| node.present().is_some()).map(|node| node.address.clone()).collect()
        };
        for seed in seeds {
            if !nodes.contains(seed) {
                nodes.push(seed.clone());
            }
        }
        let mut asked: FuturesUnordered<_> = nodes.iter().map(|node| self.ask_node(node)).collect();
        let mut last = unavailable("no node is given");
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(ranges) => return Ok(ranges),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask_node(&self, address: &Address) -> Result<BTreeMap<u16, (u16, Address)>> {
        let node = self.node_at(address);
        let link = match node.present() {
            Some(link) => link,
            // It may be a replica, which knows the slots as well.
            None => self.questions_to(address, Use::Questions).await?,
        };
        let mut question = cmd("CLUSTER");
        question.arg("SLOTS");
        let answer = self.question(&link, &question).await?;
        let mut ranges = BTreeMap::new();
        for range in answer.as_sequence().unwrap_or_default() {
            let Some((first, last, owner)) = self.range(range, address) else { continue };
            ranges.insert(first, (last, self.reached(owner)));
        }
        if ranges.is_empty() {
            return Err(unavailable(format!("{address} knows no slots")));
        }
        Ok(ranges)
    }

    /// One range of `CLUSTER SLOTS`: first and last slot, then the primary's host and port. A host that is not told is the one that was asked.
    fn range(&self, range: &Value, asked: &Address) -> Option<(u16, u16, Address)> {
        let parts = range.as_sequence()?;
        let number = |value: &Value| match value {
            Value::Int(number) => u16::try_from(*number).ok(),
            _ => None,
        };
        let owner = parts.get(2)?.as_sequence()?;
        let host = owner.first().and_then(text).filter(|host| !host.is_empty() && host != "?");
        let host = host.unwrap_or_else(|| asked.host.clone());
        let address = Address { host, port: number(owner.get(1)?)? };
        Some((number(parts.first()?)?, number(parts.get(1)?)?, address))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn owner(&self, slot: u16) -> Option<&Address> {
        let (_, (last, owner)) = self.ranges.range(..=slot).next_back()?;
        (slot <= *last).then_some(owner)
    }

    /// Gives `first..=last` to `owner`, and leaves the rest of the ranges that hold them.
    fn set(&mut self, first: u16, last: u16, owner: Address) {
        if let Some((&start, &(end, ref before))) = self.ranges.range(..=first).next_back()
            && end >= first
        {
            let before = before.clone();
            if start < first {
                self.ranges.insert(start, (first - 1, before.clone()));
            }
            if end > last {
                self.ranges.insert(last + 1, (end, before));
            }
        }
        self.ranges.insert(first, (last, owner));
    }
}

fn unavailable(message: impl Into<String>) -> Error {
    failure(ErrorKind::Unavailable, Operation::Connect, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Address {
        Address { host: "h".into(), port }
    }

    #[test]
    fn a_slot_that_moved_leaves_its_neighbours_where_they_were() {
        let mut known = Known::default();
        known.ranges.insert(0, (5_000, address(1)));
        known.ranges.insert(5_001, (16_383, address(2)));
        for (slot, to) in [(0, 3), (7, 3), (5_000, 3), (16_383, 3), (7, 2), (8, 1)] {
            known.set(slot, slot, address(to));
        }
        for (slot, owner) in [
            (0, 3),
            (1, 1),
            (6, 1),
            (7, 2),
            (8, 1),
            (9, 1),
            (4_999, 1),
            (5_000, 3),
            (5_001, 2),
            (16_382, 2),
            (16_383, 3),
        ] {
            assert_eq!(known.owner(slot), Some(&address(owner)), "{slot}");
        }
    }
}
