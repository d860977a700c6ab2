//! All instances of a service at one revision, page by page, with the identity of the store that they are of.

use etcd_client::{Client, GetOptions, GetResponse, KeyValue, Txn, TxnOp};
use registry_core::{
    Cursor, Epoch, ErrorKind, Operation, ResetCause, Result, Revision, ServiceName, Snapshot,
};

use crate::connection::Connection;
use crate::error::{failure, is_too_large};
use crate::layout::{Codec, Item, assemble};
use crate::malformed::Malformed;
use crate::proof::{Anchor, hash};
use crate::store::{Store, header_revision, identity, reads};

/// How often a load begins anew because the store was given an identity meanwhile, or another one.
const TRIES: usize = 8;

/// Reads services.
pub(crate) struct Loader<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) codec: &'a dyn Codec,
    pub(crate) store: &'a Store,
    pub(crate) malformed: &'a Malformed,
    pub(crate) page: usize,
}

/// One page, and the store it is of.
struct Page {
    epoch: Option<Epoch>,
    revision: u64,
    range: GetResponse,
}

impl Loader<'_> {
    /// Linearizable.
    pub(crate) async fn load(&self, service: &ServiceName, operation: Operation) -> Result<Snapshot> {
        for _ in 0..TRIES {
            match self.try_load(service, operation).await {
                Ok(Some(snapshot)) => return Ok(snapshot),
                Ok(None) => {}
                // The revision that was being read.
                Err(error) if error.reset_cause() == Some(ResetCause::Compacted) => {}
                Err(error) => return Err(error),
            }
        }
        Err(failure(
            ErrorKind::Unavailable,
            operation,
            "the store was replaced or compacted, again and again, while it was read",
        ))
    }

    async fn try_load(&self, service: &ServiceName, operation: Operation) -> Result<Option<Snapshot>> {
        let (start, end) = self.codec.range(service);
        let mut pages = Pages { loader: self, operation, end: end.into_bytes(), at: 0, size: self.page };
        let mut read = Reading { loader: self, service, items: Vec::new(), newest: None };
        let seen = self.store.seen();
        let mut epoch = None;
        let mut page = pages.from(start.into_bytes()).await?;
        loop {
            match (page.epoch, epoch) {
                (None, _) => {
                    self.store.identify(operation).await?;
                    return Ok(None);
                }
                // The store went back, and nobody could give it another identity yet.
                (Some(of_page), None) if of_page == seen.0 && page.revision < seen.1 => {
                    self.store.begin_epoch(of_page).await;
                    return Ok(None);
                }
                (Some(of_page), None) => (epoch, pages.at) = (Some(of_page), page.revision),
                (Some(of_page), Some(of_first)) if of_page == of_first => {}
                (Some(_), Some(_)) => return Ok(None),
            }
            let Some(last) = page.range.kvs().last().filter(|_| page.range.more()) else {
                read.all(page.range.kvs());
                break;
            };
            // The first key after the last one.
            let next = [last.key(), &[0]].concat();
            // The member looks for the next page while this one is decoded.
            let decoding = async {
                tokio::task::yield_now().await;
                read.all(page.range.kvs());
            };
            let (following, ()) = tokio::join!(pages.from(next), decoding);
            page = following?;
        }
        let (at, newest, items) = (pages.at, read.newest, read.items);
        let proof = newest.map_or(0, |newest| newest.proof(at));
        let epoch = epoch.unwrap_or_default();
        self.store.saw(epoch, at);
        let cursor = Cursor::new(epoch, Revision::new(at), proof);
        let (entries, skipped) = assemble(items);
        Ok(Some(Snapshot::new(service.clone(), cursor, entries).with_skipped(skipped)))
    }

    /// One page and the store's identity, in one transaction.
    async fn page(&self, start: &[u8], options: GetOptions, operation: Operation) -> Result<Page> {
        let ops = [TxnOp::get(start, Some(options.clone())), TxnOp::get(self.store.key(), None)];
        let txn = Txn::new().and_then(ops);
        let ask = |client: &Client| {
            let (mut kv, txn) = (client.kv_client(), txn.clone());
            async move { kv.txn(txn).await }
        };
        let answer = self.connection.call(operation, ask).await?;
        let revision = header_revision(answer.header());
        let mut parts = reads(answer);
        let (Some(range), Some(store)) = (parts.next(), parts.next()) else {
            return Err(failure(
                ErrorKind::Corrupt,
                operation,
                "etcd answered something else than was asked",
            ));
        };
        let epoch = store.kvs().first().and_then(|kv| identity(kv.value()));
        Ok(Page { epoch, revision, range })
    }
}

/// The pages of one range at one revision.
struct Pages<'a> {
    loader: &'a Loader<'a>,
    operation: Operation,
    end: Vec<u8>,
    /// The revision; 0 until the first page tells it.
    at: u64,
    size: usize,
}

impl Pages<'_> {
    /// The page that begins with the key `start`, smaller ones from then on if that was too large for an answer.
    async fn from(&mut self, start: Vec<u8>) -> Result<Page> {
        loop {
            let options = GetOptions::new()
                .with_range(self.end.clone())
                .with_limit(i64::try_from(self.size).unwrap_or(i64::MAX))
                .with_revision(i64::try_from(self.at).unwrap_or(i64::MAX));
            match self.loader.page(&start, options, self.operation).await {
                Err(error) if is_too_large(&error) && self.size > 1 => self.size = (self.size / 4).max(1),
                page => return page,
            }
        }
    }
}

/// What was read so far.
struct Reading<'a> {
    loader: &'a Loader<'a>,
    service: &'a ServiceName,
    items: Vec<Item>,
    newest: Option<Anchor>,
}

impl Reading<'_> {
    fn all(&mut self, kvs: &[KeyValue]) {
        for kv in kvs {
            match self.loader.malformed.read(self.loader.codec, self.service, kv) {
                Item::Other => {}
                item => self.items.push(item),
            }
        }
        // Only the newest is hashed. Backwards, since `max_by_key` takes the last of several, and the first of those of one transaction is meant.
        let Some(kv) = kvs.iter().rev().max_by_key(|kv| kv.mod_revision()) else { return };
        let modified = u64::try_from(kv.mod_revision()).unwrap_or_default();
        if self.newest.is_none_or(|newest| newest.revision < modified) {
            let hash = hash(modified, kv.key(), kv.value());
            self.newest = Some(Anchor { revision: modified, hash, deletion: false });
        }
    }
}
