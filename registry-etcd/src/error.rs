//! From etcd's errors to classified ones.

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
        other => Error::new(ErrorKind::Unavailable, operation, other.to_string()),
    };
    classified.with_backend(BACKEND).with_source(error)
}

/// etcd's errors are those of `api/v3rpc/rpctypes/error.go`: a code, and a message that tells them apart.
fn of_status(operation: Operation, status: &Status) -> Error {
    let message = status.message();
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
        Code::InvalidArgument if message.contains("authentication failed") => ErrorKind::Unauthenticated,
        Code::InvalidArgument if message.contains("user name is empty") => ErrorKind::Unauthenticated,
        Code::InvalidArgument => ErrorKind::InvalidInput,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, operation, format!("{}: {message}", status.code()))
}

/// An error of this backend.
pub(crate) fn failure(kind: ErrorKind, operation: Operation, message: impl Into<String>) -> Error {
    Error::new(kind, operation, message.into()).with_backend(BACKEND)
}

/// The watch cannot go on from its cursor.
pub(crate) fn lost(cause: ResetCause, message: &'static str) -> Error {
    Error::cursor_lost(cause, message).with_backend(BACKEND)
}
