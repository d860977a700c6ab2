//! Reads what is told about one service, fills what is missing from its log, and looks from time to time whether that was all.

use std::time::Duration;

use registry_core::resume::{FeedClosed, FeedSender};
use registry_core::time::later;
use registry_core::{Cursor, Error, ErrorKind, FeedItem, Operation, ResetCause, Result, ServiceName};
use tokio::time::{Instant, sleep_until};

use crate::connection::Listening;
use crate::error::{failure, lost};
use crate::load::is_refused;
use crate::log::{self, Broken, Logged, Place};
use crate::push::Mail;
use crate::registry::RedisRegistry;
use crate::source::same_epoch;

/// Watches of one service look a little apart, so that one of them ends what is overdue and the others see it ended.
const APART: Duration = Duration::from_millis(20);
/// How often it is looked for what other hands wrote, by one watch for all, and at how many instances.
const SCRUB: Duration = Duration::from_secs(2);
const SCRUBBED: usize = 64;
/// So often in a row a look may find what should have been told, with nothing told since the look before.
const DEAF: u32 = 3;

pub(crate) struct Reader {
    registry: RedisRegistry,
    service: ServiceName,
    listening: Listening,
    position: Cursor,
    next_look: Instant,
    deaf: u32,
    rng: fastrand::Rng,
}

/// Why a reader ends: the consumer has gone, or an error to tell it.
enum End {
    Gone,
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<FeedClosed> for End {
    fn from(_: FeedClosed) -> Self {
        Self::Gone
    }
}

impl Reader {
    pub(crate) fn new(
        registry: RedisRegistry,
        service: ServiceName,
        listening: Listening,
        position: Cursor,
    ) -> Self {
        let rng = fastrand::Rng::with_seed(registry.connection().draw());
        Self { registry, service, listening, position, next_look: Instant::now(), deaf: 0, rng }
    }

    pub(crate) async fn run(mut self, sender: FeedSender, first: Option<FeedItem>) {
        match self.read(&sender, first).await {
            Err(End::Failed(error)) => sender.fail(error),
            Ok(()) | Err(End::Gone) => {}
        }
    }

    async fn read(&mut self, sender: &FeedSender, first: Option<FeedItem>) -> Result<(), End> {
        if let Some(first) = first {
            sender.send(first).await?;
        }
        loop {
            match self.listening.inbox.take() {
                Mail::Message(message) => self.told(sender, &message).await?,
                Mail::Dropped => self.catch_up(sender).await.map(drop)?,
                Mail::Closed => {
                    let message = format!("{} no longer tells of changes", self.listening.node.address);
                    return Err(failure(ErrorKind::Unavailable, Operation::Watch, message).into());
                }
                Mail::Empty if Instant::now() >= self.next_look => self.look(sender).await?,
                Mail::Empty => tokio::select! {
                    () = self.listening.inbox.arrived() => {}
                    () = sleep_until(self.next_look) => {}
                    () = sender.closed() => return Err(End::Gone),
                },
            }
        }
    }

    async fn told(&mut self, sender: &FeedSender, message: &[u8]) -> Result<(), End> {
        let Some(logged) = Logged::told(message) else {
            // Anybody may publish there.
            self.look_soon();
            return Ok(());
        };
        self.deaf = 0;
        match logged.place(self.position) {
            Place::Next => self.deliver(sender, &logged).await,
            Place::Here => Ok(()),
            // What the log has told already, or what is of another history: a look tells which.
            Place::Elsewhere if logged.revision <= self.position.revision().get() => {
                self.look_soon();
                Ok(())
            }
            Place::Elsewhere => {
                // Without an answer the next look tells what is missing.
                if !self.catch_up(sender).await? {
                    self.look_soon();
                }
                Ok(())
            }
        }
    }

    async fn deliver(&mut self, sender: &FeedSender, logged: &Logged) -> Result<(), End> {
        let (batch, error) = logged.batch(&self.service, self.position);
        if let (Some(error), Some(change)) = (error, batch.changes.first()) {
            self.registry.malformed().tell(&self.service, change.id().as_str(), logged.value(), &error);
        }
        self.position = batch.cursor;
        self.registry.store().saw(&self.service, self.position);
        sender.send(FeedItem::Changes(batch)).await?;
        Ok(())
    }

    /// Delivers what the log has after the position; false when it has nothing.
    async fn catch_up(&mut self, sender: &FeedSender) -> Result<bool, End> {
        let mut any = false;
        loop {
            let found =
                log::after(self.registry.connection(), &self.service, self.position, Operation::Watch)
                    .await?;
            match found {
                Ok(changes) if changes.is_empty() => return Ok(any),
                Ok(changes) => {
                    any = true;
                    for logged in changes {
                        self.deliver(sender, &logged).await?;
                    }
                }
                Err(broken) => return Err(self.broken(broken).await.into()),
            }
        }
    }

    /// Why the log does not go on from here: the service may be another one altogether.
    async fn broken(&mut self, broken: Broken) -> Error {
        match self.registry.state(&self.service, 0, Operation::Watch).await {
            Ok(state) => match same_epoch(&state, self.position) {
                Ok(()) => self.registry.broken(&self.service, self.position, broken, true).await,
                Err(error) => error,
            },
            Err(error) => error,
        }
    }

    /// Looks whether everything was told, and ends what is overdue.
    async fn look(&mut self, sender: &FeedSender) -> Result<(), End> {
        let before = self.position;
        let mut state = self.registry.state(&self.service, 0, Operation::Watch).await?;
        if state.wants_sweep() {
            match self.registry.sweep(&self.service, Operation::Watch).await {
                Ok(()) => state = self.registry.state(&self.service, 0, Operation::Watch).await?,
                Err(error) if is_refused(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        same_epoch(&state, self.position)?;
        let Some(now) = state.at else {
            return Err(lost(ResetCause::Wiped, "the service was removed").into());
        };
        let same_place = now.revision() == before.revision();
        if now.revision() < before.revision() || same_place && now.proof() != before.proof() {
            return Err(self.broken(Broken::Replaced).await.into());
        }
        if now.revision() > self.position.revision() {
            if !self.catch_up(sender).await? {
                return Err(self.broken(Broken::Trimmed).await.into());
            }
            self.deaf += 1;
            if self.deaf >= DEAF {
                // Its messages may still be on their way; they are not waited for any more.
                self.listening.node.pushes.give_up().await;
            }
        } else {
            self.deaf = 0;
        }
        sender.send(FeedItem::Progress(self.position)).await?;
        if state.unscrubbed > SCRUB {
            self.scrub().await?;
        }
        let due = state.due.filter(|due| !due.is_zero()).map(|due| due + Duration::from_millis(1));
        let wait = due.unwrap_or(Duration::MAX).min(self.registry.options().check_interval);
        self.next_look = later(Instant::now(), wait + APART.mul_f64(self.rng.f64()));
        Ok(())
    }

    async fn scrub(&mut self) -> Result<()> {
        let ids: &[String] = &[];
        match self.registry.scrub(&self.service, SCRUBBED, ids, Operation::Watch).await {
            Err(error) if is_refused(&error) => Ok(()),
            outcome => outcome,
        }
    }

    fn look_soon(&mut self) {
        self.next_look = self.next_look.min(Instant::now());
    }
}
