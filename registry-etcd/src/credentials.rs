//! What we show to etcd and what we check of it: passwords, certificates, keys. Read when needed, so that they can be replaced.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use registry_core::{Error, ErrorKind, Operation, Result};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::BACKEND;

/// A password, a certificate or a key: given, in a file, or fetched by a function. It is read anew before every new connection and login, and once
/// in [`probe_interval`](crate::EtcdOptions::probe_interval) while in use; when it has changed, new connections are made with the new one.
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

    fn read(&self, what: &'static str) -> Result<Vec<u8>> {
        let (read, place) = match &self.0 {
            Source::Given(bytes) => return Ok(bytes.to_vec()),
            Source::File(path) => (std::fs::read(path), format!("{}: ", path.display())),
            Source::Function(fetch) => (fetch(), String::new()),
        };
        read.map_err(|error| {
            // It may be there again soon: files are replaced by removing and writing them.
            let message = format!("{what} cannot be read: {place}{error}");
            Error::new(ErrorKind::Unauthenticated, Operation::Connect, message)
                .with_backend(BACKEND)
                .with_source(error)
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

/// A user of etcd.
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
}

/// How to speak TLS.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Tls {
    /// Certificate authorities, as PEM, one of which must have signed the servers' certificates. Default: the system's.
    pub ca: Option<Material>,
    /// Our own certificate (with its chain) and its key, as PEM, where etcd demands one. Default: none.
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

/// Everything as it was read at one time.
#[derive(Default, Hash)]
pub(crate) struct Shown {
    pub(crate) login: Option<(String, String)>,
    ca: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    server_name: Option<String>,
    tls: bool,
}

impl Shown {
    /// Reads all there is. Blocks.
    pub(crate) fn read(user: Option<&User>, tls: Option<&Tls>) -> Result<Self> {
        let mut shown = Self { tls: tls.is_some(), ..Self::default() };
        if let Some(user) = user {
            let password = user.password.read("the password")?;
            let password =
                String::from_utf8(password).map_err(|_| Error::invalid("password", "is not UTF-8"))?;
            shown.login = Some((user.name.clone(), password.trim_end().to_owned()));
        }
        if let Some(tls) = tls {
            shown.ca = tls.ca.as_ref().map(|ca| ca.read("the certificate authority")).transpose()?;
            if let Some((certificate, key)) = &tls.identity {
                let certificate = certificate.read("the client certificate")?;
                shown.identity = Some((certificate, key.read("the key of the client certificate")?));
            }
            shown.server_name.clone_from(&tls.server_name);
        }
        Ok(shown)
    }

    /// Two that are equal have the same.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// The set-up for an endpoint that speaks TLS.
    pub(crate) fn tls(&self) -> ClientTlsConfig {
        let mut config = ClientTlsConfig::new();
        config = match &self.ca {
            Some(ca) => config.ca_certificate(Certificate::from_pem(ca)),
            None => config.with_native_roots(),
        };
        if let Some((certificate, key)) = &self.identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        if let Some(name) = &self.server_name {
            config = config.domain_name(name);
        }
        config
    }

    /// Whether TLS was asked for.
    pub(crate) fn wants_tls(&self) -> bool {
        self.tls
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
    fn a_file_that_is_missing_is_named_and_may_come_back() {
        let user = User::new("root", Material::file("/nowhere/password"));
        let error = Shown::read(Some(&user), None).err().expect("missing");
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(error.to_string().contains("/nowhere/password"), "{error}");
        assert_eq!(error.retry(), registry_core::Retry::AfterBackoff);
    }

    #[test]
    fn a_change_of_anything_changes_the_fingerprint() {
        let read = |password: &str, ca: &str| {
            let tls = Tls::new().with_ca(ca);
            Shown::read(Some(&User::new("root", password)), Some(&tls)).unwrap().fingerprint()
        };
        assert_eq!(read("a", "b"), read("a", "b"));
        assert_ne!(read("a", "b"), read("c", "b"));
        assert_ne!(read("a", "b"), read("a", "c"));
    }

    #[test]
    fn the_line_end_of_a_password_file_is_no_part_of_the_password() {
        let password = Material::from_fn(|| Ok(b"secret\r\n".to_vec()));
        let shown = Shown::read(Some(&User::new("root", password)), None).unwrap();
        assert_eq!(shown.login, Some(("root".into(), "secret".into())));
    }
}
