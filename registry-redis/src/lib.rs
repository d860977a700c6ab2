//! Redis backend of the service registry.

mod address;
mod answer;
mod call;
mod connection;
mod credentials;
mod error;
mod facts;
mod feed;
mod held;
mod layout;
mod link;
mod load;
mod log;
mod malformed;
mod member;
mod names;
mod options;
mod push;
mod registry;
mod script;
mod source;
mod store;
mod topology;
mod transport;
mod write;

pub use crate::options::{AddressMap, Deployment, RedisOptions, Wait};
pub use crate::registry::RedisRegistry;
pub use registry_core::{Material, Tls, User};

/// The name of this backend in errors and logs.
pub const BACKEND: &str = "redis";
