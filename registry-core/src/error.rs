//! The one error type: what kind of failure, in which operation, of which backend, and what to do next.

use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::event::ResetCause;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in terms a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A value given by the caller is not acceptable; [`Error::field`] says which.
    InvalidInput,
    /// The instance id is held by another owner, and the options said not to take it.
    AlreadyRegistered,
    /// The lease expired, was revoked, was taken over, or its store was wiped.
    LeaseLost,
    /// The cursor cannot be resumed; [`Error::reset_cause`] says why.
    CursorLost,
    /// The registry cannot be reached, or cannot serve at the moment. Whether a change happened is unknown.
    Unavailable,
    /// No answer within the deadline. Whether a change happened is unknown.
    Timeout,
    /// The credentials are missing or wrong.
    Unauthenticated,
    /// The credentials are right and do not allow this.
    PermissionDenied,
    /// The store refuses new data: quota, memory limit, disk.
    StoreFull,
    /// The store holds something that this library cannot read, or contradicts itself.
    Corrupt,
    /// This backend, or this build, cannot do that.
    Unsupported,
    /// The object was closed before the operation could complete.
    Closed,
}

/// What to do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retry {
    /// The same call will fail again: change the input or the set-up first.
    Never,
    /// The same call may be made again at once.
    Now,
    /// The same call may be made again after a growing, jittered delay.
    AfterBackoff,
    /// Establish the state anew first: register again, or read a fresh snapshot.
    Resync,
}

/// The operation that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Parsing or checking a value, before any registry was asked.
    Parse,
    /// Opening a connection to the registry.
    Connect,
    /// [`Registry::register`](crate::Registry::register).
    Register,
    /// [`Registry::keepalive`](crate::Registry::keepalive).
    Keepalive,
    /// [`Registry::update`](crate::Registry::update).
    Update,
    /// [`Registry::deregister`](crate::Registry::deregister).
    Deregister,
    /// [`Registry::lookup`](crate::Registry::lookup).
    Lookup,
    /// [`Registry::services`](crate::Registry::services).
    Services,
    /// [`Registry::watch`](crate::Registry::watch).
    Watch,
}

impl Operation {
    /// The operation in one lower-case word, as a label of metrics: that of the method.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Connect => "connect",
            Self::Register => "register",
            Self::Keepalive => "keepalive",
            Self::Update => "update",
            Self::Deregister => "deregister",
            Self::Lookup => "lookup",
            Self::Services => "services",
            Self::Watch => "watch",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ErrorKind {
    /// The advice that goes with this kind unless a backend knows better.
    #[must_use]
    pub fn default_retry(self) -> Retry {
        match self {
            Self::InvalidInput | Self::AlreadyRegistered | Self::Unsupported | Self::Closed => Retry::Never,
            Self::LeaseLost | Self::CursorLost => Retry::Resync,
            Self::Unavailable
            | Self::Timeout
            | Self::StoreFull
            | Self::Corrupt
            | Self::Unauthenticated
            | Self::PermissionDenied => Retry::AfterBackoff,
        }
    }

    /// The kind in one lower-case word, as a label of metrics: `lease_lost`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid_input",
            Self::AlreadyRegistered => "already_registered",
            Self::LeaseLost => "lease_lost",
            Self::CursorLost => "cursor_lost",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::StoreFull => "store_full",
            Self::Corrupt => "corrupt",
            Self::Unsupported => "unsupported",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidInput => "invalid input",
            Self::AlreadyRegistered => "already registered",
            Self::LeaseLost => "lease lost",
            Self::CursorLost => "cursor lost",
            Self::Unavailable => "registry unavailable",
            Self::Timeout => "timed out",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission denied",
            Self::StoreFull => "store full",
            Self::Corrupt => "corrupt data",
            Self::Unsupported => "unsupported",
            Self::Closed => "closed",
        })
    }
}

/// A classified failure. Cheap to clone.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    operation: Operation,
    backend: &'static str,
    retry: Retry,
    message: Cow<'static, str>,
    field: Option<&'static str>,
    reset_cause: Option<ResetCause>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` in `operation`, with a message for people that says what happened.
    pub fn new(kind: ErrorKind, operation: Operation, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            inner: Arc::new(Inner {
                kind,
                operation,
                backend: "",
                retry: kind.default_retry(),
                message: message.into(),
                field: None,
                reset_cause: None,
                source: None,
            }),
        }
    }

    /// Bad input: `field` is not acceptable because of `reason`.
    pub fn invalid(field: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidInput, Operation::Parse, reason).map(|inner| inner.field = Some(field))
    }

    /// A watch cannot go on from its cursor, because of `cause`.
    pub fn cursor_lost(cause: ResetCause, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::CursorLost, Operation::Watch, message)
            .map(|inner| inner.reset_cause = Some(cause))
    }

    /// The same error, told of another operation.
    #[must_use]
    pub fn with_operation(self, operation: Operation) -> Self {
        self.map(|inner| inner.operation = operation)
    }

    /// The same error, with the name of the backend that raised it.
    #[must_use]
    pub fn with_backend(self, backend: &'static str) -> Self {
        self.map(|inner| inner.backend = backend)
    }

    /// The same error, with other advice than [`ErrorKind::default_retry`].
    #[must_use]
    pub fn with_retry(self, retry: Retry) -> Self {
        self.map(|inner| inner.retry = retry)
    }

    /// The same error, with the error that caused it.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let source = source.into();
        self.map(|inner| inner.source = Some(source.into()))
    }

    /// What a caller can act on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The operation that failed.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.inner.operation
    }

    /// The backend that raised it, or an empty string where none was involved.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.inner.backend
    }

    /// What to do next.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.inner.retry
    }

    /// For [`ErrorKind::InvalidInput`]: the field that is not acceptable.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        self.inner.field
    }

    /// For [`ErrorKind::CursorLost`]: why the cursor cannot be resumed.
    #[must_use]
    pub fn reset_cause(&self) -> Option<ResetCause> {
        self.inner.reset_cause
    }

    /// The message for people, without kind, operation and backend.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    fn map(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.inner));
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.inner;
        if !inner.backend.is_empty() {
            write!(f, "{} ", inner.backend)?;
        }
        write!(f, "{}: {}", inner.operation, inner.kind)?;
        if let Some(field) = inner.field {
            write!(f, ": {field}")?;
        }
        if !inner.message.is_empty() {
            write!(f, ": {}", inner.message)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.inner;
        f.debug_struct("Error")
            .field("kind", &inner.kind)
            .field("operation", &inner.operation)
            .field("backend", &inner.backend)
            .field("retry", &inner.retry)
            .field("message", &inner.message)
            .field("field", &inner.field)
            .field("reset_cause", &inner.reset_cause)
            .field("source", &inner.source)
            .finish()
    }
}

/// So that a name that is already parsed is taken where one that must be parsed would be.
impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_backend_operation_kind_field_and_reason() {
        let error = Error::invalid("service name", "is empty").with_backend("memory");
        assert_eq!(error.to_string(), "memory parse: invalid input: service name: is empty");
        assert_eq!(error.field(), Some("service name"));
        assert_eq!(error.retry(), Retry::Never);
    }

    #[test]
    fn the_source_is_kept() {
        let io = std::io::Error::other("broken pipe");
        let error = Error::new(ErrorKind::Unavailable, Operation::Lookup, "no answer").with_source(io);
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("broken pipe"));
        assert_eq!(error.clone().source().map(ToString::to_string).as_deref(), Some("broken pipe"));
    }
}
