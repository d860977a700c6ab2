//! One member of etcd: its client, made anew when credentials change or the connection is lost.

use std::error::Error as _;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions};
use registry_core::{Error, ErrorKind, Operation, Result};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tonic::Code;

use crate::credentials::Shown;
use crate::error::{chain, classify, failure};
use crate::login::Login;
use crate::options::EtcdOptions;
use crate::pulse::{Pulse, PulseReceiver};

/// etcd ends a connection on which pings come more often than every 5 s, or while no stream is open on it
/// (`--grpc-keepalive-min-time`, and `PermitWithoutStream` of gRPC). The pulse notices sooner; these are for idle connections.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may leave everything unanswered before it is given up.
const SILENT: Duration = Duration::from_secs(5);
/// How long logging in may take. An etcd that has many to check takes its time, and checks whether or not somebody still waits.
const LOGIN: Duration = Duration::from_secs(30);

pub(crate) struct Member {
    url: String,
    connect_timeout: Duration,
    login: Arc<Login>,
    client: Mutex<Option<Arc<Made>>>,
    /// Held while a client is made, so that many requests log in once.
    making: tokio::sync::Mutex<()>,
    pulse: Pulse,
}

/// A client, and what it was made with.
struct Made {
    client: Client,
    fingerprint: u64,
    answers: Mutex<Answers>,
}

/// What etcd made of what it was asked.
#[derive(Debug, Default)]
struct Answers {
    /// Whether there ever was one.
    any: bool,
    /// The oldest request since the last answer.
    waiting_since: Option<Instant>,
}

impl Made {
    fn asked(&self) {
        self.answers().waiting_since.get_or_insert_with(Instant::now);
    }

    fn answered(&self) {
        *self.answers() = Answers { any: true, waiting_since: None };
    }

    fn is_silent(&self) -> bool {
        self.answers().waiting_since.is_some_and(|since| since.elapsed() >= SILENT)
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.url)
    }
}

impl Member {
    pub(crate) fn new(url: &str, options: &EtcdOptions, store: &str, login: &Arc<Login>) -> Result<Self> {
        let url = match url.split_once("://") {
            Some(("http", _)) if options.tls.is_some() => {
                return Err(Error::invalid(
                    "endpoints",
                    format!("{url} is plain, and TLS is asked for: write https://"),
                ));
            }
            Some(("http" | "https", _)) => url.to_owned(),
            Some(_) => {
                return Err(Error::invalid("endpoints", format!("{url} is neither http:// nor https://")));
            }
            None if options.tls.is_some() => format!("https://{url}"),
            None => format!("http://{url}"),
        };
        if let Err(error) = tonic::transport::Endpoint::from_shared(url.clone()) {
            return Err(Error::invalid("endpoints", format!("{url} is not a URL")).with_source(error));
        }
        Ok(Self {
            url,
            connect_timeout: options.connect_timeout,
            login: Arc::clone(login),
            client: Mutex::default(),
            making: tokio::sync::Mutex::default(),
            pulse: Pulse::new(options.probe_interval, store),
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it tells of itself from now on, until it is lost.
    pub(crate) fn listen(self: &Arc<Self>) -> PulseReceiver {
        self.pulse.subscribe(self)
    }

    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Makes one request; makes the client anew, once, when etcd no longer knows who we are, or when the runtime that it was made on has ended.
    pub(crate) async fn request<T, F>(
        self: &Arc<Self>,
        operation: Operation,
        request: &impl Fn(&Client) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let made = self.client().await.map_err(|error| error.with_operation(operation))?;
        made.asked();
        let error = match request(&made.client).await {
            Ok(answer) => {
                made.answered();
                return Ok(answer);
            }
            Err(error) => error,
        };
        if is_an_answer(&error) {
            made.answered();
        }
        if self.url.starts_with("https://") && !made.answers().any && is_hang_up(&error) {
            // TLS 1.3 tells a client that its certificate is not accepted only after the handshake, and the library drops what it is told.
            let message =
                "etcd hung up after the TLS handshake: it does not accept our certificate, or demands one";
            return Err(failure(ErrorKind::Unauthenticated, operation, message).with_source(error));
        }
        let again = self.login.can_change() && is_unknown_to_etcd(&error) || has_lost_its_runtime(&error);
        if !again {
            return Err(classify(operation, error));
        }
        self.forget(&made);
        let made = self.client().await.map_err(|error| error.with_operation(operation))?;
        request(&made.client).await.map_err(|error| classify(operation, error))
    }

    /// A request had no answer in time. A connection that has been silent for long is given up, because what hangs in it may hang for minutes after the
    /// network is back; not sooner, because a new one may have to log in, and an etcd that is slow must not be asked to check passwords.
    pub(crate) fn went_unanswered(&self) {
        self.slot(|slot| {
            slot.take_if(|made| made.is_silent());
        });
    }

    /// The client to use now. One that must be made is made once for all who ask, in a task of its own: who gives up waiting does not stop a login.
    async fn client(self: &Arc<Self>) -> Result<Arc<Made>> {
        let (shown, fingerprint) = self.login.shown().await?;
        if let Some(made) = self.made_with(fingerprint) {
            return Ok(made);
        }
        let this = Arc::clone(self);
        let (sender, made) = oneshot::channel();
        tokio::spawn(async move {
            let _making = this.making.lock().await;
            if sender.is_closed() {
                return;
            }
            let made =
                match (this.made_with(fingerprint), this.login.standing_refusal(fingerprint, &this.url)) {
                    (Some(made), _) => Ok(made),
                    (None, Some(refusal)) => Err(refusal),
                    (None, None) => this.make(&shown, fingerprint).await,
                };
            let _ = sender.send(made);
        });
        let ended = |_| Err(failure(ErrorKind::Closed, Operation::Connect, "the runtime shuts down"));
        made.await.unwrap_or_else(ended)
    }

    async fn make(&self, shown: &Shown, fingerprint: u64) -> Result<Arc<Made>> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.connect_timeout)
            .with_keep_alive(PING_INTERVAL, PING_TIMEOUT)
            .with_keep_alive_while_idle(false)
            .with_require_leader(true);
        if shown.wants_tls() || self.url.starts_with("https://") {
            options = options.with_tls(shown.tls());
        }
        let plain = options.clone();
        if let Some((name, password)) = &shown.login {
            options = options.with_user(name, password);
        }
        let connecting = async {
            match Client::connect([&self.url], Some(options)).await {
                // Users are configured before they are demanded.
                Err(error) if is_without_users(&error) => {
                    tracing::warn!(member = %self.url, "etcd demands no users; connecting as nobody");
                    Client::connect([&self.url], Some(plain)).await
                }
                connected => connected,
            }
        };
        let refused = |everywhere: bool, error: Error| {
            if matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::Timeout) {
                self.login.was_refused(fingerprint, (!everywhere).then_some(&*self.url), &error);
            }
            error
        };
        let client = match timeout(LOGIN, connecting).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => {
                let by_etcd = is_an_answer(&error);
                return Err(refused(by_etcd, classify(Operation::Connect, error)));
            }
            Err(_) => {
                let message = format!("{} did not answer a login within {LOGIN:?}", self.url);
                return Err(refused(false, failure(ErrorKind::Timeout, Operation::Connect, message)));
            }
        };
        self.login.was_accepted(&self.url);
        let made = Made { client, fingerprint, answers: Mutex::default() };
        let made = Arc::new(made);
        self.slot(|slot| *slot = Some(Arc::clone(&made)));
        Ok(made)
    }

    fn made_with(&self, fingerprint: u64) -> Option<Arc<Made>> {
        self.slot(|slot| slot.as_ref().filter(|made| made.fingerprint == fingerprint).map(Arc::clone))
    }

    fn forget(&self, made: &Arc<Made>) {
        self.slot(|slot| {
            slot.take_if(|present| Arc::ptr_eq(present, made));
        });
    }

    fn slot<T>(&self, act: impl FnOnce(&mut Option<Arc<Made>>) -> T) -> T {
        act(&mut self.client.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A request of this member alone, within `limit`.
    pub(crate) async fn request_within<T, F>(
        self: &Arc<Self>,
        limit: Duration,
        operation: Operation,
        request: &impl Fn(&Client) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let answer = timeout(limit, self.request(operation, request)).await;
        answer.unwrap_or_else(|_| {
            let message = format!("{} gave no answer within {limit:?}", self.url);
            Err(failure(ErrorKind::Timeout, operation, message))
        })
    }
}

/// A token that ran out, or that a change of users or roles made void; users that are demanded since we connected.
fn is_unknown_to_etcd(error: &etcd_client::Error) -> bool {
    let etcd_client::Error::GRpcStatus(status) = error else { return false };
    match status.code() {
        Code::Unauthenticated => true,
        Code::InvalidArgument => {
            status.message().contains("revision of auth store is old")
                || status.message().contains("user name is empty")
        }
        _ => false,
    }
}

/// Whether etcd itself said so.
fn is_an_answer(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status) if status.source().is_none())
}

/// The connection was there and was closed before an answer came.
fn is_hang_up(error: &etcd_client::Error) -> bool {
    let etcd_client::Error::GRpcStatus(status) = error else { return false };
    let text = status.source().map(chain).unwrap_or_default();
    ["connection closed", "broken pipe", "reset by peer"].iter().any(|known| text.contains(known))
}

/// What a channel says whose worker is gone.
fn has_lost_its_runtime(error: &etcd_client::Error) -> bool {
    let etcd_client::Error::GRpcStatus(status) = error else { return false };
    status.message().starts_with("Service was not ready")
        || status.source().is_some_and(|cause| chain(cause).contains("buffer's worker closed"))
}

fn is_without_users(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status) if status.message().contains("authentication is not enabled"))
}
