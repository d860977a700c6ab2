//! Redis: 7.0 and later, as installed, or a Valkey; [`redis_8`] and [`valkey_8_1`] find two more installations.
//!
//! [`Redis`] is one server; [`RedisSentinel`] is a primary with its replicas and the sentinels that watch over them; [`RedisCluster`] is several
//! primaries that share the keys, each with its replicas. The servers of both are [`Nodes`]. Control goes past every proxy, so it works while clients are cut off.

mod clock;
mod cluster;
mod installation;
mod network;
mod node;
mod nodes;
mod options;
mod reply;
mod role;
mod sentinel;
mod server;
mod snapshot;
mod space;

pub use cluster::{ClusterOptions, Failover, Migration, RedisCluster};
pub use installation::{redis_8, valkey_8_1};
pub use node::Node;
pub use nodes::Nodes;
pub use options::{Persistence, RedisOptions};
pub use reply::Reply;
pub use sentinel::{RedisSentinel, SentinelOptions};
pub use server::Redis;
pub use snapshot::Snapshot;

#[cfg(feature = "containers")]
pub(super) use {
    node::Launch,
    reply::{answers, ask},
    role::Role,
};
