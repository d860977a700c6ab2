//! Which services have instances: one look at each, however many instances it has.

use etcd_client::{Client, GetOptions, GetResponse};
use registry_core::{Operation, Result, ServiceName};

use crate::layout::Item;
use crate::registry::EtcdRegistry;

/// Keys in one answer, without their values: there may be many of others.
const PAGE: i64 = 1_000;

impl EtcdRegistry {
    pub(crate) async fn names(&self, prefix: &str) -> Result<Vec<ServiceName>> {
        let (start, end) = self.codec().services(prefix);
        let (mut start, end) = (start.into_bytes(), end.into_bytes());
        let mut names = Vec::new();
        while start < end {
            let options = GetOptions::new().with_range(end.clone()).with_limit(PAGE).with_keys_only();
            let ask = |client: &Client| {
                let (mut kv, from, options) = (client.kv_client(), start.clone(), options.clone());
                async move { kv.get(from, Some(options)).await }
            };
            let page = self.connection().call(Operation::Services, ask).await?;
            let Some(last) = page.kvs().last() else { break };
            let mut next = last.key().to_vec();
            next.push(0);
            let mut behind = Vec::new();
            for kv in page.kvs() {
                if kv.key() < behind.as_slice() {
                    continue;
                }
                let Some(name) = self.codec().parse(kv.key()).map(|key| key.service().clone()) else {
                    continue;
                };
                if name.as_str().starts_with(prefix) && self.lists(&name, kv.key()).await? {
                    behind = self.codec().range(&name).1.into_bytes();
                    names.push(name);
                }
            }
            start = next.max(behind);
        }
        // The order of keys is not that of names: '-' and '.' come before '/'.
        names.sort_unstable();
        Ok(names)
    }

    /// Whether a key stands for an instance that a lookup would list.
    async fn lists(&self, service: &ServiceName, key: &[u8]) -> Result<bool> {
        let found = self.get(key).await?;
        let Some(kv) = found.kvs().first() else { return Ok(false) };
        match self.malformed().read(self.codec(), service, kv) {
            Item::Entry(_, None) => Ok(true),
            Item::Entry(_, Some(beside)) => {
                let found = self.get(beside.key()).await?;
                Ok(found.kvs().first().is_some_and(|kv| beside.is(kv)))
            }
            _ => Ok(false),
        }
    }

    async fn get(&self, key: &[u8]) -> Result<GetResponse> {
        let ask = |client: &Client| {
            let mut kv = client.kv_client();
            async move { kv.get(key, None).await }
        };
        self.connection().call(Operation::Services, ask).await
    }
}
