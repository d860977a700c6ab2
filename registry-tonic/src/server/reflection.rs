//! gRPC reflection: clients are told which services there are, and of what they consist.

use registry_core::Error;
use tonic::transport::server::Router;
use tonic_reflection::server::Builder;

use super::ServerError;
use super::services::add;

const FIELD: &str = "reflection";
const HINT: &str = "leave it out, or do not ask for `reflection`";

/// What is told.
#[derive(Debug, Default)]
pub(super) struct Reflection {
    /// Encoded `google.protobuf.FileDescriptorSet`s.
    sets: Vec<&'static [u8]>,
}

impl Reflection {
    pub(super) fn tell(&mut self, set: &'static [u8]) {
        self.sets.push(set);
    }

    /// Whether all of it can be told.
    pub(super) fn check(&self) -> Result<(), ServerError> {
        self.builder(false).build_v1().map(drop).map_err(invalid)
    }

    /// Adds the service in both of its versions, because tools differ in which they ask; it tells of the health service if there is one.
    pub(super) fn add_to<L>(self, router: Router<L>, health: bool) -> Result<Router<L>, ServerError> {
        let v1 = self.builder(health).build_v1().map_err(invalid)?;
        let v1alpha = self.builder(health).build_v1alpha().map_err(invalid)?;
        add(add(router, v1, HINT)?, v1alpha, HINT)
    }

    fn builder(&self, health: bool) -> Builder<'static> {
        let health = health.then_some(tonic_health::pb::FILE_DESCRIPTOR_SET);
        let sets = self.sets.iter().copied().chain(health);
        sets.fold(Builder::configure(), Builder::register_encoded_file_descriptor_set)
    }
}

fn invalid(error: tonic_reflection::server::Error) -> ServerError {
    let reason = "what was given is not an encoded set of file descriptors";
    ServerError::Invalid(Error::invalid(FIELD, reason).with_source(error))
}
