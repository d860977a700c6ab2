//! What becomes of requests when a server says up to which it has taken them (GOAWAY).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The helpers of tests fail as tests do.

mod support;

use std::error::Error;
use std::sync::atomic::Ordering;

use registry_core::Directory;
use registry_memory::MemoryRegistry;
use registry_tonic::{CallError, Channel};
use support::listed::{bare, instance_at, list};
use support::{call, service, settled, shared, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tonic::Code;

const DATA: u8 = 0;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;

/// The kind, the flags and the stream of the next frame.
async fn frame(stream: &mut TcpStream) -> std::io::Result<(u8, u8, u32)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    stream.read_exact(&mut vec![0; length as usize]).await?;
    Ok((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]])))
}

/// A server that takes one connection and answers nothing on it: tells each request that is there as a whole, then says when it is told so which was
/// the last that it took, and closes the connection when it is told so.
async fn taciturn(
    listener: TcpListener,
    whole: mpsc::UnboundedSender<u32>,
    mut last: oneshot::Receiver<u32>,
    close: oneshot::Receiver<()>,
) {
    let (mut stream, _) = listener.accept().await.unwrap();
    drop(listener);
    stream.read_exact(&mut [0; 24]).await.unwrap();
    stream.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await.unwrap();
    let last = loop {
        tokio::select! {
            last = &mut last => break last.unwrap(),
            read = frame(&mut stream) => match read.unwrap() {
                (SETTINGS, 0, _) => stream.write_all(&[0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0]).await.unwrap(),
                (DATA, flags, id) if flags & END_STREAM != 0 => whole.send(id).unwrap(),
                _ => {}
            },
        }
    };
    let mut goaway = vec![0, 0, 8, GOAWAY, 0, 0, 0, 0, 0];
    goaway.extend(last.to_be_bytes());
    goaway.extend([0; 4]);
    stream.write_all(&goaway).await.unwrap();
    let _ = close.await;
}

#[tokio::test]
async fn what_a_leaving_server_did_not_take_goes_to_another_and_what_it_took_does_not() {
    let registry = MemoryRegistry::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    list(&registry, instance_at(listener.local_addr().unwrap())).await;
    let (whole, mut is_whole) = mpsc::unbounded_channel();
    let (last, told) = oneshot::channel();
    let (close, closed) = oneshot::channel();
    tokio::spawn(taciturn(listener, whole, told, closed));
    let channel = Channel::new(&Directory::new(shared(&registry)), &service());
    settled(&channel, 1).await;
    let mut calls = Vec::new();
    for id in [1, 3, 5] {
        let channel = channel.clone();
        calls.push(tokio::spawn(async move { call(&channel, 0).await }));
        assert_eq!(within("a request", is_whole.recv()).await, Some(id));
    }
    let (at, other, _task) = bare("other").await;
    list(&registry, instance_at(at)).await;
    settled(&channel, 2).await;

    last.send(1).unwrap();
    for not_taken in calls.split_off(1) {
        assert_eq!(within("an answer", not_taken).await.unwrap().unwrap(), "other");
    }
    close.send(()).unwrap();
    let taken = calls.pop().unwrap();
    let status = within("a failure", taken).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let error = status.source().and_then(|source| source.downcast_ref::<CallError>()).unwrap();
    assert!(error.may_have_been_sent(), "{error:?}");
    // Who came later has been answered, and so would it have been.
    assert_eq!(call(&channel, 0).await.unwrap(), "other");
    assert_eq!(other.begun.load(Ordering::SeqCst), 3, "each once, and none that was taken");
}
