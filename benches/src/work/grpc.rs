//! gRPC calls to servers that answer at once: by the balanced channel, and by tonic's own.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use comparisons::experiment::Trouble;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use registry_core::layer::Meter;
use registry_core::{Directory, Instance, RegisterOptions, Registry, ServiceName, Ttl};
use registry_examples::user::users_client::UsersClient;
use registry_examples::user::users_server::{Users, UsersServer};
use registry_examples::user::{FindReply, FindRequest};
use registry_memory::MemoryRegistry;
use registry_tonic::Channel;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tonic::transport::channel::Change;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{self, Endpoint, Server};
use tonic::{Request, Response, Status};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// A client through the balanced channel.
pub type Ours = UsersClient<Channel>;
/// A client through one of tonic's.
pub type Plain = UsersClient<transport::Channel>;

/// What a channel counts its calls in.
const CALLS: &str = "registry_channel_calls_total";

static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Keeps every span until it ends, as who exports them does, and every metric. For all that follows in this process.
///
/// # Errors
/// If somebody else keeps either.
pub fn instrument() -> Result<(), Trouble> {
    static ONCE: Mutex<()> = Mutex::new(());
    let _one_at_a_time = ONCE.lock().unwrap_or_else(PoisonError::into_inner);
    if METRICS.get().is_some() {
        return Ok(());
    }
    let filter = tracing_subscriber::filter::LevelFilter::INFO;
    let kept = tracing_subscriber::registry().with(filter).try_init();
    kept.map_err(|error| Trouble::Failed(Box::new(error)))?;
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| Trouble::failed(error.to_string()))?;
    let _ = METRICS.set(handle);
    Ok(())
}

/// Waits until a channel of ours that was called has told its calls, and looks whether spans are kept: otherwise less is measured than is said.
///
/// # Errors
/// That they are not, or were not told within some seconds.
pub async fn is_instrumented() -> Result<(), Trouble> {
    if !tracing::enabled!(target: "registry_tonic", tracing::Level::INFO) {
        return Err(Trouble::failed("spans are not kept"));
    }
    let is_told = || {
        let metrics = METRICS.get().map(PrometheusHandle::render).unwrap_or_default();
        metrics.lines().any(|line| line.starts_with(CALLS) && !line.ends_with(" 0"))
    };
    // A channel tells its metrics once a second, and nobody that it has.
    let told = async {
        while !is_told() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), told).await.map_err(|_| Trouble::failed("calls are not counted"))
}

/// A runtime with one thread, as for another process. Ends with its owner, who may be within a runtime.
#[derive(Debug)]
pub struct Background {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Background {
    /// Starts it.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let handle = runtime.handle().clone();
        Ok(Self { runtime: Some(runtime), handle })
    }

    /// To start something there.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs it there to its end.
    ///
    /// # Errors
    /// Its own, and that it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, Trouble>> + Send + 'static,
    ) -> Result<T, Trouble> {
        let ended = self.handle.spawn(future).await;
        ended.unwrap_or_else(|error| Err(Trouble::Failed(Box::new(error))))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// Servers, on a thread of their own. They end with this.
#[derive(Debug)]
pub struct Servers {
    /// Where they listen.
    pub addresses: Vec<SocketAddr>,
    _serving: Background,
}

struct Answering;

#[tonic::async_trait]
impl Users for Answering {
    async fn find(&self, _: Request<FindRequest>) -> Result<Response<FindReply>, Status> {
        Ok(Response::new(FindReply::default()))
    }
}

impl Servers {
    /// Starts so many.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn start(count: usize) -> Result<Self, Trouble> {
        let serving = Background::start()?;
        let start = |_| {
            let _inside = serving.handle().enter();
            let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?.with_nodelay(Some(true));
            let address = incoming.local_addr()?;
            let router = Server::builder().add_service(UsersServer::new(Answering));
            serving.handle().spawn(router.serve_with_incoming(incoming));
            Ok(address)
        };
        let addresses: std::io::Result<_> = (0..count).map(start).collect();
        Ok(Self { addresses: addresses?, _serving: serving })
    }
}

/// A client through our channel, connected to all of `addresses`, with metrics of each endpoint.
///
/// # Errors
/// What keeps it from being connected.
pub async fn ours(addresses: Vec<SocketAddr>) -> Result<Ours, Trouble> {
    Ok(UsersClient::new(channel(addresses).await?))
}

/// Our channel, connected to all of `addresses`, with metrics of each endpoint.
///
/// # Errors
/// What keeps it from being connected.
pub async fn channel(addresses: Vec<SocketAddr>) -> Result<Channel, Trouble> {
    let registry = MemoryRegistry::new();
    let options = RegisterOptions::new().with_ttl(Ttl::MAX);
    for address in &addresses {
        let instance = Instance::builder("user.rpc").endpoint(*address).build()?;
        registry.register(&instance, &options).await?;
    }
    let service = ServiceName::new("user.rpc")?;
    let view = Directory::new(Arc::new(registry)).view(&service);
    let channel = Channel::builder(view).metered_by_endpoint(&Meter::new()).build();
    let connected = channel.wait_until(Duration::from_secs(5), |endpoints| {
        endpoints.iter().filter(|endpoint| endpoint.is_ready()).count() == addresses.len()
    });
    if connected.await.is_err() {
        return Err(Trouble::failed("the channel is not connected to all servers"));
    }
    Ok(channel)
}

fn endpoint(address: SocketAddr) -> Result<Endpoint, Trouble> {
    Endpoint::from_shared(format!("http://{address}")).map_err(|error| Trouble::Failed(Box::new(error)))
}

/// A client through tonic's channel to one server, connected.
///
/// # Errors
/// What keeps it from being connected.
pub async fn plain(address: SocketAddr) -> Result<Plain, Trouble> {
    let channel = endpoint(address)?.connect().await.map_err(|error| Trouble::Failed(Box::new(error)))?;
    Ok(UsersClient::new(channel))
}

/// A client through tonic's balanced channel, and what would tell it of further servers. It connects when it is first called.
///
/// # Errors
/// None, but where an address is none.
pub async fn balanced(
    addresses: Vec<SocketAddr>,
) -> Result<(Plain, mpsc::Sender<Change<SocketAddr, Endpoint>>), Trouble> {
    let (channel, changes) = transport::Channel::balance_channel(addresses.len().max(1));
    for address in addresses {
        let insert = Change::Insert(address, endpoint(address)?);
        changes.send(insert).await.map_err(|error| Trouble::Failed(Box::new(error)))?;
    }
    Ok((UsersClient::new(channel), changes))
}

/// What calls.
pub trait Caller: Clone + Send + 'static {
    /// One call.
    fn call(&mut self) -> impl Future<Output = Result<(), Status>> + Send;
}

impl Caller for Ours {
    async fn call(&mut self) -> Result<(), Status> {
        self.find(FindRequest { id: 1 }).await.map(drop)
    }
}

impl Caller for Plain {
    async fn call(&mut self) -> Result<(), Status> {
        self.find(FindRequest { id: 1 }).await.map(drop)
    }
}

/// What calls without a break have cost.
#[derive(Clone, Copy, Debug)]
pub struct Called {
    /// How many were answered in a second.
    pub per_second: f64,
    /// Processor time of the thread that called, in microseconds for each call: where the server is the slower of both, what a client costs does not show in
    /// how many are answered.
    pub cpu_us: f64,
    /// The part of the time in which that thread had work.
    pub busy: f64,
}

/// Calls without a break by so many callers, each of which waits for its answer, all on the thread of this task, which is to be the only one of its runtime.
///
/// # Errors
/// What a call failed with.
pub async fn calls<C: Caller>(client: C, callers: usize, time: Duration) -> Result<Called, Trouble> {
    let (start, before) = (Instant::now(), thread_time());
    let mut calling = JoinSet::new();
    for _ in 0..callers {
        let mut client = client.clone();
        calling.spawn(async move {
            let mut answered = 0_u32;
            while start.elapsed() < time {
                client.call().await?;
                answered += 1;
            }
            Ok::<_, Status>(answered)
        });
    }
    let mut answered = 0;
    while let Some(caller) = calling.join_next().await {
        let caller = caller.map_err(|error| Trouble::Failed(Box::new(error)))?;
        answered += caller.map_err(|status| Trouble::Failed(Box::new(status)))?;
    }
    let (elapsed, used) = (start.elapsed().as_secs_f64(), thread_time().saturating_sub(before).as_secs_f64());
    let answered = f64::from(answered);
    Ok(Called { per_second: answered / elapsed, cpu_us: used * 1e6 / answered, busy: used / elapsed })
}

/// What this thread has used.
fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
