//! An instance as somebody writes it who uses a store without a registry: a plain struct, and serde.

use std::collections::BTreeMap;

use registry_core::{Instance, Status};
use serde::{Deserialize, Serialize};

/// An instance and its owner. Its JSON is byte for byte what the registry writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Always 1.
    pub schema: u32,
    /// The service.
    pub service: String,
    /// Unique within the service.
    pub id: String,
    /// Which claim to the id this is.
    pub incarnation: u64,
    /// The owner's, in 32 hexadecimal digits.
    pub token: String,
    /// The revision of its registration; only in what was updated, on etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered: Option<u64>,
    /// Where it can be reached.
    pub endpoints: Vec<String>,
    /// Of its software.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Its share of the work.
    pub weight: u32,
    /// `up` or `draining`.
    pub status: String,
    /// Free pairs of text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// Whose an entry is.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// In 32 hexadecimal digits.
    pub token: &'a str,
    /// Which claim to the id this is.
    pub incarnation: u64,
    /// The revision of its registration; only in what was updated, on etcd.
    pub registered: Option<u64>,
}

/// The fields of an [`Entry`], to be written from where they are.
#[derive(Serialize)]
struct Lent<'a> {
    schema: u32,
    service: &'a str,
    id: &'a str,
    incarnation: u64,
    token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    registered: Option<u64>,
    endpoints: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'a str>,
    weight: u32,
    status: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
}

impl Entry {
    /// What `instance` publishes, with no owner yet.
    #[must_use]
    pub fn of(instance: &Instance) -> Self {
        Self {
            schema: 1,
            service: instance.service().to_string(),
            id: instance.id().to_string(),
            incarnation: 0,
            token: String::new(),
            registered: None,
            endpoints: instance.endpoints().iter().map(ToString::to_string).collect(),
            version: instance.version().map(ToString::to_string),
            zone: instance.zone().map(ToString::to_string),
            weight: instance.weight().get(),
            status: if instance.status() == Status::Up { "up" } else { "draining" }.to_owned(),
            metadata: instance.metadata().iter().map(|(key, value)| (key.into(), value.into())).collect(),
        }
    }

    /// The same, owned by this claim.
    #[must_use]
    pub fn owned_by(self, token: &str, incarnation: u64) -> Self {
        Self { token: token.to_owned(), incarnation, ..self }
    }

    /// The bytes to store for this owner, of whom nothing is known here. Nothing is copied on the way.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_for(&self, owner: Owner<'_>) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Lent {
            schema: self.schema,
            service: &self.service,
            id: &self.id,
            incarnation: owner.incarnation,
            token: owner.token,
            registered: owner.registered,
            endpoints: &self.endpoints,
            version: self.version.as_deref(),
            zone: self.zone.as_deref(),
            weight: self.weight,
            status: &self.status,
            metadata: &self.metadata,
        })
    }

    /// The bytes to store.
    ///
    /// # Errors
    /// None that can happen, since only text and numbers are in it.
    pub fn encode(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// What is no entry.
    pub fn decode(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use registry_core::codec::Stored;
    use registry_core::{Incarnation, Instance, OwnerToken, Revision};

    use super::{Entry, Owner};
    use crate::clients::instance;

    #[test]
    fn the_bytes_are_those_of_the_registry() {
        let instance = instance("user.rpc", 7, 101).unwrap();
        let (token, incarnation) = (OwnerToken::from_u128(0xab), 1_700_000_000_000);
        let text = format!("{:032x}", token.as_u128());
        let published = Entry::of(&instance);
        let owner = |registered| Owner { token: &text, incarnation, registered };
        let stored = Stored::new(instance.clone(), Incarnation::new(incarnation), token);
        assert_eq!(published.encode_for(owner(None)).unwrap(), stored.encode());
        let updated = stored.with_registered(Revision::new(17)).encode();
        assert_eq!(published.encode_for(owner(Some(17))).unwrap(), updated);
        let mut entry = published.owned_by(&text, incarnation);
        entry.registered = Some(17);
        assert_eq!((Entry::decode(&updated).unwrap(), entry.encode().unwrap()), (entry, updated));
    }

    #[test]
    fn what_an_instance_has_not_is_not_written_either() {
        let instance = Instance::builder("user.rpc").id("a").endpoint("10.0.0.1:80").build().unwrap();
        let token = OwnerToken::from_u128(1);
        let owner = Owner { token: &format!("{:032x}", token.as_u128()), incarnation: 2, registered: None };
        let bytes = Entry::of(&instance).encode_for(owner).unwrap();
        assert_eq!(bytes, Stored::new(instance, Incarnation::new(2), token).encode());
    }
}
