//! A client at work: one operation after the other, each on the next of its instances.

use comparisons::experiment::Trouble;

use crate::clients::{Client, instance};
use crate::lanes::Lane;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Lists instances whose ids are free.
    Register,
    /// Renews leases.
    Keepalive,
    /// Changes the weight of instances.
    Update,
    /// Takes instances off.
    Deregister,
    /// Reads all instances of a service.
    Lookup,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Register, Self::Keepalive, Self::Update, Self::Deregister, Self::Lookup];

    /// In one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Keepalive => "keepalive",
            Self::Update => "update",
            Self::Deregister => "deregister",
            Self::Lookup => "lookup",
        }
    }

    /// Whether each instance can be its object only once.
    #[must_use]
    pub fn uses_up(self) -> bool {
        matches!(self, Self::Register | Self::Deregister)
    }
}

/// An instance of an operator: as it may be, which of these it was registered as or changed to last, and its lease while it is listed.
#[derive(Debug)]
struct Member<P, L> {
    versions: [P; 2],
    version: usize,
    lease: Option<L>,
}

/// A client that does one operation over and over.
pub struct Operator<C: Client> {
    client: C,
    operation: Operation,
    service: String,
    members: Vec<Member<C::Published, C::Lease>>,
    next: usize,
}

impl<C: Client> Operator<C> {
    /// One that has the instances `numbers` of `service` to itself. What looks up needs none.
    ///
    /// # Errors
    /// For what is no name of a service.
    pub fn new(
        client: &C,
        operation: Operation,
        service: &str,
        numbers: std::ops::Range<usize>,
    ) -> Result<Self, Trouble> {
        let version = |number, weight| -> Result<C::Published, Trouble> {
            Ok(client.publish(&instance(service, number, weight)?))
        };
        let member = |number| -> Result<_, Trouble> {
            Ok(Member { versions: [version(number, 100)?, version(number, 101)?], version: 0, lease: None })
        };
        let members = numbers.map(member).collect::<Result<_, _>>()?;
        Ok(Self { client: client.clone(), operation, service: service.to_owned(), members, next: 0 })
    }

    /// Makes the instances such that the operation can be done on all of them.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn make_ready(&mut self) -> Result<(), Trouble> {
        self.next = 0;
        if self.operation == Operation::Register {
            return self.leave().await;
        }
        for member in self.members.iter_mut().filter(|member| member.lease.is_none()) {
            member.lease = Some(self.client.register(&member.versions[0]).await?);
            member.version = 0;
        }
        Ok(())
    }

    /// Takes off what is listed by what was measured.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn clean_up(&mut self) -> Result<(), Trouble> {
        if self.operation == Operation::Register { self.leave().await } else { Ok(()) }
    }

    /// Takes all of its instances off.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn leave(&mut self) -> Result<(), Trouble> {
        for member in &mut self.members {
            if let Some(lease) = member.lease.take() {
                self.client.deregister(lease).await?;
            }
        }
        Ok(())
    }
}

impl<C: Client> Lane for Operator<C> {
    async fn step(&mut self) -> Result<(), Trouble> {
        if self.operation == Operation::Lookup {
            let found = self.client.lookup(&self.service).await?;
            // Nothing is quicker to look up than nothing.
            return if found > 0 { Ok(()) } else { Err(Trouble::failed("nothing was found")) };
        }
        let count = self.members.len().max(1);
        let Some(member) = self.members.get_mut(self.next % count) else {
            return Err(Trouble::failed("there is no instance to do it on"));
        };
        self.next += 1;
        match (self.operation, member.lease.take()) {
            (Operation::Register, None) => {
                member.lease = Some(self.client.register(&member.versions[0]).await?);
            }
            (Operation::Deregister, Some(lease)) => self.client.deregister(lease).await?,
            (Operation::Keepalive, Some(lease)) => {
                self.client.keepalive(&lease).await?;
                member.lease = Some(lease);
            }
            (Operation::Update, Some(mut lease)) => {
                // Never to what it is already.
                member.version = 1 - member.version;
                self.client.update(&mut lease, &member.versions[member.version]).await?;
                member.lease = Some(lease);
            }
            (operation, _) => {
                return Err(Trouble::failed(format!("no instance is left to {}", operation.name())));
            }
        }
        Ok(())
    }
}

impl<C: Client> std::fmt::Debug for Operator<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operator").field("operation", &self.operation).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use registry_core::{Registry, ServiceName};
    use registry_memory::MemoryRegistry;

    use super::{Operation, Operator};
    use crate::clients::Ours;
    use crate::lanes::run;

    async fn worked(operation: Operation, steps: usize) -> (Arc<MemoryRegistry>, Result<(), String>) {
        let registry = Arc::new(MemoryRegistry::new());
        let client = Ours::new(Arc::<MemoryRegistry>::clone(&registry));
        let mut operator = Operator::new(&client, operation, "user.rpc", 0..3).unwrap();
        operator.make_ready().await.unwrap();
        let outcome = run(vec![operator], steps).await.map(drop).map_err(|trouble| trouble.to_string());
        (registry, outcome)
    }

    async fn weights(registry: &MemoryRegistry) -> Vec<u32> {
        let listed = registry.lookup(&ServiceName::new("user.rpc").unwrap()).await.unwrap();
        listed.instances().map(|instance| instance.weight().get()).collect()
    }

    #[tokio::test]
    async fn what_is_measured_is_done() {
        let (registry, outcome) = worked(Operation::Register, 2).await;
        assert_eq!((outcome, weights(&registry).await), (Ok(()), vec![100, 100]));
        let (registry, outcome) = worked(Operation::Deregister, 2).await;
        assert_eq!((outcome, weights(&registry).await), (Ok(()), vec![100]));
        let (registry, outcome) = worked(Operation::Update, 4).await;
        assert_eq!(
            (outcome, weights(&registry).await),
            (Ok(()), vec![100, 101, 101]),
            "each changes each time"
        );
        let (registry, outcome) = worked(Operation::Keepalive, 4).await;
        assert_eq!((outcome, weights(&registry).await), (Ok(()), vec![100; 3]));
        assert_eq!(worked(Operation::Lookup, 4).await.1, Ok(()));
    }

    #[tokio::test]
    async fn an_update_changes_something_also_in_the_block_after_one_that_left_some_unchanged() {
        let registry = Arc::new(MemoryRegistry::new());
        let client = Ours::new(Arc::<MemoryRegistry>::clone(&registry));
        let mut operator = Operator::new(&client, Operation::Update, "user.rpc", 0..3).unwrap();
        for expected in [[101, 101, 100], [100, 100, 100]] {
            operator.make_ready().await.unwrap();
            operator = run(vec![operator], 2).await.unwrap().1.remove(0);
            assert_eq!(weights(&registry).await, expected);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_done_is_not_counted_as_done() {
        assert_eq!(worked(Operation::Register, 4).await.1, Err("no instance is left to register".to_owned()));
        assert_eq!(
            worked(Operation::Deregister, 4).await.1,
            Err("no instance is left to deregister".to_owned())
        );
    }
}
