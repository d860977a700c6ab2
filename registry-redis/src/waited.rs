//! Writes that wait for replicas: they share a connection of their own, since `WAIT` stops the one it is sent on, and share each `WAIT` too, since it counts
//! who has all that was written on its connection before (<https://redis.io/docs/latest/commands/wait/>).

use std::future::Future;
use std::sync::Arc;

use redis::{RedisResult, Value, cmd};
use registry_core::Result;
use tokio::sync::{Mutex, RwLock};
use tokio::time::Instant;

use crate::address::Address;
use crate::link::{Link, Use};
use crate::member::Failures;
use crate::options::{RedisOptions, Wait};

/// The connection to one server on which writes wait, made when it is needed and anew when it fails.
#[derive(Debug, Default)]
pub(crate) struct Waited(Mutex<Present>);

#[derive(Debug, Default)]
struct Present {
    group: Option<Arc<Group>>,
    failures: Failures,
}

impl Waited {
    pub(crate) async fn group(&self, address: &Address, options: &RedisOptions) -> Result<Arc<Group>> {
        let asked = Instant::now();
        let mut present = self.0.lock().await;
        if let Some(group) = present.group.as_ref().filter(|group| !group.link.is_broken()) {
            return Ok(Arc::clone(group));
        }
        let connecting = Box::pin(Link::connect(address, options, Use::Requests));
        let link = present.failures.unless_just_failed(asked, connecting).await?;
        let group = Group { link, last: RwLock::default() };
        Ok(Arc::clone(present.group.insert(Arc::new(group))))
    }
}

/// Writes on one connection. They are sent side by side, but not while it is stopped by a `WAIT`, which all that came before it share.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) link: Arc<Link>,
    /// Shared by those who write, and had alone by the one who waits for all of them.
    last: RwLock<Last>,
}

/// The last `WAIT` that was answered.
#[derive(Debug, Default)]
struct Last {
    number: u64,
    replicas: u32,
}

/// How many had been answered when something was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

impl Group {
    /// Writes as soon as the connection is not stopped. `None`: it is not to be used any more, and nothing was sent.
    ///
    /// Dropping the future before it ends gives the connection up if something was sent: it may be dead without a word.
    pub(crate) async fn write<T>(
        &self,
        write: impl Future<Output = RedisResult<T>>,
    ) -> Option<RedisResult<(T, Mark)>> {
        let last = self.last.read().await;
        if self.link.is_broken() {
            return None;
        }
        // After the lock, so that who comes next finds the connection given up.
        let unfinished = Unfinished::on(&self.link);
        let answer = write.await;
        unfinished.finish();
        Some(answer.map(|answer| (answer, Mark(last.number))))
    }

    /// How many replicas have what was written, when they are as many as they should be, or when the time for that is over. Dropping the future in the
    /// middle of a `WAIT` gives the connection up, which is stopped until then.
    pub(crate) async fn replicas(&self, written: Mark, wait: Wait) -> RedisResult<u32> {
        let mut last = self.last.write().await;
        // Whoever waited since then did so for this too.
        if last.number == written.0 {
            let mut count = cmd("WAIT");
            count.arg(wait.replicas).arg(u64::try_from(wait.timeout.as_millis()).unwrap_or(u64::MAX).max(1));
            let unfinished = Unfinished::on(&self.link);
            let counted = self.link.request(&count).await;
            unfinished.finish();
            let replicas = match counted? {
                Value::Int(counted) => u32::try_from(counted).unwrap_or_default(),
                _ => 0,
            };
            *last = Last { number: written.0 + 1, replicas };
        }
        Ok(last.replicas)
    }
}

/// Gives a connection up unless what was asked on it has been answered.
struct Unfinished<'a>(Option<&'a Link>);

impl<'a> Unfinished<'a> {
    fn on(link: &'a Link) -> Self {
        Self(Some(link))
    }

    fn finish(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(link) = self.0 {
            link.give_up();
        }
    }
}
