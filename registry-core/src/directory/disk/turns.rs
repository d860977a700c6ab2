//! One at a time under each name.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, Weak};

use tokio::sync::Mutex;

/// A lock for every name that is in use, with what its last holder left there.
#[derive(Debug)]
pub(super) struct Turns<T>(std::sync::Mutex<HashMap<String, Weak<Mutex<T>>>>);

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self(std::sync::Mutex::default())
    }
}

impl<T: Default> Turns<T> {
    /// The lock of `name`, the same for all who have it at one time. What was left there is forgotten once nobody has it.
    pub(super) fn of(&self, name: &str) -> Arc<Mutex<T>> {
        // Nothing that is done under the lock leaves the map half changed.
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(name).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(name.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_locked_alone_and_forgotten_when_nobody_has_it() {
        let turns = Turns::<u32>::default();
        let one = turns.of("one");
        *one.lock().await = 1;
        let held = one.clone().lock_owned().await;
        assert!(turns.of("one").try_lock().is_err() && turns.of("two").try_lock().is_ok());
        drop(held);
        assert_eq!(*turns.of("one").lock().await, 1);
        drop(one);
        assert_eq!(*turns.of("one").lock().await, 0);
        let _three = turns.of("three");
        assert_eq!(turns.0.lock().unwrap().len(), 1);
    }
}
