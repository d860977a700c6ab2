//! What a server listens on, publishes and does.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use registry_core::{
    Endpoint, Error, Instance, InstanceBuilder, InstanceId, RegistrarOptions, Registry, Result, ServiceName,
    Ttl, Version, Zone,
};

use super::advertise::{self, Advertise};
use super::handle::Open;
use super::health_check::HealthCheck;
use super::life::Plan;
use super::listen::listen;
#[cfg(feature = "reflection")]
use super::reflection::Reflection;
use super::services::Extras;
use super::{Server, ServerError, ServerHandle};

/// Whom a server runs for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Its developers and testers, who may look into it.
    Development,
    /// Its users.
    #[default]
    Production,
}

/// Collects what a [`Server`] listens on, publishes and does; what is wrong is told by [`bind`](Self::bind).
#[must_use]
pub struct ServerBuilder {
    listen: String,
    advertise: Advertise,
    protocol: Option<String>,
    instance: InstanceBuilder,
    also: Vec<Result<ServiceName>>,
    /// `None`: what was asked for is done.
    mode: Option<Mode>,
    extras: Extras,
    #[cfg(feature = "tls")]
    tls: Option<super::ServerTls>,
    plan: Plan,
}

impl ServerBuilder {
    pub(super) fn new(registry: Arc<dyn Registry>, instance: InstanceBuilder) -> Self {
        Self {
            listen: "[::]:0".into(),
            advertise: Advertise::Found,
            protocol: None,
            instance,
            also: Vec::new(),
            mode: None,
            extras: Extras {
                health: true,
                health_of: Vec::new(),
                #[cfg(feature = "reflection")]
                reflection: None,
            },
            #[cfg(feature = "tls")]
            tls: None,
            plan: Plan {
                registry,
                registrar: RegistrarOptions::default(),
                health: None,
                shutdown: None,
                drain_grace: Duration::from_secs(3),
                finish_within: Duration::from_secs(10),
            },
        }
    }

    /// Registers it as a copy of `service` as well, at the same address and with the same id, version, zone, weight and metadata. They share
    /// its health; it drains and leaves them all at the same time; when it loses one for good, it leaves the others too, and ends with
    /// the error.
    pub fn also<S>(mut self, service: S) -> Self
    where
        S: TryInto<ServiceName>,
        S::Error: Into<Error>,
    {
        self.also.push(service.try_into().map_err(Into::into));
        self
    }

    /// The address to listen on: `host:port`, or `:port` for every address of the machine, IPv6 and IPv4. Port 0 is one that is free.
    /// Default: `[::]:0`.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// The address to advertise instead of what [`advertised_host`](crate::advertised_host) finds: a host, or `host:port` where clients see
    /// another port than the one listened on. Takes the place of [`advertise_from`](Self::advertise_from).
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertise = Advertise::Address(address.into());
        self
    }

    /// Where the address to advertise is to be from, on a machine that has several: the name of an interface, such as `eth0`, or a network in
    /// CIDR notation, such as `10.0.0.0/8` or `fd00::/8`. Of several addresses there, the one that
    /// [`advertised_host`](crate::advertised_host) prefers. `POD_IP` does not matter then. Takes the place of
    /// [`advertise`](Self::advertise).
    ///
    /// Where nothing matches, [`bind`](Self::bind) fails, and its error lists what there is.
    pub fn advertise_from(mut self, network: impl Into<String>) -> Self {
        self.advertise = Advertise::From(network.into());
        self
    }

    /// The protocol to advertise with the address, whether that is given or found: `grpcs` for a server with TLS, so that clients which speak several
    /// know where to speak which. Takes the place of one that is given with the address. Default: none, which stands for gRPC as the
    /// client speaks it.
    pub fn advertise_protocol(mut self, protocol: impl Into<String>) -> Self {
        self.protocol = Some(protocol.into());
        self
    }

    /// Speaks TLS, and tells clients so: the [protocol](Self::advertise_protocol) to advertise is then `grpcs`, unless it says otherwise. Takes the place of tonic's
    /// `ServerTlsConfig`, which reads certificates once, and does not let it know which calls are under way: there a client that stands
    /// still holds up its stop for as long as calls [may take to finish](Self::finish_within).
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: super::ServerTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The instance id; by default the advertised `host:port`.
    pub fn id<I>(mut self, id: I) -> Self
    where
        I: TryInto<InstanceId>,
        I::Error: Into<Error>,
    {
        self.instance = self.instance.id(id);
        self
    }

    /// The version of the software.
    pub fn version<V>(mut self, version: V) -> Self
    where
        V: TryInto<Version>,
        V::Error: Into<Error>,
    {
        self.instance = self.instance.version(version);
        self
    }

    /// Where it runs.
    pub fn zone<Z>(mut self, zone: Z) -> Self
    where
        Z: TryInto<Zone>,
        Z::Error: Into<Error>,
    {
        self.instance = self.instance.zone(zone);
        self
    }

    /// The share of calls it wants.
    pub fn weight(mut self, weight: u32) -> Self {
        self.instance = self.instance.weight(weight);
        self
    }

    /// Sets the metadata pair `key`.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.instance = self.instance.metadata(key, value);
        self
    }

    /// How it finds out whether it is healthy: a [`HealthCheck`], or a `tokio::sync::watch::Receiver<bool>`. By default it always is.
    ///
    /// It is registered only once it is healthy for the first time. Later on, while it is not, it says `NOT_SERVING` to who asks for its health and
    /// is marked as draining in the registry, so that clients call it only when there is no other; once it is healthy again, that
    /// is taken back.
    pub fn health_check(mut self, check: impl Into<HealthCheck>) -> Self {
        self.plan.health = Some(check.into());
        self
    }

    /// Whether [`serve`](Server::serve) adds the standard gRPC health service (`grpc.health.v1.Health`), which tells whether it is
    /// [serving](crate::ServerState): of the server as a whole, and of the services named by [`health_of`](Self::health_of).
    /// Default: yes.
    pub fn health_service(mut self, on: bool) -> Self {
        self.extras.health = on;
        self
    }

    /// A gRPC service whose health can be asked for by its name, such as `user.User`; it is that of the server. The names are those of
    /// generated code (`SERVICE_NAME`), and a router does not tell which it has.
    pub fn health_of(mut self, name: impl Into<String>) -> Self {
        self.extras.health_of.push(name.into());
        self
    }

    /// Whom it runs for. In production nothing is told by [reflection](https://grpc.io/docs/guides/reflection/), even where the program asks
    /// for it; where no mode is set, what the program asks for is done.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Tells clients what `descriptors`, an encoded `google.protobuf.FileDescriptorSet` as generated with the code, says of its services,
    /// by the standard gRPC reflection service (versions `v1` and `v1alpha`), unless the [mode](Self::mode) is production. May be
    /// called several times. [`serve`](Server::serve) adds it, and it tells of the health service by itself.
    #[cfg(feature = "reflection")]
    pub fn reflection(mut self, descriptors: &'static [u8]) -> Self {
        self.extras.reflection.get_or_insert_default().tell(descriptors);
        self
    }

    /// The TTL of its registration.
    pub fn ttl(mut self, ttl: Ttl) -> Self {
        self.plan.registrar = self.plan.registrar.with_ttl(ttl);
        self
    }

    /// How its registrar behaves, the TTL included.
    pub fn registrar(mut self, options: RegistrarOptions) -> Self {
        self.plan.registrar = options;
        self
    }

    /// How long it serves on after it was marked as draining. Default: 3 s. Longer than the changes of the registry take to reach
    /// clients. Less once nobody has been connected for half a second: there is nobody left who has to move.
    pub fn drain_grace(mut self, grace: Duration) -> Self {
        self.plan.drain_grace = grace;
        self
    }

    /// How long calls in flight have to finish once it takes no more. Default: 10 s.
    pub fn finish_within(mut self, bound: Duration) -> Self {
        self.plan.finish_within = bound;
        self
    }

    /// Stops when this completes, instead of on SIGTERM and SIGINT. [`ServerHandle::shutdown`] works as well.
    pub fn shutdown_on(mut self, shutdown: impl Future<Output = ()> + Send + 'static) -> Self {
        self.plan.shutdown = Some(Box::pin(shutdown));
        self
    }

    /// Listens, and decides what to advertise. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Listen`](ServerError::Listen); [`Invalid`](ServerError::Invalid), with the field and the reason.
    pub async fn bind(self) -> Result<Server, ServerError> {
        let (listener, local_addr) = listen(&self.listen)
            .await
            .map_err(|source| ServerError::Listen { address: self.listen.clone(), source })?;
        let endpoint = self.endpoint(local_addr).map_err(ServerError::Invalid)?;
        #[cfg(feature = "tls")]
        let tls = match self.tls {
            Some(tls) => Some(
                super::tls::Acceptor::new(tls)
                    .await
                    .map_err(|error| ServerError::Invalid(Error::invalid("tls", error.to_string())))?,
            ),
            None => None,
        };
        let first = self.instance.endpoint(endpoint.to_string()).build().map_err(ServerError::Invalid)?;
        let instances = instances(first, self.also).map_err(ServerError::Invalid)?;
        #[cfg_attr(not(feature = "reflection"), expect(unused_mut))]
        let mut extras = self.extras;
        #[cfg(feature = "reflection")]
        {
            extras.reflection = extras.reflection.filter(|_| self.mode != Some(Mode::Production));
            extras.reflection.as_ref().map_or(Ok(()), Reflection::check)?;
        }
        for instance in &instances {
            tracing::info!(%local_addr, service = %instance.service(), id = %instance.id(), "listening");
        }
        let open = Open(ServerHandle::new(local_addr, instances));
        Ok(Server {
            listener,
            open,
            extras,
            #[cfg(feature = "tls")]
            tls,
            plan: self.plan,
        })
    }

    /// What to advertise.
    fn endpoint(&self, local_addr: SocketAddr) -> Result<Endpoint> {
        let endpoint = advertise::endpoint(local_addr, &self.advertise)?;
        #[cfg(feature = "tls")]
        let over_tls = self.tls.is_some() && endpoint.protocol().is_none();
        #[cfg(not(feature = "tls"))]
        let over_tls = false;
        match &self.protocol {
            Some(protocol) => endpoint.with_protocol(protocol),
            None if over_tls => endpoint.with_protocol("grpcs"),
            None => Ok(endpoint),
        }
    }
}

/// The first instance, and what it is of the other services.
fn instances(first: Instance, also: Vec<Result<ServiceName>>) -> Result<Vec<Instance>> {
    let mut instances = vec![first];
    for service in also {
        let service = service?;
        if instances.iter().any(|instance| *instance.service() == service) {
            return Err(Error::invalid("service name", format!("{service} is given twice")));
        }
        instances.push(copy_of(&instances[0], service)?);
    }
    Ok(instances)
}

fn copy_of(first: &Instance, service: ServiceName) -> Result<Instance> {
    let mut copy = Instance::builder(service).id(first.id().clone()).weight(first.weight().get());
    for endpoint in first.endpoints() {
        copy = copy.endpoint(endpoint.clone());
    }
    for (key, value) in first.metadata() {
        copy = copy.metadata(key, value);
    }
    if let Some(version) = first.version() {
        copy = copy.version(version.clone());
    }
    if let Some(zone) = first.zone() {
        copy = copy.zone(zone.clone());
    }
    copy.build()
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("listen", &self.listen)
            .field("advertise", &self.advertise)
            .field("protocol", &self.protocol)
            .field("instance", &self.instance)
            .field("also", &self.also)
            .field("mode", &self.mode)
            .field("extras", &self.extras)
            .finish_non_exhaustive()
    }
}
