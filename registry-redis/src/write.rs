//! Registering, renewing, updating and leaving: one script each.

use redis::Cmd;
use registry_core::codec::Stored;
use registry_core::{
    ErrorKind, Instance, Lease, OnConflict, Operation, RegisterOptions, Registration, Result, Revision,
};

use crate::answer::Answer;
use crate::error::{failure, strange};
use crate::facts::min_ttl;
use crate::hex;
use crate::registry::RedisRegistry;
use crate::script;

/// How often a registration is tried anew because others registered the same id meanwhile.
const ATTEMPTS: usize = 16;

impl RedisRegistry {
    pub(crate) async fn write_new(
        &self,
        instance: &Instance,
        options: &RegisterOptions,
    ) -> Result<Registration> {
        // Both are on their way before either is answered, the name first where one server has both. An error of either may leave the entry.
        let (enlisted, registered) = tokio::join!(
            self.enlist(instance.service(), Operation::Register),
            self.write_entry(instance, options)
        );
        let registration = registered?;
        enlisted?;
        Ok(registration)
    }

    async fn write_entry(&self, instance: &Instance, options: &RegisterOptions) -> Result<Registration> {
        let conflict = match options.on_conflict {
            OnConflict::Refuse => "refuse",
            OnConflict::Reclaim => "reclaim",
            _ => "take over",
        };
        let claim = options.claim;
        let ttl = options.ttl.max(min_ttl(self.options().wait));
        let mut incarnation = claim;
        for _ in 0..ATTEMPTS {
            let (service, id) = (instance.service().clone(), instance.id().clone());
            let lease = Lease::new(service, id, incarnation, options.token.as_u128());
            let sequence = self.held().next(&lease).max(1);
            let stored = Stored::new(instance.clone(), incarnation, options.token);
            let (millis, encoded) = (ttl.get().as_millis(), stored.encode());
            let args = |call: &mut Cmd| {
                owner(&lease, call).arg(claim.get()).arg(conflict).arg(millis.to_string());
                call.arg(self.connection().writer()).arg(sequence).arg(&encoded);
            };
            let service = instance.service();
            let mut answer =
                self.connection().change(Operation::Register, service, &script::REGISTER, &args).await?;
            match answer.word() {
                "OK" => {
                    let revision = answer.count()?;
                    self.held().registered(&lease, revision, sequence, ttl);
                    return Ok(Registration::new(lease, Revision::new(revision), ttl));
                }
                "RAISE" => incarnation = registry_core::Incarnation::new(answer.count()?),
                "HELD" => {
                    let message = format!("{service} {}: another owner holds it", instance.id());
                    return Err(failure(ErrorKind::AlreadyRegistered, Operation::Register, message));
                }
                word => return Err(strange(Operation::Register, word)),
            }
        }
        Err(failure(ErrorKind::Unavailable, Operation::Register, "others kept changing the entry"))
    }

    pub(crate) async fn renew(&self, lease: &Lease) -> Result<()> {
        let operation = Operation::Keepalive;
        let acknowledged = self.held().acknowledged(lease);
        let args = |call: &mut Cmd| {
            owner(lease, call).arg(acknowledged);
        };
        let answer = self.connection().script(operation, lease.service(), &script::KEEPALIVE, &args).await?;
        held(operation, lease, answer)?;
        self.touch(lease.service());
        Ok(())
    }

    pub(crate) async fn rewrite(&self, lease: &Lease, instance: &Instance) -> Result<Revision> {
        let operation = Operation::Update;
        let token_of = registry_core::OwnerToken::from_u128(lease.key());
        let stored = Stored::new(instance.clone(), lease.incarnation(), token_of);
        let (acknowledged, sequence) = (self.held().acknowledged(lease), self.held().next(lease));
        let encoded = stored.encode();
        let args = |call: &mut Cmd| {
            owner(lease, call).arg(acknowledged).arg(self.connection().writer()).arg(sequence).arg(&encoded);
        };
        let answer = self.connection().change(operation, lease.service(), &script::UPDATE, &args).await?;
        let mut answer = held(operation, lease, answer)?;
        let (revision, sequence) = (answer.count()?, answer.count()?);
        self.held().written(lease, revision, sequence);
        Ok(Revision::new(revision))
    }

    pub(crate) async fn remove(&self, lease: &Lease) -> Result<()> {
        let operation = Operation::Deregister;
        let args = |call: &mut Cmd| {
            owner(lease, call);
        };
        self.connection().change(operation, lease.service(), &script::DEREGISTER, &args).await?;
        self.held().forget(lease);
        Ok(())
    }
}

/// What scripts about an entry are told first: its id, and the token and incarnation of whose it is.
fn owner<'a>(lease: &Lease, call: &'a mut Cmd) -> &'a mut Cmd {
    let key = lease.key();
    let token = [(key >> 64) as u64, key as u64].map(hex::digits);
    call.arg(lease.id().as_str()).arg(token.as_flattened()).arg(lease.incarnation().get())
}

fn held(operation: Operation, lease: &Lease, answer: Answer) -> Result<Answer> {
    match answer.word() {
        "OK" => Ok(answer),
        "LOST" => {
            let message = format!("{} {}: the lease does not hold it", lease.service(), lease.id());
            Err(failure(ErrorKind::LeaseLost, operation, message))
        }
        word => Err(strange(operation, word)),
    }
}
