//! From a configuration to a client or a server.

use registry_core::{Directory, Error, ErrorKind, Result};
use registry_tonic::config::{CallDefaults, ClientConfig, ServerConfig};
use registry_tonic::{Channel, ServerBuilder};

use super::open;

/// A client as `config` has it: a channel whose calls have its `Timeout`, `App` and `Token`. Give it to a generated client. With
/// `NonBlock: false` this waits until a server can be called, for at most 3 s. Its connection to the registry it
/// [shares with nobody](super#one-connection-for-all-channels).
///
/// `Timeout` holds for streams as well, since a channel cannot tell them apart: call methods that stream for longer through
/// [`inner`](CallDefaults::inner), or with a deadline of their own.
///
/// Must be called within a tokio runtime, whose tasks keep the channel up to date.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput), with the field and the reason; [`Unsupported`](ErrorKind::Unsupported) for a registry that this
/// build does not have; with `NonBlock: false` [`Unavailable`](ErrorKind::Unavailable) when no server could be called within 3 s.
pub async fn client(config: &ClientConfig) -> Result<CallDefaults<Channel>> {
    config.check()?;
    let target = config.target()?;
    let (registry, service) = open(&target).await.map_err(|error| of_config(error, config.place()))?;
    let channel = config.builder(Directory::new(registry).view(&service))?.build();
    config.until_ready(&channel).await?;
    config.with_defaults(channel)
}

/// A server as `config` has it, to be changed further, bound and served. Waits for nothing.
///
/// `Timeout` and `MethodTimeouts` hold with `tonic::transport::Server::builder().layer(config.call_timeouts()?)`, where the server of tonic
/// is made whose router is then [served](registry_tonic::Server::serve).
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput), with the field and the reason; [`Unsupported`](ErrorKind::Unsupported) for a registry that this
/// build does not have.
pub async fn server(config: &ServerConfig) -> Result<ServerBuilder> {
    config.check()?;
    let registry = match (open(&config.target()?).await, config.is_listed()) {
        (Ok((registry, _)), _) => registry,
        (Err(error), true) => return Err(of_config(error, config.place())),
        (Err(_), false) => return Err(missing()),
    };
    config.builder(registry)
}

fn missing() -> Error {
    Error::invalid(
        "Etcd",
        "is missing, and so is Registry; without them the feature `memory` of the crate service-registry is needed",
    )
}

/// Who wrote a configuration knows nothing of a URL.
fn of_config(error: Error, place: &'static str) -> Error {
    if error.kind() != ErrorKind::InvalidInput {
        return error;
    }
    Error::invalid(place, error.message().to_owned())
}
