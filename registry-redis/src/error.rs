//! From Redis' errors to classified ones.

use redis::{ErrorKind as Kind, RedisError};
use registry_core::{Error, ErrorKind, Operation, ResetCause};

use crate::BACKEND;

/// Classifies what the client library raised or the server answered.
pub(crate) fn classify(operation: Operation, error: RedisError) -> Error {
    let kind = kind(&error);
    let message = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    };
    failure(kind, operation, message).with_source(error)
}

/// The codes are those of Redis' `server.c` (shared.*err) and `script.c`.
fn kind(error: &RedisError) -> ErrorKind {
    match error.code() {
        Some("OOM") => return ErrorKind::StoreFull,
        Some("NOAUTH" | "WRONGPASS") => return ErrorKind::Unauthenticated,
        Some("NOPERM") => return ErrorKind::PermissionDenied,
        Some("WRONGTYPE" | "CROSSSLOT") => return ErrorKind::Corrupt,
        Some("ERR") if error.detail().is_some_and(|detail| detail.contains("DB index is out of range")) => {
            return ErrorKind::InvalidInput;
        }
        // What a script may not do, and what the library asks while it connects, is not called NOPERM.
        Some("ERR") if error.detail().is_some_and(denies) => return ErrorKind::PermissionDenied,
        _ => {}
    }
    match error.kind() {
        Kind::AuthenticationFailed => ErrorKind::Unauthenticated,
        Kind::InvalidClientConfig => ErrorKind::InvalidInput,
        Kind::RESP3NotSupported => ErrorKind::Unsupported,
        Kind::Parse | Kind::UnexpectedReturnType => ErrorKind::Corrupt,
        _ => ErrorKind::Unavailable,
    }
}

fn denies(detail: &str) -> bool {
    detail.contains("has no permissions") || detail.starts_with("The user executing the script")
}

/// Whether the server refuses to write for now, and may still read.
pub(crate) fn refuses_writes(error: &RedisError) -> bool {
    matches!(error.code(), Some("OOM" | "MISCONF" | "NOREPLICAS"))
}

/// Whether the answer will be another one in a moment, from there or from another server.
pub(crate) fn is_passing(error: &RedisError) -> bool {
    matches!(
        error.code(),
        Some("TRYAGAIN" | "CLUSTERDOWN" | "LOADING" | "MASTERDOWN" | "READONLY" | "BUSY" | "UNBLOCKED")
    )
}

/// Whether the connection can still be used.
pub(crate) fn breaks_connection(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
        || matches!(error.code(), Some("NOAUTH"))
}

/// An error of this backend.
pub(crate) fn failure(kind: ErrorKind, operation: Operation, message: impl Into<String>) -> Error {
    Error::new(kind, operation, message.into()).with_backend(BACKEND)
}

/// What was answered is not what these scripts answer.
pub(crate) fn strange(operation: Operation, what: &str) -> Error {
    failure(ErrorKind::Corrupt, operation, format!("Redis answered something else than was asked: {what}"))
}

/// The watch cannot go on from its cursor.
pub(crate) fn lost(cause: ResetCause, message: &'static str) -> Error {
    Error::cursor_lost(cause, message).with_backend(BACKEND)
}
