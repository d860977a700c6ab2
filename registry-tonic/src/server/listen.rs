//! Where a server listens.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Listens on `host:port`, or on `:port`, which is every address of the machine, IPv6 and IPv4.
pub(super) async fn listen(address: &str) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = match address.strip_prefix(':') {
        Some(port) if !port.contains(':') => anywhere(port).await?,
        _ if address == "[::]:0" => anywhere("0").await?,
        _ => TcpListener::bind(address).await?,
    };
    let local_addr = listener.local_addr()?;
    Ok((listener, local_addr))
}

/// Every address of the machine; on one without IPv6, every IPv4 address.
async fn anywhere(port: &str) -> io::Result<TcpListener> {
    match TcpListener::bind(format!("[::]:{port}")).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind(format!("0.0.0.0:{port}")).await
        }
        bound => bound,
    }
}
