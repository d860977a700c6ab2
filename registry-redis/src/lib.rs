//! Redis backend of the service registry: one server, a primary under Sentinels, or Redis Cluster. Redis 7.0 or later, or Valkey. Tested on
//! Redis 7.0 and 8.0 and on Valkey 8.1.
//!
//! ```no_run
//! # async fn example() -> registry_core::Result<()> {
//! use registry_redis::{Material, RedisOptions, RedisRegistry, Tls};
//!
//! let sentinels = ["redis-1:26379", "redis-2:26379", "redis-3:26379"];
//! let options = RedisOptions::sentinel(sentinels, "mymaster")
//!     .with_user("registry", Material::file("/run/secrets/redis-password"))
//!     .with_tls(Tls::new().with_ca(Material::file("/etc/redis/ca.pem")));
//! let registry = RedisRegistry::new(options)?;
//! # let _ = registry;
//! # Ok(())
//! # }
//! ```
//!
//! Nothing waits for a server: what cannot be reached shows in what operations return, and in what watches tell.
//!
//! # Layout
//! Under one prefix (`registry` by default). The braces keep what belongs to one service in one slot of a cluster.
//!
//! | key | kind | what |
//! | --- | --- | --- |
//! | `<prefix>:{<service>}:head` | hash | epoch, revision and nonce of the last change, and how time went |
//! | `<prefix>:{<service>}:instances` | hash | by id: a line about the owner, then the entry as [`registry_core::codec`] writes it |
//! | `<prefix>:{<service>}:deadlines` | sorted set | by id: when its lease ends, by the server's clock |
//! | `<prefix>:{<service>}:log` | stream | one entry for each change; the name is also that of the shard channel on which it is told |
//! | `<prefix>:services` | sorted set | the names of services, and when they were last used |
//!
//! Every change is one Lua script ([`src/scripts`](https://docs.rs/crate/registry-redis/latest/source/src/scripts/)): atomic, with a revision one higher than
//! the last, and written into the log with a nonce of its own and that of its predecessor. The scripts are sent again where the server has lost them
//! (`SCRIPT FLUSH`, a restart, another node). A service without instances is removed an hour after it was last used.
//!
//! # How the promises are kept
//! - **Expiry** does not use keys with a TTL, nor events of the keyspace: deadlines are compared by the scripts with the server's clock. Every script first
//!   ends what is overdue, as a change like any other; a watch looks when the next deadline has come, so a lease is over within milliseconds of
//!   its deadline; where nobody watches, the next lookup ends it. It does not depend on what else is in the database.
//! - **A gap is seen**, always. A change is taken from the channel only when it is the next revision and names the nonce of the last; what is missing is read
//!   from the log, which must chain in the same way; and once in [`check_interval`](RedisOptions::check_interval) a watch looks whether epoch, revision
//!   and nonce are where it is. A cursor is these three. So a flush, a restore, trimming, a restart without persistence, and a fail-over that
//!   lost or used revisions again, all become a `Reset` with its cause.
//! - **Time in which nobody could renew does not count.** After a restart, a fail-over, a pause, refused writes or a step of the server's clock, deadlines
//!   are moved by as long as no script could run, so that the living are not expired in one blow. Once until the next heartbeat, so that the dead
//!   are not kept.
//! - **Fencing**: a heartbeat, an update and a deregistration compare token and incarnation, and the revision of the last acknowledged write, by which a
//!   value that was put back from a backup is noticed. A request that its caller has given up is not done any more, however late the server
//!   finds it in its sockets; an update that is overtaken by a later one is not done after it.
//! - **One connection for requests and one for being told**, for each server in use, however many services are watched.
//! - What other hands write into the hash of a service without the scripts is found by the owner's next heartbeat, by the next lookup, and by watches within some seconds (64
//!   instances every 2 s), and then told as a change. What cannot be read is skipped and counted.
//!
//! # What it takes
//! An instance of usual size takes some 460 bytes, a change in the log some 420, more with more metadata; the log of a service holds
//! [`history`](RedisOptions::history) changes and 16 MiB at most. An idle watch costs one script a second that only reads, and one every 2 s, by one of
//! all watches, that looks for what other hands wrote. At most 256 leases are ended by one script: of 10,000 that are
//! due together the last is told some 0.1 to 0.5 s late. Services of more than [`page`](RedisOptions::page) instances are read page by page, so no
//! script takes longer for it.
//!
//! # Deployments
//! What is claimed is read from the server ([`RedisRegistry::inspect`], or any operation; until then nothing is claimed): persistence, `maxmemory` and its policy,
//! replicas. Where `CONFIG` is not allowed, the least that can be is claimed.
//!
//! - **Stand-alone**: with `appendonly yes` and `appendfsync always` an acknowledged write survives a power cut; with `everysec` a `kill -9` may lose the last ones, because
//!   Redis holds them back while it syncs. Without persistence a restart loses everything; views say so, and owners register again.
//! - **Sentinel** and **Cluster** replicate without waiting: a fail-over may lose what was acknowledged last. Views then say `Reset`, and owners learn it with their next
//!   heartbeat. [`wait`](RedisOptions::wait) makes it rarer, not impossible. The Sentinels are asked once a second, so a primary that was replaced and does
//!   not know it is left within seconds.
//! - **Cluster**: while the keys of a service are half moved to another node, nothing can be done with it (`TRYAGAIN`), and a service that does not exist yet cannot be
//!   begun in a slot that is being moved. The index of services is in a slot of its own: a name is written there with the registration, which is over
//!   when both are done, and again by heartbeats every 10 s.
//! - A `maxmemory-policy` other than `noeviction` may throw out registrations: it is warned of, and no durability is claimed. When the memory is full,
//!   heartbeats, lookups, updates and leaving go on, and new instances are refused as `StoreFull`.
//! - A failed snapshot (`MISCONF`) and missing replicas (`NOREPLICAS`) refuse every write. Lookups go on, nothing expires meanwhile.
//!
//! # Limits
//! - A heartbeat that a server which stands still finds in its sockets counts for nothing if that server does not know the script yet (before the first heartbeat ever, or
//!   after `SCRIPT FLUSH`): leases that fell due meanwhile may then end, and their owners register again.
//! - A client that connects after a step of the server's clock, and comes first, notices steps above 2 s only. It goes by its own clock then, so the dead may be
//!   listed for as long as clients' clocks differ, once.
//! - A fail-over or a move to another node does not tell when it was. A service of which the last client is gone may, if it is looked at afterwards, list
//!   the dead once more, for one TTL and a second at most.
//! - An older value of the same entry that is put back by hand is noticed by its owner's next heartbeat, not by watches.
//! - Valkey 8.1.1 (Debian 13) was seen to crash when a node of a cluster is started again; the suite runs on Valkey stand-alone.
//!
//! # Users
//! Watching and lookups also end what is overdue, so they need the right to write. The least rights, beside the keys `~<prefix>:*` and the channels
//! `&<prefix>:*`:
//!
//! ```text
//! ACL SETUSER registry on >secret resetkeys ~registry:* resetchannels &registry:* -@all
//!   +evalsha +eval +time
//!   +hmget +hget +hgetall +hlen +hscan +hexists +hset +hdel
//!   +zscore +zrange +zrangebyscore +zcard +zscan +zadd +zrem
//!   +xadd +xrange +del +exists +pexpire +persist
//!   +spublish +ssubscribe +sunsubscribe +ping
//!   +info +config|get
//! ```
//!
//! Further: `+select` for another database than 0, `+wait` with [`wait`](RedisOptions::wait), `+cluster|slots +asking` in a cluster; on the Sentinels
//! `-@all +sentinel|get-master-addr-by-name`. Without `info` and `config|get` everything works, but less is claimed, and restarts are noticed less surely; without `spublish` changes
//! are told only when a watch looks. Who may not write sees what others have ended.
//!
//! Passwords, certificates and keys are a [`Material`]: given, in a file, or fetched, and read anew for every connection, so that they can be replaced without a
//! restart. What Redis refuses is [`Unauthenticated`](registry_core::ErrorKind::Unauthenticated) and not shown again for 1 s, later up to 5 s.

mod address;
mod answer;
mod call;
mod connection;
mod credentials;
mod error;
mod facts;
mod feed;
mod held;
mod hex;
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
mod sum;
mod topology;
mod transport;
mod waited;
mod write;

pub use crate::options::{AddressMap, Deployment, RedisOptions, Wait};
pub use crate::registry::RedisRegistry;
pub use registry_core::{Material, Tls, User};

/// The name of this backend in errors and logs.
pub const BACKEND: &str = "redis";
