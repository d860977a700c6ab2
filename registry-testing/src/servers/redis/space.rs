//! Filling a Redis, and making room again.

use super::super::ServerError;
use super::Redis;

impl Redis {
    /// Makes it refuse at once whatever could need memory (`OOM`), as one that is full and must not evict: `maxmemory` of one byte. It answers
    /// reads, deletions and `EXPIRE`. That goes on until [`make_room`](Self::make_room) or until it ends.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn fill(&self) -> Result<(), ServerError> {
        self.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1"]).await.map(drop)
    }

    /// Undoes [`fill`](Self::fill): no limit of memory from now on.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn make_room(&self) -> Result<(), ServerError> {
        self.command(&["CONFIG", "SET", "maxmemory", "0"]).await.map(drop)
    }
}
