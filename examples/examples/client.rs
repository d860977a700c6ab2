//! A client of `user.rpc` whose configuration is a YAML file of go-zero, or a target. The example `server` is what it calls.
//!
//! `cargo run --features etcd --example client -- --config examples/examples/yaml/order.yaml`
//! `cargo run --features redis --example client -- --config examples/examples/yaml/order-redis.yaml`
//! `cargo run --features etcd --example client -- --target discov://127.0.0.1:2379/user.rpc`
//! `cargo run --features redis --example client -- --target 'redis://127.0.0.1:6379?service=user.rpc'`
#![allow(clippy::print_stdout, clippy::print_stderr)] // Its output is what it is for.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Parser};
use registry_examples::user::FindRequest;
use registry_examples::user::users_client::UsersClient;
use serde::Deserialize;
use service_registry::tonic::Channel;
use service_registry::tonic::config::{CallDefaults, ClientConfig};
use service_registry::{ErrorKind, grpc};
use tokio::time::sleep;
use tonic::metadata::MetadataMap;

/// Call user.rpc again and again, and show who answers.
#[derive(Parser)]
#[command(
    name = "client",
    group(ArgGroup::new("what").args(["config", "target"]).required(true)),
    after_help = "Targets:
  discov://127.0.0.1:2379/user.rpc             go-zero's, in an etcd; needs --features etcd
  etcd:///127.0.0.1:2379?key=user.rpc          the same
  etcd://127.0.0.1:2379?service=user.rpc       an etcd in our own layout, as `server --registry etcd://…` uses it
  redis://127.0.0.1:6379?service=user.rpc      a Redis; needs --features redis
  direct:///127.0.0.1:8080,127.0.0.1:8081      without a registry"
)]
struct Arguments {
    /// A YAML file of go-zero with a `UserRpc` in it, such as examples/examples/yaml/order.yaml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Instead of a file: whom to call.
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,

    /// How many calls to make.
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    calls: u64,
}

/// The configuration of a service that calls user.rpc.
#[derive(Deserialize)]
struct Config {
    #[serde(rename = "UserRpc")]
    user_rpc: ClientConfig,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("client: {error}");
            if let Some(cause) = error.source() {
                eprintln!("        {cause}");
            }
            let kind = error.downcast_ref().map(service_registry::Error::kind);
            if kind == Some(ErrorKind::Unsupported) {
                eprintln!("for this example: cargo run --features etcd,redis --example client -- …");
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let channel = match (&arguments.config, &arguments.target) {
        (Some(file), _) => from_yaml(file).await?,
        (None, Some(target)) => {
            let timeout = Some(Duration::from_secs(2));
            CallDefaults::new(grpc::channel(target).await?, timeout, MetadataMap::new())
        }
        (None, None) => return Err("either --config or --target is needed".into()),
    };
    let mut users = UsersClient::new(channel);
    let mut answered = 0;
    for id in 1..=arguments.calls {
        match users.find(FindRequest { id }).await.map(tonic::Response::into_inner) {
            Ok(reply) => {
                answered += 1;
                println!("{id}: {} (from {})", reply.name, reply.served_by);
            }
            Err(status) => println!("{id}: {:?}, {}", status.code(), status.message()),
        }
        if id < arguments.calls {
            sleep(Duration::from_millis(500)).await;
        }
    }
    if answered == 0 { Err("nobody answered".into()) } else { Ok(()) }
}

async fn from_yaml(file: &Path) -> Result<CallDefaults<Channel>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let Config { user_rpc } =
        yaml_serde::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    for field in user_rpc.without_effect() {
        println!("UserRpc.{field} has no effect here");
    }
    Ok(grpc::client(&user_rpc).await?)
}
