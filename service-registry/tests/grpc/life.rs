//! What ends a server, and what takes it out of service.

use service_registry::Registry;
use service_registry::core::{RegistrarState, Status};
use service_registry::tonic::ServerError;
use tokio::sync::watch;

use super::stage::{MACHINE, Stage, over_each};
use super::support::{PATIENCE, call, eventually, service, settled, within};

over_each! {
    a_server_whose_id_is_taken_over_ends_with_an_error_and_its_successor_stays => fenced;
    an_unhealthy_server_drains_until_it_is_healthy_again_and_leaves_when_it_stops => unhealthy;
}

async fn fenced(stage: Stage) {
    let _busy = MACHINE.read().await;
    let old = stage.server_with("old", |builder| builder.id("127.0.0.1:1")).await;
    within("registered", old.handle.wait_until(RegistrarState::is_registered)).await;
    let new = stage.server_with("new", |builder| builder.id("127.0.0.1:1")).await;
    within("registered", new.handle.wait_until(RegistrarState::is_registered)).await;
    let error = old.ended().await.unwrap_err();
    assert!(matches!(&error, ServerError::Fenced { service: lost, .. } if *lost == service()), "{error:?}");
    let listed = stage.registry().await.lookup(&service()).await.unwrap();
    assert_eq!(listed.instances().collect::<Vec<_>>(), [new.handle.instance()]);
    let channel = stage.channel().await;
    settled(&channel, 1).await;
    assert_eq!(call(&channel, 0).await.unwrap(), "new");
}

async fn unhealthy(stage: Stage) {
    let _busy = MACHINE.read().await;
    let (tell, told) = watch::channel(true);
    let sick = stage.server_with("sick", |builder| builder.health_check(told)).await;
    let _well = stage.server("well").await;
    let channel = stage.channel().await;
    settled(&channel, 2).await;
    for (healthy, status) in [(false, Status::Draining), (true, Status::Up)] {
        tell.send_replace(healthy);
        within("seen", sick.handle.wait_until_state(|state| state.is_serving() == healthy)).await;
        let knows = channel.wait_until(PATIENCE, |all| {
            all.iter().any(|one| one.id == *sick.handle.instance().id() && one.status == status)
        });
        knows.await.unwrap();
        if !healthy {
            for _ in 0..50 {
                assert_eq!(call(&channel, 0).await.unwrap(), "well");
            }
        }
    }
    let id = sick.handle.instance().id().clone();
    sick.handle.shutdown();
    assert!(matches!(sick.ended().await, Ok(())));
    let registry = stage.registry().await;
    let listed = registry.lookup(&service()).await.unwrap();
    assert!(listed.get(&id).is_none() && listed.len() == 1, "it has deregistered: {listed:?}");
    eventually("its channel knows", || channel.endpoints().len() == 1).await;
}
