//! gRPC with a service registry: clients that find their servers, servers that register themselves.
//!
//! - [`Channel`] is what a generated tonic client calls through. It follows one service of a
//!   [`Directory`](registry_core::Directory), keeps connections to its instances ahead of traffic, and gives each call to the less
//!   loaded of two.
//! - [`Server`] binds, works out the address to advertise, serves, and keeps itself registered while it serves and is healthy. On SIGTERM it
//!   drains: no call fails because a server was stopped in order. It tells its health by the standard gRPC service; with the feature
//!   `reflection` it can also tell what it consists of.
//!
//! ```no_run
//! # mod user {
//! #     pub struct UserClient<T>(pub T);
//! #     impl<T> UserClient<T> { pub fn new(channel: T) -> Self { Self(channel) } }
//! # }
//! # use user::UserClient;
//! # async fn example(registry: std::sync::Arc<dyn registry_core::Registry>, router: tonic::transport::server::Router)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! use registry_core::Directory;
//! use registry_tonic::{Channel, Server};
//!
//! // The server. `router` is what `tonic::transport::Server::builder().add_service(…)` gives.
//! let server = Server::builder(registry.clone(), "user.rpc").listen("0.0.0.0:0").bind().await?;
//! tokio::spawn(server.serve(router));
//!
//! // The client.
//! let directory = Directory::new(registry);
//! let channel = Channel::new(&directory, &"user.rpc".parse()?);
//! let client = UserClient::new(channel);
//! # Ok(())
//! # }
//! ```
//!
//! - [`Target`] is whom to call on one line, in go-zero's forms and in ours; [`FixedRegistry`] is for calling without a registry. With the
//!   feature `serde`, `config` has the configuration of both sides as go-zero's YAML has it.
//!
//! Neither compiles protocol buffers; what is generated from them is the user's. The guide, `service_registry::grpc::guide`, leads from `cargo add` to
//! production.

mod blocking;
mod channel;
#[cfg(feature = "serde")]
pub mod config;
mod fixed;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals {
    pub use crate::channel::internals::{Picked, Picking};
}
mod server;
mod target;
mod text;
#[cfg(feature = "tls")]
mod tls;

pub use crate::channel::{
    CallError, CallErrorKind, Channel, ChannelBuilder, Connect, Connectivity, Ejection, EndpointStatus,
    Policy, ResponseBody, ResponseFuture, Retry, Stream, WaitForReady,
};
pub use crate::fixed::FixedRegistry;
#[cfg(feature = "tls")]
pub use crate::server::ServerTls;
pub use crate::server::{
    HealthCheck, Mode, NetworkInterface, Server, ServerBuilder, ServerError, ServerHandle, ServerState, Stop,
    advertised_host,
};
pub use crate::target::{RegistryUrl, Target};
