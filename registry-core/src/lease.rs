//! The right to be listed until a deadline: who holds it, for how long, and how it was obtained.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::cursor::Revision;
use crate::entropy;
use crate::error::{Error, Operation, Result};
use crate::instance::Instance;
use crate::name::{InstanceId, ServiceName};

/// How long an entry stays listed without a heartbeat: 1 second to 1 day.
///
/// A backend may grant more than was asked for ([`Registration::ttl`]), never less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(Duration);

impl Ttl {
    /// The least TTL.
    pub const MIN: Self = Self(Duration::from_secs(1));
    /// The greatest TTL.
    pub const MAX: Self = Self(Duration::from_secs(24 * 60 * 60));

    /// A TTL of `duration`; parts of a millisecond are cut off.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) below [`Ttl::MIN`] or above [`Ttl::MAX`].
    pub fn new(duration: Duration) -> Result<Self> {
        if duration < Self::MIN.0 || duration > Self::MAX.0 {
            let reason = format!("is {duration:?}, must be 1 s to 24 h");
            return Err(Error::invalid("ttl", reason));
        }
        Ok(Self(Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))))
    }

    /// A TTL of whole seconds.
    ///
    /// # Errors
    /// As [`Ttl::new`].
    pub fn from_secs(secs: u64) -> Result<Self> {
        Self::new(Duration::from_secs(secs))
    }

    /// The TTL as a duration.
    #[must_use]
    pub fn get(self) -> Duration {
        self.0
    }

    /// The end of a lease that was granted, or renewed by a heartbeat invoked, at `from`.
    #[must_use]
    pub fn deadline(self, from: Instant) -> Instant {
        from + self.0
    }
}

impl Default for Ttl {
    /// 10 seconds, as go-zero's publisher.
    fn default() -> Self {
        Self(Duration::from_secs(10))
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Drawn by the caller of [`register`](crate::Registry::register), so that a retry after a lost answer is recognised
/// as the same attempt. Anyone who knows the token is the owner: do not publish it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerToken(u128);

impl OwnerToken {
    /// A token from the operating system's randomness.
    #[must_use]
    pub fn random() -> Self {
        Self(u128::from(entropy::random()) << 64 | u128::from(entropy::random()))
    }

    /// The token with this value; for tests, and for backends that read it back.
    #[must_use]
    pub fn from_u128(value: u128) -> Self {
        Self(value)
    }

    /// The value.
    #[must_use]
    pub fn as_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Debug for OwnerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Enough to tell two apart in a log, too little to use.
        write!(f, "OwnerToken({:04x}…)", self.0 >> 112)
    }
}

/// One process's claim to an instance id. Of two claims to one id, the higher is the newer process's.
///
/// A registration gets `max(incarnation of the entry it replaces + 1, the claim in the options)`; the claim is by default
/// the time of the claim in milliseconds since 1970, so that after a wipe of the store the newest process wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(u64);

impl Incarnation {
    /// The greatest incarnation, 2^53 - 1: the greatest that every store and every reader of JSON keeps exactly. Claims by
    /// the clock stay below it for 285,000 years.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// The incarnation with this number, or the greatest there is.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(number).min(Self::MAX)
    }

    /// A claim made now: milliseconds since 1970 by the wall clock.
    #[must_use]
    pub fn now() -> Self {
        Self::new(entropy::unix_millis())
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// The incarnation of a registration with this claim that replaces an entry with incarnation `existing`.
    #[must_use]
    pub fn succeeding(self, existing: Option<Self>) -> Self {
        existing.map_or(self, |existing| self.max(Self::new(existing.0 + 1)))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What `register` does when the id is already there and held by another owner token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnConflict {
    /// Take the id over and fence the old incarnation. A restarted process must not wait for its own TTL.
    #[default]
    TakeOver,
    /// Fail with [`AlreadyRegistered`](crate::ErrorKind::AlreadyRegistered).
    Refuse,
    /// Take the id only from a lower incarnation than the one claimed; otherwise fail with
    /// [`AlreadyRegistered`](crate::ErrorKind::AlreadyRegistered). What a recovering [`Registrar`](crate::Registrar) uses.
    Reclaim,
}

impl OnConflict {
    /// Whether a claim may replace an entry that another owner holds with incarnation `existing`.
    #[must_use]
    pub fn may_replace(self, claim: Incarnation, existing: Incarnation) -> bool {
        match self {
            Self::TakeOver => true,
            Self::Refuse => false,
            Self::Reclaim => existing < claim,
        }
    }
}

/// How to register.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegisterOptions {
    /// How long the entry is listed without a heartbeat. Default: 10 s.
    pub ttl: Ttl,
    /// Who registers; the same token again is the same attempt again. Default: drawn at random.
    pub token: OwnerToken,
    /// What to do when another owner holds the id. Default: take over.
    pub on_conflict: OnConflict,
    /// The claim: at least the incarnation to get. Default: now, in milliseconds since 1970.
    pub claim: Incarnation,
}

impl Default for RegisterOptions {
    fn default() -> Self {
        Self {
            ttl: Ttl::default(),
            token: OwnerToken::random(),
            on_conflict: OnConflict::default(),
            claim: Incarnation::now(),
        }
    }
}

impl RegisterOptions {
    /// The defaults, with a token of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the TTL.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Ttl) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets the owner token.
    #[must_use]
    pub fn with_token(mut self, token: OwnerToken) -> Self {
        self.token = token;
        self
    }

    /// Sets what happens when another owner holds the id.
    #[must_use]
    pub fn with_on_conflict(mut self, on_conflict: OnConflict) -> Self {
        self.on_conflict = on_conflict;
        self
    }

    /// Sets the claim.
    #[must_use]
    pub fn with_claim(mut self, claim: Incarnation) -> Self {
        self.claim = claim;
        self
    }
}

/// The handle by which the owner of an entry renews, changes and removes it. Every use of it is fenced: once the id
/// belongs to another incarnation, this lease touches nothing and its use fails with
/// [`LeaseLost`](crate::ErrorKind::LeaseLost).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    service: ServiceName,
    id: InstanceId,
    incarnation: Incarnation,
    key: u128,
}

impl Lease {
    /// For backends: a lease on `id`, with the backend's own name for it.
    #[must_use]
    pub fn new(service: ServiceName, id: InstanceId, incarnation: Incarnation, key: u128) -> Self {
        Self { service, id, incarnation, key }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// The instance.
    #[must_use]
    pub fn id(&self) -> &InstanceId {
        &self.id
    }

    /// The incarnation that holds it.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The backend's own name for the lease.
    #[must_use]
    pub fn key(&self) -> u128 {
        self.key
    }

    /// For backends: whether [`update`](crate::Registry::update) may publish `instance` under this lease.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) when its service or its id is not that of the lease.
    pub fn check(&self, instance: &Instance) -> Result<()> {
        let field = if *instance.service() != self.service {
            "service name"
        } else if *instance.id() != self.id {
            "instance id"
        } else {
            return Ok(());
        };
        Err(Error::invalid(field, "is not the one of the lease").with_operation(Operation::Update))
    }
}

/// What a successful [`register`](crate::Registry::register) gives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Registration {
    /// The lease: for heartbeats, updates and deregistering.
    pub lease: Lease,
    /// The revision at which the entry became visible.
    pub revision: Revision,
    /// The TTL granted: at least the one asked for.
    pub ttl: Ttl,
}

impl Registration {
    /// For backends.
    #[must_use]
    pub fn new(lease: Lease, revision: Revision, ttl: Ttl) -> Self {
        Self { lease, revision, ttl }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_huge_ttls_are_refused_and_the_field_is_named() {
        for bad in [Duration::ZERO, Duration::from_millis(999), Duration::from_secs(86_401), Duration::MAX] {
            assert_eq!(Ttl::new(bad).expect_err("out of range").field(), Some("ttl"));
        }
        assert_eq!(Ttl::new(Duration::from_micros(1_500_900)).unwrap().get(), Duration::from_millis(1500));
    }

    #[test]
    fn a_newer_claim_always_outranks_what_it_replaces() {
        let claim = Incarnation::new(100);
        assert_eq!(claim.succeeding(None).get(), 100);
        assert_eq!(claim.succeeding(Some(Incarnation::new(50))).get(), 100);
        assert_eq!(claim.succeeding(Some(Incarnation::new(100))).get(), 101);
        assert_eq!(claim.succeeding(Some(Incarnation::new(u64::MAX))), Incarnation::MAX);
    }

    #[test]
    fn only_a_lower_incarnation_can_be_reclaimed() {
        let claim = Incarnation::new(100);
        for (existing, reclaim) in [(99, true), (100, false), (101, false)] {
            let existing = Incarnation::new(existing);
            assert_eq!(OnConflict::Reclaim.may_replace(claim, existing), reclaim);
            assert!(OnConflict::TakeOver.may_replace(claim, existing));
            assert!(!OnConflict::Refuse.may_replace(claim, existing));
        }
    }

    #[test]
    fn a_token_does_not_print_itself() {
        let token = OwnerToken::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0);
        assert_eq!(format!("{token:?}"), "OwnerToken(1234…)");
    }
}
