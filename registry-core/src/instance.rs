//! One running copy of a service, as it wants to be seen.

use std::collections::BTreeMap;
use std::fmt;

use smol_str::SmolStr;

use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::metadata::Metadata;
use crate::name::{InstanceId, ServiceName, Version, Zone};

/// Whether an instance wants new work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Serving.
    #[default]
    Up,
    /// About to leave: finishes what it has and should get nothing new.
    Draining,
}

/// The share of work an instance wants, relative to its peers: 0 to 10,000, by default 100. 0 gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

impl Weight {
    /// The greatest weight.
    pub const MAX: u32 = 10_000;

    /// A weight of `weight`.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) above [`Weight::MAX`].
    pub fn new(weight: u32) -> Result<Self> {
        match u16::try_from(weight) {
            Ok(small) if weight <= Self::MAX => Ok(Self(small)),
            _ => Err(Error::invalid("weight", format!("is {weight}, at most {} is allowed", Self::MAX))),
        }
    }

    /// The weight as a number.
    #[must_use]
    pub fn get(self) -> u32 {
        u32::from(self.0)
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(100)
    }
}

/// One running copy of a service: what it publishes about itself. Always valid, because it is only made by
/// [`InstanceBuilder::build`] and by decoding, which check alike.
///
/// ```
/// use registry_core::{Instance, Status};
///
/// let instance = Instance::builder("user.rpc")
///     .endpoint("10.0.0.7:8080")
///     .version("1.4.2")
///     .zone("eu-central-1a")
///     .metadata("commit", "8f3c1d")
///     .build()?;
/// assert_eq!(instance.id().as_str(), "10.0.0.7:8080");
/// assert_eq!(instance.status(), Status::Up);
/// # Ok::<(), registry_core::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Instance {
    pub(crate) service: ServiceName,
    pub(crate) id: InstanceId,
    pub(crate) endpoints: Box<[Endpoint]>,
    pub(crate) metadata: Metadata,
    pub(crate) version: Option<Version>,
    pub(crate) weight: Weight,
    pub(crate) zone: Option<Zone>,
    pub(crate) status: Status,
    pub(crate) extra: serde_json::Map<String, serde_json::Value>,
}

impl Instance {
    /// The most endpoints one instance may have; the least is one.
    pub const MAX_ENDPOINTS: usize = 16;
    /// The most metadata pairs.
    pub const MAX_METADATA_PAIRS: usize = 128;
    /// The greatest length of a metadata key, in bytes.
    pub const MAX_METADATA_KEY: usize = 128;
    /// The greatest length of a metadata value, in bytes.
    pub const MAX_METADATA_VALUE: usize = 4096;
    /// The greatest size of a whole instance as stored ([`codec`](crate::codec)), in bytes.
    pub const MAX_ENCODED: usize = 64 * 1024;

    /// Starts an instance of `service`; a bad name is told by [`InstanceBuilder::build`].
    pub fn builder<S>(service: S) -> InstanceBuilder
    where
        S: TryInto<ServiceName>,
        S::Error: Into<Error>,
    {
        InstanceBuilder {
            service: service.try_into().map_err(Into::into),
            id: None,
            endpoints: Ok(Vec::new()),
            metadata: BTreeMap::new(),
            version: Ok(None),
            weight: Ok(Weight::default()),
            zone: Ok(None),
            status: Status::Up,
            extra: serde_json::Map::new(),
        }
    }

    /// A builder that starts with all of this instance, for publishing a changed one with
    /// [`Registry::update`](crate::Registry::update). Fields that this version of the library does not know are kept.
    pub fn to_builder(&self) -> InstanceBuilder {
        let this = self.clone();
        InstanceBuilder {
            service: Ok(this.service),
            id: Some(Ok(this.id)),
            endpoints: Ok(this.endpoints.into_vec()),
            metadata: this.metadata.to_map(),
            version: Ok(this.version),
            weight: Ok(this.weight),
            zone: Ok(this.zone),
            status: this.status,
            extra: this.extra,
        }
    }

    /// The same instance with another status.
    #[must_use]
    pub fn with_status(mut self, status: Status) -> Self {
        self.status = status;
        self
    }

    /// The service this is a copy of.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// The id, unique within the service.
    #[must_use]
    pub fn id(&self) -> &InstanceId {
        &self.id
    }

    /// Where it can be reached: at least one endpoint, the first one the chief.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The chief endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        // The builder and the codec refuse an instance without endpoints.
        &self.endpoints[0]
    }

    /// Free pairs of text.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The version of its software.
    #[must_use]
    pub fn version(&self) -> Option<&Version> {
        self.version.as_ref()
    }

    /// The share of work it wants.
    #[must_use]
    pub fn weight(&self) -> Weight {
        self.weight
    }

    /// Where it runs.
    #[must_use]
    pub fn zone(&self) -> Option<&Zone> {
        self.zone.as_ref()
    }

    /// Whether it wants new work.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Checks everything that the types of the fields do not check already.
    pub(crate) fn check(&self) -> Result<()> {
        if self.endpoints.is_empty() {
            return Err(Error::invalid("endpoints", "is empty; an instance has at least one endpoint"));
        }
        if self.endpoints.len() > Self::MAX_ENDPOINTS {
            let reason = format!("has {}, at most {} are allowed", self.endpoints.len(), Self::MAX_ENDPOINTS);
            return Err(Error::invalid("endpoints", reason));
        }
        for (at, endpoint) in self.endpoints.iter().enumerate() {
            if self.endpoints[..at].contains(endpoint) {
                return Err(Error::invalid("endpoints", format!("has {endpoint} twice")));
            }
        }
        check_metadata(&self.metadata)?;
        // Escaping at most sextuples a byte, so only a large instance needs to be encoded to be measured.
        let rough: usize = self.metadata.iter().map(|(key, value)| key.len() + value.len() + 6).sum();
        if rough * 6 > Self::MAX_ENCODED / 2 || !self.extra.is_empty() {
            // Of the status that takes most, so that every instance can be drained.
            let size = crate::codec::encoded_len(&self.clone().with_status(Status::Draining));
            if size > Self::MAX_ENCODED {
                let reason = format!("has {size} bytes as stored, at most {} are allowed", Self::MAX_ENCODED);
                return Err(Error::invalid("instance", reason));
            }
        }
        Ok(())
    }
}

fn check_metadata(metadata: &Metadata) -> Result<()> {
    let invalid = |reason: String| Err(Error::invalid("metadata", reason));
    if metadata.len() > Instance::MAX_METADATA_PAIRS {
        return invalid(format!(
            "has {} pairs, at most {} are allowed",
            metadata.len(),
            Instance::MAX_METADATA_PAIRS
        ));
    }
    for (key, value) in metadata {
        if key.is_empty() {
            return invalid("has an empty key".into());
        }
        if key.len() > Instance::MAX_METADATA_KEY {
            return invalid(format!(
                "key of {} bytes, at most {} are allowed",
                key.len(),
                Instance::MAX_METADATA_KEY
            ));
        }
        if value.len() > Instance::MAX_METADATA_VALUE {
            let most = Instance::MAX_METADATA_VALUE;
            return invalid(format!(
                "value of {key:?} has {} bytes, at most {most} are allowed",
                value.len()
            ));
        }
        if has_control(key) || has_control(value) {
            return invalid(format!("{key:?} or its value has a control character"));
        }
    }
    Ok(())
}

fn has_control(text: &str) -> bool {
    // Only ASCII can be told byte by byte, and most of it is.
    let plain = text.bytes().all(|byte| (b' '..0x7f).contains(&byte));
    !plain && text.chars().any(char::is_control)
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Instance");
        out.field("service", &self.service).field("id", &self.id).field("endpoints", &self.endpoints);
        if !self.metadata.is_empty() {
            out.field("metadata", &self.metadata);
        }
        if let Some(version) = &self.version {
            out.field("version", version);
        }
        if let Some(zone) = &self.zone {
            out.field("zone", zone);
        }
        out.field("weight", &self.weight.get()).field("status", &self.status).finish()
    }
}

/// Collects the parts of an [`Instance`]; what is wrong is told once, by [`build`](Self::build).
#[derive(Clone, Debug)]
#[must_use]
pub struct InstanceBuilder {
    service: Result<ServiceName>,
    id: Option<Result<InstanceId>>,
    endpoints: Result<Vec<Endpoint>>,
    metadata: BTreeMap<SmolStr, SmolStr>,
    version: Result<Option<Version>>,
    weight: Result<Weight>,
    zone: Result<Option<Zone>>,
    status: Status,
    extra: serde_json::Map<String, serde_json::Value>,
}

impl InstanceBuilder {
    /// The id; by default derived from the first endpoint.
    pub fn id<I>(mut self, id: I) -> Self
    where
        I: TryInto<InstanceId>,
        I::Error: Into<Error>,
    {
        self.id = Some(id.try_into().map_err(Into::into));
        self
    }

    /// Adds an endpoint. The first is the chief.
    pub fn endpoint<E>(mut self, endpoint: E) -> Self
    where
        E: TryInto<Endpoint>,
        E::Error: Into<Error>,
    {
        if let Ok(endpoints) = &mut self.endpoints {
            match endpoint.try_into().map_err(Into::into) {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(error) => self.endpoints = Err(error),
            }
        }
        self
    }

    /// Takes all endpoints away, for giving other ones. The id stays when this builder came from
    /// [`Instance::to_builder`].
    pub fn clear_endpoints(mut self) -> Self {
        self.endpoints = Ok(Vec::new());
        self
    }

    /// Sets the metadata pair `key`.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(SmolStr::from(key.into()), SmolStr::from(value.into()));
        self
    }

    /// Takes the metadata pair `key` away.
    pub fn remove_metadata(mut self, key: &str) -> Self {
        self.metadata.remove(key);
        self
    }

    /// The version of the software.
    pub fn version<V>(mut self, version: V) -> Self
    where
        V: TryInto<Version>,
        V::Error: Into<Error>,
    {
        self.version = version.try_into().map(Some).map_err(Into::into);
        self
    }

    /// The share of work wanted: 0 to [`Weight::MAX`], by default 100.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = Weight::new(weight);
        self
    }

    /// Where it runs.
    pub fn zone<Z>(mut self, zone: Z) -> Self
    where
        Z: TryInto<Zone>,
        Z::Error: Into<Error>,
    {
        self.zone = zone.try_into().map(Some).map_err(Into::into);
        self
    }

    /// Whether it wants new work.
    pub fn status(mut self, status: Status) -> Self {
        self.status = status;
        self
    }

    /// The instance.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput), with the first field that is not acceptable and why.
    pub fn build(self) -> Result<Instance> {
        let service = self.service?;
        let endpoints = self.endpoints?;
        let id = match (self.id, endpoints.first()) {
            (Some(id), _) => id?,
            (None, Some(endpoint)) => InstanceId::from_endpoint(endpoint),
            (None, None) => {
                return Err(Error::invalid("endpoints", "is empty; an instance has at least one endpoint"));
            }
        };
        let instance = Instance {
            service,
            id,
            endpoints: endpoints.into_boxed_slice(),
            metadata: self.metadata.into(),
            version: self.version?,
            weight: self.weight?,
            zone: self.zone?,
            status: self.status,
            extra: self.extra,
        };
        instance.check()?;
        Ok(instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(builder: InstanceBuilder) -> &'static str {
        builder.build().expect_err("must be refused").field().unwrap_or("")
    }

    fn good() -> InstanceBuilder {
        Instance::builder("user.rpc").endpoint("10.0.0.7:8080")
    }

    #[test]
    fn every_bad_field_is_named() {
        assert_eq!(field(Instance::builder("a/b").endpoint("h:1")), "service name");
        assert_eq!(field(good().id("")), "instance id");
        assert_eq!(field(Instance::builder("a")), "endpoints");
        assert_eq!(field(good().endpoint("nowhere")), "endpoint");
        assert_eq!(field(good().endpoint("10.0.0.7:8080")), "endpoints");
        assert_eq!(
            field((1..=17).fold(Instance::builder("a"), |b, n| b.endpoint(format!("h:{n}")))),
            "endpoints"
        );
        assert_eq!(field(good().version("1 2")), "version");
        assert_eq!(field(good().zone("*")), "zone");
        assert_eq!(field(good().weight(10_001)), "weight");
        assert_eq!(field(good().metadata("", "x")), "metadata");
        assert_eq!(field(good().metadata("k\n", "x")), "metadata");
        assert_eq!(field(good().metadata("k", "x\u{7f}")), "metadata");
        assert_eq!(field(good().metadata("k\u{9f}", "x")), "metadata");
        assert_eq!(field(good().metadata("k", "x".repeat(4097))), "metadata");
        assert_eq!(field(good().metadata("k".repeat(129), "x")), "metadata");
        assert_eq!(field((0..129).fold(good(), |b, n| b.metadata(format!("k{n}"), ""))), "metadata");
        assert_eq!(
            field((0..20).fold(good(), |b, n| b.metadata(format!("k{n}"), "x".repeat(4000)))),
            "instance"
        );
    }

    #[test]
    fn the_id_defaults_to_the_first_endpoint() {
        assert_eq!(good().endpoint("h:9").build().unwrap().id().as_str(), "10.0.0.7:8080");
        assert_eq!(good().id("node-1").build().unwrap().id().as_str(), "node-1");
    }

    #[test]
    fn the_largest_instance_can_be_drained() {
        let filled = |last: usize| {
            let full = (0..15).fold(good(), |b, n| b.metadata(format!("k{n:02}"), "x".repeat(4096)));
            full.metadata("last", "x".repeat(last)).build()
        };
        let largest = (0..4096).rev().find_map(|last| filled(last).ok()).unwrap();
        assert!(filled(4096).is_err());
        let draining = largest.with_status(Status::Draining);
        let (incarnation, token) =
            (crate::Incarnation::new(u64::MAX), crate::OwnerToken::from_u128(u128::MAX));
        let stored = crate::codec::Stored::new(draining, incarnation, token);
        assert_eq!(crate::codec::Stored::decode(&stored.encode()).unwrap(), stored);
    }

    #[test]
    fn to_builder_and_back_changes_nothing() {
        let instance = good().zone("z").version("1").metadata("a", "b").weight(7).build().unwrap();
        assert_eq!(instance.to_builder().build().unwrap(), instance);
    }
}
