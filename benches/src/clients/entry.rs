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
    pub fn owned_by(&self, token: &str, incarnation: u64) -> Self {
        Self { token: token.to_owned(), incarnation, ..self.clone() }
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
    use registry_core::{Incarnation, OwnerToken, Revision};

    use super::Entry;
    use crate::clients::instance;

    #[test]
    fn the_bytes_are_those_of_the_registry() {
        let instance = instance("user.rpc", 7, 101).unwrap();
        let (token, incarnation) = (OwnerToken::from_u128(0xab), 1_700_000_000_000);
        let mut entry = Entry::of(&instance).owned_by(&format!("{:032x}", token.as_u128()), incarnation);
        let stored = Stored::new(instance, Incarnation::new(incarnation), token);
        assert_eq!(entry.encode().unwrap(), stored.encode());
        entry.registered = Some(17);
        let updated = stored.with_registered(Revision::new(17)).encode();
        assert_eq!(entry.encode().unwrap(), updated);
        assert_eq!(Entry::decode(&updated).unwrap(), entry);
    }
}
