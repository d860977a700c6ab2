//! What can go wrong with a server under test.

use std::fmt;
use std::io;
use std::time::Duration;

/// Why a server could not be started or controlled. Its text carries the last lines of the server's log where there are any.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerError {
    /// The program is not installed, or an engine or an image for containers is not there.
    Missing {
        /// The program, or what else is missing.
        program: String,
        /// What to do about it.
        hint: String,
    },
    /// The server ended although it should run.
    Exited {
        /// The server.
        name: String,
        /// Its exit status.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// Something else listens on the port.
    AddressInUse {
        /// The server.
        name: String,
        /// The last lines of its log.
        log: String,
    },
    /// A condition did not come true in time.
    Timeout {
        /// The condition.
        what: String,
        /// How long it was waited for.
        within: Duration,
        /// The last lines of the server's log, or nothing.
        log: String,
    },
    /// The server, or its tool, refused a request.
    Refused {
        /// The request.
        request: String,
        /// The answer.
        answer: String,
    },
    /// The system does not allow a disk whose power can be cut.
    NoDisk {
        /// What it said.
        why: String,
    },
    /// The operating system refused.
    Io {
        /// What was tried.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl ServerError {
    /// For `map_err`: an error of the operating system while `doing` something.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    pub(crate) fn refused(request: impl Into<String>, answer: impl Into<String>) -> Self {
        Self::Refused { request: request.into(), answer: answer.into() }
    }

    /// The same, with the server's log if it has none yet.
    pub(crate) fn with_log(mut self, tail: impl FnOnce() -> String) -> Self {
        if let Self::Timeout { log, .. } = &mut self
            && log.is_empty()
        {
            *log = tail();
        }
        self
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { program, hint } => write!(f, "{program} is missing: {hint}"),
            Self::Exited { name, status, log } => write!(f, "{name} ended ({status}); its log:\n{log}"),
            Self::AddressInUse { name, log } => write!(f, "a port of {name} is in use; its log:\n{log}"),
            Self::Timeout { what, within, log } if log.is_empty() => {
                write!(f, "{what}: not within {within:?}")
            }
            Self::Timeout { what, within, log } => {
                write!(f, "{what}: not within {within:?}; the log:\n{log}")
            }
            Self::Refused { request, answer } => write!(f, "{request}: {answer}"),
            Self::NoDisk { why } => write!(
                f,
                "no disk whose power can be cut; it needs root that may mount ext4 on a loop device (in a container: `--privileged`): {why}"
            ),
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
        }
    }
}

impl std::error::Error for ServerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
