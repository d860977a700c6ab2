//! Requests that can be sent more than once.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};
use http_body::{Body as _, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

/// A request, with all of its body. Without what is attached to it (`extensions`), which does not go over the wire.
#[derive(Debug)]
pub(super) struct Replay {
    method: Method,
    uri: Uri,
    version: Version,
    // Not as a map, which costs more to copy, and is needed only when it is sent again.
    headers: Vec<(HeaderName, HeaderValue)>,
    first: Option<Bytes>,
    more: Vec<Bytes>,
}

impl Replay {
    fn new(request: &Request<Kept>) -> Self {
        let kept = request.body();
        let data = |frame: &Frame<Bytes>| frame.data_ref().cloned();
        // Room for all of them at once, which the map does not tell `collect`.
        let mut headers = Vec::with_capacity(request.headers().len());
        headers.extend(request.headers().iter().map(|(name, value)| (name.clone(), value.clone())));
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers,
            first: kept.first.clone(),
            more: kept.more.iter().filter_map(data).collect(),
        }
    }

    /// The request, once more; `before` is how often it was tried by a server.
    pub(super) fn again(&self, before: u32) -> Request<Kept> {
        let more = self.more.iter().cloned().map(Frame::data).collect();
        let mut request = Request::new(Kept { first: self.first.clone(), more, ..Kept::default() });
        request.method_mut().clone_from(&self.method);
        request.uri_mut().clone_from(&self.uri);
        *request.version_mut() = self.version;
        for (name, value) in &self.headers {
            request.headers_mut().append(name.clone(), value.clone());
        }
        if before > 0 {
            request.headers_mut().insert("grpc-previous-rpc-attempts", HeaderValue::from(before));
        }
        request
    }
}

/// Keeps what the request is made of, if its body is there at once and is at most `limit` bytes long. An error where its caller fails to write it, at
/// once.
pub(super) fn keep(
    request: &mut Request<Kept>,
    limit: usize,
    cx: &mut Context<'_>,
) -> Result<Option<Replay>, Status> {
    let whole = request.body_mut().gather(limit, cx)?;
    Ok(whole.then(|| Replay::new(request)))
}

/// A body of which something was taken already, and the rest of it. Almost always that is one frame, and all.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    first: Option<Bytes>,
    more: VecDeque<Frame<Bytes>>,
    rest: Option<Body>,
    /// There once it is asked for.
    read: Option<Read>,
}

/// Whether a connection has begun to read a body.
#[derive(Clone, Debug, Default)]
pub(super) struct Read(Arc<AtomicBool>);

impl Read {
    pub(super) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl From<Body> for Kept {
    fn from(body: Body) -> Self {
        Self { rest: Some(body), ..Self::default() }
    }
}

impl Kept {
    /// Tells whether it was begun to be read, even after it is gone. None where there is nothing to read.
    pub(super) fn read(&mut self) -> Option<Read> {
        (!http_body::Body::is_end_stream(self)).then(|| self.read.get_or_insert_default().clone())
    }

    /// Takes what there is; whether that is all of it, and nothing but data.
    fn gather(&mut self, limit: usize, cx: &mut Context<'_>) -> Result<bool, Status> {
        let mut size = 0_usize;
        while let Some(rest) = &mut self.rest {
            match Pin::new(rest).poll_frame(cx) {
                Poll::Ready(None) => self.rest = None,
                Poll::Pending => return Ok(false),
                Poll::Ready(Some(frame)) => {
                    let data = match frame?.into_data() {
                        Ok(data) => data,
                        Err(other) => {
                            self.more.push_back(other);
                            return Ok(false);
                        }
                    };
                    size = size.saturating_add(data.len());
                    if self.first.is_none() && self.more.is_empty() {
                        self.first = Some(data);
                    } else {
                        self.more.push_back(Frame::data(data));
                    }
                    if size > limit {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }
}

impl http_body::Body for Kept {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(read) = &self.read {
            read.0.store(true, Ordering::Release);
        }
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if let Some(frame) = self.more.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        let rest = self.rest.as_ref().is_none_or(http_body::Body::is_end_stream);
        self.first.is_none() && self.more.is_empty() && rest
    }

    /// Never exact, although it may be known: HTTP/2 would say it in a header (`content-length`), which gRPC has no use for.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn keep(request: Request<Body>, limit: usize) -> Result<(Request<Kept>, Option<Replay>), Status> {
        let mut request = request.map(Kept::from);
        let replay = poll_fn(|cx| Poll::Ready(super::keep(&mut request, limit, cx))).await?;
        Ok((request, replay))
    }

    /// A body of frames, after which it may say nothing for ever.
    struct Frames(VecDeque<Result<Frame<Bytes>, Status>>, bool);

    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            match self.0.pop_front() {
                None if self.1 => Poll::Pending,
                frame => Poll::Ready(frame),
            }
        }
    }

    fn request(frames: &[&'static str], goes_on: bool) -> Request<Body> {
        let frames = frames.iter().map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes()))));
        let body = Body::new(Frames(frames.collect(), goes_on));
        Request::post("/user.User/Get").header("a", "b").body(body).unwrap()
    }

    async fn read(request: Request<Kept>, frames: usize) -> String {
        let mut body = request.into_body();
        let mut read = String::new();
        for _ in 0..frames {
            let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
            read.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
        read
    }

    #[tokio::test]
    async fn a_request_that_is_there_can_be_sent_as_often_as_one_likes() {
        let (first, replay) = keep(request(&["ab", "c"], false), 3).await.unwrap();
        let replay = replay.unwrap();
        assert_eq!(first.body().size_hint().exact(), None, "there would be a header for it");
        assert_eq!(read(first, 2).await, "abc");
        for before in [1, 2] {
            let again = replay.again(before);
            assert_eq!(
                (again.uri().path(), &again.headers()["a"]),
                ("/user.User/Get", &HeaderValue::from_static("b"))
            );
            assert_eq!(again.headers()["grpc-previous-rpc-attempts"], before.to_string());
            assert_eq!(read(again, 2).await, "abc");
        }
    }

    #[tokio::test]
    async fn whether_it_was_begun_to_be_read_is_known_after_it_is_gone() {
        let (mut first, replay) = keep(request(&["ab"], false), 3).await.unwrap();
        let (before, mut again) = (first.body_mut().read().unwrap(), replay.unwrap().again(0));
        drop(first);
        assert!(!before.has_begun());
        let after = again.body_mut().read().unwrap();
        read(again, 1).await;
        assert!(after.has_begun() && !before.has_begun());
        let (mut empty, _) = keep(request(&[], false), 3).await.unwrap();
        assert!(empty.body_mut().read().is_none(), "nothing is read of what is empty");
    }

    #[tokio::test]
    async fn one_that_is_too_long_or_still_coming_is_sent_once_and_loses_nothing() {
        for (limit, goes_on) in [(2, false), (100, true)] {
            let (first, replay) = keep(request(&["ab", "c"], goes_on), limit).await.unwrap();
            assert!(replay.is_none());
            assert_eq!(read(first, 2).await, "abc");
        }
    }

    #[tokio::test]
    async fn an_error_of_the_caller_is_told_before_anything_is_sent() {
        let data = Frame::data(Bytes::from_static(b"ab"));
        let frames = VecDeque::from([Ok(data), Err(Status::aborted("changed my mind"))]);
        let error = keep(Request::new(Body::new(Frames(frames, false))), 100).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (tonic::Code::Aborted, "changed my mind"));
    }
}
