//! A server of `user.rpc` whose configuration is a YAML file of go-zero, or the URL of a registry. The example `client` calls it.
//!
//! `cargo run --features etcd --example server -- --config examples/examples/yaml/user.yaml`
//! `cargo run --features redis --example server -- --config examples/examples/yaml/user-redis.yaml`
//! `cargo run --features redis --example server -- --registry redis://127.0.0.1:6379`
//!
//! The files say a port. A second server on the same machine is to listen on another one: `--listen 0.0.0.0:0`.
#![allow(clippy::print_stdout, clippy::print_stderr)] // Its output is what it is for.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgGroup, Parser};
use registry_examples::user::users_server::{Users, UsersServer};
use registry_examples::user::{FindReply, FindRequest};
use service_registry::tonic::config::{CallTimeouts, ServerConfig};
use service_registry::tonic::{Server, ServerBuilder};
use service_registry::{ErrorKind, connect, grpc};
use tonic::{Request, Response, Status};

/// Serve user.rpc until SIGTERM or Ctrl-C, and drain then.
#[derive(Parser)]
#[command(name = "server", group(ArgGroup::new("what").args(["config", "registry"]).required(true)))]
struct Arguments {
    /// A YAML file of go-zero, such as examples/examples/yaml/user.yaml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Instead of a file: where to register, such as etcd://127.0.0.1:2379 or redis://127.0.0.1:6379.
    #[arg(long, value_name = "URL")]
    registry: Option<String>,

    /// The address to listen on, instead of the file's; port 0 is one that is free.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Directors {
    served_by: String,
}

#[tonic::async_trait]
impl Users for Directors {
    async fn find(&self, request: Request<FindRequest>) -> Result<Response<FindReply>, Status> {
        let names = ["Agnès Varda", "Claire Denis", "Chantal Akerman"];
        let name = names[(request.get_ref().id % 3) as usize].to_owned();
        Ok(Response::new(FindReply { name, served_by: self.served_by.clone() }))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("server: {error}");
            let kind = error.downcast_ref().map(service_registry::Error::kind);
            if kind == Some(ErrorKind::Unsupported) {
                eprintln!("for this example: cargo run --features etcd,redis --example server -- …");
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (mut builder, timeouts) = match (&arguments.config, &arguments.registry) {
        (Some(file), _) => from_yaml(file).await?,
        (None, Some(url)) => {
            let builder = Server::builder(connect(url).await?, "user.rpc").listen("0.0.0.0:0");
            (builder, CallTimeouts::default())
        }
        (None, None) => return Err("either --config or --registry is needed".into()),
    };
    if let Some(listen) = &arguments.listen {
        builder = builder.listen(listen);
    }
    let server = builder.bind().await?;
    let handle = server.handle();
    let served_by = server.instance().endpoint().to_string();
    println!("{} at {served_by}; Ctrl-C stops it", server.instance().service());
    let router = tonic::transport::Server::builder()
        .layer(timeouts)
        .add_service(UsersServer::new(Directors { served_by }));
    tokio::spawn(async move {
        handle.wait_until(|state| state.is_registered()).await;
        println!("registered");
    });
    server.serve(router).await?;
    println!("stopped");
    Ok(())
}

async fn from_yaml(file: &Path) -> Result<(ServerBuilder, CallTimeouts), Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let config: ServerConfig =
        yaml_serde::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    for field in config.without_effect() {
        println!("{field} has no effect here");
    }
    Ok((grpc::server(&config).await?, config.call_timeouts()?))
}
