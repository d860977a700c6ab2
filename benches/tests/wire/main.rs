//! The raw clients that the benchmarks compare with send what the registry sends, and nothing else: then a ratio is that of two ways to do the same work.
//!
//! What is compared is everything that clients say to the server while an operation is done, by a registry that is connected and has done the same
//! before: the commands of Redis as `MONITOR` shows them, and the messages of gRPC in front of etcd, each with all arguments and fields. What cannot be the same,
//! random or of the clock, is compared by its shape. It is not seen how requests are divided into packets, in which order those go that are under way at
//! the same time, nor headers of gRPC.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod etcd;
mod protobuf;
mod recorder;
mod redis;
mod shape;

use benches::clients::{Client, instance};

/// What was said to a server.
trait Tape {
    /// All of it since this was last asked, in an order that is the same each time.
    async fn taken(&mut self) -> Vec<String>;
}

/// What is sent, by the operation for which it is.
type Told = Vec<(&'static str, Vec<String>)>;

/// What is sent for each operation, by what it is called. Done twice: what a client does once is in the first round, and not told.
async fn told<C: Client>(mut client: C, tape: &mut impl Tape) -> Told {
    let mut told = Vec::new();
    for round in 0..2 {
        let version = |weight| client.publish(&instance("user.rpc", round, weight).unwrap());
        let (published, changed) = (version(100), version(101));
        tape.taken().await;
        let mut lease = client.register(&published).await.unwrap();
        let register = tape.taken().await;
        client.keepalive(&lease).await.unwrap();
        let keepalive = tape.taken().await;
        client.update(&mut lease, &changed).await.unwrap();
        let update = tape.taken().await;
        client.keepalive(&lease).await.unwrap();
        let keepalive_after = tape.taken().await;
        assert_eq!(client.lookup("user.rpc").await.unwrap(), 1);
        let lookup = tape.taken().await;
        client.deregister(lease).await.unwrap();
        let deregister = tape.taken().await;
        told = vec![
            ("register", register),
            ("keepalive", keepalive),
            ("update", update),
            ("keepalive after an update", keepalive_after),
            ("lookup", lookup),
            ("deregister", deregister),
        ];
    }
    told
}

/// Fails with all operations for which something else is sent.
fn assert_the_same(ours: &Told, raw: &Told) {
    assert!(ours.len() == raw.len() && ours.iter().all(|(_, sent)| !sent.is_empty()), "{ours:#?}");
    let others = ours.iter().zip(raw).filter(|(ours, raw)| ours != raw);
    let others: Vec<_> = others.map(|(ours, raw)| format!("ours: {ours:#?}\n raw: {raw:#?}")).collect();
    assert!(others.is_empty(), "not the same is sent:\n{}", others.join("\n"));
}
