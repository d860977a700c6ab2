//! What the examples share: the code that is generated from `proto/user.proto`.

/// The service `user.Users`, client and server.
#[allow(missing_docs, missing_debug_implementations, unreachable_pub, clippy::all)]
pub mod user {
    tonic::include_proto!("user");
}
