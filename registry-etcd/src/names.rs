//! Which services have instances: one look at each, however many instances it has.

use etcd_client::{Client, GetOptions};
use registry_core::{Operation, Result, ServiceName};

use crate::layout::Item;
use crate::registry::EtcdRegistry;

/// Keys in one answer: enough for a store full of keys of others, few enough for instances of the greatest size.
const PAGE: i64 = 32;

impl EtcdRegistry {
    pub(crate) async fn names(&self, prefix: &str) -> Result<Vec<ServiceName>> {
        let (start, end) = self.codec().services(prefix);
        let (mut start, end) = (start.into_bytes(), end.into_bytes());
        let mut names = Vec::new();
        while start < end {
            let options = GetOptions::new().with_range(end.clone()).with_limit(PAGE);
            let ask = |mut client: Client| {
                let (from, options) = (start.clone(), options.clone());
                async move { client.get(from, Some(options)).await }
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
                if name.as_str().starts_with(prefix) && self.lists(&name, kv).await? {
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
    async fn lists(&self, service: &ServiceName, kv: &etcd_client::KeyValue) -> Result<bool> {
        match self.malformed().read(self.codec(), service, kv) {
            Item::Entry(_, None) => Ok(true),
            Item::Entry(_, Some(beside)) => {
                let ask = |mut client: Client| {
                    let key = beside.key().to_vec();
                    async move { client.get(key, None).await }
                };
                let found = self.connection().call(Operation::Services, ask).await?;
                Ok(found.kvs().first().is_some_and(|kv| beside.is(kv)))
            }
            _ => Ok(false),
        }
    }
}
