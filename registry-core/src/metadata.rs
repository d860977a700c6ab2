//! Free pairs of text.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

use crate::codec::Text;

/// Free pairs of text, ordered by key, each key once.
///
/// They are changed by way of [`Instance::to_builder`](crate::Instance::to_builder). One allocation holds all short ones: most instances have few, and a client
/// may hold a hundred thousand instances.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Metadata(Box<[(SmolStr, SmolStr)]>);

/// The pairs, ordered by key.
#[derive(Clone, Debug)]
pub struct Iter<'a>(std::slice::Iter<'a, (SmolStr, SmolStr)>);

impl Metadata {
    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(known, _)| known.as_str().cmp(key)).ok()?;
        Some(self.0[at].1.as_str())
    }

    /// The pairs, ordered by key.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.0.iter())
    }

    /// The number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same, to be changed.
    pub(crate) fn to_map(&self) -> BTreeMap<SmolStr, SmolStr> {
        self.0.iter().cloned().collect()
    }

    /// Of several pairs with one key the last counts.
    fn of_any_order(mut pairs: Vec<(SmolStr, SmolStr)>) -> Self {
        if !pairs.is_sorted_by(|(one, _), (next, _)| one < next) {
            pairs = pairs.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect();
        }
        Self(pairs.into_boxed_slice())
    }
}

impl From<BTreeMap<SmolStr, SmolStr>> for Metadata {
    fn from(map: BTreeMap<SmolStr, SmolStr>) -> Self {
        Self(map.into_iter().collect())
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a Metadata {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Pairs)
    }
}

struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Metadata;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of text to text")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
        let mut pairs = Vec::new();
        while let Some((key, value)) = map.next_entry::<Text<'de>, Text<'de>>()? {
            // As many as there mostly are: what is reserved for more would have to be given back.
            if pairs.is_empty() {
                pairs.reserve_exact(1);
            }
            pairs.push((key.into(), value.into()));
        }
        Ok(Metadata::of_any_order(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Metadata {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_key_is_found_and_another_is_not() {
        let metadata = read(r#"{"a":"1","b":"2","c":"3"}"#);
        assert_eq!((metadata.get("b"), metadata.get("d"), metadata.len()), (Some("2"), None, 3));
        assert!(Metadata::default().is_empty() && Metadata::default().get("a").is_none());
    }

    #[test]
    fn pairs_are_ordered_however_they_were_written_and_the_last_of_a_key_counts() {
        let metadata = read(r#"{"b":"2","a":"1","b":"\u0033","ü":"\"x\""}"#);
        let pairs: Vec<_> = metadata.iter().collect();
        assert_eq!(pairs, [("a", "1"), ("b", "3"), ("ü", "\"x\"")]);
        let long = "x".repeat(100);
        let same = read(&format!(r#"{{"b":"1","b":"{long}"}}"#));
        assert_eq!(same.get("b"), Some(long.as_str()));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let metadata = read(r#"{"a":"\"1\"","k":"ü"}"#);
        assert_eq!(serde_json::to_string(&metadata).unwrap(), r#"{"a":"\"1\"","k":"ü"}"#);
        assert_eq!(Metadata::from(metadata.to_map()), metadata);
    }

    #[test]
    fn what_is_no_map_of_text_to_text_is_refused() {
        for bad in ["[]", "1", r#"{"a":1}"#, r#"{"a":null}"#] {
            assert!(serde_json::from_str::<Metadata>(bad).is_err(), "{bad}");
        }
    }
}
