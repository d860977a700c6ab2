//! TLS to endpoints.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use registry_core::{Endpoint, Material, Tls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::connect::{Connect, Stream, bare_host, blocking, dial};
use crate::text::chain;

/// What HTTP/2 is called where the protocol is agreed on.
const H2: &[u8] = b"h2";

/// How long what was read is good for. Where thousands of connections are made at once, reading it for each would take longer than they have.
const FRESH: Duration = Duration::from_secs(1);

/// TLS over TCP. Certificates and keys are read anew for connections, at most once a second.
#[derive(Debug)]
pub(super) struct OverTls {
    tls: Tls,
    read: Mutex<Option<(Instant, Arc<ClientConfig>)>>,
    /// Who reads it.
    turns: Arc<Semaphore>,
}

impl OverTls {
    pub(super) fn new(tls: Tls) -> Self {
        Self { tls, read: Mutex::new(None), turns: Arc::new(Semaphore::new(1)) }
    }

    /// From certificates and keys as they are now, or were a moment ago.
    async fn config(&self) -> io::Result<Arc<ClientConfig>> {
        let mut read = self.read.lock().await;
        if let Some((at, config)) = &*read
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(config));
        }
        let (now, tls) = (Instant::now(), self.tls.clone());
        let new = Arc::new(blocking(&self.turns, move || config(&tls)).await?);
        *read = Some((now, Arc::clone(&new)));
        Ok(new)
    }
}

#[tonic::async_trait]
impl Connect for OverTls {
    async fn connect(&self, endpoint: &Endpoint) -> io::Result<Box<dyn Stream>> {
        let stream = dial(endpoint).await?;
        let config = self.config().await?;
        let name = self.tls.server_name.clone().unwrap_or_else(|| bare_host(endpoint).to_owned());
        let name = ServerName::try_from(name).map_err(|error| unusable("the name of the server", &error))?;
        let stream = TlsConnector::from(config).connect(name, stream).await;
        let stream = stream.map_err(|error| io::Error::new(error.kind(), format!("TLS: {error}")))?;
        // A server that agrees on nothing may still speak HTTP/2, and is found out by its first bytes.
        match stream.get_ref().1.alpn_protocol() {
            Some(H2) | None => Ok(Box::new(stream)),
            Some(_) => Err(io::Error::other("TLS: the server does not speak HTTP/2")),
        }
    }

    fn is_secure(&self) -> bool {
        true
    }
}

/// From certificates and keys as they are at this moment. Blocks.
fn config(tls: &Tls) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(ca) => {
            for certificate in certificates(&read(ca, CA)?, CA)? {
                roots.add(certificate).map_err(|error| unusable(CA, &error))?;
            }
        }
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    if roots.is_empty() {
        return Err(io::Error::other("TLS: there is no certificate authority to trust"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| unusable("the set-up", &error))?.with_root_certificates(roots);
    let mut config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(&read(certificate, CERTIFICATE)?, CERTIFICATE)?;
            let key =
                PrivateKeyDer::from_pem_slice(&read(key, KEY)?).map_err(|error| unusable(KEY, &error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| unusable(CERTIFICATE, &error))?
        }
    };
    config.alpn_protocols = vec![H2.to_vec()];
    Ok(config)
}

const CA: &str = "the certificate authority";
const CERTIFICATE: &str = "the client certificate";
const KEY: &str = "the key of the client certificate";

fn read(material: &Material, what: &'static str) -> io::Result<Vec<u8>> {
    material.read(what).map_err(|error| io::Error::other(chain(&error)))
}

fn certificates(pem: &[u8], what: &'static str) -> io::Result<Vec<CertificateDer<'static>>> {
    let parsed = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let parsed = parsed.map_err(|error| unusable(what, &error))?;
    if parsed.is_empty() {
        return Err(io::Error::other(format!("TLS: {what} holds no certificate")));
    }
    Ok(parsed)
}

fn unusable(what: &str, error: &dyn std::error::Error) -> io::Error {
    io::Error::other(format!("TLS: {what} cannot be used: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn certificates_are_read_anew_and_not_for_each_of_many_connections() {
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = rcgen::CertificateParams::new([]).unwrap().self_signed(&key).unwrap().pem();
        let over = OverTls::new(Tls::new().with_ca(pem.as_str()));
        let (first, second) = tokio::join!(over.config(), over.config());
        let first = first.unwrap();
        assert!(Arc::ptr_eq(&first, &second.unwrap()));
        tokio::time::advance(FRESH).await;
        assert!(!Arc::ptr_eq(&first, &over.config().await.unwrap()));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_told_each_time() {
        let over = OverTls::new(Tls::new().with_ca("no certificate"));
        for _ in 0..2 {
            assert!(over.config().await.unwrap_err().to_string().contains("certificate authority"));
        }
    }
}
