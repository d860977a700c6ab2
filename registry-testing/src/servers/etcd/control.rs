//! Requests to one etcd, over its JSON gateway.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::{ServerError, http};

/// What a member knows of itself and its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EtcdStatus {
    /// The cluster's id; after a wipe it may be the same.
    pub cluster: u64,
    /// The member's id.
    pub member: u64,
    /// The id of the member that it takes for the leader; 0 if it knows none.
    pub leader: u64,
    /// The raft term that it has seen.
    pub term: u64,
    /// The store's revision here.
    pub revision: u64,
    /// The server's version.
    pub version: String,
}

/// For one request: long enough for a busy machine, short enough to ask around.
const REQUEST: Duration = Duration::from_secs(1);
/// For requests that need agreement or much work.
pub(super) const SLOW_REQUEST: Duration = Duration::from_secs(10);

/// A test's own requests to one etcd, on connections of their own.
///
/// Each is answered within 10 s or ends with [`ServerError::Timeout`]. After that error, and after [`ServerError::Io`], a write may have been
/// carried out; so it may when its future is dropped.
#[derive(Debug)]
pub struct EtcdControl {
    address: SocketAddr,
    root: Mutex<Option<String>>,
}

impl EtcdControl {
    pub(in super::super) fn new(address: SocketAddr) -> Self {
        Self { address, root: Mutex::new(None) }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on requests are made as root.
    pub(super) fn set_root(&self, password: Option<String>) {
        *self.root.lock().unwrap_or_else(PoisonError::into_inner) = password;
    }

    pub(super) fn root(&self) -> Option<String> {
        self.root.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it knows of itself; answered without agreement, also by a member that is cut off.
    ///
    /// # Errors
    /// [`ServerError::Timeout`] after 1 s, as when it is paused; [`ServerError::Io`] when it does not run.
    pub async fn status(&self) -> Result<EtcdStatus, ServerError> {
        let answer = http::post(self.address, "/v3/maintenance/status", None, &json!({}), REQUEST).await?;
        let header = &answer["header"];
        Ok(EtcdStatus {
            cluster: number(&header["cluster_id"]),
            member: number(&header["member_id"]),
            leader: number(&answer["leader"]),
            term: number(&answer["raftTerm"]),
            revision: number(&header["revision"]),
            version: answer["version"].as_str().unwrap_or_default().to_owned(),
        })
    }

    /// Whether it serves a linearizable read within 1 s, so that there is a leader and a quorum. That a user is wanted is said only after
    /// that.
    pub async fn serves(&self) -> bool {
        match http::post(self.address, "/v3/kv/range", None, &json!({ "key": "AA==" }), REQUEST).await {
            Ok(_) => true,
            Err(ServerError::Refused { answer, .. }) => answer.contains("user name is empty"),
            Err(_) => false,
        }
    }

    /// The value of one of its metrics: the first whose name and labels begin like that; 0 where there is none yet.
    ///
    /// # Errors
    /// [`ServerError::Timeout`] after 10 s; [`ServerError::Io`] when it does not run; [`ServerError::Refused`] if that is no number.
    pub async fn metric(&self, name: &str) -> Result<f64, ServerError> {
        let page = http::get(self.address, "/metrics", SLOW_REQUEST).await?;
        let Some(line) = page.lines().find(|line| line.starts_with(name)) else { return Ok(0.0) };
        let value = line.rsplit(' ').next().and_then(|value| value.parse().ok());
        value.ok_or_else(|| ServerError::refused("/metrics", line))
    }

    /// Any request of the JSON gateway, such as `/v3/lease/revoke`; as root, where that is known.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn ask(&self, path: &str, body: Value) -> Result<Value, ServerError> {
        let token = match self.root() {
            None => None,
            Some(password) => {
                let login = json!({ "name": "root", "password": password });
                let answer =
                    http::post(self.address, "/v3/auth/authenticate", None, &login, SLOW_REQUEST).await?;
                answer["token"].as_str().map(str::to_owned)
            }
        };
        http::post(self.address, path, token.as_deref(), &body, SLOW_REQUEST).await
    }

    /// Writes a key; gives the revision.
    ///
    /// # Errors
    /// [`ServerError::Refused`], [`ServerError::Timeout`], [`ServerError::Io`].
    pub async fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<u64, ServerError> {
        let body = json!({ "key": STANDARD.encode(key), "value": STANDARD.encode(value) });
        Ok(number(&self.ask("/v3/kv/put", body).await?["header"]["revision"]))
    }

    /// Reads a key, linearizably: as it is if `revision` is 0, else as it was then.
    ///
    /// # Errors
    /// [`ServerError::Refused`], as for a revision that is compacted or still to come; [`ServerError::Timeout`], [`ServerError::Io`].
    pub async fn get(&self, key: impl AsRef<[u8]>, revision: u64) -> Result<Option<Vec<u8>>, ServerError> {
        let body = json!({ "key": STANDARD.encode(key), "revision": revision.to_string() });
        let answer = self.ask("/v3/kv/range", body).await?;
        let Some(entry) = answer["kvs"].get(0) else { return Ok(None) };
        let value = STANDARD.decode(entry["value"].as_str().unwrap_or_default());
        value.map(Some).map_err(|error| ServerError::refused("/v3/kv/range", error.to_string()))
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<(), ServerError> {
        self.ask("/v3/kv/deleterange", json!({ "key": STANDARD.encode(key) })).await.map(drop)
    }

    /// Compacts history up to the present, not waiting for the space to be freed; gives the revision, the oldest that can still be read.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn compact(&self) -> Result<u64, ServerError> {
        let answer = self.ask("/v3/kv/range", json!({ "key": "AA==" })).await?;
        let revision = number(&answer["header"]["revision"]);
        match self.ask("/v3/kv/compaction", json!({ "revision": revision.to_string() })).await {
            Err(ServerError::Refused { answer, .. }) if answer.contains("has been compacted") => Ok(revision),
            outcome => outcome.map(|_| revision),
        }
    }

    pub(super) async fn enable_auth(&self, password: &str) -> Result<(), ServerError> {
        self.ask("/v3/auth/user/add", json!({ "name": "root", "password": password })).await?;
        self.ask("/v3/auth/user/grant", json!({ "user": "root", "role": "root" })).await?;
        self.ask("/v3/auth/enable", json!({})).await.map(drop)
    }
}

/// The gateway writes 64-bit numbers as strings, and leaves zeros out.
pub(super) fn number(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).or(value.as_u64()).unwrap_or_default()
}
