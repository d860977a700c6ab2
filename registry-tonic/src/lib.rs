//! gRPC with a service registry: load-balanced channel, server that registers itself.
