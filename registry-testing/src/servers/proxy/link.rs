//! A proxy as what the conformance suite takes a client's connection away with.

use async_trait::async_trait;

use super::{Faults, Proxy};
use crate::conformance::Link;

/// For a client that connects to the proxy.
#[async_trait]
impl Link for Proxy {
    async fn cut(&self) {
        // First, so that nobody slips in between.
        self.set(Faults::refusing()).await;
        Proxy::cut(self).await;
    }

    async fn black_hole(&self) {
        self.set(Faults::black_hole()).await;
    }

    async fn heal(&self) {
        Proxy::heal(self).await;
    }
}
