//! What the tests share: instances, registering, waiting.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use registry_core::{
    Entry, Error, ErrorKind, Instance, InstanceId, RegisterOptions, Registration, Registry, Result,
    ServiceName, Snapshot, Ttl,
};
use tokio::time::{Instant, sleep, timeout};

/// How long a condition may take to come true, where no guarantee says less. Longer than a watch may be silent.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(20);

pub(super) fn service(name: &str) -> ServiceName {
    ServiceName::new(name).expect("a valid name")
}

/// The service that most tests are about.
pub(super) fn user() -> ServiceName {
    service("user.rpc")
}

/// Instance number `n` of `service`.
pub(super) fn instance_of(service: &ServiceName, n: usize) -> Instance {
    let endpoint = format!("10.0.{}.{}:8080", n / 250, n % 250 + 1);
    Instance::builder(service).endpoint(endpoint).build().expect("a valid instance")
}

/// Instance number `n` of the service that most tests are about.
pub(super) fn instance(n: usize) -> Instance {
    instance_of(&user(), n)
}

/// The same instance with another weight.
pub(super) fn weighing(instance: &Instance, weight: u32) -> Instance {
    instance.to_builder().weight(weight).build().expect("a valid instance")
}

/// The least TTL that the backend says it grants.
pub(super) fn brief(client: &dyn Registry) -> Ttl {
    client.guarantees().min_ttl
}

/// A TTL that no test outlives.
pub(super) fn lasting(client: &dyn Registry) -> Ttl {
    Ttl::from_secs(3600).expect("a valid TTL").max(brief(client))
}

/// New options with a lasting TTL.
pub(super) fn options(client: &dyn Registry) -> RegisterOptions {
    RegisterOptions::new().with_ttl(lasting(client))
}

/// Registers for longer than any test lasts.
pub(super) async fn register(client: &dyn Registry, instance: &Instance) -> Registration {
    register_with(client, instance, &options(client)).await
}

/// Registers for the least TTL.
pub(super) async fn register_briefly(client: &dyn Registry, instance: &Instance) -> Registration {
    register_with(client, instance, &options(client).with_ttl(brief(client))).await
}

pub(super) async fn register_with(
    client: &dyn Registry,
    instance: &Instance,
    options: &RegisterOptions,
) -> Registration {
    answer(client.register(instance, options)).await
}

pub(super) async fn lookup(client: &dyn Registry, service: &ServiceName) -> Snapshot {
    answer(client.lookup(service)).await
}

/// What a healthy registry answers.
pub(super) async fn answer<T>(call: impl Future<Output = Result<T>>) -> T {
    match timeout(ANSWER, call).await {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => panic!("refused: {error}"),
        Err(_) => panic!("no answer within {ANSWER:?}"),
    }
}

/// The error with which a registry refuses.
pub(super) async fn refusal<T: std::fmt::Debug>(call: impl Future<Output = Result<T>>) -> Error {
    match timeout(ANSWER, call).await {
        Ok(Ok(value)) => panic!("must be refused, and gave {value:?}"),
        Ok(Err(error)) => error,
        Err(_) => panic!("no answer within {ANSWER:?}"),
    }
}

/// Requires that the call is refused with this kind.
pub(super) async fn refused<T: std::fmt::Debug>(kind: ErrorKind, call: impl Future<Output = Result<T>>) {
    let error = refusal(call).await;
    assert_eq!(error.kind(), kind, "{error}");
}

/// Calls until it is answered, as a client whose connection was just mended does.
pub(super) async fn until_answered<T>(mut call: impl AsyncFnMut() -> Result<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = timeout(Duration::from_secs(2), call()).await;
        match answer {
            Ok(Ok(value)) => return value,
            _ if Instant::now() < deadline => sleep(Duration::from_millis(20)).await,
            other => panic!("not reachable within {PATIENCE:?}: {:?}", other.map(|answer| answer.err())),
        }
    }
}

/// Waits until `check` gives something.
pub(super) async fn eventually<T>(
    what: &str,
    within: Duration,
    mut check: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        let last = Instant::now() >= deadline;
        if let Some(value) = check().await {
            return value;
        }
        assert!(!last, "not within {within:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The ids listed, in order.
pub(super) fn ids(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.iter().map(|entry| entry.id().as_str()).collect()
}

/// The entries, for comparison: cursors may differ while entries do not.
pub(super) fn entries(snapshot: &Snapshot) -> Vec<Arc<Entry>> {
    snapshot.iter().map(Arc::clone).collect()
}

pub(super) fn entry<'a>(snapshot: &'a Snapshot, id: &InstanceId) -> &'a Arc<Entry> {
    match snapshot.get(id) {
        Some(entry) => entry,
        None => panic!("{id} is not listed; listed are {:?}", ids(snapshot)),
    }
}

/// Polls `future` at most `times` times, then drops it. `Some` when it ended before.
pub(super) async fn poll_times<F: Future>(times: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = times;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match Pin::new(&mut future).as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
