//! A fault that is in place, with the way back.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;

use super::{Bite, Fault};
use crate::experiment::Trouble;

/// How a fault is taken back. What was seen when it was injected is in it.
pub(super) type Healing = BoxFuture<'static, Result<Bite, Trouble>>;

/// A fault that is in place.
pub(super) struct Struck {
    /// What was done.
    pub(super) what: String,
    /// The way back.
    pub(super) heal: Healing,
}

impl Struck {
    pub(super) fn new(
        what: impl Into<String>,
        heal: impl Future<Output = Result<Bite, Trouble>> + Send + 'static,
    ) -> Self {
        Self { what: what.into(), heal: Box::pin(heal) }
    }

    /// Of what the stand has nothing to do with.
    pub(super) fn nothing(bitten: bool, proof: &'static str) -> Self {
        Self::new("nothing is done to servers and links", async move { Ok(Bite::new(bitten, proof)) })
    }
}

impl Bite {
    pub(super) fn new(bitten: bool, proof: impl Into<String>) -> Self {
        Self { bitten, proof: proof.into() }
    }
}

/// The faults that are in place.
#[derive(Default)]
pub(super) struct Wounds(Mutex<BTreeMap<Fault, Healing>>);

impl Wounds {
    /// Says whether it is in place already.
    pub(super) fn has(&self, fault: Fault) -> Result<(), Trouble> {
        if self.lock().contains_key(&fault) {
            return Err(Trouble::failed(format!("{fault} was struck twice without a healing between")));
        }
        Ok(())
    }

    /// Keeps the way back, and gives what was done.
    pub(super) fn add(&self, fault: Fault, struck: Struck) -> String {
        self.lock().insert(fault, struck.heal);
        struck.what
    }

    pub(super) fn take(&self, fault: Fault) -> Result<Healing, Trouble> {
        let healing = self.lock().remove(&fault);
        healing.ok_or_else(|| Trouble::failed(format!("{fault} is healed, and was not struck")))
    }

    /// Whether nothing is wrong any more.
    pub(super) fn are_none(&self) -> bool {
        self.lock().is_empty()
    }

    /// Forgets all ways back, and with them what they hold.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Fault, Healing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
