//! The identity of the store: a random number, written once, that tells stretches of history apart.

use std::sync::{Arc, Mutex, PoisonError};

use etcd_client::proto::PbTxnOpResponse;
use etcd_client::{Client, Compare, CompareOp, GetResponse, ResponseHeader, Txn, TxnOp, TxnResponse};
use registry_core::{Epoch, Operation, OwnerToken, Result};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::pulse::Head;

#[derive(Debug)]
pub(crate) struct Store {
    key: String,
    connection: Arc<Connection>,
    /// The highest revision that etcd has answered with, and in which epoch.
    seen: Mutex<(Epoch, u64)>,
}

impl Store {
    pub(crate) fn new(key: String, connection: Arc<Connection>) -> Self {
        Self { key, connection, seen: Mutex::default() }
    }

    /// Where the identity lies.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// etcd has answered with this revision.
    pub(crate) fn saw(&self, epoch: Epoch, revision: u64) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = if seen.0 == epoch { (epoch, seen.1.max(revision)) } else { (epoch, revision) };
    }

    /// The highest revision that etcd has answered with, and in which epoch.
    pub(crate) fn seen(&self) -> (Epoch, u64) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The identity and the present revision. Linearizable; so when it is lower than what was seen before it was asked for, the store went back, and
    /// gets another identity. (That a cursor is higher proves nothing: anybody may make one up.)
    pub(crate) async fn head(&self, operation: Operation) -> Result<Head> {
        let read = |client: &Client| {
            let mut kv = client.kv_client();
            async move { kv.get(&*self.key, None).await }
        };
        let asked = Instant::now();
        let before = self.seen();
        let answer = self.connection.call(operation, read).await?;
        let epoch = answer.kvs().first().and_then(|kv| identity(kv.value()));
        let revision = header_revision(answer.header());
        match epoch {
            Some(epoch) if epoch == before.0 && revision < before.1 => self.begin_epoch(epoch).await,
            Some(epoch) => self.saw(epoch, revision),
            None => {}
        }
        Ok(Head { epoch, revision, asked })
    }

    /// Writes the identity, unless another client was quicker.
    pub(crate) async fn identify(&self, operation: Operation) -> Result<()> {
        self.write(operation, self.identifying()).await
    }

    /// Writes the identity, unless it is there.
    pub(crate) fn identifying(&self) -> Txn {
        self.writing(Compare::version(self.key.clone(), CompareOp::Equal, 0))
    }

    /// Gives the store another identity than `old`, because its history turned out to be another one: within one epoch revisions must
    /// never fall. The first client that notices does it for all.
    pub(crate) async fn begin_epoch(&self, old: Epoch) {
        let unchanged = Compare::value(self.key.clone(), CompareOp::Equal, written(old));
        if let Err(error) = self.write(Operation::Watch, self.writing(unchanged)).await {
            tracing::warn!(%error, "the store's history is another one, and its identity could not be changed");
        }
    }

    fn writing(&self, when: Compare) -> Txn {
        let identity = written(Epoch::new(OwnerToken::random().as_u128() as u64));
        Txn::new().when([when]).and_then([TxnOp::put(self.key.clone(), identity, None)])
    }

    async fn write(&self, operation: Operation, txn: Txn) -> Result<()> {
        let write = |client: &Client| {
            let (mut kv, txn) = (client.kv_client(), txn.clone());
            async move { kv.txn(txn).await }
        };
        self.connection.call(operation, write).await.map(drop)
    }
}

fn written(epoch: Epoch) -> String {
    format!("{:016x}", epoch.get())
}

/// The identity of a store, as written under its key.
pub(crate) fn identity(value: &[u8]) -> Option<Epoch> {
    let text = std::str::from_utf8(value).ok()?;
    u64::from_str_radix(text, 16).ok().map(Epoch::new)
}

/// What a transaction has read, in its order. Taken out of the answer, because the library gives copies, and a page is large.
pub(crate) fn reads(answer: TxnResponse) -> impl Iterator<Item = GetResponse> {
    answer.0.responses.into_iter().filter_map(|part| match part.response {
        Some(PbTxnOpResponse::ResponseRange(range)) => Some(GetResponse(range)),
        _ => None,
    })
}

/// The revision of the store when it answered. etcd's are positive.
pub(crate) fn header_revision(header: Option<&ResponseHeader>) -> u64 {
    header.map_or(0, |header| u64::try_from(header.revision()).unwrap_or_default())
}
