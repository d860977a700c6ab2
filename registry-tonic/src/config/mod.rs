//! Configuration of servers and clients as go-zero has it, for `serde`: a `user.yaml` of go-zero is read as it is.
//!
//! [`ServerConfig`] is go-zero's `RpcServerConf`, [`ClientConfig`] its `RpcClientConf`, with the same names, which are matched
//! without regard to case, and the same defaults. Fields that are not known, such as `DataSource`, `Cache` or another of a service's
//! own, are left alone. What is known, and cannot be meant here, is an error that names the field; what is known and has no effect, such as `Log` or
//! `Telemetry`, is told by `without_effect`, and logged when the configuration is used. `${NAME}` is not replaced: that is for whoever reads the file.
//!
//! A service has both in a configuration of its own, as in go-zero:
//!
//! ```
//! #[derive(serde::Deserialize)]
//! #[serde(rename_all = "PascalCase")]
//! struct Config {
//!     #[serde(flatten)]
//!     server: registry_tonic::config::ServerConfig,
//!     user_rpc: registry_tonic::config::ClientConfig,
//!     data_source: String,
//! }
//!
//! let config: Config = yaml_serde::from_str("
//! Name: order.rpc
//! ListenOn: 0.0.0.0:8080
//! Etcd:
//!   Hosts: [127.0.0.1:2379]
//!   Key: order.rpc
//! UserRpc:
//!   Etcd:
//!     Hosts: [127.0.0.1:2379]
//!     Key: user.rpc
//! DataSource: orders.db
//! ")?;
//! assert_eq!(config.server.target()?.to_string(), "etcd://127.0.0.1:2379?layout=go-zero&service=order.rpc");
//! assert_eq!(config.user_rpc.target()?.to_string(), "etcd://127.0.0.1:2379?layout=go-zero&service=user.rpc");
//! # assert_eq!(config.data_source, "orders.db");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod call_defaults;
mod call_timeouts;
mod client;
mod etcd;
mod go_duration;
mod keys;
mod server;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use registry_core::{Error, Result};
use serde::de::{Deserialize, Deserializer, Error as _};

pub use self::call_defaults::CallDefaults;
pub use self::call_timeouts::{CallTimeouts, Timed};
pub use self::client::ClientConfig;
pub use self::etcd::EtcdConfig;
pub use self::server::ServerConfig;

/// What go-zero has for `Timeout` where nothing is said, in milliseconds.
const TIMEOUT: i64 = 2000;

/// Text that is not printed.
#[derive(Clone, Default, PartialEq, Eq)]
struct Secret(String);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The error of serde would show what there is instead.
        String::deserialize(deserializer)
            .map(Self)
            .map_err(|_| D::Error::custom("is not text; a number is put in quotes"))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The text of a field that is there and not empty: go-zero knows no difference between empty and absent.
fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

/// `Timeout`, in milliseconds; 0 is none.
fn timeout(milliseconds: Option<i64>) -> Result<Option<Duration>> {
    match u64::try_from(milliseconds.unwrap_or(TIMEOUT)) {
        Ok(0) => Ok(None),
        Ok(milliseconds) => Ok(Some(Duration::from_millis(milliseconds))),
        Err(_) => Err(Error::invalid("Timeout", "is negative; it is in milliseconds, and 0 is none")),
    }
}

/// Says which fields do nothing, where there are some.
fn log_without_effect(of: &str, fields: &[Cow<'static, str>]) {
    if !fields.is_empty() {
        tracing::info!(fields = %fields.join(", "), "fields of the configuration of a {of} have no effect");
    }
}
