//! Faults below the resume machine: in what a backend writes.

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::unfold;
use tokio::time::sleep;

use super::plan::{Faults, FeedFate, injected};
use crate::cursor::Cursor;
use crate::error::{Operation, Result};
use crate::name::ServiceName;
use crate::registry::{Feed, WatchSource};

/// A source whose feeds cannot always be opened, break, stall and are late, as seeded dice decide. Give it to
/// [`resume::watch`](crate::resume::watch).
#[derive(Clone, Debug)]
pub struct FaultySource<S> {
    inner: S,
    faults: Faults,
}

impl<S> FaultySource<S> {
    /// `inner`, with `faults`.
    #[must_use]
    pub fn new(inner: S, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

#[async_trait]
impl<S: WatchSource> WatchSource for FaultySource<S> {
    async fn open(&self, service: &ServiceName, from: Option<Cursor>) -> Result<Feed> {
        let feed = self.faults.befall(Operation::Watch, self.inner.open(service, from)).await?;
        let items = unfold((feed, self.faults.clone(), false), |(mut feed, faults, broken)| async move {
            if broken {
                return None;
            }
            // Drawn when the item is there, so that what is drawn does not depend on how often this is polled.
            let item = feed.next().await?;
            match faults.item() {
                FeedFate::Fine { delay } => {
                    if let Some(delay) = delay {
                        sleep(delay).await;
                    }
                    Some((item, (feed, faults, false)))
                }
                FeedFate::Cut => Some((Err(injected(Operation::Watch, "cut")), (feed, faults, true))),
                FeedFate::Stall => std::future::pending().await,
            }
        });
        Ok(Box::pin(items))
    }
}
