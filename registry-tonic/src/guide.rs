//! From `cargo add` to production.
//!
//! # 1. Dependencies
//! ```sh
//! cargo add service-registry --features tonic,etcd      # or redis; etcd needs protoc to build
//! cargo add tonic tonic-prost prost
//! ```
//! `service_registry::tonic` is this crate. Depend on `registry-tonic` alone, and hand it any `Arc<dyn Registry>`, if you would rather not
//! have the facade.
//!
//! # 2. A server
//! ```no_run
//! # async fn example(registry: std::sync::Arc<dyn registry_core::Registry>, router: tonic::transport::server::Router)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! use registry_tonic::{HealthCheck, Server};
//!
//! let server = Server::builder(registry, "user.rpc")
//!     .listen("0.0.0.0:8080")
//!     .advertise_from("10.0.0.0/8")
//!     .health_of("user.Users")
//!     .health_check(HealthCheck::new(async || std::io::Result::Ok(())))
//!     .bind()
//!     .await?;
//! // It serves until SIGTERM, and returns once it has stopped in order.
//! server.serve(router).await?;
//! # Ok(())
//! # }
//! ```
//! - **What is advertised** must be an address that clients reach. It is worked out from `POD_IP` and the interfaces; on machines with several networks
//!   say which, by [`advertise`](crate::ServerBuilder::advertise) or [`advertise_from`](crate::ServerBuilder::advertise_from).
//! - **The future of `serve` is the life of the server**: let the program end when it does. [`Fenced`](crate::ServerError::Fenced) means that
//!   another process has the same id: two processes advertise one address.
//! - **A registry that is down** keeps it neither from serving nor from stopping; [`ServerHandle`](crate::ServerHandle) tells how it stands.
//!
//! # 3. A client
//! ```no_run
//! # mod user {
//! #     pub struct UsersClient<T>(pub T);
//! #     impl<T> UsersClient<T> { pub fn new(channel: T) -> Self { Self(channel) } }
//! # }
//! # use user::UsersClient;
//! # fn example(registry: std::sync::Arc<dyn registry_core::Registry>) -> registry_core::Result<()> {
//! use registry_core::Directory;
//! use registry_tonic::Channel;
//!
//! // One directory for a process: it watches each service once, however many channels there are.
//! let directory = Directory::new(registry);
//! let users = UsersClient::new(Channel::new(&directory, &"user.rpc".parse()?));
//! # Ok(())
//! # }
//! ```
//! Give calls a deadline (`Request::set_timeout`): only a deadline tells a server that hangs from one that works for long, and lets the channel
//! eject it. For start-up order wait with [`Channel::ready`](crate::Channel::ready), or do not: calls wait 2 s for the first endpoint.
//!
//! # 4. Rolling restarts
//! On SIGTERM a server says so to the health service and to the registry, serves on for [the grace](crate::ServerBuilder::drain_grace) (3 s) or
//! until nobody is connected, deregisters, and finishes what is in flight within [a bound](crate::ServerBuilder::finish_within) (10 s). Give it
//! that much before SIGKILL, and twice the registrar's [`shutdown_timeout`](registry_core::RegistrarOptions::shutdown_timeout) (5 s), which it needs when the
//! registry is away: by default 3 + 2 · 5 + 10 = 23 s, so on Kubernetes a `terminationGracePeriodSeconds` of 25.
//!
//! Calls do not fail by a restart in order: what the server did not take any more goes to another one. Except:
//! - A request that cannot be sent again, because it is a stream that still goes on or is longer than 64 KiB, fails with `UNAVAILABLE` if it reaches the
//!   server after that has said goodbye. That takes a client that has not heard of the drain for the whole grace, or has nobody else to call.
//! - What takes longer than the bound is cut off, streams above all. End them on the server when it
//!   [drains](crate::ServerHandle::wait_until_state), or let clients begin them anew.
//!
//! # 5. When servers fail
//! | what happens | what the channel does |
//! | --- | --- |
//! | the process dies | its connection ends; calls in flight fail with `UNAVAILABLE`, and no other is sent there |
//! | the network swallows everything | half a second after an answer was due and nothing was heard, calls go elsewhere; it connects anew, with back-off, until that works |
//! | the server answers `UNAVAILABLE`, or not in time | ejected after five calls in a row, tried again after 1 s to 30 s; at least half of all stay |
//! | the server is slow | gets fewer calls, from the first answer that is late on |
//! | the registry is away | goes on with the servers it knows |
//! | there is nobody to call | a call waits as long as [`wait_for_ready`](crate::ChannelBuilder::wait_for_ready) says (2 s), or [`WaitForReady`](crate::WaitForReady) on it, and says why |
//!
//! For methods that may be done twice, [`Retry`](crate::Retry) sends a failed call again, within a budget. Without it nothing is repeated that may have been done.
//!
//! # 6. Zones, weights, keys
//! Servers say their [`zone`](crate::ServerBuilder::zone) and [`weight`](crate::ServerBuilder::weight), clients
//! [which zone they prefer](crate::ChannelBuilder::prefer_zone). A weight of 0 takes a server out without stopping it. For caches,
//! [`Policy::ConsistentHash`](crate::Policy::ConsistentHash) sends the same key to the same server.
//!
//! # 7. TLS
//! With the feature `tls`: [`ChannelBuilder::tls`](crate::ChannelBuilder), which takes a [`registry_core::Tls`]. Certificates are read anew for
//! connections, at most once a second. Servers take tonic's `ServerTlsConfig`, and
//! [`advertise_protocol("grpcs")`](crate::ServerBuilder::advertise_protocol). Another way to reach servers is a [`Connect`](crate::Connect) of your own.
//!
//! # 8. What to watch
//! - Spans `grpc.call` with `service`, `method`, `peer`, `attempt` and `code`, at the level INFO, and an event at WARN for each ejection.
//! - [`Channel::endpoints`](crate::Channel::endpoints): for each endpoint whether it can be called and why not, calls, errors, ejections, calls in flight, and
//!   the latency expected. With the feature `metrics`, [`ChannelBuilder::metered`](crate::ChannelBuilder) tells a recorder the sums over all endpoints,
//!   and `ChannelBuilder::metered_by_endpoint`, in its place, those of each by itself; [`registry_core::layer`]'s `Meter` does the same for the
//!   registry, views and registrars.
//! - [`Channel::view`](crate::Channel::view): how old what it knows is. A view that has been stale for minutes is worth an alarm, though calls go on.
//!
//! # 9. From go-zero
//! A [`Target`](crate::Target) takes go-zero's `discov://`, `etcd:///` and `direct:///`. With the feature `serde`, `config` reads go-zero's YAML as it is; what cannot be
//! meant here is an error that names the field. One thing is different: go-zero's `Timeout` of a client (2 s by default) spares streams, and here it ends
//! them too, since a channel cannot tell one from a single answer; give streams a deadline of their own
//! (`Request::set_timeout`), or call them through `CallDefaults::inner`. Servers and clients of both kinds find each other on one etcd.
//!
//! # 10. Tests
//! `memory://name` is a registry within a process: start servers on port 0 and call them, with no etcd and no Redis.
