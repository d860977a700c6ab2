//! How long a server may take over a call: a layer for tonic's server.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

/// How long a server may take until it begins to answer a call, in general and for single methods; then the call fails with
/// `DEADLINE_EXCEEDED`, and its handler is dropped.
///
/// For `tonic::transport::Server::builder().layer(…)`. go-zero spares streams. Here a stream of answers may go on for as long as it
/// likes once it has begun, but a method that first reads a stream of requests is held to its time: give it another, or none.
#[derive(Clone, Debug, Default)]
pub struct CallTimeouts {
    general: Option<Duration>,
    methods: Arc<BTreeMap<String, Option<Duration>>>,
}

impl CallTimeouts {
    /// `general` is for the methods that are not among `methods`, which are named as in `/user.Users/Find`. `None` is no limit.
    pub fn new(
        general: Option<Duration>,
        methods: impl IntoIterator<Item = (String, Option<Duration>)>,
    ) -> Self {
        Self { general, methods: Arc::new(methods.into_iter().collect()) }
    }

    /// How long a call of `method` may take; `None` is no limit.
    #[must_use]
    pub fn of(&self, method: &str) -> Option<Duration> {
        self.methods.get(method).copied().unwrap_or(self.general)
    }
}

impl<S> Layer<S> for CallTimeouts {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Timed<S> {
        Timed { inner, timeouts: self.clone() }
    }
}

/// A service with [`CallTimeouts`].
#[derive(Clone, Debug)]
pub struct Timed<S> {
    inner: S,
    timeouts: CallTimeouts,
}

impl<S, B, R> Service<Request<B>> for Timed<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method = request.uri().path();
        let Some(limit) = self.timeouts.of(method) else { return Box::pin(self.inner.call(request)) };
        let method = method.to_owned();
        let call = self.inner.call(request);
        Box::pin(async move {
            tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
                let message = format!("{method}: no answer within the server's {limit:?}");
                Ok(tonic::Status::deadline_exceeded(message).into_http())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Answers(Duration);

    impl Service<Request<()>> for Answers {
        type Response = Response<()>;
        type Error = std::convert::Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<Response<()>, Self::Error>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            let after = self.0;
            Box::pin(async move {
                tokio::time::sleep(after).await;
                Ok(Response::new(()))
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_longer_than_the_method_may_is_cut_short() {
        let second = Duration::from_secs(1);
        let slow = [("/a.A/Slow".to_owned(), Some(10 * second)), ("/a.A/Free".to_owned(), None)];
        let mut service = CallTimeouts::new(Some(2 * second), slow).layer(Answers(5 * second));
        for (method, status) in [("/a.A/Quick", Some("4")), ("/a.A/Slow", None), ("/a.A/Free", None)] {
            let began = tokio::time::Instant::now();
            let request = Request::builder().uri(method).body(()).unwrap();
            let response = service.call(request).await.unwrap();
            let found = response.headers().get("grpc-status").map(|status| status.to_str().unwrap());
            assert_eq!(found, status, "{method}");
            let took = if status.is_some() { 2 * second } else { 5 * second };
            assert_eq!(began.elapsed(), took, "{method}");
        }
    }
}
