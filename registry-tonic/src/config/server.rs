//! The configuration of a server: go-zero's `RpcServerConf`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use registry_core::{Error, Registry, Result, ServiceName};
use serde::de::IgnoredAny;

use super::etcd::EtcdConfig;
use super::go_duration::GoDuration;
use super::keys::any_case;
use super::{CallTimeouts, given, log_without_effect, timeout};
use crate::target::{RegistryUrl, Target};
use crate::{Mode, Server, ServerBuilder};

/// The configuration of a server: go-zero's `RpcServerConf`, and one field of our own.
///
/// | field | means | without it |
/// | --- | --- | --- |
/// | `Name` | the name of the server; also that of its service where there is no `Etcd` | an error |
/// | `ListenOn` | the address to listen on, `host:port`; what is advertised is this, or for `0.0.0.0`, `[::]` and `:port` what [`advertised_host`](crate::advertised_host) finds | an error |
/// | `Mode` | `dev`, `test`, `rt`, `pre` or `pro`: in the first two it [runs for its developers](crate::Mode), and reflection is served where the program has it | `pro` |
/// | `Etcd` | where to register: [`EtcdConfig`] | |
/// | `Registry` | ours: where to register, instead of `Etcd`: a URL for `service_registry::connect`, such as `redis://127.0.0.1:6379`; the service is `Name` | |
/// | `Timeout` | in milliseconds: how long a call may take, 0 for as long as it likes; holds with [`call_timeouts`](Self::call_timeouts) | `2000` |
/// | `MethodTimeouts` | the same for single methods, `{FullMethod: /user.Users/Find, Timeout: 5s}`; `0s` for as long as it likes | none |
/// | `Health` | whether the standard health service is served | `true` |
/// | `Auth`, `StrictControl` | refused when true: there are no apps and tokens in a Redis here | `false` |
/// | `Redis` | no effect: go-zero looks there for the apps and tokens of `Auth` | |
/// | `CpuThreshold`, `Middlewares`, `Shutdown` | no effect | |
/// | `Log`, `MetricsUrl`, `Prometheus`, `Telemetry`, `DevServer`, `Profiling` | no effect: a program sets up its `tracing` subscriber and its recorder of metrics itself | |
///
/// Without `Etcd` and `Registry` it registers in a store of its own process (`memory://`), where nobody else sees it.
#[derive(Clone, Debug, Default)]
pub struct ServerConfig {
    name: Option<String>,
    listen_on: Option<String>,
    mode: Option<String>,
    etcd: Option<EtcdConfig>,
    registry: Option<RegistryUrl>,
    timeout: Option<i64>,
    method_timeouts: Vec<MethodTimeout>,
    health: Option<bool>,
    auth: bool,
    strict_control: bool,
    redis: Option<IgnoredAny>,
    cpu_threshold: Option<IgnoredAny>,
    middlewares: Option<IgnoredAny>,
    shutdown: Option<IgnoredAny>,
    log: Option<IgnoredAny>,
    metrics_url: Option<IgnoredAny>,
    prometheus: Option<IgnoredAny>,
    telemetry: Option<IgnoredAny>,
    dev_server: Option<IgnoredAny>,
    profiling: Option<IgnoredAny>,
}

any_case! { ServerConfig {
    "Name" => name,
    "ListenOn" => listen_on,
    "Mode" => mode,
    "Etcd" => etcd,
    "Registry" => registry,
    "Timeout" => timeout,
    "MethodTimeouts" => method_timeouts,
    "Health" => health,
    "Auth" => auth,
    "StrictControl" => strict_control,
    "Redis" => redis,
    "CpuThreshold" => cpu_threshold,
    "Middlewares" => middlewares,
    "Shutdown" => shutdown,
    "Log" => log,
    "MetricsUrl" => metrics_url,
    "Prometheus" => prometheus,
    "Telemetry" => telemetry,
    "DevServer" => dev_server,
    "Profiling" => profiling,
} }

/// How long the calls of one method may take.
#[derive(Clone, Debug, Default)]
struct MethodTimeout {
    full_method: String,
    timeout: Option<GoDuration>,
}

any_case! { MethodTimeout {
    "FullMethod" => full_method,
    "Timeout" => timeout,
} }

impl ServerConfig {
    /// The server's name.
    ///
    /// # Errors
    /// [`InvalidInput`](registry_core::ErrorKind::InvalidInput) when it is missing.
    pub fn name(&self) -> Result<&str> {
        given(self.name.as_ref()).ok_or_else(|| Error::invalid("Name", "is missing"))
    }

    /// The address to listen on.
    ///
    /// # Errors
    /// [`InvalidInput`](registry_core::ErrorKind::InvalidInput) when it is missing, or has no port.
    pub fn listen_on(&self) -> Result<&str> {
        let address =
            given(self.listen_on.as_ref()).ok_or_else(|| Error::invalid("ListenOn", "is missing"))?;
        match address.rsplit_once(':').map(|(_, port)| port.parse::<u16>()) {
            Some(Ok(_)) => Ok(address),
            _ => {
                Err(Error::invalid("ListenOn", format!("{address:?} is not host:port, such as 0.0.0.0:8080")))
            }
        }
    }

    /// Where it registers, and as which service: always [`Target::Registry`].
    ///
    /// # Errors
    /// [`InvalidInput`](registry_core::ErrorKind::InvalidInput), with the field and the reason.
    pub fn target(&self) -> Result<Target> {
        let etcd = self.etcd();
        if let (Some(_), Some(_)) = (etcd, &self.registry) {
            return Err(Error::invalid(
                "Registry",
                "is given, and Etcd as well; a server registers in one place",
            ));
        }
        if let Some(etcd) = etcd {
            return etcd.target();
        }
        let service = ServiceName::new(self.name()?)
            .map_err(|error| Error::invalid("Name", format!("is no service name: {}", error.message())))?;
        let url = self.registry.clone().unwrap_or_else(|| RegistryUrl::new("memory://"));
        Ok(Target::Registry { url, service })
    }

    /// Whether it registers where others can see it.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.etcd().is_some() || self.registry.is_some()
    }

    /// Whom it runs for: `dev`, `test`, `rt`, `pre` or `pro`.
    ///
    /// # Errors
    /// [`InvalidInput`](registry_core::ErrorKind::InvalidInput) for another one.
    pub fn mode(&self) -> Result<&str> {
        let mode = given(self.mode.as_ref()).unwrap_or("pro");
        if ["dev", "test", "rt", "pre", "pro"].contains(&mode) {
            return Ok(mode);
        }
        Err(Error::invalid("Mode", format!("is {mode:?}; there are dev, test, rt, pre and pro")))
    }

    /// The field that says where it registers: `Registry`, otherwise `Etcd`.
    #[must_use]
    pub fn place(&self) -> &'static str {
        if self.registry.is_some() { "Registry" } else { "Etcd" }
    }

    /// How long a call may take: `Timeout` and `MethodTimeouts`, for `tonic::transport::Server::builder().layer(…)`.
    ///
    /// # Errors
    /// [`InvalidInput`](registry_core::ErrorKind::InvalidInput), with the field and the reason.
    pub fn call_timeouts(&self) -> Result<CallTimeouts> {
        let mut methods = Vec::with_capacity(self.method_timeouts.len());
        for MethodTimeout { full_method, timeout } in &self.method_timeouts {
            if !full_method.starts_with('/') {
                let reason = format!("{full_method:?} is not written as /user.Users/Find");
                return Err(Error::invalid("MethodTimeouts.FullMethod", reason));
            }
            let Some(GoDuration(limit)) = timeout else {
                let reason = format!("is missing for {full_method}; 0s is for as long as it likes");
                return Err(Error::invalid("MethodTimeouts.Timeout", reason));
            };
            methods.push((full_method.clone(), (*limit > Duration::ZERO).then_some(*limit)));
        }
        Ok(CallTimeouts::new(timeout(self.timeout)?, methods))
    }

    /// Whether the standard health service is served.
    #[must_use]
    pub fn health(&self) -> bool {
        self.health.unwrap_or(true)
    }

    /// Checks all of it.
    ///
    /// # Errors
    /// [`InvalidInput`](registry_core::ErrorKind::InvalidInput), with the first field that cannot be meant and why.
    pub fn check(&self) -> Result<()> {
        self.name()?;
        self.listen_on()?;
        if self.auth {
            let reason = "is true, and there are no apps and tokens in a Redis here: check them in a layer of the server";
            return Err(Error::invalid("Auth", reason));
        }
        if self.strict_control {
            return Err(Error::invalid(
                "StrictControl",
                "is true, and there is no Auth here that could be strict",
            ));
        }
        self.mode()?;
        self.call_timeouts()?;
        self.target().map(drop)
    }

    /// The fields that are given, known, and have no effect; of `Etcd` also those that are not known.
    #[must_use]
    pub fn without_effect(&self) -> Vec<Cow<'static, str>> {
        let fields = [
            ("Redis", self.redis.is_some()),
            ("CpuThreshold", self.cpu_threshold.is_some()),
            ("Middlewares", self.middlewares.is_some()),
            ("Shutdown", self.shutdown.is_some()),
            ("Log", self.log.is_some()),
            ("MetricsUrl", self.metrics_url.is_some()),
            ("Prometheus", self.prometheus.is_some()),
            ("Telemetry", self.telemetry.is_some()),
            ("DevServer", self.dev_server.is_some()),
            ("Profiling", self.profiling.is_some()),
        ];
        let of_etcd = self.etcd().into_iter().flat_map(EtcdConfig::without_effect);
        of_etcd.chain(fields.into_iter().filter(|(_, given)| *given).map(|(name, _)| name.into())).collect()
    }

    /// A server that listens where this says, and registers with `registry`, which is at the [`target`](Self::target), as a copy of the
    /// service there. Logs what has no effect.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn builder(&self, registry: Arc<dyn Registry>) -> Result<ServerBuilder> {
        self.check()?;
        log_without_effect("server", &self.without_effect());
        match self.target()? {
            Target::Registry { service, .. } => {
                let mode = match self.mode()? {
                    "dev" | "test" => Mode::Development,
                    _ => Mode::Production,
                };
                let builder = Server::builder(registry, service).listen(self.listen_on()?);
                Ok(builder.health_service(self.health()).mode(mode))
            }
            // Not reached: a server's target is never direct.
            Target::Direct(_) => Err(Error::invalid("Etcd", "names no service")),
        }
    }

    /// Its `Etcd`, where one is given: what [`ClientConfig::inherit_etcd`](super::ClientConfig::inherit_etcd) takes.
    #[must_use]
    pub fn etcd(&self) -> Option<&EtcdConfig> {
        self.etcd.as_ref().filter(|etcd| !etcd.is_empty())
    }
}
