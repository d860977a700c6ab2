//! What clients show to a store and what they check of it: passwords, certificates, keys.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Operation, Result};

/// A password, a certificate or a key: given, in a file, or fetched by a function. Backends read it anew
/// before every new connection and login, so that it can be replaced without a restart.
#[derive(Clone)]
pub struct Material(Source);

#[derive(Clone)]
enum Source {
    Given(Arc<[u8]>),
    File(PathBuf),
    Function(Arc<dyn Fn() -> std::io::Result<Vec<u8>> + Send + Sync>),
}

impl Material {
    /// The thing itself.
    #[must_use]
    pub fn given(bytes: impl AsRef<[u8]>) -> Self {
        Self(Source::Given(bytes.as_ref().into()))
    }

    /// The content of a file. Of a password, white space at the end is cut off.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// What `fetch` returns; it is called on a thread that may block.
    #[must_use]
    pub fn from_fn(fetch: impl Fn() -> std::io::Result<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self(Source::Function(Arc::new(fetch)))
    }

    /// For backends: what it is at this moment. Blocks. `what` is for the error.
    ///
    /// # Errors
    /// [`Unauthenticated`](ErrorKind::Unauthenticated) when it cannot be read: it may be there again soon, since files are replaced by removing
    /// and writing them.
    pub fn read(&self, what: &'static str) -> Result<Vec<u8>> {
        let (read, place) = match &self.0 {
            Source::Given(bytes) => return Ok(bytes.to_vec()),
            Source::File(path) => (std::fs::read(path), format!("{}: ", path.display())),
            Source::Function(fetch) => (fetch(), String::new()),
        };
        read.map_err(|error| {
            let message = format!("{what} cannot be read: {place}{error}");
            Error::new(ErrorKind::Unauthenticated, Operation::Connect, message).with_source(error)
        })
    }
}

impl From<&str> for Material {
    fn from(text: &str) -> Self {
        Self::given(text)
    }
}

impl From<String> for Material {
    fn from(text: String) -> Self {
        Self::given(text)
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Given(_) => f.write_str("Material(given)"),
            Source::File(path) => write!(f, "Material({})", path.display()),
            Source::Function(_) => f.write_str("Material(function)"),
        }
    }
}

/// Who we are, where a store demands users.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct User {
    /// The name.
    pub name: String,
    /// The password.
    pub password: Material,
}

impl User {
    /// The user `name`.
    pub fn new(name: impl Into<String>, password: impl Into<Material>) -> Self {
        Self { name: name.into(), password: password.into() }
    }

    /// For backends: the password at this moment, without white space at its end. Blocks.
    ///
    /// # Errors
    /// As [`Material::read`]; [`InvalidInput`](ErrorKind::InvalidInput) if it is not UTF-8.
    pub fn read_password(&self) -> Result<String> {
        let password = self.password.read("the password")?;
        let password = String::from_utf8(password).map_err(|_| Error::invalid("password", "is not UTF-8"))?;
        Ok(password.trim_end().to_owned())
    }
}

/// How to speak TLS.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Tls {
    /// Certificate authorities, as PEM, one of which must have signed the servers' certificates. Default: the system's.
    pub ca: Option<Material>,
    /// Our own certificate (with its chain) and its key, as PEM, where the servers demand one. Default: none.
    pub identity: Option<(Material, Material)>,
    /// The name that the servers' certificates must be for. Default: the host in the endpoint's URL.
    pub server_name: Option<String>,
}

impl Tls {
    /// With the system's certificate authorities, and no certificate of our own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the certificate authorities to trust, as PEM.
    #[must_use]
    pub fn with_ca(mut self, ca: impl Into<Material>) -> Self {
        self.ca = Some(ca.into());
        self
    }

    /// Sets our own certificate and its key, as PEM.
    #[must_use]
    pub fn with_identity(mut self, certificate: impl Into<Material>, key: impl Into<Material>) -> Self {
        self.identity = Some((certificate.into(), key.into()));
        self
    }

    /// Sets the name that the servers' certificates must be for.
    #[must_use]
    pub fn with_server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_was_given_is_printed() {
        let user = User::new("root", "hunter2");
        let tls = Tls::new().with_identity("CERT", "SECRET-KEY");
        let printed = format!("{user:?} {tls:?}");
        assert!(!printed.contains("hunter2") && !printed.contains("SECRET-KEY"), "{printed}");
    }

    #[test]
    fn the_line_end_of_a_password_file_is_no_part_of_the_password() {
        let password = Material::from_fn(|| Ok(b"secret\r\n".to_vec()));
        assert_eq!(User::new("root", password).read_password().unwrap(), "secret");
    }
}
