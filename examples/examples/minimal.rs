//! The least there is to it: a server that registers itself, and a client that finds it.
//!
//! `cargo run --example minimal`. Both are in one process, because the registry `memory://` is.
#![allow(clippy::print_stdout)] // Its output is what it is for.

use registry_examples::user::users_client::UsersClient;
use registry_examples::user::users_server::{Users, UsersServer};
use registry_examples::user::{FindReply, FindRequest};
use service_registry::Directory;
use service_registry::tonic::{Channel, Server};
use tonic::{Request, Response, Status};

struct Directors;

#[tonic::async_trait]
impl Users for Directors {
    async fn find(&self, _: Request<FindRequest>) -> Result<Response<FindReply>, Status> {
        Ok(Response::new(FindReply { name: "Agnès Varda".into(), served_by: "minimal".into() }))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry = service_registry::connect("memory://").await?;

    // The server: listens on a free port, serves, and is registered for as long as it does.
    let server = Server::builder(registry.clone(), "user.rpc").listen("127.0.0.1:0").bind().await?;
    let handle = server.handle();
    let router = tonic::transport::Server::builder().add_service(UsersServer::new(Directors));
    let serving = tokio::spawn(server.serve(router));

    // The client: knows the name of the service, and nothing of its servers.
    let channel = Channel::new(&Directory::new(registry), &"user.rpc".parse()?);
    let reply = UsersClient::new(channel).find(FindRequest { id: 1 }).await?;
    println!("{} says: {}", handle.local_addr(), reply.into_inner().name);

    // SIGTERM would do the same: drain, deregister, finish what is in flight.
    handle.shutdown();
    serving.await??;
    Ok(())
}
