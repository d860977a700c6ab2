//! Why a server could not start, or ended.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use registry_core::ServiceName;

/// Why a [`Server`](crate::Server) could not start, or ended otherwise than in order.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerError {
    /// It cannot listen there.
    Listen {
        /// The address it was to listen on.
        address: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// What it should publish or serve is not acceptable.
    Invalid(registry_core::Error),
    /// Another process took an id of it over. It has left, stopped taking calls and finished those in flight.
    Fenced {
        /// The service whose id was taken.
        service: ServiceName,
        /// What the registry said.
        source: registry_core::Error,
    },
    /// A registrar of it ended: what it publishes was refused, or the registry is closed for good. It has left, stopped taking calls and
    /// finished those in flight.
    Unregistered {
        /// The service that it could not be a copy of.
        service: ServiceName,
        /// What the registry said.
        source: registry_core::Error,
    },
    /// Serving failed, or ended by itself.
    Serving(Box<dyn StdError + Send + Sync>),
    /// Connections were still open, with calls in flight, at the end of the time they had to finish.
    Unfinished {
        /// The time they had: what was allowed, or less when it was asked again to stop.
        after: Duration,
    },
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, .. } => write!(f, "cannot listen on {address:?}"),
            Self::Invalid(_) => f.write_str("cannot be started as asked"),
            Self::Fenced { service, .. } => {
                write!(f, "fenced: another process took the instance id of {service} over")
            }
            Self::Unregistered { service, .. } => write!(f, "the registrar of {service} ended"),
            Self::Serving(_) => f.write_str("serving ended"),
            Self::Unfinished { after } => write!(f, "connections were still open after {after:?}"),
        }
    }
}

impl StdError for ServerError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Listen { source, .. } => Some(source),
            Self::Invalid(source) | Self::Fenced { source, .. } | Self::Unregistered { source, .. } => {
                Some(source)
            }
            Self::Serving(error) => Some(&**error),
            Self::Unfinished { .. } => None,
        }
    }
}
