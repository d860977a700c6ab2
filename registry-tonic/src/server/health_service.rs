//! The standard gRPC health service, which tells the state of the server.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::{ServerHandle, ServerState};

/// `grpc.health.v1.Health` of the server behind `handle`: of the server as a whole, which is the empty name, and alike of `names`.
pub(super) fn health_service(handle: &ServerHandle, names: Vec<String>) -> HealthServer<Answers> {
    HealthServer::new(Answers { names: names.into(), states: handle.follow_state() })
}

pub(super) struct Answers {
    names: Arc<[String]>,
    states: watch::Receiver<ServerState>,
}

impl Answers {
    fn knows(&self, name: &str) -> bool {
        name.is_empty() || self.names.iter().any(|known| known == name)
    }
}

#[tonic::async_trait]
impl Health for Answers {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let name = &request.get_ref().service;
        if !self.knows(name) {
            return Err(Status::not_found(format!("nothing is known of a service {name:?}")));
        }
        let status = status(&self.states.borrow());
        Ok(Response::new(response(status)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let knows = self.knows(&request.get_ref().service);
        Ok(Response::new(Box::pin(follow(self.states.clone(), knows))))
    }
}

/// The status whenever it changes. It ends when the server takes no more calls, which it would otherwise keep from stopping.
fn follow(
    states: watch::Receiver<ServerState>,
    knows: bool,
) -> impl Stream<Item = Result<HealthCheckResponse, Status>> + Send {
    unfold((states, None), move |(mut states, told)| async move {
        loop {
            let (status, over) = {
                let state = states.borrow_and_update();
                (if knows { status(&state) } else { ServingStatus::ServiceUnknown }, state.is_over())
            };
            if told != Some(status) {
                return Some((Ok(response(status)), (states, Some(status))));
            }
            if over || states.changed().await.is_err() {
                return None;
            }
        }
    })
}

fn status(state: &ServerState) -> ServingStatus {
    if state.is_serving() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
