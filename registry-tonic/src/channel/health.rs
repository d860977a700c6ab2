//! What a server says about itself, by the standard health service (`grpc.health.v1.Health/Watch`).
//!
//! As gRPC clients do it: an endpoint is called only once it has said that it serves, and no more when it cannot say so any longer; one without the
//! service counts as one that does.
//! See "gRPC Health Checking Protocol", section "Client", in the documentation of gRPC.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use registry_core::backoff::Backoff;
use registry_core::time::later;
use tokio::time::{Instant, sleep_until};
use tonic::body::Body;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower_service::Service;

use super::connection::{Connection, Unanswered};
use super::replay::Kept;

/// What is said of a server that has not been heard yet.
pub(super) const NOT_YET: &str = "has not said yet that it serves";

/// Follows what the server at the other end of a connection says of a service.
#[derive(Debug)]
pub(super) struct Health {
    connection: Connection,
    service: Arc<str>,
    told: Option<Streaming<HealthCheckResponse>>,
    attempt: u32,
    /// When it may be asked again, after it could not say.
    again: Instant,
    /// There is no such service, and that will not change.
    unknown: bool,
}

impl Health {
    pub(super) fn new(connection: Connection, service: Arc<str>) -> Self {
        Self { connection, service, told: None, attempt: 0, again: Instant::now(), unknown: false }
    }

    /// The next word of the server: that it serves, or what it says instead. It does not while it cannot be asked. Can be dropped and called again.
    pub(super) async fn next(&mut self, backoff: &Backoff, rng: &mut fastrand::Rng) -> Result<(), Arc<str>> {
        if self.unknown {
            return std::future::pending().await;
        }
        if self.told.is_none() {
            sleep_until(self.again).await;
        }
        match self.told().await {
            Ok(response) => {
                self.attempt = 0;
                match response.status() {
                    ServingStatus::Serving => Ok(()),
                    ServingStatus::ServiceUnknown => {
                        Err(format!("says that it knows nothing of the health of {:?}", &*self.service)
                            .into())
                    }
                    _ => Err("says that it does not serve".into()),
                }
            }
            Err(status) if status.code() == Code::Unimplemented => {
                self.unknown = true;
                Ok(())
            }
            Err(status) => {
                self.told = None;
                tracing::debug!(%status, service = &*self.service, "no word about its health");
                self.again = later(Instant::now(), backoff.delay(self.attempt, rng.f64()));
                self.attempt = self.attempt.saturating_add(1);
                Err(format!("cannot be asked about its health: {:?}, {}", status.code(), status.message())
                    .into())
            }
        }
    }

    async fn told(&mut self) -> Result<HealthCheckResponse, Status> {
        if self.told.is_none() {
            let mut client = HealthClient::new(Direct(self.connection.clone()));
            let request = HealthCheckRequest { service: self.service.to_string() };
            self.told = Some(client.watch(request).await?.into_inner());
        }
        match &mut self.told {
            Some(told) => match told.message().await? {
                Some(response) => Ok(response),
                None => Err(Status::unavailable("it ended")),
            },
            None => Err(Status::unavailable("it ended")),
        }
    }
}

/// Calls over one connection, and no other.
#[derive(Clone, Debug)]
struct Direct(Connection);

impl Service<Request<Body>> for Direct {
    type Response = Response<Incoming>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Incoming>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let connection = self.0.clone();
        Box::pin(async move {
            connection.send(request.map(Kept::from), Instant::now()).await.map_err(|unanswered| {
                match unanswered {
                    Unanswered::NeverSent(_) => Status::unavailable("the connection was closed"),
                    Unanswered::NeverTaken(error) | Unanswered::Failed(error) => {
                        Status::unavailable(error.to_string())
                    }
                }
            })
        })
    }
}
