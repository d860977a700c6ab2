//! `user.rpc`: a server that says who it is, in a process of its own as far as anyone can tell.

use std::time::Duration;

use registry_examples::user::users_server::{Users, UsersServer};
use registry_examples::user::{FindReply, FindRequest};
use service_registry::Ttl;
use service_registry::tonic::{Server, ServerHandle};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use crate::Failure;
use crate::place::Place;

pub(crate) const SERVICE: &str = "user.rpc";

/// How long an answer takes to work out.
const WORK: Duration = Duration::from_millis(30);

/// How long a server serves on after it has said that it leaves.
const GRACE: Duration = Duration::from_millis(700);

struct Directory {
    name: &'static str,
}

#[tonic::async_trait]
impl Users for Directory {
    async fn find(&self, request: Request<FindRequest>) -> Result<Response<FindReply>, Status> {
        tokio::time::sleep(WORK).await;
        let name = format!("user number {}", request.get_ref().id);
        Ok(Response::new(FindReply { name, served_by: self.name.into() }))
    }
}

/// A running server, on a thread and a runtime of its own: when that is taken away, nothing of it is left to say goodbye.
pub(crate) struct Process {
    pub(crate) handle: ServerHandle,
    kill: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<Result<(), String>>,
}

impl Process {
    /// Starts a server. It registers in the background, as soon as it serves.
    pub(crate) async fn start(place: &Place, ttl: Ttl, name: &'static str) -> Result<Self, Failure> {
        let server = Server::builder(place.connect().await?, place.service.as_str())
            .listen("127.0.0.1:0")
            .metadata("name", name)
            .ttl(ttl)
            .drain_grace(GRACE)
            .shutdown_on(std::future::pending());
        let (tell, told) = oneshot::channel();
        let (kill, killed) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            let outcome = runtime.block_on(async {
                let server = match server.bind().await {
                    Ok(server) => server,
                    Err(error) => {
                        drop(tell.send(Err(error)));
                        return Ok(());
                    }
                };
                let _ = tell.send(Ok(server.handle()));
                let users = UsersServer::new(Directory { name });
                let router = tonic::transport::Server::builder().add_service(users);
                tokio::select! {
                    ended = tokio::spawn(server.serve(router)) => match ended {
                        Ok(ended) => ended.map_err(|error| error.to_string()),
                        Err(panicked) => Err(panicked.to_string()),
                    },
                    _ = killed => Ok(()),
                }
            });
            // What is left of it goes with it: afterwards its sockets are closed.
            runtime.shutdown_timeout(Duration::from_secs(1));
            outcome
        })?;
        Ok(Self { handle: told.await??, kill, thread })
    }

    /// Waits for the end that was asked for by its handle, and tells when it was not in order.
    pub(crate) async fn ended(self) -> Result<(), Failure> {
        let Self { kill, thread, .. } = self;
        let outcome = tokio::task::spawn_blocking(move || thread.join()).await?;
        drop(kill);
        Ok(outcome.map_err(|_| "a server panicked")??)
    }

    /// Ends it as `kill -9` would.
    pub(crate) fn kill(self) {
        let _ = self.kill.send(());
        let _ = self.thread.join();
    }
}
