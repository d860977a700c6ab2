//! Servers that know of no registry, listed by someone else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use registry_core::{Instance, InstanceBuilder, RegisterOptions, Registration, Registry, Ttl};
use tokio::task::JoinHandle;
use tonic::transport::server::{Router, TcpIncoming};
use tonic::{Code, Response, Status};

use super::echo::echo_server::{Echo, EchoServer};
use super::echo::{Reply, Request};
use super::{Named, SERVICE};

/// Lists an instance that nobody keeps alive, for a TTL that no test outlives.
pub(crate) async fn list(registry: &dyn Registry, instance: InstanceBuilder) -> (Instance, Registration) {
    let instance = instance.build().unwrap();
    let options = RegisterOptions::new().with_ttl(Ttl::from_secs(600).unwrap());
    let registration = registry.register(&instance, &options).await.unwrap();
    (instance, registration)
}

pub(crate) fn instance_at(address: SocketAddr) -> InstanceBuilder {
    Instance::builder(SERVICE).endpoint(address)
}

/// A server that ends with its task.
pub(crate) fn serve(router: Router) -> (SocketAddr, JoinHandle<()>) {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap().with_nodelay(Some(true));
    let address = incoming.local_addr().unwrap();
    (address, tokio::spawn(async move { router.serve_with_incoming(incoming).await.unwrap() }))
}

/// A bare server that ends with its task.
pub(crate) async fn bare(name: &'static str) -> (SocketAddr, Named, JoinHandle<()>) {
    let named = Named::new(name);
    let (address, task) = serve(named.router());
    (address, named, task)
}

/// The service, which fails on request with a status, or takes its time.
#[derive(Clone)]
pub(crate) struct Moody {
    pub(crate) named: Named,
    code: Arc<AtomicI32>,
    /// It takes so many times as long as it is asked to.
    times: u64,
}

impl Moody {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { named: Named::new(name), code: Arc::new(AtomicI32::new(Code::Ok as i32)), times: 1 }
    }

    /// One that takes so many times as long as it is asked to.
    pub(crate) fn slower(name: &'static str, times: u64) -> Self {
        Self { times, ..Self::new(name) }
    }

    /// Answers with `code` from now on.
    pub(crate) fn answer(&self, code: Code) {
        self.code.store(code as i32, Ordering::SeqCst);
    }

    pub(crate) fn begun(&self) -> u32 {
        self.named.begun.load(Ordering::SeqCst)
    }

    pub(crate) fn serve(&self) -> (SocketAddr, JoinHandle<()>) {
        serve(tonic::transport::Server::builder().add_service(EchoServer::new(self.clone())))
    }
}

#[tonic::async_trait]
impl Echo for Moody {
    async fn call(&self, mut request: tonic::Request<Request>) -> Result<Response<Reply>, Status> {
        let code = Code::from_i32(self.code.load(Ordering::SeqCst));
        request.get_mut().after_ms *= self.times;
        let answer = self.named.call(request).await?;
        if code == Code::Ok { Ok(answer) } else { Err(Status::new(code, "as I was told")) }
    }

    type StreamStream = <Named as Echo>::StreamStream;

    async fn stream(&self, request: tonic::Request<Request>) -> Result<Response<Self::StreamStream>, Status> {
        self.named.stream(request).await
    }
}
