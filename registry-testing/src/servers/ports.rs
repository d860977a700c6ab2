//! Ports that stay ours while nothing listens on them.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

use super::ServerError;

/// A free port of 127.0.0.1, held until this is dropped.
///
/// The port is found by binding port 0, and that socket stays bound without listening. Servers that set `SO_REUSEADDR`, as etcd, Redis and
/// tokio do, can listen beside it, again and again; the system gives the port to nobody else, neither to a bind of port 0 nor to an outgoing
/// connection. So a killed server finds its port free, clients get "connection refused" meanwhile, and no client that retries on the port of a
/// dead server ends up connected to itself.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    _held: Socket,
}

impl Port {
    /// Finds a free port.
    ///
    /// # Errors
    /// [`ServerError::Io`] when the system has none.
    pub fn free() -> Result<Self, ServerError> {
        let find = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
            let address = socket.local_addr()?.as_socket();
            let address = address.ok_or_else(|| std::io::Error::other("not an internet address"))?;
            Ok(Self { address, _held: socket })
        };
        find().map_err(ServerError::io("finding a free port"))
    }

    /// The address, 127.0.0.1 and the port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number alone.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.address.port()
    }
}
