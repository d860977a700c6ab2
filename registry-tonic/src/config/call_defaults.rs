//! What calls have unless they say otherwise: a service around a channel.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request};
use tonic::metadata::MetadataMap;
use tower_service::Service;

/// As good as never. More than some thousand years cannot be said in a header.
const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

/// A channel whose calls have a deadline and metadata unless they bring their own. Give it to a generated client. Cheap to clone when
/// the channel is.
///
/// The deadline holds until the end of the answer, of streams as well, since a channel cannot tell a stream from a single answer. go-zero's holds for single
/// answers alone (it is a unary interceptor, `zrpc/internal/clientinterceptors/timeoutinterceptor.go`): call methods that stream for longer through [`inner`](Self::inner), or with `Request::set_timeout`.
#[derive(Clone, Debug)]
pub struct CallDefaults<S> {
    inner: S,
    defaults: Arc<HeaderMap>,
}

impl<S> CallDefaults<S> {
    /// Calls through `inner` have `metadata` and, unless it is `None`, a deadline.
    pub fn new(inner: S, timeout: Option<Duration>, metadata: MetadataMap) -> Self {
        let mut defaults = tonic::Request::new(());
        *defaults.metadata_mut() = metadata;
        if let Some(timeout) = timeout {
            defaults.set_timeout(timeout.min(NEVER));
        }
        let (metadata, _, ()) = defaults.into_parts();
        Self { inner, defaults: Arc::new(metadata.into_headers()) }
    }

    /// The channel, whose calls have nothing but what they bring.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

impl<S, B> Service<Request<B>> for CallDefaults<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let headers = request.headers_mut();
        for name in self.defaults.keys() {
            if !headers.contains_key(name) {
                for value in self.defaults.get_all(name) {
                    headers.append(name, value.clone());
                }
            }
        }
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{Ready, ready};

    use super::*;

    struct Shows;

    impl Service<Request<()>> for Shows {
        type Response = HeaderMap;
        type Error = Infallible;
        type Future = Ready<Result<HeaderMap, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<()>) -> Self::Future {
            ready(Ok(request.into_parts().0.headers))
        }
    }

    #[tokio::test]
    async fn a_call_has_the_defaults_unless_it_brings_its_own() {
        let mut metadata = MetadataMap::new();
        metadata.insert("app", "order".parse().unwrap());
        let mut calls = CallDefaults::new(Shows, Some(Duration::from_secs(2)), metadata);
        let text = |headers: &HeaderMap, name: &str| headers[name].to_str().unwrap().to_owned();

        let bare = calls.call(Request::new(())).await.unwrap();
        assert_eq!((text(&bare, "app"), bare.len()), ("order".into(), 2));
        assert!(text(&bare, "grpc-timeout").starts_with('2'), "{bare:?}");

        let own = Request::builder().header("grpc-timeout", "7S").header("app", "mine").body(()).unwrap();
        let own = calls.call(own).await.unwrap();
        assert_eq!(
            (text(&own, "app"), text(&own, "grpc-timeout"), own.len()),
            ("mine".into(), "7S".into(), 2)
        );
    }

    #[tokio::test]
    async fn without_defaults_nothing_is_added() {
        let mut calls = CallDefaults::new(Shows, None, MetadataMap::new());
        assert!(calls.call(Request::new(())).await.unwrap().is_empty());
    }
}
