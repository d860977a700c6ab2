//! From a URL to a registry.

use std::sync::Arc;

use registry_core::{Error, ErrorKind, Operation, Registry, Result};

use crate::address::{Address, Backend};

/// The registry at `url`. Waits for no server: a registry that cannot be reached shows in what its operations return.
///
/// | URL | registry |
/// | --- | --- |
/// | `memory://` | a new, empty store in this process |
/// | `memory://name` | the store of that name in this process: each call gives another client of it, and it lives as long as the process |
/// | `etcd://`, `etcds://` (TLS) | not in this version |
/// | `redis://`, `rediss://` (TLS), `redis+sentinel://`, `redis+cluster://` | not in this version |
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput) for what is not such a URL; [`Unsupported`](ErrorKind::Unsupported) for a backend that
/// this build does not have, with what to do about it.
// Async because other backends need a runtime when they are made, even though none of them waits.
#[allow(clippy::unused_async)]
pub async fn connect(url: &str) -> Result<Arc<dyn Registry>> {
    let address = Address::parse(url)?;
    match address.backend {
        Backend::Memory => memory(&address),
        Backend::Etcd => Err(unsupported(
            &address,
            "this build has no etcd backend: there is none in this version yet; use memory:// meanwhile",
        )),
        Backend::Redis => Err(unsupported(
            &address,
            "this build has no Redis backend: there is none in this version yet; use memory:// meanwhile",
        )),
    }
}

fn unsupported(address: &Address<'_>, why: &str) -> Error {
    let message = format!("{}:// is known, but {why}", address.scheme);
    Error::new(ErrorKind::Unsupported, Operation::Connect, message)
}

#[cfg(feature = "memory")]
fn memory(address: &Address<'_>) -> Result<Arc<dyn Registry>> {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError};

    use registry_memory::MemoryRegistry;

    static STORES: Mutex<BTreeMap<String, MemoryRegistry>> = Mutex::new(BTreeMap::new());

    let Some(name) = address.store_name()? else { return Ok(Arc::new(MemoryRegistry::new())) };
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Arc::new(stores.entry(name.to_owned()).or_default().client()))
}

#[cfg(not(feature = "memory"))]
fn memory(address: &Address<'_>) -> Result<Arc<dyn Registry>> {
    address.store_name()?;
    Err(unsupported(
        address,
        "this build has no memory backend: enable the feature `memory` of the crate service-registry",
    ))
}
