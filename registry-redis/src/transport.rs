//! Connections as streams of bytes: TCP, and TLS over it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use registry_core::{Error, ErrorKind, Operation, Result, Tls};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::address::Address;
use crate::credentials::config;
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
