//! Reads one stream of etcd's and tells what it says, until it ends, falls silent, or contradicts itself.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Event, EventType, WatchResponse, WatchStream};
use registry_core::resume::{FeedSender, PROGRESS_INTERVAL};
use registry_core::{
    Batch, Cursor, Error, ErrorKind, FeedItem, Operation, ResetCause, Result, Revision, ServiceName,
};
use tokio::time::{Instant, sleep_until};

use crate::error::{cancelled, classify, failure, lost};
use crate::layout::{Seen, changes};
use crate::member::Member;
use crate::proof::{Anchor, hash};
use crate::pulse::{Head, PulseReceiver};
use crate::registry::EtcdRegistry;
use crate::source::{Missing, same};
use crate::store::header_revision;

/// How long to wait before asking again where a stream is: etcd from 3.5.8 on does not answer for a stream that is still catching up, and those before
/// answer where the member is.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// How long a stream may take to say where it is, while nothing else comes, on a member that answers.
const SILENCE: Duration = Duration::from_secs(3);
/// How often in a row a stream must say that it is current, and nothing else, where etcd says so too early.
const QUIET: u32 = 4;
/// And how often without having delivered the change to resume from, before that is looked for in the history.
const MISSING: u32 = 10;

/// Where a stream begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// Everything up to there is known.
    pub(crate) cursor: Cursor,
    /// The change that must come first, to show that the history is the same.
    pub(crate) anchor: Option<Anchor>,
    /// Where the store was just before.
    pub(crate) head: u64,
}

impl Start {
    /// The anchor's, or the cursor's own, of which nothing is new. Not the one after it: where etcd is compacted up to the very revision that a watch
    /// begins at, it takes the watch, and a deletion in that revision is never told. Where it is compacted up to the one after, it refuses.
    pub(crate) fn first_revision(&self) -> u64 {
        self.anchor.map_or(self.cursor.revision().get(), |anchor| anchor.revision)
    }
}

/// How far the next proof of being current is.
#[derive(Clone, Copy, Debug)]
enum Proof {
    /// To be begun with what the member says after this moment.
    Due(Instant),
    /// The stream must say that it is at this revision. It is asked anew at the first moment, and counts as silent at the second.
    Awaited { revision: u64, again: Instant, silent: Instant },
}

impl Proof {
    fn awaited(revision: u64) -> Self {
        let now = Instant::now();
        Self::Awaited { revision, again: now + ASK_AGAIN, silent: now + SILENCE }
    }
}

pub(crate) struct Reader {
    registry: EtcdRegistry,
    service: ServiceName,
    member: Arc<Member>,
    pulse: PulseReceiver,
    stream: WatchStream,
    cursor: Cursor,
    /// When the cursor last moved.
    moved: Instant,
    /// The last change known; none of a service that was empty.
    latest: Option<Anchor>,
    anchor: Option<Anchor>,
    proof: Proof,
    /// How often in a row the stream said that it is current, and nothing else.
    quiet: u32,
    /// Events of the revision that the last response broke off in.
    rest: Vec<Event>,
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

impl From<registry_core::resume::FeedClosed> for End {
    fn from(_: registry_core::resume::FeedClosed) -> Self {
        Self::Gone
    }
}

impl Reader {
    pub(crate) fn new(
        registry: EtcdRegistry,
        service: ServiceName,
        member: Arc<Member>,
        stream: WatchStream,
        start: Start,
    ) -> Self {
        Self {
            registry,
            service,
            pulse: member.listen(),
            member,
            stream,
            cursor: start.cursor,
            moved: Instant::now(),
            latest: Anchor::of(start.cursor),
            anchor: start.anchor,
            proof: Proof::awaited(start.head),
            quiet: 0,
            rest: Vec::new(),
        }
    }

    pub(crate) async fn run(mut self, sender: FeedSender, first: Option<FeedItem>) {
        let ended = tokio::select! {
            biased;
            () = sender.closed() => End::Gone,
            Err(end) = self.read(&sender, first) => end,
        };
        let End::Failed(error) = ended else { return };
        match (error.reset_cause(), error.kind()) {
            (Some(ResetCause::Diverged), _) => self.registry.store().begin_epoch(self.cursor.epoch()).await,
            (_, ErrorKind::Unavailable | ErrorKind::Timeout) => {
                self.registry.connection().leave(&self.member)
            }
            _ => {}
        }
        sender.fail(error);
    }

    async fn read(&mut self, sender: &FeedSender, first: Option<FeedItem>) -> Result<(), End> {
        if let Some(first) = first {
            sender.send(first).await?;
        }
        self.ask().await?;
        loop {
            let wake = match self.proof {
                Proof::Due(_) => None,
                Proof::Awaited { again, silent, .. } => Some(again.min(silent)),
            };
            tokio::select! {
                biased;
                response = self.stream.message() => {
                    let response = response.map_err(|error| classify(Operation::Watch, error))?;
                    let response = response
                        .ok_or_else(|| failure(ErrorKind::Unavailable, Operation::Watch, "etcd ended the watch"))?;
                    if let Proof::Awaited { silent, .. } = &mut self.proof {
                        *silent = Instant::now() + SILENCE;
                    }
                    self.take(&response, sender).await?;
                }
                head = self.pulse.head() => self.compare(head?).await?,
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => self.wake().await?,
            }
        }
    }

    /// The member says where the store is.
    async fn compare(&mut self, head: Head) -> Result<()> {
        if head.asked >= self.moved {
            match same(head, self.cursor) {
                Err(error) if error.reset_cause() == Some(ResetCause::Diverged) => {
                    return Err(self.diverged(error).await);
                }
                outcome => outcome?,
            }
        }
        match self.proof {
            Proof::Due(at) if at <= Instant::now() => {
                self.proof = Proof::awaited(head.revision);
                self.ask().await
            }
            _ => Ok(()),
        }
    }

    async fn wake(&mut self) -> Result<()> {
        if let Proof::Awaited { again, silent, .. } = &mut self.proof {
            if *silent <= Instant::now() {
                let message = format!("{} says nothing on a watch", self.member.url());
                return Err(failure(ErrorKind::Timeout, Operation::Watch, message));
            }
            *again = Instant::now() + ASK_AGAIN;
        }
        self.ask().await
    }

    /// The history is another one for certain: whoever reads it next must not compare it with what was before.
    async fn diverged(&self, error: Error) -> Error {
        self.registry.store().begin_epoch(self.cursor.epoch()).await;
        error
    }

    /// Asks the stream to say where it is.
    async fn ask(&mut self) -> Result<()> {
        self.stream.request_progress().await.map_err(|error| classify(Operation::Watch, error))
    }

    async fn take(&mut self, response: &WatchResponse, sender: &FeedSender) -> Result<(), End> {
        if response.canceled() {
            return Err(End::Failed(match response.compact_revision() {
                0 => cancelled(response.cancel_reason()),
                _ => lost(ResetCause::Compacted, "the history after the cursor is compacted"),
            }));
        }
        if response.events().is_empty() {
            if !response.created() {
                self.progressed(header_revision(response.header()), sender).await?;
            }
            return Ok(());
        }
        let mut events = std::mem::take(&mut self.rest);
        events.extend_from_slice(response.events());
        let mut left = &events[..];
        while let Some(modified) = left.first().map(modified) {
            let (of_revision, later) =
                left.split_at(left.iter().take_while(|event| self::modified(event) == modified).count());
            if later.is_empty() && response.0.fragment {
                // More of it may follow in the next one.
                self.rest = of_revision.to_vec();
                return Ok(());
            }
            self.deliver(modified, of_revision, sender).await?;
            left = later;
        }
        Ok(())
    }

    /// The change to resume from does not come. Only when the history has something else in its place is that history another one for certain.
    async fn look_for(&self, anchor: Anchor) -> Result<()> {
        let message = "the change at the cursor is not in the history";
        match self.registry.missing(&self.service, anchor).await? {
            None => Ok(()),
            Some(Missing::Compacted) => {
                Err(lost(ResetCause::Compacted, "the change at the cursor is compacted"))
            }
            Some(Missing::Replaced) => Err(self.diverged(lost(ResetCause::Diverged, message)).await),
            Some(Missing::Unknown) => Err(lost(ResetCause::Unknown, message)),
        }
    }

    /// All events of one revision.
    async fn deliver(&mut self, at: u64, events: &[Event], sender: &FeedSender) -> Result<(), End> {
        let hashes = || events.iter().filter_map(Event::kv).map(|kv| hash(at, kv.key(), kv.value()));
        if let Some(anchor) = self.anchor.take()
            && (anchor.revision != at || !hashes().any(|hash| hash == anchor.hash))
        {
            if anchor.deletion && at > anchor.revision {
                // Compaction up to it hides it as well.
                self.look_for(anchor).await?;
            }
            let message = "the change at the cursor is not the one that was delivered";
            return Err(End::Failed(self.diverged(lost(ResetCause::Diverged, message)).await));
        }
        self.quiet = 0;
        // etcd before 3.4.25 may send what it has sent before.
        if at <= self.cursor.revision().get() {
            return Ok(());
        }
        let (codec, malformed) = (self.registry.codec(), self.registry.malformed());
        let seen = events.iter().filter_map(|event| {
            let kv = event.kv()?;
            Some(match event.event_type() {
                EventType::Put => Seen::Put(malformed.read(codec, &self.service, kv)),
                EventType::Delete => Seen::Delete(kv.key()),
            })
        });
        let Some(changes) = changes(codec, &self.service, seen.collect()) else {
            let message = "somebody changed an address without what belongs to it";
            return Err(End::Failed(lost(ResetCause::Unknown, message)));
        };
        let deletion = events.last().is_some_and(|event| event.event_type() == EventType::Delete);
        let anchor = Anchor { revision: at, hash: hashes().next_back().unwrap_or_default(), deletion };
        self.latest = Some(anchor);
        self.advance(at);
        if !changes.is_empty() {
            sender.send(FeedItem::Changes(Batch { cursor: self.cursor, changes })).await?;
        }
        if matches!(self.proof, Proof::Awaited { revision, .. } if revision <= at) {
            // What was to be proven: everything up to there has come.
            self.proof = Proof::Due(Instant::now() + PROGRESS_INTERVAL);
            sender.send(FeedItem::Progress(self.cursor)).await?;
        }
        Ok(())
    }

    fn advance(&mut self, at: u64) {
        let proof = self.latest.map_or(0, |latest| latest.proof(at));
        self.cursor = Cursor::new(self.cursor.epoch(), Revision::new(at), proof);
        self.moved = Instant::now();
        self.registry.store().saw(self.cursor.epoch(), at);
    }

    /// The stream says that it has delivered everything up to `at`.
    async fn progressed(&mut self, at: u64, sender: &FeedSender) -> Result<(), End> {
        let Proof::Awaited { revision, .. } = self.proof else { return Ok(()) };
        if at < revision {
            return Ok(());
        }
        self.quiet += 1;
        let orderly = self.member.pulse().is_orderly();
        if let Some(anchor) = self.anchor {
            if self.quiet.is_multiple_of(MISSING) || orderly {
                return self.look_for(anchor).await.map_err(End::Failed);
            }
            return Ok(());
        }
        if !orderly && self.quiet < QUIET {
            return Ok(());
        }
        self.proof = Proof::Due(Instant::now() + PROGRESS_INTERVAL);
        if orderly && revision > self.cursor.revision().get() {
            // What is compacted up to there is not needed any more.
            self.advance(revision);
        }
        sender.send(FeedItem::Progress(self.cursor)).await?;
        Ok(())
    }
}

fn modified(event: &Event) -> u64 {
    event.kv().map_or(0, |kv| u64::try_from(kv.mod_revision()).unwrap_or_default())
}
