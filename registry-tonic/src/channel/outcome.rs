//! What became of a call, as far as it says something about the endpoint.

use std::error::Error;

use http::{HeaderMap, HeaderName, Response};
use tonic::Code;

/// How a call ended on an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was answered; with what status is the business of the caller.
    Answered(Code),
    /// Its stream alone was reset: its handler panicked, its answer was longer than we take, or the request was not to be sent. The connection
    /// goes on, and all others on it.
    Reset,
    /// The connection broke.
    Broken,
    /// There was no answer within its deadline.
    TooLate,
}

impl Outcome {
    /// What an error of a call says of the endpoint.
    pub(crate) fn of(error: &hyper::Error) -> Self {
        match of_h2(error) {
            Some(h2) if !h2.is_io() && !h2.is_go_away() => Self::Reset,
            _ => Self::Broken,
        }
    }

    /// Whether it speaks against the endpoint.
    pub(crate) fn is_failure(self) -> bool {
        matches!(self, Self::Broken | Self::TooLate | Self::Answered(Code::Unavailable))
    }

    /// Whether its caller was told of an error.
    pub(crate) fn is_error(self) -> bool {
        self != Self::Answered(Code::Ok)
    }

    /// For people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Answered(Code::Unavailable) => "it answered UNAVAILABLE",
            Self::Answered(_) => "it answered",
            Self::Reset => "it reset the stream",
            Self::Broken => "its connection broke",
            Self::TooLate => "it did not answer within the deadline",
        }
    }
}

/// What HTTP/2 says of it, where it is about a stream or a connection.
pub(super) fn of_h2(error: &hyper::Error) -> Option<&h2::Error> {
    error.source().and_then(|source| source.downcast_ref())
}

/// The status that is known as soon as an answer begins: what the server says without any message, or what HTTP says where something between
/// answered in its place ("HTTP to gRPC Status Code Mapping" in the documentation of gRPC).
pub(crate) fn early_status<B>(response: &Response<B>) -> Option<Code> {
    status(response.headers()).or(match response.status().as_u16() {
        200 => None,
        400 => Some(Code::Internal),
        401 => Some(Code::Unauthenticated),
        403 => Some(Code::PermissionDenied),
        404 => Some(Code::Unimplemented),
        429 | 502..=504 => Some(Code::Unavailable),
        _ => Some(Code::Unknown),
    })
}

/// The status in the headers or trailers of an answer, if it is there.
pub(crate) fn status(headers: &HeaderMap) -> Option<Code> {
    // Made once, so that it is not parsed for each answer.
    static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
    headers.get(&GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_endpoint_cannot_help_speaks_against_it() {
        let failures = [Outcome::Broken, Outcome::TooLate, Outcome::Answered(Code::Unavailable)];
        assert!(failures.iter().all(|outcome| outcome.is_failure() && outcome.is_error()));
        for code in [Code::Ok, Code::NotFound, Code::Internal, Code::DeadlineExceeded] {
            assert!(!Outcome::Answered(code).is_failure(), "{code:?}");
        }
        assert!(Outcome::Reset.is_error() && !Outcome::Reset.is_failure());
        assert!(Outcome::Answered(Code::NotFound).is_error() && !Outcome::Answered(Code::Ok).is_error());
    }

    #[test]
    fn a_status_is_read_where_there_is_one() {
        let mut headers = HeaderMap::new();
        assert_eq!(status(&headers), None);
        headers.insert("grpc-status", http::HeaderValue::from_static("14"));
        assert_eq!(status(&headers), Some(Code::Unavailable));
        let answer = |status: u16| Response::builder().status(status).body(()).unwrap();
        assert_eq!(
            [200, 503, 404].map(|code| early_status(&answer(code))),
            [None, Some(Code::Unavailable), Some(Code::Unimplemented)]
        );
    }
}
