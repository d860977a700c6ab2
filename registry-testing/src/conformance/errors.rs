//! Errors: classified, with the operation, the backend and advice that a caller can follow.

use std::time::Duration;

use registry_core::{Error, ErrorKind, OnConflict, Operation, Registry, Retry};
use tokio::time::timeout;

use super::Backend;
use super::support::{
    answer, entries, instance, lookup, options, refusal, register, register_with, until_answered, user,
    weighing,
};

/// Every failed operation's error.
async fn failures(client: &dyn Registry, lease: &registry_core::Lease) -> Vec<(Operation, Error)> {
    vec![
        (Operation::Register, refusal(client.register(&instance(2), &options(client))).await),
        (Operation::Keepalive, refusal(client.keepalive(lease)).await),
        (Operation::Update, refusal(client.update(lease, &instance(1))).await),
        (Operation::Deregister, refusal(client.deregister(lease)).await),
        (Operation::Lookup, refusal(client.lookup(&user())).await),
        (Operation::Services, refusal(client.services("")).await),
    ]
}

/// Without a connection every operation fails, within seconds, and says that trying again later may help.
pub async fn an_unreachable_store_is_told_and_may_be_asked_again(backend: &dyn Backend) {
    let (client, link) = backend.linked_client().await;
    let lease = register(&*client, &instance(1)).await.lease;
    link.cut().await;
    for (operation, error) in failures(&*client, &lease).await {
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
        assert!(matches!(error.retry(), Retry::AfterBackoff | Retry::Now), "{error:?}");
        assert_eq!(error.operation(), operation, "{error}");
        assert!(!error.message().is_empty(), "{error:?} says nothing");
    }
    link.heal().await;
    until_answered(async || client.keepalive(&lease).await).await;
    assert_eq!(lookup(&*client, &user()).await.len(), 1, "nothing happened meanwhile");
}

/// Into a black hole, operations end with an error or are given up by their caller; afterwards all is well.
pub async fn operations_given_up_in_a_black_hole_do_no_harm(backend: &dyn Backend) {
    let (client, link) = backend.linked_client().await;
    let other = backend.client().await;
    let options = options(&*client);
    let registration = register_with(&*client, &instance(1), &options).await;
    link.black_hole().await;
    let limit = Duration::from_millis(500);
    let lease = &registration.lease;
    let unanswered = [
        timeout(limit, client.register(&instance(1), &options)).await.is_ok_and(|answer| answer.is_ok()),
        timeout(limit, client.keepalive(lease)).await.is_ok_and(|answer| answer.is_ok()),
        timeout(limit, client.lookup(&user())).await.is_ok_and(|answer| answer.is_ok()),
        timeout(limit, client.services("")).await.is_ok_and(|answer| answer.is_ok()),
    ];
    assert_eq!(unanswered, [false; 4], "nothing comes out of a black hole");
    link.heal().await;
    until_answered(async || client.keepalive(lease).await).await;
    assert_eq!(lookup(&*other, &user()).await.len(), 1);
    assert_eq!(register_with(&*client, &instance(1), &options).await.lease, registration.lease);
}

/// A lost lease says so, names the operation, and advises to establish the state anew.
pub async fn a_lost_lease_advises_to_register_again(backend: &dyn Backend) {
    let client = backend.client().await;
    let lost = register(&*client, &instance(1)).await.lease;
    register(&*client, &instance(1)).await;
    for (operation, error) in [
        (Operation::Keepalive, refusal(client.keepalive(&lost)).await),
        (Operation::Update, refusal(client.update(&lost, &instance(1))).await),
    ] {
        assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}");
        assert_eq!(error.retry(), Retry::Resync, "{error:?}");
        assert_eq!(error.operation(), operation, "{error}");
        assert!(!error.message().is_empty());
    }
}

/// An id that is held says so, and that the same call will fail again.
pub async fn an_id_that_is_held_advises_not_to_ask_again(backend: &dyn Backend) {
    let client = backend.client().await;
    register(&*client, &instance(1)).await;
    let refuse = options(&*client).with_on_conflict(OnConflict::Refuse);
    let error = refusal(client.register(&instance(1), &refuse)).await;
    assert_eq!(error.kind(), ErrorKind::AlreadyRegistered, "{error}");
    assert_eq!(error.retry(), Retry::Never, "{error:?}");
    assert_eq!(error.operation(), Operation::Register, "{error}");
    assert!(!error.message().is_empty());
}

/// Every error names the backend that raised it, always the same one.
pub async fn errors_name_their_backend(backend: &dyn Backend) {
    let client = backend.client().await;
    let lost = register(&*client, &instance(1)).await.lease;
    register(&*client, &instance(1)).await;
    let refuse = options(&*client).with_on_conflict(OnConflict::Refuse);
    let errors = [
        refusal(client.keepalive(&lost)).await,
        refusal(client.update(&lost, &instance(1))).await,
        refusal(client.register(&instance(1), &refuse)).await,
    ];
    let name = errors[0].to_string().split(' ').next().map(str::to_owned).expect("an error says something");
    for error in errors {
        let text = error.to_string();
        assert!(text.starts_with(&format!("{name} {}: {}", error.operation(), error.kind())), "{text}");
        assert!(!name.ends_with(':'), "{text:?} names no backend");
    }
}

/// A refused operation changes nothing.
pub async fn what_is_refused_changes_nothing(backend: &dyn Backend) {
    let client = backend.client().await;
    let lost = register(&*client, &instance(1)).await.lease;
    register(&*client, &weighing(&instance(1), 7)).await;
    let before = lookup(&*client, &user()).await;
    let refuse = options(&*client).with_on_conflict(OnConflict::Refuse);
    refusal(client.register(&instance(1), &refuse)).await;
    refusal(client.keepalive(&lost)).await;
    refusal(client.update(&lost, &instance(1))).await;
    assert_eq!(entries(&lookup(&*client, &user()).await), entries(&before));
}

/// A full store refuses what is new and keeps what is there: heartbeats, updates, lookups and leaving go on.
pub async fn a_full_store_refuses_only_what_is_new(backend: &dyn Backend) {
    let client = backend.client().await;
    let there = register(&*client, &instance(1)).await;
    backend.fill().await;
    let error = refusal(client.register(&instance(2), &options(&*client))).await;
    assert_eq!(error.kind(), ErrorKind::StoreFull, "{error}");
    assert_eq!(error.operation(), Operation::Register, "{error}");
    assert_eq!(error.retry(), Retry::AfterBackoff, "{error:?}");
    answer(client.keepalive(&there.lease)).await;
    assert_eq!(lookup(&*client, &user()).await.len(), 1);
    answer(client.deregister(&there.lease)).await;
    backend.unfill().await;
    register(&*client, &instance(2)).await;
    assert_eq!(lookup(&*client, &user()).await.len(), 1);
}
