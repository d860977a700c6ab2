//! Filling an etcd up to its quota, making room again, and ending leases.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::super::{ServerError, until};
use super::Etcd;
use super::control::{EtcdControl, SLOW_REQUEST, number};

/// Nobody else's.
const JUNK: &[u8] = b"~junk of a test";
const JUNK_BYTES: usize = 64 << 10;
/// A quota that holds more than so many is not meant to be filled.
const MOST_JUNK: usize = 2048;

impl Etcd {
    /// Fills the store up to its quota, with junk under a key of its own, until it refuses whatever would need space: puts, transactions that could
    /// put, new leases. That goes on until [`make_room`](Self::make_room), also over restarts.
    ///
    /// # Errors
    /// [`ServerError::Refused`] if 128 MiB do not fill it: start it with a small [`EtcdOptions::quota`](super::EtcdOptions::quota), such as 1 MiB.
    /// Otherwise as [`put`](Self::put).
    pub async fn fill(&self) -> Result<(), ServerError> {
        self.control.fill().await
    }

    /// Undoes [`fill`](Self::fill): removes the junk, compacts history up to the present, frees the space and disarms the alarm. Of a cluster only
    /// this member's space is freed, and members that are still full raise the alarm again.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn make_room(&self) -> Result<(), ServerError> {
        self.control.make_room().await
    }

    /// Ends the lease that `key` has: the key is deleted as if its TTL were over, with all other keys of that lease.
    ///
    /// # Errors
    /// [`ServerError::Refused`] if there is no such key, or it has no lease; otherwise as [`put`](Self::put).
    pub async fn expire(&self, key: impl AsRef<[u8]>) -> Result<(), ServerError> {
        self.control.expire(key.as_ref()).await
    }
}

impl EtcdControl {
    async fn fill(&self) -> Result<(), ServerError> {
        for _ in 0..MOST_JUNK {
            match self.put(JUNK, &[0; JUNK_BYTES]).await {
                Ok(_) => {}
                Err(ServerError::Refused { answer, .. }) if answer.contains("space exceeded") => {
                    // What was refused may be told before the alarm is raised by which all else is refused.
                    let alarm = || async {
                        let full = self.full().await;
                        full.map(|full| (!full.is_empty()).then_some(())).transpose()
                    };
                    return until("etcd takes itself for full", SLOW_REQUEST, alarm).await?;
                }
                Err(error) => return Err(error),
            }
        }
        let answer =
            format!("not full after {MOST_JUNK} values of {JUNK_BYTES} bytes: it needs a smaller quota");
        Err(ServerError::refused("filling etcd", answer))
    }

    async fn make_room(&self) -> Result<(), ServerError> {
        let deleted = self.ask("/v3/kv/deleterange", json!({ "key": STANDARD.encode(JUNK) })).await?;
        let revision = number(&deleted["header"]["revision"]).to_string();
        // Physical: answered when the space is really free.
        match self.ask("/v3/kv/compaction", json!({ "revision": revision, "physical": true })).await {
            Err(ServerError::Refused { answer, .. }) if answer.contains("has been compacted") => {}
            outcome => drop(outcome?),
        }
        self.ask("/v3/maintenance/defragment", json!({})).await?;
        for member in self.full().await? {
            let disarm = json!({ "action": "DEACTIVATE", "memberID": member, "alarm": "NOSPACE" });
            self.ask("/v3/maintenance/alarm", disarm).await?;
        }
        Ok(())
    }

    /// The ids of the members that have raised the alarm.
    async fn full(&self) -> Result<Vec<String>, ServerError> {
        let answer =
            self.ask("/v3/maintenance/alarm", json!({ "action": "GET", "alarm": "NOSPACE" })).await?;
        let alarms = answer["alarms"].as_array().into_iter().flatten();
        Ok(alarms.map(|alarm| number(&alarm["memberID"]).to_string()).collect())
    }

    async fn expire(&self, key: &[u8]) -> Result<(), ServerError> {
        let found = self.ask("/v3/kv/range", json!({ "key": STANDARD.encode(key) })).await?;
        match number(&found["kvs"][0]["lease"]) {
            0 => {
                let request = format!("ending the lease of {}", String::from_utf8_lossy(key));
                Err(ServerError::refused(request, "there is no such key, or it has no lease"))
            }
            lease => self.ask("/v3/lease/revoke", json!({ "ID": lease.to_string() })).await.map(drop),
        }
    }
}
