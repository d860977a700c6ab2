//! Which process has made a connection: asked by the side that accepted it, on the same machine.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// Of the kernel: `AF_NETLINK`, `NETLINK_SOCK_DIAG`, `SOCK_DIAG_BY_FAMILY`, `NLM_F_REQUEST`, `NLMSG_ERROR`, `ENOENT`.
const NETLINK: i32 = 16;
const SOCK_DIAG: i32 = 4;
const BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
const ERROR: u16 = 2;
const NOBODY: i32 = -2;
/// `AF_INET` and `IPPROTO_TCP`.
const INET: u8 = 2;
const TCP: u8 = 6;
/// Of an answer: its head, and in what follows where the inode is.
const HEAD: usize = 16;
const INODE: usize = 68;
/// The kernel answers at once, or not at all.
const PATIENCE: Duration = Duration::from_secs(1);

/// `ESTABLISHED`, as `/proc/net/tcp` writes it.
const ESTABLISHED: &str = "01";

/// Which of `pids` has a connection from `caller` to `callee`. None if none of them has.
///
/// The kernel is asked for this one socket, which costs microseconds however many there are. Its table of all sockets is read only where it does not
/// answer such questions: with the thousands that linger behind busy proxies that takes a tenth of a second, and is not of one instant, so that lines can be missed.
pub(super) fn caller_of(caller: SocketAddr, callee: SocketAddr, pids: &[Arc<AtomicU32>]) -> Option<usize> {
    let (SocketAddr::V4(caller), SocketAddr::V4(callee)) = (caller, callee) else { return None };
    let inode = match ask(caller, callee) {
        Ok(inode) => inode,
        Err(_) => look_up(&fs::read_to_string("/proc/net/tcp").ok()?, caller, callee),
    }?;
    let socket = format!("socket:[{inode}]");
    pids.iter().position(|pid| has_open(pid.load(Ordering::SeqCst), &socket))
}

fn has_open(pid: u32, what: &str) -> bool {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.into_iter().any(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == what))
}

/// The inode of the socket on `here` that is connected to `there`; none if there is no such socket, or nobody has it open.
fn ask(here: SocketAddrV4, there: SocketAddrV4) -> io::Result<Option<u64>> {
    let socket = Socket::new(Domain::from(NETLINK), Type::DGRAM, Some(Protocol::from(SOCK_DIAG)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(&question(here, there))?;
    let mut answer = [0; 1024];
    let length = (&socket).read(&mut answer)?;
    read(answer.get(..length).unwrap_or_default())
}

/// `nlmsghdr` and `inet_diag_req_v2`.
fn question(here: SocketAddrV4, there: SocketAddrV4) -> Vec<u8> {
    let mut body = vec![INET, TCP, 0, 0];
    // In whatever state.
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(here.port().to_be_bytes());
    body.extend(there.port().to_be_bytes());
    for address in [here, there] {
        body.extend(address.ip().octets());
        // As long as an address of IPv6.
        body.extend([0; 12]);
    }
    // On whatever interface, and with whatever cookie.
    body.extend(0_u32.to_ne_bytes());
    body.extend([0xff; 8]);
    let length = u32::try_from(HEAD + body.len()).unwrap_or_default();
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    // A number of the question, and the port of whoever asks, which the kernel fills in.
    message.extend([0; 8]);
    message.extend(body);
    message
}

fn read(answer: &[u8]) -> io::Result<Option<u64>> {
    let strange = || io::Error::from(ErrorKind::InvalidData);
    let number = |at: usize| {
        let bytes = answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_ne_bytes).ok_or_else(strange)
    };
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    match kind.ok_or_else(strange)? {
        BY_FAMILY => Ok(Some(u64::from(number(HEAD + INODE)?)).filter(|inode| *inode != 0)),
        ERROR => match number(HEAD)?.cast_signed() {
            NOBODY => Ok(None),
            error => Err(io::Error::from_raw_os_error(-error)),
        },
        _ => Err(strange()),
    }
}

/// The same, of a table as `/proc/net/tcp` has it.
fn look_up(table: &str, here: SocketAddrV4, there: SocketAddrV4) -> Option<u64> {
    let hex = |address: SocketAddrV4| {
        format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
    };
    let wanted = [hex(here), hex(there), ESTABLISHED.to_owned()];
    // Columns: number, local address, remote address, state, queues, timers, retransmits, uid, timeout, inode.
    table.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let is = columns.get(1..4).is_some_and(|columns| columns == wanted);
        columns.get(9).filter(|_| is)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::thread;

    use socket2::{Domain, Socket, Type};
    use tokio::time::Instant;

    use super::{PATIENCE, ask, caller_of, look_up};

    fn v4(address: SocketAddr) -> SocketAddrV4 {
        match address {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(_) => panic!("{address} is not of IPv4"),
        }
    }

    /// One port of this process that is connected to two others at once.
    fn connected_to_two() -> ([TcpListener; 3], Vec<TcpStream>, SocketAddr) {
        let listeners = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let mut from = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut made = Vec::new();
        for listener in &listeners[..2] {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.bind(&from.into()).unwrap();
            socket.connect(&listener.local_addr().unwrap().into()).unwrap();
            from = socket.local_addr().unwrap().as_socket().unwrap();
            made.push(socket.into());
        }
        (listeners, made, from)
    }

    #[test]
    fn who_connects_is_found_among_the_processes_that_are_asked_about() {
        let ([one, two, other], _made, from) = connected_to_two();
        // The first one runs, and has no connection.
        let pids = [1, std::process::id()].map(|pid| Arc::new(AtomicU32::new(pid)));
        for callee in [&one, &two] {
            let callee = callee.local_addr().unwrap();
            assert_eq!(caller_of(from, callee, &pids), Some(1));
            assert_eq!(caller_of(from, callee, &pids[..1]), None);
        }
        // The same port connects to others, but not to this one: taken for its caller, somebody else's connection would be let through, or cut.
        assert_eq!(caller_of(from, other.local_addr().unwrap(), &pids), None);
    }

    #[test]
    fn the_kernel_says_of_one_socket_what_its_table_says() {
        let ([one, _, other], made, from) = connected_to_two();
        let (from, one, other) = (v4(from), v4(one.local_addr().unwrap()), v4(other.local_addr().unwrap()));
        let said = ask(from, one).unwrap();
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        assert!(said.is_some());
        assert_eq!(said, look_up(&table, from, one));
        assert_eq!((ask(from, other).unwrap(), look_up(&table, from, other)), (None, None));
        drop(made);
        // Who looks through this process's open files, as the other test does, holds each for an instant, which may outlast its close.
        let closed = Instant::now();
        while ask(from, one).unwrap().is_some() {
            assert!(closed.elapsed() < PATIENCE, "the kernel still says that somebody has it open");
            thread::yield_now();
        }
    }
}
