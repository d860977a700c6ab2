//! Moving slots between primaries, as administrators do it.

use super::super::super::ServerError;
use super::super::node::Node;
use super::RedisCluster;

/// How many keys are moved at once.
const BATCH: usize = 10;
/// For each batch, in milliseconds.
const MOVE: &str = "5000";

/// A slot on its way from one primary to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migration {
    /// The slot.
    pub slot: u16,
    /// The number of the node that has it until the end.
    pub from: usize,
    /// The number of the node that gets it.
    pub to: usize,
}

impl<N: Node> RedisCluster<N> {
    /// Moves a slot with its keys to another primary, and waits until every node that runs says so.
    ///
    /// If the future is dropped, the slot may be left on its way.
    ///
    /// # Errors
    /// As [`begin_migration`](Self::begin_migration), [`move_keys`](Self::move_keys) and [`finish_migration`](Self::finish_migration).
    ///
    /// # Panics
    /// If there is no node `to`.
    pub async fn migrate_slot(&self, slot: u16, to: usize) -> Result<(), ServerError> {
        let migration = self.begin_migration(slot, to).await?;
        self.move_keys(&migration, usize::MAX).await?;
        self.finish_migration(&migration).await
    }

    /// The first step: from now on the owner answers for the keys that it still has (`TRYAGAIN` for several of which it has not all), and says
    /// `ASK` for the others; the other node answers only those who ask.
    ///
    /// # Errors
    /// As [`owner_of_slot`](Self::owner_of_slot) and [`command`](super::super::Nodes::command).
    ///
    /// # Panics
    /// If there is no node `to`.
    pub async fn begin_migration(&self, slot: u16, to: usize) -> Result<Migration, ServerError> {
        let from = self.owner_of_slot(slot).await?;
        self.set_slot(to, slot, "IMPORTING", Some(from)).await?;
        self.set_slot(from, slot, "MIGRATING", Some(to)).await?;
        Ok(Migration { slot, from, to })
    }

    /// The second step: moves keys, all or so many. Gives how many it has moved.
    ///
    /// # Errors
    /// As [`command`](super::super::Nodes::command).
    pub async fn move_keys(&self, migration: &Migration, most: usize) -> Result<usize, ServerError> {
        let Migration { slot, from, to } = *migration;
        let (slot, target) = (slot.to_string(), self.members()[to].direct);
        let (ip, port) = (target.ip().to_string(), target.port().to_string());
        let mut moved = 0;
        while moved < most {
            let count = BATCH.min(most - moved).to_string();
            let keys = self.command(from, &["CLUSTER", "GETKEYSINSLOT", &slot, &count]).await?;
            if keys.list().is_empty() {
                break;
            }
            let command = ["MIGRATE", &ip, &port, "", "0", MOVE, "KEYS"].map(|word| word.as_bytes().to_vec());
            let keys: Vec<_> = keys.list().iter().map(super::Reply::bytes).collect();
            moved += keys.len();
            self.command(from, &[command.as_slice(), &keys].concat()).await?;
        }
        Ok(moved)
    }

    /// The last step: the slot is the other node's. Waits until every node that runs says so.
    ///
    /// # Errors
    /// As [`command`](super::super::Nodes::command), such as when there are keys left; [`ServerError::Timeout`].
    pub async fn finish_migration(&self, migration: &Migration) -> Result<(), ServerError> {
        let Migration { slot, from, to } = *migration;
        // The new owner first: if it should fail after the old one was told, nobody would have the slot.
        let others = self.primaries().await.into_iter().filter(|node| *node != from && *node != to);
        for node in [to, from].into_iter().chain(others) {
            self.set_slot(node, slot, "NODE", Some(to)).await?;
        }
        self.wait_owner(slot, to).await
    }

    /// Gives the migration up: the slot stays where it was, without the keys that were moved already. They are where it would have gone, and
    /// nobody finds them there.
    ///
    /// # Errors
    /// As [`command`](super::super::Nodes::command).
    pub async fn abandon_migration(&self, migration: &Migration) -> Result<(), ServerError> {
        self.set_slot(migration.from, migration.slot, "STABLE", None).await?;
        self.set_slot(migration.to, migration.slot, "STABLE", None).await
    }

    async fn set_slot(
        &self,
        node: usize,
        slot: u16,
        what: &str,
        of: Option<usize>,
    ) -> Result<(), ServerError> {
        let slot = slot.to_string();
        let words = ["CLUSTER", "SETSLOT", &slot, what].into_iter().chain(of.map(|of| self.ids[of].as_str()));
        self.command(node, &words.collect::<Vec<_>>()).await.map(drop)
    }
}
