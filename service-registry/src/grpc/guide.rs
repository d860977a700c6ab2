//! From `cargo add` to production.
//!
//! # 1. Dependencies
//! The crates are not published yet. With a clone of their repository beside your own:
//! ```sh
//! cargo add service-registry --path ../service-registry/service-registry --features tonic,etcd   # or redis; etcd needs protoc to build
//! cargo add tokio --features macros,rt-multi-thread
//! cargo add tonic@0.14 tonic-prost@0.14 prost@0.14
//! cargo add --build tonic-prost-build@0.14
//! ```
//! | feature | for |
//! | --- | --- |
//! | `tonic` | all that this page shows |
//! | `etcd`, `redis` | registries there; without them there is `memory://`, which is one process |
//! | `serde` | [go-zero's YAML](#9-from-go-zero), and a crate that reads it: `cargo add yaml_serde` |
//! | `tls`, `metrics`, `reflection` | TLS of both sides, metrics of channels, servers that tell what they consist of |
//!
//! What a service does is in `proto/user.proto`:
//! ```proto
//! syntax = "proto3";
//! package user;
//!
//! service Users {
//!   rpc Find(FindRequest) returns (FindReply);
//! }
//! message FindRequest {
//!   uint64 id = 1;
//! }
//! message FindReply {
//!   string name = 1;
//!   string served_by = 2;
//! }
//! ```
//! `build.rs` makes Rust of it. This needs `protoc`; the examples do without, by [protox](https://docs.rs/protox):
//! ```ignore
//! fn main() -> std::io::Result<()> {
//!     tonic_prost_build::compile_protos("proto/user.proto")
//! }
//! ```
//! All of it in one program, which is its own client; it has `mod user { tonic::include_proto!("user"); }` in front of it:
//! ```
//! # use registry_examples::user;
//! use service_registry::tonic::{Channel, Server};
//! use service_registry::{Directory, connect};
//! use tonic::{Request, Response, Status};
//! use user::users_client::UsersClient;
//! use user::users_server::{Users, UsersServer};
//! use user::{FindReply, FindRequest};
//!
//! struct Directors;
//!
//! #[tonic::async_trait]
//! impl Users for Directors {
//!     async fn find(&self, _: Request<FindRequest>) -> Result<Response<FindReply>, Status> {
//!         Ok(Response::new(FindReply { name: "Agnès Varda".into(), served_by: "me".into() }))
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     # if cfg!(not(feature = "memory")) { return Ok(()) }
//!     // Where servers and clients are programs of their own: etcd://10.0.0.1,10.0.0.2,10.0.0.3 or redis://10.0.0.1.
//!     let registry = connect("memory://").await?;
//!
//!     // The server listens on a free port, and is registered for as long as it serves.
//!     let server = Server::builder(registry.clone(), "user.rpc").listen("127.0.0.1:0").bind().await?;
//!     let handle = server.handle();
//!     let router = tonic::transport::Server::builder().add_service(UsersServer::new(Directors));
//!     let serving = tokio::spawn(server.serve(router));
//!
//!     // The client knows the name of the service, and waits for its first server.
//!     let channel = Channel::new(&Directory::new(registry), &"user.rpc".parse()?);
//!     let reply = UsersClient::new(channel).find(FindRequest { id: 1 }).await?;
//!     assert_eq!(reply.into_inner().name, "Agnès Varda");
//!
//!     // As SIGTERM does: it drains, deregisters, and finishes what is in flight.
//!     handle.shutdown();
//!     serving.await??;
//!     Ok(())
//! }
//! ```
//! Who would rather not have the facade depends on `registry-tonic` alone, which is `service_registry::tonic` here, and hands it any `Arc<dyn Registry>`.
//!
//! # 2. A server
//! ```no_run
//! # async fn example(router: tonic::transport::server::Router) -> Result<(), Box<dyn std::error::Error>> {
//! use service_registry::connect;
//! use service_registry::tonic::{HealthCheck, Server};
//!
//! let registry = connect("etcd://10.0.0.1,10.0.0.2,10.0.0.3").await?;
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
//!   say which, by [`advertise`](registry_tonic::ServerBuilder::advertise) or [`advertise_from`](registry_tonic::ServerBuilder::advertise_from).
//! - **The future of `serve` is the life of the server**: let the program end when it does. [`Fenced`](registry_tonic::ServerError::Fenced) means that
//!   another process has the same id: two processes advertise one address.
//! - **Reflection**, by which `grpcurl` and the like learn what there is, takes the feature `reflection` and
//!   [`ServerBuilder::reflection`](registry_tonic::ServerBuilder), given the descriptors that `build.rs` writes
//!   (`tonic_prost_build::configure().file_descriptor_set_path`). In production (`Mode::Production`, go-zero's `Mode: pro`) it tells nothing all the same.
//! - **A registry that is down** keeps it neither from serving nor from stopping; [`ServerHandle`](registry_tonic::ServerHandle) tells how it stands.
//!
//! # 3. A client
//! ```no_run
//! # use registry_examples::user::users_client::UsersClient;
//! # async fn example() -> service_registry::Result<()> {
//! use service_registry::tonic::Channel;
//! use service_registry::{Directory, connect};
//!
//! // One connection and one directory for a process: that watches each service once, however many channels there are.
//! let directory = Directory::new(connect("etcd://10.0.0.1,10.0.0.2,10.0.0.3").await?);
//! let users = UsersClient::new(Channel::new(&directory, &"user.rpc".parse()?));
//! # Ok(())
//! # }
//! ```
//! Give calls a deadline (`Request::set_timeout`): only a deadline tells a server that hangs from one that works for long, and lets the channel
//! eject it. For start-up order wait with [`Channel::ready`](registry_tonic::Channel::ready), or do not: calls wait 2 s for the first endpoint.
//!
//! # 4. Rolling restarts
//! On SIGTERM a server says so to the health service and to the registry, serves on for [the grace](registry_tonic::ServerBuilder::drain_grace) (3 s) or
//! until nobody is connected, deregisters, and finishes what is in flight within [a bound](registry_tonic::ServerBuilder::finish_within) (10 s). Give it
//! that much before SIGKILL, and twice the registrar's [`shutdown_timeout`](registry_core::RegistrarOptions::shutdown_timeout) (5 s), which it needs when the
//! registry is away: by default 3 + 2 · 5 + 10 = 23 s, so on Kubernetes a `terminationGracePeriodSeconds` of 25.
//!
//! Calls do not fail by a restart in order: what the server did not take any more goes to another one. Except:
//! - A request that cannot be sent again, because it is a stream that still goes on or is longer than 64 KiB, fails with `UNAVAILABLE` if it reaches the
//!   server after that has said goodbye. That takes a client that has not heard of the drain for the whole grace, or has nobody else to call.
//! - What takes longer than the bound is cut off, streams above all. End them on the server when it
//!   [drains](registry_tonic::ServerHandle::wait_until_state), or let clients begin them anew.
//!
//! # 5. When servers fail
//! | what happens | what the channel does |
//! | --- | --- |
//! | the process dies | its connection ends; calls in flight fail with `UNAVAILABLE`, and no other is sent there |
//! | the network swallows everything | half a second after an answer was due and nothing was heard, calls go elsewhere; it connects anew, with back-off, until that works. Calls that were sent there before end at their deadline; without one, when the system gives the connection up (on Linux after 20 s) |
//! | the server answers `UNAVAILABLE`, or not in time | ejected after five calls in a row, tried again after half a second to a second at first, up to 30 s if it goes on; at least half of all stay |
//! | the server is slow | gets fewer calls, from the first answer that is late on |
//! | the registry is away | goes on with the servers it knows |
//! | there is nobody to call | a call waits as long as [`wait_for_ready`](registry_tonic::ChannelBuilder::wait_for_ready) says (2 s), or [`WaitForReady`](registry_tonic::WaitForReady) on it, and says why |
//!
//! For methods that may be done twice, [`Retry`](registry_tonic::Retry) sends a failed call again, within a budget. Without it nothing is repeated that may have been done.
//!
//! # 6. Zones, weights, keys
//! Servers say their [`zone`](registry_tonic::ServerBuilder::zone) and [`weight`](registry_tonic::ServerBuilder::weight), clients
//! [which zone they prefer](registry_tonic::ChannelBuilder::prefer_zone). A weight of 0 takes a server out without stopping it. For caches,
//! [`Policy::ConsistentHash`](registry_tonic::Policy::ConsistentHash) sends the same key to the same server.
//!
//! # 7. TLS
//! With the feature `tls`. Certificates and keys are read anew for connections, at most once a second, so that they can be replaced without a restart; while
//! what is there cannot be used, what was read last goes on, and the log says so:
//! ```no_run
//! # #[cfg(feature = "tls")]
//! # mod example {
//! # use service_registry::tonic::{ChannelBuilder, ServerBuilder};
//! # fn example(server: ServerBuilder, channel: ChannelBuilder) {
//! use service_registry::core::{Material, Tls};
//! use service_registry::tonic::ServerTls;
//!
//! // It is advertised as `grpcs`, so that clients know.
//! let server = server.tls(ServerTls::new(Material::file("/etc/user/tls.crt"), Material::file("/etc/user/tls.key")));
//!
//! let tls = Tls::new().with_ca(Material::file("/etc/user/ca.crt")).with_server_name("user.internal");
//! let channel = channel.tls(tls).build();
//! # }
//! # }
//! ```
//! Clients show a certificate by `Tls::with_identity`, and servers ask for one by `ServerTls::with_client_ca`. Another way to reach servers is a
//! [`Connect`](registry_tonic::Connect) of your own.
//!
//! # 8. What to watch
//! - Spans `grpc.call` with `service`, `method`, `peer`, `attempt` and `code`, at the level INFO. They have the last attempt; each one before it is an event in
//!   them, at INFO as well. An event at WARN for each ejection.
//! - [`Channel::endpoints`](registry_tonic::Channel::endpoints): for each endpoint whether it can be called and why not, calls, errors, ejections, calls in flight, and
//!   the latency expected. With the feature `metrics`, [`ChannelBuilder::metered`](registry_tonic::ChannelBuilder) tells a recorder the sums over all endpoints,
//!   and `ChannelBuilder::metered_by_endpoint`, in its place, those of each by itself; both tell the state of the view, and how old it is.
//!   [`registry_core::layer`]'s `Meter` does the same for the registry, views and registrars.
//! - [`Channel::view`](registry_tonic::Channel::view): how old what it knows is. A view that has been stale for minutes is worth an alarm, though calls go on.
//!
//! # 9. From go-zero
//! A [`Target`](registry_tonic::Target) takes go-zero's `discov://`, `etcd:///` and `direct:///`. With the feature `serde`, `service_registry::tonic::config` reads
//! go-zero's YAML as it is; what cannot be meant here is an error that names the field, and what has no effect is logged. Servers and clients of both kinds find
//! each other on one etcd.
//! ```no_run
//! # #[cfg(feature = "serde")]
//! # mod example {
//! # use registry_examples::user::users_client::UsersClient;
//! # use registry_examples::user::users_server::{Users, UsersServer};
//! # use service_registry::tonic::{Channel, config::CallDefaults};
//! # type OrdersServer<O> = UsersServer<O>;
//! # async fn example<O: Users>(orders: fn(UsersClient<CallDefaults<Channel>>) -> O) -> Result<(), Box<dyn std::error::Error>> {
//! use service_registry::grpc;
//! use service_registry::tonic::config::{ClientConfig, ServerConfig};
//!
//! let yaml: yaml_serde::Value = yaml_serde::from_str(&std::fs::read_to_string("etc/order.yaml")?)?;
//! let mut user_rpc: ClientConfig = yaml_serde::from_value(yaml["UserRpc"].clone())?;
//! let config: ServerConfig = yaml_serde::from_value(yaml)?;
//! // Where UserRpc has but a Key in its Etcd, the Hosts of the server's are meant; this is what go-zero does of its own accord.
//! if let Some(etcd) = config.etcd() {
//!     user_rpc.inherit_etcd(etcd);
//! }
//! let users = UsersClient::new(grpc::client(&user_rpc).await?);
//!
//! // Timeout and MethodTimeouts hold by this layer, and by nothing else.
//! let router = tonic::transport::Server::builder()
//!     .layer(config.call_timeouts()?)
//!     .add_service(OrdersServer::new(orders(users)));
//! grpc::server(&config).await?.bind().await?.serve(router).await?;
//! # Ok(())
//! # }
//! # }
//! ```
//! One thing is different: go-zero's `Timeout` of a client (2 s by default) spares streams, and here it ends
//! them too, since a channel cannot tell one from a single answer; give streams a deadline of their own
//! (`Request::set_timeout`), or call them through `CallDefaults::inner`.
//!
//! # 10. Tests
//! `memory://name` is a registry within a process: start servers on port 0 and call them, with no etcd and no Redis.
