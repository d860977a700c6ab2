//! Requests to whichever server has a service, through redirections, fail-overs and connections that fall silent.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{Cmd, ErrorKind as Kind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, cmd};
use registry_core::time::later;
use registry_core::{Error, ErrorKind, Incarnation, Operation, OwnerToken, Result, ServiceName};
use tokio::time::{Instant, sleep, timeout_at};

use crate::address::Address;
use crate::answer::Answer;
use crate::error::{classify, failure, is_passing, refuses_writes};
use crate::keys::Keys;
use crate::link::Link;
use crate::node::Node;
use crate::options::RedisOptions;
use crate::push::{Inbox, Refused};
use crate::script::Script;
use crate::topology::Topology;

/// Before asking again what will be answered otherwise in a moment.
const MOMENT: Duration = Duration::from_millis(50);
/// So often a request follows what servers say about where to go.
const HOPS: usize = 16;
/// The log of a service holds at most so many bytes.
const LOG_BYTES: usize = 16 << 20;
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
    refused: Mutex<BTreeSet<ServiceName>>,
}

/// One request: what is sent, perhaps anew and elsewhere.
trait Request: Sync {
    fn send(&self, link: &Link, asking: bool) -> impl Future<Output = RedisResult<Value>> + Send;
}

impl Connection {
    pub(crate) fn new(options: Arc<RedisOptions>) -> Result<Self> {
        Ok(Self {
            topology: Arc::new(Topology::new(Arc::clone(&options))?),
            options,
            seed: OwnerToken::random().as_u128() as u64,
            calls: AtomicU64::new(0),
            refused: Mutex::default(),
        })
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

    /// A script about `service`; its answer without the first two parts, which say how it went and when.
    pub(crate) async fn script(
        &self,
        operation: Operation,
        service: &ServiceName,
        script: &'static Script,
        args: &[Vec<u8>],
    ) -> Result<Answer> {
        self.run(operation, service, script, args, false).await
    }

    /// The same for a change, which is acknowledged when as many replicas have it as the options say.
    pub(crate) async fn change(
        &self,
        operation: Operation,
        service: &ServiceName,
        script: &'static Script,
        args: &[Vec<u8>],
    ) -> Result<Answer> {
        self.run(operation, service, script, args, self.options.wait.is_some()).await
    }

    async fn run(
        &self,
        operation: Operation,
        service: &ServiceName,
        script: &'static Script,
        args: &[Vec<u8>],
        waits: bool,
    ) -> Result<Answer> {
        let keys = self.keys(service);
        let deadline = later(Instant::now(), self.options.request_timeout);
        let (mut sure, mut tries) = (false, 0);
        loop {
            let doubtful = !script.reads && self.is_refused(service);
            let call = Call { connection: self, keys: &keys, script, args, deadline, sure, doubtful, waits };
            let outcome = self.send(operation, keys.slot, deadline, &call).await;
            let (value, link) = match outcome {
                Ok(Ok(answered)) => answered,
                Ok(Err(error)) => {
                    if !script.reads {
                        self.note_refused(service);
                    }
                    return Err(told_apart(operation, error, &self.options));
                }
                Err(error) => {
                    self.note_refused(service);
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
                    let _ = timeout_at(deadline, link.count_refused()).await;
                    sure = true;
                }
                _ => {
                    if doubtful {
                        self.lock_refused().remove(service);
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
            match timeout_at(deadline, node.pushes.listen(&keys.log)).await {
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
    async fn follow(&self, slot: u16, node: &Node, error: &RedisError) -> bool {
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
    fn redirected(&self, error: &RedisError, node: &Node) -> Option<Address> {
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
        loop {
            self.keep_fresh();
            let (node, asking) = match ask_at.take() {
                Some(address) => (self.topology.node_at(&address), true),
                None => match timeout_at(deadline, self.topology.node(slot)).await {
                    Ok(node) => (node.map_err(|error| error.with_operation(operation))?, false),
                    Err(_) => return Err(too_slow(operation, &self.options)),
                },
            };
            let answer = match timeout_at(deadline, self.send_to(&node, request, asking)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => {
                    self.topology.doubt(slot, &node.address);
                    hops += 4;
                    if !self.topology.fails_over() || hops > HOPS || Instant::now() + MOMENT >= deadline {
                        return Err(error.with_operation(operation));
                    }
                    sleep(MOMENT).await;
                    continue;
                }
                Err(_) => {
                    if let Some(link) = node.present() {
                        link.give_up();
                    }
                    self.topology.doubt(slot, &node.address);
                    return Err(too_slow(operation, &self.options));
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
        }
    }

    /// Sends to one node. While there is no answer, another connection to it is tried every `stall_after`, and the request sent on that as well: a
    /// connection may be dead without a word. The outer error: there is no connection.
    async fn send_to<R: Request>(
        &self,
        node: &Node,
        request: &R,
        asking: bool,
    ) -> Result<RedisResult<(Value, Arc<Link>)>> {
        let mut link = node.link().await?;
        loop {
            let another = {
                let mut answer = pin!(request.send(&link, asking));
                loop {
                    tokio::select! {
                        answer = &mut answer => return Ok(answer.map(|value| (value, Arc::clone(&link)))),
                        () = sleep(self.options.stall_after) => {}
                    }
                    tokio::select! {
                        answer = &mut answer => return Ok(answer.map(|value| (value, Arc::clone(&link)))),
                        another = node.another(&link) => if let Ok(another) = another { break another },
                    }
                }
            };
            link.give_up();
            link = another;
        }
    }

    /// Asks in the background which servers there are, from time to time.
    fn keep_fresh(&self) {
        if self.topology.is_stale() {
            let topology = Arc::clone(&self.topology);
            tokio::spawn(async move { topology.refresh().await });
        }
    }

    fn is_refused(&self, service: &ServiceName) -> bool {
        self.lock_refused().contains(service)
    }

    fn note_refused(&self, service: &ServiceName) {
        let mut refused = self.lock_refused();
        if refused.len() < REMEMBERED {
            refused.insert(service.clone());
        }
    }

    fn lock_refused(&self) -> std::sync::MutexGuard<'_, BTreeSet<ServiceName>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects to a server that has services.
    pub(crate) async fn connect(&self) -> Result<()> {
        let deadline = later(Instant::now(), self.options.request_timeout);
        self.send(Operation::Connect, 0, deadline, &cmd("PING"))
            .await?
            .map(drop)
            .map_err(|error| classify(Operation::Connect, error))
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
    pub(crate) node: Arc<Node>,
}

impl Request for Cmd {
    async fn send(&self, link: &Link, asking: bool) -> RedisResult<Value> {
        if !asking {
            return link.request(self).await;
        }
        let mut both = Pipeline::with_capacity(2);
        both.add_command(cmd("ASKING")).add_command(self.clone());
        link.pipeline(&both, 2).await
    }
}

/// A call of a script.
struct Call<'a> {
    connection: &'a Connection,
    keys: &'a Keys,
    script: &'static Script,
    args: &'a [Vec<u8>],
    deadline: Instant,
    /// Everything that can be known about refused writes is known.
    sure: bool,
    /// Writes to this service were refused, or went unanswered.
    doubtful: bool,
    /// It is acknowledged only when replicas have it.
    waits: bool,
}

impl Call<'_> {
    /// What the scripts expect before their own arguments; see `scripts/common.lua`.
    fn args(&self, link: &Link) -> Vec<Vec<u8>> {
        let options = &self.connection.options;
        let (arrival, patience) = link.arrival(self.deadline.saturating_duration_since(Instant::now()));
        let flags = format!("{}{}", if self.sure { "s" } else { "" }, if self.doubtful { "g" } else { "" });
        let watched = link.watched();
        let mut args: Vec<Vec<u8>> = vec![
            arrival.to_string().into(),
            patience.to_string().into(),
            link.facts.run.clone().into(),
            link.started.to_string().into(),
            link.refused().to_string().into(),
            Incarnation::now().to_string().into(),
            flags.into(),
            format!("{:016x}", self.connection.draw()).into(),
            options.history.to_string().into(),
            LOG_BYTES.to_string().into(),
            watched.since.to_string().into(),
            watched.forward.to_string().into(),
        ];
        args.extend(self.args.iter().cloned());
        args
    }

    async fn once(&self, link: &Link, asking: bool) -> RedisResult<Value> {
        let keys = [&*self.keys.head, &*self.keys.instances, &*self.keys.deadlines, &*self.keys.log];
        let sent = Instant::now();
        let answer = self.script.call(&keys, &self.args(link)).send(link, asking).await;
        let answer = match answer {
            Err(error) if matches!(error.kind(), Kind::Server(ServerErrorKind::NoScript)) => {
                self.script.call_with_text(&keys, &self.args(link)).send(link, asking).await
            }
            answer => answer,
        }?;
        if let Some(Value::Int(now)) = answer.as_sequence().and_then(|parts| parts.get(1)) {
            link.tell_time(sent, *now);
        }
        Ok(answer)
    }
}

impl Request for Call<'_> {
    async fn send(&self, link: &Link, asking: bool) -> RedisResult<Value> {
        let Some(wait) = self.connection.options.wait.filter(|_| self.waits) else {
            return self.once(link, asking).await;
        };
        // `WAIT` stops its connection, and counts what was written on it.
        let node = self.connection.topology.node_at(&link.address);
        let held = node.waited().await.map_err(|error| RedisError::from(std::io::Error::other(error)))?;
        let Some(link) = held.as_ref() else {
            return Err(RedisError::from(std::io::Error::other("no connection")));
        };
        let answer = self.once(link, asking).await?;
        let mut count = cmd("WAIT");
        count.arg(wait.replicas).arg(u64::try_from(wait.timeout.as_millis()).unwrap_or(u64::MAX).max(1));
        match link.request(&count).await? {
            Value::Int(count) if count >= i64::from(wait.replicas) => Ok(answer),
            Value::Int(count) => Err(redis::make_extension_error(
                UNMET.into(),
                Some(format!("{count} of {} replicas have it after {:?}", wait.replicas, wait.timeout)),
            )),
            _ => Err(redis::make_extension_error(UNMET.into(), None)),
        }
    }
}

/// The code of an error that no server raises: `WAIT` was not met.
const UNMET: &str = "UNMET";

fn told_apart(operation: Operation, error: RedisError, options: &RedisOptions) -> Error {
    if error.code() == Some(UNMET) {
        let message = format!("written, but only {}", error.detail().unwrap_or("too few replicas have it"));
        return failure(ErrorKind::Timeout, operation, message);
    }
    if refuses_writes(&error) {
        tracing::debug!(%error, "Redis refuses to write");
    }
    let _ = options;
    classify(operation, error)
}

fn too_slow(operation: Operation, options: &RedisOptions) -> Error {
    failure(ErrorKind::Timeout, operation, format!("no answer within {:?}", options.request_timeout))
}
