//! The proxy: each fault is measured.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use registry_testing::servers::ports::Port;
use registry_testing::servers::proxy::{Faults, Flow, Outage, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::support::{SOON, wait_for};

/// Long enough for what would happen to have happened; only where nothing must.
const QUIET: Duration = Duration::from_millis(150);

/// A listener, whose ends of connections the test holds itself.
struct Server {
    address: SocketAddr,
    accepted: mpsc::UnboundedReceiver<TcpStream>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, accepted) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                if sender.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { address, accepted }
    }

    async fn next(&mut self) -> TcpStream {
        timeout(SOON, self.accepted.recv()).await.expect("a connection in time").unwrap()
    }
}

/// Both ends of a connection through a proxy.
async fn connected() -> (Proxy, Server, TcpStream, TcpStream) {
    let mut server = Server::start().await;
    let proxy = Proxy::start(server.address).unwrap();
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    client.set_nodelay(true).unwrap();
    let served = server.next().await;
    (proxy, server, client, served)
}

async fn send(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).await.unwrap();
    expect(to, bytes).await;
}

async fn expect(to: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    timeout(SOON, to.read_exact(&mut read)).await.expect("bytes in time").unwrap();
    assert!(read == bytes);
}

async fn expect_nothing(at: &mut TcpStream) {
    let mut byte = [0];
    assert!(timeout(QUIET, at.read(&mut byte)).await.is_err(), "something arrived");
}

async fn expect_end(at: &mut TcpStream) {
    assert_eq!(timeout(SOON, at.read(&mut [0])).await.expect("the end in time").unwrap(), 0);
}

async fn expect_reset(at: &mut TcpStream) {
    let error = timeout(SOON, at.read(&mut [0])).await.expect("a reset in time").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

async fn round_trip(client: &mut TcpStream, served: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    send(client, served, b"ping").await;
    send(served, client, b"pong").await;
    begun.elapsed()
}

#[tokio::test]
async fn without_faults_bytes_pass_both_ways_and_are_counted() {
    let (proxy, _server, mut client, mut served) = connected().await;
    let took = round_trip(&mut client, &mut served).await;
    println!("round trip: {took:?}");
    let many: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let (mut reader, mut writer) = client.split();
    let mut back = vec![0; many.len()];
    let echo = async {
        let (mut reader, mut writer) = served.split();
        let mut left = many.len() as u64;
        while left > 0 {
            let mut chunk = [0; 5000];
            let count = reader.read(&mut chunk).await.unwrap();
            writer.write_all(&chunk[..count]).await.unwrap();
            left -= count as u64;
        }
    };
    let (written, read, ()) = tokio::join!(writer.write_all(&many), reader.read_exact(&mut back), echo);
    written.unwrap();
    read.unwrap();
    assert!(back == many);
    wait_for("all is counted", || proxy.counters().to_client.delivered == 3_000_004).await;
    let counters = proxy.counters();
    assert_eq!((counters.accepted, counters.connected, counters.open), (1, 1, 1));
    assert_eq!(counters.to_server.delivered, 3_000_004);
    assert_eq!(counters.to_server.swallowed + counters.to_client.swallowed, 0);
}

#[tokio::test]
async fn each_end_is_told_when_the_other_has_finished() {
    let (proxy, _server, mut client, mut served) = connected().await;
    client.write_all(b"last words").await.unwrap();
    client.shutdown().await.unwrap();
    expect(&mut served, b"last words").await;
    expect_end(&mut served).await;
    send(&mut served, &mut client, b"the other way is still open").await;
    drop(served);
    expect_end(&mut client).await;
    wait_for("it is closed", || proxy.counters().open == 0).await;
    assert_eq!(proxy.counters().reset, 0);
}

#[tokio::test]
async fn a_reset_by_one_end_is_a_reset_at_the_other() {
    let (_proxy, _server, mut client, served) = connected().await;
    socket2::SockRef::from(&served).set_linger(Some(Duration::ZERO)).unwrap();
    drop(served);
    expect_reset(&mut client).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_reset() {
    let nobody = Port::free().unwrap();
    let proxy = Proxy::start(nobody.address()).unwrap();
    // The reset can come before the client has looked at its new connection.
    match TcpStream::connect(proxy.address()).await {
        Ok(mut client) => expect_reset(&mut client).await,
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert_eq!(proxy.counters().unreachable, 1);
}

#[tokio::test]
async fn latency_delays_each_way_and_not_the_throughput() {
    let (proxy, _server, mut client, mut served) = connected().await;
    proxy.set(Faults::default().with_latency(Duration::from_millis(50))).await;
    let took = round_trip(&mut client, &mut served).await;
    println!("round trip with 2 x 50 ms: {took:?}");
    assert!(took >= Duration::from_millis(100), "{took:?}");
    let begun = Instant::now();
    for n in 0..50_u8 {
        client.write_all(&[n]).await.unwrap();
        tokio::task::yield_now().await;
    }
    expect(&mut served, &(0..50).collect::<Vec<u8>>()).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(50), "{took:?}");
    assert!(took < Duration::from_millis(50 * 10), "50 messages share the delay: {took:?}");
    let mut one_way = Faults::default();
    one_way.to_client.latency = Duration::from_millis(50);
    proxy.set(one_way).await;
    let took = round_trip(&mut client, &mut served).await;
    assert!(took >= Duration::from_millis(50), "{took:?}");
    proxy.heal().await;
    assert!(round_trip(&mut client, &mut served).await < Duration::from_millis(50));
}

#[tokio::test]
async fn a_throttle_limits_the_rate() {
    let (proxy, _server, mut client, mut served) = connected().await;
    proxy.set(Faults::default().with_throttle(200_000)).await;
    let bytes = vec![7; 100_000];
    let begun = Instant::now();
    send(&mut client, &mut served, &bytes).await;
    let took = begun.elapsed();
    println!("100 kB at 200 kB/s: {took:?}");
    assert!(took >= Duration::from_millis(480), "{took:?}");
    assert!(took < Duration::from_millis(1500), "{took:?}");
    proxy.heal().await;
    let begun = Instant::now();
    send(&mut client, &mut served, &bytes).await;
    assert!(begun.elapsed() < Duration::from_millis(480));
}

#[tokio::test]
async fn a_black_hole_to_the_server_lets_the_other_way_through() {
    let (proxy, _server, mut client, mut served) = connected().await;
    proxy.set(Faults::black_hole_to_server()).await;
    client.write_all(b"lost").await.unwrap();
    send(&mut served, &mut client, b"heard").await;
    expect_nothing(&mut served).await;
    let counters = proxy.counters();
    assert_eq!((counters.to_server.swallowed, counters.to_server.delivered), (4, 0));
    assert_eq!((counters.to_client.swallowed, counters.to_client.delivered), (0, 5));
    proxy.heal().await;
    expect_reset(&mut client).await;
    expect_reset(&mut served).await;
}

#[tokio::test]
async fn a_black_hole_to_the_client_lets_the_other_way_through() {
    let (proxy, _server, mut client, mut served) = connected().await;
    proxy.set(Faults::black_hole_to_client()).await;
    served.write_all(b"lost").await.unwrap();
    send(&mut client, &mut served, b"heard").await;
    expect_nothing(&mut client).await;
    assert_eq!(proxy.counters().to_client.swallowed, 4);
}

#[tokio::test]
async fn a_black_hole_hides_that_an_end_has_closed() {
    let (proxy, _server, client, mut served) = connected().await;
    proxy.set(Faults::black_hole()).await;
    drop(client);
    expect_nothing(&mut served).await;
    assert_eq!(proxy.counters().open, 1);
    proxy.heal().await;
    expect_reset(&mut served).await;
}

#[tokio::test]
async fn a_black_hole_that_lost_nothing_does_no_harm() {
    let (proxy, mut server, mut client, mut served) = connected().await;
    proxy.set(Faults::black_hole()).await;
    let mut late = TcpStream::connect(proxy.address()).await.unwrap();
    late.write_all(b"hello").await.unwrap();
    assert!(timeout(QUIET, server.accepted.recv()).await.is_err(), "it must not reach the server");
    proxy.heal().await;
    round_trip(&mut client, &mut served).await;
    expect(&mut server.next().await, b"hello").await;
}

#[tokio::test]
async fn what_a_stall_holds_back_arrives_afterwards() {
    let (proxy, _server, mut client, mut served) = connected().await;
    proxy.set(Faults::stalled()).await;
    client.write_all(b"late").await.unwrap();
    expect_nothing(&mut served).await;
    proxy.heal().await;
    expect(&mut served, b"late").await;
    assert_eq!(proxy.counters().to_server.swallowed, 0);
}

#[tokio::test]
async fn a_cut_is_read_as_the_end_by_both_and_new_connections_are_carried() {
    let (proxy, mut server, mut client, mut served) = connected().await;
    round_trip(&mut client, &mut served).await;
    proxy.cut().await;
    expect_end(&mut client).await;
    expect_end(&mut served).await;
    let counters = proxy.counters();
    assert_eq!((counters.cut, counters.open), (1, 0));
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    round_trip(&mut client, &mut server.next().await).await;
}

#[tokio::test]
async fn a_cut_is_an_end_even_with_bytes_on_their_way() {
    let (proxy, _server, mut client, mut served) = connected().await;
    proxy.set(Faults::default().with_latency(SOON)).await;
    client.write_all(&vec![0; 2_000_000]).await.unwrap();
    proxy.cut().await;
    expect_end(&mut client).await;
    expect_end(&mut served).await;
}

#[tokio::test]
async fn a_reset_is_read_as_that_by_both_and_new_connections_are_carried() {
    let (proxy, mut server, mut client, mut served) = connected().await;
    round_trip(&mut client, &mut served).await;
    proxy.reset().await;
    expect_reset(&mut client).await;
    expect_reset(&mut served).await;
    let counters = proxy.counters();
    assert_eq!((counters.reset, counters.open), (1, 0));
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    round_trip(&mut client, &mut server.next().await).await;
}

#[tokio::test]
async fn refusing_refuses_the_new_and_leaves_the_open() {
    let (proxy, mut server, mut client, mut served) = connected().await;
    for _ in 0..3 {
        proxy.set(Faults::refusing()).await;
        let error = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        round_trip(&mut client, &mut served).await;
        proxy.heal().await;
        let mut other = TcpStream::connect(proxy.address()).await.unwrap();
        round_trip(&mut other, &mut server.next().await).await;
    }
}

#[tokio::test]
async fn a_slow_open_delays_what_is_opened_and_nothing_else() {
    let (proxy, mut server, mut client, mut served) = connected().await;
    proxy.set(Faults::default().with_slow_open(Duration::from_millis(200))).await;
    let begun = Instant::now();
    let mut slow = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(round_trip(&mut client, &mut served).await < Duration::from_millis(150));
    let mut slow_served = server.next().await;
    let took = begun.elapsed();
    println!("slow open of 200 ms: {took:?}");
    assert!(took >= Duration::from_millis(200), "{took:?}");
    assert!(round_trip(&mut slow, &mut slow_served).await < Duration::from_millis(150));
}

#[tokio::test]
async fn a_flapping_proxy_ends_what_is_open_each_time_and_is_well_afterwards() {
    let (proxy, mut server, mut client, _served) = connected().await;
    let before = Faults::default().with_latency(Duration::from_millis(1));
    proxy.set(before).await;
    let address = proxy.address();
    let flapping = proxy.flap(Outage::Refuse, 3, Duration::from_millis(50), Duration::from_millis(50));
    let reconnecting = async {
        let mut refused = 0;
        for _ in 0..3 {
            expect_end(&mut client).await;
            client = loop {
                match TcpStream::connect(address).await {
                    Ok(client) => break client,
                    Err(_) => refused += 1,
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
        }
        refused
    };
    let ((), refused) = tokio::join!(flapping, reconnecting);
    assert!(refused >= 3, "{refused}");
    assert_eq!(proxy.counters().cut, 3);
    assert_eq!(proxy.faults(), before);
    let mut latest = server.next().await;
    while let Ok(Some(later)) = timeout(QUIET, server.accepted.recv()).await {
        latest = later;
    }
    round_trip(&mut client, &mut latest).await;
    proxy.flap(Outage::Stall, 2, Duration::from_millis(5), Duration::ZERO).await;
    round_trip(&mut client, &mut latest).await;
    assert_eq!(proxy.faults().to_server.flow, Flow::Open);
}

#[test]
fn a_proxy_needs_no_runtime_of_the_tests() {
    use std::io::{Read, Write};
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(server.local_addr().unwrap()).unwrap();
    let mut client = std::net::TcpStream::connect(proxy.address()).unwrap();
    let (mut served, _) = server.accept().unwrap();
    client.write_all(b"blocking").unwrap();
    let mut read = [0; 8];
    served.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"blocking");
}

#[tokio::test]
async fn dropping_a_proxy_closes_what_is_open_and_frees_the_port() {
    let (proxy, _server, mut client, mut served) = connected().await;
    let address = proxy.address();
    drop(proxy);
    expect_end(&mut client).await;
    expect_end(&mut served).await;
    TcpListener::bind(address).await.unwrap();
}
