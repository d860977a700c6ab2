//! All instances of a service at one revision, page by page, with the identity of the store that they are of.

use etcd_client::{GetOptions, GetResponse, Txn, TxnOp, TxnOpResponse};
use registry_core::{
    Cursor, Epoch, ErrorKind, Operation, ResetCause, Result, Revision, ServiceName, Snapshot,
};

use crate::connection::Connection;
use crate::error::{failure, is_too_large};
use crate::layout::{Codec, Item, assemble};
use crate::malformed::Malformed;
use crate::proof::{Anchor, hash};
use crate::store::{Store, header_revision, identity};

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
        let (mut start, end) = (start.into_bytes(), end.into_bytes());
        let mut items = Vec::new();
        let mut newest: Option<Anchor> = None;
        let seen = self.store.seen();
        let (mut at, mut epoch) = (0, None);
        let mut size = self.page;
        loop {
            let options = GetOptions::new()
                .with_range(end.clone())
                .with_limit(i64::try_from(size).unwrap_or(i64::MAX))
                .with_revision(i64::try_from(at).unwrap_or(i64::MAX));
            let page = match self.page(&start, options, operation).await {
                Err(error) if is_too_large(&error) && size > 1 => {
                    size = (size / 4).max(1);
                    continue;
                }
                page => page?,
            };
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
                (Some(of_page), None) => (epoch, at) = (Some(of_page), page.revision),
                (Some(of_page), Some(of_first)) if of_page == of_first => {}
                (Some(_), Some(_)) => return Ok(None),
            }
            for kv in page.range.kvs() {
                let modified = u64::try_from(kv.mod_revision()).unwrap_or_default();
                if newest.is_none_or(|newest| newest.revision < modified) {
                    newest = Some(Anchor {
                        revision: modified,
                        hash: hash(modified, kv.key(), kv.value()),
                        deletion: false,
                    });
                }
                match self.malformed.read(self.codec, service, kv) {
                    Item::Other => {}
                    item => items.push(item),
                }
            }
            match page.range.kvs().last().filter(|_| page.range.more()) {
                // The first key after the last one.
                Some(kv) => {
                    start = kv.key().to_vec();
                    start.push(0);
                }
                None => break,
            }
        }
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
        let ask = |mut client: etcd_client::Client| {
            let txn = txn.clone();
            async move { client.txn(txn).await }
        };
        let answer = self.connection.call(operation, ask).await?;
        let mut parts = answer.op_responses().into_iter().filter_map(|part| match part {
            TxnOpResponse::Get(part) => Some(part),
            _ => None,
        });
        let (Some(range), Some(store)) = (parts.next(), parts.next()) else {
            return Err(failure(
                ErrorKind::Corrupt,
                operation,
                "etcd answered something else than was asked",
            ));
        };
        let epoch = store.kvs().first().and_then(|kv| identity(kv.value()));
        Ok(Page { epoch, revision: header_revision(answer.header()), range })
    }
}
