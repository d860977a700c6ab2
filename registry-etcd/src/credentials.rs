//! What we show to etcd and what we check of it, as it was read at one time.

use std::hash::{DefaultHasher, Hash, Hasher};

use registry_core::{Material, Result, Tls, User};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::BACKEND;

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
            let password = user.read_password().map_err(|error| error.with_backend(BACKEND))?;
            shown.login = Some((user.name.clone(), password));
        }
        if let Some(tls) = tls {
            let read =
                |material: &Material, what| material.read(what).map_err(|error| error.with_backend(BACKEND));
            shown.ca = tls.ca.as_ref().map(|ca| read(ca, "the certificate authority")).transpose()?;
            if let Some((certificate, key)) = &tls.identity {
                let certificate = read(certificate, "the client certificate")?;
                shown.identity = Some((certificate, read(key, "the key of the client certificate")?));
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
    use registry_core::ErrorKind;

    use super::*;

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
}
