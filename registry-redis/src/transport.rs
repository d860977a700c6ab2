//! Connections as streams of bytes: TCP, and TLS over it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use registry_core::{Error, ErrorKind, Operation, Result, Tls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::BACKEND;
use crate::address::Address;
use crate::error::failure;

/// How soon the system asks a peer that says nothing, and how often.
const KEEPALIVE: Duration = Duration::from_secs(5);

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

/// Connects, and shakes hands where TLS is asked for. Certificates are read anew.
pub(crate) async fn connect(address: &Address, tls: Option<&Tls>) -> Result<Pin<Box<dyn Stream>>> {
    let connecting = TcpStream::connect((address.host.as_str(), address.port));
    let stream = connecting.await.map_err(|error| unreachable_server(address, error))?;
    // What cannot be set only makes a dead peer show later.
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    let Some(tls) = tls else { return Ok(Box::pin(stream)) };
    let settings = tls.clone();
    let config = tokio::task::spawn_blocking(move || config(&settings));
    let config = config.await.map_err(|error| {
        failure(ErrorKind::Unavailable, Operation::Connect, "the runtime is shutting down").with_source(error)
    })??;
    let name = tls.server_name.clone().unwrap_or_else(|| address.host.clone());
    let name = ServerName::try_from(name).map_err(|error| {
        failure(ErrorKind::InvalidInput, Operation::Connect, format!("the name of the server: {error}"))
    })?;
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    Ok(Box::pin(shaken.map_err(|error| untrusted(address, error))?))
}

fn unreachable_server(address: &Address, error: io::Error) -> Error {
    failure(ErrorKind::Unavailable, Operation::Connect, format!("{address}: {error}")).with_source(error)
}

/// rustls wraps what it found wrong with a certificate; anything else is the network.
fn untrusted(address: &Address, error: io::Error) -> Error {
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).is_some();
    let kind = if of_tls { ErrorKind::Unauthenticated } else { ErrorKind::Unavailable };
    failure(kind, Operation::Connect, format!("{address}: TLS: {error}")).with_source(error)
}

/// Blocks.
fn config(tls: &Tls) -> Result<ClientConfig> {
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
    let read = |material: &registry_core::Material, what| {
        material.read(what).map_err(|error: Error| error.with_backend(BACKEND))
    };
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
