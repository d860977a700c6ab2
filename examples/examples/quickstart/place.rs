//! The registry of a run: which one, under which name the service is in it, and how it is taken away.

use std::sync::Arc;
use std::time::Duration;

use service_registry::core::OwnerToken;
use service_registry::memory::MemoryRegistry;
use service_registry::{ErrorKind, Registry, ServiceName};
use tokio::time::timeout;

use crate::Failure;
use crate::users::SERVICE;

/// How long a registry may take to answer the first question.
const REACH: Duration = Duration::from_secs(5);

pub(crate) struct Place {
    /// `user.rpc`; on a registry that others use too, a name of this run's own.
    pub(crate) service: ServiceName,
    /// The URL as it may be shown.
    pub(crate) shown: String,
    way: Way,
}

/// How the registry is reached.
enum Way {
    Memory(MemoryRegistry),
    /// By a URL that leads through wires of ours.
    #[cfg(any(feature = "etcd", feature = "redis"))]
    Wired(crate::wires::Wires, String),
    /// By the URL that was given.
    Straight(String),
}

impl Place {
    /// Fails within [`REACH`] where there is no registry that answers.
    pub(crate) async fn open(url: &str) -> Result<Self, Failure> {
        // The facade knows what a URL may be.
        let registry = service_registry::connect(url).await.map_err(|error| {
            let scheme = url.to_ascii_lowercase();
            match ["etcd", "redis"].into_iter().find(|feature| scheme.starts_with(feature)) {
                Some(feature) if error.kind() == ErrorKind::Unsupported => {
                    let how = "--example quickstart -- --registry URL";
                    format!("{error}; here: cargo run --features {feature} {how}").into()
                }
                _ => Failure::from(error),
            }
        })?;
        let shown = shown(url);
        if url.to_ascii_lowercase().starts_with("memory:") {
            return Ok(Self { service: SERVICE.parse()?, shown, way: Way::Memory(MemoryRegistry::new()) });
        }
        let number = OwnerToken::random().as_u128() as u32;
        let service: ServiceName = format!("{SERVICE}-{number:08x}").parse()?;
        match timeout(REACH, registry.lookup(&service)).await {
            Ok(Ok(_)) => Ok(Self { service, shown, way: way(url).await? }),
            Ok(Err(error)) => Err(format!("{shown} cannot be used: {error}").into()),
            Err(_) => Err(format!("{shown} gave no answer within {REACH:?}").into()),
        }
    }

    /// The registry, as a process of its own would open it: over connections that no other process can end.
    pub(crate) async fn connect(&self) -> Result<Arc<dyn Registry>, Failure> {
        match &self.way {
            // One for all: an outage is one client's.
            Way::Memory(registry) => Ok(Arc::new(registry.clone())),
            #[cfg(any(feature = "etcd", feature = "redis"))]
            Way::Wired(_, url) => Ok(service_registry::connect(url).await?),
            Way::Straight(url) => Ok(service_registry::connect(url).await?),
        }
    }

    /// Takes the registry away from all who have opened it here, and says what was done; `None` where that is impossible.
    pub(crate) async fn take_away(&self) -> Option<&'static str> {
        match &self.way {
            Way::Memory(registry) => {
                registry.controls().outage();
                Some("the registry is taken away")
            }
            #[cfg(any(feature = "etcd", feature = "redis"))]
            Way::Wired(wires, _) => {
                wires.cut().await;
                Some("the wires to the registry are cut")
            }
            Way::Straight(_) => None,
        }
    }

    pub(crate) async fn give_back(&self) {
        match &self.way {
            Way::Memory(registry) => registry.controls().heal(),
            #[cfg(any(feature = "etcd", feature = "redis"))]
            Way::Wired(wires, _) => wires.mend().await,
            Way::Straight(_) => {}
        }
    }
}

#[cfg(any(feature = "etcd", feature = "redis"))]
async fn way(url: &str) -> Result<Way, Failure> {
    let wired = crate::wires::Wires::lay(url).await?;
    Ok(wired.map_or_else(|| Way::Straight(url.to_owned()), |(wires, url)| Way::Wired(wires, url)))
}

#[cfg(not(any(feature = "etcd", feature = "redis")))]
#[allow(clippy::unused_async)]
async fn way(url: &str) -> Result<Way, Failure> {
    Ok(Way::Straight(url.to_owned()))
}

/// A URL that the facade has accepted, without its password.
fn shown(url: &str) -> String {
    let hide = || {
        let (scheme, rest) = url.split_once("://")?;
        let (login, rest) = rest.split_once('@')?;
        let (user, _) = login.split_once(':')?;
        Some(format!("{scheme}://{user}:…@{rest}"))
    };
    hide().unwrap_or_else(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        for (url, expected) in [
            ("etcd://root:sec:ret@h:1,i/p?page=1", "etcd://root:…@h:1,i/p?page=1"),
            ("etcd://root@h?password-file=/p", "etcd://root@h?password-file=/p"),
            ("etcds://[::1]:2379", "etcds://[::1]:2379"),
            ("redis://:secret@h/1", "redis://:…@h/1"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }
}
