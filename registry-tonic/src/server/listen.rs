//! Where a server listens.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// As many connections may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Listens on `host:port`; on `:port` and `[::]:port`, which is every address of the machine, IPv6 and IPv4.
pub(super) async fn listen(address: &str) -> io::Result<(TcpListener, SocketAddr)> {
    let port = address.strip_prefix("[::]:").or_else(|| address.strip_prefix(':'));
    let listener = match port.map(str::parse) {
        Some(Ok(port)) => anywhere(port).await?,
        _ => TcpListener::bind(address).await?,
    };
    let local_addr = listener.local_addr()?;
    Ok((listener, local_addr))
}

/// Every address of the machine; on one without IPv6, every IPv4 address.
async fn anywhere(port: u16) -> io::Result<TcpListener> {
    match both(port) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    }
}

/// IPv6, and IPv4 by it: said explicitly, because whether that goes without saying differs between systems, and is a setting of some.
fn both(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    // As tokio does: elsewhere it would mean that two may listen at once.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_address_is_ipv6_and_ipv4() {
        for address in [":0", "[::]:0"] {
            let (listener, at) = listen(address).await.unwrap();
            // On a machine without IPv6 it is IPv4 alone.
            if at.is_ipv6() {
                assert!(!socket2::SockRef::from(&listener).only_v6().unwrap(), "{address}");
            }
            tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, at.port())).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_told() {
        let (_listener, at) = listen(":0").await.unwrap();
        let error = listen(&format!(":{}", at.port())).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        for bad in [":", ":65536", "[::]:x", "x"] {
            assert!(listen(bad).await.is_err(), "{bad}");
        }
    }
}
