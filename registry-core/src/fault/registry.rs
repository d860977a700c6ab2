//! Faults above the resume machine: on every operation.

use std::future::Future;

use super::plan::Faults;
use crate::error::Result;
use crate::layer::{Answer, Call, Layer, Layered};

/// A registry whose operations fail as seeded dice decide. Watches pass through untouched; for faults in them see
/// [`FaultySource`](super::FaultySource).
pub type Faulty<R> = Layered<R, Faults>;

impl Layer for Faults {
    async fn around<T: Answer>(
        &self,
        call: Call<'_>,
        answer: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.befall(call.operation(), answer).await
    }
}
