//! What a call through the balanced channel costs beside one through tonic's own, to one endpoint: how many calls a second are answered, with spans on.
//!
//! `cargo bench -p benches --bench channel`. Blocks take turns (plain, ours, plain again, and back), the ratio is taken in each round, and the rounds are
//! drawn anew for its 95 % interval; the two plain arms are the control, whose interval should hold 1.
#![allow(missing_docs, clippy::print_stdout, reason = "a benchmark")]

use std::sync::Arc;
use std::time::Duration;

use registry_core::{Directory, Instance, RegisterOptions, Registry, Ttl};
use registry_examples::user::users_client::UsersClient;
use registry_examples::user::users_server::{Users, UsersServer};
use registry_examples::user::{FindReply, FindRequest};
use registry_memory::MemoryRegistry;
use registry_tonic::Channel;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ROUNDS: usize = 30;
const BLOCK: Duration = Duration::from_millis(500);
const CALLERS: usize = 16;

struct Answering;

#[tonic::async_trait]
impl Users for Answering {
    async fn find(&self, _: Request<FindRequest>) -> Result<Response<FindReply>, Status> {
        Ok(Response::new(FindReply::default()))
    }
}

/// Calls without a break, by several callers; gives how many were answered in a second.
macro_rules! block {
    ($client:expr) => {{
        let end = Instant::now() + BLOCK;
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let mut client = $client.clone();
            callers.spawn(async move {
                let mut answered = 0_u32;
                while Instant::now() < end {
                    client.find(FindRequest { id: 1 }).await?;
                    answered += 1;
                }
                Ok::<_, Status>(answered)
            });
        }
        let mut answered = 0;
        while let Some(caller) = callers.join_next().await {
            answered += caller??;
        }
        f64::from(answered) / BLOCK.as_secs_f64()
    }};
}

fn main() -> Result<(), Failure> {
    // Every span is made and kept until it ends, as by who exports them.
    tracing_subscriber::registry().with(tracing_subscriber::filter::LevelFilter::INFO).init();
    // The server on threads of its own, as another process.
    let serving = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let address = serving.block_on(async {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?.with_nodelay(Some(true));
        let address = incoming.local_addr()?;
        let router = Server::builder().add_service(UsersServer::new(Answering));
        tokio::spawn(router.serve_with_incoming(incoming));
        Ok::<_, Failure>(address)
    })?;
    let calling = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    calling.block_on(compare(address))
}

async fn compare(address: std::net::SocketAddr) -> Result<(), Failure> {
    let registry: Arc<dyn Registry> = Arc::new(MemoryRegistry::new());
    let instance = Instance::builder("user.rpc").endpoint(address).build()?;
    registry.register(&instance, &RegisterOptions::new().with_ttl(Ttl::from_secs(3_600)?)).await?;
    let ours = Channel::new(&Directory::new(registry), instance.service());
    ours.ready().await?;
    let ours = UsersClient::new(ours);
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let plain = UsersClient::new(endpoint.connect().await?);
    let again = UsersClient::new(endpoint.connect().await?);

    let mut rates = [const { Vec::new() }; 3];
    for round in 0..=ROUNDS {
        let mut order = [0, 1, 2];
        if round % 2 == 1 {
            order.reverse();
        }
        for arm in order {
            let rate = match arm {
                0 => block!(plain),
                1 => block!(ours),
                _ => block!(again),
            };
            // The first round warms up.
            if round > 0 {
                rates[arm].push(rate);
            }
        }
    }
    let [plain, ours, again] = &rates;
    println!("{ROUNDS} rounds of {BLOCK:?} for each, {CALLERS} callers; calls a second, medians:");
    println!(
        "  plain tonic channel {:.0}, ours {:.0}, plain again {:.0}",
        middle(plain),
        middle(ours),
        middle(again)
    );
    println!("  ours / plain        {}", ratio(ours, plain));
    println!("  plain again / plain {}", ratio(again, plain));
    Ok(())
}

fn middle(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

/// The median of the ratios of all rounds, with the 95 % interval of a percentile bootstrap.
fn ratio(above: &[f64], below: &[f64]) -> String {
    let ratios: Vec<f64> = above.iter().zip(below).map(|(above, below)| above / below).collect();
    let mut random = fastrand::Rng::with_seed(1);
    let mut medians: Vec<f64> = (0..2_000)
        .map(|_| middle(&ratios.iter().map(|_| ratios[random.usize(..ratios.len())]).collect::<Vec<_>>()))
        .collect();
    medians.sort_by(f64::total_cmp);
    format!("{:.3} ({:.3} to {:.3})", middle(&ratios), medians[49], medians[1_949])
}
