//! What a client is to call, on one line. Pure: nothing is opened.

mod forms;
pub(crate) mod go_zero;
pub(crate) mod url;

use std::fmt;
use std::str::FromStr;

use registry_core::{Endpoint, Error, Result, ServiceName};

pub use self::url::RegistryUrl;

/// What a client is to call: a service of a registry, or fixed endpoints.
///
/// | target | means |
/// | --- | --- |
/// | `direct:///h1:8080,h2:8080` | these endpoints, without a registry |
/// | `discov://h1:2379,h2:2379/user.rpc` | go-zero's: the service whose `Key` is `user.rpc`, in the etcd with these members |
/// | `etcd:///h1:2379,h2:2379?key=user.rpc` | the same, as go-zero writes it since it may not have several hosts before the path |
/// | `etcd://h1,h2/root?service=user.rpc` | the service `user.rpc` of the registry at `etcd://h1,h2/root` |
/// | `redis://h?service=user.rpc`, `memory://name?service=user.rpc`, … | likewise, for every URL that `service_registry::connect` takes; all other parameters are for it |
///
/// A `Key` with slashes is one of a service with a prefix: `team/user.rpc` is `user.rpc` of the registry at
/// `etcd://h/team?layout=go-zero`. Both forms of go-zero take the parameters of `connect` for etcd as well; `discov://` also
/// takes a user, `discov://user:password@h/user.rpc`. In `key`, `+` is a space, as go-zero has it; what has a meaning in URLs is
/// percent-encoded everywhere.
///
/// ```
/// use registry_tonic::Target;
///
/// let target: Target = "discov://10.0.0.1,10.0.0.2/team/user.rpc".parse()?;
/// assert_eq!(target.to_string(), "etcd://10.0.0.1,10.0.0.2/team?layout=go-zero&service=user.rpc");
/// # Ok::<(), registry_core::Error>(())
/// ```
///
/// Written out (`Display`, `Debug`) it says nothing of a password.
///
/// # Errors of parsing
/// [`InvalidInput`](registry_core::ErrorKind::InvalidInput), with the field `target`: which part is missing, or which forms there
/// are. Nothing that may be a password is repeated. What only the registry can judge, such as a port or a parameter, is told when connecting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// These endpoints; at least one, each once.
    Direct(Vec<Endpoint>),
    /// A service of a registry.
    Registry {
        /// Where the registry is, for `service_registry::connect`.
        url: RegistryUrl,
        /// The service.
        service: ServiceName,
    },
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        forms::parse(text).map_err(|reason| Error::invalid("target", reason))
    }
}

impl TryFrom<&str> for Target {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        text.parse()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(endpoints) => {
                let endpoints: Vec<String> = endpoints.iter().map(Endpoint::authority).collect();
                write!(f, "direct:///{}", endpoints.join(","))
            }
            Self::Registry { url, service } => {
                let separator = if url.as_str().contains('?') { '&' } else { '?' };
                write!(f, "{url}{separator}service={service}")
            }
        }
    }
}

/// `host:port` each; empty ones are skipped, as go-zero does.
pub(crate) fn endpoints<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<Endpoint>, String> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    let texts = texts.map(str::trim).filter(|text| !text.is_empty());
    for (at, text) in texts.enumerate() {
        let endpoint = Endpoint::from_str(text).map_err(|error| {
            format!("has an endpoint that cannot be called, {} (endpoint {})", error.message(), at + 1)
        })?;
        if endpoint.protocol().is_some() {
            return Err(format!("has an endpoint that is not host:port (endpoint {})", at + 1));
        }
        if !endpoints.contains(&endpoint) {
            endpoints.push(endpoint);
        }
    }
    if endpoints.is_empty() { Err("has no endpoint, such as 10.0.0.7:8080".into()) } else { Ok(endpoints) }
}

#[cfg(test)]
mod tests;
