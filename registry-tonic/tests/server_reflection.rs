//! What a server tells of what it consists of.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet, ServiceDescriptorProto};
use registry_memory::MemoryRegistry;
use registry_tonic::{Mode, ServerBuilder, ServerError};
use support::server::{Running, quick};
use support::{shared, within};
use tonic::{Code, Status};

/// What is generated of `echo.proto`, as far as it matters here.
fn descriptors() -> &'static [u8] {
    let service = ServiceDescriptorProto { name: Some("Echo".into()), ..Default::default() };
    let file = FileDescriptorProto {
        name: Some("echo.proto".into()),
        package: Some("echo".into()),
        service: vec![service],
        ..Default::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec().leak()
}

fn builder() -> ServerBuilder {
    quick(shared(&MemoryRegistry::new()))
}

async fn connected(running: &Running) -> tonic::transport::Channel {
    let url = format!("http://{}", running.handle.local_addr());
    let endpoint = tonic::transport::Endpoint::from_shared(url).unwrap();
    within("connected", endpoint.connect()).await.unwrap()
}

/// The services that reflection, version 1, tells of.
async fn listed(running: &Running) -> Result<Vec<String>, Status> {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = ServerReflectionRequest { host: String::new(), message_request };
    let mut client = ServerReflectionClient::new(connected(running).await);
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await?.into_inner();
    match answers.message().await?.unwrap().message_response.unwrap() {
        MessageResponse::ListServicesResponse(list) => {
            let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
            names.sort();
            Ok(names)
        }
        other => panic!("{other:?}"),
    }
}

/// Whether reflection, version 1 alpha, knows the service of this test.
async fn known_to_alpha(running: &Running) -> bool {
    use tonic_reflection::pb::v1alpha::ServerReflectionRequest;
    use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse;

    let message_request = Some(MessageRequest::FileContainingSymbol("echo.Echo".into()));
    let request = ServerReflectionRequest { host: String::new(), message_request };
    let mut client = ServerReflectionClient::new(connected(running).await);
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    matches!(answer, MessageResponse::FileDescriptorResponse(_))
}

#[tokio::test]
async fn who_asks_for_it_has_it_in_both_versions() {
    for builder in [builder(), builder().mode(Mode::Development)] {
        let running = Running::start(builder.reflection(descriptors())).await;
        let expected = ["echo.Echo", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"];
        assert_eq!(listed(&running).await.unwrap(), expected);
        assert!(known_to_alpha(&running).await);
    }
}

#[tokio::test]
async fn a_health_service_that_is_not_there_is_not_told_of() {
    let running = Running::start(builder().health_service(false).reflection(descriptors())).await;
    assert_eq!(listed(&running).await.unwrap(), ["echo.Echo", "grpc.reflection.v1.ServerReflection"]);
}

#[tokio::test]
async fn nothing_is_told_unasked_or_in_production() {
    for builder in [
        builder(),
        builder().mode(Mode::Development),
        builder().reflection(descriptors()).mode(Mode::Production),
        builder().mode(Mode::Production).reflection(descriptors()),
    ] {
        let running = Running::start(builder).await;
        assert_eq!(listed(&running).await.unwrap_err().code(), Code::Unimplemented);
    }
}

#[tokio::test]
async fn what_cannot_be_told_is_refused_before_anything_is_served() {
    match builder().reflection(b"not a set of descriptors").bind().await.unwrap_err() {
        ServerError::Invalid(error) => assert_eq!(error.field(), Some("reflection")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_router_with_reflection_of_its_own_is_refused() {
    let own = tonic_reflection::server::Builder::configure().build_v1().unwrap();
    let server = builder().reflection(descriptors()).bind().await.unwrap();
    match server.serve(support::Named::new("a").router().add_service(own)).await.unwrap_err() {
        ServerError::Invalid(error) => assert_eq!(error.field(), Some("router")),
        other => panic!("{other:?}"),
    }
}

#[cfg(feature = "serde")]
mod by_configuration {
    use registry_tonic::config::ServerConfig;
    use tonic_health::pb::health_check_response::ServingStatus::Serving;

    use super::*;

    async fn start(more: &str) -> Running {
        let yaml = format!("{{Name: echo.rpc, ListenOn: '127.0.0.1:0', {more}}}");
        let config: ServerConfig = yaml_serde::from_str(&yaml).unwrap();
        let builder = config.builder(shared(&MemoryRegistry::new())).unwrap();
        let builder = builder.shutdown_on(std::future::pending()).reflection(descriptors());
        let running = Running::start(builder).await;
        running.registered().await;
        running
    }

    #[tokio::test]
    async fn it_is_told_of_in_dev_and_test_alone() {
        let expected = ["echo.Echo", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"];
        for mode in ["dev", "test"] {
            let running = start(&format!("Mode: {mode}")).await;
            assert_eq!(listed(&running).await.unwrap(), expected, "{mode}");
        }
        for mode in ["Mode: rt", "Mode: pre", "Mode: pro", ""] {
            let running = start(mode).await;
            assert_eq!(listed(&running).await.unwrap_err().code(), Code::Unimplemented, "{mode}");
        }
    }

    #[tokio::test]
    async fn health_is_served_unless_it_is_switched_off() {
        for (health, expected) in
            [("", Ok(Serving)), ("Health: true", Ok(Serving)), ("Health: false", Err(Code::Unimplemented))]
        {
            assert_eq!(start(health).await.health("").await, expected, "{health}");
        }
    }
}
