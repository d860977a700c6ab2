//! What we show to Redis and what we check of it, as it was read at one time.

use std::sync::Arc;

use registry_core::{Error, ErrorKind, Material, Operation, Result, Tls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::BACKEND;
use crate::error::failure;

/// The set-up for TLS, from certificates and keys as they are at this moment. Blocks.
pub(crate) fn config(tls: &Tls) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(ca) => {
            let pem = ca.read("the certificate authority").map_err(|error| error.with_backend(BACKEND))?;
            for certificate in certificates(&pem, "the certificate authority")? {
                roots.add(certificate).map_err(|error| unusable("the certificate authority", error))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    if roots.is_empty() {
        let message = "there is no certificate authority to trust";
        return Err(failure(ErrorKind::Unauthenticated, Operation::Connect, message));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| unusable("TLS", error))?.with_root_certificates(roots);
    let Some((certificate, key)) = &tls.identity else { return Ok(builder.with_no_client_auth()) };
    let read =
        |material: &Material, what| material.read(what).map_err(|error: Error| error.with_backend(BACKEND));
    let chain = certificates(&read(certificate, "the client certificate")?, "the client certificate")?;
    let key = read(key, "the key of the client certificate")?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|error| unusable("the key of the client certificate", error))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| unusable("the client certificate", error))
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>> {
    let parsed = CertificateDer::pem_slice_iter(pem).collect::<std::result::Result<Vec<_>, _>>();
    let parsed = parsed.map_err(|error| unusable(what, error))?;
    if parsed.is_empty() {
        return Err(failure(
            ErrorKind::Unauthenticated,
            Operation::Connect,
            format!("{what} holds no certificate"),
        ));
    }
    Ok(parsed)
}

fn unusable(what: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    failure(ErrorKind::Unauthenticated, Operation::Connect, format!("{what} cannot be used: {error}"))
        .with_source(error)
}
