//! The same servers in containers, by the crate `testcontainers`.
//!
//! * [`EtcdContainer`]: one etcd.
//! * [`RedisContainer`]: a stand-alone Redis.
//! * [`Container`]: what they have in common; how it is killed, paused, started again and wiped.
//!
//! It takes a Docker engine on this machine. Nothing is pulled: `make images` builds small images out of the installed programs, and an image
//! that was pulled by hand does as well, named by the options or by an environment variable. An engine that does not answer and an image
//! that is not there are errors that say what to do, never a skip.
//!
//! One port of 127.0.0.1 is published, and it stays the same over all lives of the server.

mod container;
mod engine;
mod etcd;
mod options;
mod redis;

pub use container::Container;
pub use etcd::EtcdContainer;
pub use options::ContainerOptions;
pub use redis::RedisContainer;
