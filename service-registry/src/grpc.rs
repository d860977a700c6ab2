//! gRPC on one line: from a target or a configuration to a channel or a server, with the registry connected.
//!
//! What a target is, and what a configuration may say, is documented where they are: [`Target`], and with the feature `serde`
//! `ServerConfig` and `ClientConfig` in `service_registry::tonic::config`.
//!
//! ```no_run
//! # mod user {
//! #     pub struct UsersClient<T>(pub T);
//! #     impl<T> UsersClient<T> { pub fn new(channel: T) -> Self { Self(channel) } }
//! # }
//! # use user::UsersClient;
//! # async fn example() -> service_registry::Result<()> {
//! use service_registry::grpc;
//!
//! let users = UsersClient::new(grpc::channel("discov://10.0.0.1,10.0.0.2/user.rpc").await?);
//! # Ok(())
//! # }
//! ```
//!
//! As [`connect`], nothing here waits for a registry to be up. Dropping a future leaves nothing behind.
//!
//! # One connection for all channels
//! Each of these functions [connects](connect) anew, and each channel watches on its own. A program that calls several services of one registry, or
//! one of them through several channels, is better off with a single connection and a single [`Directory`], which watches each service once:
//!
//! ```no_run
//! # async fn example() -> service_registry::Result<()> {
//! use service_registry::tonic::Channel;
//! use service_registry::{Directory, connect};
//!
//! let directory = Directory::new(connect("etcd://10.0.0.1,10.0.0.2?layout=go-zero").await?);
//! let users = Channel::new(&directory, &"user.rpc".parse()?);
//! let orders = Channel::new(&directory, &"order.rpc".parse()?);
//! # Ok(())
//! # }
//! ```
//!
//! The same with a configuration: `ClientConfig::builder` takes a view of that directory, and `ClientConfig::with_defaults` the channel that is built.
//!
//! The [guide] leads from `cargo add` to production.

use std::sync::Arc;

use registry_core::{Directory, Registry, Result, ServiceName, View};
use registry_tonic::{Channel, ChannelBuilder, FixedRegistry, Target};

use crate::connect;

#[cfg(feature = "serde")]
mod config;
pub mod guide;

#[cfg(feature = "serde")]
pub use self::config::{client, server};

/// The name of a service that is nothing but endpoints.
const DIRECT: &str = "direct";

/// A balanced channel to `target`, such as `discov://10.0.0.1:2379/user.rpc` or `redis://127.0.0.1?service=user.rpc`. Connects in the background, to a
/// registry too, which it [shares with nobody](self#one-connection-for-all-channels).
///
/// Must be called within a tokio runtime, whose tasks keep the channel up to date.
///
/// # Errors
/// [`InvalidInput`](registry_core::ErrorKind::InvalidInput), with the field `target` or `url`, for what is not a [`Target`];
/// [`Unsupported`](registry_core::ErrorKind::Unsupported) for a registry that this build does not have, with what to do about it.
pub async fn channel(target: &str) -> Result<Channel> {
    Ok(channel_builder(&target.parse()?).await?.build())
}

/// As [`channel`], for setting how the channel behaves.
///
/// # Errors
/// As [`channel`].
pub async fn channel_builder(target: &Target) -> Result<ChannelBuilder> {
    view(target).await.map(Channel::builder)
}

/// The live view of what `target` means; of fixed endpoints it is a service of the name `direct`.
///
/// # Errors
/// As [`channel`].
pub async fn view(target: &Target) -> Result<View> {
    let (registry, service) = open(target).await?;
    Ok(Directory::new(registry).view(&service))
}

async fn open(target: &Target) -> Result<(Arc<dyn Registry>, ServiceName)> {
    match target {
        Target::Direct(endpoints) => {
            let service = ServiceName::new(DIRECT)?;
            let registry = FixedRegistry::of_endpoints(&service, endpoints.iter().cloned())?;
            Ok((Arc::new(registry), service))
        }
        Target::Registry { url, service } => Ok((connect(url.as_str()).await?, service.clone())),
        _ => Err(registry_core::Error::invalid("target", "is of a kind that is not known here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Address, SCHEMES};

    #[test]
    fn every_registry_that_connect_knows_may_be_a_target() {
        for scheme in SCHEMES {
            let text = format!("{}://h/x?service=user.rpc", scheme.name);
            let Ok(Target::Registry { url, service }) = text.parse() else { panic!("{text}") };
            assert_eq!(Address::parse(url.as_str()).unwrap().scheme, scheme.name);
            assert_eq!(service.as_str(), "user.rpc");
        }
    }

    #[tokio::test]
    async fn a_target_that_is_none_is_told_before_anything_is_opened() {
        for (text, field) in
            [("k8s://ns/user:80", "target"), ("etcd:///h", "target"), ("direct:///h", "target")]
        {
            let error = channel(text).await.unwrap_err();
            assert_eq!(error.field(), Some(field), "{text}: {error}");
        }
    }

    #[cfg(feature = "memory")]
    #[tokio::test]
    async fn a_channel_follows_the_service_of_its_target() {
        let found = channel("memory://grpc-target?service=user.rpc").await.unwrap();
        assert_eq!(found.service().as_str(), "user.rpc");
        let registry = connect("memory://grpc-target").await.unwrap();
        let instance = registry_core::Instance::builder("user.rpc").endpoint("127.0.0.1:1").build().unwrap();
        registry.register(&instance, &registry_core::RegisterOptions::new()).await.unwrap();
        let within = std::time::Duration::from_secs(10);
        found.wait_until(within, |all| all.len() == 1).await.unwrap();
        let direct = channel("direct:///127.0.0.1:1,127.0.0.1:2").await.unwrap();
        direct.wait_until(within, |all| all.len() == 2).await.unwrap();
    }
}
