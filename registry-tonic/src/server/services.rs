//! The gRPC services that a server adds to those of its user.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};

use http::{Request, Response};
use registry_core::Error;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::server::Router;
use tower_service::Service;

use super::health_service::health_service;
use super::{ServerError, ServerHandle};

const FIELD: &str = "router";

/// What is to be added.
#[derive(Debug)]
pub(super) struct Extras {
    /// Whether to add the health service.
    pub(super) health: bool,
    /// The gRPC services whose health can be asked for besides that of the server.
    pub(super) health_of: Vec<String>,
    /// What the reflection service knows of.
    #[cfg(feature = "reflection")]
    pub(super) reflection: Option<super::reflection::Reflection>,
}

impl Extras {
    pub(super) fn add_to<L>(
        self,
        mut router: Router<L>,
        handle: &ServerHandle,
    ) -> Result<Router<L>, ServerError> {
        #[cfg(feature = "reflection")]
        if let Some(reflection) = self.reflection {
            router = reflection.add_to(router, self.health)?;
        }
        if self.health {
            let hint = "leave it out, or switch that of the server off with `health_service(false)`";
            router = add(router, health_service(handle, self.health_of), hint)?;
        }
        Ok(router)
    }
}

/// The router with one more service. What it has already cannot be asked, and adding that again panics: told as an error instead.
pub(super) fn add<L, S>(router: Router<L>, service: S, hint: &str) -> Result<Router<L>, ServerError>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    catch_unwind(AssertUnwindSafe(|| router.add_service(service))).map_err(|_| {
        let reason = format!("has a service {} already; {hint}", S::NAME);
        ServerError::Invalid(Error::invalid(FIELD, reason))
    })
}
