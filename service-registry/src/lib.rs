//! Service registration and discovery, with the backend chosen by a URL.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! use service_registry::{Directory, Instance, Registrar, RegistrarOptions};
//!
//! let registry = service_registry::connect("memory://").await?;
//!
//! // A server shows up …
//! let instance = Instance::builder("user.rpc").endpoint("10.0.0.7:8080").build()?;
//! let registrar = Registrar::start(registry.clone(), instance.clone(), RegistrarOptions::default());
//! registrar.registered().await?;
//!
//! // … and its clients know.
//! let view = Directory::new(registry).view(instance.service());
//! view.ready().await;
//! assert_eq!(view.load().entries()[0].instance(), &instance);
//! # registrar.shutdown().await
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The types most programs use are at the root; all of them are in [`core`], and each feature adds its crate:
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `etcd` | `etcd://` and `etcds://`, and the crate as `etcd`; building it needs `protoc` and its well-known types |
//! | `memory` (default) | `memory://`, and the crate as `memory` |
//! | `metrics` | metrics through the facade of the crate `metrics`: `Meter` in [`layer`](registry_core::layer); with `tonic`, of channels too |
//! | `redis` | `redis://`, `redis+sentinel://` and `redis+cluster://`, with TLS `rediss…`, and the crate as `redis` |
//! | `tonic` | gRPC: the crate as `tonic`, and `grpc`, from one line to a channel |
//! | `serde` | with `tonic`: servers and clients from a configuration in go-zero's form |
//! | `reflection` | with `tonic`: servers can tell clients what they consist of |
//! | `tls` | with `tonic`: TLS of servers and of channels |

mod address;
mod connect;
#[cfg(feature = "etcd")]
mod etcd_url;
#[cfg(feature = "tonic")]
pub mod grpc;
#[cfg(feature = "redis")]
mod redis_url;
#[cfg(any(feature = "etcd", feature = "redis"))]
mod url;
#[cfg(any(feature = "etcd", feature = "redis"))]
mod values;

pub use registry_core as core;
#[cfg(feature = "etcd")]
pub use registry_etcd as etcd;
#[cfg(feature = "memory")]
pub use registry_memory as memory;
#[cfg(feature = "redis")]
pub use registry_redis as redis;
#[cfg(feature = "tonic")]
pub use registry_tonic as tonic;

pub use registry_core::{
    Directory, Error, ErrorKind, Instance, Registrar, RegistrarOptions, Registry, RegistryExt, Result,
    ServiceName, Ttl, View,
};

pub use crate::connect::connect;

/// The code in the README is tested.
#[cfg(all(doctest, feature = "memory"))]
#[doc = include_str!("../../README.md")]
pub struct Readme;
