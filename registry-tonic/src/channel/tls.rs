//! TLS to endpoints.

use std::io;

use registry_core::{Endpoint, Tls};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::connect::{Connect, Stream, bare_host, dial};
use crate::tls::{Fresh, H2, Identity, authorities, identity, provider, unusable};

const OURS: Identity =
    Identity { certificate: "the client certificate", key: "the key of the client certificate" };

/// TLS over TCP. Certificates and keys are read anew for connections, at most once a second.
#[derive(Debug)]
pub(super) struct OverTls {
    tls: Tls,
    config: Fresh<ClientConfig>,
}

impl OverTls {
    pub(super) fn new(tls: Tls) -> Self {
        let read = tls.clone();
        Self { tls, config: Fresh::new(move || config(&read)) }
    }
}

#[tonic::async_trait]
impl Connect for OverTls {
    async fn connect(&self, endpoint: &Endpoint) -> io::Result<Box<dyn Stream>> {
        let config = self.config.get().await?;
        let stream = dial(endpoint).await?;
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
    let roots = match &tls.ca {
        Some(ca) => authorities(ca)?,
        None => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        }
    };
    if roots.is_empty() {
        return Err(io::Error::other("TLS: there is no certificate authority to trust"));
    }
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| unusable("the set-up", &error))?.with_root_certificates(roots);
    let mut config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let (chain, key) = identity(certificate, key, OURS)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| unusable(OURS.certificate, &error))?
        }
    };
    config.alpn_protocols = vec![H2.to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_read_is_told_each_time() {
        let over = OverTls::new(Tls::new().with_ca("no certificate"));
        for _ in 0..2 {
            let error = over.connect(&"127.0.0.1:1".parse().unwrap()).await.err().unwrap();
            assert!(error.to_string().contains("certificate authority"), "{error}");
        }
    }
}
