//! Redis: 7.0 and later, as installed, or a Valkey.
//!
//! [`Redis`] is one server. Control goes past every proxy, so it works while clients are cut off.

mod options;
mod reply;
mod server;
mod snapshot;
mod space;

pub use options::{Persistence, RedisOptions};
pub use reply::Reply;
pub use server::Redis;
pub use snapshot::Snapshot;

#[cfg(feature = "containers")]
pub(super) use reply::{answers, ask};
