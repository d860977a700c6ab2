//! The way to the members: one client each, the next one when one fails, a deadline on everything.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions};
use registry_core::{Error, ErrorKind, Operation, Result};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::error::{classify, failure};
use crate::options::EtcdOptions;

/// A member that said nothing for this long, pings included, is gone.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Connection {
    members: Vec<Member>,
    /// The member that answered last.
    current: AtomicUsize,
    request_timeout: Duration,
}

struct Member {
    url: String,
    options: ConnectOptions,
    client: OnceCell<Client>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.url)
    }
}

impl Connection {
    pub(crate) fn new(options: &EtcdOptions) -> Result<Self> {
        if options.endpoints.is_empty() {
            return Err(Error::invalid("endpoints", "is empty; etcd has at least one member"));
        }
        let connect = ConnectOptions::new()
            .with_connect_timeout(options.connect_timeout)
            .with_keep_alive(PING_INTERVAL, PING_TIMEOUT)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true);
        let member =
            |url: &String| Member { url: url.clone(), options: connect.clone(), client: OnceCell::new() };
        Ok(Self {
            members: options.endpoints.iter().map(member).collect(),
            current: AtomicUsize::new(0),
            request_timeout: options.request_timeout,
        })
    }

    /// Makes a request of the member that answered last, then of the others in turn, until one answers.
    pub(crate) async fn call<T, F>(&self, operation: Operation, request: impl Fn(Client) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let first = self.current.load(Ordering::Relaxed);
        let mut last = None;
        for turn in 0..self.members.len() {
            let at = (first + turn) % self.members.len();
            match self.try_member(operation, at, &request).await {
                Ok(answer) => {
                    self.current.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) => {
                    tracing::debug!(member = %self.members[at].url, %error, "member failed");
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        self.current.store((first + 1) % self.members.len(), Ordering::Relaxed);
        Err(last.unwrap_or_else(|| failure(ErrorKind::Unavailable, operation, "no member")))
    }

    async fn try_member<T, F>(
        &self,
        operation: Operation,
        at: usize,
        request: impl Fn(Client) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let member = &self.members[at];
        let attempt = async {
            let connect = || Client::connect([member.url.clone()], Some(member.options.clone()));
            let client = member.client.get_or_try_init(connect).await?.clone();
            request(client).await
        };
        match timeout(self.request_timeout, attempt).await {
            Ok(answer) => answer.map_err(|error| classify(operation, error)),
            Err(_) => {
                let message = format!("{} gave no answer within {:?}", member.url, self.request_timeout);
                Err(failure(ErrorKind::Timeout, operation, message))
            }
        }
    }
}
