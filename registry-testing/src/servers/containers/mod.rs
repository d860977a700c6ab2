//! The same servers in containers, by the crate `testcontainers`.
//!
//! * [`EtcdContainer`]: one etcd.
//! * [`RedisContainer`]: a stand-alone Redis; also one server of a [`RedisSentinel`](super::redis::RedisSentinel) or a
//!   [`RedisCluster`](super::redis::RedisCluster), by their `start_in_containers`.
//! * [`Container`]: what they have in common; how it is killed, paused, started again and wiped.
//!
//! It takes a Docker engine on this machine. Nothing is pulled: `make images` builds small images out of the installed programs, and an image
//! that was pulled by hand does as well, named by the options or by an environment variable. An engine that does not answer and an image
//! that is not there are errors that say what to do, never a skip.
//!
//! One port of 127.0.0.1 is published, and it stays the same over all lives of the server. The servers of a group, which tell each other and
//! their clients where they are, have no network of their own but listen on 127.0.0.1 themselves.

mod container;
mod engine;
mod etcd;
mod options;
mod redis;
mod redis_groups;

pub use container::Container;
pub use etcd::EtcdContainer;
pub use options::ContainerOptions;
pub use redis::RedisContainer;
