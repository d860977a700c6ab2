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

/// `hyper` says so of requests that it gives back whole.
const NOT_WRITTEN: &str = "operation was canceled";

pub(crate) struct Member {
    url: String,
    connect_timeout: Duration,
    login: Arc<Login>,
    client: Mutex<Option<Arc<Made>>>,
    /// Held while a client is made, so that many requests log in once.
    making: tokio::sync::Mutex<()>,
    pulse: Pulse,
    /// What is given up sooner tells nothing of the member: half of what we ourselves wait at least.
    brief: Duration,
}

/// A client, and what it was made with.
struct Made {
    client: Client,
    fingerprint: u64,
    answers: Mutex<Answers>,
}

/// What etcd made of what it was asked. A connection is silent when requests have waited for [`SILENT`] since its last answer: those that wait at the same
/// time count once, and time in which none waits does not count. So requests that are given up one after another, each at its deadline, add up to silence, and
/// one that was given up long ago, because another member was faster, counts with the time that it had and no more. Waiting that was over sooner than
/// [`Member::brief`] does not count: who is asked second is mostly given up at once, however well it is.
#[derive(Debug, Default)]
struct Answers {
    /// How many there were.
    count: u64,
    /// How many requests wait that were made since the last one.
    waiting: usize,
    /// Since when there has always been one that waits.
    since: Option<Instant>,
    /// For how long some waited before that.
    waited: Duration,
}

/// A request that waits for its answer, until it is dropped.
struct Waiting<'a> {
    made: &'a Made,
    brief: Duration,
    /// How many answers there were when it was made.
    count: u64,
}

impl Waiting<'_> {
    fn answered(self) {
        let made = self.made;
        // It waits no more, so there is nothing to take back.
        std::mem::forget(self);
        let mut answers = made.answers();
        *answers = Answers { count: answers.count + 1, ..Answers::default() };
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut answers = self.made.answers();
        // Where another has been answered since, it is this request that is slow.
        if answers.count != self.count {
            return;
        }
        answers.waiting -= 1;
        if answers.waiting == 0 {
            let waited = answers.since.take().map_or(Duration::ZERO, |since| since.elapsed());
            if waited >= self.brief {
                answers.waited += waited;
            }
        }
    }
}

impl Made {
    fn asked(&self, brief: Duration) -> Waiting<'_> {
        let mut answers = self.answers();
        answers.waiting += 1;
        answers.since.get_or_insert_with(Instant::now);
        Waiting { made: self, brief, count: answers.count }
    }

    fn is_silent(&self) -> bool {
        let answers = self.answers();
        answers.waited + answers.since.map_or(Duration::ZERO, |since| since.elapsed()) >= SILENT
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
            brief: options.hedge_after.min(options.request_timeout).min(options.probe_interval) / 2,
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

    /// Makes one request, and once again for each of these: nothing of it was written; etcd no longer knows who we are, or the runtime that the client was made on
    /// has ended, for which the client is made anew; etcd hung up on the first request of a connection with TLS, which may be a refusal or a server that ends.
    pub(crate) async fn request<T, F>(
        self: &Arc<Self>,
        operation: Operation,
        request: &impl Fn(&Client) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let [mut sent_again, mut made_anew, mut asked_again] = [false; 3];
        loop {
            let made = self.client().await.map_err(|error| error.with_operation(operation))?;
            let waiting = made.asked(self.brief);
            let error = match request(&made.client).await {
                Ok(answer) => {
                    waiting.answered();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            if is_an_answer(&error) {
                waiting.answered();
            } else {
                drop(waiting);
            }
            let is_void =
                self.login.can_change() && is_unknown_to_etcd(&error) || has_lost_its_runtime(&error);
            if is_void {
                self.forget(&made);
            }
            let hung_up = self.url.starts_with("https://") && made.answers().count == 0 && is_hang_up(&error);
            let was_tried = if was_never_written(&error) {
                &mut sent_again
            } else if is_void {
                &mut made_anew
            } else if hung_up {
                &mut asked_again
            } else {
                return Err(classify(operation, error));
            };
            if !std::mem::replace(was_tried, true) {
                continue;
            }
            if hung_up {
                // TLS 1.3 tells a client that its certificate is not accepted only after the handshake, and the library drops what it is told.
                let message = "etcd hung up after the TLS handshake: it does not accept our certificate, or demands one";
                return Err(failure(ErrorKind::Unauthenticated, operation, message).with_source(error));
            }
            return Err(classify(operation, error));
        }
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
        // A login was answered by that very connection.
        let answers = Answers { count: shown.login.is_some().into(), ..Answers::default() };
        let made = Made { client, fingerprint, answers: Mutex::new(answers) };
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

/// It waited for its turn on a connection that ended then: of what was begun, the code is another. A new connection is made for the next one.
fn was_never_written(error: &etcd_client::Error) -> bool {
    let etcd_client::Error::GRpcStatus(status) = error else { return false };
    status.code() == Code::Cancelled
        && status.source().is_some_and(|cause| chain(cause).contains(NOT_WRITTEN))
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

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::{sleep, sleep_until};

    use super::*;

    impl Member {
        /// Whether the client that was made last is still the one to use.
        pub(crate) fn is_connected(&self) -> bool {
            self.slot(|slot| slot.is_some())
        }
    }

    const MILLIS: Duration = Duration::from_millis(1);

    /// A member that is not there, which requests that do not use their client do not learn, and when it was made.
    struct Subject(Arc<Member>, Instant);

    impl Subject {
        fn new() -> Self {
            let options = EtcdOptions::new(["http://127.0.0.1:1"]);
            let login = Arc::new(Login::new(&options));
            let member = Member::new("http://127.0.0.1:1", &options, "store", &login).unwrap();
            Self(Arc::new(member), Instant::now())
        }

        async fn is_at(&self, millis: u32) {
            sleep_until(self.1 + millis * MILLIS).await;
        }

        /// A request is made, and given up without an answer.
        async fn waits(&self, from: u32, to: u32) {
            self.is_at(from).await;
            let swallowed = |_: &Client| pending::<Result<(), etcd_client::Error>>();
            let limit = (to - from) * MILLIS;
            self.0.request_within(limit, Operation::Lookup, &swallowed).await.unwrap_err();
        }

        /// A request is made, and answered.
        async fn answers(&self, from: u32, to: u32) {
            self.is_at(from).await;
            let request = |_: &Client| async move {
                sleep((to - from) * MILLIS).await;
                Ok(())
            };
            self.0.request(Operation::Lookup, &request).await.unwrap();
        }

        /// Whether the connection is kept by whoever finds then that there was no answer in time.
        async fn is_kept(&self, at: u32) -> bool {
            self.is_at(at).await;
            self.0.went_unanswered();
            self.0.is_connected()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_swallows_everything_is_given_up_after_five_seconds_whoever_waits() {
        let one = Subject::new();
        let ((), before, after) = tokio::join!(one.waits(0, 9_000), one.is_kept(4_999), one.is_kept(5_000));
        assert_eq!((before, after), (true, false));
        let many = Subject::new();
        let asking = async {
            for second in 0..9 {
                many.waits(1_000 * second, 1_000 * (second + 1)).await;
            }
        };
        let ((), before, after) = tokio::join!(asking, many.is_kept(4_999), many.is_kept(5_001));
        assert_eq!((before, after), (true, false));
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waits_is_no_silence() {
        let member = Subject::new();
        member.waits(0, 2_000).await;
        assert!(member.is_kept(2_001).await);
        let ((), kept) = tokio::join!(member.waits(60_000, 62_000), member.is_kept(60_501));
        assert!(kept);
        let ((), before, after) =
            tokio::join!(member.waits(120_000, 122_000), member.is_kept(120_999), member.is_kept(121_000));
        assert_eq!((before, after), (true, false), "they add up");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_wait_at_the_same_time_count_once() {
        let member = Subject::new();
        tokio::join!(member.waits(0, 2_000), member.waits(1_000, 3_000), member.waits(1_500, 1_600));
        assert!(member.is_kept(3_500).await);
        let ((), (), before, after) = tokio::join!(
            member.waits(60_000, 61_500),
            member.waits(61_000, 63_000),
            member.is_kept(61_999),
            member.is_kept(62_000)
        );
        assert_eq!((before, after), (true, false));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_the_silence_also_for_those_who_still_wait() {
        let member = Subject::new();
        let ((), (), (), (), first, before, after) = tokio::join!(
            member.waits(0, 9_000),
            member.waits(1_000, 4_500),
            member.answers(2_000, 3_000),
            member.waits(4_000, 9_500),
            member.is_kept(6_000),
            member.is_kept(8_999),
            member.is_kept(9_000),
        );
        assert_eq!((first, before, after), (true, true, false));
    }

    /// How a request fails.
    #[derive(Clone, Copy, Debug)]
    enum Fails {
        /// It is given back whole.
        Unwritten,
        /// What it went through breaks.
        UnderWay,
        /// Whose client is of a runtime that has ended.
        Void,
    }

    impl Fails {
        fn error(self) -> etcd_client::Error {
            let with_cause = |text| {
                let mut status = tonic::Status::cancelled("");
                status.set_source(Arc::new(std::io::Error::other(text)));
                status
            };
            etcd_client::Error::GRpcStatus(match self {
                Self::Unwritten => with_cause(NOT_WRITTEN),
                Self::UnderWay => with_cause("stream no longer needed"),
                Self::Void => tonic::Status::unknown("Service was not ready: it has ended"),
            })
        }
    }

    #[tokio::test]
    async fn what_was_never_written_or_whose_client_is_void_is_sent_once_again_each_and_nothing_else_is() {
        use Fails::{UnderWay, Unwritten, Void};
        for (failures, times, answered) in [
            (vec![], 1, true),
            (vec![Unwritten], 2, true),
            (vec![UnderWay], 1, false),
            (vec![Unwritten, Unwritten], 2, false),
            (vec![Unwritten, UnderWay], 2, false),
            (vec![Void], 2, true),
            (vec![Void, Void], 2, false),
            (vec![Unwritten, Void], 3, true),
            (vec![Void, Unwritten], 3, true),
            (vec![Void, Unwritten, Void], 3, false),
        ] {
            let Subject(member, _) = Subject::new();
            let (left, asked) = (Mutex::new(failures.iter()), AtomicUsize::new(0));
            let request = |_: &Client| {
                asked.fetch_add(1, Ordering::Relaxed);
                let fails = left.lock().unwrap().next().map(|fails| fails.error());
                async move { fails.map_or(Ok(()), Err) }
            };
            let answer = member.request(Operation::Lookup, &request).await;
            assert_eq!((asked.into_inner(), answer.is_ok()), (times, answered), "{failures:?}: {answer:?}");
            let ends_void = !answered && matches!(failures.last(), Some(Void));
            assert_eq!(member.is_connected(), !ends_void, "{failures:?}: the next one makes a client anew");
        }
    }
}
