//! From etcd's errors to classified ones.

use std::error::Error as StdError;

use registry_core::{Error, ErrorKind, Operation, ResetCause};
use tonic::{Code, Status};

use crate::BACKEND;

/// Classifies what the client library raised.
pub(crate) fn classify(operation: Operation, error: etcd_client::Error) -> Error {
    let classified = match &error {
        etcd_client::Error::GRpcStatus(status) => of_status(operation, status),
        etcd_client::Error::InvalidArgs(message) | etcd_client::Error::EndpointError(message) => {
            Error::new(ErrorKind::InvalidInput, operation, message.clone())
        }
        etcd_client::Error::InvalidUri(reason) => {
            Error::new(ErrorKind::InvalidInput, operation, format!("a URL of a member: {reason}"))
        }
        etcd_client::Error::LeaseKeepAliveError(message) if message.contains("lease not found") => {
            Error::new(ErrorKind::LeaseLost, operation, "the lease is not known to etcd")
        }
        // Made before anything is sent: certificates and keys that cannot be used.
        etcd_client::Error::TransportError(_) => Error::new(
            ErrorKind::Unauthenticated,
            operation,
            format!("TLS cannot be set up: {}", chain(&error)),
        ),
        other => Error::new(ErrorKind::Unavailable, operation, other.to_string()),
    };
    classified.with_backend(BACKEND).with_source(error)
}

/// etcd's errors are those of `api/v3rpc/rpctypes/error.go`: a code, and a message that tells them apart.
fn of_status(operation: Operation, status: &Status) -> Error {
    let message = status.message();
    if let Some(error) = of_tls(operation, status) {
        return error;
    }
    let kind = match status.code() {
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::PermissionDenied => ErrorKind::PermissionDenied,
        Code::ResourceExhausted if message.contains("space exceeded") => ErrorKind::StoreFull,
        Code::DeadlineExceeded => ErrorKind::Timeout,
        Code::NotFound if message.contains("lease not found") => ErrorKind::LeaseLost,
        Code::OutOfRange if message.contains("compacted") => {
            return Error::cursor_lost(ResetCause::Compacted, "the history after the cursor is compacted")
                .with_operation(operation);
        }
        Code::InvalidArgument if is_of_users(message) => ErrorKind::Unauthenticated,
        Code::InvalidArgument => ErrorKind::InvalidInput,
        _ => ErrorKind::Unavailable,
    };
    let message = match status.source() {
        Some(source) if message == "transport error" || message.is_empty() => chain(source),
        _ => message.to_owned(),
    };
    Error::new(kind, operation, message)
}

/// Wrong name or password, or none where one is demanded.
fn is_of_users(message: &str) -> bool {
    ["authentication failed", "user name is empty", "revision of auth store is old", "invalid auth token"]
        .iter()
        .any(|known| message.contains(known))
}

/// What one end found wrong with the other's certificate. rustls says so in the text of the innermost error.
fn of_tls(operation: Operation, status: &Status) -> Option<Error> {
    let text = chain(status.source()?);
    let reason = if text.contains("invalid peer certificate") {
        "etcd's certificate is not trusted"
    } else if text.contains("received fatal alert") {
        "etcd does not accept our certificate"
    } else if text.contains("InvalidContentType") || text.contains("corrupt message") {
        "etcd does not speak TLS there"
    } else {
        return None;
    };
    Some(Error::new(ErrorKind::Unauthenticated, operation, format!("{reason}: {text}")))
}

/// An error and what caused it, each cause once.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text = format!("{text}: {next_text}");
        }
        cause = next.source();
    }
    text
}

/// Why etcd ended a watch, by the text it gives: the only thing it gives.
pub(crate) fn cancelled(reason: &str) -> Error {
    let kind = if reason.contains("permission denied") {
        ErrorKind::PermissionDenied
    } else if is_of_users(reason) {
        ErrorKind::Unauthenticated
    } else {
        ErrorKind::Unavailable
    };
    let reason = if reason.is_empty() { "etcd ended the watch" } else { reason };
    failure(kind, Operation::Watch, reason.to_owned())
}

/// Whether an answer did not fit into a message.
pub(crate) fn is_too_large(error: &Error) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<etcd_client::Error>());
    matches!(cause, Some(etcd_client::Error::GRpcStatus(status)) if status.message().contains("message length too large"))
}

/// Whether a lease with the id that was asked for is there already.
pub(crate) fn is_granted_already(error: &Error) -> bool {
    error.message().contains("lease already exists")
}

/// An error of this backend.
pub(crate) fn failure(kind: ErrorKind, operation: Operation, message: impl Into<String>) -> Error {
    Error::new(kind, operation, message.into()).with_backend(BACKEND)
}

/// The watch cannot go on from its cursor.
pub(crate) fn lost(cause: ResetCause, message: &'static str) -> Error {
    Error::cursor_lost(cause, message).with_backend(BACKEND)
}
