//! A proxy of gRPC that keeps every message of its clients.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tower::Service;

use crate::Tape;
use crate::protobuf::fields;

type Messages = Arc<Mutex<Vec<String>>>;

/// What clients of etcd talk to instead of it. It ends with this.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    messages: Messages,
    serving: JoinHandle<()>,
}

impl Recorder {
    pub(crate) async fn start(etcd: String) -> Self {
        let to = Endpoint::from_shared(etcd).unwrap().connect().await.unwrap();
        let messages = Messages::default();
        let passed = Passed { to, messages: Arc::clone(&messages) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let services = Server::builder().add_service(Kv(passed.clone())).add_service(Lease(passed));
        let serving = services.serve_with_incoming(TcpIncoming::from(listener));
        let serving = tokio::spawn(async move { serving.await.unwrap() });
        Self { address, messages, serving }
    }
}

impl Tape for Recorder {
    async fn taken(&mut self) -> Vec<String> {
        let mut taken = std::mem::take(&mut *self.messages.lock().unwrap());
        // Those that are under way at the same time come in any order.
        taken.sort();
        taken
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Passes on whatever comes.
#[derive(Clone)]
struct Passed {
    to: Channel,
    messages: Messages,
}

macro_rules! services {
    ($($service:ident = $name:literal;)*) => {$(
        #[derive(Clone)]
        struct $service(Passed);

        impl NamedService for $service {
            const NAME: &'static str = $name;
        }

        impl Service<Request<Body>> for $service {
            type Response = Response<Body>;
            type Error = Infallible;
            type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: Request<Body>) -> Self::Future {
                Box::pin(self.0.clone().pass(request))
            }
        }
    )*};
}

services! {
    Kv = "etcdserverpb.KV";
    Lease = "etcdserverpb.Lease";
}

impl Passed {
    async fn pass(mut self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let (head, body) = request.into_parts();
        let method = head.uri.path().to_owned();
        let body = Kept { body, method, begun: Vec::new(), messages: self.messages };
        if let Err(error) = std::future::poll_fn(|cx| self.to.poll_ready(cx)).await {
            return Ok(Status::unavailable(error.to_string()).into_http());
        }
        let answer = self.to.call(Request::from_parts(head, Body::new(body))).await;
        Ok(answer.unwrap_or_else(|error| Status::unavailable(error.to_string()).into_http()))
    }
}

/// A body whose messages are kept as they pass.
struct Kept {
    body: Body,
    method: String,
    /// Of a message that has not come in full.
    begun: Vec<u8>,
    messages: Messages,
}

/// Before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

impl Kept {
    fn keep(&mut self, bytes: &[u8]) {
        self.begun.extend_from_slice(bytes);
        while let Some((&[0, a, b, c, d], rest)) = self.begun.split_first_chunk::<PREFIX>() {
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            let Some(message) = rest.get(..length) else { return };
            let told = fields(message).unwrap_or_else(|| panic!("{message:x?} is no message"));
            self.messages.lock().unwrap().push(format!("{} {told}", self.method));
            self.begun.drain(..PREFIX + length);
        }
    }
}

impl http_body::Body for Kept {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(bytes) = frame.data_ref()
        {
            self.keep(&bytes.clone());
        }
        polled
    }
}
