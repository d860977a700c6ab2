//! Heartbeats of all leases of a client over one stream.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{LeaseKeepAliveStream, LeaseKeeper};
use registry_core::{ErrorKind, Operation, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::connection::Connection;
use crate::error::{classify, failure};

/// A stream that nobody used for so long is closed.
const IDLE: Duration = Duration::from_secs(60);

type Waiter = oneshot::Sender<Result<()>>;

#[derive(Debug)]
pub(crate) struct Heartbeats {
    connection: Arc<Connection>,
    /// To the task of the stream; gone with the stream.
    stream: Mutex<Option<mpsc::UnboundedSender<(i64, Waiter)>>>,
    deadline: Duration,
}

impl Heartbeats {
    pub(crate) fn new(connection: Arc<Connection>, deadline: Duration) -> Self {
        Self { connection, stream: Mutex::default(), deadline }
    }

    /// Renews `lease`.
    pub(crate) async fn beat(&self, lease: i64) -> Result<()> {
        let (waiter, answer) = oneshot::channel();
        let waiter = self.send(lease, waiter).err();
        if let Some(waiter) = waiter {
            // Opening a stream is a heartbeat already.
            let opened = self
                .connection
                .call(Operation::Keepalive, |mut client| async move { client.lease_keep_alive(lease).await })
                .await;
            let (keeper, responses) = opened?;
            let _ = waiter.send(Ok(()));
            self.start(keeper, responses);
        }
        match timeout(self.deadline, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => {
                Err(failure(ErrorKind::Unavailable, Operation::Keepalive, "the stream of heartbeats ended"))
            }
            Err(_) => {
                // Whatever is wrong with this stream, the next heartbeat opens another.
                self.with_stream(|stream| *stream = None);
                Err(failure(ErrorKind::Timeout, Operation::Keepalive, "a heartbeat was not answered"))
            }
        }
    }

    /// Gives the waiter back when there is no stream.
    fn send(&self, lease: i64, waiter: Waiter) -> Result<(), Waiter> {
        self.with_stream(|stream| match stream {
            Some(open) => open.send((lease, waiter)).map_err(|unsent| {
                *stream = None;
                unsent.0.1
            }),
            None => Err(waiter),
        })
    }

    fn start(&self, keeper: LeaseKeeper, responses: LeaseKeepAliveStream) {
        let (sender, receiver) = mpsc::unbounded_channel();
        // Two that opened one at the same time: the later is used, the earlier ends when it has answered.
        self.with_stream(|stream| *stream = Some(sender));
        tokio::spawn(pump(keeper, responses, receiver));
    }

    fn with_stream<T>(
        &self,
        use_it: impl FnOnce(&mut Option<mpsc::UnboundedSender<(i64, Waiter)>>) -> T,
    ) -> T {
        use_it(&mut self.stream.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Sends heartbeats and hands out the answers, until the stream breaks or nobody needs it.
async fn pump(
    mut keeper: LeaseKeeper,
    mut responses: LeaseKeepAliveStream,
    mut requests: mpsc::UnboundedReceiver<(i64, Waiter)>,
) {
    let mut waiting: BTreeMap<i64, Vec<Waiter>> = BTreeMap::new();
    let mut open = true;
    while open || !waiting.is_empty() {
        tokio::select! {
            biased;
            response = responses.message() => {
                let error = match response {
                    Ok(Some(response)) => {
                        let result = if response.ttl() > 0 {
                            Ok(())
                        } else {
                            Err(failure(ErrorKind::LeaseLost, Operation::Keepalive, "the lease is not known to etcd"))
                        };
                        for waiter in waiting.remove(&response.id()).unwrap_or_default() {
                            let _ = waiter.send(result.clone());
                        }
                        continue;
                    }
                    Ok(None) => failure(ErrorKind::Unavailable, Operation::Keepalive, "the stream of heartbeats ended"),
                    Err(error) => classify(Operation::Keepalive, error),
                };
                requests.close();
                while let Ok((_, waiter)) = requests.try_recv() {
                    let _ = waiter.send(Err(error.clone()));
                }
                for waiter in waiting.into_values().flatten() {
                    let _ = waiter.send(Err(error.clone()));
                }
                return;
            }
            request = timeout(IDLE, requests.recv()), if open => match request {
                Ok(Some((lease, waiter))) => {
                    waiting.entry(lease).or_default().push(waiter);
                    keeper.id = lease;
                    if keeper.keep_alive().await.is_err() {
                        // The responses tell why, or end.
                        requests.close();
                    }
                }
                Ok(None) => open = false,
                Err(_) => requests.close(),
            },
        }
    }
}
