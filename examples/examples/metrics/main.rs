//! What a Prometheus scrapes of a program that registers, watches and calls.
//!
//! `cargo run -p registry-examples --features metrics --example metrics` plays for some seconds, scrapes itself once and prints the page; with an address
//! (`-- 127.0.0.1:9464`) it goes on serving it there. Everything is in one process, over `memory://`, so it needs no server.
//!
//! The page is also in the documentation, where `registry-core/src/layer/meter/page.prom` is what this printed.
#![allow(clippy::print_stdout)] // Its output is what it is for.

mod page;

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use registry_examples::user::users_client::UsersClient;
use registry_examples::user::users_server::{Users, UsersServer};
use registry_examples::user::{FindReply, FindRequest};
use service_registry::core::layer::{Meter, Timeouts};
use service_registry::memory::MemoryRegistry;
use service_registry::tonic::{Channel, Server};
use service_registry::{Directory, Registrar, RegistrarOptions, Registry, RegistryExt, ServiceName, Ttl};
use tonic::{Request, Response, Status};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

#[tokio::main]
async fn main() -> Result<()> {
    let wanted = std::env::args().nth(1).map(|address| address.parse()).transpose()?;
    let address = install(wanted)?;
    let _serving = play().await?;
    print!("{}", page::sorted(&page::scrape(address).await?));
    if wanted.is_some() {
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// Installs the recorder, before there is anything to record, and serves it at the address wanted, or at a free one.
fn install(wanted: Option<SocketAddr>) -> Result<SocketAddr> {
    let address = match wanted {
        Some(address) => address,
        None => std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?,
    };
    PrometheusBuilder::new()
        .with_http_listener(address)
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &[0.001, 0.01, 0.1, 1.0, 10.0])?
        .install()?;
    Ok(address)
}

/// What is to be kept for as long as it is to be seen.
type Kept = Box<dyn std::any::Any + Send>;

async fn play() -> Result<Kept> {
    let memory = MemoryRegistry::new();
    let meter = Meter::new();
    let registry = memory.clone().with_timeouts(Timeouts::default()).traced().metered(&meter).shared();
    let service = ServiceName::new("user.rpc")?;

    // Two servers. Their registrars tell how they are; no heartbeat is due before this is over, so that every run shows the same.
    for _ in 0..2 {
        let options = RegistrarOptions::default().with_ttl(Ttl::from_secs(60)?).with_meter(&meter);
        let server = Server::builder(registry.clone(), service.as_str())
            .listen("127.0.0.1:0")
            .registrar(options)
            .bind()
            .await?;
        let router = tonic::transport::Server::builder().add_service(UsersServer::new(Directors));
        tokio::spawn(server.serve(router));
    }

    // A client.
    let directory = Directory::new(registry.clone());
    let view = directory.view(&service);
    // Of its calls and endpoints, and of its view; of a view without a channel it is `meter.observe_view(&view)`.
    let channel = Channel::builder(view.clone()).metered(&meter).build();
    let found = registry.wait_until(&service, Duration::from_secs(5), |users| users.len() == 2).await?;
    let mut users = UsersClient::new(channel.clone());
    for id in 0..10 {
        users.find(FindRequest { id }).await?;
    }

    // Something goes and something fails: an instance that leaves at once, and an outage of the registry.
    let short = found.instances().next().ok_or("nobody is there")?.to_builder().id("short-lived").build()?;
    let short = Registrar::start(registry.clone(), short, RegistrarOptions::default());
    short.registered().await?;
    short.shutdown().await?;
    memory.controls().outage();
    if registry.lookup(&service).await.is_ok() {
        return Err("the registry answers though it is away".into());
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    memory.controls().heal();
    let mut current = view.clone();
    while !view.load().stale_for(tokio::time::Instant::now()).is_zero() {
        current.changed().await;
    }
    // What is told once a second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    Ok(Box::new(channel))
}

struct Directors;

#[tonic::async_trait]
impl Users for Directors {
    async fn find(&self, _: Request<FindRequest>) -> Result<Response<FindReply>, Status> {
        Ok(Response::new(FindReply { name: "Agnès Varda".into(), served_by: "metrics".into() }))
    }
}

#[cfg(test)]
mod tests {
    use super::{install, page, play};

    #[tokio::test(flavor = "multi_thread")]
    async fn the_page_in_the_documentation_is_what_is_served() {
        let shown = include_str!("../../../registry-core/src/layer/meter/page.prom");
        let address = install(None).unwrap();
        let _serving = play().await.unwrap();
        let served = page::scrape(address).await.unwrap();
        let (lines, expected) = (page::shape(&served), page::shape(shown));
        let missing: Vec<_> = expected.difference(&lines).collect();
        let new: Vec<_> = lines.difference(&expected).collect();
        let (counts, expected) = (page::counts(&served), page::counts(shown));
        let other: Vec<_> =
            counts.iter().filter(|(metric, count)| expected.get(*metric) != Some(*count)).collect();
        assert!(
            missing.is_empty() && new.is_empty() && other.is_empty(),
            "let `cargo run -p registry-examples --features metrics --example metrics` write the page anew;\n\
             not served: {missing:#?}\nnot shown: {new:#?}\ncounted otherwise: {other:#?}"
        );
        assert!(counts.len() > 50, "{counts:?}");
    }
}
