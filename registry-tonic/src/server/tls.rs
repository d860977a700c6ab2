//! TLS of a server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use registry_core::Material;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::tls::{Fresh, H2, Identity, authorities, identity, provider, unusable};

const OURS: Identity = Identity { certificate: "the certificate", key: "the key of the certificate" };

/// How long a client may take to agree on how to speak.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The TLS of a [`Server`](crate::Server): certificates and keys are read anew for connections, at most once a second, so that they can be replaced without a
/// restart. What cannot be used, or not be read in time, is logged, and what was read last goes on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerTls {
    /// Its certificate, with its chain, as PEM.
    pub certificate: Material,
    /// The key of the certificate, as PEM.
    pub key: Material,
    /// Certificate authorities, as PEM, one of which must have signed the certificate that a client shows. Default: clients need not show any.
    pub client_ca: Option<Material>,
}

impl ServerTls {
    /// With this certificate, for clients that need not show theirs.
    pub fn new(certificate: impl Into<Material>, key: impl Into<Material>) -> Self {
        Self { certificate: certificate.into(), key: key.into(), client_ca: None }
    }

    /// Asks clients for a certificate that one of these authorities has signed; those without one are turned away.
    #[must_use]
    pub fn with_client_ca(mut self, ca: impl Into<Material>) -> Self {
        self.client_ca = Some(ca.into());
        self
    }
}

/// Agrees with clients on how to speak.
#[derive(Debug)]
pub(super) struct Acceptor {
    config: Fresh<ServerConfig>,
}

impl Acceptor {
    /// An error where certificate or key cannot be used.
    pub(super) async fn new(tls: ServerTls) -> io::Result<Self> {
        let config = Fresh::new(move || config(&tls));
        config.get().await?;
        Ok(Self { config })
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let accepted = async { TlsAcceptor::from(self.config.get().await?).accept(stream).await };
        timeout(HANDSHAKE, accepted).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// From certificates and keys as they are at this moment. Blocks.
fn config(tls: &ServerTls) -> io::Result<ServerConfig> {
    let (chain, key) = identity(&tls.certificate, &tls.key, OURS)?;
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| unusable("the set-up", &error))?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let roots = Arc::new(authorities(ca)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
            builder.with_client_cert_verifier(
                verifier.map_err(|error| unusable("the certificate authority of clients", &error))?,
            )
        }
    };
    let config = builder.with_single_cert(chain, key);
    let mut config = config.map_err(|error| unusable(OURS.certificate, &error))?;
    config.alpn_protocols = vec![H2.to_vec()];
    Ok(config)
}
