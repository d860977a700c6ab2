//! The configuration of a client: go-zero's `RpcClientConf`.

use std::borrow::Cow;
use std::time::Duration;

use registry_core::time::later;
use registry_core::{Error, ErrorKind, Operation, Result, ServiceName, View};
use serde::de::IgnoredAny;
use tokio::time::{Instant, timeout_at};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};

use super::etcd::EtcdConfig;
use super::keys::any_case;
use super::{CallDefaults, Secret, given, log_without_effect, timeout};
use crate::target::{RegistryUrl, Target, endpoints};
use crate::{Channel, ChannelBuilder};

/// The configuration of a client: go-zero's `RpcClientConf`, and two fields of our own.
///
/// | field | means | without it |
/// | --- | --- | --- |
/// | `Endpoints` | whom to call, `host:port` each, without a registry | |
/// | `Target` | whom to call, as a [`Target`] | |
/// | `Etcd` | whom to call: [`EtcdConfig`]; what it does not say is that of the server only by [`inherit_etcd`](Self::inherit_etcd) | |
/// | `Registry`, `Service` | ours, instead of those: a service of the registry at a URL for `service_registry::connect` | |
/// | `NonBlock` | whether the client is there before a server is; otherwise it waits for one, for 3 s whatever `Timeout` says, as in go-zero | `true` |
/// | `Timeout` | in milliseconds: how long a call may take that has no deadline of its own, streams included (go-zero spares them: see [`CallDefaults`]); 0 for as long as it likes | `2000` |
/// | `App`, `Token` | who we are to a go-zero server with `Auth`, sent with every call; both or none | none |
/// | `BalancerName` | `p2c_ewma`, which is what [`Channel`] does | `p2c_ewma` |
/// | `Middlewares` | `Timeout: false` is as `Timeout: 0`; the others have no effect | |
/// | `KeepaliveTime` | no effect | |
///
/// Of `Endpoints`, `Target` and `Etcd` the first one that is given counts, as in go-zero.
#[derive(Clone, Debug, Default)]
pub struct ClientConfig {
    etcd: Option<EtcdConfig>,
    endpoints: Vec<String>,
    target: Option<Secret>,
    registry: Option<RegistryUrl>,
    service: Option<String>,
    app: Option<String>,
    token: Option<Secret>,
    non_block: Option<bool>,
    timeout: Option<i64>,
    keepalive_time: Option<IgnoredAny>,
    middlewares: Option<Middlewares>,
    balancer_name: Option<String>,
}

any_case! { ClientConfig {
    "Etcd" => etcd,
    "Endpoints" => endpoints,
    "Target" => target,
    "Registry" => registry,
    "Service" => service,
    "App" => app,
    "Token" => token,
    "NonBlock" => non_block,
    "Timeout" => timeout,
    "KeepaliveTime" => keepalive_time,
    "Middlewares" => middlewares,
    "BalancerName" => balancer_name,
} }

/// Those of go-zero's that there are, on or off.
#[derive(Clone, Debug, Default)]
struct Middlewares {
    timeout: Option<bool>,
    trace: Option<bool>,
    duration: Option<bool>,
    prometheus: Option<bool>,
    breaker: Option<bool>,
    others: Vec<String>,
}

any_case! { Middlewares {
    "Timeout" => timeout,
    "Trace" => trace,
    "Duration" => duration,
    "Prometheus" => prometheus,
    "Breaker" => breaker,
    .. => others
} }

/// How long go-zero waits for a server, which none of its settings changes.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

impl ClientConfig {
    /// Whom it calls.
    ///
    /// # Errors
    /// [`InvalidInput`](registry_core::ErrorKind::InvalidInput), with the field and the reason.
    pub fn target(&self) -> Result<Target> {
        let target = self.target_text();
        if let Some(url) = &self.registry {
            if self.etcd().is_some() || target.is_some() || !self.endpoints.is_empty() {
                let reason = "is given, and Etcd, Target or Endpoints as well; one of them is enough";
                return Err(Error::invalid("Registry", reason));
            }
            let service = given(self.service.as_ref())
                .ok_or_else(|| Error::invalid("Service", "is missing, and there is a Registry"))?;
            let service = ServiceName::new(service)
                .map_err(|error| Error::invalid("Service", error.message().to_owned()))?;
            return Ok(Target::Registry { url: url.clone(), service });
        }
        if !self.endpoints.is_empty() {
            let each = self.endpoints.iter().flat_map(|endpoints| endpoints.split(','));
            return endpoints(each).map(Target::Direct).map_err(|why| Error::invalid("Endpoints", why));
        }
        if let Some(target) = target {
            let target: Result<Target> = target.parse();
            return target.map_err(|error| Error::invalid("Target", error.message().to_owned()));
        }
        match self.etcd() {
            Some(etcd) => etcd.target(),
            None => Err(Error::invalid("Etcd", "is missing, and so are Endpoints, Target and Registry")),
        }
    }

    /// The field that says whom it calls: `Registry`, `Endpoints`, `Target`, otherwise `Etcd`.
    #[must_use]
    pub fn place(&self) -> &'static str {
        if self.registry.is_some() {
            "Registry"
        } else if !self.endpoints.is_empty() {
            "Endpoints"
        } else if self.target_text().is_some() {
            "Target"
        } else {
            "Etcd"
        }
    }

    /// Takes from `etcd` what its own `Etcd` does not say, as go-zero does of its own accord with an `Etcd` further up in the configuration: here it
    /// is for whoever has read both, since a configuration does not know what it is part of. With a `Registry` it needs none, and takes nothing.
    pub fn inherit_etcd(&mut self, etcd: &EtcdConfig) {
        if self.registry.is_some() {
            return;
        }
        self.etcd.get_or_insert_default().inherit(etcd);
    }

    /// How long a call may take that has no deadline of its own; `None`: as long as it likes.
    ///
    /// # Errors
    /// [`InvalidInput`](registry_core::ErrorKind::InvalidInput) when it is negative.
    pub fn timeout(&self) -> Result<Option<Duration>> {
        let timeout = timeout(self.timeout)?;
        let wanted = self.middlewares.as_ref().and_then(|middlewares| middlewares.timeout).unwrap_or(true);
        Ok(timeout.filter(|_| wanted))
    }

    /// How long to wait for a server before the client is there; `None`: not at all, which is `NonBlock: true`.
    #[must_use]
    pub fn wait_for_server(&self) -> Option<Duration> {
        if self.non_block.unwrap_or(true) { None } else { Some(DIAL_TIMEOUT) }
    }

    /// Checks all of it.
    ///
    /// # Errors
    /// [`InvalidInput`](registry_core::ErrorKind::InvalidInput), with the first field that cannot be meant and why.
    pub fn check(&self) -> Result<()> {
        self.timeout()?;
        self.metadata()?;
        if let Some(name) = given(self.balancer_name.as_ref())
            && name != "p2c_ewma"
        {
            let reason = format!(
                "is {name:?}; there is p2c_ewma; a program can have Policy::ConsistentHash, which wants to know by what"
            );
            return Err(Error::invalid("BalancerName", reason));
        }
        self.target().map(drop)
    }

    /// The fields that are given, known, and have no effect; of `Etcd` and `Middlewares` also those that are not known.
    #[must_use]
    pub fn without_effect(&self) -> Vec<Cow<'static, str>> {
        let target = self.target_text().is_some();
        let (direct, app, token) = (!self.endpoints.is_empty(), self.app(), self.token());
        let middlewares = self.middlewares.as_ref().is_some_and(|middlewares| {
            let Middlewares { timeout: _, trace, duration, prometheus, breaker, others: _ } = middlewares;
            [trace, duration, prometheus, breaker].iter().any(|one| one.is_some())
        });
        let fields = [
            ("Target", target && direct),
            ("Etcd", self.etcd().is_some() && (target || direct)),
            ("Service", self.service.is_some() && self.registry.is_none()),
            ("App", app.is_some() && token.is_none()),
            ("Token", token.is_some() && app.is_none()),
            ("KeepaliveTime", self.keepalive_time.is_some()),
            ("Middlewares", middlewares),
        ];
        let etcd = self.etcd().filter(|_| !target && !direct);
        let of_middlewares = self.middlewares.iter().flat_map(|middlewares| &middlewares.others);
        etcd.into_iter()
            .flat_map(EtcdConfig::without_effect)
            .chain(fields.into_iter().filter(|(_, given)| *given).map(|(name, _)| name.into()))
            .chain(of_middlewares.map(|other| format!("Middlewares.{other}").into()))
            .collect()
    }

    /// A channel to the instances in `view`, which is of the service of the [`target`](Self::target). Logs what has no effect.
    ///
    /// A call with nobody to call gives up a little before its `Timeout` and says why.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn builder(&self, view: View) -> Result<ChannelBuilder> {
        self.check()?;
        log_without_effect("client", &self.without_effect());
        let builder = Channel::builder(view);
        Ok(match self.timeout()? {
            Some(timeout) => builder.wait_for_ready((timeout - timeout / 8).min(Duration::from_secs(2))),
            None => builder,
        })
    }

    /// A channel whose calls have what this says: a deadline from `Timeout`, and `App` and `Token`.
    ///
    /// # Errors
    /// [`InvalidInput`](registry_core::ErrorKind::InvalidInput), with the field and the reason.
    pub fn with_defaults<S>(&self, channel: S) -> Result<CallDefaults<S>> {
        Ok(CallDefaults::new(channel, self.timeout()?, self.metadata()?))
    }

    /// With `NonBlock: false`, waits until a server of `channel` can be called; otherwise returns at once. Dropping the future changes
    /// nothing.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable), with the reason, when there is none within 3 s.
    pub async fn until_ready(&self, channel: &Channel) -> Result<()> {
        let Some(bound) = self.wait_for_server() else { return Ok(()) };
        let deadline = later(Instant::now(), bound);
        let mut last = None;
        loop {
            match timeout_at(deadline, channel.ready()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) if Instant::now() < deadline => last = Some(error),
                Ok(Err(error)) => return Err(no_server(channel, bound).with_source(error)),
                Err(_) => {
                    let error = no_server(channel, bound);
                    return Err(match last {
                        Some(last) => error.with_source(last),
                        None => error,
                    });
                }
            }
        }
    }

    fn metadata(&self) -> Result<MetadataMap> {
        let mut metadata = MetadataMap::new();
        if let (Some(app), Some(token)) = (self.app(), self.token()) {
            let value = |text: &str, field| {
                let parsed = text.parse::<AsciiMetadataValue>();
                parsed.map_err(|_| Error::invalid(field, "has characters other than visible ASCII"))
            };
            let mut token = value(token, "Token")?;
            token.set_sensitive(true);
            metadata.insert("app", value(app, "App")?);
            metadata.insert("token", token);
        }
        Ok(metadata)
    }

    fn etcd(&self) -> Option<&EtcdConfig> {
        self.etcd.as_ref().filter(|etcd| !etcd.is_empty())
    }

    fn target_text(&self) -> Option<&str> {
        given(self.target.as_ref().map(|Secret(target)| target))
    }

    fn app(&self) -> Option<&str> {
        given(self.app.as_ref())
    }

    fn token(&self) -> Option<&str> {
        given(self.token.as_ref().map(|Secret(token)| token))
    }
}

fn no_server(channel: &Channel, bound: Duration) -> Error {
    let message = format!("no server of {} could be called within {bound:?}", channel.service());
    Error::new(ErrorKind::Unavailable, Operation::Connect, message)
}
