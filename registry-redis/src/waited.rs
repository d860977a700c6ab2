//! Writes that wait for replicas: they share a connection of their own, since `WAIT` stops the one it is sent on, and share each `WAIT` too, since it counts
//! who has all that was written on its connection before (<https://redis.io/docs/latest/commands/wait/>).

use std::sync::Arc;

use redis::{RedisResult, Value, cmd};
use registry_core::Result;
use tokio::sync::{Mutex, RwLock, RwLockReadGuard};

use crate::address::Address;
use crate::link::{Link, Use};
use crate::options::{RedisOptions, Wait};

/// The connection to one server on which writes wait, made when it is needed and anew when it fails.
#[derive(Debug, Default)]
pub(crate) struct Waited(Mutex<Option<Arc<Group>>>);

impl Waited {
    pub(crate) async fn group(&self, address: &Address, options: &RedisOptions) -> Result<Arc<Group>> {
        let mut present = self.0.lock().await;
        if let Some(group) = present.as_ref().filter(|group| !group.link.is_broken()) {
            return Ok(Arc::clone(group));
        }
        let link = Box::pin(Link::connect(address, options, Use::Requests)).await?;
        Ok(Arc::clone(present.insert(Arc::new(Group { link, last: RwLock::default() }))))
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

/// Who has it may write.
pub(crate) struct Turn<'a> {
    group: &'a Group,
    last: RwLockReadGuard<'a, Last>,
}

impl Group {
    /// Waits while the connection is stopped.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        Turn { group: self, last: self.last.read().await }
    }
}

impl Turn<'_> {
    /// How many replicas have what was written, when they are as many as they should be, or when the time for that is over.
    pub(crate) async fn replicas(self, wait: Wait) -> RedisResult<u32> {
        let Self { group, last } = self;
        let before = last.number;
        drop(last);
        let mut last = group.last.write().await;
        // Whoever waited since then did so for this too.
        if last.number == before {
            let mut count = cmd("WAIT");
            count.arg(wait.replicas).arg(u64::try_from(wait.timeout.as_millis()).unwrap_or(u64::MAX).max(1));
            let counted = match group.link.request(&count).await? {
                Value::Int(counted) => u32::try_from(counted).unwrap_or_default(),
                _ => 0,
            };
            *last = Last { number: before + 1, replicas: counted };
        }
        Ok(last.replicas)
    }
}
