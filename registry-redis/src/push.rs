//! Being told of changes: one connection to a server, however many services are watched there.
//!
//! What is told is a copy of the log, sent as it is written. That nothing was left out is for those who listen to see, by the chain of
//! revisions and nonces; what was, they read from the log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError, Weak};

use redis::{ErrorKind as Kind, PushInfo, PushKind, RedisError, Value, cmd};
use registry_core::{Error, ErrorKind, Operation};
use tokio::sync::{Mutex, Notify};

use crate::address::Address;
use crate::error::failure;
use crate::link::{Link, Use, text};
use crate::member::Failures;
use crate::options::RedisOptions;

/// What one listener has not taken yet is kept up to so many messages and bytes; then all of it is dropped, for it to be read from the log.
const MESSAGES: usize = 4_096;
const BYTES: usize = 16 << 20;

#[derive(Debug)]
pub(crate) struct Pushes {
    address: Address,
    options: Arc<RedisOptions>,
    /// The connection; held while it is made, and while subscriptions are asked for.
    link: Mutex<Option<(Arc<Link>, Arc<Channels>)>>,
    failures: Mutex<Failures>,
}

/// Who listens to what on one connection.
#[derive(Debug, Default)]
struct Channels {
    listeners: Lock<BTreeMap<String, Listeners>>,
}

/// Of one channel.
#[derive(Debug, Default)]
struct Listeners {
    inboxes: Vec<Weak<Inbox>>,
    /// Whether the server has said that it will tell.
    confirmed: bool,
}

impl Listeners {
    fn present(&self) -> Vec<Arc<Inbox>> {
        self.inboxes.iter().filter_map(Weak::upgrade).collect()
    }
}

/// The messages of one listener.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Lock<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Some were dropped.
    dropped: bool,
    closed: bool,
}

/// What an inbox holds.
#[derive(Debug)]
pub(crate) enum Mail {
    Message(Vec<u8>),
    /// Messages were dropped here.
    Dropped,
    /// Nothing: there will be more.
    Empty,
    /// Nothing will come any more.
    Closed,
}

impl Inbox {
    pub(crate) fn take(&self) -> Mail {
        let mut state = self.lock();
        if std::mem::take(&mut state.dropped) {
            return Mail::Dropped;
        }
        match state.messages.pop_front() {
            Some(message) => {
                state.bytes -= message.len();
                Mail::Message(message)
            }
            None if state.closed => Mail::Closed,
            None => Mail::Empty,
        }
    }

    /// Waits for something to take.
    pub(crate) async fn arrived(&self) {
        // One permit is kept by `notify_one`, so nothing is missed between the look and the wait.
        self.arrived.notified().await;
    }

    fn add(&self, message: Vec<u8>) {
        let mut state = self.lock();
        if state.messages.len() >= MESSAGES || state.bytes + message.len() > BYTES {
            state.messages.clear();
            state.bytes = 0;
            state.dropped = true;
        } else if !state.dropped {
            state.bytes += message.len();
            state.messages.push_back(message);
        }
        drop(state);
        self.arrived.notify_one();
    }

    fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channels {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Listeners>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the connection brings. Never blocks.
    fn told(&self, push: PushInfo) {
        match push.kind {
            PushKind::SMessage => {
                let mut data = push.data.into_iter();
                let (Some(channel), Some(Value::BulkString(message))) = (data.next(), data.next()) else {
                    return;
                };
                let Some(channel) = text(&channel) else { return };
                let inboxes = self.lock().get(&channel).map(Listeners::present).unwrap_or_default();
                if let Some((last, others)) = inboxes.split_last() {
                    for inbox in others {
                        inbox.add(message.clone());
                    }
                    last.add(message);
                }
            }
            // The slot went to another node. Those that we left ourselves have nobody who listens.
            PushKind::SUnsubscribe => {
                let Some(channel) = push.data.first().and_then(text) else { return };
                let gone = self.lock().remove(&channel).unwrap_or_default();
                gone.present().iter().for_each(|inbox| inbox.close());
            }
            PushKind::Disconnection => self.close(),
            _ => {}
        }
    }

    fn close(&self) {
        let all = std::mem::take(&mut *self.lock());
        all.values().flat_map(Listeners::present).for_each(|inbox| inbox.close());
    }

    /// Channels that nobody listens to any more.
    fn deserted(&self) -> Vec<String> {
        let listeners = self.lock();
        let deserted = listeners.iter().filter(|(_, listeners)| listeners.present().is_empty());
        deserted.map(|(channel, _)| channel.clone()).collect()
    }
}

impl Pushes {
    pub(crate) fn new(address: Address, options: Arc<RedisOptions>) -> Self {
        Self { address, options, link: Mutex::default(), failures: Mutex::default() }
    }

    /// What is told on `channel` from now on. The server may answer that the channel is elsewhere.
    ///
    /// Dropping what is returned ends it, at the latest when the next subscription is asked for.
    pub(crate) async fn listen(&self, channel: &str) -> std::result::Result<Arc<Inbox>, Refused> {
        let asked = tokio::time::Instant::now();
        let mut held = self.link.lock().await;
        let alive = held.as_ref().is_some_and(|(link, _)| !link.is_broken());
        if !alive {
            let channels = Arc::new(Channels::default());
            let told = Arc::clone(&channels);
            let purpose = Use::Pushes(Box::new(move |push| told.told(push)));
            if let Some((_, old)) = held.take() {
                old.close();
            }
            let mut failures = self.failures.lock().await;
            let connecting = Link::connect(&self.address, &self.options, purpose);
            let link = failures.unless_just_failed(asked, connecting).await?;
            *held = Some((link, channels));
        }
        let Some((link, channels)) = held.as_ref() else { return Err(self.gone().into()) };
        let inbox = Arc::new(Inbox::default());
        let confirmed = {
            let mut all = channels.lock();
            let listeners = all.entry(channel.to_owned()).or_default();
            listeners.inboxes.retain(|inbox| inbox.strong_count() > 0);
            listeners.inboxes.push(Arc::downgrade(&inbox));
            listeners.confirmed
        };
        let outcome = if confirmed { Ok(()) } else { self.subscribe(link, channels, channel).await };
        if link.is_broken() {
            channels.close();
            *held = None;
            return Err(outcome.err().unwrap_or_else(|| self.gone().into()));
        }
        outcome.map(|()| inbox)
    }

    async fn subscribe(
        &self,
        link: &Arc<Link>,
        channels: &Channels,
        channel: &str,
    ) -> std::result::Result<(), Refused> {
        if let Err(refused) = self.ask(link, "SSUBSCRIBE", channel, &PushKind::SSubscribe).await {
            channels.lock().remove(channel);
            return Err(refused);
        }
        if let Some(listeners) = channels.lock().get_mut(channel) {
            listeners.confirmed = true;
        }
        for deserted in channels.deserted() {
            channels.lock().remove(&deserted);
            self.ask(link, "SUNSUBSCRIBE", &deserted, &PushKind::SUnsubscribe).await?;
        }
        Ok(())
    }

    /// The connection tells nothing any more: it is left, and all that listen on it are closed.
    pub(crate) async fn give_up(&self) {
        if let Some((link, channels)) = self.link.lock().await.take() {
            link.give_up();
            channels.close();
        }
    }

    /// One change of what is subscribed. An answer to something else means that the connection cannot be followed any more.
    async fn ask(
        &self,
        link: &Arc<Link>,
        command: &str,
        channel: &str,
        wanted: &PushKind,
    ) -> std::result::Result<(), Refused> {
        let mut ask = cmd(command);
        ask.arg(channel);
        let answer = tokio::time::timeout(self.options.connect_timeout, link.request(&ask)).await;
        match answer {
            Ok(Ok(Value::Push { kind, data }))
                if kind == *wanted && data.first().and_then(text).as_deref() == Some(channel) =>
            {
                Ok(())
            }
            Ok(Err(error)) if matches!(error.kind(), Kind::Server(_) | Kind::Extension) => {
                Err(Refused::Answer(error))
            }
            Ok(Err(error)) => {
                link.give_up();
                Err(Refused::Answer(error))
            }
            Ok(Ok(_)) | Err(_) => {
                link.give_up();
                Err(self.gone().into())
            }
        }
    }

    fn gone(&self) -> Error {
        failure(
            ErrorKind::Unavailable,
            Operation::Watch,
            format!("{} does not tell of changes", self.address),
        )
    }
}

/// Why nothing will be told.
#[derive(Debug)]
pub(crate) enum Refused {
    /// There is no connection.
    Error(Error),
    /// The server said so.
    Answer(RedisError),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}
