//! The URL of a registry: what is written into one, and what is shown of one.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, percent_decode_str, utf8_percent_encode};

/// The URL of a registry, for `service_registry::connect`. It may hold a password, which is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryUrl(String);

impl RegistryUrl {
    /// Takes any text: whether it is such a URL is told when connecting.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The whole URL, with a password if there is one.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The URL, with `***` in the place of a password.
impl fmt::Display for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        // Up to the last '@': in a password that is not encoded anything may be.
        let Some((login, rest)) = rest.rsplit_once('@') else { return f.write_str(&self.0) };
        match login.split_once(':') {
            Some((user, _)) => write!(f, "{scheme}://{user}:***@{rest}"),
            None => write!(f, "{scheme}://{login}@{rest}"),
        }
    }
}

impl fmt::Debug for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for RegistryUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// Encodes a user or a password.
#[cfg(feature = "serde")]
pub(crate) fn encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, UNRESERVED)
}

/// Encodes a path, or a value that is one: slashes stay.
pub(crate) fn encode_path(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, PATH)
}

/// Decodes `what`; an error does not repeat it.
pub(crate) fn decode(text: &str, what: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| format!("has a {what} that is not UTF-8 when decoded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown_and_all_else_is() {
        for (url, shown) in [
            ("etcd://h:1/root?page=2", "etcd://h:1/root?page=2"),
            ("etcds://u:s3cret@h", "etcds://u:***@h"),
            ("redis://:s3cret@h/1", "redis://:***@h/1"),
            ("redis://u@h?password-file=/p", "redis://u@h?password-file=/p"),
            ("redis://u:s3/cret@s3cret@h", "redis://u:***@h"),
        ] {
            let url = RegistryUrl::new(url);
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("s3cret"), "{url:?}");
        }
    }
}
