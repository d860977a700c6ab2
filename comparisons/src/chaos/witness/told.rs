//! What a watch of the registry says, where nothing else can be asked past its clients.

use futures_util::StreamExt;
use tokio::sync::watch;

use super::ledger::Ledger;
use crate::chaos::client::Hearing;
use crate::chaos::history::Item;

/// Follows a watch until it is over, and then until nothing more was told for a moment.
pub(super) async fn follow(mut hearing: Hearing, mut ledger: Ledger, mut over: watch::Receiver<bool>) {
    loop {
        let heard = tokio::select! {
            biased;
            heard = hearing.next() => heard,
            _ = over.wait_for(|over| *over) => return,
        };
        match heard.map(|heard| heard.item) {
            Some(Item::Reset { position: Some(position), gap, listed }) => {
                if let Some(gap) = gap {
                    ledger.gap(&gap);
                }
                ledger.list(position, listed);
            }
            Some(Item::Changes { position: Some(position), changes }) => {
                for change in changes {
                    ledger.change(position.revision, change);
                }
            }
            Some(_) => {}
            None => return ledger.gap("the watch of the witness ended"),
        }
    }
}
