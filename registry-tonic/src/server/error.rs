//! Why a server could not start, or ended.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

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
    /// What it should publish is not acceptable.
    Invalid(registry_core::Error),
    /// Another process took its id over. It has stopped taking calls and finished those in flight.
    Fenced(registry_core::Error),
    /// Its registrar ended: what it publishes was refused, or the registry is closed for good.
    Unregistered(registry_core::Error),
    /// Serving failed, or ended by itself.
    Serving(Box<dyn StdError + Send + Sync>),
    /// Connections were still open, with calls in flight or silent ones, at the end of the time they had to finish.
    Unfinished {
        /// The time they had: what was allowed, or less when it was asked again to stop.
        after: Duration,
    },
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, .. } => write!(f, "cannot listen on {address:?}"),
            Self::Invalid(_) => f.write_str("cannot be registered"),
            Self::Fenced(_) => f.write_str("fenced: another process took the instance id over"),
            Self::Unregistered(_) => f.write_str("the registrar ended"),
            Self::Serving(_) => f.write_str("serving ended"),
            Self::Unfinished { after } => write!(f, "connections were still open after {after:?}"),
        }
    }
}

impl StdError for ServerError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Listen { source, .. } => Some(source),
            Self::Invalid(error) | Self::Fenced(error) | Self::Unregistered(error) => Some(error),
            Self::Serving(error) => Some(&**error),
            Self::Unfinished { .. } => None,
        }
    }
}
