//! Requests to whichever server has a service, through redirections, fail-overs and connections that fall silent.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{Cmd, ErrorKind as Kind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, cmd};
use registry_core::time::{Timers, later};
use registry_core::{Error, ErrorKind, Operation, OwnerToken, Result, ServiceName};
use tokio::time::{Instant, sleep, timeout_at};

use crate::address::Address;
use crate::answer::Answer;
use crate::call::{Args, Call, Trouble, classify_call};
use crate::error::{classify, failure, is_passing};
use crate::layout::Keys;
use crate::link::Link;
use crate::member::Member;
use crate::options::RedisOptions;
use crate::push::{Inbox, Refused};
use crate::script::Script;
use crate::topology::Topology;

/// Before asking again what will be answered otherwise in a moment.
const MOMENT: Duration = Duration::from_millis(50);
/// So often a request follows what servers say about where to go.
const HOPS: usize = 16;
/// So many services are remembered whose writes were refused.
const REMEMBERED: usize = 100_000;

#[derive(Debug)]
pub(crate) struct Connection {
    options: Arc<RedisOptions>,
    topology: Arc<Topology>,
    /// Of randomness that no other client has; what is counted makes each call's own.
    seed: u64,
    calls: AtomicU64,
    /// Services that could not be written to since they last were.
    troubled: Mutex<BTreeMap<ServiceName, Trouble>>,
    timers: Timers,
    /// Of requests that may take longer, as those that wait for replicas.
    other_timers: Timers,
}

/// One request: what is sent, perhaps anew and elsewhere.
pub(crate) trait Request: Sync {
    fn send(&self, link: &Link, asking: bool) -> impl Future<Output = RedisResult<Value>> + Send;

    /// How long to wait for an answer before another connection is tried.
    fn stall(&self, stall_after: Duration) -> Duration {
        stall_after
    }
}

impl Connection {
    pub(crate) fn new(options: Arc<RedisOptions>) -> Result<Self> {
        Ok(Self {
            topology: Arc::new(Topology::new(Arc::clone(&options))?),
            options,
            seed: OwnerToken::random().as_u128() as u64,
            calls: AtomicU64::new(0),
            troubled: Mutex::default(),
            timers: Timers::default(),
            other_timers: Timers::default(),
        })
    }

    pub(crate) fn options(&self) -> &RedisOptions {
        &self.options
    }

    pub(crate) fn topology(&self) -> &Topology {
        &self.topology
    }

    pub(crate) fn keys(&self, service: &ServiceName) -> Keys {
        Keys::of(&self.options.prefix, service)
    }

    /// One command about a key in `slot`.
    pub(crate) async fn command(&self, operation: Operation, slot: u16, command: Cmd) -> Result<Value> {
        let deadline = later(Instant::now(), self.options.request_timeout);
        let (value, _) = self
            .send(operation, slot, deadline, &command)
            .await?
            .map_err(|error| classify(operation, error))?;
        Ok(value)
    }

    /// A connection to the server that has `slot`, for requests that only one process can answer.
    pub(crate) async fn pinned(&self, operation: Operation, slot: u16) -> Result<Arc<Link>> {
        let member = self.topology.node(slot).await.map_err(|error| error.with_operation(operation))?;
        member.link().await.map_err(|error| error.with_operation(operation))
    }

    /// One command on that connection, and nowhere else.
    pub(crate) async fn on(&self, operation: Operation, link: &Link, command: &Cmd) -> Result<Value> {
        match tokio::time::timeout(self.options.request_timeout, link.request(command)).await {
            Ok(answer) => answer.map_err(|error| classify(operation, error)),
            Err(_) => {
                link.give_up();
                Err(too_slow(operation, &self.options))
            }
        }
    }

    /// A script about `service`; its answer without the first two parts, which say how it went and when.
    pub(crate) async fn script(
        &self,
        operation: Operation,
        service: &ServiceName,
        script: &'static Script,
        args: Args<'_>,
    ) -> Result<Answer> {
        self.run(operation, service, script, args, false).await
    }

    /// The same for a change, which is acknowledged when as many replicas have it as the options say.
    pub(crate) async fn change(
        &self,
        operation: Operation,
        service: &ServiceName,
        script: &'static Script,
        args: Args<'_>,
    ) -> Result<Answer> {
        self.run(operation, service, script, args, self.options.wait.is_some()).await
    }

    async fn run(
        &self,
        operation: Operation,
        service: &ServiceName,
        script: &'static Script,
        args: Args<'_>,
        waits: bool,
    ) -> Result<Answer> {
        let keys = self.keys(service);
        let deadline = later(Instant::now(), self.options.request_timeout);
        let (mut sure, mut tries) = (false, 0_u32);
        loop {
            let trouble = self.trouble(service).filter(|_| !script.reads);
            let call =
                Call { connection: self, keys: &keys, script, args, deadline, sure, trouble, tries, waits };
            let outcome = self.send(operation, keys.slot, deadline, &call).await;
            let (value, link) = match outcome {
                Ok(Ok(answered)) => answered,
                Ok(Err(error)) => {
                    if let Some(trouble) = trouble_of(&error).filter(|_| !script.reads) {
                        self.note(service, trouble);
                    }
                    return Err(classify_call(operation, error));
                }
                Err(error) => {
                    self.note(service, trouble_of_connecting(&error));
                    return Err(error);
                }
            };
            let answer = Answer::read(operation, value)?;
            match answer.word() {
                // What the server takes for the time has changed, and the answer has said so.
                "LATE" if tries < 3 => tries += 1,
                "LATE" => {
                    return Err(failure(
                        ErrorKind::Timeout,
                        operation,
                        "requests take longer than their caller waits, or the server's clock is stepping",
                    ));
                }
                "DOUBT" if !sure => {
                    // An answer that fails tells no more than none.
                    let _ = timeout_at(deadline, Box::pin(link.count_refused())).await;
                    sure = true;
                }
                _ => {
                    if trouble.is_some() {
                        self.lock_troubled().remove(service);
                    }
                    return Ok(answer);
                }
            }
        }
    }

    /// Listens to the changes of a service.
    pub(crate) async fn listen(&self, keys: &Keys) -> Result<Listening> {
        let deadline = later(Instant::now(), self.options.request_timeout);
        let mut hops = 0;
        loop {
            self.keep_fresh();
            let node = self.topology.node(keys.slot).await?;
            match timeout_at(deadline, node.pushes.listen(&keys.log())).await {
                Ok(Ok(inbox)) => return Ok(Listening { inbox, node }),
                Ok(Err(Refused::Error(error))) => {
                    self.topology.doubt(keys.slot, &node.address);
                    return Err(error.with_operation(Operation::Watch));
                }
                Ok(Err(Refused::Answer(error))) => {
                    hops += 1;
                    if hops > HOPS || !self.follow(keys.slot, &node, &error).await {
                        return Err(classify(Operation::Watch, error));
                    }
                }
                Err(_) => return Err(too_slow(Operation::Watch, &self.options)),
            }
        }
    }

    /// Learns from an answer where to go; false when it says nothing about that.
    async fn follow(&self, slot: u16, node: &Member, error: &RedisError) -> bool {
        match error.kind() {
            Kind::Server(ServerErrorKind::Moved) => {
                if let Some(to) = self.redirected(error, node) {
                    self.topology.moved(slot, &to);
                }
                true
            }
            _ if is_passing(error) => {
                if matches!(error.code(), Some("READONLY")) {
                    if let Some(link) = node.present() {
                        link.give_up();
                    }
                    self.topology.doubt(slot, &node.address);
                }
                sleep(MOMENT).await;
                true
            }
            _ => false,
        }
    }

    /// Where a redirection leads; a host that is not told is the one that told it.
    fn redirected(&self, error: &RedisError, node: &Member) -> Option<Address> {
        let (to, _) = error.redirect_node()?;
        let mut to = Address::announced(to)?;
        if to.host.is_empty() || to.host == "?" {
            to.host.clone_from(&node.address.host);
        }
        Some(self.topology.reached(to))
    }

    /// Sends until there is an answer that is meant for the caller: the inner error is the server's, or of a connection whose request may have been done.
    async fn send<R: Request>(
        &self,
        operation: Operation,
        slot: u16,
        deadline: Instant,
        request: &R,
    ) -> Result<RedisResult<(Value, Arc<Link>)>> {
        let mut hops = 0;
        let mut ask_at = None;
        // What was answered before says more than that nothing was in the end.
        let mut answered: Option<RedisError> = None;
        loop {
            self.keep_fresh();
            let (node, asking) = match ask_at.take() {
                Some(address) => (self.topology.node_at(&address), true),
                None => (self.node(operation, slot, deadline).await?, false),
            };
            let answer = match self.send_to(&node, request, asking, deadline).await {
                Some(Ok(answer)) => answer,
                Some(Err(error)) => {
                    self.topology.doubt(slot, &node.address);
                    hops += 4;
                    if !self.topology.fails_over() || hops > HOPS || Instant::now() + MOMENT >= deadline {
                        return Err(error.with_operation(operation));
                    }
                    sleep(MOMENT).await;
                    continue;
                }
                None => {
                    if let Some(link) = node.present() {
                        link.give_up();
                    }
                    self.topology.doubt(slot, &node.address);
                    return Err(match answered {
                        None => too_slow(operation, &self.options),
                        Some(error) => {
                            let within = self.options.request_timeout;
                            let message = format!("no answer within {within:?}, and before that: {error}");
                            failure(ErrorKind::Timeout, operation, message).with_source(error)
                        }
                    });
                }
            };
            let error = match answer {
                Ok(answer) => return Ok(Ok(answer)),
                Err(error) => error,
            };
            hops += 1;
            if hops > HOPS * 4 || Instant::now() + MOMENT >= deadline {
                return Ok(Err(error));
            }
            if matches!(error.kind(), Kind::Server(ServerErrorKind::Ask)) {
                match self.redirected(&error, &node) {
                    Some(address) => ask_at = Some(address),
                    None => return Ok(Err(error)),
                }
            } else if crate::error::breaks_connection(&error) {
                // Every request may be done twice; a connection that broke is no news yet.
                self.topology.doubt(slot, &node.address);
                hops += HOPS;
                sleep(Duration::from_millis(5)).await;
            } else if !self.follow(slot, &node, &error).await {
                return Ok(Err(error));
            }
            answered = Some(error);
        }
    }

    /// The node that has `slot`.
    async fn node(&self, operation: Operation, slot: u16, deadline: Instant) -> Result<Arc<Member>> {
        if let Some(node) = self.topology.known(slot) {
            return Ok(node);
        }
        match timeout_at(deadline, self.topology.node(slot)).await {
            Ok(node) => node.map_err(|error| error.with_operation(operation)),
            Err(_) => Err(too_slow(operation, &self.options)),
        }
    }

    /// Sends to one node. While there is no answer, another connection to it is tried every `stall_after`, and the request sent on that as well: a
    /// connection may be dead without a word. None: the deadline has passed. The outer error: there is no connection.
    async fn send_to<R: Request>(
        &self,
        node: &Member,
        request: &R,
        asking: bool,
        deadline: Instant,
    ) -> Option<Result<RedisResult<(Value, Arc<Link>)>>> {
        let mut link = match node.present() {
            Some(link) => link,
            None => match timeout_at(deadline, node.link()).await.ok()? {
                Ok(link) => link,
                Err(error) => return Some(Err(error)),
            },
        };
        if link.is_to_learn() {
            let link = Arc::clone(&link);
            tokio::spawn(async move { link.learn_again().await });
        }
        let mut patience = request.stall(self.options.stall_after);
        let timers = if patience == self.options.stall_after { &self.timers } else { &self.other_timers };
        let due = |patience| later(Instant::now(), patience).min(deadline);
        // The one timer of most requests.
        let mut until = due(patience);
        let mut timer = timers.at(until);
        loop {
            let another = {
                let mut answer = pin!(request.send(&link, asking));
                let answered =
                    |answer: RedisResult<Value>| Some(Ok(answer.map(|value| (value, Arc::clone(&link)))));
                loop {
                    tokio::select! {
                        biased;
                        answer = &mut answer => return answered(answer),
                        () = &mut timer => if until == deadline { return None },
                    }
                    timer.reset(deadline);
                    tokio::select! {
                        biased;
                        answer = &mut answer => return answered(answer),
                        another = node.another(&link) => if let Ok(another) = another { break another },
                        () = &mut timer => return None,
                    }
                    until = due(patience);
                    timer.reset(until);
                }
            };
            link.give_up();
            link = another;
            // It may be slow and not gone: copies must not pile up there.
            patience = patience.saturating_mul(2);
            until = due(patience);
            timer.reset(until);
        }
    }

    /// Asks in the background which servers there are, from time to time.
    fn keep_fresh(&self) {
        if self.topology.is_stale() {
            let topology = Arc::clone(&self.topology);
            tokio::spawn(async move { topology.refresh().await });
        }
    }

    fn trouble(&self, service: &ServiceName) -> Option<Trouble> {
        self.lock_troubled().get(service).copied()
    }

    fn note(&self, service: &ServiceName, trouble: Trouble) {
        let mut troubled = self.lock_troubled();
        if troubled.len() < REMEMBERED || troubled.contains_key(service) {
            let known = troubled.entry(service.clone()).or_insert(trouble);
            *known = trouble.max(*known);
        }
    }

    fn lock_troubled(&self) -> std::sync::MutexGuard<'_, BTreeMap<ServiceName, Trouble>> {
        self.troubled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects to a server that has services.
    pub(crate) async fn connect(&self) -> Result<()> {
        let deadline = later(Instant::now(), self.options.request_timeout);
        self.send(Operation::Connect, 0, deadline, &cmd("PING"))
            .await?
            .map(drop)
            .map_err(|error| classify(Operation::Connect, error))
    }

    /// What tells our writes from those of other clients.
    pub(crate) fn writer(&self) -> Vec<u8> {
        format!("{:x}", self.seed >> 16).into_bytes()
    }

    /// Randomness that no other call has.
    pub(crate) fn draw(&self) -> u64 {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        fastrand::Rng::with_seed(self.seed.wrapping_add(call.wrapping_mul(0x9e37_79b9_7f4a_7c15))).u64(..)
    }
}

/// Where the changes of a service arrive.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) node: Arc<Member>,
}

impl Request for Cmd {
    async fn send(&self, link: &Link, asking: bool) -> RedisResult<Value> {
        if !asking {
            return link.request(self).await;
        }
        let mut both = Pipeline::with_capacity(2);
        both.add_command(cmd("ASKING")).add_command(self.clone());
        Box::pin(link.pipeline(&both, 2)).await
    }
}

/// What an answer to a write says about others' writes. A full memory says nothing: heartbeats need none.
fn trouble_of(error: &RedisError) -> Option<Trouble> {
    if matches!(error.code(), Some("MISCONF" | "NOREPLICAS")) || is_passing(error) {
        return Some(Trouble::Refused);
    }
    crate::error::breaks_connection(error).then_some(Trouble::Unanswered)
}

fn trouble_of_connecting(error: &Error) -> Trouble {
    let answer = std::error::Error::source(error).and_then(|source| source.downcast_ref::<RedisError>());
    answer.and_then(trouble_of).unwrap_or(Trouble::Unanswered)
}

fn too_slow(operation: Operation, options: &RedisOptions) -> Error {
    failure(ErrorKind::Timeout, operation, format!("no answer within {:?}", options.request_timeout))
}
